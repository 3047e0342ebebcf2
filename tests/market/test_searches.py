"""Searches that people keep, offers side by side, and notes of changes that nobody needs any more."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from tests.conftest import NOW
from tests.market.conftest import World, make_organisation
from tests.market.test_api import token_of

from mosu.kernel.refusals import Invalid
from mosu.market import services
from mosu.market.comparison import compared
from mosu.market.models import OfferChange, SavedSearch
from mosu.market.queries import shown
from mosu.platform.actors import Role, Scope

pytestmark = pytest.mark.django_db

PATH = "/api/v1/saved-searches"


def save(client: Client, headers: dict[str, str], name: str, query: dict[str, list[str]]) -> int:
    body = {"name": name, "query": query}
    return client.post(PATH, body, content_type="application/json", headers=headers).status_code


def test_a_search_is_saved_listed_and_forgotten(world: World, client: Client) -> None:
    mine, another = (token_of(make_organisation(name), Role.VIEWER) for name in ("Mine", "Another"))
    asked = {
        "text": ["昇腾 "],
        "view": ["sea", "street"],
        "price_max": ["12.5"],
        "cursor": ["x"],
        "junk": ["y"],
    }
    assert save(client, mine, "cheap", asked) == 201
    (kept,) = client.get(PATH, headers=mine).json()["items"]
    assert kept["query"] == {"text": ["昇腾"], "view": ["sea", "street"], "price_max": ["12.50"]}
    assert client.get(PATH, headers=another).json()["items"] == []
    assert save(client, mine, "cheap", {}) == 409
    assert save(client, another, "cheap", {}) == 201
    for name, query in (("", {}), ("bad", {"sort": ["dearest"]}), ("bad", {"price_min": ["much"]})):
        assert save(client, mine, name, query) == 422
    assert client.delete(f"{PATH}/{kept['id']}", headers=another).status_code == 404
    assert SavedSearch.objects.count() == 2
    assert client.delete(f"{PATH}/{kept['id']}", headers=mine).status_code == 204
    assert client.get(PATH, headers=mine).json()["items"] == []


def test_only_so_many_searches_are_kept_and_a_reading_token_keeps_none(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosu.market.services.searches.SEARCHES_MAX", 1)
    headers = token_of(world.buyer, Role.VIEWER)
    assert save(client, headers, "one", {}) == 201
    assert save(client, headers, "two", {}) == 422
    reading = token_of(make_organisation("Reader"), Role.VIEWER, frozenset({Scope.READ}))
    assert save(client, reading, "one", {}) == 403
    assert client.get(PATH).status_code == 401
    assert SavedSearch.objects.count() == 1


def test_offers_side_by_side_tell_what_differs(world: World) -> None:
    one = world.offer(price="1", attributes={"view": "sea", "region": "shanghai", "floor": 2})
    two = world.offer(price="2", attributes={"view": "street", "region": "shanghai"})
    rows = {row.code: row for row in compared(shown([one, two], now=NOW))}
    assert {code for code, row in rows.items() if row.differs} == {"view", "floor", "price:core_second"}
    assert rows["floor"].cells == ("2", None)
    assert rows["price:core_second"].cells == (1_000_000, 2_000_000)
    assert rows["region"].cells == ("shanghai", "shanghai")
    assert "mode" not in rows  # known of neither
    assert "why_not_live" not in rows


def test_none_or_five_or_of_two_shelves_are_not_compared(world: World) -> None:
    offer = world.offer()
    (one,) = shown([offer], now=NOW)
    for offers in ([], [one] * 5):
        with pytest.raises(Invalid):
            compared(offers)


def test_changes_are_forgotten_only_after_every_catalogue_took_them_up(world: World) -> None:
    world.offer()
    noted = OfferChange.objects.count()
    assert noted >= 2  # the offer, its price
    forget = services.forget_changes.__wrapped__
    assert forget(now=timezone.now() + timedelta(days=1)) == 0
    assert OfferChange.objects.count() == noted
    assert forget(now=timezone.now() + timedelta(days=3)) == noted
    assert OfferChange.objects.count() == 0
