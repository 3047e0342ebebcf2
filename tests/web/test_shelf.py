"""The shelf, one offer, several side by side, saved searches, the front door."""

import csv
import io
import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from mosu.compute.services import ensure_local_pool
from mosu.market.models import Offer, SavedSearch
from mosu.market.services import OfferSpec, PriceSpec, create_offer, set_price
from mosu.platform.actors import SYSTEM, Role
from tests.compute import world as compute
from tests.subsidies.factories import released
from tests.web.conftest import Hub

SHELF = "/compute/"


def page(client: Client, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, path
    return unescape(response.content.decode())


def labels(text: str) -> list[str]:
    return re.findall(r'<li class="label[^"]*">\s*<h3><a[^>]*>([^<]+)<', text)


def offer_id(title: str) -> str:
    return str(Offer.objects.get(title_en=title).public_id)


def live_offer() -> Offer:
    return Offer.objects.get(prices__meter="core_second")


@pytest.fixture
def stocked(hub: Hub) -> Hub:
    """One live offer of cores, and three of cards that are not connected."""
    hub.offer("Ascend 910B", accelerator="ascend-910b2", region="上海")
    hub.offer("MetaX C500", accelerator="metax-c500", region="上海")
    hub.offer("NVIDIA H20", accelerator="nvidia-h20", region="苏州")
    return hub


def test_what_can_be_ordered_now_hangs_above_the_rest(stocked: Hub) -> None:
    text = page(stocked.client(), SHELF)
    assert "¥34.04 / PFLOP-hour" in text  # 12.80 a card-hour at 376 TFLOPS
    assert text.index("Can be ordered now</h2>") < text.index("Shown, taken or not connected now</h2>")
    assert len(labels(text)) == 4
    assert "Ascend" not in labels(text)[0]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text=昇腾910B", ["Ascend 910B"]),
        ("text=metax", ["MetaX C500"]),
        ("accelerator=metax-c500&accelerator=nvidia-h20&sort=price", ["MetaX C500", "NVIDIA H20"]),
        ("region=上海&vendor=MetaX", ["MetaX C500"]),
        ("country=US", ["NVIDIA H20"]),
        ("memory_gb_min=90", ["NVIDIA H20"]),
        ("price_max=1&free_now=false", 1),
        ("free_now=true", 1),
        ("text=&price_min=&price_max=&sort=ready", 4),
    ],
)
def test_the_address_says_what_is_searched(stocked: Hub, query: str, found: list[str] | int) -> None:
    shown = labels(page(stocked.client(), f"{SHELF}?{query}"))
    assert (len(shown) if isinstance(found, int) else sorted(shown)) == found


def test_a_facet_counts_without_itself_and_a_chip_takes_its_choice_away(stocked: Hub) -> None:
    text = page(stocked.client(), f"{SHELF}?region=上海&accelerator=metax-c500")
    assert 'value="苏州"' not in text  # no C500 there
    regions = page(stocked.client(), f"{SHELF}?region=上海")
    assert re.search(r'value="苏州"[^>]*>\s*<span>Suzhou</span>\s*<span class="num">1<', regions)
    chips = [parse_qs(urlsplit(href).query) for href in re.findall(r'<li><a href="(\?[^"]*)"><span>', text)]
    assert chips == [{"region": ["上海"]}, {"accelerator": ["metax-c500"]}]


def test_nothing_fits_says_which_condition_to_let_go(stocked: Hub) -> None:
    text = page(stocked.client(), f"{SHELF}?region=苏州&accelerator=metax-c500&accelerator=ascend-910b2")
    assert "Nothing on this shelf fits." in text
    assert re.search(r'name="free_now"[^>]*>\s*<span>Free now</span> <span class="num">0<', text)
    letting_go = dict(re.findall(r'<li><a href="[^"]*">([^<]+)</a> <span class="num">(\d+) offer', text))
    assert letting_go == {"Region": "2", "Accelerator": "1"}
    # What nobody offers here is named all the same.
    assert re.search(r'value="metax-c500" checked>\s*<span>MetaX', text)


@pytest.mark.parametrize(
    "query", ["sort=nonesuch", "price_min=cheap", "memory_gb_min=x&sort=-", "free_now=perhaps", "live=2"]
)
def test_what_cannot_be_asked_is_told_and_the_rest_is_searched(stocked: Hub, query: str) -> None:
    text = page(stocked.client(), f"{SHELF}?{query}")
    assert "notice refused" in text
    assert len(labels(text)) == 4


