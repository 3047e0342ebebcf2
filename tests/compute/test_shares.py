"""Shares of cards: sold by the share, never twice, and a card that is cut never whole; by placement and database."""

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from io import BytesIO

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosu.compute import services
from mosu.compute.goods import goods_of
from mosu.compute.models import Allocation, Device, DeviceAllocation, Node, Run
from mosu.compute.placement import GIB, Need, Placement
from mosu.compute.services.capacity import allocate, find_place
from mosu.compute.services.shares_sold import NoSuchShare
from mosu.compute.shelf import ComputeShelf
from mosu.compute.supply import drift_of_node, promised_of
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period
from mosu.market.gates import card_of, memory_in
from mosu.market.models import Quote, Receipt
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from mosu.site_agent.engines import local_cards
from mosu.site_agent.engines.local import LocalEngine, LocalNode
from mosu.site_agent.engines.protocol import FINAL_PHASES
from mosu.wire.agent import DeviceInfo, EnvironmentInfo, NodeInfo, Usage, UsageBatch
from mosu.wire.offers import read_offers
from mosu.wire.shares import kind_of
from tests.compute.world import (
    OPERATOR,
    World,
    accept,
    at,
    attempt_of,
    beat,
    buy,
    checked,
    lease,
    make_world,
    pool_of,
    quote,
    register,
    report,
)
from tests.conftest import NOW
from tests.site_agent.lab import environment_in, open_folder, shared_folder, until

pytestmark = pytest.mark.django_db

CARD = "nvidia-h100-sxm"
QUARTER = f"{CARD}/4"


def node_of(*kinds: str) -> NodeInfo:
    """A node whose cards are as named, each whole or cut."""
    return NodeInfo(
        name="n1",
        cores=64,
        memory_bytes=64 * GIB,
        disk_bytes=200 * GIB,
        devices=tuple(
            DeviceInfo(index=card + 1024 * share, accelerator=kind)
            for card, kind in enumerate(kinds)
            for share in range(kind_of(kind).shares)
        ),
    )


def offer(world: World, accelerator: str, *, price: int) -> None:
    pool = pool_of(world)
    create_offer(
        actor=SYSTEM,
        now=NOW,
        spec=OfferSpec(
            supplier_id=pool.organisation_id,
            shelf="compute",
            subject_id=pool.id,
            title_zh=accelerator,
            title_en=accelerator,
            max_units=64,
            wall_s_max=86_400,
            prices=[PriceSpec(meter="card_second", unit="card_hour", unit_price_micros=price)],
            attributes={"accelerator": accelerator},
        ),
    )


def make_shares_world(*kinds: str) -> World:
    world = make_world(cores=64)
    describe(world, *kinds)
    for number, kind in enumerate(sorted(set(kinds))):
        offer(world, kind, price=5_000_000 * (number + 1))
    return world


def describe(world: World, *kinds: str) -> None:
    """The agent lists such cards, and the node passes its health test: a card that is cut answers once."""
    node = node_of(*kinds)
    register(world, nodes=(node,))
    checked(world, node, now=NOW, cards=len(kinds))


def task(asked: str, *, wall: str = "1h") -> str:
    return f"resources: {{accelerators: 'H100:{asked}'}}\nrun: train\nmosu: {{wall_limit: {wall}}}\n"


def refusals(world: World, text: str) -> dict[str, tuple[str, str, str]]:
    return {
        one.title_en: (one.reasons[0].code, one.reasons[0].message, one.reasons[0].hint)
        for one in quote(world, text).refused
    }


def test_a_share_is_leased_by_its_index_and_priced_by_its_own_offer() -> None:
    world = make_shares_world(QUARTER, QUARTER)
    result = quote(world, task("0.25"))
    assert [one.total_max_micros for one in result.quotes] == [5_000_000]
    seen = []
    for _ in range(8):
        run = accept(world, quote(world, task("0.25")).quotes[0].id)
        found = lease(world, now=at(1), running=seen)
        assert found is not None
        seen.append(found.spec.attempt_id)
        assert found.spec.accelerator == QUARTER
        assert found.spec.units == {"core_second": 1, "card_second": 1}
        assert len(found.spec.devices[0]) == 1
    held = DeviceAllocation.objects.filter(live=True)
    assert sorted((one.card, one.part.lower) for one in held) == [
        (card, 5040 * share) for card in (0, 1) for share in range(4)
    ]
    assert quote(world, task("0.25"), now=at(2)).quotes[0].starts_at > at(3600)
    report(world, attempt_of(run), now=at(10))
    assert quote(world, task("0.25"), now=at(11)).quotes[0].starts_at == at(11)


