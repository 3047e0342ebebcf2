"""Costs, the month's close, statements and payouts, in the browser."""

from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from mosu.ledger.models import Payout
from mosu.market.hub import hub_zone
from mosu.market.models import Bill, MonthClose, Statement
from mosu.platform.actors import HubRole, Role
from tests.compute import world as compute
from tests.web.conftest import Hub, page, queries
from tests.web.test_sales import seller, sold

__all__ = ["seller"]
BOTH = ("en", "zh-hans")


def closed(hub: Hub, **sums: int) -> Statement:
    """The statement of one order, as a close would write it: the hub's month still runs, and the books keep to the clock."""
    sold(hub)
    figures = {
        "gross_micros": 150_000,
        "vouchers_micros": 0,
        "buyers_micros": 150_000,
        "fee_micros": 0,
        "tax_micros": 0,
        "credits_micros": 0,
        "net_micros": 150_000,
        "to_invoice_micros": 0,
    }
    return Statement.objects.create(
        number="S-202610-000001",
        supplier=compute.pool_of(hub.world).organisation,
        month=date(2026, 10, 1),
        currency="CNY",
        orders=1,
        content={"programmes": []},
        sha256="0" * 64,
        issued_at=hub.now,
        **figures | sums,
    )


@pytest.mark.parametrize("language", BOTH)
def test_costs_tell_day_project_and_accelerator(hub: Hub, language: str) -> None:
    said: dict[str, Any] = {"Accept-Language": language}
    owner, month = hub.client(hub.user(role=Role.OWNER)), f"{hub.now.astimezone(hub_zone()):%Y-%m}"
    assert owner.get(f"/costs/?month={month}", headers=said).status_code == 200
    sold(hub)
    text = page(owner.get(f"/costs/?month={month}", headers=said))
    assert "¥0.15" in text and f"/costs/{month}/focus/1.2/" in text
    assert "0.15" in page(owner.get(f"/costs/?month={month}&format=csv", headers=said))
    rows = b"".join(owner.get(f"/costs/{month}/focus/1.4/", headers=said).streaming_content).decode()  # type: ignore[attr-defined]
    assert rows.startswith("BilledCost,") and "\r\n0.15," in rows
    assert owner.get(f"/costs/{month}/focus/9/", headers=said).status_code == 422
    assert owner.get("/costs/?month=never", headers=said).status_code == 422
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.pool_of(hub.world).organisation))
    assert "¥0.15" not in page(stranger.get(f"/costs/?month={month}", headers=said))


def test_costs_ask_as_often_for_many_as_for_one(hub: Hub) -> None:
    owner, path = (
        hub.client(hub.user(role=Role.OWNER)),
        f"/costs/?month={hub.now.astimezone(hub_zone()):%Y-%m}",
    )
    sold(hub)
    before = queries(owner, path)
    for _ in range(3):
        sold(hub)
    assert queries(owner, path) == before <= 12


@pytest.mark.parametrize("language", BOTH)
def test_a_supplier_reads_its_statement_and_nobody_elses(hub: Hub, seller: Client, language: str) -> None:
    said: dict[str, Any] = {"Accept-Language": language}
    assert seller.get("/statements/", headers=said).status_code == 200
    statement = closed(hub)
    assert statement.number in page(seller.get("/statements/", headers=said))
    assert "¥0.15" in page(seller.get(f"/statements/{statement.public_id}/", headers=said))
    assert statement.number in page(seller.get("/statements/?format=csv", headers=said))
    assert seller.post(f"/statements/{statement.public_id}/pay/", {"bank_reference": "T"}).status_code == 403
    buyer = hub.client(hub.user(role=Role.OWNER))
    assert buyer.get(f"/statements/{statement.public_id}/", headers=said).status_code == 404
    assert statement.number not in page(buyer.get("/statements/", headers=said))
    assert Payout.objects.count() == 0


def test_a_payout_is_entered_by_one_and_confirmed_by_another(hub: Hub, seller: Client) -> None:
    statement = closed(hub)
    address = f"/statements/{statement.public_id}/"
    maker = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert maker.post(address + "pay/", {"bank_reference": ""}).status_code == 422
    assert maker.post(address + "pay/", {"bank_reference": "T-77"}).status_code == 302
    payout = Payout.objects.get()
    assert "T-77" in page(seller.get(address))
    assert maker.post(f"{address}payouts/{payout.public_id}/confirm/").status_code == 403
    checker = hub.client(hub.user(hub=HubRole.CHECKER))
    assert f"payouts/{payout.public_id}/confirm/" in page(checker.get(address))
    assert f"payouts/{payout.public_id}/confirm/" not in page(maker.get(address))


def test_a_month_is_closed_at_the_desk(hub: Hub) -> None:
    with connection.cursor() as cursor:  # as the commit of what was posted would, before its days are sealed
        cursor.execute("set constraints all immediate; set constraints all deferred")
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert operator.get("/desk/closing/").status_code == 200
    assert operator.post("/desk/closing/close/", {"month": "2020-01"}).status_code == 302
    assert "2020-01" in page(operator.get("/desk/closing/"))
    for wrong in ("never", "2999-01"):
        answer = operator.post("/desk/closing/close/", {"month": wrong})
        assert answer.status_code in {409, 422}
    checker = hub.client(hub.user(hub=HubRole.CHECKER))
    assert checker.post("/desk/closing/close/", {"month": "2020-02"}).status_code == 403
    assert (MonthClose.objects.count(), Bill.objects.count()) == (1, 0)
