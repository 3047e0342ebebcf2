"""Volumes: sold by the GB and the day, never more than there is; one writer, their owner's alone, gone when unpaid."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from mosu.compute import services
from mosu.compute.models import Run, Volume, VolumeTerm, VolumeUse
from mosu.compute.services import SoldOut, VolumeGone, VolumeInUse, VolumeKept, VolumeNameTaken, dispatch
from mosu.compute.states import PoolState, VolumeState
from mosu.compute.volume_shelf import VolumeShelf
from mosu.compute.volumes import volumes_visible_to
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.market.models import Offer, Order, OrderState, Receipt, UsageRecord
from mosu.market.services import (
    NotForSale,
    OfferSpec,
    PriceSpec,
    cancel_order,
    create_offer,
    recompute_charge,
    stop_order,
)
from mosu.platform.actors import SYSTEM, Role
from mosu.platform.models import Membership, Notice, Project, User
from mosu.wire.task import TaskFile, parse_task
from tests.compute.volumes import (
    DAY,
    GB_MONTH,
    buy_volume,
    delete,
    keep_volumes,
    make_volume_world,
    offer_volumes,
    quote_time,
    quote_volume,
    say,
    stranger_to,
    take,
    task_with,
)
from tests.compute.world import (
    World,
    accept,
    at,
    attempt_of,
    beat,
    buy,
    held_micros,
    lease,
    make_world,
    pool_of,
    quote,
    register,
    report,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_volume_world()


def state_of(volume: Volume) -> str:
    return Volume.objects.get(id=volume.id).state


def order_of(volume: Volume) -> Order:
    return VolumeTerm.objects.select_related("order").filter(volume=volume).latest("period").order


def test_it_is_quoted_held_kept_and_charged_by_the_days_that_it_was_kept(world: World) -> None:
    found = quote_volume(world, gb=10, days=60)
    assert (found.shelf, found.total_max_micros) == ("storage", 10 * 2 * GB_MONTH)
    volume = take(world, found)
    assert (volume.state, volume.size_gb, volume.kept_until) == (VolumeState.KEPT, 10, NOW + 60 * DAY)
    assert order_of(volume).state == OrderState.PLACED
    turn(0.01)
    assert order_of(volume).state == OrderState.ACTIVE
    assert held_micros(world.buyer.id) == 6_000_000
    gone = delete(world, volume, now=NOW + 15 * DAY)
    assert gone.state == VolumeState.DELETING
    order = order_of(volume)
    assert (order.state, order.outcome, order.total_micros) == (OrderState.SETTLED, "cancelled", 1_500_000)
    assert held_micros(world.buyer.id) == 0
    receipt = Receipt.objects.get(order=order).content
    assert (receipt["total"], receipt["lines"][0]["quantity"]) == ("1.50", "5")
    assert recompute_charge(order.id).agrees
    [record] = UsageRecord.objects.all()
    assert (record.quantity, record.quantity_accepted) == (10 * 15 * 86_400,) * 2
    delete(world, volume, now=NOW + 16 * DAY)
    assert UsageRecord.objects.count() == 1


def test_those_that_cannot_be_deleted_hold_up_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent is asked for so many at once; each has its turn, whatever becomes of the others."""
    monkeypatch.setattr(dispatch, "VOLUMES_MAX", 1)
    both = [take(world, quote_volume(world, name, gb=10)) for name in ("a", "b")]
    for volume in both:
        delete(world, volume, now=at(60))
    wanted, asked = {volume.public_id for volume in both}, set[str]()
    for second in range(100):  # all of them for the same one: once in 10**30
        [one] = say(world, now=at(61 + second)).volumes_to_delete
        asked.add(one)
    assert asked == wanted


def test_room_is_never_sold_twice_and_free_once_it_is_deleted(world: World) -> None:
    first, second = (quote_volume(world, name, gb=60) for name in ("a", "b"))
    volume = take(world, first)
    with pytest.raises(SoldOut, match="room for 40 GB more"):
        take(world, second)
    assert (Volume.objects.count(), Order.objects.count()) == (1, 1)
    with pytest.raises(SoldOut):
        quote_volume(world, "c", gb=41)
    delete(world, volume, now=at(60))
    with pytest.raises(SoldOut):  # its agent has it still
        quote_volume(world, "c", gb=41)
    assert say(world, now=at(2)).volumes_to_delete == (volume.public_id,)
    say(world, now=at(4), deleted=(volume.public_id,))
    say(world, now=at(6), deleted=(volume.public_id,))
    assert state_of(volume) == VolumeState.DELETED
    assert say(world, now=at(8)).volumes_to_delete == ()
    keep_volumes(world, now=at(8))
    assert quote_volume(world, "c", gb=80, now=at(9))
    place = (world.pool_id, "volumes")
    stock = VolumeShelf().standings([place], now=at(9))[place].stock
    assert stock is not None and (stock.free, stock.total) == (100, 100)


