"""What a supplier's agent that never ends a copy can do to whoever waits for it."""

import pytest

from mosu.compute.models import Volume, VolumeCopy, VolumeUse
from mosu.compute.services import VolumeInUse, restore_volume
from mosu.compute.states import CopyState, VolumeState
from mosu.market.models import Order
from tests.compute.snapshots import done, hear, make_whole, take_snapshot, wanted
from tests.compute.volumes import buy_volume, delete, make_volume_world, say
from tests.compute.world import World, at

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_volume_world()


def restoring(world: World) -> tuple[Volume, Volume]:
    """A volume, and the snapshot that its agent is to put into it."""
    volume = buy_volume(world)
    snapshot = make_whole(world, volume)
    restore_volume(actor=world.actor, volume_id=volume.id, snapshot_id=snapshot.id, now=at(1))
    return volume, snapshot


def test_a_volume_of_which_a_restore_never_ends_can_be_deleted(world: World) -> None:
    volume, snapshot = restoring(world)
    spec = wanted(world, now=at(2))
    delete(world, volume, now=at(3))
    assert Order.objects.get(id=volume.terms.get().order_id).state == "settled"
    # Its agent is to break it off, and its room is taken until nothing is left of either.
    answer = hear(world, done(spec), now=at(4))
    assert (answer.volume_copies, answer.volumes_to_delete) == ((), (volume.public_id,))
    assert VolumeCopy.objects.get(restores=True).state == CopyState.COPYING
    say(world, now=at(5), deleted=(volume.public_id,))
    copy = VolumeCopy.objects.get(restores=True)
    assert (copy.state, copy.reason) == (CopyState.FAILED, "deleted")
    assert not VolumeUse.objects.filter(live=True).exists()
    assert delete(world, snapshot, now=at(6)).state == VolumeState.DELETING


def test_what_is_copied_stays_until_nobody_wants_the_copy(world: World) -> None:
    volume, snapshot = restoring(world)
    with pytest.raises(VolumeInUse, match="data is being restored"):
        delete(world, snapshot, now=at(2))
    delete(world, volume, now=at(3))
    delete(world, snapshot, now=at(4))
    both = {volume.public_id, snapshot.public_id}
    assert set(say(world, now=at(5)).volumes_to_delete) == both
    say(world, now=at(6), deleted=tuple(both))
    assert set(Volume.objects.values_list("state", flat=True)) == {VolumeState.DELETED}
    assert not VolumeCopy.objects.filter(state=CopyState.COPYING).exists()


def test_a_volume_of_which_a_snapshot_is_never_whole_can_be_deleted(world: World) -> None:
    volume = buy_volume(world)
    snapshot = take_snapshot(world, volume)
    with pytest.raises(VolumeInUse, match="is being made"):
        delete(world, volume, now=at(1))
    delete(world, snapshot, now=at(2))
    delete(world, volume, now=at(3))
    assert set(Order.objects.values_list("state", flat=True)) == {"settled", "cancelled"}
