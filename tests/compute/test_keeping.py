"""The keeper with the real counter, placement and ledger below it: what it orders, drains, stops, and when it waits."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError

from mosu.compute import services
from mosu.compute.models import Endpoint, EndpointMinute, Replica, Run
from mosu.compute.services import Overtaken, replicas
from mosu.compute.services.fitting import ReplicaOf
from mosu.market.models import Order, Quote
from mosu.market.services import accept_quote, set_budget
from mosu.platform.actors import SYSTEM, Role
from mosu.platform.models import Membership, Notice, Organisation, User
from mosu.platform.services import record_audit
from mosu.wire.task import parse_task
from tests.compute.endpoints import Hub, later, make_hub
from tests.compute.world import attempt_of, buy, deposit, held_micros, lease, register, report, task_of
from tests.conftest import NOW
from tests.platform.factories import make_member

pytestmark = pytest.mark.django_db


@pytest.fixture
def hub(settings: Any) -> Hub:
    return make_hub(settings)


def seen(hub: Hub, *, now: datetime) -> datetime:
    """The pool's agent is heard of at this time."""
    register(hub.world, cores=8, now=now, reaches=True)
    return now


def state_of(replica: Replica) -> str:
    return Run.objects.get(id=replica.run_id).state


def test_a_new_endpoint_gets_its_fewest_replicas_each_an_order_of_its_owner(hub: Hub) -> None:
    endpoint = hub.make("replicas: 2")
    found = hub.keep(endpoint)
    assert [(one.ordinal, one.version) for one in found] == [(0, 1), (1, 1)]
    orders = Order.objects.filter(id__in=[one.run.order_id for one in found])
    assert {order.placed_by for order in orders} == {hub.person.id}
    assert len(hub.keep(endpoint)) == 2
    services.keep_endpoints(now=NOW)
    assert Replica.objects.count() == 2


def test_quotes_for_replicas_stand_on_nobodys_list_for_long(hub: Hub) -> None:
    hub.keep(hub.make("replicas: 2"))
    quotes = Quote.objects.filter(request__has_key="endpoint").exclude(request__endpoint="")
    assert quotes.exists()
    assert not quotes.filter(valid_until__gt=NOW + timedelta(seconds=30)).exists()


def test_the_run_serves_what_the_task_says_with_its_secrets(hub: Hub) -> None:
    task = parse_task(hub.task() + "secrets: {KEY: hunter2}\n")
    endpoint = hub.make(task=task)
    assert "hunter2" not in endpoint.task + endpoint.sealed_secrets
    (replica,) = hub.keep(endpoint)

    found = lease(hub.world, now=NOW)
    assert found is not None and found.spec.run_id == replica.run.public_id
    assert found.spec.secrets == {"KEY": "hunter2"} and found.spec.service is not None


def test_nobody_asks_nothing_runs_and_the_first_request_orders_one(hub: Hub) -> None:
    endpoint = hub.make("replicas: {min: 0, idle: 60s}")
    assert hub.keep(endpoint) == []
    hub.ask(endpoint)
    (replica,) = hub.keep(endpoint)
    hub.serve(replica)
    hub.ask(endpoint, in_flight=0)
    assert hub.keep(endpoint, now=later(seconds=59))[0].drained_at is None
    hub.keep(endpoint, now=later(seconds=60))
    replica.refresh_from_db()
    assert replica.drained_at == later(seconds=60) and not replica.over
    assert hub.keep(endpoint, now=later(seconds=66)) == []
    assert Run.objects.get(id=replica.run_id).cancel_asked_at == later(seconds=66)
    hub.ask(endpoint, now=seen(hub, now=later(seconds=70)))
    (again,) = hub.keep(endpoint, now=later(seconds=70))
    assert again.ordinal == 1


