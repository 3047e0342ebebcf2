"""Joining people to the ports of sessions: who may, who is, and who no longer may. The relay carries the bytes.

A connection is granted once, then looked after: the relay says every few seconds what passed and hears which
connections must end, so a right that is taken away works within that time, and no byte asks the database.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, Count, F, Q, Value, When
from django.db.models.functions import Greatest, Least

from mosu.compute.guests import is_let_in
from mosu.compute.models import PORT_MAX, Attempt, Connection, Run
from mosu.compute.queries import runs_visible_to
from mosu.compute.reach import is_away, is_reached, runs_now
from mosu.compute.requests import RunRequest
from mosu.compute.session_apps import APPS
from mosu.compute.states import ATTEMPT_ENDS, RunState
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import OrganisationState
from mosu.platform.policy import POLICY, person_of, require
from mosu.platform.rows import insert
from mosu.platform.sign_ins import users_signed_in
from mosu.wire.task import App

ACTION: Final = "run.connect"
CONNECTIONS_PER_RUN_MAX: Final = 250
CONNECTIONS_PER_ORGANISATION_MAX: Final = 500

FORGOTTEN_AFTER: Final = timedelta(minutes=2)
"""The relay speaks of each that it carries every half a minute."""

RELAY_STOPPED: Final = "the relay stopped"
RELAY_FORGOT: Final = "the relay carried it no more"
_ENDED: Final = "the session has ended"
_REPLACED: Final = "another attempt runs in its place"
_DISABLED: Final = "this person was disabled"
_REVOKED: Final = "its token was revoked"
_EXPIRED: Final = "its token has expired"
_NO_LONGER: Final = "this person may no longer connect"
_UNKNOWN: Final = "there is no such connection"
_COOKIE_EXPIRED: Final = "its time in the browser is over"
_SIGNED_OUT: Final = "the sign-in that opened it has ended"


class NotASession(DomainError):
    """The run was not bought as one that people are joined to."""

    code = "not_a_session"


class NotRunning(DomainError):
    """The session has not started, or has ended."""

    code = "not_running"


class PoolAway(DomainError):
    """Nobody is at the pool who could join people to what runs there."""

    code = "pool_away"


class TooManyConnections(DomainError):
    """So many are open at once."""

    code = "too_many_connections"


@dataclass(frozen=True, slots=True)
class Granted:
    """Where the relay joins the person to: the tunnel of `pool_id`, the attempt `attempt_id` (its public id)."""

    connection_id: UUID
    organisation_id: UUID
    pool_id: UUID
    attempt_id: str


@dataclass(frozen=True, slots=True)
class AppReached:
    """An app of a session, at its port; `path` lets a browser in, and is a secret. Empty: no browser comes in."""

    app: App
    port: int
    path: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What has passed since the connection was opened: `bytes_in` towards the run, `bytes_out` from it."""

    bytes_in: int
    bytes_out: int


@transaction.atomic(durable=True)
def open_connection(
    *, actor: Actor, run_id: UUID, port: int, now: datetime, ticket_id: UUID | None = None
) -> Granted:
    """Let the person be joined to a port of the session's own loopback, and write that down.

    Those of one organisation are counted one after the other, so limits hold whatever comes at once.

    Raises:
        TooManyConnections: of the run, or of the organisation.
        what `reached_port` raises.
    """
    run, attempt = reached_port(actor=actor, run_id=run_id, port=port, now=now)
    _keep_within(run)
    row = Connection(
        run=run,
        attempt=attempt,
        organisation_id=run.organisation_id,
        user_id=person_of(actor),
        token_id=actor.token_id,
        ticket_id=ticket_id,
        port=port,
        opened_at=now,
        seen_at=now,
    )
    insert(row)
    return Granted(
        connection_id=row.id,
        organisation_id=run.organisation_id,
        pool_id=attempt.pool_id,
        attempt_id=attempt.public_id,
    )


def reached_port(*, actor: Actor, run_id: UUID, port: int, now: datetime) -> tuple[Run, Attempt]:
    """The session and its attempt, to a port of which the actor may be joined now.

    Raises:
        NotFound: there is no such run, or the actor may not know.
        Forbidden: they may not run things in the run's organisation, or the session is another person's who has not
            let them in; the hub's own people may not either.
        Invalid: it is no port.
        NotASession: the run is of another kind.
        NotRunning: it has not started, or has ended.
        PoolAway: its pool has not been heard of, or joins nobody to anything.
    """
    run = _run_of(actor, run_id)
    person_of(actor)
    if not 1 <= port <= PORT_MAX:
        raise Invalid(f"port: {port} is no port.", hint=f"Choose 1 to {PORT_MAX}.", field="port")
    return run, _reached(run, now=now)