def test_what_others_reach_into_is_said_in_quote_and_receipt() -> None:
    world = make_shares_world(f"{CARD}/4-shared")
    run = buy(world, task("0.25"))
    told = "1/4 of NVIDIA H100 SXM, 20 GB, shared without isolation"
    terms = Quote.objects.get().terms
    assert terms["title"]["en"] == f"{CARD}/4-shared ({told})"
    assert "显存不隔离" in terms["title"]["zh"]
    lease(world, now=at(1))
    report(world, attempt_of(run), now=at(10))
    line = Receipt.objects.get(order_id=run.order_id).content["lines"][0]
    assert told in line["text"]["en"]
    assert "显存不隔离" in line["text"]["zh"]


def test_a_share_is_found_by_its_card_and_compared_by_its_part() -> None:
    whole, share = goods_of({"accelerator": CARD}), goods_of({"accelerator": f"{CARD}/4-shared"})
    assert (share.key, share.meter) == (f"{CARD}/4-shared", whole.meter)
    assert share.facets["accelerator"] == whole.facets["accelerator"]
    assert (whole.facets["share"].value, share.facets["share"].value) == ("1", "1/4-shared")
    assert (whole.facets["memory_gb"].value, share.facets["memory_gb"].value) == ("80", "20")
    assert whole.worth and share.worth == pytest.approx(whole.worth / 4)
    assert whole.told is None
    own = goods_of({"accelerator": f"{CARD}/7", "memory_gb": 10}).told
    assert own == {"zh": "NVIDIA H100 SXM 的 1/7，10 GB", "en": "1/7 of NVIDIA H100 SXM, 10 GB"}


def test_a_file_of_offers_names_shares_and_their_memory() -> None:
    assert [one.id for one in ComputeShelf().goods_named("H100/4-shared")] == [f"{CARD}/4-shared"]
    assert ComputeShelf().goods_named("abacus/4") == ()
    text = "key,accelerator,accelerator_memory,price\na,H100/7,10 GB,3\n"
    (row,) = read_offers(BytesIO(text.encode()), source="shares.csv", currency="CNY")
    assert (row.accelerator, row.unit, memory_in(row)) == ("H100/7", "card_hour", 10)
    assert card_of(row, ComputeShelf().goods_named(row.accelerator)).id == f"{CARD}/7"  # type: ignore[union-attr]


def test_another_share_than_there_is_is_refused_with_what_there_is() -> None:
    world = make_shares_world(QUARTER, CARD)
    with pytest.raises(NoSuchShare) as refused:
        quote(world, task("0.3"))
    supplier = pool_of(world).organisation.name
    assert refused.value.hint == f"Shares of it are sold by: 0.25 ({supplier})."
    assert not Quote.objects.exists()
    found = refusals(world, task("0.5"))
    assert found[QUARTER] == ("sells_shares", f"sells 1/4 of {CARD}, not 0.5", "Ask for 0.25 of it.")
    assert found[CARD][:2] == ("sells_whole_cards", f"sells whole {CARD}, no shares of it")
    assert found[CARD][2] == f"Shares of it are sold by: 0.25 ({supplier})."
    assert refusals(world, task("2"))[QUARTER][0] == "sells_shares"


def test_where_nobody_cuts_cards_whole_ones_are_named() -> None:
    world = make_shares_world(CARD)
    assert refusals(world, task("0.25"))[CARD][2] == "Ask for whole cards: nobody here sells shares of it."
    with pytest.raises(NoSuchShare, match="no equal share") as refused:
        quote(world, task("0.3"))
    assert refused.value.hint == "Ask for whole cards: nobody here sells shares of it."


@pytest.mark.parametrize(
    "devices",
    [
        ((0, CARD), (1024, QUARTER)),
        ((0, QUARTER), (1024, f"{CARD}/2")),
        ((1024 * 4, QUARTER),),
        ((0, f"{CARD}/65"),),
        ((0, "abacus/2"),),
    ],
)
def test_a_card_that_is_whole_and_cut_changes_nothing(devices: tuple[tuple[int, str], ...]) -> None:
    world = make_shares_world(QUARTER)
    cards = tuple(DeviceInfo(index=index, accelerator=kind) for index, kind in devices)
    with pytest.raises(Invalid):
        register(world, nodes=(node_of().model_copy(update={"devices": cards}),))
    assert Device.objects.filter(present=True, accelerator=QUARTER).count() == 4


