"""The nightly recomputation raises the alarm."""

import logging
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from tests.market.conftest import World, make_world

from mosu.kernel.ids import uuid7
from mosu.market import services, tasks
from mosu.market.models import Outcome
from mosu.market.shelves import UsageIn


def test_a_charge_that_disagrees_with_its_usage_is_told(
    fresh_db: Any, shelf: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(shelf)
    now = timezone.now()
    quote = world.quotes(world.plan(world.offer()), now=now)[0]
    order = services.accept_quote(actor=world.actor, quote_id=quote.id, idempotency_key=uuid7().hex, now=now)
    end = now + timedelta(seconds=250)
    services.record_usage(records=[UsageIn(order.id, "core_second", 0, 1000, now, end)], now=now)
    services.settle_order(order_id=order.id, ended_at=now, outcome=Outcome.SUCCEEDED, now=now)
    with caplog.at_level(logging.CRITICAL):
        tasks.recompute_charges(timestamp=0)
        assert caplog.records == []
        with psycopg.connect(
            fresh_db.owner_dsn
        ) as owner:  # the database's owner writes around all that guards it
            owner.execute("alter table market_usagerecord disable trigger uncharged")
            owner.execute(
                "insert into market_usagerecord select gen_random_uuid(), order_line_id, accepted_month, meter, 1, 1000,"
                ' 1000, null, start, "end", received_at, state, reason from market_usagerecord'
            )
        tasks.recompute_charges(timestamp=0)
    assert "stored 1000000 micros, recomputed 2000000" in caplog.text


def test_lapsed_quotes_are_moved(world: World) -> None:
    quote = world.quote()  # of the tests' past
    tasks.expire_quotes(timestamp=0)
    quote.refresh_from_db()
    assert quote.state == "expired"
