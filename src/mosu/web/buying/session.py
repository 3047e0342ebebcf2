"""A session or service while it runs: when it ends, how idle it is, with whom it is shared; and all of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from mosu.compute.ends import NEAR, ends_at
from mosu.compute.guests import may_share
from mosu.compute.idle_runs import Idleness, idleness_of
from mosu.compute.models import Guest, Run
from mosu.compute.queries import idle_stop_of, last_attempt_of, sessions_of, whole_costs_of
from mosu.compute.reach import is_reached
from mosu.compute.services import why_not_extensible
from mosu.compute.states import is_ended
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.web.presenters import duration

MINE_MAX: Final = 20
SAID_AFTER: Final = timedelta(minutes=5)
"""Who looks away for less hears nothing of it."""


@dataclass(frozen=True, slots=True)
class SessionShown:
    """What the run's page says of it, and lets one do."""

    is_session: bool
    runs: bool
    ends_at: datetime | None
    ends_in: str
    """How long until then, where that is near; empty otherwise."""
    idle_since: datetime | None
    stops_at: datetime | None
    """When it is stopped for that; None: never, or its wall limit comes first."""
    own_minutes: int | None
    """After how many minutes without use it is stopped, as its task or its owner says."""
    rule_minutes: int | None
    """The same by the organisation's rule; None: it has none, or it does not count here."""
    guests: Sequence[Guest]
    may_keep: bool
    may_share: bool

    @classmethod
    def of(cls, run: Run, *, actor: Actor, now: datetime) -> "SessionShown | None":
        """None for a batch, and for what has ended."""
        if not is_reached(run) or is_ended(run.state):
            return None
        is_session = run.request["kind"] == "session"
        rule_s = idle_stop_of(run.organisation_id) if is_session else None
        by = ends_at(run, last_attempt_of(run))
        idle = _worth_a_word(idleness_of([run]).get(run.id), ends_at=by, now=now)
        return cls(
            is_session=is_session,
            runs=by is not None,
            ends_at=by,
            ends_in=duration(max(0, int((by - now).total_seconds()) // 60 * 60))
            if by and by - now <= NEAR
            else "",
            idle_since=idle.since if idle else None,
            stops_at=idle.stops_at if idle else None,
            own_minutes=run.idle_stop_s and run.idle_stop_s // 60,
            rule_minutes=rule_s and rule_s // 60,
            guests=list(run.guests.select_related("member__user").order_by("let_in_at", "id"))
            if is_session
            else [],
            may_keep=allows(actor, "run.keep", run.organisation_id),
            may_share=is_session
            and allows(actor, "run.share", run.organisation_id)
            and may_share(actor, run),
        )


@dataclass(frozen=True, slots=True)
class MySession:
    """A line of one's running sessions on Today."""

    name: str
    order_id: str
    pool: str
    since: datetime | None
    cost: int
    idle_since: datetime | None
    stops_at: datetime | None
    ends_at: datetime | None


def may_be_extended(run: Run) -> bool:
    """Whether it runs, and may be given more time, as far as can be said without looking for its place."""
    runs = ends_at(run, last_attempt_of(run)) is not None and run.cancel_asked_at is None
    return runs and why_not_extensible(run) is None


def my_sessions(actor: Actor, *, now: datetime) -> list[MySession]:
    """The sessions that the actor ordered and that run, the longest first."""
    runs = list(sessions_of(actor)[:MINE_MAX])
    costs, idle = whole_costs_of(runs), idleness_of(runs)
    return [_mine(run, cost=costs[run.id], idleness=idle.get(run.id), now=now) for run in runs]


def _mine(run: Run, *, cost: int, idleness: Idleness | None, now: datetime) -> MySession:
    by = ends_at(run, last_attempt_of(run))
    idle = _worth_a_word(idleness, ends_at=by, now=now)
    return MySession(
        name=run.name or run.order.number,
        order_id=run.order.public_id,
        pool=run.pool.name,
        since=run.started_at,
        cost=cost,
        idle_since=idle.since if idle else None,
        stops_at=idle.stops_at if idle else None,
        ends_at=by,
    )


def _worth_a_word(idleness: Idleness | None, *, ends_at: datetime | None, now: datetime) -> Idleness | None:
    """How idle it is, where that lasts; when it is stopped for that, where it does not end before."""
    if idleness is None or now - idleness.since < SAID_AFTER:
        return None
    is_moot = ends_at is not None and idleness.stops_at is not None and ends_at <= idleness.stops_at
    return replace(idleness, stop_after_s=None) if is_moot else idleness
