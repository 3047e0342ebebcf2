"""Findings: an auditor opens them, an operator answers, the auditor closes or asks again."""

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import NotFound
from mosu.kernel.states import check_move
from mosu.platform.actors import Actor
from mosu.platform.models import Finding, FindingState
from mosu.platform.policy import person_of, require
from mosu.platform.rules import two_persons, words_of
from mosu.platform.services.audit import record_audit

ANSWER_WITHIN: Final = timedelta(days=14)
TEXT_MAX: Final = 4000
MOVES: Final = MappingProxyType(
    {
        FindingState.OPEN: frozenset({FindingState.ANSWERED, FindingState.CLOSED}),
        FindingState.ANSWERED: frozenset({FindingState.OPEN, FindingState.CLOSED}),
        FindingState.CLOSED: frozenset({FindingState.OPEN}),
    }
)


@transaction.atomic
def open_finding(
    *,
    actor: Actor,
    subject: str,
    title: str,
    text: str,
    now: datetime,
    organisation_id: UUID | None = None,
) -> Finding:
    """A new finding about `subject`, a public id; an answer is due in 14 days.

    Raises:
        Invalid: no title or text, or one that is too long.
    """
    require(actor, "finding.open")
    finding = Finding.objects.create(
        subject=subject,
        organisation_id=organisation_id,
        title=words_of("title", title, 200),
        text=words_of("text", text, TEXT_MAX),
        opened_by_id=person_of(actor),
        opened_at=now,
        due_at=now + ANSWER_WITHIN,
    )
    _audit(finding, actor=actor, before=None, why=finding.title, now=now)
    return finding


@transaction.atomic
def answer_finding(*, actor: Actor, finding_id: UUID, answer: str, now: datetime) -> Finding:
    """What was or will be done about it.

    Raises:
        SamePerson: who opened it does not also answer it.
        IllegalMove: it is not open.
    """
    require(actor, "finding.answer")
    finding = _locked(finding_id)
    two_persons(finding.opened_by_id, actor.id)
    finding.answer = words_of("answer", answer, TEXT_MAX)
    finding.answered_by_id, finding.answered_at = actor.id, now
    return _move(finding, to=FindingState.ANSWERED, actor=actor, why=finding.answer, now=now)


@transaction.atomic
def close_finding(*, actor: Actor, finding_id: UUID, why: str, now: datetime) -> Finding:
    """The answer suffices, or there is nothing to answer; `why` says which.

    Raises:
        IllegalMove: it is closed already.
    """
    require(actor, "finding.open")
    finding = _locked(finding_id)
    finding.closed_at = now
    return _move(finding, to=FindingState.CLOSED, actor=actor, why=words_of("why", why, TEXT_MAX), now=now)


@transaction.atomic
def reopen_finding(*, actor: Actor, finding_id: UUID, why: str, now: datetime) -> Finding:
    """The answer does not suffice, or it came up again; an answer is due anew.

    Raises:
        IllegalMove: it is open.
    """
    require(actor, "finding.open")
    finding = _locked(finding_id)
    finding.closed_at, finding.due_at = None, now + ANSWER_WITHIN
    return _move(finding, to=FindingState.OPEN, actor=actor, why=words_of("why", why, TEXT_MAX), now=now)


def _locked(finding_id: UUID) -> Finding:
    finding = Finding.objects.select_for_update().filter(id=finding_id).first()
    if finding is None:
        raise NotFound("There is no such finding.", hint="See the list of findings.")
    return finding


def _move(finding: Finding, *, to: FindingState, actor: Actor, why: str, now: datetime) -> Finding:
    """The only place that writes `Finding.state`; the caller holds the row lock."""
    before = FindingState(finding.state)
    check_move(MOVES, what=finding.public_id, now=before, to=to)
    finding.state = to
    finding.save()
    _audit(finding, actor=actor, before=before, why=why, now=now)
    return finding


def _audit(finding: Finding, *, actor: Actor, before: str | None, why: str, now: datetime) -> None:
    record_audit(
        actor=actor,
        action=f"finding.{finding.state}",
        subject_id=finding.id,
        before=before,
        after=finding.state,
        why=why,
        now=now,
        facts={"subject": finding.subject},
    )
