"""More time in pieces that each cost less than can be charged."""

from uuid import UUID

import pytest

from mosu.compute import services
from mosu.compute.models import Extension
from mosu.market.models import Offer, Quote
from mosu.market.services import PriceSpec, TooLittle, set_price
from mosu.platform.actors import SYSTEM
from tests.compute.test_extending import extend, make_extending
from tests.compute.volumes import DAY, buy_volume, make_volume_world, quote_time, quote_volume
from tests.compute.world import at, order_of, started

pytestmark = pytest.mark.django_db
CORE_HOUR = PriceSpec("core_second", "core_hour", 150_000)
GB_MONTH = PriceSpec("gb_second", "gb_month", 150_000, per=2_592_000)
"""What a new hub's own pool costs."""


def reprice(offer_id: UUID, price: PriceSpec) -> None:
    set_price(actor=SYSTEM, offer_id=offer_id, price=price, now=at(5), confirmed=True)


def test_a_run_is_not_kept_for_nothing_a_minute_at_a_time() -> None:
    world = make_extending()
    run, _ = started(world, cores=1, wall="10m")
    reprice(order_of(run).offer_id, CORE_HOUR)
    before = Quote.objects.count()
    with pytest.raises(TooLittle):
        extend(world, run, 60)
    assert (Extension.objects.count(), Quote.objects.count()) == (0, before)
    assert extend(world, run, 300).total_max_micros == 10_000


def test_a_volume_is_not_kept_for_nothing_a_day_at_a_time() -> None:
    world = make_volume_world()
    reprice(Offer.objects.get(shelf="storage").id, GB_MONTH)
    with pytest.raises(TooLittle):
        quote_volume(world, gb=1, days=1, now=at(6))
    volume = buy_volume(world, gb=1, days=2, now=at(6))
    with pytest.raises(TooLittle):
        quote_time(world, volume, days=1, now=at(6))
    services.set_renewal(actor=world.actor, volume_id=volume.id, days=1, now=at(6))
    services.end_volumes(now=at(6) + DAY)
    volume.refresh_from_db()
    assert volume.kept_until == at(6) + 4 * DAY
