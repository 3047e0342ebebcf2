"""What is there of pools, what is held of it, and taking a share: never twice."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Q

from mosu.compute.models import Allocation, Attempt, Blackout, Device, DeviceAllocation, Node
from mosu.compute.placement import (
    Card,
    Need,
    NodeView,
    Placement,
    Taken,
    Unplaced,
    place,
)
from mosu.compute.placement.policies import DEFAULT
from mosu.compute.states import BlackoutState, Fitness, NodeState, Placing
from mosu.kernel.refusals import DomainError
from mosu.kernel.time import Period
from mosu.platform.rows import insert

NOTICE: Final = timedelta(seconds=120)
"""How long an interruptible attempt has to stop, from the order that takes its place."""


POLICY_OF: Final = MappingProxyType({Placing.PACK: DEFAULT, Placing.SPREAD: "spread"})


class SoldOut(DomainError):
    """The capacity went to someone else; the hint names the next start time."""

    code = "sold_out"


class Held(NamedTuple):
    """A live allocation: its attempt (None: a block's) and what it takes."""

    attempt_id: UUID | None
    taken: Taken


def nodes_of(
    pool_ids: Iterable[UUID], *, now: datetime, reclaims: bool = False
) -> Mapping[UUID, Sequence[NodeView]]:
    """Nodes in service and fit, by pool, with all that live allocations and blackouts hold.

    Who `reclaims` sees what interruptible attempts hold as free after their notice.

    A live allocation whose period is over holds what it has until it is released: its end is unknown.
    """
    ids = list(pool_ids)
    nodes = list(Node.objects.filter(pool_id__in=ids, state=NodeState.UP, fitness=Fitness.FIT).order_by("id"))
    cards = _cards_of([node.id for node in nodes])
    seen: dict[UUID, list[NodeView]] = {pool_id: [] for pool_id in ids}
    for pool_id, view in _views(nodes, cards, now=now, reclaims=reclaims):
        seen[pool_id].append(view)
    return seen


def find_place(
    *,
    pool_id: UUID,
    need: Need,
    earliest: datetime,
    latest: datetime,
    duration: timedelta,
    now: datetime,
    without: UUID | None = None,
    reclaims: bool = False,
    within: UUID | None = None,
) -> Placement | Unplaced:
    """A placement in the pool as it is now, what the attempt `without` holds counted as free.

    `within` a block there is what the block holds, in its time, and nothing else. Who `reclaims` has
    `interruption.give_way` make the room that was found.

    Takes the lock that guards the pool's cores and memory, its nodes by id: what is found can be taken.
    """
    rows = Node.objects.filter(pool_id=pool_id).select_related("pool").order_by("id")
    locked = rows.select_for_update(of=("self",), no_key=True)
    nodes = [node for node in locked if node.state == NodeState.UP and node.fitness == Fitness.FIT]
    if within is not None:
        return place_within(
            within, nodes, need, earliest=earliest, latest=latest, duration=duration, now=now, without=without
        )
    # Cards tell nothing where none is asked for and there is no second node to keep them free on.
    cards = _cards_of([node.id for node in nodes]) if need.cards or len(nodes) > 1 else {}
    views = [view for _, view in _views(nodes, cards, now=now, without=without, reclaims=reclaims)]
    policy = POLICY_OF[Placing(nodes[0].pool.placing)] if nodes else DEFAULT
    return place(views, need, earliest=earliest, latest=latest, duration=duration, policy=policy)


def place_within(
    block_id: UUID,
    nodes: Sequence[Node],
    need: Need,
    *,
    earliest: datetime,
    latest: datetime,
    duration: timedelta,
    now: datetime,
    without: UUID | None = None,
) -> Placement | Unplaced:
    """A placement in what the block holds of those nodes, all of it inside the block's time.

    What overstayed there before the block began is in the way until it is gone.
    """
    holds = list(Allocation.objects.filter(block_id=block_id, attempt=None, live=True).order_by("id"))
    if not holds:
        return Unplaced("block_over", "The block is over.", "Ask for quotes without it.", None)
    period = Period(holds[0].period.lower, holds[0].period.upper)
    views = _views_within(holds, nodes, now=now, without=without)
    first, last = max(earliest, period.start), min(latest, period.end - duration)
    if last < first:
        return Unplaced(
            "block_too_short",
            f"The block runs from {period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} UTC, "
            "and the run would not end in it.",
            "Set a shorter mosu.wall_limit.",
            None,
        )
    return place(views, need, earliest=first, latest=last, duration=duration)


def _views_within(
    holds: Sequence[Allocation], nodes: Sequence[Node], *, now: datetime, without: UUID | None
) -> list[NodeView]:
    """The block's part of each node as if it were the node, with what its runs hold of it."""
    by_id = {node.id: node for node in nodes}
    cards = _cards_of(list(by_id))
    own: dict[UUID, set[int]] = defaultdict(set)
    rows = DeviceAllocation.objects.filter(live=True, allocation__in=holds)
    for node_id, index in rows.values_list("allocation__node_id", "device__index"):
        own[node_id].add(index)
    there = [hold for hold in holds if hold.node_id in by_id]
    taken = _held_of(list(by_id), has_cards=True, now=now, reclaims=False, inside=holds[0].block_id)
    return [
        NodeView(
            id=hold.node_id,
            name=by_id[hold.node_id].name,
            cores=hold.cores,
            memory_bytes=hold.memory_bytes,
            disk_bytes=by_id[hold.node_id].disk_bytes,
            cards=tuple(card for card in cards.get(hold.node_id, ()) if card.index in own[hold.node_id]),
            taken=tuple(
                one.taken for one in taken[hold.node_id] if without is None or one.attempt_id != without
            ),
        )
        for hold in there
    ]


def allocate(
    *, need: Need, placement: Placement, attempt: Attempt | None = None, block_id: UUID | None = None
) -> None:
    """Write a placement down: an allocation per node, in the order of the ranks.

    An attempt's, a block's, or with both the attempt's place inside the block. The caller holds the pool's lock and
    has checked it; cards the database checks too.
    """
    period = range_of(placement.period)
    for share in placement.shares:
        allocation = Allocation(
            attempt=attempt,
            block_id=block_id,
            node_id=share.node_id,
            cores=need.cores,
            memory_bytes=need.memory_bytes,
            period=period,
            yields=attempt is not None and attempt.run.request.get("interruptible", False),
        )
        insert(allocation)
        if share.card_indices:
            devices = Device.objects.filter(node_id=share.node_id, index__in=share.card_indices).order_by(
                "id"
            )
            inside = attempt is not None and block_id is not None
            DeviceAllocation.objects.bulk_create(
                DeviceAllocation(allocation=allocation, device_id=device_id, period=period, inside=inside)
                for device_id in devices.values_list("id", flat=True)
            )


def release(attempt_id: UUID, *, now: datetime) -> bool:
    """Give back all that the attempt holds; whether it held anything."""
    DeviceAllocation.objects.filter(allocation__attempt_id=attempt_id, live=True).update(live=False)
    return bool(
        Allocation.objects.filter(attempt_id=attempt_id, live=True).update(live=False, released_at=now)
    )


def release_block(block_id: UUID, *, now: datetime) -> None:
    """Give back what the block holds; the caller holds the pool's lock.

    A run that is still there from now on holds its own place, as any other does.
    """
    own = Allocation.objects.filter(block_id=block_id, live=True)
    DeviceAllocation.objects.filter(
        allocation__block_id=block_id, allocation__attempt=None, live=True
    ).update(live=False)
    own.filter(attempt=None).update(live=False, released_at=now)
    staying = list(own.filter(attempt__isnull=False).values_list("id", flat=True))
    Allocation.objects.filter(id__in=staying).update(block=None)
    DeviceAllocation.objects.filter(allocation_id__in=staying, live=True).update(inside=False)


def range_of(period: Period) -> DateTimeTZRange:
    """A period as the database keeps it."""
    return DateTimeTZRange(period.start, period.end)


def _views(
    nodes: Sequence[Node],
    cards: Mapping[UUID, Sequence[Card]],
    *,
    now: datetime,
    without: UUID | None = None,
    reclaims: bool = False,
) -> Iterator[tuple[UUID, NodeView]]:
    """Each node with its pool, its cards and what is taken of it."""
    held = _held_of([node.id for node in nodes], has_cards=bool(cards), now=now, reclaims=reclaims)
    kept = _blackouts_of(nodes, cards, now=now)
    for node in nodes:
        yield (
            node.pool_id,
            NodeView(
                id=node.id,
                name=node.name,
                cores=node.cores,
                memory_bytes=node.memory_bytes,
                disk_bytes=node.disk_bytes,
                cards=tuple(cards.get(node.id, ())),
                taken=(
                    *(one.taken for one in held[node.id] if without is None or one.attempt_id != without),
                    *kept[node.id],
                ),
            ),
        )


def _cards_of(node_ids: Sequence[UUID]) -> Mapping[UUID, list[Card]]:
    cards: dict[UUID, list[Card]] = defaultdict(list)
    rows = Device.objects.filter(node_id__in=node_ids, present=True).order_by("node_id", "index")
    for node_id, index, accelerator in rows.values_list("node_id", "index", "accelerator"):
        cards[node_id].append(Card(index, accelerator))
    return cards


def _blackouts_of(
    nodes: Sequence[Node], cards: Mapping[UUID, Sequence[Card]], *, now: datetime
) -> Mapping[UUID, list[Taken]]:
    """Each blackout that is not over, as taking all of its node."""
    by_id = {node.id: node for node in nodes}
    kept: dict[UUID, list[Taken]] = defaultdict(list)
    rows = Blackout.objects.filter(node_id__in=by_id, state=BlackoutState.SET, period__endswith__gt=now)
    for one in rows.order_by("id"):
        node = by_id[one.node_id]
        all_cards = frozenset(card.index for card in cards.get(node.id, ()))
        span = one.period
        kept[node.id].append(Taken(span.lower, span.upper, node.cores, node.memory_bytes, all_cards))
    return kept


def _held_of(
    node_ids: Sequence[UUID],
    *,
    has_cards: bool,
    now: datetime,
    reclaims: bool,
    inside: UUID | None = None,
) -> Mapping[UUID, list[Held]]:
    """By node: what is held of it; a block holds its part whatever is inside it.

    `inside` a block: what its runs hold, and what of others overstayed.
    """
    live = Allocation.objects.filter(node_id__in=node_ids, live=True).order_by()
    if inside is None:
        live = live.filter(Q(attempt=None) | Q(block=None) | Q(period__endswith__lte=now))
    else:
        live = live.filter(attempt__isnull=False).filter(
            Q(block_id=inside) | Q(block=None, period__endswith__lte=now)
        )
    indices: dict[UUID, set[int]] = defaultdict(set)
    if has_cards:
        taken_cards = DeviceAllocation.objects.filter(live=True, allocation__node_id__in=node_ids)
        for allocation_id, index in taken_cards.values_list("allocation_id", "device__index"):
            indices[allocation_id].add(index)
    held: dict[UUID, list[Held]] = defaultdict(list)
    for key, node_id, attempt_id, period, cores, memory_bytes, yields in live.values_list(
        "id", "node_id", "attempt_id", "period", "cores", "memory_bytes", "yields"
    ):
        # A block is over when its time is; what overstayed in it holds its own place.
        end = period.upper if period.upper > now or attempt_id is None else None
        if reclaims and yields and end is not None:
            if period.lower >= now + NOTICE:
                continue
            end = min(end, now + NOTICE)
        taken = Taken(period.lower, end, cores, memory_bytes, frozenset(indices.get(key, ())))
        held[node_id].append(Held(attempt_id, taken))
    return held
