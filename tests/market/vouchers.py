"""Vouchers for the tests' shelf, through the real programmes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from tests.conftest import NOW
from tests.market.conftest import YUAN, World
from tests.subsidies.factories import checker, make_voucher, maker, programme_text

from mosu.subsidies import services


def give_voucher(
    world: World,
    *,
    rate: str = "0.4",
    amount_micros: int = 1000 * YUAN,
    mode: str = "checkout",
    more: str = "",
    now: datetime = NOW,
    **programme: Any,
) -> UUID:
    """A released voucher of the buyer's, of a programme that covers the tests' shelf: a new one, unless named by `id`."""
    text = programme_text(rate=rate, mode=mode, pool="100000", more=more, **programme)
    version = services.propose_programme(
        actor=maker(), text=text.replace("shelves: [compute]", "shelves: [desk]"), now=now
    )
    services.release_programme(actor=checker(), version_id=version.id, now=now)
    return make_voucher(version, world.buyer.id, amount_micros // YUAN, now=now).id