def test_more_requests_more_replicas_and_fewer_after_a_while_without(hub: Hub) -> None:
    endpoint = hub.make("replicas: {min: 1, max: 3, requests: 4, idle: 120s}")
    hub.ask(endpoint, in_flight=9)
    found = hub.keep(endpoint)
    assert len(found) == 3
    for one in found:
        hub.serve(one)
    hub.ask(endpoint, in_flight=1)
    EndpointMinute.objects.create(
        endpoint=endpoint, minute=NOW, requests=20, refused=0, failed=0, in_flight_max=9, latencies=[0] * 13
    )
    assert len([one for one in hub.keep(endpoint, now=later(seconds=100)) if not one.drained_at]) == 3
    hub.ask(endpoint, in_flight=1, now=later(seconds=190))
    hub.keep(endpoint, now=later(seconds=190))
    assert len([one for one in hub.live(endpoint) if not one.drained_at]) == 1


def test_what_has_requests_is_not_stopped_until_they_are_answered(hub: Hub) -> None:
    endpoint = hub.make("replicas: {min: 0, idle: 60s}")
    hub.ask(endpoint)
    (replica,) = hub.keep(endpoint)
    hub.serve(replica)
    hub.ask(endpoint, in_flight=0, now=later(seconds=-60))
    Replica.objects.update(in_flight=1)
    hub.keep(endpoint)
    assert len(hub.keep(endpoint, now=later(seconds=300))) == 1
    Replica.objects.update(in_flight=0)
    assert hub.keep(endpoint, now=later(seconds=301)) == []


def test_of_an_organisation_that_is_suspended_nothing_runs_on(hub: Hub) -> None:
    """Nobody is answered at its endpoints, so nobody is to pay for them."""
    endpoint = hub.make("replicas: 2")
    replicas_ = hub.keep(endpoint)
    hub.serve(replicas_[0])
    Replica.objects.update(in_flight=1)
    for before, after in (("active", "suspended"), ("suspended", "active")):
        record_audit(
            actor=SYSTEM, action="test", subject_id=hub.world.buyer.id, before=before, after=after, now=NOW
        )
        Organisation.objects.filter(id=hub.world.buyer.id).update(state=after)
        left = hub.keep(endpoint)
        if after == "suspended":
            assert left == []
            runs = [Run.objects.get(id=one.run_id) for one in replicas_]
            assert all(run.cancel_asked_at == NOW or run.state == "cancelled" for run in runs)
            assert "its organisation is no longer active" in {run.cancel_why for run in runs}
        else:
            assert left and {one.ordinal for one in left} <= {2, 3}


def test_one_that_ends_is_replaced(hub: Hub) -> None:
    endpoint = hub.make()
    (replica,) = hub.keep(endpoint)
    attempt = hub.serve(replica)
    now = seen(hub, now=later(seconds=90))
    report(hub.world, attempt, "failed", now=now, exit_code=1)
    (next_one,) = hub.keep(endpoint, now=now)
    replica.refresh_from_db()
    assert replica.over and next_one.ordinal == 1
    endpoint.refresh_from_db()
    assert (endpoint.failures, endpoint.reason) == (0, "")


def test_what_ends_at_once_is_ordered_again_less_and_less_often_and_people_are_told_once(hub: Hub) -> None:
    endpoint = hub.make()
    now, waits = NOW, []
    for _ in range(5):
        (replica,) = hub.keep(endpoint, now=seen(hub, now=now))
        hub.serve(replica, now=now)
        report(hub.world, attempt_of(Run.objects.get(id=replica.run_id)), "failed", now=now, exit_code=1)
        assert hub.keep(endpoint, now=now) == []
        endpoint.refresh_from_db()
        assert endpoint.retry_at is not None and "ended at once" in endpoint.reason
        waits.append((endpoint.retry_at - now).total_seconds())
        assert hub.keep(endpoint, now=endpoint.retry_at - timedelta(milliseconds=1)) == []
        now = endpoint.retry_at
    assert waits == [1, 2, 4, 8, 16]
    assert Notice.objects.filter(kind="endpoint.short", user_id=hub.person.id).count() == 1
    (replica,) = hub.keep(endpoint, now=seen(hub, now=now))
    endpoint.refresh_from_db()
    assert (endpoint.reason, endpoint.failures) == ("", 5)
    hub.serve(replica, now=now)
    hub.keep(endpoint, now=now + timedelta(seconds=61))
    endpoint.refresh_from_db()
    assert endpoint.failures == 0


