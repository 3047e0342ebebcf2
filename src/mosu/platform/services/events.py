"""The outbox: an event is written where it happened and told to its subscribers after the commit."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from mosu.platform.models import Delivery, Event
from mosu.platform.rows import insert

Handler = Callable[[Event], None]

_log = logging.getLogger(__name__)
_subscribers: Final[dict[str, dict[str, Handler]]] = {}


class DeliveryFailed(Exception):
    """Some subscribers failed; they are tried again with the next delivery, the others are done."""


def emit(
    *,
    name: str,
    subject_id: UUID,
    payload: Mapping[str, Any],
    now: datetime,
    organisation_id: UUID | None = None,
) -> None:
    """Tell whoever subscribed to `name`, after the transaction commits and at least once."""
    event = Event(
        name=name, subject_id=subject_id, payload=dict(payload), at=now, organisation_id=organisation_id
    )
    insert(event)
    if name in _subscribers:
        # Imported here: the task module needs the application registry, which loads this one.
        from mosu.platform.tasks import deliver_event  # noqa: PLC0415

        deliver_event.defer(event_id=str(event.id))


def subscribe(name: str, handler: Handler) -> None:
    """Have `handler` called for each event `name`, in a transaction of its own. For `AppConfig.ready`.

    The note that it was handled is written in that transaction: what fails leaves no trace and is tried again.
    """
    _subscribers.setdefault(name, {})[f"{handler.__module__}.{handler.__qualname__}"] = handler


def deliver(*, event_id: UUID, now: datetime) -> None:
    """Hand an event to each of its subscribers that has not had it yet. One that fails stops no other.

    Raises:
        DeliveryFailed: at least one failed; it names them.
    """
    event = Event.objects.get(id=event_id)
    failed = []
    for label, handler in _subscribers.get(event.name, {}).items():
        try:
            _deliver_to(event, label, handler, now)
        except Exception:  # noqa: BLE001 -- whatever a subscriber's bug is, the others must have their event
            _log.exception("subscriber %s failed on %s %s", label, event.name, event.public_id)
            failed.append(label)
    if failed:
        raise DeliveryFailed(f"{event.public_id} ({event.name}): {', '.join(failed)}")


@transaction.atomic(durable=True)
def _deliver_to(event: Event, label: str, handler: Handler, now: datetime) -> None:
    _, fresh = Delivery.objects.get_or_create(event=event, subscriber=label, defaults={"at": now})
    if fresh:
        handler(event)
