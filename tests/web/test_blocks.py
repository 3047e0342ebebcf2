"""Reserved blocks in the browser: the label, the form, the checkout's endings, the order's page, giving it back."""

import copy
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from mosu.compute import services
from mosu.compute.models import Block, Node, Pool
from mosu.compute.states import NodeState
from mosu.market.hub import hub_zone
from mosu.market.models import Offer, Order, Quote
from mosu.market.services import cancel_order
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.web.audit.chain import chain_of
from tests.compute import world as compute
from tests.compute.blocks import buy_block, offer_blocks
from tests.compute.world import deposit
from tests.web.conftest import Hub, page, queries
from tests.web.test_chain import gathered, order_of, told


@pytest.fixture
def offer(hub: Hub) -> Offer:
    deposit(hub.world.buyer.id, 10_000_000_000)
    return offer_blocks(hub.world, cards=0, title_zh="核心预留", title_en="Cores by the block")


def sent(hub: Hub, client: Client, offer: Offer, *, days: float = 2, **changes: Any) -> Any:
    start = (hub.now + timedelta(days=days)).astimezone(hub_zone()).replace(minute=0, second=0)
    end = start + timedelta(hours=24)
    body = {"start": f"{start:%Y-%m-%dT%H:%M}", "end": f"{end:%Y-%m-%dT%H:%M}", "nodes": 1, "per_node": 2}
    return client.post(f"/offers/{offer.public_id}/reserve/", {**body, **changes})


def bought(hub: Hub, client: Client, offer: Offer) -> Order:
    sent(hub, client, offer)
    quote = Quote.objects.latest("created_at")
    assert client.post(f"/quotes/{quote.public_id}/accept/").status_code == 302
    return Order.objects.get(quote=quote)


def test_the_label_publishes_the_rules(hub: Hub, offer: Offer) -> None:
    shown = page(hub.client().get(f"/offers/{offer.public_id}/"))
    for text in ("Reserve a block", "Cancelled 72 h or more before the start", "100% comes back"):
        assert text in shown
    assert "25% of the time that is left comes back" in shown
    said = page(hub.client(language="zh-hans").get(f"/offers/{offer.public_id}/"))
    for text in ("预留时段", "开始前 72 小时以上取消", "退 100%", "剩余时间退 25%"):
        assert text in said
    assert f"/offers/{offer.public_id}/reserve/" in page(
        hub.client().get(f"/offers/{offer.public_id}/calendar/")
    )
    plain = Offer.objects.get(block__isnull=True)
    assert "Reserve a block" not in page(hub.client().get(f"/offers/{plain.public_id}/calendar/"))


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ("Reserve a block", "Of each node", "See the price", "Times are in Asia/Shanghai.")),
        ("zh-hans", ("预留时段", "每个节点", "看价格", "时间按 Asia/Shanghai 时区")),
    ],
)
def test_the_form_is_shown_in_both_languages(
    hub: Hub, offer: Offer, language: str, texts: tuple[str, ...]
) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER), language=language)
    shown = page(client.get(f"/offers/{offer.public_id}/reserve/"))
    assert [text for text in texts if text not in shown] == []


def test_what_is_refused_is_said_in_the_form_and_nothing_is_quoted(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER), language="zh-hans")
    too_far = sent(hub, client, offer, days=70)
    assert too_far.status_code == 422
    assert "该商品的预留时段须晚于现在、在 60 天内开始。" in page(too_far)
    backwards = sent(hub, client, offer, end=f"{hub.now:%Y-%m-%dT%H:%M}")
    assert "预留时段的结束须晚于开始。" in page(backwards)
    assert not Quote.objects.exists()
    plain = Offer.objects.get(block__isnull=True)
    assert client.get(f"/offers/{plain.public_id}/reserve/").status_code == 404
    assert sent(hub, hub.client(hub.user(role=Role.FINANCE)), offer).status_code == 403


