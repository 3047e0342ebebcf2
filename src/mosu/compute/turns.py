"""The order in which what waits in a pool may start, read from the database; the rules are in `fairness`."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from django.db.models import Count, Sum

from mosu.compute.fairness import CORES, Party, Path, Units, Waiting, turns
from mosu.compute.models import Allocation, Device, DeviceAllocation, Node, PoolShare
from mosu.compute.states import HELD, AttemptState


def turns_in(pool_ids: Collection[UUID]) -> Mapping[UUID, Iterator[UUID]]:
    """By pool: the attempts that wait, who is next first; five queries, whatever waits. For rules, not for people."""
    waiting: defaultdict[UUID, list[Waiting]] = defaultdict(list)
    used: defaultdict[UUID, defaultdict[Path, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    rows = Allocation.objects.filter(live=True, attempt__pool_id__in=pool_ids).order_by()
    cards = _cards_held(pool_ids)
    grouped = rows.values_list(
        "attempt__pool_id",
        "attempt_id",
        "attempt__state",
        "attempt__run__organisation_id",
        "attempt__run__project_id",
        "attempt__run__request__priority",
        "block_id",
    ).annotate(cores=Sum("cores"))
    for pool_id, attempt_id, state, organisation_id, project_id, priority, block_id, cores in grouped:
        path, units = (organisation_id, project_id), {CORES: cores, **cards.get(attempt_id, {})}
        if state == AttemptState.WAITING:
            waiting[pool_id].append(Waiting(attempt_id, path, units, priority or 0))
        elif state in HELD and block_id is None:  # what is in a block is its organisation's own
            used[pool_id][path].update(units)
    totals, parties = _totals(pool_ids), _parties(pool_ids)
    return {
        pool_id: (
            one.key
            for one in turns(
                waiting[pool_id], used=used[pool_id], total=totals[pool_id], parties=parties[pool_id]
            )
        )
        for pool_id in pool_ids
    }


def _cards_held(pool_ids: Collection[UUID]) -> Mapping[UUID, Counter[str]]:
    held: defaultdict[UUID, Counter[str]] = defaultdict(Counter)
    rows = DeviceAllocation.objects.filter(live=True, allocation__attempt__pool_id__in=pool_ids).order_by()
    counted = rows.values_list("allocation__attempt_id", "device__accelerator").annotate(count=Count("id"))
    for attempt_id, accelerator, count in counted:
        held[attempt_id][accelerator] = count
    return held


def _totals(pool_ids: Collection[UUID]) -> Mapping[UUID, Units]:
    totals: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
    nodes = Node.objects.filter(pool_id__in=pool_ids).order_by().values_list("pool_id")
    for pool_id, cores in nodes.annotate(cores=Sum("cores")):
        totals[pool_id][CORES] = cores
    devices = Device.objects.filter(node__pool_id__in=pool_ids, present=True).order_by()
    for pool_id, accelerator, count in devices.values_list("node__pool_id", "accelerator").annotate(
        count=Count("id")
    ):
        totals[pool_id][accelerator] = count
    return totals


def _parties(pool_ids: Collection[UUID]) -> Mapping[UUID, Mapping[Path, Party]]:
    parties: defaultdict[UUID, dict[Path, Party]] = defaultdict(dict)
    for share in PoolShare.objects.filter(pool_id__in=pool_ids).order_by():
        parties[share.pool_id][share.organisation_id,] = Party(weight=share.weight)
    return parties
