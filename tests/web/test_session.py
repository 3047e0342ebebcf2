"""A session on its order's page and on Today, while it runs."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Attempt, Guest, Run
from mosu.platform.actors import Role
from mosu.platform.models import User
from mosu.platform.queries import actor_for_user
from tests.compute import world as compute
from tests.compute.sessions import SESSION
from tests.web.conftest import Hub, page


@pytest.fixture(autouse=True)
def relay(settings: Any) -> None:
    settings.MOSU_RELAY_URL = "https://relay.example.org"


@pytest.fixture
def person(hub: Hub) -> User:
    """Who orders the session."""
    return hub.user(role=Role.DEVELOPER)


@pytest.fixture
def run(hub: Hub, person: User) -> Run:
    compute.register(hub.world, cores=64, now=hub.now, reaches=True)
    hub.world.actor = actor_for_user(person)
    found, _ = compute.started(hub.world, now=hub.now, text=SESSION)
    return found


def path_of(hub: Hub, run: Run) -> str:
    return f"/orders/{hub.order_of(run).public_id}/"


def idle(run: Run, *, minutes: int) -> None:
    Attempt.objects.filter(run=run).update(idle_since=timezone.now() - timedelta(minutes=minutes))


def test_what_is_idle_is_kept_by_a_click(hub: Hub, person: User, run: Run) -> None:
    client, path = hub.client(person), path_of(hub, run)
    assert "Not used since" not in page(client.get(path))
    idle(run, minutes=20)
    text = page(client.get(path))
    assert "Not used since" in text and "Keep it" not in text  # nothing would stop it
    assert client.post(f"{path}idle-stop/", {"minutes": "30"}).status_code == 302
    text = page(client.get(path))
    assert "If that goes on it is stopped at" in text and 'form="keep-run"' in text
    assert "Keep it" in page(client.get(f"{path}now/"))
    assert client.post(f"{path}keep/").status_code == 302
    kept = Run.objects.get(id=run.id)
    assert kept.kept_at is not None and kept.idle_stop_s == 1800
    zh = page(hub.client(person, language="zh-hans").get(path))
    assert "起无人使用" not in zh and "谁可以连接" in zh


@pytest.mark.parametrize("minutes", ["14", "10081", "x", "-1"])
def test_times_that_are_none(hub: Hub, person: User, run: Run, minutes: str) -> None:
    answer = hub.client(person).post(f"{path_of(hub, run)}idle-stop/", {"minutes": minutes})
    assert "no time after which" in page(answer)
    assert Run.objects.get(id=run.id).idle_stop_s is None


def test_the_page_says_that_the_end_is_near(hub: Hub, person: User, run: Run) -> None:
    client, path = hub.client(person), path_of(hub, run)
    assert "wall limit" not in page(client.get(path))
    Attempt.objects.filter(run=run).update(started_at=timezone.now() - timedelta(minutes=112))
    assert "reaches its wall limit at" in page(client.get(path))


def test_a_session_is_shared_and_shared_no_more(hub: Hub, person: User, run: Run) -> None:
    client, path, other = hub.client(person), path_of(hub, run), hub.user(role=Role.DEVELOPER)
    theirs = hub.client(other)
    assert "another person" in page(theirs.get(path)) and "port-forward" not in page(theirs.get(path))
    assert client.post(f"{path}share/", {"email": other.email}).status_code == 302
    assert "port-forward" in page(theirs.get(path))
    assert "Share no more" not in page(theirs.get(path))
    guest = Guest.objects.get()
    assert f'value="{guest.public_id}"' in page(client.get(path))
    assert theirs.post(f"{path}share/", {"out": guest.public_id}).status_code == 403
    assert client.post(f"{path}share/", {"out": guest.public_id}).status_code == 302
    assert not Guest.objects.exists()
    assert "There is no such member" in page(client.post(f"{path}share/", {"email": "no@example.org"}))


def test_others_see_it_and_do_nothing_to_it(hub: Hub, run: Run) -> None:
    path, viewer = path_of(hub, run), hub.client(hub.user(role=Role.VIEWER))
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("other")))
    assert "Stop it when nobody uses it" not in page(viewer.get(path))
    for do in ("keep", "idle-stop", "share"):
        assert viewer.post(f"{path}{do}/", {"minutes": "30"}).status_code == 403
        assert stranger.post(f"{path}{do}/", {"minutes": "30"}).status_code in {403, 404}


def test_own_sessions_are_on_today(hub: Hub, person: User, run: Run, owner: Client) -> None:
    client = hub.client(person)
    text = page(client.get("/today/"))
    assert "Your sessions" in text and "lab" in text and "#now-connect" in text
    assert text.count(hub.order_of(run).public_id) == 3  # its name, connect and stop: not listed twice
    assert "not used since" not in text
    Run.objects.filter(id=run.id).update(idle_stop_s=3600)
    idle(run, minutes=20)
    text = page(client.get("/today/"))
    assert "not used since" in text and "stops at" in text
    assert "我的会话" in page(hub.client(person, language="zh-hans").get("/today/"))
    assert "Your sessions" not in page(owner.get("/today/"))
