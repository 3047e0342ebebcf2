"""Who did what."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.db import connection

from mosu.kernel.ids import uuid7
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord
from mosu.platform.rows import insert

_BATCH: Final = 10_000
_COPY: Final = (
    "copy platform_auditrecord (id, at, actor_kind, actor_id, actor_label, action, organisation_id, subject_id,"
    " before, after, why, facts) from stdin"
)


@dataclass(frozen=True, slots=True)
class Audit:
    """One of many records that one intention writes; as `record_audit` takes them."""

    action: str
    subject_id: UUID
    before: str | None
    after: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def record_audits(
    *,
    actor: Actor,
    entries: Iterable[Audit],
    now: datetime,
    organisation_id: UUID | None = None,
    why: str = "",
) -> None:
    """`record_audit` for as many changes as one intention makes, copied in batches."""
    rest = iter(entries)
    while batch := list(islice(rest, _BATCH)):
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for one in batch:
                copy.write_row(
                    (
                        uuid7(),
                        now,
                        actor.kind.value,
                        actor.id,
                        actor.label,
                        one.action,
                        organisation_id,
                        one.subject_id,
                        one.before,
                        one.after,
                        why,
                        json.dumps(dict(one.facts)),
                    )
                )


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