def test_no_money_shows_as_the_reason_and_is_tried_again(settings: Any) -> None:
    hub = make_hub(settings, balance=1)
    endpoint = hub.make()
    assert hub.keep(endpoint) == []
    endpoint.refresh_from_db()
    assert endpoint.reason == "Only 0.000001 is available." and endpoint.retry_at == later(seconds=1)
    before = Order.objects.count()
    assert hub.keep(endpoint) == [] and Order.objects.count() == before == 0

    deposit(hub.world.buyer.id, 1_000_000_000)
    assert len(hub.keep(endpoint, now=later(seconds=1))) == 1
    endpoint.refresh_from_db()
    assert (endpoint.reason, endpoint.retry_at) == ("", None)


def test_a_budget_that_is_reached_leaves_what_runs_and_orders_no_more(hub: Hub) -> None:
    owner = hub.person
    endpoint = hub.make("replicas: {min: 1, max: 3, requests: 1}")
    (first,) = hub.keep(endpoint)
    cost = Order.objects.get().total_max_micros

    set_budget(
        actor=make_member(hub.world.buyer, Role.OWNER),
        organisation_id=hub.world.buyer.id,
        cap_micros=cost + cost // 2,
        now=NOW,
    )
    hub.ask(endpoint, in_flight=3)
    assert hub.keep(endpoint) == [first]
    endpoint.refresh_from_db()
    assert "budget" in endpoint.reason and owner.id == endpoint.owner_id


def test_the_tasks_own_budget_binds_each_replica(hub: Hub) -> None:
    endpoint = hub.make("budget: '0.01'")
    assert hub.keep(endpoint) == []
    endpoint.refresh_from_db()
    assert endpoint.reason.startswith("No offer starts it now")


@pytest.mark.parametrize("gone", ["disabled", "left"])
def test_an_owner_who_may_buy_no_more_orders_no_more(hub: Hub, gone: str) -> None:
    endpoint = hub.make("replicas: {min: 1, max: 2, requests: 1}")
    (first,) = hub.keep(endpoint)
    if gone == "disabled":
        User.objects.filter(id=hub.person.id).update(is_active=False)
    else:
        Membership.objects.filter(user_id=hub.person.id).delete()
    hub.ask(endpoint, in_flight=2)
    assert hub.keep(endpoint) == [first]
    endpoint.refresh_from_db()
    assert "may no longer buy" in endpoint.reason

    other = make_member(hub.world.buyer, Role.DEVELOPER)
    changed = services.change_endpoint(
        actor=other, endpoint_id=endpoint.id, auth="public", now=later(seconds=1)
    )
    assert changed.owner_id == other.id
    found = hub.keep(endpoint, now=later(seconds=1))
    assert [Order.objects.get(id=one.run.order_id).placed_by for one in found] == [hub.person.id, other.id]


def test_what_is_free_later_is_not_bought(settings: Any) -> None:
    hub = make_hub(settings, cores=4)
    hub.world.actor = hub.person

    buy(hub.world, task_of(cores=4, wall="1h"))
    register(hub.world, cores=4, reaches=True)
    endpoint = hub.make()
    assert hub.keep(endpoint) == []
    endpoint.refresh_from_db()
    assert endpoint.reason.startswith("No offer starts it now: ")


