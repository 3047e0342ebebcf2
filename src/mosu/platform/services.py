"""What others ask of the platform inside their own transactions: audit, idempotency, events."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.refusals import DomainError
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord, Delivery, Event

Handler = Callable[[Event], None]

_subscribers: Final[dict[str, dict[str, Handler]]] = {}


def record_audit(
    *,
    actor: Actor,
    action: str,
    subject_id: UUID,
    before: str | None,
    after: str | None,
    now: datetime,
    organisation_id: UUID | None = None,
    why: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write who moved `subject_id` from `before` to `after`; the database refuses the move without it."""
    AuditRecord.objects.create(
        at=now,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label,
        action=action,
        organisation_id=organisation_id,
        subject_id=subject_id,
        before=before,
        after=after,
        why=why,
        facts=dict(facts or {}),
    )


class KeyReused(DomainError):
    """The idempotency key was used with another request."""

    code = "key_reused"


@transaction.atomic
def claim_key(*, scope: str, key: str, digest: str) -> UUID | None:
    """None the first time; afterwards the id that the first request made. Others with this key wait for us.

    `scope` says whose key it is and for what; `digest` is the sha256 of the request.

    Raises:
        KeyReused: the key was used with another digest.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into platform_idempotencyrecord (scope, key, digest, created_at) values (%s, %s, %s, now()) "
            "on conflict (scope, key) do nothing",
            [scope, key, digest],
        )
        if cursor.rowcount == 1:
            return None
        cursor.execute(
            "select digest, result_id from platform_idempotencyrecord where scope = %s and key = %s for update",
            [scope, key],
        )
        seen, result_id = cursor.fetchone()
    if seen != digest:
        raise KeyReused(
            f"The idempotency key {key[:40]!r} was used with another request.",
            hint="Send the same request again, or use a new key.",
            key=key[:40],
        )
    return UUID(str(result_id)) if result_id else None


def fill_key(*, scope: str, key: str, result_id: UUID) -> None:
    """Remember what came of a claimed key; in the transaction that claimed it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "update platform_idempotencyrecord set result_id = %s where scope = %s and key = %s",
            [result_id, scope, key],
        )


def emit(
    *,
    name: str,
    subject_id: UUID,
    payload: Mapping[str, Any],
    now: datetime,
    organisation_id: UUID | None = None,
) -> None:
    """Tell whoever subscribed to `name`, after the transaction commits and at least once."""
    event = Event.objects.create(
        name=name, subject_id=subject_id, payload=dict(payload), at=now, organisation_id=organisation_id
    )
    if name in _subscribers:
        # Imported here: the task module needs the application registry, which loads this one.
        from mosu.platform.tasks import deliver_event  # noqa: PLC0415

        deliver_event.defer(event_id=str(event.id))


def subscribe(name: str, handler: Handler) -> None:
    """Have `handler` called once for each event `name`, in the delivery's transaction. For `AppConfig.ready`."""
    _subscribers.setdefault(name, {})[f"{handler.__module__}.{handler.__qualname__}"] = handler


@transaction.atomic(durable=True)
def deliver(*, event_id: UUID, now: datetime) -> None:
    """Hand an event to each of its subscribers that has not had it yet."""
    event = Event.objects.get(id=event_id)
    for label, handler in _subscribers.get(event.name, {}).items():
        _, fresh = Delivery.objects.get_or_create(event=event, subscriber=label, defaults={"at": now})
        if fresh:
            handler(event)
