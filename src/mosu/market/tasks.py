"""Background work of the counter."""

import logging
from typing import Final
from uuid import UUID

from django.utils import timezone
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from mosu.market import services

_log = logging.getLogger(__name__)
_ATTEMPTS_MAX: Final = 4
"""So often an import's step is begun; also by workers that it killed."""


# One at a time: each takes a processor for seconds, and the hub's other work has the other thread.
@app.task(
    name="market.carry_on_import",
    retry=RetryStrategy(max_attempts=_ATTEMPTS_MAX + 1, exponential_wait=2),
    lock="market.imports",
    pass_context=True,
)
def carry_on_import(context: JobContext, import_id: str) -> None:
    """Read, apply or undo an import; what failed too often is refused, so that nobody waits for ever."""
    step = services.carry_on_import if context.job.attempts < _ATTEMPTS_MAX else services.give_up_import
    step(import_id=UUID(import_id), now=timezone.now())


@app.periodic(cron="*/5 * * * *")
@app.task(name="market.expire_quotes", queueing_lock="market.expire_quotes")
def expire_quotes(timestamp: int) -> None:
    """Move open quotes that are past their validity to expired."""
    while services.expire_quotes(now=timezone.now()):
        pass


@app.periodic(cron="* * * * * */30")
@app.task(name="market.watch_budgets", queueing_lock="market.watch_budgets")
def watch_budgets(timestamp: int) -> None:
    """Tell people how much of a budget is spent, and stop what runs once all of it is."""
    services.watch_budgets(now=timezone.now())


@app.periodic(cron="40 19 * * *")
@app.task(name="market.forget_changes", queueing_lock="market.forget_changes")
def forget_changes(timestamp: int) -> None:
    """Drop the notes of changes that every process's catalogue has long taken up."""
    services.forget_changes(now=timezone.now())


@app.periodic(cron="25 18 * * *")
@app.task(name="market.recompute_charges", queueing_lock="market.recompute_charges")
def recompute_charges(timestamp: int) -> None:
    """Compute the charges of the last two days again; one that disagrees with what is stored raises the alarm."""
    for order_id in services.recompute_charges(now=timezone.now()):
        outcome = services.recompute_charge(order_id)
        _log.critical(
            "charge of order %s: stored %d micros, recomputed %d",
            order_id,
            outcome.stored_micros,
            outcome.recomputed_micros,
        )
