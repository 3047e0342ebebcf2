"""What agents say was used: a claim, bounded by what the hub saw itself."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Attempt, Extension
from mosu.compute.requests import RunRequest
from mosu.compute.services.identity import pool_of
from mosu.compute.services.pools import HEARTBEAT_S
from mosu.compute.services.reports import NotLeased
from mosu.compute.states import ATTEMPT_ENDS, AttemptState
from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.models import Order, OrderState
from mosu.market.services import UsageIn, activate_order, record_usage
from mosu.platform.actors import Actor
from mosu.wire.agent import Usage, UsageAck, UsageBatch

TOLERANCE: Final = timedelta(seconds=HEARTBEAT_S + 1)
"""A start is seen up to a heartbeat late, and seconds are rounded up."""
_SEQUENCES_PER_EPOCH: Final = 1 << 32


@transaction.atomic(durable=True)
def take_usage(*, actor: Actor, batch: UsageBatch, now: datetime) -> UsageAck:
    """Take all records or none.

    What exceeds allocation x observed time is kept, quarantined and not billed; of meters by which an order was
    not sold nothing is kept.

    Raises:
        NotFound: a record of an attempt of another pool.
        NotLeased: of one that was never handed out.
        Invalid: a record that ends before it starts.
    """
    claimants = _claimants(actor, batch, now=now)
    records = [_record_of(claimants[usage.attempt_id], usage) for usage in batch.records]
    sold = [record for record in records if record is not None]
    result = record_usage(records=sold, now=now)
    begun = Order.objects.filter(
        id__in={order_id for record in sold for order_id in record.further},
        state=OrderState.PLACED,
        lines__usage_total__quantity_accepted__gt=0,
    )
    for order_id in begun.order_by("id").values_list("id", flat=True):
        activate_order(order_id=order_id, now=now)
    return UsageAck(
        accepted=result.accepted + len(records) - len(sold),
        repeated=result.repeated,
        quarantined=result.quarantined,
    )


@dataclass(frozen=True, slots=True)
class _Claimant:
    """An attempt whose use is claimed: what all records of it have in common."""

    order_id: UUID
    meter: str
    """By which the order was sold."""
    first_sequence: int
    quantity_allowed: int
    further: tuple[UUID, ...]
    """The orders of more time for it."""


def _claimants(actor: Actor, batch: UsageBatch, *, now: datetime) -> dict[str, _Claimant]:
    """By the public id, each once: a batch is many records of few attempts."""
    keys = {name: Attempt.key_of(name) for name in {record.attempt_id for record in batch.records}}
    claimed = Attempt.objects.filter(id__in=keys.values(), pool_id=pool_of(actor))
    attempts = {
        one.id: one for one in Attempt.objects.filter(run__in=claimed.values("run")).select_related("run")
    }
    # Of an interrupted run several were handed out, one after the other: what counts of them adds up, and so does this.
    seen_s_of_run: dict[UUID, int] = defaultdict(int)
    for one in attempts.values():
        if one.leased_at is not None:
            seen_s_of_run[one.run_id] += observed_s(one, now=now)
    further: dict[UUID, tuple[UUID, ...]] = defaultdict(tuple)
    bought = Extension.objects.filter(attempt__in=attempts).order_by("id")
    for run_id, order_id in bought.values_list("attempt__run_id", "order_id"):
        further[run_id] += (order_id,)
    claimants = {}
    for name, key in keys.items():
        attempt = attempts.get(key)
        if attempt is None:
            raise NotFound("There is no such attempt.", hint="An agent sees the attempts of its own pool.")
        if attempt.state == AttemptState.WAITING or attempt.leased_at is None:
            raise NotLeased("This attempt was not leased.", hint="Ask for a lease.")
        request = RunRequest.of_json(attempt.run.request)
        claimants[name] = _Claimant(
            order_id=attempt.run.order_id,
            meter=request.meter,
            first_sequence=attempt.epoch * _SEQUENCES_PER_EPOCH,
            quantity_allowed=request.units * seen_s_of_run[attempt.run_id],
            further=further[attempt.run_id],
        )
    return claimants


def _record_of(claimant: _Claimant, usage: Usage) -> UsageIn | None:
    """None for a meter by which the order was not sold: an agent meters cores beside cards."""
    if usage.end < usage.start or usage.sequence >= _SEQUENCES_PER_EPOCH:
        raise Invalid("The record ends before it starts.", hint="Mend the record.", field="end")
    if usage.meter != claimant.meter:
        return None
    return UsageIn(
        order_id=claimant.order_id,
        meter=usage.meter,
        sequence=claimant.first_sequence + usage.sequence,
        quantity=usage.quantity,
        start=usage.start,
        end=usage.end,
        quantity_allowed=claimant.quantity_allowed,
        further=claimant.further,
    )


def observed_s(attempt: Attempt, *, now: datetime) -> int:
    """For how long the hub itself can have seen the attempt run: whole seconds, rounded up.

    From the first word that it runs (or, before that, from the lease) to the last word of it: this one, while it
    has not ended.
    """
    last = attempt.last_contact_at or _seen_from(attempt, now)
    return seen_s(attempt, until=last if attempt.state in ATTEMPT_ENDS else now)


def seen_s(attempt: Attempt, *, until: datetime) -> int:
    """For how long the hub can have seen the attempt run up to its last word at `until`, with the tolerance."""
    return -((_seen_from(attempt, until) - until - TOLERANCE) // timedelta(seconds=1))


def attempt_epoch_of(sequence: int) -> int:
    """The epoch of the attempt whose usage has this sequence."""
    return sequence // _SEQUENCES_PER_EPOCH


def _seen_from(attempt: Attempt, otherwise: datetime) -> datetime:
    start = attempt.leased_at or otherwise
    if attempt.first_running_at is not None:
        start = max(start, attempt.first_running_at - TOLERANCE)
    return start