def test_the_table_sorts_and_its_file_has_all_that_fits(stocked: Hub) -> None:
    client = stocked.client()
    text = page(client, f"{SHELF}?view=table&region=上海&region=苏州&columns=offer&columns=price")
    heads = re.findall(r'<th scope="col"[^>]*>(?:<a href="([^"]*)">)?([^<]+)<', text)
    assert [title for _, title in heads] == ["Offer", "Price"]
    to = parse_qs(urlsplit(heads[1][0]).query)
    assert to == {
        "view": ["table"],
        "columns": ["offer,price"],
        "region": ["上海", "苏州"],
        "sort": ["price"],
    }
    href = re.search(r'class="csv" href="([^"]*)"', text)
    assert href is not None
    response = client.get(SHELF + href[1])
    rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert rows[0] == ["Offer", "Price"]
    assert sorted(row[0] for row in rows[1:]) == ["Ascend 910B", "MetaX C500", "NVIDIA H20"]
    assert {row[1] for row in rows[1:]} == {"12.80"}


def test_anyone_may_have_the_beginning_of_the_file_and_who_signs_in_more(
    stocked: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosu.web.views.shelf.STRANGERS_ROWS_MAX", 2)
    monkeypatch.setattr("mosu.web.views.shelf.CSV_BATCH", 1)
    path, table = f"{SHELF}?sort=price&columns=offer&format=csv", f"{SHELF}?view=table"
    stranger, somebody = stocked.client(), stocked.client(stocked.user(role=Role.OWNER))
    few, all_of_it = (
        [*csv.reader(io.StringIO(who.get(path).content.decode()))][1:] for who in (stranger, somebody)
    )
    assert (len(few), len(all_of_it)) == (2, 4)
    assert few == all_of_it[:2]
    assert "the first 2; 4 if you sign in" in page(stranger, table)
    assert "if you sign in" not in page(somebody, table)
    monkeypatch.setattr("mosu.web.views.shelf.CSV_ROWS_MAX", 3)
    assert "the first 3 of 4" in page(somebody, table)


def test_pages_follow_each_other_without_loss(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosu.web.views.shelf.PAGE", 2)
    for number in range(4):
        hub.offer(f"Card {number}", accelerator="metax-c500")
    client, path, seen = hub.client(), SHELF, []
    for _ in range(3):
        text = page(client, path)
        seen += labels(text)
        onward = re.search(r'href="([^"]*)" rel="next"', text)
        path = SHELF + onward[1] if onward else ""
    assert path == ""
    assert len(seen) == len(set(seen)) == 5


def test_htmx_gets_the_address_without_what_was_left_empty(stocked: Hub) -> None:
    response = stocked.client().get(
        f"{SHELF}?text=&price_min=&sort=ready&accelerator=metax-c500", headers={"HX-Request": "true"}
    )
    assert response["HX-Push-Url"] == f"{SHELF}?accelerator=metax-c500"


def test_the_field_in_the_head_leads_to_the_shelf(hub: Hub) -> None:
    response = hub.client().get("/search/?q=昇腾 910B")
    assert response.status_code == 302
    assert parse_qs(urlsplit(response["Location"]).query) == {"text": ["昇腾 910B"]}
    assert 'action="/search/"' in page(hub.client(), "/")


def test_an_offer_shows_what_is_known_its_source_and_what_is_not(stocked: Hub) -> None:
    text = page(stocked.client(), f"/offers/{offer_id('Ascend 910B')}/")
    assert "¥12.80" in text
    assert re.search(r"<dt>Memory of a card</dt><dd>64 GB <small>press report · github.com", text)
    assert "not known" in text
    assert "Run on this" not in text
    assert "Not connected" in text
    text = page(stocked.client(), f"/offers/{live_offer().public_id}/")
    assert 'href="/quote/?cpus=1">Run on this' in text


def test_an_offers_price_history_is_drawn_once_it_changed(stocked: Hub) -> None:
    path = f"/offers/{offer_id('Ascend 910B')}/"
    assert "<polyline" not in page(stocked.client(), path)
    set_price(
        actor=SYSTEM,
        offer_id=Offer.objects.get(title_en="Ascend 910B").id,
        price=PriceSpec("card_second", "card_hour", 9_900_000),
        now=stocked.now + timedelta(milliseconds=1),
    )
    text = page(stocked.client(), path)
    assert "<polyline" in text
    assert "9.90 CNY" in text
    assert "12.80 CNY" in text


def test_a_private_offer_is_there_for_its_buyer_alone(stocked: Hub) -> None:
    one = live_offer()
    spec = OfferSpec(
        supplier_id=one.supplier_id,
        shelf="compute",
        subject_id=one.subject_id,
        title_zh="专属",
        title_en="For one buyer",
        max_units=8,
        wall_s_max=86_400,
        prices=[PriceSpec("core_second", "core_hour", 100_000)],
        attributes={"region": "here"},
        buyer_organisation_id=stocked.world.buyer.id,
    )
    private = create_offer(actor=SYSTEM, spec=spec, now=stocked.now)
    buyer = stocked.client(stocked.user(role=Role.OWNER))
    stranger = stocked.client(stocked.user(role=Role.OWNER, at=compute.make_organisation("other")))
    assert "price for you alone" in page(buyer, f"/offers/{private.public_id}/")
    assert "For one buyer" in page(buyer, SHELF)
    for client in (stranger, stocked.client()):
        page(client, f"/offers/{private.public_id}/", 404)
        assert "For one buyer" not in page(client, SHELF)
        assert "For one buyer" not in page(client, f"/compare/?offers={private.public_id}")
        assert "For one buyer" not in page(client, "/")


def test_the_hubs_own_pool_has_a_chinese_name_on_chinese_pages(hub: Hub) -> None:
    ensure_local_pool(now=hub.now)
    english, chinese = hub.client(), hub.client(language="zh-hans")
    path = f"/offers/{offer_id('CPU cores of this hub')}/"
    assert "The hub's trial pool · local" in page(english, path)
    for address in (path, SHELF, f"{SHELF}?region=local"):
        assert "The hub's trial pool" not in page(chinese, address)
        assert "本中心试用资源池" in page(chinese, address)
    assert "本中心试用资源池 · 本地" in page(chinese, path)


@pytest.mark.parametrize("name", ["nonsense", "offer_01jd4xkq3fe8mtz6y6kt5v0a9n"])
def test_an_offer_that_is_not_there_is_not_found(hub: Hub, name: str) -> None:
    page(hub.client(), f"/offers/{name}/", 404)


def test_offers_side_by_side_mark_what_differs(stocked: Hub) -> None:
    ids = [offer_id(title) for title in ("Ascend 910B", "MetaX C500", "NVIDIA H20")]
    client = stocked.client()
    by_form = "&".join(f"offers={one}" for one in ids)
    text = page(client, f"/compare/?{by_form}")
    assert _rows(text) == _rows(page(client, f"/compare/?offers={','.join(ids)}"))
    rows = {title: bool(mark) for mark, title in _rows(text)}
    assert rows["Region"]
    assert rows["Vendor"]
    assert not rows["Tax rate"]
    only = page(client, f"/compare/?{by_form}&only=differences")
    marks = [mark for mark, _ in _rows(only)]
    assert marks
    assert all(marks)
    assert "are the same in all" in only


def _rows(text: str) -> list[tuple[str, str]]:
    return re.findall(
        r'<tr( class="differs")?><th scope="row">(?:<i.*?</i><span.*?</span>)?([^<]+)</th>', text
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "Nothing is chosen"),
        ("?offers=nonsense", "1 offer is no longer"),
        ("?offers=,", "Nothing is chosen"),
    ],
)
def test_nothing_to_compare_says_what_to_do(stocked: Hub, query: str, said: str) -> None:
    assert said in page(stocked.client(), f"/compare/{query}")


