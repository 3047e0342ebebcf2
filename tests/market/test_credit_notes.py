"""Credit notes over HTTP: proposed by one person, issued or rejected by another, read by whose they are."""

from dataclasses import dataclass
from typing import Any

import pytest
from tests.ledger.people import make_actor
from tests.ledger.test_api import Caller
from tests.market.conftest import World, figures, ledger_sum, make_organisation, rows_now
from tests.market.test_bills import bought
from tests.market.test_closing import close

from mosu.kernel.ids import uuid7
from mosu.market.models import Bill, CreditNote, Receipt
from mosu.platform.actors import HubRole
from mosu.platform.models import AuditRecord, HubMembership, User

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.market.urls")]
WHY = "Metered twice."


@dataclass
class Desk:
    """Who decides on the one receipt of a closed month."""

    world: World
    receipt: Receipt
    operator: Caller
    checker: Caller
    buyer: Caller
    stranger: Caller

    def body(self, **changes: Any) -> dict[str, Any]:
        wanted = {"receipt_id": self.receipt.public_id, "amount": "1.00", "borne_by": "supplier", "why": WHY}
        return wanted | changes

    def proposed(self, **changes: Any) -> str:
        answer = self.operator.post("/credit-notes", self.body(**changes))
        assert answer.status_code == 201, answer.content
        made: str = answer.json()["id"]
        return made


@pytest.fixture
def desk(world: World) -> Desk:
    receipt = bought(world, key="k")
    close(make_actor("closer", HubRole.OPERATOR))
    return Desk(
        world=world,
        receipt=receipt,
        operator=Caller("operator", hub_role=HubRole.OPERATOR),
        checker=Caller("checker", hub_role=HubRole.CHECKER),
        buyer=Caller("buyer", organisation=world.buyer),
        stranger=Caller("stranger", organisation=make_organisation("Stranger")),
    )


def everything() -> Any:
    return rows_now(), list(CreditNote.objects.order_by("id").values())


def refused(answer: Any, status: int, kind: str, field: str | None = None) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:mosu:{kind}"), answer.content
    assert field is None or field in answer.json()["field"]


def test_one_proposes_and_another_issues(desk: Desk) -> None:
    before = figures("balance", desk.world.buyer.id)[0]
    answer = desk.operator.post("/credit-notes", desk.body())
    assert answer.status_code == 201
    said = answer.json()
    assert (said["state"], said["number"], said["amount"]) == ("proposed", None, "1.00")
    assert (said["receipt_id"], said["why"]) == (desk.receipt.public_id, WHY)
    assert figures("balance", desk.world.buyer.id)[0] == before
    for _ in range(2):
        issued = desk.checker.post(f"/credit-notes/{said['id']}/issue")
        assert issued.status_code == 200
        assert (issued.json()["state"], issued.json()["number"][:2]) == ("issued", "C-")
    assert figures("balance", desk.world.buyer.id)[0] == before + 1_000_000
    assert ledger_sum() == 0
    refused(desk.checker.post(f"/credit-notes/{said['id']}/reject", {"why": "x"}), 409, "illegal_move")


def test_a_rejection_says_why_and_is_for_good(desk: Desk) -> None:
    note = desk.proposed()
    before = everything()
    for why in ("", " \t"):
        refused(desk.checker.post(f"/credit-notes/{note}/reject", {"why": why}), 422, "invalid", "why")
    refused(desk.checker.post(f"/credit-notes/{note}/reject", {}), 422, "invalid", "why")
    assert everything() == before
    answer = desk.checker.post(f"/credit-notes/{note}/reject", {"why": "Rightly metered."})
    assert (answer.status_code, answer.json()["state"]) == (200, "rejected")
    assert AuditRecord.objects.get(action="credit_note.rejected").why == "Rightly metered."
    refused(desk.checker.post(f"/credit-notes/{note}/issue"), 409, "illegal_move")


def test_whose_turn_it_is_not(desk: Desk) -> None:
    note = desk.proposed()
    before = everything()
    for caller in (desk.checker, desk.buyer, desk.stranger):
        refused(caller.post("/credit-notes", desk.body()), 403, "forbidden")
    for caller in (desk.operator, desk.buyer, desk.stranger):
        refused(caller.post(f"/credit-notes/{note}/issue"), 403, "forbidden")
        refused(caller.post(f"/credit-notes/{note}/reject", {"why": "x"}), 403, "forbidden")
    assert everything() == before


