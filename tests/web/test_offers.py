"""A supplier's offers in the browser: on, off, priced, for one buyer, by the file."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Pool
from mosu.market.models import Offer, OfferImport, OfferPrice, Quote
from mosu.market.services import carry_on_import
from mosu.platform.actors import HubRole, Role
from mosu.web.views import imports
from tests.compute import world as compute
from tests.compute.volumes import keep_volumes, quote_volume
from tests.web.conftest import Hub, page, queries

BOTH = ("en", "zh-hans")


def pool_of(hub: Hub) -> Pool:
    return compute.pool_of(hub.world)


def offer_of(hub: Hub) -> Offer:
    return Offer.objects.get(subject_id=hub.world.pool_id)


@pytest.fixture
def seller(hub: Hub) -> Client:
    return hub.client(hub.user(role=Role.OWNER, at=pool_of(hub).organisation))


def given(hub: Hub, **changes: Any) -> dict[str, Any]:
    return {
        "pool": pool_of(hub).public_id,
        "goods": "cores",
        "title_zh": "二号厅",
        "title_en": "Hall 2",
        "price": "0.25",
        "tax_included": "1",
        "tax_percent": "6",
        "sold_by": "hub",
        "min_units": "1",
        "max_units": "8",
        "wall_hours_max": "24",
        "buyer": "",
    } | changes


def file(*lines: str, name: str = "mine.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, ("\n".join(("key,title_en,accelerator,price", *lines)) + "\n").encode())


@pytest.fixture(autouse=True)
def _folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def work() -> None:
    """What the hub does in the background."""
    for one in OfferImport.objects.all():
        carry_on_import(import_id=one.id, now=timezone.now())


def send(client: Client, hub: Hub, upload: SimpleUploadedFile, **more: str) -> Any:
    """The answer to a file that was sent; the hub has read it then."""
    answer = hand_in(client, hub, upload, **more)
    work()
    return answer


def hand_in(client: Client, hub: Hub, upload: SimpleUploadedFile, **more: str) -> Any:
    body = {"supplier": pool_of(hub).organisation.public_id, "file": upload, "gone": "keep", **more}
    return client.post("/my-offers/imports/", body)


def test_who_sees_ones_offers(hub: Hub, seller: Client) -> None:
    offer = offer_of(hub)
    path = f"/my-offers/{offer.public_id}/"
    stranger = hub.client(
        hub.user(role=Role.OWNER, at=compute.make_organisation("x", capabilities=["supplier"]))
    )
    for language in BOTH:
        said = {"Accept-Language": language}
        assert path in page(seller.get("/my-offers/", headers=said))
        assert path not in page(stranger.get("/my-offers/", headers=said))
        assert path in page(hub.client(hub.user(hub=HubRole.OPERATOR)).get("/my-offers/", headers=said))
        assert seller.get(path, headers=said).status_code == 200
        assert stranger.get(path, headers=said).status_code == 404
        assert hub.client().get(path, headers=said).status_code == 302
    viewer = hub.client(hub.user(role=Role.VIEWER, at=pool_of(hub).organisation))
    assert "/state/" not in page(viewer.get(path))
    assert viewer.get("/my-offers/new/").status_code == 403
    assert viewer.post(f"{path}state/", {"to": "delisted"}).status_code == 403
    assert "terms/" not in page(viewer.get(path))
    assert offer_of(hub).state == "listed"
    assert OfferPrice.objects.filter(offer=offer).count() == 1


def test_an_offer_is_made_and_a_refused_one_keeps_what_was_typed(hub: Hub, seller: Client) -> None:
    assert seller.post("/my-offers/new/", given(hub), follow=True).status_code == 200
    made = Offer.objects.latest("created_at")
    assert (made.title_zh, made.max_units, made.wall_s_max) == ("二号厅", 8, 86_400)
    assert made.prices.get().unit_price_micros == 250_000
    before = Offer.objects.count()
    for wrong in (
        {"min_units": "9"},
        {"price": "0"},
        {"price": "many"},
        {"buyer": "Nobody Ltd"},
        {"pool": "x"},
    ):
        answer = seller.post("/my-offers/new/", given(hub, title_en="Hall three", **wrong))
        assert answer.status_code == 422, wrong
        assert 'value="Hall three"' in page(answer)
    other = compute.make_organisation("x", capabilities=["supplier"])
    stranger = hub.client(hub.user(role=Role.OWNER, at=other))
    assert stranger.post("/my-offers/new/", given(hub)).status_code == 422
    assert Offer.objects.count() == before


def test_room_for_volumes_is_put_on_the_storage_shelf(hub: Hub, seller: Client) -> None:
    keep_volumes(hub.world, room_gb=50, now=hub.now)
    asked = "/my-offers/new/?shelf=storage"
    for language, said in (("en", "room for 50 GB"), ("zh-hans", "空间 50 GB")):
        text = page(seller.get(asked, headers={"Accept-Language": language}))
        assert said in text and "wall_hours_max" not in text
    room = given(hub, title_en="Hall 2 volumes", price="0.3", min_units="2", max_units="40", days_max="90")
    before = Offer.objects.count()
    for wrong in ({"days_max": "366"}, {"max_units": "1"}, {"price": "0"}, {"pool": "x"}, {"days_max": ""}):
        assert seller.post(asked, {**room, **wrong}).status_code == 422, wrong
    assert Offer.objects.count() == before
    answer = seller.post(asked, room, follow=True)
    assert answer.status_code == 200 and "GB-month" in page(answer)
    made = Offer.objects.get(shelf="storage")
    assert (made.subject_id, made.min_units, made.max_units, made.wall_s_max) == (
        hub.world.pool_id,
        2,
        40,
        90 * 86_400,
    )
    price = made.prices.get()
    assert (price.meter, price.unit, price.per, price.unit_price_micros) == (
        "gb_second",
        "gb_month",
        2_592_000,
        300_000,
    )
    assert "GB-month" in page(seller.get("/my-offers/"))
    assert seller.get(f"/my-offers/{made.public_id}/terms/").status_code == 200
    own = page(hub.client(hub.user(role=Role.DEVELOPER)).get(f"/offers/{made.public_id}/"))
    assert 'href="/volumes/"' in own and "A new volume" in own and "90" in own
    for other in ("Run on this", "Longest run", "/calendar/", "/compare/"):
        assert other not in own, other
    assert quote_volume(hub.world, gb=2, now=timezone.now()).total_max_micros == 600_000


def test_an_offer_for_one_buyer_is_seen_by_no_other(hub: Hub, seller: Client) -> None:
    seller.post("/my-offers/new/", given(hub, title_en="For you alone", buyer=hub.world.buyer.name))
    made = Offer.objects.latest("created_at")
    assert made.buyer_organisation_id == hub.world.buyer.id
    assert hub.world.buyer.name in page(seller.get("/my-offers/?for=one"))
    assert "For you alone" not in page(seller.get("/my-offers/?for=all"))
    assert "For you alone" not in page(hub.client().get("/"))


def fields_of(client: Client, path: str) -> dict[str, str]:
    """What the form shows, as a browser would send it back."""
    inputs = re.findall(r"<input[^>]*>", page(client.get(path)))
    pairs = [(re.search(r'name="([^"]+)"', one), re.search(r'value="([^"]*)"', one)) for one in inputs]
    return {name[1]: value[1] if value else "" for name, value in pairs if name}


@pytest.mark.parametrize("text", ["hall (a.b", "[50% ", "ÉTÉ", "二号", "h"])
def test_offers_are_found_by_a_part_of_their_title_as_it_is_typed(
    hub: Hub, seller: Client, text: str
) -> None:
    """Whatever the case; signs that mean something to a pattern mean themselves."""
    seller.post("/my-offers/new/", given(hub, title_zh="二号厅 été", title_en="Hall (a.b)* [50% off]"))
    found = page(seller.get("/my-offers/", {"text": text}, headers={"Accept-Language": "en"}))
    assert "Hall (a.b)" in found
    nothing = page(seller.get("/my-offers/", {"text": text + ".*"}, headers={"Accept-Language": "en"}))
    assert "Hall (a.b)" not in nothing


@pytest.mark.parametrize("language", BOTH)
def test_new_terms_leave_quotes_alone_and_prices_are_kept_in_the_history(
    hub: Hub, seller: Client, language: str
) -> None:
    offer = offer_of(hub)
    compute.quote(hub.world, compute.task_of(), now=hub.now)
    frozen = Quote.objects.get().lines
    path = f"/my-offers/{offer.public_id}/terms/"
    assert path in page(seller.get(f"/my-offers/{offer.public_id}/"))
    asked = fields_of(seller, path)
    assert (asked["price-core_second"], "confirmed" in asked) == ("0.15", False)
    changed = asked | {"price-core_second": "0.42", "title_en": "Hall one"}
    shown = page(seller.post(path, changed, follow=True))
    assert "Quotes already given and orders keep what they had." in shown
    assert "0.42 CNY" in shown and "0.15 CNY" in shown and "polyline" in shown and "Hall one" in shown
    assert Quote.objects.get().lines == frozen
    saids = {"Accept-Language": language}
    stale = seller.post(path, asked | {"title_en": "Lost"}, headers=saids)
    assert stale.status_code == 409 and 'role="alert"' in page(stale)
    assert "Hall one" in page(stale)
    assert offer_of(hub).title_en == "Hall one"
    asked = fields_of(seller, path)
    doubted = seller.post(path, asked | {"price-core_second": "420"}, headers=saids)
    assert (
        doubted.status_code == 409 and 'name="confirmed"' in page(doubted) and 'value="420"' in page(doubted)
    )
    for wrong in ({"price-core_second": "-1"}, {"title_zh": ""}, {"max_units": "0"}):
        assert seller.post(path, asked | wrong).status_code == 422
    assert OfferPrice.objects.filter(offer=offer).count() == 2
    seller.post(path, asked | {"price-core_second": "420", "confirmed": "on"})
    assert OfferPrice.objects.filter(offer=offer).count() == 3


def test_terms_are_changed_by_who_manages_the_offer_alone(hub: Hub, seller: Client) -> None:
    offer = offer_of(hub)
    path = f"/my-offers/{offer.public_id}/terms/"
    asked = fields_of(seller, path) | {"title_en": "Taken over"}
    stranger = hub.client(
        hub.user(role=Role.OWNER, at=compute.make_organisation("other", capabilities=["supplier"]))
    )
    viewer = hub.client(hub.user(role=Role.VIEWER, at=pool_of(hub).organisation))
    assert [client.post(path, asked).status_code for client in (stranger, viewer)] == [404, 403]
    assert offer_of(hub).title_en == offer.title_en


def test_off_the_shelf_and_on_again(hub: Hub, seller: Client) -> None:
    offer = offer_of(hub)
    for to in ("delisted", "listed", "listed"):
        shown = seller.post(f"/my-offers/{offer.public_id}/state/", {"to": to}, follow=True)
        assert shown.status_code == 200
        assert offer_of(hub).state == to


def test_the_list_asks_as_often_for_many_as_for_one(hub: Hub, seller: Client) -> None:
    hub.run()

    before = queries(seller, "/my-offers/")
    for number in range(6):
        seller.post("/my-offers/new/", given(hub, title_en=f"Hall {number}"))
    assert "Hall 5" in page(seller.get("/my-offers/"))
    assert queries(seller, "/my-offers/") == before <= 12


@pytest.mark.parametrize("language", BOTH)
def test_a_file_is_previewed_then_applied(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    answer = send(seller, hub, file("a,Machine,A100-80GB,21.5", "b,Broken,A100-80GB,0"))
    assert answer.status_code == 302, page(answer)
    made = OfferImport.objects.get()
    assert not Offer.objects.filter(source="mine").exists()
    shown = page(seller.get(answer["Location"], headers=said))
    assert "21.50 CNY" in shown
    held = page(seller.get(f"{answer['Location']}?held=yes", headers=said))
    assert "21.50 CNY" not in held and ">b<" in held
    decide = f"/my-offers/imports/{made.public_id}/decide/"
    assert seller.post(decide, {"do": "neither"}).status_code == 422
    assert not Offer.objects.filter(source="mine").exists()
    shown = page(seller.post(decide, {"do": "apply"}, follow=True, headers=said))
    assert "data-now" in shown and not Offer.objects.filter(source="mine").exists()
    work()
    assert [one.external_key for one in Offer.objects.filter(source="mine")] == ["a"]
    again = send(seller, hub, file("a,Machine,A100-80GB,25"))
    changed = page(seller.get(again["Location"], headers=said))
    assert "21.50 CNY" in changed and "25.00 CNY" in changed
    second = OfferImport.objects.latest("created_at")
    seller.post(f"/my-offers/imports/{second.public_id}/decide/", {"do": "discard"})
    second.refresh_from_db()
    assert second.state == "discarded"
    assert Offer.objects.get(external_key="a").prices.count() == 1
    assert "mine.csv" in page(seller.get("/my-offers/imports/", headers=said))
    assert "mine.csv" in page(seller.get("/my-offers/imports/?format=csv"))


@pytest.mark.parametrize("language", BOTH)
def test_a_file_that_cannot_be_read_names_its_places(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    answer = send(seller, hub, file("a,Machine,A100-80GB,much"))
    assert answer.status_code == 302
    shown = page(seller.get(answer["Location"], headers=said))
    assert ">much<" in shown and ">price<" in shown and "mine.csv" in shown
    assert "data-now" not in shown and "decide/" not in shown
    assert OfferImport.objects.get().state == "refused"
    assert page(seller.get("/my-offers/imports/?state=refused", headers=said)).count("mine.csv") == 1


@pytest.mark.parametrize("language", BOTH)
def test_while_the_hub_works_the_page_says_how_far(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    where = hand_in(seller, hub, file("a,Machine,A100-80GB,21.5"))["Location"]
    OfferImport.objects.update(percent=40, rows_read=48_000)
    for shown in (page(seller.get(where, headers=said)), page(seller.get(f"{where}now/", headers=said))):
        assert 'data-fresh="more"' in shown and 'value="40"' in shown and "48,000" in shown
    assert 'http-equiv="refresh"' in page(seller.get(where, headers=said))
    work()
    assert 'data-fresh="done"' in page(seller.get(f"{where}now/", headers=said))
    done = page(seller.get(where, headers=said))
    assert "data-now" not in done and 'http-equiv="refresh"' not in done and "21.50 CNY" in done
    other = compute.make_organisation("x", capabilities=["supplier"])
    stranger = hub.client(hub.user(role=Role.OWNER, at=other))
    assert stranger.get(f"{where}now/").status_code == 404


def test_an_applied_file_is_undone_for_a_reason(hub: Hub, seller: Client) -> None:
    where = send(seller, hub, file("a,Machine,A100-80GB,21.5"))["Location"]
    seller.post(f"{where}decide/", {"do": "apply"})
    work()
    assert 'value="undo"' in page(seller.get(where))
    assert 'value="undo"' not in page(hub.client(hub.user(hub=HubRole.AUDITOR)).get(where))
    assert seller.post(f"{where}decide/", {"do": "undo", "why": ""}).status_code == 422
    offer = Offer.objects.get(source="mine")
    path = f"/my-offers/{offer.public_id}/terms/"
    seller.post(path, fields_of(seller, path) | {"price-card_second": "30"})
    seller.post(f"{where}decide/", {"do": "undo", "why": "the wrong file"})
    work()
    refused = page(seller.get(where, headers={"Accept-Language": "zh-hans"}))
    assert ">a<" in refused and "之后价格又有变动" in refused
    offer.refresh_from_db()
    assert offer.state == "listed"
    other = send(seller, hub, file("b,Machine,A100-80GB,21.5", name="other.csv"))["Location"]
    seller.post(f"{other}decide/", {"do": "apply"})
    work()
    seller.post(f"{other}decide/", {"do": "undo", "why": "the wrong file"})
    work()
    shown = page(seller.get(other))
    assert "Undone" in shown and 'value="undo"' not in shown
    assert Offer.objects.get(source="other").state == "delisted"


def test_a_file_that_was_cut_off_is_refused(
    hub: Hub, seller: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BODY_BYTES_MAX", {"/my-offers/imports/": 1000})
    answer = send(seller, hub, file(*(f"k{n},Machine,A100-80GB,21.5" for n in range(100))))
    assert answer.status_code == 422
    assert "64 MiB" in page(answer)
    assert not OfferImport.objects.exists()


def test_only_the_operator_lets_a_row_through(hub: Hub, seller: Client) -> None:
    answer = send(seller, hub, file("a,Machine,A100-80GB,0.01"))
    made = OfferImport.objects.get()
    release = f"/my-offers/imports/{made.public_id}/release/"
    body = {"line": "2", "why": "a promotion, confirmed by letter"}
    assert release not in page(seller.get(answer["Location"]))
    assert seller.post(release, body).status_code == 403
    assert not made.rows.filter(released=True).exists()
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert release in page(operator.get(answer["Location"]))
    assert operator.post(release, {"line": "x", "why": "a promotion"}).status_code == 422
    assert operator.post(release, body, follow=True).status_code == 200
    assert made.rows.filter(released=True).count() == 1


@pytest.mark.parametrize("language", BOTH)
def test_what_is_held_back_waits_on_today(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    others = [
        hub.client(hub.user(role=Role.VIEWER, at=pool_of(hub).organisation)),
        hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("x", capabilities=["supplier"]))),
        hub.client(hub.user(hub=HubRole.CHECKER)),
    ]
    where = send(seller, hub, file("a,M,A100-80GB,0.01", "b,M,A100-80GB,0.001", "c,M,A100-80GB,0"))[
        "Location"
    ]
    count = {"en": "2 rows", "zh-hans": "2 行"}[language]
    for client in (operator, seller):
        today = page(client.get("/today/", headers=said))
        assert where in today and count in today
    assert all(where not in page(client.get("/today/", headers=said)) for client in others)
    for line in (2, 2, 3):
        body = {"line": str(line), "why": "a promotion, confirmed by letter"}
        assert operator.post(f"{where}release/", body).status_code == 302
    assert where not in page(operator.get("/today/", headers=said))
    assert where not in page(seller.get("/today/", headers=said))


def test_nobody_sees_anothers_file(hub: Hub, seller: Client) -> None:
    answer = send(seller, hub, file("a,Machine,A100-80GB,21.5"))
    other = compute.make_organisation("x", capabilities=["supplier"])
    stranger = hub.client(hub.user(role=Role.OWNER, at=other))
    assert stranger.get(answer["Location"]).status_code == 404
    assert stranger.post(f"{answer['Location']}decide/", {"do": "apply"}).status_code == 404
    assert send(stranger, hub, file("b,M,A100-80GB,21.5")).status_code == 422
    assert OfferImport.objects.count() == 1
    assert OfferImport.objects.get().state == "previewed"
