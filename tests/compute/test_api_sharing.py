"""Calendars, weights, quotas and idle times over HTTP."""

from typing import Any

import pytest
from django.test import Client

from mosu.compute.models import IdleRule, Pool, PoolShare, Quota
from mosu.market.models import Budget, Offer
from mosu.platform.actors import Role
from tests.compute.world import make_world
from tests.market.test_api import token_of

pytestmark = [pytest.mark.django_db]


def call(method: str, path: str, headers: dict[str, str], **body: Any) -> Any:
    return getattr(Client(), method)(
        f"/api/v1{path}", data=body, content_type="application/json", headers=headers
    )


def test_calendars_quotas_budgets_over_http() -> None:
    world = make_world(cores=4)
    owner = token_of(world.buyer, Role.OWNER)
    developer = token_of(world.buyer, Role.DEVELOPER)
    organisation, project = world.buyer.public_id, world.project.public_id

    hours = Client().get(f"/api/v1/offers/{Offer.objects.get().public_id}/calendar?days=1").json()
    assert hours[0]["free"] == hours[0]["total"] == 4
    pool = Pool.objects.get().public_id
    assert Client().get(f"/api/v1/pools/{pool}/calendar", headers=owner).status_code == 404

    quota = {"organisation_id": organisation, "project_id": project, "units_max": 2}
    assert call("put", "/quotas", developer, **quota).status_code == 403
    whole = f"/organisations/{organisation}/quotas"
    assert call("put", whole, owner, units_max=2).status_code == 403
    assert not Quota.objects.exists()
    assert call("put", "/quotas", owner, **quota).status_code == 204
    assert Client().get("/api/v1/quotas", headers=developer).json()["items"][0]["units_max"] == 2

    assert (
        call("put", f"/pools/{pool}/shares", owner, organisation_id=organisation, weight=9).status_code == 403
    )
    assert not PoolShare.objects.exists()

    idle = {"organisation_id": organisation, "stop_after_s": 1800}
    assert call("put", "/idle-stop", developer, **idle).status_code == 403
    assert call("put", "/idle-stop", owner, **idle).status_code == 204
    assert IdleRule.objects.get().stop_after_s == 1800

    assert call("post", "/budgets", developer, organisation_id=organisation, cap="5").status_code == 403
    made = call("post", "/budgets", owner, organisation_id=organisation, cap="12.50")
    assert (made.status_code, made.json()["left"]) == (201, "12.50")
    listed = Client().get("/api/v1/budgets", headers=developer).json()["items"]
    assert [one["id"] for one in listed] == [made.json()["id"]]
    assert call("delete", f"/budgets/{listed[0]['id']}", developer).status_code == 403
    assert call("delete", f"/budgets/{listed[0]['id']}", owner).status_code == 204
    assert Budget.objects.get().state == "lifted"
