"""More time for a run while it runs: an order of its own, from the end of the time that is paid for.

It has its own price of the day, split, hold and receipt. The run keeps its nodes and cards, so it is refused where they
are promised to somebody else; its agent hears of the new limit with its next word.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.ends import ends_at, limit_s_of
from mosu.compute.models import Attempt, Extension, Run
from mosu.compute.moves import notify_run
from mosu.compute.placement import Placement
from mosu.compute.queries import last_attempt_of, run_visible_to, why_not_live
from mosu.compute.reach import runs_now
from mosu.compute.requests import SHELF, ExtensionRequest, RunRequest
from mosu.compute.services.attempts import locked_attempt
from mosu.compute.services.capacity import Prolonged, SoldOut, prolong, prolonged
from mosu.compute.services.connections import NotRunning
from mosu.compute.services.endings import ask_to_stop
from mosu.compute.services.interruption import give_way
from mosu.compute.services.pools import HEARTBEAT_S
from mosu.compute.services.sharing import keep_within, limits_of
from mosu.kernel.languages import counted
from mosu.kernel.refusals import DomainError, Invalid
from mosu.kernel.time import typed
from mosu.market.models import Quote
from mosu.market.services import Plan, PlanLine, check_chargeable, make_quotes
from mosu.platform.actors import SYSTEM, Actor, ActorKind
from mosu.platform.policy import require
from mosu.platform.services import record_audit
from mosu.subsidies.services import Choice

SECONDS_MIN: Final = 60
SECONDS_MAX: Final = 30 * 86_400
TIMES_MAX: Final = 20
"""Of one run: all of its orders are settled together, and hold what others wait for meanwhile."""
HEARD_WITHIN: Final = timedelta(seconds=5 * HEARTBEAT_S)
"""So long before its end an agent surely hears of more time."""


class NotExtensible(DomainError):
    """This run is of a kind, or on an engine, that keeps to its first limit."""

    code = "not_extensible"


class TooLate(DomainError):
    """It ends before its agent would surely hear of more time."""

    code = "too_late"


class ExtendedMeanwhile(DomainError):
    """Somebody else gave it more time since the quote."""

    code = "extended_meanwhile"


class ExtensionKept(DomainError):
    """An order of more time is not cancelled by itself: the run is."""

    code = "extension_kept"


@transaction.atomic(durable=True)
def quote_extension(*, actor: Actor, run_id: UUID, seconds: int, choice: Choice, now: datetime) -> Quote:
    """A quote for so much more time for a run that runs, of its own offer, at its price of today.

    Nothing is reserved: the place is looked at again when the quote is accepted.

    Raises:
        NotFound: there is no such run, or the actor may not know.
        Forbidden: the actor may not ask quotes for its organisation.
        NotRunning: it has not started, has ended, or was told to stop.
        NotExtensible: it is in a block, interruptible, an endpoint's, or on an engine that keeps to its limits.
        TooLate: it ends within seconds.
        Invalid: less than a minute, or more in all than the offer sells.
        SoldOut: its place is somebody else's then; the hint says until when it is free.
        NotForSale: the offer left the shelf.
        TooLittle: it would come to less than can be charged.
    """
    run = run_visible_to(actor, run_id)
    require(actor, "quote.ask", run.organisation_id)
    attempt = last_attempt_of(run)
    if attempt is None:
        raise _not_running(run)
    starts_at = _check(run, attempt, seconds, now=now)
    request = RunRequest.of_json(run.request)
    by = timedelta(seconds=seconds)
    _check_place(prolonged(attempt.id, pool_id=run.pool_id, need=request.need, by=by, now=now), by=by)
    plan = Plan(
        offer_id=run.order.offer_id,
        lines=(PlanLine(meter=request.meter, units=request.units, quantity_max=request.units * seconds),),
        starts_at=starts_at,
        wall_limit_s=seconds,
        request=ExtensionRequest(
            pool_id=str(run.pool_id),
            run_id=str(run.id),
            attempt_id=str(attempt.id),
            from_s=limit_s_of(run, attempt),
            seconds=seconds,
        ).to_json(),
        facts={
            "name": run.name,
            "run": run.public_id,
            "order": run.order.public_id,
            "told": {
                "zh": f"延长作业 {run.name}（{run.public_id}）",
                "en": f"more time for {run.name} ({run.public_id})",
            },
        },
    )
    [quote] = make_quotes(
        actor=actor,
        organisation_id=run.organisation_id,
        project_id=run.project_id,
        shelf=SHELF,
        plans=[plan],
        choice=choice,
        now=now,
    )
    check_chargeable(quote)
    return quote


def reserve_extension(*, order_id: UUID, quote: Quote, now: datetime) -> None:
    """Write the further time down, and let the run keep its place for it, under the lock of the pool's nodes.

    Raises:
        NotRunning, NotExtensible, TooLate, SoldOut: as `quote_extension` says; the run may have ended meanwhile.
        ExtendedMeanwhile: it was given more time since the quote.
        QuotaReached: the organisation or the project would hold more than it may.
    """
    asked = ExtensionRequest(**quote.request)
    attempt = locked_attempt(UUID(asked.attempt_id))
    run = attempt.run
    _check(run, attempt, asked.seconds, now=now)
    if limit_s_of(run, attempt) != asked.from_s:
        raise ExtendedMeanwhile(
            "This run was given more time meanwhile.",
            hint="See until when it runs, and ask for a quote again.",
        )
    request, by = RunRequest.of_json(run.request), timedelta(seconds=asked.seconds)
    limits = limits_of(
        organisation_id=run.organisation_id,
        project_id=run.project_id,
        need=request.need,
        now=now,
        without=attempt.id,
        lock=True,
    )
    found = prolonged(attempt.id, pool_id=run.pool_id, need=request.need, by=by, now=now, lock=True)
    placement = _check_place(found, by=by)
    keep_within(limits, units=request.need.held, start=placement.period.start, duration=by)
    give_way(placement, need=request.need, now=now)
    prolong(attempt.id, until=placement.period.end)
    attempt.extended_s += asked.seconds
    attempt.end_told_at = None  # the new end is worth a word of its own
    attempt.save(update_fields=["extended_s", "end_told_at"])
    Extension.objects.create(order_id=order_id, attempt=attempt, from_s=asked.from_s, seconds=asked.seconds)
    record_audit(
        actor=SYSTEM,
        action="attempt.extended",
        subject_id=attempt.id,
        before=attempt.state,
        after=attempt.state,
        now=now,
        organisation_id=run.organisation_id,
        facts={"wall_limit_s": [asked.from_s, asked.from_s + asked.seconds]},
    )
    notify_run(run.id)


def cancel_extended(run_id: UUID, *, actor: Actor, now: datetime, why: str) -> None:
    """Stop the run of an order of more time: by rule alone, since its pay is spent.

    Raises:
        ExtensionKept: a person asked.
    """
    if actor.kind is not ActorKind.SYSTEM:
        raise ExtensionKept(
            "This order gives a run more time, and is not cancelled.",
            hint="Cancel the run: what it has not used is given back.",
        )
    ask_to_stop(Run.objects.select_for_update(no_key=True).get(id=run_id), now=now, why=why)


def why_not_extensible(run: Run) -> NotExtensible | None:
    """Why the run keeps to its first limit whatever anybody pays; None where it does not."""
    request = run.request
    if request.get("block"):
        return NotExtensible(
            "This run is inside a block, and keeps to its limit.",
            hint="Save its work, and run it again there.",
        )
    if request.get("endpoint"):
        return NotExtensible(
            "This run is an endpoint's replica: it is replaced before its end.", hint="Nothing is to be done."
        )
    if request.get("interruptible"):
        return NotExtensible(
            "This run is interruptible, and keeps to its limit.", hint="Run it without use_spot."
        )
    if not run.pool.extends:
        return NotExtensible(
            f"The engine of {run.pool.name} keeps to the limit that a run started with.",
            hint="Save its work, and run it again; with Slurm only operators raise a time limit.",
        )
    return None


def _check(run: Run, attempt: Attempt, seconds: int, *, now: datetime) -> datetime:
    """When the run ends as it stands, if it may be given more time.

    Raises:
        NotRunning, NotExtensible, TooLate, Invalid, SoldOut: see `quote_extension`.
    """
    by = ends_at(run, attempt)
    if not runs_now(run, attempt) or by is None or run.cancel_asked_at is not None:
        raise _not_running(run)
    refusal = why_not_extensible(run)
    if refusal is not None:
        raise refusal
    if Extension.objects.filter(attempt=attempt).count() >= TIMES_MAX:
        raise NotExtensible(
            f"This run was given more time {TIMES_MAX} times.",
            hint="Save its work, and run it again; next time ask for more at once.",
        )
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise Invalid(
            f"A run cannot be given {typed(seconds)} more at once.",
            hint=f"Ask for {typed(SECONDS_MIN)} to {typed(SECONDS_MAX)}.",
            field="seconds",
            found=seconds,
        )
    most = run.order.offer.wall_s_max
    if limit_s_of(run, attempt) + seconds > most:
        left = most - limit_s_of(run, attempt)
        raise Invalid(
            f"Its offer sells runs of up to {typed(most)}; with {typed(seconds)} more it would be longer.",
            hint=f"Ask for {typed(left)} at most."
            if left >= SECONDS_MIN
            else "Save its work, and run it again.",
            field="seconds",
            found=seconds,
        )
    if by - now < HEARD_WITHIN:
        raise TooLate("This run ends within seconds.", hint="Run it again, with a longer mosu.wall_limit.")
    dead = why_not_live(run.pool, now=now)
    if dead is not None:
        raise SoldOut(f"{run.pool.name} cannot take it: {dead}.", hint="Try again in a while.")
    return by


def _check_place(found: Prolonged, *, by: timedelta) -> Placement:
    if found.is_free:
        return found.placement
    minutes = int((found.free_until - found.placement.period.start).total_seconds()) // 60
    if minutes < SECONDS_MIN // 60:
        raise SoldOut(
            "Its place is promised to somebody else from its end on.", hint="Save its work, and run it again."
        )
    raise SoldOut(
        f"Its place is promised to somebody else {counted(minutes, 'minute')} after its end.",
        hint=f"Ask for {counted(minutes, 'minute')} at most.",
    )


def _not_running(run: Run) -> NotRunning:
    state = "stopping" if run.cancel_asked_at is not None else run.state
    return NotRunning(
        f"This run is {state}: only what runs is given more time.", hint="See how it stands: mosu runs."
    )
