"""The calendar's pages: figures in the map and in the table behind it, for buyers and for the pool's supplier."""

from mosu.compute.models import Node, Pool
from mosu.market.models import Offer
from mosu.platform.actors import HubRole, Role
from mosu.web.components import Heat
from tests.web.conftest import Hub, page, queries


def test_an_offers_calendar_is_everybodys(hub: Hub) -> None:
    offer = Offer.objects.get()
    path = f"/offers/{offer.public_id}/calendar/"
    shown = page(hub.client().get(path))
    assert 'class="h4"' in shown
    assert "As a table" in shown
    assert "各小时空闲" in page(hub.client(language="zh-hans").get(path))
    before, empty = queries(hub.client(), path), page(hub.client().get(path))
    for _ in range(3):
        hub.run()
    assert queries(hub.client(), path) == before
    cores = Node.objects.get().cores
    assert f">{cores - 3}<" in page(hub.client().get(path))
    assert f">{cores - 3}<" not in empty
    assert hub.client().get("/offers/offer_01h455vb4pex5vsknk084sn02q/calendar/").status_code == 404


def test_a_pools_calendar_is_its_suppliers(hub: Hub) -> None:
    pool = Pool.objects.get()
    path = f"/pools/{pool.public_id}/calendar/"
    assert hub.client(hub.user(role=Role.OWNER)).get(path).status_code == 404
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert "Cores: free by hour" in page(operator.get(path))


def test_a_map_of_no_hours_is_empty() -> None:
    assert Heat.of("x", []).rows == []
