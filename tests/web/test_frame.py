"""What surrounds every page: where one can go, light or dark, and how much comes with the first load."""

import gzip
import re
from pathlib import Path

import pytest
from django.test import Client

from mosu.platform.actors import HubRole, Role
from mosu.platform.models import Capability
from mosu.web import navigation
from tests.web.conftest import Hub

STATIC = Path(navigation.__file__).parent / "static"
FIRST_LOAD_BYTES_MAX = 150_000


def test_a_place_without_an_address_is_not_shown_and_a_door_says_that_it_comes(owner: Client) -> None:
    text = owner.get("/").content.decode()
    assert navigation.address_of("nonesuch") == ""
    assert 'href=""' not in text
    assert ">coming<" in text


def test_one_is_shown_where_one_may_go(hub: Hub, owner: Client) -> None:
    assert 'href="/quote/"' in owner.get("/orders/").content.decode()
    auditor = hub.client(hub.user(hub=HubRole.AUDITOR))
    assert '<nav aria-label="Main">' in auditor.get("/orders/").content.decode()
    assert 'href="/quote/"' not in auditor.get("/you/").content.decode()
    assert '<nav aria-label="Main">' not in hub.client().get("/").content.decode()


def test_the_hubs_people_see_a_buyers_places_where_their_organisation_is_a_resident(hub: Hub) -> None:
    operator = hub.user(role=Role.OWNER, hub=HubRole.OPERATOR)
    page = "/organisation/"
    text = hub.client(operator).get(page).content.decode()
    assert 'href="/organisation/"' in text
    assert 'href="/bills/"' not in text
    assert 'id="now-purse"' not in text
    hub.world.buyer.capabilities = [Capability.RESIDENT.value]
    hub.world.buyer.save(update_fields=["capabilities"])
    text = hub.client(operator).get(page).content.decode()
    assert 'href="/bills/"' in text
    assert 'id="now-purse"' in text


@pytest.mark.parametrize(("back", "to"), [("/look/", "/look/"), ("https://evil.example/", "/"), ("", "/")])
def test_light_or_dark_is_remembered_on_this_device(client: Client, db: None, back: str, to: str) -> None:
    response = client.post("/light/", {"light": "night", "next": back})
    assert response["Location"] == to
    assert 'class="night"' in client.get("/look/").content.decode()
    client.post("/light/", {"light": "nonesuch"})
    assert 'class="night"' in client.get("/look/").content.decode()


def test_the_first_load_is_light(client: Client, db: None) -> None:
    """The page, its styles, scripts and all four fonts, gzipped as behind any front server."""
    text = client.get("/look/").content
    named = set(re.findall(r'/static/([^"]+)', text.decode()))
    plain = {re.sub(r"\.[0-9a-f]{12}(?=\.\w+$)", "", name) for name in named}
    files = [STATIC / name for name in plain] + list(STATIC.rglob("*.woff2"))
    assert len(files) > 8
    sizes = [len(gzip.compress(file.read_bytes())) for file in files]
    assert sum(sizes) + len(gzip.compress(text)) <= FIRST_LOAD_BYTES_MAX