def reached_apps(*, actor: Actor, run_id: UUID, now: datetime) -> list[AppReached]:
    """What was started in the session beside its command, for whoever may be joined to it: who knows a path comes in.

    Raises:
        NotFound, Forbidden, NotASession, NotRunning, PoolAway: as `open_connection` says.
    """
    run = _run_of(actor, run_id)
    attempt = _reached(run, now=now)
    return [
        AppReached(app=app, port=APPS[app].port, path=APPS[app].opens(attempt.public_id))
        for app in RunRequest.of_json(run.request).apps
    ]


def _run_of(actor: Actor, run_id: UUID) -> Run:
    """The run, for those who may be joined to it."""
    run = runs_visible_to(actor).prefetch_related(None).filter(id=run_id).first()
    if run is None:
        raise NotFound("There is no such run.", hint="See your runs: mosu runs.")
    require(actor, ACTION, run.organisation_id)
    if not is_let_in(actor, run):
        raise Forbidden(
            "This session is somebody else's.",
            hint="Whoever ordered it lets others in: mosu share RUN EMAIL.",
            action=ACTION,
        )
    return run


def _reached(run: Run, *, now: datetime) -> Attempt:
    """The attempt that runs, where people can be joined to it."""
    if not is_reached(run):
        raise NotASession(
            "This run is no session or service: nobody is joined to it.",
            hint="Set mosu: {kind: session} and run it again.",
        )
    attempt = Attempt.objects.filter(run=run).order_by("-epoch").first()
    if attempt is None or not runs_now(run, attempt):
        state = attempt.state if attempt is not None and run.state == RunState.RUNNING else run.state
        raise NotRunning(f"This session is {state}, not running.", hint="See how it stands: mosu runs.")
    if is_away(run.pool, now=now):
        raise PoolAway("The pool that this session runs in is not reached.", hint="Try again in a minute.")
    return attempt


def _keep_within(run: Run) -> None:
    """Count what is open while nobody else of the organisation opens more.

    Raises:
        TooManyConnections: there are as many as there may be.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"connections:{run.organisation_id}"]
        )
    opened = Connection.objects.filter(organisation_id=run.organisation_id, closed_at=None)
    counts = opened.aggregate(all=Count("id"), of_run=Count("id", filter=Q(run=run)))
    if counts["of_run"] >= CONNECTIONS_PER_RUN_MAX:
        raise TooManyConnections(
            f"{CONNECTIONS_PER_RUN_MAX} connections to this session are open.", hint="Close one first."
        )
    if counts["all"] >= CONNECTIONS_PER_ORGANISATION_MAX:
        raise TooManyConnections(
            f"{CONNECTIONS_PER_ORGANISATION_MAX} connections of your organisation are open.",
            hint="Close one first.",
        )


@transaction.atomic(durable=True)
def renew_connections(*, traffic: Mapping[UUID, Traffic], now: datetime) -> Mapping[UUID, str]:
    """Note what passed in each, and tell which must end, with why; two statements, however many they are, and two
    more where browsers came in by sign-ins.

    They stay open until `close_connection` says that they ended.
    """
    if not traffic:
        return {}
    ids, told = list(traffic), traffic.values()
    bytes_in, bytes_out = [one.bytes_in for one in told], [one.bytes_out for one in told]
    roles = [role.value for role in POLICY[ACTION].roles]
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [ids, bytes_in, bytes_out, now, now])
        cursor.execute(_MUST_END, {**_FACTS, "ids": ids, "roles": roles, "now": now})
        judged = cursor.fetchall()
    over = {key: why for key, why, _, _ in judged if why}
    sign_ins = {key: (sign_in, user_id) for key, why, sign_in, user_id in judged if not why}
    if sign_ins:
        holding = users_signed_in({sign_in for sign_in, _ in sign_ins.values()}, now=now)
        over |= {
            key: _SIGNED_OUT
            for key, (sign_in, user_id) in sign_ins.items()
            if sign_in not in holding or holding[sign_in].id != user_id
        }
    return over


# Locked in the order of their ids, since another may note others of them at once.
_RENEW: Final = """
with told as (
  select * from unnest(%s::uuid[], %s::bigint[], %s::bigint[]) as told(id, bytes_in, bytes_out)),
held as (
  select c.id from compute_connection c where c.id in (select id from told) and c.closed_at is null
   order by c.id for no key update)
