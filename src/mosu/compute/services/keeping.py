"""The keeper: what an endpoint has is compared with what it should have; then replicas are ordered, drained, stopped.

It may be killed anywhere and run twice at once. A replica is written down in the transaction that orders its run
(`replicas.take_place`), and what is to stop says so in its row before anything is told to.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q

from mosu.compute import endpoints as rules
from mosu.compute.models import Allocation, Attempt, Endpoint, EndpointMinute, Replica
from mosu.compute.requests import PERIOD_GRACE_S, RunRequest
from mosu.compute.sealing import opened
from mosu.compute.services.fitting import REPLICA_STARTS_WITHIN, ReplicaOf
from mosu.compute.services.quoting import QuoteResult, choice_of, quote_run
from mosu.compute.services.replicas import Overtaken, next_ordinal, paid_now
from mosu.compute.states import AttemptState, EndpointState, is_ended
from mosu.kernel.languages import Language, said
from mosu.kernel.refusals import DomainError
from mosu.market.services import accept_quote, stop_order
from mosu.platform.actors import Actor, Role
from mosu.platform.each import on_each
from mosu.platform.models import OrganisationState
from mosu.platform.policy import allows
from mosu.platform.queries import actor_for_user
from mosu.platform.services import members_of, notify
from mosu.store.services import read_manifest
from mosu.wire.task import TaskFile, parse_task

_MINUTE: Final = timedelta(minutes=1)
_REASON_CHARS: Final = 500
_SHORT: Final[dict[Language, str]] = {
    "zh": "{why} 系统会继续尝试；仍在运行的副本照常应答。",
    "en": "{why} It is tried again; what still runs goes on answering.",
}


def keep_endpoints(*, now: datetime) -> None:
    """Keep all endpoints that have, or should have, a replica; one that cannot be kept holds up none of the others.

    Raises:
        ExceptionGroup: some could not be kept.
    """
    live = Exists(Replica.objects.filter(endpoint=OuterRef("pk"), over=False))
    due = Q(state=EndpointState.OPEN) & (Q(replicas_min__gt=0) | Q(asked_at__isnull=False))
    ids = Endpoint.objects.filter(due | live).order_by("id").values_list("id", flat=True)
    on_each(partial(_keep, now=now), list(ids))


def keep_endpoint(*, endpoint_id: UUID, now: datetime) -> None:
    """Bring the endpoint nearer to what it should have. Repeating it, or doing it twice at once, does no more."""
    while True:
        short = _take_stock(endpoint_id, now=now)
        stop_drained(endpoint_id, now=now)
        if not short or not _order(endpoint_id, now=now):
            return


def _keep(endpoint_id: UUID, *, now: datetime) -> None:
    keep_endpoint(endpoint_id=endpoint_id, now=now)


def stop_drained(endpoint_id: UUID, *, now: datetime) -> None:
    """Tell those to stop that are drained and have no request; of an endpoint at which nobody is answered, all."""
    endpoint = Endpoint.objects.select_related("organisation").get(id=endpoint_id)
    held = _held(endpoint, now=now)
    over = _why_over(endpoint)
    leaving = {one.id for one in held if over or rules.is_empty(one, now=now)}
    why = over or "its endpoint needs it no more"
    for replica in Replica.objects.filter(id__in=leaving).select_related("run").order_by("id"):
        stop_order(order_id=replica.run.order_id, why=why, now=now)
        Replica.objects.filter(id=replica.id).update(over=True)


def _why_over(endpoint: Endpoint) -> str:
    """Why nobody is answered at the endpoint, so that nothing of it is to be paid; empty where somebody is."""
    if endpoint.state != EndpointState.OPEN:
        return "its endpoint has ended"
    if endpoint.organisation.state != OrganisationState.ACTIVE:
        return "its organisation is no longer active"
    return ""


@transaction.atomic(durable=True)
def _take_stock(endpoint_id: UUID, *, now: datetime) -> bool:
    """Note which replicas have ended, and drain what is to go; whether one is to be ordered."""
    rows = Endpoint.objects.select_for_update(of=("self",), no_key=True).select_related("organisation")
    endpoint = rows.get(id=endpoint_id)
    _note_ended(endpoint, now=now)
    if _why_over(endpoint):
        return False
    held = _held(endpoint, now=now)
    if endpoint.failures and any(_is_steady(one, now=now) for one in _well(endpoint)):
        _change(endpoint, failures=0, retry_at=None, reason="")
    step = rules.step(held, count=_count(endpoint, now=now), most=endpoint.replicas_max, now=now)
    if endpoint.reason and not step.missing:
        _change(endpoint, failures=endpoint.failures, retry_at=endpoint.retry_at, reason="")
    if step.drained:
        Replica.objects.filter(id__in=step.drained, drained_at=None).update(drained_at=now)
    may = endpoint.retry_at is None or endpoint.retry_at <= now
    return step.ordered and may


def _count(endpoint: Endpoint, *, now: datetime) -> int:
    since = now - timedelta(seconds=endpoint.idle_s) - _MINUTE
    minutes = EndpointMinute.objects.filter(endpoint=endpoint, minute__gt=since)
    most: int = minutes.aggregate(most=Max("in_flight_max"))["most"] or 0
    return rules.wanted(
        least=endpoint.replicas_min,
        most=endpoint.replicas_max,
        requests=endpoint.requests_per_replica,
        in_flight=max(most, endpoint.in_flight),
        asked_at=endpoint.asked_at,
        idle_s=endpoint.idle_s,
        now=now,
    )


def _note_ended(endpoint: Endpoint, *, now: datetime) -> None:
    """Those whose runs have ended are over; what ended at once, and was not told to, is a failure."""
    ended = [one for one in _live(endpoint) if is_ended(one.run.state)]
    Replica.objects.filter(id__in=[one.id for one in ended]).update(over=True)
    for one in ended:
        at = one.run.ended_at or now
        if one.drained_at is None and (one.well_at is None or at - one.well_at < rules.STEADY_FOR):
            _fail(endpoint, f"Its last replica ended at once: {one.run.reason or one.run.state}.", now=now)


def _held(endpoint: Endpoint, *, now: datetime) -> list[rules.Held]:
    rows = [one for one in _live(endpoint) if not is_ended(one.run.state)]
    runs = [one.run_id for one in rows]
    open_ = Attempt.objects.filter(run_id__in=runs).order_by("run_id", "epoch")
    attempts = {attempt.run_id: attempt for attempt in open_}
    places = Allocation.objects.filter(attempt__run_id__in=runs, live=True)
    ends = {run_id: period.upper for run_id, period in places.values_list("attempt__run_id", "period")}
    return [_held_of(one, endpoint, attempts.get(one.run_id), ends.get(one.run_id), now=now) for one in rows]


def _held_of(
    replica: Replica, endpoint: Endpoint, attempt: Attempt | None, until: datetime | None, *, now: datetime
) -> rules.Held:
    request = RunRequest.of_json(replica.run.request)
    ends_at = (until or now + request.duration) - timedelta(seconds=PERIOD_GRACE_S)
    silent = attempt is not None and attempt.state == AttemptState.UNREACHABLE
    running = attempt is not None and attempt.state == AttemptState.RUNNING
    return rules.Held(
        id=replica.id,
        is_current=replica.version == endpoint.version,
        is_well=running and replica.well_at is not None,
        ends_at=ends_at,
        succeeded_from=rules.succeeded_from(ends_at, wall_limit_s=request.wall_limit_s),
        silent_since=(attempt.leased_until or now) if attempt is not None and silent else None,
        drained_at=replica.drained_at,
        in_flight=replica.in_flight,
    )


def _live(endpoint: Endpoint) -> Sequence[Replica]:
    rows = Replica.objects.filter(endpoint=endpoint, over=False)
    return list(rows.select_related("run").order_by("id"))


def _well(endpoint: Endpoint) -> Sequence[Replica]:
    return [one for one in _live(endpoint) if one.drained_at is None and one.well_at is not None]


def _is_steady(one: Replica, *, now: datetime) -> bool:
    return one.well_at is not None and now - one.well_at >= rules.STEADY_FOR


def _order(endpoint_id: UUID, *, now: datetime) -> bool:
    """Order one replica in the owner's name, at the best plan that starts at once; whether it was."""
    endpoint = Endpoint.objects.select_related("owner").get(id=endpoint_id)
    actor = actor_for_user(endpoint.owner, organisation_id=endpoint.organisation_id, only_organisation=True)
    try:
        if not endpoint.owner.is_active or not allows(actor, "order.place", endpoint.organisation_id):
            raise _OwnerGone(
                f"{endpoint.owner.email}, in whose name its replicas are ordered, may no longer buy here.",
                hint="Change the endpoint: they are ordered in the name of who changed it last.",
            )
        if paid_now(endpoint) >= rules.most_live(endpoint.replicas_max):
            raise _StillStop(
                "Replicas that were told to stop have not stopped yet.", hint="They are paid until they do."
            )
        quotes = _quotes(endpoint, actor, now=now)
        soon = [one for one in quotes.quotes if one.starts_at <= now + REPLICA_STARTS_WITHIN]
        if not soon:
            raise _NoneFits(_why_none(quotes), hint="Widen what its task asks for.")
        key = f"replica:{soon[0].public_id}"
        accept_quote(actor=actor, quote_id=soon[0].id, idempotency_key=key, now=now)
    except Overtaken:
        return False
    except DomainError as refused:
        _note_refused(endpoint_id, refused.message, now=now)
        return False
    return True


