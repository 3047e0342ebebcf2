"""What people do to endpoints: make, change and end them, and the keys with which programs ask there."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.compute.app_hosts import ENDPOINT_NAME_MAX, has_apps_host, is_endpoint_name, label_of
from mosu.compute.models import Endpoint, EndpointKey, Replica
from mosu.compute.moves import move_endpoint, record_made
from mosu.compute.queries import endpoint_visible_to
from mosu.compute.services.fitting import Asked, asked_of
from mosu.compute.services.keeping import stop_drained
from mosu.compute.services.quoting import choice_of
from mosu.compute.services.replicas import wake_keeper
from mosu.compute.services.tickets import NoAppsHost
from mosu.compute.states import EndpointState
from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require
from mosu.platform.rows import insert, row_of
from mosu.platform.services import claim_key, record_audit
from mosu.store.services import ManifestEntry
from mosu.wire.task import Auth, ReplicaNeed, TaskFile

KEY_PREFIX: Final = "sk-mosu-"
KEYS_MAX: Final = 50
"""Keys of an endpoint that hold."""
ENDPOINTS_MAX: Final = 50
"""Open ones of an organisation."""
_CHANGED: Final = (
    *("owner_id", "task", "sealed_secrets", "workdir_manifest", "port", "health", "version", "auth"),
    *("replicas_min", "replicas_max", "requests_per_replica", "idle_s", "failures", "retry_at"),
)
"""Not what the relay writes meanwhile."""
_SECRET_BYTES: Final = 32
_KEY_NAME_MAX: Final = 63


class EndpointNameTaken(DomainError):
    """The organisation has an open endpoint of this name."""

    code = "endpoint_name_taken"


class TooManyEndpoints(DomainError):
    """The organisation has as many open endpoints, or the endpoint as many keys, as may be."""

    code = "too_many_endpoints"


class EndpointEnded(DomainError):
    """The endpoint has ended; nothing of it changes any more."""

    code = "endpoint_ended"


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key with its secret, which nobody can show again."""

    key: EndpointKey
    secret: str


@transaction.atomic(durable=True)
def make_endpoint(
    *,
    actor: Actor,
    organisation_id: UUID,
    project_id: UUID,
    name: str,
    task: TaskFile,
    workdir: Sequence[ManifestEntry],
    idempotency_key: str,
    now: datetime,
) -> Endpoint:
    """An endpoint at which runs of the task answer from now on, ordered in the actor's name as they are needed.

    Repeating the call with the same key returns the first endpoint.

    Raises:
        Forbidden: the actor may not buy for that organisation.
        NoAppsHost: this hub has no addresses for endpoints.
        Invalid: the name cannot stand in an address, or the task is none that an endpoint can answer with.
        what `asked_of` raises: it asks for what nobody sells.
        EndpointNameTaken, TooManyEndpoints.
        KeyReused: the key was used for another endpoint.
    """
    require(actor, "endpoint.change", organisation_id)
    if not has_apps_host():
        raise NoAppsHost(
            "This hub has no addresses for endpoints.",
            hint="Its operator sets MOSU_APPS_HOST; until then: mosu run, and mosu port-forward.",
        )
    _check_name(name)
    asked = _asked(task, workdir, organisation_id=organisation_id, project_id=project_id, now=now)
    endpoint_id = uuid7()
    earlier = claim_key(
        scope=f"endpoint.make:{organisation_id}",
        key=idempotency_key,
        digest=sha256_of({"name": name, "task": asked.shown_task, "workdir": asked.manifest}),
        result_id=endpoint_id,
    )
    if earlier is not None:
        return Endpoint.objects.get(id=earlier)
    if Endpoint.objects.filter(organisation_id=organisation_id, state="open").count() >= ENDPOINTS_MAX:
        raise TooManyEndpoints(
            f"Your organisation has {ENDPOINTS_MAX} open endpoints already.",
            hint="End one that is not needed: mosu endpoints end NAME.",
        )
    endpoint = Endpoint(
        id=endpoint_id,
        organisation_id=organisation_id,
        project_id=project_id,
        owner_id=person_of(actor),
        name=name,
        label=label_of(name, organisation_id),
        created_at=now,
    )
    _lay_task(endpoint, asked)
    _lay_terms(endpoint, auth=task.auth, replicas=task.replicas)
    _insert_once(endpoint)
    record_made(endpoint, actor=actor, now=now)
    wake_keeper(endpoint.id)
    return endpoint


