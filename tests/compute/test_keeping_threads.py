"""The keeper with real transactions: whoever keeps an endpoint at once, it gets what it should and no more."""

from typing import Any

import pytest

from mosu.compute import services
from mosu.compute.models import Endpoint, Replica
from mosu.market.models import Order
from tests.compute.endpoints import Hub, make_hub
from tests.conftest import NOW
from tests.market.test_threads import at_once


@pytest.fixture
def hub(fresh_db: Any, settings: Any) -> Hub:
    return make_hub(settings, cores=16)


def test_keepers_at_once_order_each_replica_once_while_the_relay_writes(hub: Hub) -> None:
    endpoint = hub.make("replicas: {min: 2, max: 3}")

    def act(index: int) -> None:
        if index:
            services.keep_endpoint(endpoint_id=endpoint.id, now=NOW)
            return
        for in_flight in range(30):
            Endpoint.objects.filter(id=endpoint.id).update(in_flight=in_flight, asked_at=NOW)

    assert at_once(4, act) == [None] * 4
    hub.keep(endpoint)  # who was overtaken leaves the rest to the next round
    assert sorted(Replica.objects.values_list("ordinal", flat=True)) == [0, 1]
    assert (Order.objects.count(), Endpoint.objects.get().in_flight) == (2, 29)


def test_an_end_meanwhile_leaves_no_replica_behind(hub: Hub) -> None:
    endpoint = hub.make("replicas: 2")

    def act(index: int) -> None:
        if index:
            services.keep_endpoint(endpoint_id=endpoint.id, now=NOW)
        else:
            services.end_endpoint(actor=hub.person, endpoint_id=endpoint.id, now=NOW)

    at_once(3, act)
    services.keep_endpoints(now=NOW)
    assert Endpoint.objects.get().state == "ended"
    assert not Replica.objects.filter(over=False).exists()
    assert not Order.objects.exclude(state="cancelled").exists()