class _OwnerGone(DomainError):
    """Whoever changed it last may buy nothing any more."""

    code = "endpoint_owner_gone"


class _StillStop(DomainError):
    """One more would be more than may be paid at once."""

    code = "endpoint_replicas_stop"


class _NoneFits(DomainError):
    """No offer starts it now."""

    code = "endpoint_not_served"


def _quotes(endpoint: Endpoint, actor: Actor, *, now: datetime) -> QuoteResult:
    task = task_of(endpoint)
    organisation_id = endpoint.organisation_id
    manifest = endpoint.workdir_manifest
    return quote_run(
        actor=actor,
        organisation_id=organisation_id,
        project_id=endpoint.project_id,
        task=replace(task, secrets=tuple(opened(endpoint.sealed_secrets).items())),
        workdir=read_manifest(manifest, organisation_id=organisation_id) if manifest else (),
        choice=choice_of(task.vouchers),
        now=now,
        replica=ReplicaOf(endpoint.id, endpoint.version, next_ordinal(endpoint)),
    )


def task_of(endpoint: Endpoint) -> TaskFile:
    """The task of its present version; in place of its secrets stands that there are some."""
    return parse_task(endpoint.task, source=endpoint.name)


def _why_none(found: QuoteResult) -> str:
    """What speaks against the offer that is refused for the fewest reasons."""
    refused = sorted(found.refused, key=lambda one: len(one.reasons))
    if not refused or not refused[0].reasons:
        return "No offer is on the shelf for it now."
    return f"No offer starts it now: {refused[0].reasons[0].message}."


