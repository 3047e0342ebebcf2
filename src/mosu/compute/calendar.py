"""What of a pool is free in each hour of the days to come, by kind: cores, or cards of one accelerator."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Q

from mosu.compute.models import Allocation, Blackout, Device, DeviceAllocation, Node
from mosu.compute.services.capacity import range_of
from mosu.compute.states import BlackoutState, NodeState
from mosu.kernel.time import Period, day_in

HOUR: Final = timedelta(hours=1)
DAYS_MAX: Final = 31


@dataclass(frozen=True, slots=True)
class Hour:
    """`free` of `total` are held by nobody at any moment of the hour that begins at `at`."""

    at: datetime
    free: int
    total: int


def kinds_of(pool_id: UUID) -> list[str]:
    """The accelerators of a pool's nodes in service, by id; last "" for cores."""
    rows = Device.objects.filter(node__pool_id=pool_id, node__state=NodeState.UP, present=True)
    return [*rows.order_by("accelerator").values_list("accelerator", flat=True).distinct(), ""]


def calendars_of(
    pool_id: UUID, *, accelerators: Iterable[str], days: int, now: datetime, zone: ZoneInfo
) -> dict[str, list[Hour]]:
    """Of each kind ("" is cores), hour by hour from this one on, `days` whole days of the hub's zone.

    Five queries, whatever number of kinds. Stock is everybody's to see. What is held without a known end is held to
    the end of the calendar.
    """
    start = now.replace(minute=0, second=0, microsecond=0)
    midnight = datetime.combine(day_in(zone, now) + timedelta(days=days), time(), tzinfo=zone)
    span = Period(start, midnight.astimezone(UTC))
    nodes = Node.objects.filter(pool_id=pool_id, state=NodeState.UP)
    cores = dict(nodes.order_by("id").values_list("id", "cores"))
    kept = _kept(cores, span)
    kinds = list(accelerators)
    cards = [kind for kind in kinds if kind]
    found = _cards_taken(cores, cards, kept, span=span, now=now) if cards else {}
    if "" in kinds:
        found[""] = sum(cores.values()), _cores_taken(cores, kept, span=span, now=now)
    hours = range(int((span.end - span.start) / HOUR))
    return {
        kind: [
            Hour(span.start + number * HOUR, max(0, total - taken.get(number, 0)), total) for number in hours
        ]
        for kind in kinds
        for total, taken in [found[kind]]
    }


def _kept(node_ids: Iterable[UUID], span: Period) -> Sequence[tuple[UUID, Period]]:
    rows = Blackout.objects.filter(
        node_id__in=node_ids, state=BlackoutState.SET, period__overlap=range_of(span)
    )
    found = rows.order_by("id").values_list("node_id", "period")
    return [(node_id, Period(period.lower, period.upper)) for node_id, period in found]


def _cards_taken(
    node_ids: Iterable[UUID],
    accelerators: Sequence[str],
    kept: Sequence[tuple[UUID, Period]],
    *,
    span: Period,
    now: datetime,
) -> dict[str, tuple[int, Mapping[int, int]]]:
    """By accelerator: how many cards there are, and by hour how many of them somebody holds, each counted once."""
    devices = Device.objects.filter(node_id__in=node_ids, accelerator__in=accelerators, present=True)
    kind_of: dict[UUID, str] = {}
    of_node: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for device_id, node_id, kind in devices.order_by("id").values_list("id", "node_id", "accelerator"):
        kind_of[device_id] = kind
        of_node[node_id].append(device_id)
    taken: defaultdict[int, set[UUID]] = defaultdict(set)
    held = DeviceAllocation.objects.filter(
        live=True, device__in=devices, period__startswith__lt=span.end
    ).order_by("id")
    for device_id, period in held.values_list("device_id", "period"):
        for hour in _hours(period.lower, period.upper, span=span, now=now):
            taken[hour].add(device_id)
    for node_id, period in kept:
        for hour in _hours(period.start, period.end, span=span, now=None):
            taken[hour].update(of_node[node_id])
    totals = Counter(kind_of.values())
    by_hour = {hour: Counter(kind_of[one] for one in ids) for hour, ids in taken.items()}
    return {
        kind: (totals[kind], {hour: counts[kind] for hour, counts in by_hour.items()})
        for kind in accelerators
    }


def _cores_taken(
    cores: dict[UUID, int], kept: Sequence[tuple[UUID, Period]], *, span: Period, now: datetime
) -> dict[int, int]:
    """By hour: cores that are held at some moment of it; of one node never more than it has."""
    taken: defaultdict[tuple[int, UUID], int] = defaultdict(int)
    held = Allocation.objects.filter(live=True, node_id__in=cores, period__startswith__lt=span.end)
    held = held.filter(Q(attempt=None) | Q(block=None))  # what runs inside a block the block holds already
    for node_id, period, count in held.order_by("id").values_list("node_id", "period", "cores"):
        for hour in _hours(period.lower, period.upper, span=span, now=now):
            taken[hour, node_id] += count
    for node_id, period in kept:
        for hour in _hours(period.start, period.end, span=span, now=None):
            taken[hour, node_id] += cores[node_id]
    found: defaultdict[int, int] = defaultdict(int)
    for (hour, node_id), count in taken.items():
        found[hour] += min(count, cores[node_id])
    return found


def _hours(start: datetime, end: datetime, *, span: Period, now: datetime | None) -> Iterator[int]:
    """The hours of the span that a time touches; with `now`, one that is over and still held has no known end."""
    if now is not None and end <= now:
        end = span.end
    first = max(0, (start - span.start) // HOUR)
    last = -((span.start - min(end, span.end)) // HOUR)
    return iter(range(first, last))
