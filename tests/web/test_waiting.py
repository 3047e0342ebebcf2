"""A pool's queue: the operator sees who waits and sets weights, a supplier sees orders."""

from mosu.compute.models import Pool, PoolShare
from mosu.platform.actors import HubRole, Role
from tests.web.conftest import Hub, page, queries


def path_of(hub: Hub) -> str:
    return f"/pools/{Pool.objects.get().public_id}/queue/"


def test_the_queue_of_a_pool(hub: Hub) -> None:
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    path = path_of(hub)
    assert "Nothing waits." in page(operator.get(path))
    number = hub.order_of(hub.run()).number
    shown = page(operator.get(path))
    assert number in shown
    assert hub.world.buyer.name in shown
    assert "承诺最迟开始" in page(operator.get(path, headers={"Accept-Language": "zh-hans"}))
    supplier = hub.client(hub.user(role=Role.OWNER, at=Pool.objects.get().organisation))
    seen = page(supplier.get(path))
    assert number in seen
    assert hub.world.buyer.name not in seen
    assert "Set the weight" not in seen
    assert hub.client(hub.user(role=Role.OWNER)).get(path).status_code == 404
    few = queries(operator, path)
    hub.run()
    assert queries(operator, path) == few


def test_the_operator_sets_weights(hub: Hub) -> None:
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    sent = {"organisation": hub.world.buyer.public_id, "weight": "3"}
    assert operator.post(path_of(hub), sent).status_code == 302
    assert PoolShare.objects.get().weight == 3
    assert operator.post(path_of(hub), sent | {"weight": "0"}).status_code == 422
    assert operator.post(path_of(hub), sent | {"organisation": "org_x"}).status_code in {404, 422}
    supplier = hub.client(hub.user(role=Role.OWNER, at=Pool.objects.get().organisation))
    assert supplier.post(path_of(hub), sent | {"weight": "9"}).status_code == 403
    assert PoolShare.objects.get().weight == 3
