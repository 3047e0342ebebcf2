"""A closed month is read from its bill, not summed again; credit notes stand beside it."""

from datetime import timedelta

import pytest
from tests.ledger.test_api import Caller
from tests.market.conftest import YUAN, World, make_organisation, person
from tests.market.test_bills import MARCH, SHANGHAI, bought
from tests.market.test_closing import APRIL, checker, close, issue, operator, propose
from tests.market.vouchers import give_voucher

from mosu.market.bills import bill_of, months_summed, span_of
from mosu.market.models import Bill
from mosu.market.queries import bills_visible_to, credit_notes_beside
from mosu.platform.actors import Actor, HubRole, Role

__all__ = ["checker", "operator"]
"""Fixtures."""


def test_a_closed_month_is_its_frozen_bill_and_equals_the_sum_before(world: World, operator: Actor) -> None:
    give_voucher(world)
    bought(world, key="k1"), bought(world, key="k2")
    before = bill_of(world.actor, world.buyer.id, month=MARCH, zone=SHANGHAI)
    assert before.frozen is None
    close(operator)
    after = bill_of(world.actor, world.buyer.id, month=MARCH, zone=SHANGHAI)
    assert after.frozen == Bill.objects.get()
    after.frozen = None
    assert after == before


def test_what_is_shown_is_what_was_frozen(world: World, operator: Actor) -> None:
    """Not a sum of receipts: two queries, whatever their number, and the supplier's name as it was."""
    bought(world, key="k1")
    close(operator)
    was = world.supplier.name
    world.supplier.name = "Another name"
    world.supplier.save(update_fields=["name"])
    bill = bill_of(world.actor, world.buyer.id, month=MARCH, zone=SHANGHAI)
    assert list(bill.suppliers) == [was]
    (month,) = months_summed(world.actor, world.buyer.id, zone=SHANGHAI)
    assert (month.number, month.total_micros) == ("B-202603-000001", bill.total_micros)


def test_credit_notes_stand_beside_the_months_they_touch(
    world: World, operator: Actor, checker: Actor
) -> None:
    receipt = bought(world, key="k1")
    close(operator)
    proposed = propose(operator, receipt.id, YUAN)
    march = span_of(MARCH, zone=SHANGHAI)
    assert list(credit_notes_beside(world.actor, world.buyer.id, march)) == []
    note = issue(checker, proposed)
    april = span_of(MARCH + timedelta(days=31), zone=SHANGHAI)
    for span in (march, april):
        assert list(credit_notes_beside(world.actor, world.buyer.id, span)) == [note]
    may = span_of(MARCH + timedelta(days=61), zone=SHANGHAI)
    assert list(credit_notes_beside(world.actor, world.buyer.id, may)) == []
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    assert list(credit_notes_beside(stranger, world.buyer.id, march)) == []
    close(operator, MARCH + timedelta(days=31), now=APRIL + timedelta(days=40))
    found = bill_of(world.actor, world.buyer.id, month=MARCH + timedelta(days=31), zone=SHANGHAI)
    assert (found.receipts, found.credits_micros, found.due_micros) == (
        0,
        note.amount_micros,
        -note.amount_micros,
    )
    assert [one.number for one in months_summed(world.actor, world.buyer.id, zone=SHANGHAI)] == [
        "B-202604-000001",
        "B-202603-000001",
    ]


def test_a_bill_is_seen_by_its_own_and_the_hubs_people(world: World, operator: Actor) -> None:
    bought(world, key="k1")
    close(operator)
    auditor = person(hub_roles=[HubRole.AUDITOR])
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    assert [bills_visible_to(one).count() for one in (world.actor, auditor, stranger)] == [1, 1, 0]
    assert bill_of(stranger, world.buyer.id, month=MARCH, zone=SHANGHAI).frozen is None


@pytest.mark.urls("tests.market.urls")
def test_the_api_says_which_bill_it_is(world: World, operator: Actor) -> None:
    bought(world, key="k1")
    buyer = Caller("buyer", organisation=world.buyer)
    said = buyer.get("/bills/2026-03").json()
    assert (said["number"], said["sha256"], said["content"], said["credits"]) == (None, None, None, "0.00")
    close(operator)
    bill = Bill.objects.get()
    said = buyer.get("/bills/2026-03").json()
    assert (said["number"], said["sha256"]) == (bill.number, bill.sha256)
    assert said["content"] == bill.content
    assert said["due"] == f"{bill.due_micros / YUAN:.2f}"
    (month,) = buyer.get("/bills").json()["items"]
    assert (month["number"], month["due"]) == (bill.number, said["due"])