def test_the_same_person_with_both_roles_does_not_decide_alone(desk: Desk) -> None:
    note = desk.proposed()
    HubMembership.objects.create(
        user=User.objects.get(email="operator@example.org"),
        role=HubRole.CHECKER,
        created_at=desk.receipt.issued_at,
    )
    before = everything()
    refused(desk.operator.post(f"/credit-notes/{note}/issue"), 403, "same_person")
    refused(desk.operator.post(f"/credit-notes/{note}/reject", {"why": "x"}), 403, "same_person")
    assert everything() == before


@pytest.mark.parametrize(
    ("changes", "status", "kind", "field"),
    [
        ({"amount": "0"}, 422, "invalid", "amount"),
        ({"amount": "0.001"}, 422, "invalid", "amount"),
        ({"amount": "-1"}, 422, "invalid", "amount"),
        ({"amount": "much"}, 422, "invalid", "amount"),
        ({"amount": "999999999999"}, 409, "more_than_paid", "amount"),
        ({"why": " "}, 422, "invalid", "why"),
        ({"why": "a\0"}, 422, "invalid", "why"),
        ({"borne_by": "nobody"}, 422, "invalid", "borne_by"),
        ({"receipt_id": f"receipt_{uuid7().hex}"}, 404, "not_found", None),
    ],
)
def test_what_is_refused_changes_nothing(
    desk: Desk, changes: dict[str, str], status: int, kind: str, field: str | None
) -> None:
    before = everything()
    refused(desk.operator.post("/credit-notes", desk.body(**changes)), status, kind, field)
    assert everything() == before


def test_a_receipt_of_an_open_month_is_no_matter_of_a_credit_note(world: World) -> None:
    receipt, operator = bought(world, key="k"), Caller("operator", hub_role=HubRole.OPERATOR)
    body = {"receipt_id": receipt.public_id, "amount": "1", "borne_by": "hub", "why": WHY}
    refused(operator.post("/credit-notes", body), 409, "month_open")
    assert not CreditNote.objects.exists()


def test_notes_of_one_receipt_add_up_to_no_more_than_was_paid(desk: Desk) -> None:
    """Proposed ones count too: who issues the last is never refused for the sum."""
    paid = Bill.objects.get().paid_micros
    desk.proposed(amount=f"{paid / 1_000_000:.2f}")
    refused(desk.operator.post("/credit-notes", desk.body(amount="0.01")), 409, "more_than_paid", "amount")


def test_each_sees_its_own(desk: Desk) -> None:
    first, second = desk.proposed(), desk.proposed()
    auditor = Caller("auditor", hub_role=HubRole.AUDITOR)
    for caller in (desk.buyer, desk.operator, auditor):
        assert [one["id"] for one in caller.get("/credit-notes").json()["items"]] == [second, first]
    assert desk.stranger.get("/credit-notes").json() == {"items": [], "next": None}
    page = desk.buyer.get("/credit-notes?limit=1").json()
    assert [one["id"] for one in page["items"]] == [second]
    following = desk.buyer.get(f"/credit-notes?limit=1&cursor={page['next']}").json()
    assert [one["id"] for one in following["items"]] == [first]


def test_a_supplier_sees_what_it_bears_once_issued_and_no_buyer(desk: Desk) -> None:
    seller = Caller("seller", organisation=desk.world.supplier)
    note = desk.proposed()
    assert seller.get("/credit-notes").json()["items"] == []
    assert seller.get(f"/credit-notes/{note}").status_code == 404
    desk.checker.post(f"/credit-notes/{note}/issue")
    (one,) = seller.get("/credit-notes").json()["items"]
    assert (one["id"], one["organisation_id"]) == (note, None)
    assert one["supplier_id"] == desk.world.supplier.public_id
    assert desk.buyer.get(f"/credit-notes/{note}").json()["organisation_id"] == desk.world.buyer.public_id
    assert desk.stranger.get(f"/credit-notes/{note}").status_code == 404