update compute_connection c
   set bytes_in = greatest(c.bytes_in, told.bytes_in), bytes_out = greatest(c.bytes_out, told.bytes_out),
       seen_at = greatest(c.seen_at, %s),
       used_at = case when told.bytes_in > c.bytes_in or told.bytes_out > c.bytes_out
         then greatest(c.used_at, %s) else c.used_at end
  from told, held where c.id = told.id and c.id = held.id
"""
_FACTS: Final[Mapping[str, str | list[str]]] = {
    "run_ends": [state.value for state in RunState if state not in (RunState.QUEUED, RunState.RUNNING)],
    "attempt_ends": [state.value for state in ATTEMPT_ENDS],
    "active": OrganisationState.ACTIVE.value,
    "unknown": _UNKNOWN,
    "ended": _ENDED,
    "replaced": _REPLACED,
    "disabled": _DISABLED,
    "revoked": _REVOKED,
    "expired": _EXPIRED,
    "no_longer": _NO_LONGER,
    "cookie_expired": _COOKIE_EXPIRED,
}
_MUST_END: Final = """
select id, why, sign_in, user_id from (
  select told.id, k.sign_in, c.user_id, case
      when c.id is null then %(unknown)s
      when c.closed_at is not null then c.why
      when r.state = any(%(run_ends)s) then %(ended)s
      when a.state = any(%(attempt_ends)s) or exists (
        select from compute_attempt later where later.run_id = a.run_id and later.epoch > a.epoch)
        then %(replaced)s
      when not u.is_active then %(disabled)s
      when t.revoked_at is not null then %(revoked)s
      when t.expires_at <= %(now)s then %(expired)s
      when k.cookie_expires_at <= %(now)s then %(cookie_expired)s
      when not exists (
        select from platform_membership m join platform_organisation o on o.id = m.organisation_id
         where m.user_id = c.user_id and m.organisation_id = c.organisation_id
           and m.role = any(%(roles)s) and o.state = %(active)s)
        then %(no_longer)s
      when r.request ->> 'kind' = 'session' and b.placed_by is distinct from c.user_id and not exists (
        select from compute_guest g join platform_membership m on m.id = g.member_id
         where g.run_id = c.run_id and m.user_id = c.user_id)
        then %(no_longer)s
    end as why
    from unnest(%(ids)s::uuid[]) as told(id)
    left join compute_connection c on c.id = told.id
    left join compute_run r on r.id = c.run_id
    left join market_order b on b.id = r.order_id
    left join compute_attempt a on a.id = c.attempt_id
    left join platform_user u on u.id = c.user_id
    left join platform_apitoken t on t.id = c.token_id
    left join compute_ticket k on k.id = c.ticket_id) judged
 where why is not null or sign_in <> ''
"""


@transaction.atomic(durable=True)
def close_connection(*, connection_id: UUID, traffic: Traffic, why: str, now: datetime) -> None:
    """Write down that it ended, and why. What was closed before stays as it was."""
    opened = Connection.objects.filter(id=connection_id, closed_at=None)
    passed = Q(bytes_in__lt=traffic.bytes_in) | Q(bytes_out__lt=traffic.bytes_out)
    opened.update(
        used_at=Case(When(passed, then=Greatest(F("seen_at"), Value(now))), default=F("used_at")),
        bytes_in=Greatest(F("bytes_in"), Value(traffic.bytes_in)),
        bytes_out=Greatest(F("bytes_out"), Value(traffic.bytes_out)),
        seen_at=Greatest(F("seen_at"), Value(now)),
        closed_at=Greatest(F("opened_at"), Value(now)),
        why=why.replace("\0", "").strip()[:500] or "it ended",
    )


@transaction.atomic(durable=True)
def close_forgotten(*, now: datetime) -> int:
    """Close those of which the relay speaks no more, as of when it last did; how many there were.

    Their end could not be written down: the database was away. They would count as open for ever.
    """
    opened = Connection.objects.filter(closed_at=None, seen_at__lt=now - FORGOTTEN_AFTER)
    return opened.update(closed_at=F("seen_at"), why=RELAY_FORGOT)


@transaction.atomic(durable=True)
def close_left_open(*, now: datetime) -> int:
    """Close what a relay that stopped left open, as of when it last spoke of it; how many there were.

    Only for the start of the one relay: it would close what another one carries.
    """
    opened = Connection.objects.filter(closed_at=None)
    return opened.update(
        closed_at=Least(F("seen_at"), Greatest(F("opened_at"), Value(now))), why=RELAY_STOPPED
    )