def test_more_than_four_are_told_apart(stocked: Hub) -> None:
    stocked.offer("Fifth", accelerator="metax-c500")
    ids = [one.public_id for one in Offer.objects.order_by("id")]
    assert len(ids) == 5
    assert "1 more was left out" in page(stocked.client(), f"/compare/?offers={','.join(ids)}")


def test_the_api_compares_the_same(stocked: Hub) -> None:
    ids = [offer_id(title) for title in ("Ascend 910B", "NVIDIA H20")]
    answer = stocked.client().get("/api/v1/offers/compare", {"id": ids})
    assert answer.status_code == 200
    body = answer.json()
    assert [one["id"] for one in body["offers"]] == ids
    rows = {row["code"]: row for row in body["rows"]}
    assert rows["price:card_second"] == {
        "code": "price:card_second",
        "title": None,
        "values": ["12.80", "12.80"],
        "differs": False,
    }
    assert rows["memory_gb"]["values"] == ["64", "96"]
    assert rows["memory_gb"]["differs"]
    unknown = [ids[0], "offer_01jd4xkq3fe8mtz6y6kt5v0a9n"]
    assert stocked.client().get("/api/v1/offers/compare", {"id": unknown}).status_code == 404
    assert stocked.client().get("/api/v1/offers/compare", {"id": ids * 3}).status_code == 422


