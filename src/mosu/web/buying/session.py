"""A session or service while it runs: when it ends, how idle it is, with whom it is shared; and all of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mosu.compute.ends import NEAR, ends_at
from mosu.compute.guests import may_share
from mosu.compute.idle_runs import Idleness, idleness_of
from mosu.compute.models import Guest, Run
from mosu.compute.queries import costs_of, idle_stop_of, last_attempt_of, sessions_of
from mosu.compute.reach import is_reached
from mosu.compute.states import is_ended
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.web.presenters import duration

MINE_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class SessionShown:
    """What the run's page says of it, and lets one do."""

    is_session: bool
    runs: bool
    ends_at: datetime | None
    ends_in: str
    """How long until then, where that is near; empty otherwise."""
    idleness: Idleness | None
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
        return cls(
            is_session=is_session,
            runs=by is not None,
            ends_at=by,
            ends_in=duration(max(0, int((by - now).total_seconds()) // 60 * 60))
            if by and by - now <= NEAR
            else "",
            idleness=idleness_of([run]).get(run.id),
            own_minutes=run.idle_stop_s and run.idle_stop_s // 60,
            rule_minutes=rule_s and rule_s // 60,
            guests=list(run.guests.select_related("user").order_by("let_in_at", "id")) if is_session else [],
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


def my_sessions(actor: Actor) -> list[MySession]:
    """The sessions that the actor ordered and that run, the longest first."""
    runs = list(sessions_of(actor)[:MINE_MAX])
    costs, idle = costs_of(runs), idleness_of(runs)
    return [
        MySession(
            name=run.name or run.order.number,
            order_id=run.order.public_id,
            pool=run.pool.name,
            since=run.started_at,
            cost=costs[run.id],
            idle_since=idle[run.id].since if run.id in idle else None,
            stops_at=idle[run.id].stops_at if run.id in idle else None,
            ends_at=ends_at(run, last_attempt_of(run)),
        )
        for run in runs
    ]