def test_a_card_gone_takes_its_shares_with_it() -> None:
    world = make_shares_world(QUARTER, QUARTER)
    describe(world, QUARTER)
    assert Device.objects.filter(present=False).count() == 4
    assert drift_of_node(Node.objects.get()) == ["Cards are missing: 1."]
    Device.objects.filter(index=1024).update(present=False)
    assert drift_of_node(Node.objects.get()) == ["Cards are missing: 0 (2/4), 1."]


def test_a_card_cut_anew_is_not_sold_while_it_is_held_whole() -> None:
    world = make_shares_world(CARD, QUARTER)
    run = buy(world, task("1"))
    lease(world, now=NOW)
    describe(world, QUARTER, QUARTER)
    node = Node.objects.get()
    assert drift_of_node(node) == [f"Card 0 was published as {CARD}, and is {QUARTER}."]
    services.publish_node(actor=OPERATOR, node_id=node.id, now=at(1))
    checked(world, node_of(QUARTER, QUARTER), now=at(1), cards=2)
    held = {device.card for device in _devices_of(4, world)}
    assert held == {1}
    fifth = quote(world, task("0.25"), now=at(2)).quotes[0]
    assert fifth.starts_at > at(3600)
    whole = DeviceAllocation.objects.get(allocation__attempt__run=run, live=True)
    quarter = Device.objects.get(card=0, index=1024)
    with pytest.raises(IntegrityError, match="device_never_twice"), transaction.atomic():
        DeviceAllocation.objects.create(
            allocation=whole.allocation, device=quarter, period=whole.period, live=True
        )
    report(world, attempt_of(run), now=at(10))
    assert quote(world, task("0.25"), now=at(11)).quotes[0].starts_at == at(11)


def _devices_of(count: int, world: World) -> list[Device]:
    """The shares that so many orders get."""
    runs = [
        accept(world, quote(world, task("0.25"), now=at(2)).quotes[0].id, now=at(2)) for _ in range(count)
    ]
    return list(Device.objects.filter(allocations__allocation__attempt__run__in=runs))


def test_the_database_refuses_a_card_that_is_there_whole_and_cut() -> None:
    make_shares_world(QUARTER)
    with pytest.raises(IntegrityError, match="device_whole_or_cut"), transaction.atomic():
        Device.objects.filter(index=0).update(accelerator=CARD)
        with connection.cursor() as cursor:
            cursor.execute("set constraints all immediate")
    with pytest.raises(IntegrityError, match="device_within_card"), transaction.atomic():
        Device.objects.create(node=Node.objects.get(), index=4096, accelerator=QUARTER, present=False)


def test_what_is_taken_of_a_card_is_the_databases_word() -> None:
    world = make_shares_world(QUARTER)
    buy(world, task("0.25"))
    held = DeviceAllocation.objects.get()
    DeviceAllocation.objects.filter(id=held.id).update(card=7)
    held.refresh_from_db()
    assert (held.card, held.part.lower, held.part.upper) == (0, 0, 5040)


def test_a_quota_counts_a_share_as_the_part_that_it_is() -> None:
    world = make_shares_world(QUARTER, QUARTER)
    services.set_quota(actor=OPERATOR, organisation_id=world.buyer.id, accelerator=CARD, units_max=1, now=NOW)
    for _ in range(4):
        buy(world, task("0.25"))
    later = quote(world, task("0.25"), now=at(2)).quotes[0]
    assert later.starts_at > at(3600)


def test_what_was_promised_counts_cards_not_shares() -> None:
    world = make_shares_world(QUARTER, CARD)
    buy(world, task("0.25"))
    span = Period(NOW, NOW + timedelta(hours=1))
    assert promised_of([world.pool_id], span=span)[world.pool_id].cards == pytest.approx(0.25 / 2)


@dataclass(frozen=True)
class _Held:
    card: int
    start: Fraction
    end: Fraction
    hours: tuple[int, int]

    def overlaps(self, other: "_Held") -> bool:
        return (
            self.card == other.card
            and self.start < other.end
            and other.start < self.end
            and self.hours[0] < other.hours[1]
            and other.hours[0] < self.hours[1]
        )


def _held(index: int, kind: str, hours: tuple[int, int]) -> _Held:
    share, shares = index // 1024, kind_of(kind).shares
    return _Held(index % 1024, Fraction(share, shares), Fraction(share + 1, shares), hours)


_KINDS = st.sampled_from([CARD, f"{CARD}/2", f"{CARD}/3", QUARTER])
_STEPS = st.lists(
    st.tuples(st.just("take"), _KINDS, st.integers(0, 3), st.integers(1, 3))
    | st.tuples(st.just("give"), st.integers(0, 5))
    | st.tuples(st.just("cut"), _KINDS, _KINDS),
    max_size=12,
)