@transaction.atomic(durable=True)
def change_endpoint(
    *,
    actor: Actor,
    endpoint_id: UUID,
    task: TaskFile | None = None,
    workdir: Sequence[ManifestEntry] = (),
    auth: Auth | None = None,
    replicas: ReplicaNeed | None = None,
    now: datetime,
) -> Endpoint:
    """The endpoint, changed as far as something is given; what is to be ordered for it is now in the actor's name.

    Another task is a new version: replicas of the one before are replaced one by one, each once its successor is
    well. Its `auth` and `replicas` hold too, but for those given here. The same task again changes nothing.

    Raises:
        NotFound: there is no such endpoint, or not of an organisation of the actor's.
        Forbidden: the actor may not buy for that organisation.
        EndpointEnded: it has ended.
        Invalid, and what `asked_of` raises: as for a new endpoint.
    """
    if replicas is not None and replicas.least > replicas.most:
        raise Invalid(
            "replicas: min is more than max.",
            hint="Choose min at most max.",
            field="replicas",
            found=replicas.least,
        )
    endpoint = _locked(actor, endpoint_id)
    before = _terms_of(endpoint)
    if task is not None:
        asked = _asked(
            task, workdir, organisation_id=endpoint.organisation_id, project_id=endpoint.project_id, now=now
        )
        if not _is_same_task(endpoint, asked):
            _lay_task(endpoint, asked)
            endpoint.version += 1
        auth, replicas = auth or task.auth, replicas or task.replicas
    _lay_terms(endpoint, auth=auth, replicas=replicas)
    if _terms_of(endpoint) == before:
        return endpoint
    endpoint.owner_id, endpoint.failures, endpoint.retry_at = person_of(actor), 0, None
    endpoint.save(update_fields=_CHANGED)
    record_audit(
        actor=actor,
        action="endpoint.change",
        subject_id=endpoint.id,
        before=endpoint.state,
        after=endpoint.state,
        now=now,
        organisation_id=endpoint.organisation_id,
        facts={"before": before, "after": _terms_of(endpoint)},
    )
    wake_keeper(endpoint.id)
    return endpoint


def end_endpoint(*, actor: Actor, endpoint_id: UUID, now: datetime) -> Endpoint:
    """The endpoint, ended: it answers nobody any more, and its replicas are told to stop. Repeating it changes nothing.

    Raises:
        NotFound: there is no such endpoint, or not of an organisation of the actor's.
        Forbidden: the actor may not end it.
    """
    with transaction.atomic(durable=True):
        endpoint = endpoint_visible_to(actor, endpoint_id)
        require(actor, "endpoint.end", endpoint.organisation_id)
        endpoint = Endpoint.objects.select_for_update(no_key=True).get(id=endpoint.id)
        if endpoint.state == EndpointState.OPEN:
            Replica.objects.filter(endpoint=endpoint, over=False, drained_at=None).update(drained_at=now)
            move_endpoint(endpoint, to=EndpointState.ENDED, actor=actor, now=now)
            wake_keeper(endpoint.id)
    stop_drained(endpoint.id, now=now)
    return endpoint


@transaction.atomic(durable=True)
def make_key(*, actor: Actor, endpoint_id: UUID, name: str, now: datetime) -> MadeKey:
    """A key with which programs ask at the endpoint. Its secret is in the answer and nowhere else.

    Raises:
        NotFound: there is no such endpoint, or not of an organisation of the actor's.
        Forbidden: the actor may not buy for that organisation.
        EndpointEnded: it has ended.
        Invalid: the name is empty or too long.
        TooManyEndpoints: it has as many keys as may be.
    """
    endpoint = _locked(actor, endpoint_id)
    name = name.strip()
    if not name or len(name) > _KEY_NAME_MAX or not name.isprintable():
        raise Invalid(
            "name: cannot be used.",
            hint=f"1 to {_KEY_NAME_MAX} characters that say who asks with it.",
            field="name",
            found=name[:_KEY_NAME_MAX],
        )
    if EndpointKey.objects.filter(endpoint=endpoint, revoked_at=None).count() >= KEYS_MAX:
        raise TooManyEndpoints(
            f"This endpoint has {KEYS_MAX} keys already.", hint="Revoke one that is not needed."
        )
    secret = KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    key = EndpointKey(
        endpoint=endpoint,
        name=name,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        made_by_id=person_of(actor),
        made_at=now,
    )
    insert(key)
    _record_key(actor, endpoint, key, "endpoint.key_made", now=now)
    return MadeKey(key=key, secret=secret)


