"""The compute shelf, as the counter sees it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from mosu.compute.accelerators import UnknownAccelerator, kinds_named, memory_of
from mosu.compute.forecast import WAITS_FROM, expected_start
from mosu.compute.goods import FACETS, goods_of
from mosu.compute.models import Attempt, Block, Extension, Pool, Run
from mosu.compute.moves import notify_pool, record_made
from mosu.compute.placement import Placement
from mosu.compute.queries import why_not_live, why_not_served
from mosu.compute.queue import used_part
from mosu.compute.requests import SHELF, RunRequest, is_of_block, is_of_extension
from mosu.compute.services.attempts import locked_attempt, make_attempt
from mosu.compute.services.blocks import cancel_block, reserve_block
from mosu.compute.services.capacity import SoldOut, allocate, find_place
from mosu.compute.services.endings import ask_to_stop, cancel_waiting
from mosu.compute.services.extending import cancel_extended, reserve_extension
from mosu.compute.services.interruption import give_way
from mosu.compute.services.replicas import take_place
from mosu.compute.services.sharing import keep_within, limits_of
from mosu.compute.services.volume_uses import use_volumes
from mosu.compute.states import AttemptState
from mosu.compute.stocks import NOTHING, liveness_of, standing_of, stocks_of
from mosu.kernel.ids import typeid
from mosu.market.models import Quote
from mosu.market.services import NamedGoods
from mosu.market.shelves import Goods, Place, Standing
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.rows import insert
from mosu.wire.shares import kind_of

ALL_POOLS_FROM: Final = 20
"""From so many pools on, all are read: naming them takes longer."""


class ComputeShelf:
    """Sells time on cores and cards. `Offer.subject_id` is the pool."""

    code = SHELF

    def reserve(self, *, order_id: UUID, quote: Quote, now: datetime) -> None:
        """Write the run, a run's further time or the block down, then take the capacity, under the pool's lock.

        Raises:
            SoldOut: the capacity went to someone else, or the pool can sell nothing now.
            QuotaReached: the organisation or the project would hold more than it may.
            VolumeInUse, VolumeGone: a volume that it needs is not to be had.
            Overtaken: it was to be an endpoint's next replica, and is not any more.
            NotExtensible, TooLate, ExtendedMeanwhile: it was to give a run more time, and cannot any more.
        """
        if is_of_block(quote.request):
            reserve_block(order_id=order_id, quote=quote, now=now)
            return
        if is_of_extension(quote.request):
            reserve_extension(order_id=order_id, quote=quote, now=now)
            return
        request = RunRequest.of_json(quote.request)
        pool = Pool.objects.get(id=request.pool_id)
        dead = why_not_served(pool, now=now) if request.within else why_not_live(pool, now=now)
        if dead is not None:
            raise SoldOut(f"{pool.name} cannot take it: {dead}.", hint="Ask for quotes again.")
        run = Run(
            order_id=order_id,
            organisation_id=quote.organisation_id,
            project_id=quote.project_id,
            pool=pool,
            name=request.name,
            request=quote.request,
            idle_stop_s=request.idle_stop_s,
            created_at=now,
        )
        insert(run)
        record_made(run, actor=SYSTEM, now=now)
        if request.volumes:
            use_volumes(run, request.volumes, now=now)
        if request.endpoint:
            take_place(run, request, now=now)
        notify_pool(pool.id)
        part = used_part(pool.id) if quote.starts_at > now + WAITS_FROM else 1.0
        limits = (
            ()  # what is inside a block the block holds already
            if request.within
            else limits_of(
                organisation_id=run.organisation_id,
                project_id=run.project_id,
                need=request.need,
                now=now,
                lock=True,
            )
        )
        # As late as can be: from here on everybody else who buys from this pool waits.
        start = max(now, quote.starts_at)
        found = find_place(
            pool_id=pool.id,
            need=request.need,
            earliest=start,
            latest=start,
            duration=request.duration,
            now=now,
            reclaims=not request.interruptible,
            within=request.within,
        )
        if not isinstance(found, Placement):
            when = f"The next start is {found.next_at:%Y-%m-%d %H:%M} UTC. " if found.next_at else ""
            raise SoldOut(
                f"The capacity went to someone else. {found.message}", hint=f"{when}Ask for quotes again."
            )
        keep_within(limits, units=request.need.held, start=found.period.start, duration=request.duration)
        expected_at = expected_start(promised=found.period.start, now=now, used_part=part)
        attempt = make_attempt(run=run, epoch=1, now=now, expected_at=expected_at)
        if not request.interruptible and not request.within:
            give_way(found, need=request.need, now=now)
        allocate(attempt=attempt, block_id=request.within, need=request.need, placement=found)

    def fulfil(self, *, order_id: UUID, now: datetime) -> None:
        """Nothing more: the commit wakes the pool's agent, whose next lease is this run's attempt."""

    def cancel(self, *, order_id: UUID, actor: Actor, now: datetime, why: str) -> bool:
        """Waiting: ended at once and all of it free. Handed out: the agent is told at its next word.

        A block ends at once, by its cancellation rules. More time for a run is not cancelled by itself: where a budget
        that pays for it is spent, the run ends.

        Raises:
            ExtensionKept: a person asked.
        """
        run_id = Extension.objects.filter(order_id=order_id).values_list("attempt__run_id", flat=True).first()
        if run_id is not None:
            cancel_extended(run_id, actor=actor, now=now, why=why)
            return False
        if Block.objects.filter(order_id=order_id).exists():
            return cancel_block(order_id=order_id, actor=actor, now=now, why=why)
        attempt = locked_attempt(
            Attempt.objects.filter(run__order_id=order_id).order_by("-epoch").values_list("id", flat=True)[0]
        )
        if attempt.state == AttemptState.WAITING:
            cancel_waiting(attempt=attempt, actor=actor, now=now, why=why)
            return True
        ask_to_stop(attempt.run, now=now, why=why)
        return False

    facets = FACETS

    def goods_of(self, attributes: Mapping[str, Any]) -> Goods:
        return goods_of(attributes)

    def standings(self, places: Collection[Place], *, now: datetime) -> Mapping[Place, Standing]:
        ids = {pool_id for pool_id, _ in places}
        some = None if len(ids) > ALL_POOLS_FROM else ids
        pools, stocks = liveness_of(some), stocks_of(some, now=now)
        return {
            place: standing_of(pools.get(place[0]), stocks.get(place, NOTHING), now=now) for place in places
        }

    def owns(self, *, supplier_id: UUID, subject_id: UUID) -> bool:
        return Pool.objects.filter(id=subject_id, organisation_id=supplier_id).exists()

    def goods_named(self, name: str) -> Sequence[NamedGoods]:
        try:
            kinds = kinds_named(name)
        except UnknownAccelerator:
            return ()
        # A share's memory is what its supplier says: profiles are seldom even parts.
        return [NamedGoods(kind, None if kind_of(kind).shares > 1 else memory_of(kind)) for kind in kinds]

    def subject_of(self, public_id: str) -> UUID:
        return Pool.key_of(public_id)

    def work_of(self, order_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        runs = Run.objects.filter(order_id__in=order_ids).only("id", "order_id")
        further = Extension.objects.filter(order_id__in=order_ids).values_list("order_id", "attempt__run_id")
        return {run.order_id: run.public_id for run in runs} | {
            order_id: typeid(Run.prefix, run_id) for order_id, run_id in further
        }
