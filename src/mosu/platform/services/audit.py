"""Who did what."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord

_waiting: Final[ContextVar[list[AuditRecord] | None]] = ContextVar("audit_records", default=None)


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
    record = AuditRecord(
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
    waiting = _waiting.get()
    if waiting is None:
        record.save(force_insert=True)
    else:
        waiting.append(record)


@contextmanager
def audits_together() -> Iterator[None]:
    """All that is recorded inside is written at its end, by one statement; around an intention of many moves.

    Inside that intention's transaction, whose commit the database refuses if a move has no record.
    """
    if _waiting.get() is not None:
        yield
        return
    records: list[AuditRecord] = []
    token = _waiting.set(records)
    try:
        yield
    finally:
        _waiting.reset(token)
    AuditRecord.objects.bulk_create(records)
