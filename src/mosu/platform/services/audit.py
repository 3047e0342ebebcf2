"""Who did what."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord
from mosu.platform.rows import insert


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
    insert(
        AuditRecord(
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
    )
