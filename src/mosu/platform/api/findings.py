"""What auditors found."""

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import StringConstraints

from mosu.platform import queries, services
from mosu.platform.api.shapes import Short
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    Finding,
    FindingState,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router = Router(auth=token_auth, tags=["platform"])


class FindingIn(In):
    subject: Short
    """The public id of what it is about."""
    title: Short
    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class WordsIn(In):
    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class FindingOut(Out):
    id: str
    subject: str
    title: str
    text: str
    answer: str
    state: FindingState
    opened_by: str
    opened_at: datetime
    due_at: datetime
    answered_by: str | None
    answered_at: datetime | None
    closed_at: datetime | None

    @classmethod
    def of(cls, finding: Finding) -> "FindingOut":
        return cls(
            id=finding.public_id,
            subject=finding.subject,
            title=finding.title,
            text=finding.text,
            answer=finding.answer,
            state=FindingState(finding.state),
            opened_by=finding.opened_by.email,
            opened_at=finding.opened_at,
            due_at=finding.due_at,
            answered_by=finding.answered_by.email if finding.answered_by else None,
            answered_at=finding.answered_at,
            closed_at=finding.closed_at,
        )


@router.get("/findings", response=Listed[FindingOut], operation_id="listFindings")
@door("finding.read")
def list_findings(request: HttpRequest, paging: Query[Paging]) -> Listed[FindingOut]:
    rows, after = page_of(queries.findings_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[FindingOut.of(row) for row in rows], next=after)


@router.post("/findings", response={201: FindingOut}, operation_id="openFinding")
@door("finding.open")
def open_finding(request: HttpRequest, body: FindingIn) -> Status[FindingOut]:
    finding = services.open_finding(
        actor=actor_of(request), subject=body.subject, title=body.title, text=body.text, now=timezone.now()
    )
    return Status(201, FindingOut.of(finding))


@router.post("/findings/{finding_id}/answer", response=FindingOut, operation_id="answerFinding")
@door("finding.answer")
def answer_finding(request: HttpRequest, finding_id: str, body: WordsIn) -> FindingOut:
    return FindingOut.of(
        services.answer_finding(
            actor=actor_of(request),
            finding_id=Finding.key_of(finding_id),
            answer=body.text,
            now=timezone.now(),
        )
    )


@router.post("/findings/{finding_id}/close", response=FindingOut, operation_id="closeFinding")
@door("finding.open")
def close_finding(request: HttpRequest, finding_id: str, body: WordsIn) -> FindingOut:
    return FindingOut.of(
        services.close_finding(
            actor=actor_of(request), finding_id=Finding.key_of(finding_id), why=body.text, now=timezone.now()
        )
    )


@router.post("/findings/{finding_id}/reopen", response=FindingOut, operation_id="reopenFinding")
@door("finding.open")
def reopen_finding(request: HttpRequest, finding_id: str, body: WordsIn) -> FindingOut:
    return FindingOut.of(
        services.reopen_finding(
            actor=actor_of(request), finding_id=Finding.key_of(finding_id), why=body.text, now=timezone.now()
        )
    )
