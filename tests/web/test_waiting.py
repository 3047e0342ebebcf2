"""A pool's queue: the operator sees who waits and sets weights, a supplier sees orders."""

import pytest

from mosu.compute.models import Pool, PoolShare
from mosu.platform.actors import HubRole, Role
from tests.compute import world as compute
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


@pytest.mark.parametrize(
    ("image", "english", "chinese"),
    [
        (False, "The pool prepares it.", "资源池正在准备。"),
        (True, "fetches its image first where it does not have it yet", "若尚无该镜像，会先拉取"),
    ],
)
def test_who_waits_for_a_pool_that_prepares_is_told_so(
    hub: Hub, image: bool, english: str, chinese: str
) -> None:
    """Not that there is no room; and that an image may take minutes, in the browser and in the API."""
    compute.register(hub.world, now=hub.now, images=("registry.example.org",))
    named = f", image_id: 'docker:registry.example.org/team/train@sha256:{'0a' * 32}'" if image else ""
    text = f"resources: {{cpus: 1, memory: 1{named}}}\nrun: 'true'\nmosu: {{wall_limit: 10m}}\n"
    run = compute.buy(hub.world, text, now=hub.now)
    compute.lease(hub.world, now=hub.now)
    path = f"/orders/{hub.order_of(run).public_id}/"
    owner = hub.client(hub.user(role=Role.OWNER))
    shown = page(owner.get(path))
    assert english in shown and "free place" not in shown
    assert chinese in page(owner.get(path, headers={"Accept-Language": "zh-hans"}))


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