@transaction.atomic(durable=True)
def revoke_key(*, actor: Actor, endpoint_id: UUID, key_id: str, now: datetime) -> EndpointKey:
    """The key, which holds no more: who asks with it is cut off within 30 s. Repeating it changes nothing.

    Raises:
        NotFound: there is no such endpoint or key, or not of an organisation of the actor's.
        Forbidden: the actor may not buy for that organisation.
    """
    endpoint = endpoint_visible_to(actor, endpoint_id)
    require(actor, "endpoint.change", endpoint.organisation_id)
    key = row_of(EndpointKey.objects.filter(endpoint=endpoint).select_for_update(no_key=True), key_id)
    if key.revoked_at is None:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
        _record_key(actor, endpoint, key, "endpoint.key_revoked", now=now)
    return key


def _locked(actor: Actor, endpoint_id: UUID) -> Endpoint:
    """The endpoint, which the actor may change, its row locked."""
    seen = endpoint_visible_to(actor, endpoint_id)
    require(actor, "endpoint.change", seen.organisation_id)
    endpoint = Endpoint.objects.select_for_update(no_key=True).get(id=seen.id)
    if endpoint.state != EndpointState.OPEN:
        raise EndpointEnded("This endpoint has ended.", hint="Make it again: mosu serve task.yaml.")
    return endpoint


def _check_name(name: str) -> None:
    if not is_endpoint_name(name):
        raise Invalid(
            f"name: {name[:60]!r} cannot stand in an address.",
            hint=f"Lower-case letters, digits and single hyphens, a letter first, at most {ENDPOINT_NAME_MAX}.",
            field="name",
            found=name[:60],
        )


def _asked(
    task: TaskFile,
    workdir: Sequence[ManifestEntry],
    *,
    organisation_id: UUID,
    project_id: UUID,
    now: datetime,
) -> Asked:
    """The task, checked as for a quote: what nobody could ever sell is refused before there is an address."""
    for field, wrong in (
        ("mosu.kind", task.kind != "service"),
        ("mosu.not_before", task.not_before is not None),
        ("mosu.deadline", task.deadline is not None),
    ):
        if wrong:
            raise Invalid(
                f"{field}: an endpoint answers by runs that start when they are needed.",
                hint="Set mosu: {kind: service, port: 8000}, without not_before and deadline.",
                field=field,
            )
    choice_of(task.vouchers)
    return asked_of(task, workdir, organisation_id=organisation_id, project_id=project_id, now=now)


def _is_same_task(endpoint: Endpoint, asked: Asked) -> bool:
    """Whether it would run the same. Secrets are sealed anew each time: where there are any, it is another."""
    return (
        endpoint.task == asked.shown_task
        and endpoint.workdir_manifest == asked.manifest
        and not asked.sealed_secrets
        and not endpoint.sealed_secrets
    )


def _lay_task(endpoint: Endpoint, asked: Asked) -> None:
    endpoint.task, endpoint.sealed_secrets = asked.shown_task, asked.sealed_secrets
    endpoint.workdir_manifest = asked.manifest
    endpoint.port, endpoint.health = asked.task.port or 0, asked.task.health


def _lay_terms(endpoint: Endpoint, *, auth: Auth | None, replicas: ReplicaNeed | None) -> None:
    endpoint.auth = auth or endpoint.auth
    if replicas is not None:
        endpoint.replicas_min, endpoint.replicas_max = replicas.least, replicas.most
        endpoint.requests_per_replica, endpoint.idle_s = replicas.requests, replicas.idle_s


def _terms_of(endpoint: Endpoint) -> dict[str, str | int]:
    return {
        "version": endpoint.version,
        "auth": endpoint.auth,
        "min": endpoint.replicas_min,
        "max": endpoint.replicas_max,
        "requests": endpoint.requests_per_replica,
        "idle_s": endpoint.idle_s,
    }


def _insert_once(endpoint: Endpoint) -> None:
    try:
        with transaction.atomic():
            insert(endpoint)
    except IntegrityError as error:
        if "endpoint_label_once" not in str(error):
            raise
        raise EndpointNameTaken(
            f"Your organisation has an endpoint {endpoint.name} already.",
            hint="Change that one (mosu serve task.yaml --name NAME does), end it, or choose another name.",
            name=endpoint.name,
        ) from None


def _record_key(actor: Actor, endpoint: Endpoint, key: EndpointKey, action: str, *, now: datetime) -> None:
    record_audit(
        actor=actor,
        action=action,
        subject_id=endpoint.id,
        before=endpoint.state,
        after=endpoint.state,
        now=now,
        organisation_id=endpoint.organisation_id,
        facts={"key": key.public_id, "name": key.name},
    )