def test_less_room_than_is_sold_sells_nothing_more(world: World) -> None:
    buy_volume(world, gb=60)
    keep_volumes(world, room_gb=50)
    with pytest.raises(SoldOut, match="room for 0 GB"):
        quote_volume(world, "b", gb=1)


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"gb": 81}, Invalid),
        ({"gb": 0}, Invalid),
        ({"days": 0}, Invalid),
        ({"days": 91}, Invalid),
        ({"days": 400}, Invalid),
        ({"name": "../x"}, Invalid),
        ({"name": "Data"}, Invalid),
        ({"name": ""}, Invalid),
        ({"name": "a" * 64}, Invalid),
        ({"supplier": "nobody"}, NotForSale),
        ({"pool": "nowhere"}, NotForSale),
    ],
)
def test_what_cannot_be_sold_is_refused(
    world: World, asked: dict[str, object], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        quote_volume(world, **asked)  # type: ignore[arg-type]
    assert not Volume.objects.exists()


def test_where_nobody_sells_any_it_says_so() -> None:
    with pytest.raises(NotForSale):
        quote_volume(make_world())


def test_the_cheapest_that_has_room_is_asked(world: World) -> None:
    dear = offer_volumes(world, title_en="dear", prices=[_price(2 * GB_MONTH)])
    cheap = offer_volumes(world, title_en="cheap", max_units=5, prices=[_price(GB_MONTH // 3)])
    assert quote_volume(world, gb=5).offer_id == cheap.id
    assert quote_volume(world, gb=6).total_max_micros == 6 * GB_MONTH
    assert quote_volume(world, gb=6, offer_id=dear.id).offer_id == dear.id
    pool = pool_of(world)
    assert quote_volume(world, gb=5, pool=pool.name, supplier=pool.organisation.name).offer_id == cheap.id


def _price(micros: int) -> PriceSpec:
    return PriceSpec(meter="gb_second", unit="gb_month", per=2_592_000, unit_price_micros=micros)


def test_a_name_is_one_volumes_of_a_project(world: World) -> None:
    first = quote_volume(world)
    second = quote_volume(world)
    volume = take(world, first)
    for name in (lambda: take(world, second), lambda: quote_volume(world)):
        with pytest.raises(VolumeNameTaken):
            name()
    buy_volume(stranger_to(world))
    delete(world, volume, now=at(60))
    assert quote_volume(world)


def test_nobody_elses_is_seen_used_renewed_or_deleted(world: World) -> None:
    volume, other = buy_volume(world), stranger_to(world)
    assert not volumes_visible_to(other.actor).exists()
    for act in (
        lambda: delete(other, volume, now=at(1)),
        lambda: quote_time(other, volume),
        lambda: services.set_renewal(actor=other.actor, volume_id=volume.id, days=30, now=at(1)),
        lambda: quote(other, task_with("/data: data")),
    ):
        with pytest.raises(NotFound):
            act()
    assert state_of(volume) == VolumeState.KEPT
    viewer = replace(world.actor, roles={world.buyer.id: Role.VIEWER})
    with pytest.raises(Forbidden):
        services.delete_volume(actor=viewer, volume_id=volume.id, now=at(1))
    with pytest.raises(Forbidden):
        services.set_renewal(actor=viewer, volume_id=volume.id, days=3, now=at(1))


def test_a_project_does_not_see_anothers(world: World) -> None:
    buy_volume(world)
    other = Project.objects.create(organisation=world.buyer, name="q", created_at=NOW)
    with pytest.raises(NotFound, match="no volume 'data'"):
        services.quote_run(
            actor=world.actor,
            organisation_id=world.buyer.id,
            project_id=other.id,
            task=_task("/data: data"),
            workdir=[],
            choice="none",
            now=NOW,
        )


def _task(mounts: str) -> TaskFile:
    return parse_task(task_with(mounts))


def test_a_run_has_its_volumes_where_the_task_says(world: World) -> None:
    volume = buy_volume(world)
    run = buy(world, task_with("/data: data"))
    found = lease(world, now=at(1))
    assert found is not None
    [seen] = found.spec.volumes
    assert (seen.volume_id, seen.path, seen.size_bytes, seen.writes) == (
        volume.public_id,
        "/data",
        10 << 30,
        True,
    )
    assert "volumes:" in run.request["task"]


def test_a_run_goes_where_its_volumes_are_and_the_others_say_why(world: World) -> None:
    buy_volume(world)
    away = make_second_pool(world)
    result = quote(world, task_with("/data: data"))
    assert {one.offer.subject_id for one in result.quotes} == {world.pool_id}
    [refused] = [one for one in result.refused if one.offer_id == away.id]
    assert refused.reasons[0].code == "volume_elsewhere"
    assert "does not keep the volume data" in refused.reasons[0].message
    assert len(quote(world, task_with("")).quotes) == 2


def make_second_pool(world: World) -> Offer:
    pool = pool_of(world)
    second, token = services.create_pool(
        actor=SYSTEM, organisation_id=pool.organisation_id, name="second", region="r", now=NOW
    )
    agent = services.actor_of_agent(f"Bearer {token}", now=NOW)
    register(World(world.buyer, world.project, world.actor, second.id, token, agent))
    return create_offer(
        actor=SYSTEM,
        spec=OfferSpec(
            supplier_id=pool.organisation_id,
            shelf="compute",
            subject_id=second.id,
            title_zh="二",
            title_en="second",
            max_units=4,
            wall_s_max=86_400,
            prices=[PriceSpec("core_second", "core_hour", 10_000)],
            attributes={"accelerator": None, "region": "r", "mode": "on_demand"},
        ),
        now=NOW,
    )


def test_one_writes_or_several_read(world: World) -> None:
    buy_volume(world)
    quoted = [quote(world, task_with(f"/data: {one}")).quotes[0].id for one in ("data", "data", "'data:ro'")]
    writer = accept(world, quoted[0])
    for key in quoted[1:]:
        with pytest.raises(VolumeInUse, match=writer.public_id):
            accept(world, key)
    for one in ("data", "'data:ro'"):
        with pytest.raises(VolumeInUse, match=writer.public_id):
            quote(world, task_with(f"/data: {one}"))
    assert Run.objects.count() == 1
    services.cancel_run(actor=world.actor, run_id=writer.id, now=at(1))
    accept(world, quoted[2], now=at(2))
    buy(world, task_with("/data: 'data:ro'"), now=at(2))
    with pytest.raises(VolumeInUse):
        accept(world, quoted[1], now=at(3))
    assert Run.objects.exclude(state="cancelled").count() == 2


def test_the_database_holds_it_too(world: World) -> None:
    volume = buy_volume(world)
    first, second, third = (buy(world) for _ in range(3))
    VolumeUse.objects.create(volume=volume, run=first, writers=0)
    VolumeUse.objects.create(volume=volume, run=second, writers=0)
    with pytest.raises(IntegrityError), transaction.atomic():
        VolumeUse.objects.create(volume=volume, run=third, writers=1)
    VolumeUse.objects.update(live=False)
    VolumeUse.objects.create(volume=volume, run=third, writers=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        VolumeUse.objects.filter(run=first).update(live=True)


def test_a_run_that_ended_frees_its_volumes_and_one_that_waits_does_not(world: World) -> None:
    volume = buy_volume(world)
    run = buy(world, task_with("/data: data"))
    lease(world, now=at(1))
    beat(world, attempt_of(run), "running", now=at(2))
    with pytest.raises(VolumeInUse, match=run.public_id):
        delete(world, volume, now=at(3))
    assert (state_of(volume), order_of(volume).state) == (VolumeState.KEPT, OrderState.PLACED)
    report(world, attempt_of(run), now=at(10))
    assert not VolumeUse.objects.filter(live=True).exists()
    assert delete(world, volume, now=at(11)).state == VolumeState.DELETING
    with pytest.raises(NotFound):
        quote(world, task_with("/data: data"))


def test_a_quote_for_a_volume_that_is_gone_starts_nothing(world: World) -> None:
    volume = buy_volume(world)
    [found] = quote(world, task_with("/data: data")).quotes
    delete(world, volume, now=at(1))
    with pytest.raises(VolumeGone):
        accept(world, found.id, now=at(2))
    assert not Run.objects.exists()


def test_several_nodes_see_no_volume(world: World) -> None:
    buy_volume(world)
    with pytest.raises(Invalid, match="one node"):
        quote(world, "num_nodes: 2\n" + task_with("/data: data"))


def turn(now_days: float) -> None:
    now = NOW + now_days * DAY
    services.turn_volumes(now=now)
    services.end_volumes(now=now)


def titles() -> list[str]:
    return [one.title["en"] for one in Notice.objects.order_by("created_at", "id")]


def make_owner(world: World) -> None:
    user = User.objects.create(email="owner@example.org", date_joined=NOW)
    Membership.objects.create(user=user, organisation=world.buyer, role=Role.OWNER.value, created_at=NOW)


def test_its_end_is_told_and_what_nobody_pays_for_is_deleted(world: World) -> None:
    make_owner(world)
    volume = buy_volume(world, days=30)
    for day in (0, 22.9, 23, 23.5, 28, 29, 29.5):
        turn(day)
    assert [title[:30] for title in titles()] == ["The time paid for the volume d"] * 2
    turn(30)
    assert state_of(volume) == VolumeState.EXPIRED
    order = order_of(volume)
    assert (order.state, order.outcome, order.total_micros) == (
        OrderState.SETTLED,
        "succeeded",
        10 * GB_MONTH,
    )
    keep_volumes(world, now=NOW + 31 * DAY)
    with pytest.raises(VolumeGone, match="paid for"):
        quote(world, task_with("/data: data"), now=NOW + 31 * DAY)
    reader = buy(world, task_with("/data: 'data:ro'"), now=NOW + 31 * DAY)
    turn(36.5)
    assert len(titles()) == 4
    turn(37)
    assert state_of(volume) == VolumeState.EXPIRED  # somebody read it until now
    reader.refresh_from_db()
    assert reader.state == "cancelled"
    turn(37.1)
    turn(38)
    assert state_of(volume) == VolumeState.DELETING
    assert titles()[-1] == "The volume data was deleted"
    assert len(titles()) == 5
    assert UsageRecord.objects.filter(meter="gb_second").count() == 1


def test_nobody_keeps_what_is_not_paid_for_by_reading_it(world: World) -> None:
    buy_volume(world, days=1)
    turn(1)
    late = NOW + 8 * DAY
    keep_volumes(world, now=late)
    readable = task_with("/data: 'data:ro'")
    [asked] = quote(world, readable, now=late - timedelta(minutes=1)).quotes
    with pytest.raises(VolumeGone):
        quote(world, readable, now=late)
    with pytest.raises(VolumeGone):
        accept(world, asked.id, now=late)


def test_who_reads_what_is_not_paid_for_is_stopped_before_it_is_deleted(world: World) -> None:
    volume = buy_volume(world, days=1)
    keep_volumes(world, now=NOW + DAY)
    turn(1)
    reader = buy(world, task_with("/data: 'data:ro'"), now=NOW + DAY)
    lease(world, now=NOW + DAY)
    beat(world, attempt_of(reader), "running", now=NOW + DAY)
    turn(8)
    reader.refresh_from_db()
    assert (state_of(volume), reader.cancel_asked_at) == (VolumeState.EXPIRED, NOW + 8 * DAY)


def test_more_time_begins_where_the_paid_time_ends(world: World) -> None:
    volume = buy_volume(world, days=30)
    later = NOW + 20 * DAY
    keep_volumes(world, now=later)
    more, again = (quote_time(world, volume, days=10, now=later) for _ in range(2))
    assert more.starts_at == NOW + 30 * DAY
    take(world, more, now=later)
    with pytest.raises(VolumeGone, match="meanwhile"):
        take(world, again, now=later)
    volume.refresh_from_db()
    assert volume.kept_until == NOW + 40 * DAY
    assert order_of(volume).state == OrderState.PLACED
    turn(31)
    assert [term.order.state for term in volume.terms.order_by("period")] == ["settled", "active"]
    delete(world, volume, now=NOW + 35 * DAY)
    assert order_of(volume).total_micros == 10 * GB_MONTH // 30 * 5
    assert held_micros(world.buyer.id) == 0


def test_time_that_has_not_begun_is_given_back_whole(world: World) -> None:
    volume = buy_volume(world, days=30)
    take(world, quote_time(world, volume, days=10))
    delete(world, volume, now=NOW + 10 * DAY)
    assert order_of(volume).state == OrderState.CANCELLED
    assert held_micros(world.buyer.id) == 0


def test_what_is_over_is_renewed_from_its_end_on(world: World) -> None:
    volume = buy_volume(world, days=10)
    turn(10)
    late = NOW + 13 * DAY
    keep_volumes(world, now=late)
    with pytest.raises(Invalid, match="over already"):
        quote_time(world, volume, days=3, now=late)
    take(world, quote_time(world, volume, days=5, now=late), now=late)
    volume.refresh_from_db()
    assert (volume.state, volume.kept_until) == (VolumeState.KEPT, NOW + 15 * DAY)
    turn(15)
    assert order_of(volume).total_micros == 10 * GB_MONTH // 30 * 5


def test_it_renews_itself_while_the_budget_covers_it(world: World) -> None:
    make_owner(world)
    volume = buy_volume(world, gb=80, days=30)
    services.set_renewal(actor=world.actor, volume_id=volume.id, days=90, now=at(1))
    with pytest.raises(Invalid):
        services.set_renewal(actor=world.actor, volume_id=volume.id, days=367, now=at(1))
    for day in (23, 28.9, 29.1, 29.2):
        keep_volumes(world, now=NOW + day * DAY)
        turn(day)
    volume.refresh_from_db()
    assert volume.kept_until == NOW + 120 * DAY
    assert volume.terms.count() == 2
    assert titles() == []
    # CNY 100 were there: 24 and 72 are spent, another 72 are not.
    for day in (119.5, 120.5, 127.5):
        turn(day)
    volume.refresh_from_db()
    assert (volume.state, volume.terms.count()) == (VolumeState.DELETING, 2)
    assert len(titles()) == 4 - 1


def close_pool(world: World) -> None:
    services.set_pool_state(actor=SYSTEM, pool_id=world.pool_id, to=PoolState.CLOSED, why="moved", now=at(2))


def test_nothing_is_renewed_in_a_pool_that_is_closed(world: World) -> None:
    volume = buy_volume(world)
    close_pool(world)
    with pytest.raises(NotForSale, match="closed"):
        quote_time(world, volume)


def test_nobody_pays_for_time_after_the_pool_was_closed(world: World) -> None:
    make_owner(world)
    volume = buy_volume(world, days=30)
    take(world, quote_time(world, volume, days=10))
    services.set_renewal(actor=world.actor, volume_id=volume.id, days=30, now=at(1))
    close_pool(world)
    for _ in range(2):
        turn(3)
    assert state_of(volume) == VolumeState.DELETING
    first, second = [term.order for term in volume.terms.order_by("period")]
    assert (first.state, first.total_micros) == (OrderState.SETTLED, 10 * GB_MONTH // 30 * 3)
    assert second.state == OrderState.CANCELLED
    assert held_micros(world.buyer.id) == 0
    assert titles() == ["The pool of the volume data was closed"]


def test_no_order_and_no_spent_budget_takes_files_away(world: World) -> None:
    volume = buy_volume(world)
    order = order_of(volume)
    with pytest.raises(VolumeKept):
        cancel_order(actor=world.actor, order_id=order.id, now=at(1))
    stop_order(order_id=order.id, why="the month's budget is spent", now=at(2))
    assert (state_of(volume), order_of(volume).state) == (VolumeState.KEPT, OrderState.PLACED)


def test_an_agent_deletes_what_it_was_asked_to_alone(world: World) -> None:
    kept = buy_volume(world)
    say(world, now=at(1), deleted=(kept.public_id,))
    assert state_of(kept) == VolumeState.KEPT
    delete(world, kept, now=at(2))
    pool = pool_of(world)
    second, token = services.create_pool(
        actor=SYSTEM, organisation_id=pool.organisation_id, name="second", region="r", now=NOW
    )
    agent = services.actor_of_agent(f"Bearer {token}", now=NOW)
    other = World(world.buyer, world.project, world.actor, second.id, token, agent)
    register(other)
    assert say(other, now=at(3)).volumes_to_delete == ()
    say(other, now=at(4), deleted=(kept.public_id,))
    assert state_of(kept) == VolumeState.DELETING
