"""A session is its orderer's: with whom it is shared, who may share it, and who is cut off."""

import pytest
from django.test import Client

from mosu.compute import services
from mosu.compute.guests import guests_of
from mosu.compute.models import Connection, Guest, Run
from mosu.compute.services import NotASession, NotRunning, TooManyGuests, Traffic, guests, renew_connections
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor, Role
from mosu.platform.models import AuditRecord, Membership, Notice, User
from mosu.platform.queries import actor_for_user
from mosu.platform.rows import insert
from mosu.platform.services import remove_member
from tests.compute.sessions import SESSION, Session
from tests.compute.world import at, make_organisation, make_world, register, report, started
from tests.conftest import NOW
from tests.platform.factories import bearer, make_member

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> Session:
    """A session whose orderer is known by an address; a colleague who is not let in yet."""
    world = make_world()
    register(world, reaches=True)
    orderer = make_member(world.buyer, Role.DEVELOPER)
    world.actor = orderer
    run, attempt = started(world, text=SESSION)
    return Session(world, run, attempt, make_member(world.buyer, Role.DEVELOPER))


def email(actor: Actor) -> str:
    return User.objects.get(id=actor.id).email


def share(session: Session, whom: Actor, *, by: Actor | None = None) -> Guest:
    return services.share_run(
        actor=by or session.world.actor, run_id=session.run.id, email=email(whom), now=NOW
    )


def end(session: Session, guest: Guest, *, by: Actor | None = None) -> None:
    services.end_sharing(actor=by or session.world.actor, run_id=session.run.id, guest_id=guest.id, now=at(1))


@pytest.mark.parametrize("role", list(Role))
def test_only_who_ordered_it_comes_in_whatever_their_role(session: Session, role: Role) -> None:
    assert session.join(actor=session.world.actor)
    with pytest.raises(Forbidden) as refused:
        session.join(actor=make_member(session.world.buyer, role))
    assert refused.value.hint
    assert Connection.objects.count() == 1


def test_who_is_let_in_comes_in_and_is_told(session: Session) -> None:
    guest = share(session, session.person)
    assert session.join()
    assert Notice.objects.filter(user=session.person.id, kind="run.shared").count() == 1
    assert share(session, session.person).id == guest.id
    assert Notice.objects.filter(kind="run.shared").count() == 1
    assert [one.member.user_id for one in guests_of(session.world.actor, session.run.id)] == [
        session.person.id
    ]


def test_who_is_sent_out_is_cut_off_and_comes_in_no_more(session: Session) -> None:
    guest = share(session, session.person)
    mine, theirs = session.join(actor=session.world.actor), session.join()
    traffic = {mine.connection_id: Traffic(0, 0), theirs.connection_id: Traffic(0, 0)}
    assert renew_connections(traffic=traffic, now=NOW) == {}
    end(session, guest)
    end(session, guest)
    assert renew_connections(traffic=traffic, now=at(1)) == {
        theirs.connection_id: "this person may no longer connect"
    }
    with pytest.raises(Forbidden):
        session.join()
    found = AuditRecord.objects.filter(action__in=["run.shared", "run.sharing_ended"]).order_by("id")
    assert [one.action for one in found] == ["run.shared", "run.sharing_ended"]


def test_a_service_is_there_for_all_who_may_run_things(session: Session) -> None:
    text = "name: s\nresources: {cpus: 1}\nrun: serve\nmosu: {kind: service, port: 80, wall_limit: 1h}\n"
    run, attempt = started(session.world, text=text)
    service = Session(session.world, run, attempt, session.person)
    joined = service.join().connection_id
    assert renew_connections(traffic={joined: Traffic(0, 0)}, now=NOW) == {}
    with pytest.raises(NotASession):
        share(service, session.person)


def test_who_may_share_it(session: Session) -> None:
    third = make_member(session.world.buyer, Role.DEVELOPER)
    for actor in (session.person, third, make_member(session.world.buyer, Role.FINANCE)):
        with pytest.raises(Forbidden):
            share(session, third, by=actor)
    with pytest.raises(NotFound):
        share(session, third, by=make_member(make_organisation("other"), Role.OWNER))
    guest = share(session, third)
    with pytest.raises(Forbidden):  # who was let in lets nobody else in, nor out
        end(session, guest, by=third)
    told = Notice.objects.filter(user=session.world.actor.id, kind="run.shared")
    for count, role in enumerate((Role.OWNER, Role.ADMIN), 1):
        manager = make_member(session.world.buyer, role)
        assert share(session, manager, by=manager)
        assert told.count() == count, "who ordered it is told when somebody else lets a person in"
    assert session.join(actor=manager)


def test_with_whom_it_is_not_shared(session: Session) -> None:
    viewer = make_member(session.world.buyer, Role.VIEWER)
    for whom, refusal in [
        (viewer, Invalid),
        (session.world.actor, Invalid),
        (make_member(make_organisation("other"), Role.OWNER), NotFound),
    ]:
        with pytest.raises(refusal):
            share(session, whom)
    assert not Guest.objects.exists()


def test_a_guest_who_leaves_the_organisation_is_out_also_when_they_come_back(session: Session) -> None:
    share(session, session.person)
    membership = Membership.objects.get(user=session.person.id)
    remove_member(actor=session.person, membership_id=membership.id, now=NOW)
    with pytest.raises(NotFound):
        session.join(actor=actor_for_user(User.objects.get(id=session.person.id)))
    insert(membership)
    with pytest.raises(Forbidden):
        session.join(actor=actor_for_user(User.objects.get(id=session.person.id)))


def test_so_many_and_no_more(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "GUESTS_MAX", 1)
    share(session, session.person)
    with pytest.raises(TooManyGuests):
        share(session, make_member(session.world.buyer, Role.DEVELOPER))


def test_what_has_ended_is_not_shared(session: Session) -> None:
    report(session.world, session.attempt, now=at(2))
    with pytest.raises(NotRunning):
        share(session, session.person)


@pytest.mark.urls("tests.compute.urls")
def test_by_the_api(session: Session, client: Client) -> None:
    path = f"/api/v1/runs/{session.run.public_id}"
    headers = bearer(session.world.actor)
    made = client.post(
        f"{path}/guests", {"email": email(session.person)}, content_type="application/json", headers=headers
    )
    assert made.status_code == 201
    found = client.get(f"{path}/guests", headers=headers).json()["items"]
    assert [(one["id"], one["user"]) for one in found] == [(made.json()["id"], email(session.person))]
    answer = client.delete(f"{path}/guests/{made.json()['id']}", headers=bearer(session.person))
    assert answer.status_code == 403
    assert client.delete(f"{path}/guests/{made.json()['id']}", headers=headers).status_code == 204
    assert client.get(f"{path}/guests", headers=headers).json()["items"] == []
    kept = client.post(f"{path}/keep", headers=headers).json()
    assert kept["ends_at"] is not None and kept["idle_stop_s"] is None
    body = {"stop_after_s": 1800}
    set_ = client.put(f"{path}/idle-stop", body, content_type="application/json", headers=headers)
    assert set_.json()["idle_stop_s"] == 1800
    assert Run.objects.get(id=session.run.id).kept_at is not None
