"""Connections to sessions: who may open one, what it is noted as, and when it must end."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import ProgrammingError
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.compute import services
from mosu.compute.models import Allocation, Attempt, Connection, Run
from mosu.compute.queries import connections_of
from mosu.compute.services import (
    NotASession,
    NotRunning,
    PoolAway,
    TooManyConnections,
    Traffic,
    close_connection,
    close_forgotten,
    close_left_open,
    renew_connections,
)
from mosu.compute.services import connections as module
from mosu.compute.services.endings import expire_leases
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.platform.actors import ANONYMOUS, SYSTEM, Actor, HubRole, Role, Scope
from mosu.platform.models import ApiToken, Membership, Organisation, OrganisationState, User
from mosu.platform.services import record_audit, revoke_token
from tests.compute.sessions import SESSION, Session, let_in, make_session, with_token
from tests.compute.world import at, beat, buy, lease, make_organisation, make_world, register, report, started
from tests.conftest import NOW
from tests.platform.factories import make_member, make_staff

pytestmark = pytest.mark.django_db

NOTHING = Traffic(0, 0)


def row(connection_id: UUID) -> Connection:
    return Connection.objects.get(id=connection_id)


def endings(*ids: UUID, now: datetime = NOW) -> dict[UUID, str]:
    return dict(renew_connections(traffic=dict.fromkeys(ids, NOTHING), now=now))


# Who may.


def test_an_opened_connection_says_who_where_and_since_when() -> None:
    session = make_session()
    actor, token = with_token(session.person)
    granted = session.join(actor=actor, port=6006, now=at(5))
    assert (granted.pool_id, granted.attempt_id) == (session.world.pool_id, session.attempt.public_id)
    found = row(granted.connection_id)
    assert (found.run_id, found.attempt_id) == (session.run.id, session.attempt.id)
    assert (found.organisation_id, found.user_id, found.token_id) == (
        session.world.buyer.id,
        actor.id,
        token.id,
    )
    assert (found.port, found.opened_at, found.seen_at, found.closed_at) == (6006, at(5), at(5), None)
    assert (found.bytes_in, found.bytes_out, found.why) == (0, 0, "")


@pytest.mark.parametrize("role", list(Role))
def test_who_may_run_things_there_may_connect(role: Role) -> None:
    session = make_session()
    member = make_member(session.world.buyer, role)
    session.let_in(member)
    if role in (Role.OWNER, Role.ADMIN, Role.DEVELOPER):
        assert row(session.join(actor=member).connection_id).user_id == member.id
    else:
        with pytest.raises(Forbidden):
            session.join(actor=member)
        assert not Connection.objects.exists()


@pytest.mark.parametrize("hub_role", list(HubRole))
def test_the_hubs_own_people_may_not(hub_role: HubRole) -> None:
    session = make_session()
    with pytest.raises(Forbidden):
        session.join(actor=make_staff(hub_role))
    assert not Connection.objects.exists()


def test_for_others_the_run_is_not_there() -> None:
    session = make_session()
    with pytest.raises(NotFound):
        session.join(actor=make_member(make_organisation("other"), Role.OWNER))
    with pytest.raises(NotFound):
        session.join(actor=ANONYMOUS)
    with pytest.raises(NotFound):
        services.open_connection(actor=session.person, run_id=uuid7(), port=1, now=NOW)
    assert not Connection.objects.exists()


def test_a_token_must_be_good_for_buying() -> None:
    session = make_session()
    reader, _ = with_token(session.person, scopes=(Scope.READ,))
    with pytest.raises(Forbidden):
        session.join(actor=reader)
    buyer, _ = with_token(session.person, scopes=(Scope.BUY,))
    assert session.join(actor=buyer)


def test_only_a_person_connects() -> None:
    session = make_session()
    for nobody in (SYSTEM, session.world.agent):
        with pytest.raises(NotFound):
            session.join(actor=nobody)
    assert not Connection.objects.exists()


# When it can be.


@pytest.mark.parametrize("port", [-1, 0, 65_536, 1 << 40])
def test_what_is_no_port_is_refused(port: int) -> None:
    session = make_session()
    with pytest.raises(Invalid):
        session.join(port=port)
    assert not Connection.objects.exists()


def test_nobody_is_joined_to_a_batch() -> None:
    world = make_world()
    register(world, reaches=True)
    run, _ = started(world)
    with pytest.raises(NotASession) as refused:
        services.open_connection(actor=make_member(world.buyer, Role.OWNER), run_id=run.id, port=80, now=NOW)
    assert "mosu: {kind: session}" in refused.value.hint


def test_a_session_that_does_not_run_says_how_it_stands() -> None:
    world = make_world()
    register(world, reaches=True)
    run = buy(world, SESSION)
    member = make_member(world.buyer, Role.OWNER)
    let_in(member, run)

    def refusal(now: datetime) -> str:
        with pytest.raises(NotRunning) as refused:
            services.open_connection(actor=member, run_id=run.id, port=80, now=now)
        return refused.value.message

    assert refusal(NOW) == "This session is queued, not running."
    attempt = Attempt.objects.get(run=run)
    assert lease(world, now=NOW) is not None
    assert refusal(NOW) == "This session is queued, not running."
    beat(world, attempt, "running", now=NOW)
    expire_leases(now=at(600))
    assert refusal(at(600)) == "This session is unreachable, not running."
    beat(world, attempt, "running", now=at(601))
    assert services.open_connection(actor=member, run_id=run.id, port=80, now=at(601))
    report(world, attempt, now=at(602))
    assert refusal(at(602)) == "This session is succeeded, not running."


def test_a_pool_that_is_away_is_not_reached() -> None:
    session = make_session()
    with pytest.raises(PoolAway):
        session.join(now=at(31))
    register(session.world, now=at(31))
    with pytest.raises(PoolAway):
        session.join(now=at(31))
    register(session.world, now=at(31), reaches=True)
    assert session.join(now=at(31))
    assert Connection.objects.count() == 1


# How many.


def test_of_one_run_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_PER_RUN_MAX", 3)
    session = make_session()
    opened = [session.join(port=port) for port in (1, 2, 2)]
    with pytest.raises(TooManyConnections):
        session.join()
    close_connection(connection_id=opened[0].connection_id, traffic=NOTHING, why="bye", now=NOW)
    assert session.join()
    assert Connection.objects.filter(closed_at=None).count() == 3


def test_of_one_organisation_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_PER_ORGANISATION_MAX", 2)
    session = make_session()
    other_run, _ = started(session.world, text=SESSION)
    let_in(session.person, other_run)
    session.join()
    services.open_connection(actor=session.person, run_id=other_run.id, port=1, now=NOW)
    with pytest.raises(TooManyConnections) as refused:
        session.join()
    assert "organisation" in refused.value.message
    assert Connection.objects.count() == 2


# What is noted.


def test_what_passed_is_noted_and_never_less() -> None:
    session = make_session()
    one, two = session.join().connection_id, session.join().connection_id
    assert renew_connections(traffic={one: Traffic(10, 20), two: Traffic(1, 2)}, now=at(5)) == {}
    assert renew_connections(traffic={one: Traffic(5, 30)}, now=at(3)) == {}
    found, other = row(one), row(two)
    assert (found.bytes_in, found.bytes_out, found.seen_at) == (10, 30, at(5))
    assert (other.bytes_in, other.bytes_out, other.seen_at) == (1, 2, at(5))
    assert renew_connections(traffic={}, now=at(9)) == {}


SAID = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1 << 62), st.integers(0, 1 << 62), st.booleans()), max_size=8
)


def test_counts_are_the_most_that_was_said_before_the_end() -> None:
    """Compared with a plain model: whatever the order, repeats and lates."""
    session = make_session()

    @given(SAID)
    @settings(deadline=None, max_examples=30)
    def check(said: list[tuple[int, int, int, bool]]) -> None:
        ids = [session.join().connection_id, session.join().connection_id]
        model: list[list[Any]] = [[0, 0, False], [0, 0, False]]
        for step, (which, bytes_in, bytes_out, ends) in enumerate(said):
            traffic, told = Traffic(bytes_in, bytes_out), model[which]
            if ends:
                close_connection(connection_id=ids[which], traffic=traffic, why="bye", now=at(step))
            else:
                ended = renew_connections(traffic={ids[which]: traffic}, now=at(step))
                assert ended == ({ids[which]: "bye"} if told[2] else {})
            if not told[2]:
                told[:] = [max(told[0], bytes_in), max(told[1], bytes_out), ends]
        found = [[row(key).bytes_in, row(key).bytes_out, row(key).closed_at is not None] for key in ids]
        assert found == model
        for key in ids:
            close_connection(connection_id=key, traffic=NOTHING, why="over", now=NOW)

    check()


def test_a_closed_one_stays_as_it_was() -> None:
    session = make_session()
    key = session.join().connection_id
    close_connection(connection_id=key, traffic=Traffic(3, 4), why="the person left", now=at(7))
    close_connection(connection_id=key, traffic=Traffic(30, 40), why="again", now=at(8))
    found = row(key)
    assert (found.bytes_in, found.bytes_out, found.closed_at, found.why) == (3, 4, at(7), "the person left")
    assert endings(key, now=at(9)) == {key: "the person left"}
    assert row(key).seen_at == at(7)


@pytest.mark.parametrize("why", ["", "  ", "\0", "x" * 900])
def test_whatever_the_reason_it_is_closed_with_one(why: str) -> None:
    session = make_session()
    key = session.join(now=at(5)).connection_id
    close_connection(connection_id=key, traffic=NOTHING, why=why, now=at(1))  # a clock that went back
    found = row(key)
    assert found.closed_at == at(5)
    assert 0 < len(found.why) <= 500


def test_what_a_relay_left_open_is_closed_at_the_next_start() -> None:
    session = make_session()
    left, closed = session.join(now=at(1)).connection_id, session.join(now=at(1)).connection_id
    renew_connections(traffic={left: Traffic(1, 1)}, now=at(4))
    close_connection(connection_id=closed, traffic=NOTHING, why="bye", now=at(5))
    assert close_left_open(now=at(900)) == 1
    assert close_left_open(now=at(901)) == 0
    assert (row(left).closed_at, row(left).why) == (at(4), "the relay stopped")
    assert row(closed).why == "bye"


def test_what_was_left_open_is_closed_even_if_the_clock_went_back() -> None:
    session = make_session()
    key = session.join(now=at(5)).connection_id
    assert close_left_open(now=at(1)) == 1
    assert row(key).closed_at == at(5)


def test_one_of_which_the_relay_speaks_no_more_is_closed_as_of_when_it_last_did() -> None:
    session = make_session()
    left, told = session.join(now=at(1)).connection_id, session.join(now=at(1)).connection_id
    renew_connections(traffic={left: NOTHING, told: NOTHING}, now=at(4))
    later = at(5) + module.FORGOTTEN_AFTER
    renew_connections(traffic={told: NOTHING}, now=later)
    assert (close_forgotten(now=at(6)), close_forgotten(now=later), close_forgotten(now=later)) == (0, 1, 0)
    assert (row(left).closed_at, row(left).why) == (at(4), module.RELAY_FORGOT)
    assert row(told).closed_at is None


# When it must end.


def _ends(how: Callable[[Session, Actor, ApiToken], None], *, now: datetime = NOW) -> tuple[str, str]:
    """Why a connection with a token must end after `how`, and one of somebody else who signed in."""
    session = make_session()
    actor, token = with_token(session.person)
    other = make_member(session.world.buyer, Role.ADMIN)
    session.let_in(other)
    mine, theirs = session.join(actor=actor).connection_id, session.join(actor=other).connection_id
    assert endings(mine, theirs) == {}
    how(session, actor, token)
    told = endings(mine, theirs, now=now)
    assert row(mine).closed_at is None  # the relay says when it has ended
    return told.get(mine, ""), told.get(theirs, "")


def test_it_ends_when_its_token_is_revoked() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        revoke_token(actor=session.person, token_id=token.id, now=NOW)

    assert _ends(how) == ("its token was revoked", "")


@pytest.mark.parametrize(("days", "why"), [(29, ""), (30, "its token has expired")])
def test_it_ends_when_its_token_expires(days: int, why: str) -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        assert token.expires_at == NOW + timedelta(days=30)

    assert _ends(how, now=NOW + timedelta(days=days)) == (why, "")


def test_it_ends_with_the_membership() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        Membership.objects.filter(user_id=actor.id).delete()

    assert _ends(how) == ("this person may no longer connect", "")


@pytest.mark.parametrize("role", list(Role))
def test_it_ends_when_the_role_is_too_small(role: Role) -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        Membership.objects.filter(user_id=actor.id).update(role=role)

    small = role in (Role.FINANCE, Role.VIEWER)
    assert _ends(how) == ("this person may no longer connect" if small else "", "")


def test_a_role_elsewhere_does_not_count() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        Membership.objects.filter(user_id=actor.id).update(organisation=make_organisation("other"))

    assert _ends(how) == ("this person may no longer connect", "")


def test_it_ends_when_its_person_is_disabled() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        User.objects.filter(id=actor.id).update(is_active=False)

    assert _ends(how) == ("this person was disabled", "")


def test_it_ends_when_its_organisation_is_suspended() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        record_audit(
            actor=SYSTEM,
            action="test",
            subject_id=session.world.buyer.id,
            before="active",
            after="suspended",
            now=NOW,
        )
        Organisation.objects.filter(id=session.world.buyer.id).update(state=OrganisationState.SUSPENDED)

    assert _ends(how) == ("this person may no longer connect",) * 2


def test_it_ends_with_its_run() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        report(session.world, session.attempt, now=at(1))

    assert _ends(how) == ("the session has ended",) * 2


def test_it_goes_on_while_its_agent_is_silent() -> None:
    """The tunnel knows better: what it carries still passes, or it is gone."""

    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        expire_leases(now=at(600))
        assert Attempt.objects.get(id=session.attempt.id).state == "unreachable"

    assert _ends(how, now=at(600)) == ("", "")


def test_it_ends_when_another_attempt_takes_the_place_of_its_own() -> None:
    def how(session: Session, actor: Actor, token: ApiToken) -> None:
        # No session is begun again; what a task of another kind may do shows that the attempt alone counts.
        Run.objects.filter(id=session.run.id).update(request={**session.run.request, "recovers": True})
        Allocation.objects.filter(attempt=session.attempt).update(gave_way_at=NOW)
        report(session.world, session.attempt, "cancelled", now=at(1))
        assert Run.objects.get(id=session.run.id).state == "queued"

    assert _ends(how) == ("another attempt runs in its place",) * 2


def test_one_that_is_not_known_must_end() -> None:
    nobody = uuid7()
    assert endings(nobody) == {nobody: "there is no such connection"}


# What it costs.


def _statements(what: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        what()
    return [one["sql"] for one in captured if "SAVEPOINT" not in one["sql"]]


def test_renewing_asks_twice_however_many_there_are() -> None:
    session = make_session()
    few = [session.join().connection_id for _ in range(2)]
    many = [session.join().connection_id for _ in range(40)]
    assert len(_statements(lambda: endings(*few))) == 2
    assert len(_statements(lambda: endings(*few, *many))) == 2


def test_opening_asks_so_much_and_closing_once() -> None:
    session = make_session()
    assert len(_statements(session.join)) == 6
    key = session.join().connection_id
    close = lambda: close_connection(connection_id=key, traffic=NOTHING, why="bye", now=NOW)  # noqa: E731
    assert len(_statements(close)) == 1


# What the database holds.


@pytest.mark.parametrize(
    "change",
    [
        {"bytes_in": 9},
        {"bytes_out": 9},
        {"seen_at": at(4)},
        {"closed_at": at(8)},
        {"why": "no reason"},
        {"closed_at": at(1), "why": "too early"},
        {"port": 81},
        {"user_id": UUID(int=1)},
        {"run_id": UUID(int=1)},
        {"opened_at": at(0)},
    ],
    ids=str,
)
def test_the_database_refuses_to_change_what_was_noted(change: dict[str, Any]) -> None:
    session = make_session()
    key = session.join(now=at(2)).connection_id
    renew_connections(traffic={key: Traffic(10, 10)}, now=at(5))
    before = Connection.objects.filter(id=key).values().get()
    with pytest.raises((IntegrityError, ProgrammingError)), transaction.atomic():
        Connection.objects.filter(id=key).update(**change)
    assert Connection.objects.filter(id=key).values().get() == before


@pytest.mark.parametrize(
    "change", [{"bytes_in": 99}, {"why": "another"}, {"closed_at": None, "why": ""}], ids=str
)
def test_the_database_refuses_to_change_a_closed_one(change: dict[str, Any]) -> None:
    session = make_session()
    key = session.join().connection_id
    close_connection(connection_id=key, traffic=Traffic(1, 1), why="bye", now=at(1))
    with pytest.raises(IntegrityError), transaction.atomic():
        Connection.objects.filter(id=key).update(**change)
    assert row(key).why == "bye"


def test_the_database_keeps_every_one() -> None:
    session = make_session()
    key = session.join().connection_id
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("delete from compute_connection")
    assert row(key)


@pytest.mark.parametrize("wrong", [{"port": 0}, {"port": 65_536}, {"why": "open, with a reason"}], ids=str)
def test_the_database_takes_no_wrong_one(wrong: dict[str, Any]) -> None:
    session = make_session()
    facts: dict[str, Any] = {
        "run": session.run,
        "attempt": session.attempt,
        "organisation": session.world.buyer,
        "user_id": session.person.id,
        "port": 80,
        "opened_at": NOW,
        "seen_at": NOW,
    }
    with pytest.raises(IntegrityError), transaction.atomic():
        Connection.objects.create(**(facts | wrong))
    assert Connection.objects.create(**facts)


# Who sees.


def test_all_of_the_organisation_and_the_hubs_people_see_them() -> None:
    session = make_session()
    session.join(port=1, now=at(1))
    session.join(port=2, now=at(2))
    for actor in (make_member(session.world.buyer, Role.VIEWER), make_staff(HubRole.AUDITOR)):
        assert [one.port for one in connections_of(actor, session.run.id)] == [2, 1]
    with pytest.raises(NotFound):
        connections_of(make_member(make_organisation("other"), Role.OWNER), session.run.id)
