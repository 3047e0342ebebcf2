"""How the catalogue follows the database: commits, late commits, rollbacks, prices to come; and private offers."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client
from tests.conftest import NOW
from tests.market.conftest import DeskShelf, World, make_organisation, make_world, person

from mosu.kernel.refusals import NotFound
from mosu.market import services
from mosu.market.catalogue import CatalogueLoading, OfferSearch, summarised
from mosu.market.catalogue.keeping import Catalogue
from mosu.market.models import Offer, OfferPrice, Quote
from mosu.market.queries import search_offers, shown
from mosu.market.services.quotes import NotForSale
from mosu.platform.actors import ANONYMOUS, SYSTEM, Role
from mosu.platform.models import Organisation


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def titles(catalogue: Catalogue, now: datetime) -> list[str]:
    snapshot = catalogue.at(now)
    rows = snapshot.order("price")
    ids = snapshot.ids(rows[snapshot.columns["alive"][rows]])
    names = dict(Offer.objects.values_list("id", "title_en"))
    return [names[key] for key in ids]


@pytest.fixture
def committed(fresh_db: Any, shelf: DeskShelf) -> World:
    return make_world(shelf)


def test_a_change_is_found_within_two_seconds_and_not_asked_for_before(
    committed: World, django_assert_num_queries: Callable[[int], Any]
) -> None:
    catalogue = Catalogue()
    first = committed.offer(title_en="first")
    assert titles(catalogue, NOW) == ["first"]
    committed.offer(title_en="second", price="1")
    with django_assert_num_queries(0):
        catalogue.at(at(1.4))
    assert titles(catalogue, at(2)) == ["second", "first"]
    with django_assert_num_queries(1):  # the shelf's own come to it; this one has none
        catalogue.at(at(4))
    services.set_price(
        actor=SYSTEM,
        offer_id=first.id,
        price=services.PriceSpec("core_second", "core_hour", 500_000),
        now=at(5),
    )
    assert titles(catalogue, at(6)) == ["first", "second"]
    services.delist_offer(actor=SYSTEM, offer_id=first.id, now=at(7))
    assert titles(catalogue, at(8)) == ["second"]
    committed.offer(title_en="third", price="9")
    assert titles(catalogue, at(10)) == ["second", "third"]
    assert catalogue.at(at(10)).size == 2  # the place of the one that is gone was taken


def test_what_commits_late_is_not_missed(committed: World) -> None:
    catalogue, wrote, go_on = Catalogue(), threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            committed.offer(title_en="slow")
            wrote.set()
            go_on.wait(120)
        connections.close_all()

    thread = threading.Thread(target=slow)
    thread.start()
    assert wrote.wait(120)
    committed.offer(title_en="quick", price="9")  # begins later, commits earlier
    assert titles(catalogue, NOW) == ["quick"]
    assert titles(catalogue, at(2)) == ["quick"]
    go_on.set()
    thread.join()
    assert titles(catalogue, at(4)) == ["slow", "quick"]


def test_what_a_transaction_takes_back_was_never_on_the_shelf(committed: World) -> None:
    catalogue = Catalogue()
    committed.offer(title_en="kept")
    assert titles(catalogue, NOW) == ["kept"]
    with transaction.atomic():
        committed.offer(title_en="taken back", price="1")
        assert titles(catalogue, at(2)) == ["taken back", "kept"]
        transaction.set_rollback(True)
    assert titles(catalogue, at(4)) == ["kept"]


def test_a_price_to_come_begins_in_time_and_a_new_name_is_found(committed: World) -> None:
    catalogue = Catalogue()
    dear = committed.offer(title_en="dear", price="5")
    committed.offer(title_en="middle", price="3")
    assert titles(catalogue, NOW) == ["middle", "dear"]
    OfferPrice.objects.create(
        offer=dear, meter="core_second", unit="core_hour", unit_price_micros=1_000_000, valid_from=at(60)
    )
    assert titles(catalogue, at(10)) == ["middle", "dear"]
    assert titles(catalogue, at(61)) == ["dear", "middle"]
    Organisation.objects.filter(id=committed.supplier.id).update(name="银河算力")
    found = search_offers(ANONYMOUS, OfferSearch(shelf="desk", text="银河"), now=at(70))
    assert found.total == 2


def test_the_shelf_asks_little_however_many_offers_hang_there(
    committed: World, django_assert_num_queries: Callable[[int], Any]
) -> None:
    client = Client()
    for many in (1, 20):
        for _ in range(many):
            committed.offer()
        client.get("/api/v1/offers?shelf=desk")
        with django_assert_num_queries(2):  # the page, its prices
            client.get("/api/v1/offers?shelf=desk&facets=true")


@pytest.mark.django_db
def test_a_private_offer_is_its_buyers_and_its_suppliers_alone(world: World, client: Client) -> None:
    everyones = world.offer(title_en="For everyone")
    private = world.offer(
        title_en="Only for you",
        buyer_organisation_id=world.buyer.id,
        price="1",
        attributes={"view": "secret"},
    )
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    wanted = OfferSearch(shelf="desk")
    seen = {
        name: [one.offer.id for one in search_offers(actor, wanted, now=NOW).items]
        for name, actor in (("buyer", world.actor), ("seller", world.seller), ("stranger", stranger))
    }
    assert seen == {
        "buyer": [private.id, everyones.id],
        "seller": [private.id, everyones.id],
        "stranger": [everyones.id],
    }
    assert client.get(f"/api/v1/offers/{private.public_id}").status_code == 404
    answer = client.get("/api/v1/offers?shelf=desk&facets=true&view=secret").json()
    assert (answer["items"], answer["total"]) == ([], 0)
    plain = client.get("/api/v1/offers?shelf=desk&facets=true")
    assert b"secret" not in plain.content
    assert plain.json()["total"] == 1


@pytest.mark.django_db
def test_a_private_offer_is_not_quoted_to_another(world: World) -> None:
    other = make_organisation("Other")
    private = world.offer(buyer_organisation_id=other.id)
    with pytest.raises(NotForSale):
        world.quotes(world.plan(private))
    assert Quote.objects.count() == 0
    (quote,) = world.quotes(world.plan(world.offer()))
    quote.pk, quote.offer_id = None, private.id
    with pytest.raises(IntegrityError, match="another buyer"), transaction.atomic():
        quote.id = Quote().id
        quote.save(force_insert=True)
    with pytest.raises(IntegrityError, match="refused"), transaction.atomic():
        Offer.objects.filter(id=private.id).update(buyer_organisation_id=None)


@pytest.mark.django_db
def test_a_buyer_that_is_nobody_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        world.offer(buyer_organisation_id=Quote().id)
    assert Offer.objects.count() == 0


@pytest.mark.django_db
def test_the_shelf_and_the_offer_say_the_same(world: World) -> None:
    offer = world.offer()
    (found,) = search_offers(ANONYMOUS, OfferSearch(shelf="desk"), now=NOW).items
    (alone,) = shown([offer], now=NOW)
    assert (found.stock, found.why_not_live, found.prices) == (alone.stock, alone.why_not_live, alone.prices)
    assert connection.in_atomic_block


def test_while_the_offers_are_read_for_the_first_time_nobody_need_wait_for_them(committed: World) -> None:
    """The front page says what it can; the shelf waits."""
    catalogue = Catalogue()
    with catalogue._lock, pytest.raises(CatalogueLoading):
        catalogue.at(NOW, first_wait_s=0)
    first = catalogue.at(NOW, first_wait_s=0)
    with catalogue._lock:
        assert catalogue.at(NOW, first_wait_s=0) is first


def test_a_shelf_is_summed_up_once_as_long_as_nothing_changes(committed: World) -> None:
    catalogue = Catalogue()
    first = catalogue.at(NOW)
    assert summarised(first, "compute") is summarised(first.read_again(now=NOW), "compute")
    again = first.with_standings(first.standings, now=NOW)
    assert summarised(again, "compute") is not summarised(first, "compute")
    assert summarised(again, "compute") == summarised(first, "compute")
