"""A supplier reads what was bought of it: the sums are the ledger's, and the buyer's name is the buyer's own."""

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from tests.market.conftest import World, figures, make_organisation, person
from tests.market.test_api import token_of
from tests.market.test_services import accept, record, settle, used
from tests.market.vouchers import give_voucher

from mosu.ledger.models import Account
from mosu.ledger.queries import statement_by_month
from mosu.market.models import Order, SoldBy
from mosu.market.queries import sales_visible_to
from mosu.market.sales import Sale, sales_of, to_invoice_of
from mosu.platform.actors import HubRole, Role

pytestmark = pytest.mark.django_db
SHANGHAI = ZoneInfo("Asia/Shanghai")
MARCH = date(2026, 3, 1)


def sold(world: World, *, key: str = "k1", sold_by: SoldBy = SoldBy.HUB, fee_bp: int = 0) -> Order:
    offer = world.offer(sold_by=sold_by, fee_bp=fee_bp)
    order = accept(world, world.quote(offer=offer, units=4, wall_s=3600), key=key)
    record(used(order, 1800))
    settle(order)
    return order


def sale(world: World) -> Sale:
    [found] = sales_of(world.seller, sales_visible_to(world.seller))
    return found


def test_what_a_sale_brought_is_what_the_ledger_has(world: World) -> None:
    give_voucher(world)
    sold(world, fee_bp=500)
    found = sale(world)
    assert found.total_micros == 7_200_000
    assert found.vouchers_micros and found.buyer_share_micros
    assert found.total_micros == found.vouchers_micros + found.buyer_share_micros
    assert found.fee_micros == 360_000
    assert (found.due_micros, found.to_invoice_micros) == (6_840_000, 0)
    assert figures("payable", world.supplier.id)[0] == found.due_micros
    assert [(one.quantity, one.unit) for one in found.used] == [("2", "core_hour")]
    account = Account.objects.get(kind="payable", owner_id=world.supplier.id)
    [month] = statement_by_month(world.seller, account.id, zone=SHANGHAI)
    assert (month.month, month.before_micros, month.after_micros) == (MARCH, 0, 6_840_000)
    assert month.by_kind["order.fee"] == -360_000
    assert sum(month.by_kind.values()) == month.after_micros


def test_what_the_supplier_bills_itself_is_not_owed_by_the_hub(world: World) -> None:
    give_voucher(world)
    sold(world, sold_by=SoldBy.SUPPLIER)
    found = sale(world)
    assert found.due_micros == found.vouchers_micros == figures("payable", world.supplier.id)[0]
    assert found.to_invoice_micros == found.buyer_share_micros
    [month] = to_invoice_of(world.seller, world.supplier.id, zone=SHANGHAI)
    assert (month.month, month.receipts, month.amount_micros) == (MARCH, 1, found.to_invoice_micros)
    assert to_invoice_of(world.actor, world.supplier.id, zone=SHANGHAI) == []


def test_the_buyers_name_is_told_where_the_supplier_bills_and_to_the_hub(world: World) -> None:
    sold(world)
    assert sale(world).buyer is None
    auditor = person(hub_roles=[HubRole.AUDITOR])
    [seen] = sales_of(auditor, sales_visible_to(auditor))
    assert seen.buyer == world.buyer
    sold(world, key="k2", sold_by=SoldBy.SUPPLIER)
    assert [one.buyer for one in sales_of(world.seller, sales_visible_to(world.seller))] == [
        world.buyer,
        None,
    ]


def test_an_order_that_is_not_settled_has_no_sums(world: World) -> None:
    accept(world, world.quote(units=4, wall_s=3600))
    found = sale(world)
    assert (found.total_micros, found.due_micros, list(found.used)) == (None, None, [])


@pytest.mark.urls("tests.market.urls")
def test_sales_over_http(client: Client, world: World) -> None:
    order = sold(world)
    headers = token_of(world.supplier, Role.VIEWER)
    client.get("/api/v1/sales", headers=headers)
    with CaptureQueriesContext(connection) as asked:
        [found] = client.get("/api/v1/sales?month=2026-03", headers=headers).json()["items"]
    assert len(asked) <= 4
    assert (found["number"], found["buyer"], found["due"]) == (order.number, None, "7.20")
    assert found["used"] == [{"quantity": "2", "unit": "core_hour"}]
    assert client.get("/api/v1/sales?month=2026-04", headers=headers).json()["items"] == []
    assert client.get("/api/v1/sales?month=never", headers=headers).status_code == 422
    assert client.get("/api/v1/sales?state=active", headers=headers).json()["items"] == []
    for organisation in (world.buyer, make_organisation("other")):
        answer = client.get("/api/v1/sales", headers=token_of(organisation, Role.OWNER))
        assert answer.json()["items"] == []