def test_a_search_is_saved_opened_and_deleted(stocked: Hub) -> None:
    owner = stocked.client(stocked.user(role=Role.OWNER))
    text = page(owner, f"{SHELF}?region=上海&price_max=20")
    query = re.search(r'name="query" value="([^"]*)"', text)
    assert query is not None
    saved = owner.post("/compute/saved/", {"name": "near", "query": query[1]}, follow=True)
    href = re.search(r'<li><a href="/compute/(\?[^"]*)">near', unescape(saved.content.decode()))
    assert href is not None
    assert labels(page(owner, SHELF + href[1])) == labels(text)
    again = owner.post("/compute/saved/", {"name": "near", "query": "region=x"})
    assert again.status_code == 409
    assert 'value="near"' in again.content.decode()
    assert SavedSearch.objects.count() == 1
    other = stocked.client(stocked.user(role=Role.OWNER))
    key = SavedSearch.objects.get().public_id
    assert other.post(f"/compute/saved/{key}/delete/").status_code == 404
    assert SavedSearch.objects.count() == 1
    assert owner.post(f"/compute/saved/{key}/delete/").status_code == 302
    assert SavedSearch.objects.count() == 0


def test_a_stranger_is_sent_to_the_sign_in_before_saving(stocked: Hub) -> None:
    assert "Save this search" not in page(stocked.client(), SHELF)
    response = stocked.client().post("/compute/saved/", {"name": "near", "query": ""})
    assert response.status_code == 302
    assert SavedSearch.objects.count() == 0


def test_the_front_door_shows_real_figures_and_open_programmes(stocked: Hub) -> None:
    released(now=stocked.now)
    text = page(stocked.client(), "/")
    figures = dict(
        re.findall(r'<div class="figure"><span>([^<]+)</span><b class="num">(?:<a[^>]*>)?([^<]+)<', text)
    )
    assert figures == {"Offers": "4", "Cards free now": "0", "Cores free now": "64", "Suppliers": "4"}
    assert re.search(r">Ascend 910B</a></td><td[^>]*>¥12.80</td><td[^>]*>0</td><td[^>]*>1<", text)
    assert 'class="split"' in text
    assert 'href="/account/signup/"' in text


@pytest.mark.parametrize("path", ["/data/", "/evaluation/", "/finance/", "/services/"])
def test_a_door_leads_only_to_what_exists(hub: Hub, path: str) -> None:
    owner = hub.client(hub.user(role=Role.OWNER))
    for language in ("en", "zh-hans"):
        text = owner.get(path, headers={"Accept-Language": language}).content.decode()
        main = text[text.index("<main") : text.index("</main>")]
        links = set(re.findall(r'href="(/[^"#]*)"', main))
        assert links
        assert {link: owner.get(link).status_code for link in links} == dict.fromkeys(links, 200)
        assert ("coming" if language == "en" else "即将") in main


PATHS = [
    "/",
    SHELF,
    f"{SHELF}?view=table",
    "/compare/?offers={ids}",
    "/offers/{one}/",
    "/finance/",
    "/compute/saved/",
]


@pytest.mark.parametrize("path", PATHS)
def test_pages_ask_as_often_for_many_as_for_few(
    committed_hub: Hub, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    hub = committed_hub
    monkeypatch.setattr("mosu.market.catalogue.keeping.DUE", timedelta(seconds=60))
    owner = hub.client(hub.user(role=Role.OWNER))
    hub.offer("First", accelerator="ascend-910b2")

    def asked() -> int:
        ids = [one.public_id for one in Offer.objects.order_by("id")][:4]
        full = path.format(ids=",".join(ids), one=ids[0])
        monkeypatch.setattr("mosu.market.catalogue.keeping._catalogues", {})
        owner.get(full)
        with CaptureQueriesContext(connection) as captured:
            response: Any = owner.get(full)
        assert response.status_code == 200
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=\"", response.content.decode()
        ), full
        return len(captured)

    few = asked()
    for number in range(20):
        hub.offer(f"MetaX {number}", accelerator="metax-c500")
    assert asked() == few
    assert few <= 12