@transaction.atomic(durable=True)
def _note_refused(endpoint_id: UUID, why: str, *, now: datetime) -> None:
    endpoint = Endpoint.objects.select_for_update(no_key=True).get(id=endpoint_id)
    if endpoint.state == EndpointState.OPEN:
        _fail(endpoint, why, now=now)


def _fail(endpoint: Endpoint, why: str, *, now: datetime) -> None:
    """One more failure: nothing is ordered for a while, and people are told once when it goes on."""
    failures = endpoint.failures + 1
    _change(endpoint, failures=failures, retry_at=now + rules.back_off(failures), reason=why[:_REASON_CHARS])
    if failures == rules.TOLD_AFTER:
        _tell(endpoint, now=now)


def _change(endpoint: Endpoint, *, failures: int, retry_at: datetime | None, reason: str) -> None:
    endpoint.failures, endpoint.retry_at, endpoint.reason = failures, retry_at, reason
    endpoint.save(update_fields=["failures", "retry_at", "reason"])


def _tell(endpoint: Endpoint, *, now: datetime) -> None:
    people = {
        *members_of(endpoint.organisation_id, roles=(Role.OWNER, Role.ADMIN)),
        endpoint.owner_id,
    }
    notify(
        user_ids=people,
        kind="endpoint.short",
        title={
            "zh": f"服务端点 {endpoint.name} 缺少副本",
            "en": f"Endpoint {endpoint.name} has too few replicas",
        },
        body={
            language: text.format(why=said(endpoint.reason, language)) for language, text in _SHORT.items()
        },
        now=now,
        link=f"/endpoints/{endpoint.public_id}/",
        subject_id=endpoint.id,
        organisation_id=endpoint.organisation_id,
        mail=True,
    )
