"""Who did what."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router

from mosu.kernel.ids import typeid, uuid_of
from mosu.platform import queries
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    AuditRecord,
    Organisation,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Out

router = Router(auth=token_auth, tags=["platform"])


class AuditOut(Out):
    id: str
    at: datetime
    actor_kind: str
    actor: str
    action: str
    organisation_id: str | None
    subject: UUID
    """The key of what changed, without its type."""
    before: str | None
    after: str | None
    why: str
    facts: dict[str, Any]

    @staticmethod
    def of(record: AuditRecord) -> "AuditOut":
        return AuditOut(
            id=record.public_id,
            at=record.at,
            actor_kind=record.actor_kind,
            actor=record.actor_label,
            action=record.action,
            organisation_id=typeid("org", record.organisation_id) if record.organisation_id else None,
            subject=record.subject_id,
            before=record.before,
            after=record.after,
            why=record.why,
            facts=record.facts,
        )


@router.get("/audit", response=Listed[AuditOut], operation_id="listAudit")
@door("audit.read")
def list_audit(
    request: HttpRequest,
    paging: Query[Paging],
    subject_id: str | None = None,
    organisation_id: str | None = None,
) -> Listed[AuditOut]:
    """Who did what, newest first; of one thing by its id, whatever its type."""
    rows = queries.audit_visible_to(actor_of(request))
    if subject_id:
        rows = rows.filter(subject_id=uuid_of(subject_id.rpartition("_")[0], subject_id))
    if organisation_id:
        rows = rows.filter(organisation_id=Organisation.key_of(organisation_id))
    found, after = page_of(rows, paging.cursor, paging.limit)
    return Listed(items=[AuditOut.of(row) for row in found], next=after)
