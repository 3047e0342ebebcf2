"""Attempts of a run: a new one, one under lock, what one holds given back."""

from datetime import datetime
from uuid import UUID

from mosu.compute.models import Attempt, Extension, Run
from mosu.compute.moves import notify_pool, record_made
from mosu.compute.services.capacity import release
from mosu.kernel.refusals import NotFound
from mosu.market.models import Order
from mosu.platform.actors import SYSTEM
from mosu.platform.rows import insert


def make_attempt(
    *,
    run: Run,
    epoch: int,
    now: datetime,
    expected_at: datetime | None = None,
    wall_limit_s: int | None = None,
) -> Attempt:
    """A new waiting attempt of the run.

    `expected_at`: when its buyer is told that it will start. `wall_limit_s`: what earlier attempts left of it.
    """
    attempt = Attempt(
        run=run,
        pool_id=run.pool_id,
        epoch=epoch,
        created_at=now,
        expected_at=expected_at,
        wall_limit_s=wall_limit_s,
    )
    insert(attempt)
    record_made(attempt, actor=SYSTEM, now=now)
    return attempt


def locked_attempt(attempt_id: UUID, *, pool_id: UUID | None = None) -> Attempt:
    """The attempt under lock: its orders first, then it and its run, as in every intention that ends a run.

    Raises:
        NotFound: there is none, or not in this pool.
    """
    rows = Attempt.objects.filter(id=attempt_id)
    if pool_id is not None:
        rows = rows.filter(pool_id=pool_id)
    order_id = rows.values_list("run__order_id", flat=True).first()
    if order_id is None:
        raise NotFound("There is no such attempt.", hint="An agent sees the attempts of its own pool.")
    Order.objects.select_for_update(no_key=True).get(id=order_id)
    # A statement of its own: who waited for the first order may have bought more time.
    further = Order.objects.filter(id__in=further_orders(order_id)).order_by("id")
    list(further.select_for_update(no_key=True).values_list("id"))
    return rows.select_for_update(of=("self", "run"), no_key=True).select_related("run", "pool").get()


def further_orders(order_id: UUID) -> list[UUID]:
    """The orders of more time for the run that this one bought, as they follow each other."""
    rows = Extension.objects.filter(attempt__run__order_id=order_id)
    return list(rows.order_by("id").values_list("order_id", flat=True))


def give_back(attempt: Attempt, *, now: datetime) -> bool:
    """Give back what the attempt holds and wake the pool's agent: what waits may begin. Whether it held anything."""
    held = release(attempt.id, now=now)
    if held:
        notify_pool(attempt.pool_id)
    return held
