"""Being admitted: asked for by an organisation, decided by the operator with a reason, on record."""

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from tests.platform.factories import NOW, make_founder, make_member, make_staff

from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.platform.actors import HubRole, Role
from mosu.platform.models import Admission, AuditRecord, Notice, Organisation
from mosu.platform.services import (
    AskedBefore,
    admit,
    admit_asked,
    ask_admission,
    decline_admission,
    dismiss,
    withdraw_admission,
)
from mosu.platform.today import waiting_for

pytestmark = pytest.mark.django_db
NOTE = "Two racks of 910B in Shanghai"


def asked(actor: Any, organisation: Organisation, capability: str = "supplier") -> Admission:
    return ask_admission(
        actor=actor, organisation_id=organisation.id, capability=capability, note=NOTE, now=NOW
    )


def figures() -> tuple[Any, ...]:
    return (
        list(Admission.objects.order_by("id").values_list("state", "why", "decided_by")),
        list(Organisation.objects.order_by("id").values_list("capabilities", flat=True)),
        AuditRecord.objects.count(),
        Notice.objects.count(),
    )


def kinds(actor: Any) -> list[str]:
    return [one.kind for one in waiting_for(actor, now=NOW)]


def test_what_is_asked_stands_on_the_operators_today_until_it_is_admitted() -> None:
    owner, organisation = make_founder()
    operator = make_staff(HubRole.OPERATOR)
    assert "organisation.admit" in kinds(operator)
    admission = asked(owner, organisation)
    assert "admission.decide" in kinds(operator)
    assert "organisation.admit" not in kinds(operator)
    assert "admission.awaited" in kinds(owner)
    admit_asked(actor=operator, admission_id=admission.id, why="Seen the site", now=NOW)
    organisation.refresh_from_db()
    admission.refresh_from_db()
    assert (organisation.capabilities, admission.state, admission.why) == (
        ["supplier"],
        "admitted",
        "Seen the site",
    )
    assert kinds(operator) == ["hub.supplier"]
    notice = Notice.objects.get(user=owner.id)
    assert (notice.kind, notice.body["en"]) == ("admission.admitted", "Seen the site")
    moves = AuditRecord.objects.filter(subject_id=admission.id).order_by("id").values_list("before", "after")
    assert list(moves) == [(None, "asked"), ("asked", "admitted")]


def test_a_declined_one_says_why_and_may_ask_again() -> None:
    owner, organisation = make_founder()
    operator = make_staff(HubRole.OPERATOR)
    first = asked(owner, organisation)
    before = figures()
    for answer in (decline_admission, admit_asked):
        for why in ("  ", "x" * 1001, "a\x00"):
            with pytest.raises(Invalid):
                answer(actor=operator, admission_id=first.id, why=why, now=NOW)
    assert figures() == before
    decline_admission(actor=operator, admission_id=first.id, why="No licence", now=NOW)
    organisation.refresh_from_db()
    assert organisation.capabilities == []
    assert Notice.objects.get(user=owner.id).body["zh"] == "No licence"
    # What was answered does not come back as a new organisation.
    assert kinds(operator) == []
    again = asked(owner, organisation)
    assert {one.state for one in Admission.objects.all()} == {"declined", "asked"}
    assert withdraw_admission(actor=owner, admission_id=again.id, why="", now=NOW).state == "withdrawn"


def test_the_operators_own_admission_answers_what_was_asked() -> None:
    owner, organisation = make_founder()
    operator = make_staff(HubRole.OPERATOR)
    admission, other = asked(owner, organisation), asked(owner, organisation, "sponsor")
    admit(actor=operator, organisation_id=organisation.id, capability="supplier", why="Known", now=NOW)
    assert dict(Admission.objects.values_list("id", "state")) == {
        admission.id: "admitted",
        other.id: "asked",
    }


def test_asking_is_for_who_manages_once_and_not_for_the_hub_itself() -> None:
    owner, organisation = make_founder()
    stranger, _ = make_founder()
    operator = make_staff(HubRole.OPERATOR)
    developer = make_member(organisation, Role.DEVELOPER)
    before = figures()
    for actor, capability, refusal in (
        (stranger, "supplier", Forbidden),
        (developer, "supplier", Forbidden),
        (operator, "supplier", Forbidden),
        (owner, "operator", Invalid),
        (owner, "queen", Invalid),
    ):
        with pytest.raises(refusal):
            asked(actor, organisation, capability)
    with pytest.raises(Invalid):
        ask_admission(actor=owner, organisation_id=organisation.id, capability="supplier", note=" ", now=NOW)
    assert figures() == before
    admission = asked(owner, organisation)
    before = figures()
    with pytest.raises(AskedBefore):
        asked(owner, organisation)
    for actor in (owner, developer):
        with pytest.raises(Forbidden):
            decline_admission(actor=actor, admission_id=admission.id, why="mine", now=NOW)
        with pytest.raises(Forbidden):
            admit_asked(actor=actor, admission_id=admission.id, why="mine", now=NOW)
    with pytest.raises(NotFound):
        withdraw_admission(actor=stranger, admission_id=admission.id, why="", now=NOW)
    assert figures() == before
    admit_asked(actor=operator, admission_id=admission.id, why="fine", now=NOW)
    before = figures()
    with pytest.raises(AskedBefore):
        asked(owner, organisation)
    for late in (
        lambda: admit_asked(actor=operator, admission_id=admission.id, why="again", now=NOW),
        lambda: decline_admission(actor=operator, admission_id=admission.id, why="no", now=NOW),
        lambda: withdraw_admission(actor=owner, admission_id=admission.id, why="", now=NOW),
    ):
        with pytest.raises(IllegalMove):
            late()
    assert figures() == before
    dismiss(actor=operator, organisation_id=organisation.id, capability="supplier", why="left", now=NOW)
    assert asked(owner, organisation).state == "asked"


@pytest.mark.parametrize(
    "change",
    ["state = 'asked', decided_at = null", "why = 'other'", "note = 'other'", "capability = 'sponsor'"],
)
def test_the_database_keeps_what_was_asked_and_decided(change: str) -> None:
    owner, organisation = make_founder()
    admission = asked(owner, organisation)
    withdraw_admission(actor=owner, admission_id=admission.id, why="", now=NOW)
    with pytest.raises(DatabaseError), transaction.atomic():
        connection.cursor().execute(f"update platform_admission set {change}")
    kept = Admission.objects.get()
    assert (kept.state, kept.why, kept.note, kept.capability) == ("withdrawn", "", NOTE, "supplier")