def test_a_new_version_takes_over_once_it_is_well(hub: Hub) -> None:
    endpoint = hub.make()
    (old,) = hub.keep(endpoint)
    hub.serve(old)
    changed = services.change_endpoint(
        actor=hub.person,
        endpoint_id=endpoint.id,
        task=parse_task(hub.task("health: /up")),
        now=later(seconds=1),
    )
    assert (changed.version, changed.health) == (2, "/up")
    both = hub.keep(endpoint, now=later(seconds=1))
    assert [(one.version, one.drained_at) for one in both] == [(1, None), (2, None)]
    assert len(hub.keep(endpoint, now=later(seconds=2))) == 2
    hub.serve(both[1], now=later(seconds=3))
    drained = hub.keep(endpoint, now=later(seconds=3))
    assert [(one.version, one.drained_at) for one in drained] == [(1, later(seconds=3)), (2, None)]
    left = hub.keep(endpoint, now=later(seconds=9))
    assert [one.version for one in left] == [2]


def test_the_same_task_again_is_no_new_version(hub: Hub) -> None:
    endpoint = hub.make()
    before = endpoint.version
    task = parse_task(hub.task())
    again = services.change_endpoint(actor=hub.person, endpoint_id=endpoint.id, task=task, now=NOW)
    assert again.version == before


def test_a_successor_is_ordered_before_the_wall_limit_ends(hub: Hub) -> None:
    endpoint = hub.make()
    (first,) = hub.keep(endpoint)
    hub.serve(first)
    soon = later(hours=1, minutes=55)
    assert hub.keep(endpoint, now=soon - timedelta(seconds=1)) == [first]
    found = hub.keep(endpoint, now=seen(hub, now=soon))
    assert [one.ordinal for one in found] == [0, 1] and found[0].drained_at is None
    hub.serve(found[1], now=soon)
    assert hub.keep(endpoint, now=soon)[0].drained_at == soon


def test_a_lost_node_is_given_up_after_a_minute(hub: Hub) -> None:
    endpoint = hub.make()
    (first,) = hub.keep(endpoint)
    attempt = hub.serve(first)
    services.expire_leases(now=later(seconds=120))
    attempt.refresh_from_db()
    assert attempt.state == "unreachable"
    assert attempt.leased_until is not None
    lost_at = attempt.leased_until + timedelta(seconds=60)
    assert hub.keep(endpoint, now=lost_at - timedelta(seconds=1)) == [first]
    seen(hub, now=lost_at)
    found = hub.keep(endpoint, now=lost_at)
    first.refresh_from_db()
    assert first.over and [one.ordinal for one in found] == [1]
    assert Run.objects.get(id=first.run_id).cancel_asked_at == lost_at


def test_a_worker_killed_between_the_order_and_what_comes_after_doubles_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order and its row are one transaction: killed before it there is neither, after it both."""
    endpoint = hub.make()

    def killed(*args: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(replicas, "insert", killed)
        with pytest.raises(KeyboardInterrupt):
            hub.keep(endpoint)
    assert (Order.objects.count(), Run.objects.count(), held_micros(hub.world.buyer.id)) == (0, 0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(
            "mosu.compute.services.keeping.accept_quote", lambda **it: (accept_quote(**it), killed())
        )
        with pytest.raises(KeyboardInterrupt):
            hub.keep(endpoint)
    assert (Order.objects.count(), Replica.objects.count()) == (1, 1)
    assert len(hub.keep(endpoint)) == 1
    assert Order.objects.count() == 1


def test_a_quote_of_who_was_overtaken_orders_nothing(hub: Hub) -> None:
    """Two keepers saw the same: the second's acceptance is refused whole."""
    endpoint = hub.make("replicas: {min: 1, max: 5}")
    task = parse_task(endpoint.task)

    def quoted(ordinal: int, version: int = 1) -> Any:
        return services.quote_run(
            actor=hub.person,
            organisation_id=endpoint.organisation_id,
            project_id=endpoint.project_id,
            task=task,
            workdir=(),
            choice="none",
            now=NOW,
            replica=ReplicaOf(endpoint.id, version, ordinal),
        ).quotes[0]

    first, same, other_version = quoted(0), quoted(0), quoted(1, version=2)
    accept_quote(actor=hub.person, quote_id=first.id, idempotency_key="a", now=NOW)
    before = (Order.objects.count(), held_micros(hub.world.buyer.id))
    for late in (same, other_version):
        with pytest.raises(Overtaken):
            accept_quote(actor=hub.person, quote_id=late.id, idempotency_key=str(uuid4()), now=NOW)
    late = quoted(1)
    services.end_endpoint(actor=hub.person, endpoint_id=endpoint.id, now=NOW)
    with pytest.raises(Overtaken):
        accept_quote(actor=hub.person, quote_id=late.id, idempotency_key=str(uuid4()), now=NOW)
    assert Order.objects.count() == before[0]