def test_from_the_form_to_the_order_and_back(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    answer = sent(hub, client, offer)
    assert answer.status_code == 302
    checkout = page(client.get(answer.url))
    for text in (
        "You keep it to its end",
        "You cancel 72 h or more before the start",
        "You cancel it as it starts",
    ):
        assert text in checkout
    assert "The task, as it will run" not in checkout
    assert client.post(f"{answer.url}accept/").status_code == 302
    order, block = Order.objects.get(), Block.objects.get()
    path = f"/orders/{order.public_id}/"
    shown = page(client.get(path))
    for text in ("Held, not begun", block.public_id, "Cancel the block", Node.objects.get().name):
        assert text in shown
    chinese = page(hub.client(hub.user(role=Role.DEVELOPER), language="zh-hans").get(path))
    for text in ("已预留，未开始", "取消预留时段", "退 100%"):
        assert text in chinese
    reader = page(hub.client(hub.user(role=Role.FINANCE)).get(path))
    assert block.public_id in reader and "Cancel the block" not in reader
    stranger = hub.user(role=Role.OWNER, at=compute.make_organisation("other"))
    assert hub.client(stranger).get(path).status_code == 404
    assert client.post(f"{path}cancel/").status_code == 302
    assert "The block is cancelled" in page(client.get(path))
    order.refresh_from_db()
    assert (order.state, order.total_micros) == ("settled", order.total_max_micros // 2)
    receipt = page(client.get(f"/receipts/{order.receipt.public_id}/"))
    assert "50%" in receipt


def test_the_chain_of_a_block_and_of_a_run_inside_it_hold(hub: Hub, offer: Offer) -> None:
    start = (hub.now + timedelta(hours=2)).replace(second=0, microsecond=0)
    block = buy_block(hub.world, start=start, hours=2, per_node=2, now=hub.now)
    text = f"resources: {{cpus: 1}}\nrun: x\nmosu: {{wall_limit: 30m, block: {block.public_id}}}\n"
    run = compute.accept(hub.world, compute.quote(hub.world, text, now=hub.now).quotes[0].id, now=hub.now)
    compute.register(hub.world, cores=Node.objects.get().cores, now=start)
    services.turn_blocks(now=start)
    compute.lease(hub.world, now=start)
    attempt, until = compute.attempt_of(run), start + timedelta(minutes=5)
    compute.beat(hub.world, attempt, "running", now=start)
    compute.use(hub.world, attempt, 300, since=start, now=until)
    compute.report(hub.world, attempt, now=until)
    end = start + timedelta(hours=2)
    compute.register(hub.world, cores=Node.objects.get().cores, now=end)
    services.turn_blocks(now=end)
    for order_id, total in ((block.order_id, 80_000_000), (run.order_id, 0)):
        order = order_of(order_id)
        assert order.total_micros == total
        chain = chain_of(gathered(order))
        assert told(chain) == []
        observed = next(link for link in chain.links if link.code == "observed")
        assert observed.checks and observed.checks[0].holds
        auditor = hub.client(hub.user(hub=HubRole.AUDITOR))
        assert auditor.get(f"/receipts/{order.receipt.public_id}/").status_code == 200


def test_the_chain_of_a_block_names_hours_that_its_nodes_did_not_give(hub: Hub, offer: Offer) -> None:
    start = (hub.now + timedelta(hours=2)).replace(second=0, microsecond=0)
    block = buy_block(hub.world, start=start, hours=4, per_node=2, now=hub.now)
    node, cores = Node.objects.get(), Node.objects.get().cores
    for hours in (0, 1, 2, 4):
        at = start + timedelta(hours=hours)
        compute.register(hub.world, cores=cores, now=at)
        if hours == 1:
            services.set_node_state(actor=SYSTEM, node_id=node.id, to=NodeState.DOWN, why="fire", now=at)
        services.turn_blocks(now=at)
    honest = gathered(order_of(block.order_id))
    assert told(chain_of(honest)) == []
    page_of = page(hub.client(hub.user(hub=HubRole.AUDITOR)).get(f"/books/orders/{honest.order.public_id}/"))
    assert "What the block held" in page_of and "the node is down" in page_of
    assert honest.block is not None and [one.quantity_accepted for one in honest.usage] == [2 * 3 * 3600]
    for forged in ("losses", "nodes", "period"):
        e = copy.deepcopy(honest)
        assert e.block is not None
        if forged == "losses":
            e.block._prefetched_objects_cache["losses"] = []  # type: ignore[attr-defined]
        elif forged == "nodes":
            e.block.nodes = 2
        else:
            e.block.period = type(e.block.period)(start, start + timedelta(hours=5))
        assert "observed.block" in {code for code, *_ in told(chain_of(e))}, forged


def test_a_cancelled_block_is_checked_by_its_frozen_rules(hub: Hub, offer: Offer) -> None:
    start = (hub.now + timedelta(hours=48)).replace(second=0, microsecond=0)
    block = buy_block(hub.world, start=start, hours=2, per_node=2, now=hub.now)
    cancel_order(actor=hub.world.actor, order_id=block.order_id, now=hub.now, why="no need")
    honest = gathered(order_of(block.order_id))
    assert [one.quantity_accepted for one in honest.usage] == [2 * 2 * 3600 // 2]  # half is kept
    assert told(chain_of(honest)) == []
    e = copy.deepcopy(honest)
    e.quote.terms["block"]["cancellation"] = []
    assert "observed.block" in {code for code, *_ in told(chain_of(e))}


def test_pages_ask_as_often_for_two_blocks_as_for_one(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    order = bought(hub, client, offer)
    paths = ["/orders/", f"/orders/{order.public_id}/", f"/offers/{offer.public_id}/reserve/"]
    before = [queries(client, path) for path in paths]
    bought(hub, client, offer)
    assert [queries(client, path) for path in paths] == before


def test_a_supplier_offers_blocks_by_the_form(hub: Hub, offer: Offer) -> None:
    supplier = offer.supplier
    client = hub.client(hub.user(role=Role.OWNER, at=supplier))
    pool = Pool.objects.get(id=offer.subject_id).public_id
    body = {
        "pool": pool, "goods": "cores", "title_zh": "整段", "title_en": "Blocks of cores", "price": "0.3",
        "tax_included": "1", "tax_percent": "6", "sold_by": "hub", "min_units": "1", "max_units": "64",
        "wall_hours_max": "720", "sold_as": "reserved", "shortest_hours": "2", "ahead_days": "30",
        "cancellation": "48:80, 12：20%",
    }  # fmt: skip
    wrong = client.post("/my-offers/new/", {**body, "cancellation": "soon"})
    assert "Write pairs such as" in page(wrong)
    assert client.post("/my-offers/new/", body).status_code == 302
    made = Offer.objects.latest("created_at")
    assert made.block == {
        "shortest_hours": 2,
        "ahead_days": 30,
        "cancellation": [
            {"before_start_hours": 48, "back_percent": 80},
            {"before_start_hours": 12, "back_percent": 20},
        ],
        "back_percent_after_start": 0,
    }
    assert "Cancelled 48 h or more before the start" in page(client.get(f"/my-offers/{made.public_id}/"))


def test_a_node_in_a_block_says_so(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    bought(hub, client, offer)
    owner = hub.client(hub.user(role=Role.OWNER, at=offer.supplier))
    assert owner.get(f"/nodes/{Node.objects.get().public_id}/").status_code == 200
