"""What cards hold is carried over when a hub learns of shares, and back."""

from typing import Any

from mosu.compute.models import Device, DeviceAllocation
from mosu.runtime.databases import connected_to
from mosu.runtime.migrating import migrate
from tests.compute.test_cards import TASK, make_cards_world
from tests.compute.world import buy


def test_what_whole_cards_hold_is_all_of_them(fresh_db: Any) -> None:
    world = make_cards_world()
    buy(world, TASK)
    with connected_to(fresh_db.owner_dsn):
        migrate("compute", "0011_card_memory")
        migrate("compute")
    assert {(one.card, one.part.lower, one.part.upper) for one in Device.objects.all()} == {
        (card, 0, 20_160) for card in range(4)
    }
    held = DeviceAllocation.objects.filter(live=True).select_related("device")
    assert sorted((one.card, one.part.upper) for one in held) == [(card, 20_160) for card in range(3)]
    assert all(one.node_id == one.device.node_id for one in held)