def test_no_way_of_ordering_passes_the_most_that_may_be(hub: Hub) -> None:
    endpoint = hub.make("replicas: {min: 1, max: 1}")
    hub.keep(endpoint)
    task = parse_task(endpoint.task)
    for ordinal, may in ((1, True), (2, False)):
        found = services.quote_run(
            actor=hub.person,
            organisation_id=endpoint.organisation_id,
            project_id=endpoint.project_id,
            task=task,
            workdir=(),
            choice="none",
            now=NOW,
            replica=ReplicaOf(endpoint.id, 1, ordinal),
        ).quotes[0]
        if may:
            accept_quote(actor=hub.person, quote_id=found.id, idempotency_key=str(ordinal), now=NOW)
        else:
            with pytest.raises(Overtaken):
                accept_quote(actor=hub.person, quote_id=found.id, idempotency_key=str(ordinal), now=NOW)
    assert Replica.objects.filter(over=False).count() == 2


def test_who_does_not_stop_what_is_to_stop_is_not_paid_for_more_and_more(hub: Hub) -> None:
    """A supplier falls silent for a minute again and again, and heeds no word: each time another would be ordered."""
    endpoint = hub.make("replicas: {min: 1, max: 1}")
    for minute in range(0, 12, 3):
        now = seen(hub, now=later(minutes=minute))
        for one in hub.keep(endpoint, now=now):
            hub.serve(one, now=now)
        Replica.objects.filter(over=False).update(drained_at=now)
        hub.keep(endpoint, now=later(minutes=minute, seconds=30))
    assert Run.objects.filter(state__in=["queued", "running"]).count() == 2
    endpoint.refresh_from_db()
    assert endpoint.reason == "Replicas that were told to stop have not stopped yet."


def test_an_ordinal_is_ordered_once_whatever_the_code_does(hub: Hub) -> None:
    endpoint = hub.make()
    (first,) = hub.keep(endpoint)
    hub.world.actor = hub.person

    other = buy(hub.world)
    with pytest.raises(IntegrityError, match="replica_ordered_once"):
        Replica.objects.create(endpoint=endpoint, run=other, ordinal=first.ordinal, version=1, added_at=NOW)


def test_an_endpoint_that_ends_stops_its_replicas_also_after_a_crash(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = hub.make("replicas: 2")
    first, second = hub.keep(endpoint)
    hub.serve(first)

    def killed(*args: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mosu.compute.services.endpoints.stop_drained", killed)
        with pytest.raises(KeyboardInterrupt):
            services.end_endpoint(actor=hub.person, endpoint_id=endpoint.id, now=NOW)
    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.ended_at) == ("ended", NOW)
    services.keep_endpoints(now=later(seconds=1))
    assert hub.live(endpoint) == []
    assert Run.objects.get(id=first.run_id).cancel_asked_at == later(seconds=1)
    services.end_endpoint(actor=hub.person, endpoint_id=endpoint.id, now=later(seconds=2))
    assert Endpoint.objects.get(id=endpoint.id).ended_at == NOW
    assert not Endpoint.objects.filter(state="open").exists() and state_of(second)
