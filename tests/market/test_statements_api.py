"""Statements and payouts over HTTP: entered by one person, confirmed or refused by another, read by whose they are."""

from dataclasses import dataclass
from typing import Any

import pytest
from tests.ledger.people import make_actor
from tests.ledger.test_api import Caller
from tests.market.conftest import YUAN, World, figures, ledger_sum, make_organisation, rows_now
from tests.market.test_bills import bought
from tests.market.test_closing import close

from mosu.kernel.ids import uuid7
from mosu.ledger.models import Payout
from mosu.market.models import Statement
from mosu.platform.actors import HubRole
from mosu.platform.models import AuditRecord

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.market.urls")]


@dataclass
class Desk:
    """Who decides on the one statement of a closed month."""

    world: World
    statement: Statement
    operator: Caller
    checker: Caller
    seller: Caller
    stranger: Caller

    def proposed(self, reference: str = "T-1") -> str:
        path = f"/statements/{self.statement.public_id}/payouts"
        answer = self.operator.post(path, {"bank_reference": reference})
        assert answer.status_code == 201, answer.content
        made: str = answer.json()["id"]
        return made


@pytest.fixture
def desk(world: World) -> Desk:
    bought(world, key="k")
    close(make_actor("closer", HubRole.OPERATOR))
    return Desk(
        world=world,
        statement=Statement.objects.get(),
        operator=Caller("operator", hub_role=HubRole.OPERATOR),
        checker=Caller("checker", hub_role=HubRole.CHECKER),
        seller=Caller("seller", organisation=world.supplier),
        stranger=Caller("stranger", organisation=make_organisation("Stranger")),
    )


def everything() -> Any:
    return rows_now(), list(Payout.objects.order_by("id").values())


def refused(answer: Any, status: int, kind: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:mosu:{kind}"), answer.content


def test_one_enters_and_another_confirms(desk: Desk) -> None:
    owed = figures("payable", desk.world.supplier.id)[0]
    payout = desk.proposed()
    assert figures("payable", desk.world.supplier.id)[0] == owed == desk.statement.net_micros
    for _ in range(2):
        said = desk.checker.post(f"/payouts/{payout}/confirm").json()
        assert (said["state"], said["statement_id"]) == ("confirmed", desk.statement.public_id)
        assert said["entry_id"].startswith("entry_")
    assert figures("payable", desk.world.supplier.id)[0] == 0
    assert ledger_sum() == 0
    refused(desk.checker.post(f"/payouts/{payout}/reject", {"why": "x"}), 409, "illegal_move")


def test_a_statement_is_paid_once_and_again_after_a_rejection(desk: Desk) -> None:
    first = desk.proposed()
    before = everything()
    path = f"/statements/{desk.statement.public_id}/payouts"
    for reference in ("T-1", "T-2"):
        refused(desk.operator.post(path, {"bank_reference": reference}), 409, "paid_before")
    refused(desk.checker.post(f"/payouts/{first}/reject", {"why": " "}), 422, "invalid")
    assert everything() == before
    answer = desk.checker.post(f"/payouts/{first}/reject", {"why": "Another amount at the bank."})
    assert (answer.status_code, answer.json()["state"]) == (200, "rejected")
    assert AuditRecord.objects.get(action="payout.rejected").why == "Another amount at the bank."
    assert desk.proposed("T-2") != first


def test_whose_turn_it_is_not(desk: Desk) -> None:
    payout = desk.proposed()
    before = everything()
    path = f"/statements/{desk.statement.public_id}/payouts"
    for caller in (desk.checker, desk.seller, desk.stranger):
        refused(caller.post(path, {"bank_reference": "T-9"}), 403, "forbidden")
    for caller in (desk.operator, desk.seller, desk.stranger):
        refused(caller.post(f"/payouts/{payout}/confirm"), 403, "forbidden")
        refused(caller.post(f"/payouts/{payout}/reject", {"why": "x"}), 403, "forbidden")
    assert everything() == before


def test_each_reads_its_own(desk: Desk) -> None:
    payout = desk.proposed()
    auditor = Caller("auditor", hub_role=HubRole.AUDITOR)
    for caller in (desk.seller, desk.operator, auditor):
        (one,) = caller.get("/statements?month=2026-03").json()["items"]
        assert (one["number"], float(one["net"]) * YUAN) == (desk.statement.number, desk.statement.net_micros)
        assert caller.get(f"/statements/{one['id']}").json() == one
        assert [each["id"] for each in caller.get("/payouts").json()["items"]] == [payout]
        assert caller.get(f"/payouts/{payout}").json()["bank_reference"] == "T-1"
    assert desk.seller.get("/statements?month=2026-04").json()["items"] == []
    for path in ("/statements", "/payouts"):
        assert desk.stranger.get(path).json() == {"items": [], "next": None}
    refused(desk.stranger.get(f"/statements/{desk.statement.public_id}"), 404, "not_found")
    refused(desk.stranger.get(f"/payouts/{payout}"), 404, "not_found")
    refused(desk.seller.get(f"/statements/statement_{uuid7().hex}"), 404, "not_found")
    refused(desk.seller.get("/statements?month=never"), 422, "invalid")
