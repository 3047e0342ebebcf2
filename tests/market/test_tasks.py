"""The nightly recomputation raises the alarm."""

import logging
from datetime import timedelta

import pytest
from django.utils import timezone
from tests.market.conftest import World

from mosu.kernel.ids import uuid7
from mosu.market import services, tasks
from mosu.market.models import Outcome, UsageRecord
from mosu.market.shelves import UsageIn


def test_a_charge_that_disagrees_with_its_usage_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    now = timezone.now()
    quote = world.quotes(world.plan(world.offer()), now=now)[0]
    order = services.accept_quote(actor=world.actor, quote_id=quote.id, idempotency_key=uuid7().hex, now=now)
    end = now + timedelta(seconds=250)
    services.record_usage(records=[UsageIn(order.id, "core_second", 0, 1000, now, end)], now=now)
    services.settle_order(order_id=order.id, ended_at=now, outcome=Outcome.SUCCEEDED, now=now)
    with caplog.at_level(logging.CRITICAL):
        tasks.recompute_charges(timestamp=0)
        assert caplog.records == []
        line = order.lines.get()
        UsageRecord.objects.create(  # somebody writes around the service
            order_line=line,
            accepted_month=line.accepted_month,
            meter="core_second",
            sequence=1,
            quantity=1000,
            quantity_accepted=1000,
            start=now,
            end=end,
            received_at=now,
            state="accepted",
        )
        tasks.recompute_charges(timestamp=0)
    assert "stored 1000000 micros, recomputed 2000000" in caplog.text


def test_lapsed_quotes_are_moved(world: World) -> None:
    quote = world.quote()  # of the tests' past
    tasks.expire_quotes(timestamp=0)
    quote.refresh_from_db()
    assert quote.state == "expired"