@pytest.fixture
def cards_world() -> World:
    return make_shares_world(CARD, QUARTER)


@given(steps=_STEPS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_part_of_a_card_is_ever_held_twice(cards_world: World, steps: list[tuple[object, ...]]) -> None:
    """Cards are cut anew, taken and given back in any order; a plain model says what is free."""
    world = cards_world
    run = Run.objects.first() or buy(world)  # of cores alone; what it holds besides is the test's
    attempt = attempt_of(run)
    DeviceAllocation.objects.update(live=False)
    Allocation.objects.filter(live=True).update(live=False, released_at=NOW)
    own = set(Allocation.objects.values_list("id", flat=True))
    held: dict[object, _Held] = {}
    for step in steps:
        if step[0] == "cut":
            describe(world, *(str(kind) for kind in step[1:]))
            services.publish_node(actor=OPERATOR, node_id=Node.objects.get().id, now=NOW)
            checked(world, node_of(*(str(kind) for kind in step[1:])), now=NOW, cards=2)
        elif step[0] == "give" and held:
            gone = list(held)[int(str(step[1])) % len(held)]
            DeviceAllocation.objects.filter(allocation_id=gone).update(live=False)
            Allocation.objects.filter(id=gone).update(live=False, released_at=NOW)
            del held[gone]
        elif step[0] == "take":
            kind, first, long = str(step[1]), int(str(step[2])), int(str(step[3]))
            hours = (first, first + long)
            need = Need(cores=1, memory_bytes=1, disk_bytes=0, accelerator=kind, cards=1)
            start = NOW + timedelta(hours=first)
            found = find_place(
                pool_id=world.pool_id, need=need, earliest=start, latest=start, now=NOW,
                duration=timedelta(hours=long),
            )  # fmt: skip
            there = Device.objects.filter(present=True, accelerator=kind).values_list("index", flat=True)
            free = {
                index
                for index in there
                if not any(_held(index, kind, hours).overlaps(one) for one in held.values())
            }
            assert isinstance(found, Placement) is bool(free)
            if isinstance(found, Placement):
                (index,) = found.shares[0].card_indices
                assert index in free
                allocate(need=need, placement=found, attempt=attempt)
                (new,) = set(Allocation.objects.values_list("id", flat=True)) - own
                own.add(new)
                held[new] = _held(index, kind, hours)


def test_a_share_from_quote_to_receipt_on_this_machine() -> None:
    """The engine's own list of cards is what the hub sells, and the run that was bought sees that share alone."""
    cards = {"accelerator": QUARTER, "files": ["/dev/full"], "shares": [{"id": f"MIG-{n}"} for n in range(4)]}
    environment = environment_in(shared_folder())
    with open_folder() as folder:
        node = LocalNode("n1", 64, 64 * GIB, 200 * GIB, local_cards.options_of({"cards": [cards]}))
        engine = LocalEngine(folder, node=node, environments=[environment])
        world = make_world(cores=64)
        python = EnvironmentInfo(name=environment.name, python=environment.version)
        register(world, nodes=engine.nodes(), environments=(python,))
        checked(world, engine.nodes()[0], now=NOW, cards=1)
        offer(world, QUARTER, price=360_000_000)
        buy(world, task("0.25"))
        run = buy(world, task("0.25").replace("run: train", "run: echo card $CUDA_VISIBLE_DEVICES"))
        first = lease(world, now=at(1))
        assert first is not None
        found = lease(world, now=at(1), running=[first.spec.attempt_id])
        assert found is not None
        ref = engine.submit(found.spec)
        until(lambda: engine.observe([ref])[ref].phase in FINAL_PHASES)
        assert engine.read_log(ref, offset=0, bytes_max=100).data == b"card MIG-1\n"
    attempt = attempt_of(run)
    beat(world, attempt, "running", now=at(1))
    usage = Usage(
        attempt_id=attempt.public_id, meter="card_second", sequence=0, quantity=9, start=at(1), end=at(10)
    )
    acknowledged = services.take_usage(actor=world.agent, batch=UsageBatch(records=(usage,)), now=at(10))
    assert acknowledged.accepted == 1
    report(world, attempt, now=at(10), started_at=at(1))
    receipt = Receipt.objects.get(order_id=run.order_id).content
    assert (receipt["total"], receipt["lines"][0]["metered"]) == ("0.90", 9)
