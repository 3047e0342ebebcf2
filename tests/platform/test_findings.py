"""What auditors find: opened, answered by another person, closed; never without a record."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from tests.platform.factories import NOW, make_founder, make_staff

from mosu.kernel.refusals import Forbidden, Invalid
from mosu.kernel.states import IllegalMove
from mosu.platform.actors import Actor, HubRole
from mosu.platform.models import AuditRecord, Finding
from mosu.platform.queries import findings_visible_to
from mosu.platform.services import (
    SamePerson,
    answer_finding,
    close_finding,
    open_finding,
    reopen_finding,
)

pytestmark = pytest.mark.django_db


def opened(actor: Actor) -> Finding:
    return open_finding(
        actor=actor, subject="order_01", title="No usage", text="Charged without usage.", now=NOW
    )


def test_a_finding_is_opened_answered_and_closed_with_a_record_of_each() -> None:
    auditor, operator = make_staff(HubRole.AUDITOR), make_staff(HubRole.OPERATOR)
    finding = opened(auditor)
    assert finding.due_at == NOW + timedelta(days=14)
    answer_finding(actor=operator, finding_id=finding.id, answer="Credited.", now=NOW)
    reopen_finding(actor=auditor, finding_id=finding.id, why="Which entry?", now=NOW)
    answer_finding(actor=operator, finding_id=finding.id, answer="Entry 7.", now=NOW)
    close_finding(actor=auditor, finding_id=finding.id, why="Seen.", now=NOW)
    moves = AuditRecord.objects.filter(subject_id=finding.id).order_by("id").values_list("before", "after")
    assert list(moves) == [
        (None, "open"),
        ("open", "answered"),
        ("answered", "open"),
        ("open", "answered"),
        ("answered", "closed"),
    ]


def test_only_auditors_open_and_only_another_person_answers() -> None:
    both = make_staff(HubRole.AUDITOR, HubRole.OPERATOR)
    owner, _organisation = make_founder()
    for stranger in (owner, make_staff(HubRole.OPERATOR), make_staff(HubRole.CHECKER)):
        with pytest.raises(Forbidden):
            opened(stranger)
    finding = opened(both)
    with pytest.raises(SamePerson):
        answer_finding(actor=both, finding_id=finding.id, answer="Fine.", now=NOW)
    finding.refresh_from_db()
    assert (finding.state, finding.answer) == ("open", "")


def test_refusals_change_nothing() -> None:
    auditor = make_staff(HubRole.AUDITOR)
    with pytest.raises(Invalid):
        open_finding(actor=auditor, subject="order_01", title=" ", text="x", now=NOW)
    assert not Finding.objects.exists()
    finding = opened(auditor)
    close_finding(actor=auditor, finding_id=finding.id, why="A mistake of mine.", now=NOW)
    with pytest.raises(IllegalMove):
        close_finding(actor=auditor, finding_id=finding.id, why="Again.", now=NOW)


def test_an_organisation_sees_no_findings() -> None:
    auditor, (owner, _organisation) = make_staff(HubRole.AUDITOR), make_founder()
    finding = opened(auditor)
    assert list(findings_visible_to(auditor)) == [finding]
    assert not findings_visible_to(owner).exists()


def test_the_database_refuses_a_move_without_a_record_and_one_person_for_both() -> None:
    finding = opened(make_staff(HubRole.AUDITOR))
    with pytest.raises((DatabaseError, IntegrityError)), transaction.atomic():
        Finding.objects.filter(id=finding.id).update(state="closed", closed_at=NOW)
        connection.check_constraints()
    with pytest.raises(IntegrityError), transaction.atomic():
        Finding.objects.filter(id=finding.id).update(answered_by=finding.opened_by)
