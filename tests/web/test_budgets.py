"""The page on which an organisation caps what a month may cost."""

import pytest
from django.test import Client

from mosu.compute.models import IdleRule, Quota
from mosu.market.models import Budget
from mosu.platform.actors import Role
from tests.web.conftest import Hub, page, queries

PATH = "/organisation/budgets/"


def set_as(hub: Hub, role: Role, **sent: str) -> tuple[Client, int]:
    client = hub.client(hub.user(role=role))
    return client, client.post(PATH, {"whose": "", "cap": "100"} | sent).status_code


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.FINANCE])
def test_a_budget_is_set_seen_and_lifted(hub: Hub, role: Role) -> None:
    client, status = set_as(hub, role)
    assert status == 302
    hub.run()
    shown = page(client.get(PATH))
    assert "¥100.00" in shown
    assert "The whole organisation" in shown
    assert "整个单位" in page(client.get(PATH, headers={"Accept-Language": "zh-hans"}))
    client.post(PATH, {"lift": Budget.objects.get().public_id})
    assert Budget.objects.get().state == "lifted"
    assert "No budgets yet." in page(client.get(PATH))


def test_of_a_project_and_of_a_member(hub: Hub) -> None:
    member = hub.user(role=Role.DEVELOPER)
    set_as(hub, Role.OWNER, whose=hub.world.project.public_id)
    client, _ = set_as(hub, Role.OWNER, whose=member.public_id, cap="7.50")
    assert Budget.objects.get(project=hub.world.project).cap_micros == 100_000_000
    assert Budget.objects.get(user_id=member.id).cap_micros == 7_500_000
    assert f"Member {member}" in page(client.get(PATH))


@pytest.mark.parametrize("cap", ["-1", "much", "", "1.234"])
def test_no_amount_sets_nothing_and_what_was_typed_stays(hub: Hub, cap: str) -> None:
    client = hub.client(hub.user(role=Role.FINANCE))
    response = client.post(PATH, {"whose": "", "cap": cap})
    assert 'name="cap"' in page(response)
    assert f'value="{cap}"' in page(response) or not cap
    assert not Budget.objects.exists()


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.VIEWER])
def test_others_only_look(hub: Hub, role: Role) -> None:
    client, _ = set_as(hub, role)
    assert not Budget.objects.exists()
    assert "Set the budget" not in page(client.get(PATH))


def test_a_project_of_another_organisation_is_no_choice(hub: Hub) -> None:
    set_as(hub, Role.OWNER, whose="project_01h455vb4pex5vsknk084sn02q")
    assert not Budget.objects.exists()


def test_more_budgets_ask_no_more(hub: Hub) -> None:
    client, _ = set_as(hub, Role.OWNER)
    set_as(hub, Role.OWNER, whose=hub.user(role=Role.VIEWER).public_id)
    few = queries(client, PATH)
    for _ in range(5):
        set_as(hub, Role.OWNER, whose=hub.user(role=Role.VIEWER).public_id)
    assert queries(client, PATH) == few <= 15


def test_a_projects_quota(hub: Hub) -> None:
    sent = {"project": hub.world.project.public_id, "accelerator": "H100", "units_max": "8"}
    assert hub.client(hub.user(role=Role.FINANCE)).post(PATH, sent).status_code == 200
    assert not Quota.objects.exists()
    owner = hub.client(hub.user(role=Role.OWNER))
    assert owner.post(PATH, sent).status_code == 302
    assert Quota.objects.get().units_max == 8
    assert "Project p" in page(owner.get(PATH))
    assert 'value="unheard"' in page(owner.post(PATH, sent | {"accelerator": "unheard"}))
    owner.post(PATH, sent | {"units_max": ""})
    assert not Quota.objects.exists()


def test_how_long_accelerators_may_idle(hub: Hub) -> None:
    client = hub.client(hub.user(role=Role.OWNER))
    assert client.post(PATH, {"idle_minutes": "30"}).status_code == 302
    assert IdleRule.objects.get().stop_after_s == 1800
    assert 'value="30"' in page(client.get(PATH))
    assert "idle_minutes" in page(client.post(PATH, {"idle_minutes": "3"}))
    assert IdleRule.objects.get().stop_after_s == 1800
    client.post(PATH, {"idle_minutes": ""})
    assert not IdleRule.objects.exists()
