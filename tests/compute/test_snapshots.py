"""Snapshots at the hub: room and money held as for the whole volume, charged for what they take, whole or not there."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, transaction

from mosu.compute import services
from mosu.compute.models import Volume, VolumeCopy, VolumeTerm, VolumeUse
from mosu.compute.services import (
    QuotaReached,
    SoldOut,
    VolumeGone,
    VolumeInUse,
    VolumeNameTaken,
)
from mosu.compute.states import CopyState, PoolState, VolumeState
from mosu.compute.volume_shelf import VolumeShelf
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.market.models import Order, OrderState, Receipt
from mosu.market.services import recompute_charge
from mosu.platform.actors import SYSTEM, Role
from mosu.platform.models import Membership, Notice, Project, User
from mosu.wire.agent import CopyFault, CopyStatus
from tests.compute.snapshots import (
    GIB,
    done,
    failed,
    hear,
    make_whole,
    quote_snapshot,
    take_snapshot,
    wanted,
)
from tests.compute.test_volumes import order_of, state_of, turn
from tests.compute.volumes import (
    DAY,
    GB_MONTH,
    buy_volume,
    delete,
    keep_volumes,
    make_volume_world,
    quote_time,
    quote_volume,
    say,
    stranger_to,
    take,
    task_with,
)
from tests.compute.world import (
    OPERATOR,
    World,
    accept,
    at,
    buy,
    held_micros,
    lease,
    quote,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_volume_world()


def room(world: World) -> int:
    place = (world.pool_id, "volumes")
    stock = VolumeShelf().standings([place], now=NOW)[place].stock
    assert stock is not None and stock.free is not None
    return stock.free


def test_it_is_held_for_the_whole_and_charged_for_what_it_takes(world: World) -> None:
    volume = buy_volume(world, gb=10, days=60)
    found = quote_snapshot(world, volume)
    assert found.total_max_micros == 10 * GB_MONTH
    made = take(world, found)
    assert (made.name, made.state, made.snapshot_of_id) == ("data@clean", "making", volume.id)
    assert room(world) == 80
    spec = wanted(world)
    assert (spec.source, spec.target, spec.bytes_max, spec.restores) == (
        volume.public_id,
        made.public_id,
        10 * GIB,
        False,
    )
    turn(1)
    assert order_of(made).state == OrderState.PLACED  # nothing is paid for what is not there
    halfway = CopyStatus(copy_id=spec.copy_id, phase="copying", bytes_done=5, bytes_total=9)
    assert hear(world, halfway, now=NOW + DAY).volume_copies == (spec,)
    copy = VolumeCopy.objects.get()
    assert (copy.bytes_done, copy.bytes_total) == (5, 9)
    hear(world, done(spec), now=NOW + 5 * DAY)
    made.refresh_from_db()
    assert (made.state, made.size_gb, made.whole_at) == ("kept", 2, NOW + 5 * DAY)
    assert room(world) == 88
    hear(world, done(spec, taken=9 * GIB), failed(spec), now=NOW + 6 * DAY)  # said again: heard once
    made.refresh_from_db()
    assert (made.state, made.size_gb) == ("kept", 2)
    turn(6)
    delete(world, made, now=NOW + 15 * DAY)
    order = order_of(made)
    assert (order.state, order.total_micros) == (OrderState.SETTLED, 2 * GB_MONTH // 30 * 10)
    assert recompute_charge(order.id).agrees
    assert Receipt.objects.get(order=order).content["total"] == "0.20"
    assert held_micros(world.buyer.id) == 10 * GB_MONTH * 2


def test_a_supplier_cannot_claim_more_than_was_held(world: World) -> None:
    volume = buy_volume(world, gb=10)
    made = take_snapshot(world, volume)
    hear(world, done(wanted(world), taken=1 << 50), now=NOW)
    made.refresh_from_db()
    assert made.size_gb == 10


def test_who_ordered_it_is_told_when_it_is_whole(world: World) -> None:
    user = User.objects.create(email="u@example.org", date_joined=NOW)
    Membership.objects.create(user=user, organisation=world.buyer, role=Role.OWNER.value, created_at=NOW)
    world.actor = replace(world.actor, id=user.id)
    volume = buy_volume(world)
    make_whole(world, volume)
    back_of(world, volume, "clean")
    hear(world, failed(wanted(world)), now=NOW)
    said = [(one.title["en"], one.body["en"], one.body["zh"]) for one in Notice.objects.order_by("id")]
    assert said[0][0] == "The snapshot data@clean is whole"
    assert "takes 2 GB and was made in 2.5 s" in said[0][1]
    assert said[1][0] == "The volume data was not restored" and "资源池的磁盘已满" in said[1][2]


def test_renewed_it_costs_what_it_takes(world: World) -> None:
    made = make_whole(world, buy_volume(world))
    assert quote_time(world, made).total_max_micros == 2 * GB_MONTH
    take(world, quote_time(world, made, days=10))
    turn(31)
    turn(45)
    assert [term.order.total_micros for term in made.terms.order_by("period")] == [
        2 * GB_MONTH,
        2 * GB_MONTH // 3,
    ]
    made.refresh_from_db()
    assert made.state == "expired"
    turn(60)
    assert state_of(made) == VolumeState.DELETING


def test_no_run_writes_while_it_is_made_and_it_is_not_made_while_one_writes(world: World) -> None:
    volume = buy_volume(world)
    asked = quote(world, task_with("/data: data")).quotes[0].id
    snapshot = quote_snapshot(world, volume)
    made = take(world, snapshot)
    with pytest.raises(VolumeInUse, match="snapshot data@clean is being made"):
        accept(world, asked)
    with pytest.raises(VolumeInUse, match="is being made"):
        quote(world, task_with("/data: data@clean"))
    with pytest.raises(VolumeInUse, match="is being made"):
        delete(world, volume, now=at(1))
    with pytest.raises(VolumeInUse, match="is being made"):
        quote_time(world, made)
    reader = buy(world, task_with("/data: data:ro"))  # who reads does not disturb it
    hear(world, done(wanted(world)), now=at(1))
    services.cancel_run(actor=world.actor, run_id=reader.id, now=at(2))
    other = quote_snapshot(world, volume, "later")
    writer = accept(world, asked)
    with pytest.raises(VolumeInUse, match=writer.public_id):
        quote_snapshot(world, volume, "third")
    with pytest.raises(VolumeInUse, match=writer.public_id):
        take(world, other)
    assert Volume.objects.filter(snapshot_of=volume).count() == 1


def test_a_run_reads_it_and_none_writes_it(world: World) -> None:
    made = make_whole(world, buy_volume(world))
    for written in ("/data: data@clean", "/data: 'data@clean:ro'"):
        run = buy(world, task_with(written))
        assert run.request["volumes"][0]["writes"] is False
    found = lease(world, now=at(1))
    assert found is not None
    [seen] = found.spec.volumes
    assert (seen.volume_id, seen.writes, seen.size_bytes) == (made.public_id, False, 2 * GIB)
    with pytest.raises(VolumeInUse):
        delete(world, made, now=at(2))
    with pytest.raises(NotFound, match="data@other"):
        quote(world, task_with("/data: data@other"))


def back_of(
    world: World, volume: Volume, label: str, *, of: Volume | None = None, now: datetime = NOW
) -> VolumeCopy:
    snapshot = Volume.objects.get(name=f"{(of or volume).name}@{label}")
    return services.restore_volume(actor=world.actor, volume_id=volume.id, snapshot_id=snapshot.id, now=now)


def test_a_volume_is_restored_alone_and_takes_room_for_both(world: World) -> None:
    volume = buy_volume(world, gb=40)
    made = make_whole(world, volume)
    reader = buy(world, task_with("/data: data:ro"))
    with pytest.raises(VolumeInUse, match=reader.public_id):
        back_of(world, volume, "clean")
    services.cancel_run(actor=world.actor, run_id=reader.id, now=at(1))
    assert not VolumeCopy.objects.filter(restores=True).exists()
    asked = quote(world, task_with("/data: data:ro")).quotes[0].id
    before = room(world)
    back_of(world, volume, "clean")
    assert room(world) == before - made.size_gb
    spec = wanted(world)
    assert (spec.source, spec.target, spec.restores) == (made.public_id, volume.public_id, True)
    for act in (
        lambda: accept(world, asked),
        lambda: back_of(world, volume, "clean"),
        lambda: delete(world, made, now=at(2)),
        lambda: quote_snapshot(world, volume, "second"),
    ):
        with pytest.raises(VolumeInUse, match="data is being restored"):
            act()
    buy(world, task_with("/data: data@clean"))  # the snapshot is read as ever
    hear(world, done(spec), now=at(3))
    volume.refresh_from_db()
    assert (volume.state, volume.size_gb, room(world)) == ("kept", 40, before)
    assert accept(world, asked).public_id


def test_what_could_not_be_restored_is_as_it_was(world: World) -> None:
    volume = buy_volume(world)
    make_whole(world, volume)
    copy = back_of(world, volume, "clean")
    hear(world, failed(wanted(world), CopyFault.IN_USE), now=at(1))
    copy.refresh_from_db()
    assert (copy.state, copy.reason) == (CopyState.FAILED, "in_use")
    assert hear(world, now=at(2)).volume_copies == ()
    assert buy(world, task_with("/data: data")).public_id


def test_what_could_not_be_made_costs_nothing(world: World) -> None:
    volume = buy_volume(world)
    held = held_micros(world.buyer.id)
    made = take_snapshot(world, volume)
    hear(world, failed(wanted(world)), now=at(1))
    assert quote(world, task_with("/data: data")).quotes  # its volume is free at once
    with pytest.raises(VolumeNameTaken):
        quote_snapshot(world, volume)
    turn(0.1)
    assert (state_of(made), order_of(made).state) == (VolumeState.DELETING, OrderState.CANCELLED)
    assert held_micros(world.buyer.id) == held
    assert room(world) == 80  # until its agent says that nothing is left
    say(world, now=NOW + DAY, deleted=(made.public_id,))
    assert room(world) == 90


def test_one_that_is_deleted_while_it_is_made_lets_its_volume_go_once_nothing_is_left(world: World) -> None:
    volume = buy_volume(world)
    held = held_micros(world.buyer.id)
    made = take_snapshot(world, volume)
    spec = wanted(world)
    delete(world, made, now=at(1))
    assert held_micros(world.buyer.id) == held
    answer = hear(world, done(spec), now=at(2))
    assert (answer.volume_copies, answer.volumes_to_delete) == ((), (made.public_id,))
    with pytest.raises(VolumeInUse):
        quote(world, task_with("/data: data"))
    say(world, now=at(3), deleted=(made.public_id,))
    assert (state_of(made), VolumeCopy.objects.get().reason) == (VolumeState.DELETED, "deleted")
    assert buy(world, task_with("/data: data")).public_id


def test_one_that_is_never_whole_is_given_up_and_never_paid(world: World) -> None:
    volume = buy_volume(world, days=60)
    made = take_snapshot(world, volume, days=1)
    spec = wanted(world)
    turn(1)
    turn(1.1)
    assert (state_of(made), order_of(made).state) == (VolumeState.DELETING, OrderState.CANCELLED)
    late = take_snapshot(world, volume, "late", days=1)
    spec = wanted(world)
    hear(world, done(spec), now=NOW + DAY)
    turn(1.2)
    assert (state_of(late), VolumeCopy.objects.latest("created_at").reason) == (VolumeState.DELETING, "late")


def test_in_a_pool_that_is_closed_nothing_is_waited_for(world: World) -> None:
    volume = buy_volume(world)
    make_whole(world, volume)
    making = take_snapshot(world, volume, "second")
    services.set_pool_state(actor=SYSTEM, pool_id=world.pool_id, to=PoolState.CLOSED, why="moved", now=at(2))
    turn(1)
    assert set(Volume.objects.values_list("state", flat=True)) == {"deleting"}
    assert order_of(making).state == OrderState.CANCELLED
    assert held_micros(world.buyer.id) == 0
    assert not VolumeUse.objects.filter(live=True).exists()


@pytest.mark.parametrize(
    ("label", "days", "refusal"),
    [("", 30, Invalid), ("A", 30, Invalid), ("a@b", 30, Invalid), ("../x", 30, Invalid), ("a" * 64, 30, Invalid),
     ("a", 0, Invalid), ("a", 400, Invalid), ("a", 91, Invalid)],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(
    world: World, label: str, days: int, refusal: type[Exception]
) -> None:
    volume = buy_volume(world)
    with pytest.raises(refusal):
        quote_snapshot(world, volume, label, days=days)
    assert Volume.objects.count() == 1


def test_a_snapshot_has_none_and_is_not_written_to(world: World) -> None:
    volume = buy_volume(world)
    made = make_whole(world, volume)
    with pytest.raises(Invalid, match="is a snapshot itself"):
        quote_snapshot(world, made)
    for into, source in ((made, volume), (made, made), (volume, volume)):
        with pytest.raises(Invalid):
            services.restore_volume(actor=world.actor, volume_id=into.id, snapshot_id=source.id, now=NOW)
    small = buy_volume(world, "small", gb=1)
    with pytest.raises(Invalid, match="takes 2 GB, and small has 1"):
        services.restore_volume(actor=world.actor, volume_id=small.id, snapshot_id=made.id, now=NOW)
    with pytest.raises(Invalid):
        quote_volume(world, "data@other")


def test_nobody_elses_is_snapped_or_restored(world: World) -> None:
    volume = buy_volume(world)
    made = make_whole(world, volume)
    other = stranger_to(world)
    theirs = buy_volume(other, "theirs")
    for act in (
        lambda: quote_snapshot(other, volume),
        lambda: services.restore_volume(actor=other.actor, volume_id=theirs.id, snapshot_id=made.id, now=NOW),
        lambda: services.restore_volume(actor=other.actor, volume_id=volume.id, snapshot_id=made.id, now=NOW),
        lambda: quote(other, task_with("/data: data@clean")),
        lambda: delete(other, made, now=NOW),
    ):
        with pytest.raises(NotFound):
            act()
    viewer = replace(world.actor, roles={world.buyer.id: Role.VIEWER})
    with pytest.raises(Forbidden):
        services.restore_volume(actor=viewer, volume_id=volume.id, snapshot_id=made.id, now=NOW)
    with pytest.raises(Forbidden):
        services.quote_snapshot(actor=viewer, volume_id=volume.id, label="x", days=1, choice="none", now=NOW)
    project = Project.objects.create(organisation=world.buyer, name="q", created_at=NOW)
    elsewhere = buy_volume(replace(world, project=project), "elsewhere")
    with pytest.raises(Invalid, match="another project"):
        services.restore_volume(actor=world.actor, volume_id=elsewhere.id, snapshot_id=made.id, now=NOW)
    assert not VolumeCopy.objects.filter(restores=True).exists()


def test_another_pools_agent_ends_nothing(world: World) -> None:
    volume = buy_volume(world)
    made = take_snapshot(world, volume)
    spec = wanted(world)
    second, token = services.create_pool(
        actor=SYSTEM, organisation_id=volume.pool.organisation_id, name="second", region="r", now=NOW
    )
    agent = services.actor_of_agent(f"Bearer {token}", now=NOW)
    other = replace(world, pool_id=second.id, token=token, agent=agent)
    keep_volumes(other)
    assert hear(other, done(spec), now=NOW).volume_copies == ()
    assert state_of(made) == VolumeState.MAKING


def test_room_is_taken_while_it_is_made_and_refused_where_there_is_none(world: World) -> None:
    volume = buy_volume(world, gb=60)
    with pytest.raises(SoldOut, match="room for 40 GB more, not 60"):
        quote_snapshot(world, volume)
    small = buy_volume(world, "small", gb=20)
    asked = quote_snapshot(world, small)
    buy_volume(world, "rest", gb=10)
    with pytest.raises(SoldOut):
        take(world, asked)
    assert not VolumeCopy.objects.exists()


def test_the_database_holds_what_a_snapshot_is(world: World) -> None:
    volume = buy_volume(world)
    made = make_whole(world, volume)
    rows = Volume.objects.filter(id=made.id)
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.update(whole_at=None)
    for changes in ({"snapshot_of": None}, {"name": "data"}):  # nobody has the right to
        with pytest.raises(ProgrammingError), transaction.atomic():
            rows.update(**changes)
    with pytest.raises(IntegrityError), transaction.atomic():
        VolumeCopy.objects.create(source=volume, target=volume, created_at=NOW)
    copy = VolumeCopy.objects.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        VolumeUse.objects.create(volume=volume, copy=None, run=None, writers=0)
    with pytest.raises(IntegrityError), transaction.atomic():
        VolumeCopy.objects.filter(id=copy.id).update(state="copying")


def test_an_agent_of_an_older_version_is_asked_for_none(world: World) -> None:
    volume = buy_volume(world)
    make_whole(world, volume)
    asked = quote_snapshot(world, volume, "second")
    take_snapshot(world, volume, "third")
    keep_volumes(world, copies=False)
    assert hear(world, now=NOW).volume_copies == ()
    other = buy_volume(world, "other")
    for act in (
        lambda: quote_snapshot(world, volume, "fourth"),
        lambda: take(world, asked),
        lambda: back_of(world, other, "clean", of=volume),
    ):
        with pytest.raises(SoldOut, match="makes no snapshots"):
            act()


def test_its_volume_may_go_and_it_is_put_into_another(world: World) -> None:
    volume = buy_volume(world)
    make_whole(world, volume)
    delete(world, volume, now=at(1))
    again = buy_volume(world, "again")
    snapshot = Volume.objects.get(name="data@clean")
    services.restore_volume(actor=world.actor, volume_id=again.id, snapshot_id=snapshot.id, now=at(2))
    assert wanted(world, now=at(2)).target == again.public_id
    with pytest.raises(VolumeGone):
        quote_snapshot(world, volume)


def test_a_projects_quota_of_volumes_is_never_passed(world: World) -> None:
    set_quota(world, 30)
    volume = buy_volume(world, gb=20)
    with pytest.raises(QuotaReached, match="may keep 30 GB of volumes; it keeps 20, and this takes 20 more"):
        quote_snapshot(world, volume)
    with pytest.raises(QuotaReached) as refused:
        quote_volume(world, "b", gb=11)
    assert "owners and administrators" in refused.value.hint
    first, second = quote_volume(world, "b", gb=6), quote_volume(world, "c", gb=6)
    take(world, first)
    with pytest.raises(QuotaReached):
        take(world, second)
    assert Volume.objects.count() == 2 == Order.objects.count() == VolumeTerm.objects.count()
    set_quota(world, 5)  # what is kept stays, and is renewed
    take(world, quote_time(world, volume))
    delete(world, volume, now=at(1))
    set_quota(world, 12)
    assert quote_volume(world, "d", gb=6)
    set_quota(world, None)
    assert quote_volume(world, "d", gb=60)


def set_quota(world: World, units_max: int | None, **changes: Any) -> None:
    facts = {"actor": OPERATOR, "project_id": world.project.id, "accelerator": "", "volumes": True}
    services.set_quota(organisation_id=world.buyer.id, units_max=units_max, now=NOW, **facts | changes)


def test_an_organisations_quota_counts_all_its_projects(world: World) -> None:
    set_quota(world, 15, project_id=None)
    buy_volume(world)
    other = Project.objects.create(organisation=world.buyer, name="q", created_at=NOW)
    with pytest.raises(QuotaReached, match="The organisation may keep 15 GB"):
        quote_volume(replace(world, project=other), gb=6)
    assert quote_volume(stranger_to(world), gb=60)


def test_who_may_set_it(world: World) -> None:
    for role, may in ((Role.OWNER, True), (Role.ADMIN, True), (Role.DEVELOPER, False), (Role.FINANCE, False)):
        actor = replace(world.actor, roles={world.buyer.id: role}, scopes=OPERATOR.scopes)
        if may:
            set_quota(world, 10, actor=actor)
        else:
            with pytest.raises(Forbidden):
                set_quota(world, 10, actor=actor)
        with pytest.raises(Forbidden):
            set_quota(world, 10, actor=actor, project_id=None)
    with pytest.raises(Invalid):
        set_quota(world, 10, accelerator="H100")
    quote(world, task_with(""))  # cores are counted apart


def test_it_says_nothing_of_time_that_is_over(world: World) -> None:
    volume = buy_volume(world, days=1)
    turn(1)
    keep_volumes(world, now=NOW + DAY)
    assert quote_snapshot(world, volume, now=NOW + DAY)
    with pytest.raises(VolumeGone):
        keep_volumes(world, now=NOW + 8 * DAY)
        quote_snapshot(world, volume, now=NOW + 8 * DAY)
