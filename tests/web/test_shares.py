"""Shares of cards on pages: the label says which share of what it is, the node which card it is a share of."""

import re

import pytest
from django.test import Client

from mosu.compute.models import Node
from mosu.market.models import Offer
from mosu.platform.actors import Role
from mosu.web.labels import quote_address
from tests.compute import world as compute
from tests.compute.test_shares import node_of
from tests.web.conftest import Hub, page

KIND = "nvidia-h100-sxm/4-shared"


@pytest.mark.parametrize(
    ("language", "told", "unit"),
    [
        ("en", "1/4 of NVIDIA H100 SXM, 20 GB, shared without isolation", "/ share-hour<"),
        ("zh-hans", "NVIDIA H100 SXM 的 1/4，20 GB，显存不隔离", "/ 份时<"),
    ],
)
def test_a_label_says_which_share_it_is(hub: Hub, language: str, told: str, unit: str) -> None:
    hub.offer("H100", accelerator=KIND)
    hub.offer("whole", accelerator="nvidia-h100-sxm")
    client = hub.client()
    asked = {"accept-language": language}
    text = page(client.get("/compute/?accelerator=nvidia-h100-sxm", headers=asked))
    assert text.count(told) == 1, "found beside whole cards, and told apart"
    assert text.count(unit) == 1
    href = re.search(r'<h3><a href="([^"]+)">H100</a>', text)
    assert href is not None
    alone = page(client.get(href[1], headers=asked))
    assert told in alone and unit in alone
    only = page(client.get("/compute/?share=1%2F4-shared", headers=asked))
    assert told in only and ">whole<" not in only


def test_the_quotes_form_asks_for_one_share(hub: Hub) -> None:
    hub.offer("H100", accelerator=KIND)
    address = quote_address(Offer.objects.get(title_en="H100"))
    assert address.endswith("?accelerators=nvidia-h100-sxm%3A0.25")
    buyer = hub.client(hub.user(role=Role.DEVELOPER, at=hub.world.buyer))
    form = page(buyer.get(address))
    assert 'value="nvidia-h100-sxm:0.25"' in form


def test_a_node_shows_the_shares_of_its_cards(hub: Hub) -> None:
    node = node_of(KIND, "nvidia-h100-sxm")
    compute.register(hub.world, nodes=(node,), now=hub.now)
    compute.checked(hub.world, node, now=hub.now, cards=2)
    pool = compute.pool_of(hub.world)
    seller: Client = hub.client(hub.user(role=Role.OWNER, at=pool.organisation))
    text = page(seller.get(f"/nodes/{Node.objects.get().public_id}/", headers={"accept-language": "en"}))
    assert all(f"0 · {number}/4</td>" in text for number in (1, 2, 3, 4))
    assert "1/4 of NVIDIA H100 SXM, shared without isolation" in text
    assert '<td class="num">1</td>' in text
    listed = page(seller.get(f"/pools/{pool.public_id}/nodes/", headers={"accept-language": "en"}))
    assert "1/4 of NVIDIA H100 SXM, shared without isolation 4 / 4" in listed
