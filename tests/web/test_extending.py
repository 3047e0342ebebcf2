"""More time for a run in the browser: asked on its page, looked at, ordered, seen on both pages; its evidence."""

from datetime import timedelta

import pytest

from mosu.compute.models import Run
from mosu.market.models import BudgetEnd, Order, Quote
from mosu.market.services import set_budget
from mosu.platform.actors import SYSTEM, Role
from mosu.web.audit.chain import chain_of
from tests.compute import world as compute
from tests.web.conftest import Hub, page
from tests.web.test_chain import gathered, order_of, told


@pytest.fixture
def run(hub: Hub) -> Run:
    compute.register(hub.world, now=hub.now, extends=True)
    return compute.started(hub.world, now=hub.now, wall="10m")[0]


def test_more_time_is_asked_looked_at_and_ordered(hub: Hub, run: Run) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    own = f"/orders/{hub.order_of(run).public_id}/"
    assert "Ask the price" in page(client.get(own))
    assert client.post(f"{own}extend/", {"minutes": "0"}).status_code == 422
    answer = client.post(f"{own}extend/", {"minutes": "30"})
    quote = Quote.objects.latest("created_at")
    assert (answer.status_code, answer["Location"]) == (302, f"/quotes/{quote.public_id}/")
    shown = page(client.get(answer["Location"]))
    for text in ("More time", "30 min", "It ends before this time begins", "The hold ends with the run"):
        assert text in shown
    assert "Your program fails" not in shown and f'href="{own}"' in shown
    assert client.post(f"/quotes/{quote.public_id}/accept/").status_code == 302
    order = Order.objects.get(quote=quote)
    given = page(client.get(f"/orders/{order.public_id}/"))
    assert "This order gives that run more time." in given and f'href="{own}"' in given
    assert "Run again" not in given
    shown = page(client.get(own))
    assert f"/orders/{order.public_id}/" in shown and "of at most 40 min" in shown
    refused = client.post(f"/orders/{order.public_id}/cancel/")
    assert refused.status_code == 409 and "Cancel the run" in page(refused)


def test_who_may_not_buy_and_what_cannot_be_extended_have_no_form(hub: Hub, run: Run) -> None:
    own = f"/orders/{hub.order_of(run).public_id}/"
    viewer = hub.client(hub.user(role=Role.VIEWER))
    assert "Ask the price" not in page(viewer.get(own))
    assert viewer.post(f"{own}extend/", {"minutes": "30"}).status_code == 403
    compute.register(hub.world, now=hub.now)
    client = hub.client(hub.user(role=Role.DEVELOPER), language="zh-hans")
    assert "延长时间" not in page(client.get(own))
    refused = client.post(f"{own}extend/", {"minutes": "30"})
    assert refused.status_code == 409 and "不能延长作业开始时的时限" in page(refused)


def test_what_stands_behind_both_orders_holds(hub: Hub, run: Run) -> None:
    client = hub.client(hub.user(role=Role.OWNER))
    client.post(f"/orders/{hub.order_of(run).public_id}/extend/", {"minutes": "30"})
    client.post(f"/quotes/{Quote.objects.latest('created_at').public_id}/accept/")
    attempt = compute.attempt_of(run)
    second = Order.objects.latest("placed_at")
    for number, (start_s, end_s) in enumerate([(0, 500), (500, 700), (700, 900)]):
        start, end = (hub.now + timedelta(seconds=one) for one in (start_s, end_s))
        compute.use(hub.world, attempt, end_s - start_s, since=start, now=end, sequence=number)
    compute.report(hub.world, attempt, now=hub.now + timedelta(seconds=900))
    for order, quantity in ((order_of(run.order_id), 600), (order_of(second.id), 300)):
        evidence = gathered(order)
        assert told(chain_of(evidence)) == []
        assert sum(one.quantity_accepted for one in evidence.usage) == quantity
        assert evidence.attempts


def test_that_a_budget_is_about_to_end_it_stands_on_its_page(hub: Hub, run: Run) -> None:
    client, own = hub.client(hub.user(role=Role.DEVELOPER)), f"/orders/{hub.order_of(run).public_id}/"
    assert "budget is spent at about" not in page(client.get(own))
    cap = set_budget(actor=SYSTEM, organisation_id=hub.world.buyer.id, cap_micros=10**12, now=hub.now)
    BudgetEnd.objects.create(order_id=run.order_id, budget=cap, by=hub.now, told_at=hub.now)
    assert "budget is spent at about" in page(client.get(own))
