"""The counter over HTTP: shapes, refusals as problems, nobody sees another's."""

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from tests.market.conftest import YUAN, World, figures, make_organisation, rows_now
from tests.market.vouchers import give_voucher

from mosu.kernel.ids import typeid, uuid7
from mosu.market import services
from mosu.market.models import OfferImport, Order, Outcome, Quote
from mosu.market.shelves import UsageIn
from mosu.platform.actors import ALL_SCOPES, Role, Scope
from mosu.platform.models import ApiToken, Membership, Organisation, User
from mosu.store.services import put_file

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.market.urls")]


def token_of(organisation: Organisation, role: Role, scopes: frozenset[Scope] = ALL_SCOPES) -> dict[str, str]:
    """The headers of a new member of the organisation."""
    now, secret = datetime.now(UTC), f"mosu_{uuid7().hex}"
    user = User.objects.create_user(email=f"{uuid7().hex}@example.org")
    Membership.objects.create(organisation=organisation, user=user, role=role, created_at=now)
    ApiToken.objects.create(
        user=user,
        name="test",
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=sorted(scopes),
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    return {"Authorization": f"Bearer {secret}"}


def fresh_quote(world: World, **plan: Any) -> Quote:
    """A quote that is valid by the wall clock, which the API reads."""
    return world.quotes(world.plan(world.offer(), **plan), now=datetime.now(UTC))[0]


def place(client: Client, headers: dict[str, str], quote: Quote, *, key: str = "k1") -> Any:
    return client.post(
        "/api/v1/orders",
        data={"quote_id": quote.public_id},
        content_type="application/json",
        headers={**headers, "Idempotency-Key": key},
    )


def settled(world: World) -> Order:
    now = datetime.now(UTC)
    order = services.accept_quote(
        actor=world.actor, quote_id=fresh_quote(world).id, idempotency_key=uuid7().hex, now=now
    )
    usage = UsageIn(order.id, "core_second", 0, 5000, start=now, end=now + timedelta(seconds=1250))
    services.record_usage(records=[usage], now=now)
    services.settle_order(order_id=order.id, ended_at=now, outcome=Outcome.SUCCEEDED, now=now)
    return order


def test_a_quote_becomes_an_order_once(world: World, client: Client) -> None:
    give_voucher(world, now=datetime.now(UTC))
    headers, quote = token_of(world.buyer, Role.DEVELOPER), fresh_quote(world)
    shown = client.get(f"/api/v1/quotes/{quote.public_id}", headers=headers).json()
    assert (shown["state"], shown["total_max"], shown["pay_now"]) == ("open", "14.40", "8.64")
    assert shown["voucher_now"] == "5.76"
    assert [share["source"] for share in shown["split"]] == ["voucher", "balance"]
    first, second = place(client, headers, quote), place(client, headers, quote)
    assert (first.status_code, second.status_code) == (201, 201)
    body = first.json()
    assert second.json() == body
    assert body["quote_id"] == quote.public_id
    assert body["run_id"].startswith("run_")
    assert (body["state"], body["total"], body["total_max"]) == ("placed", None, "14.40")
    assert body["lines"][0] == shown["lines"][0]
    listed = client.get("/api/v1/orders?state=placed", headers=headers).json()
    assert listed == {"items": [body], "next": None}
    assert client.get(f"/api/v1/orders/{body['id']}", headers=headers).json() == body


def test_a_key_that_bought_one_quote_buys_no_other(world: World, client: Client) -> None:
    headers, first, other = token_of(world.buyer, Role.DEVELOPER), fresh_quote(world), fresh_quote(world)
    bought = place(client, headers, first)
    assert bought.status_code == 201
    before = rows_now()
    refused = place(client, headers, other)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:mosu:key_reused")
    assert rows_now() == before
    assert place(client, headers, first).json() == bought.json()
    assert place(client, headers, other, key="k2").status_code == 201


def test_an_order_needs_a_key_and_the_scope(world: World, client: Client) -> None:
    quote = fresh_quote(world)
    headers = token_of(world.buyer, Role.DEVELOPER)
    reader = token_of(world.buyer, Role.OWNER, frozenset({Scope.READ}))
    before = rows_now()
    missing = place(client, headers, quote, key="")
    assert (missing.status_code, missing.json()["field"]) == (422, "Idempotency-Key")
    assert place(client, reader, quote).status_code == 403
    assert place(client, {}, quote).status_code == 401
    assert rows_now() == before


def test_a_lapsed_quote_is_refused_as_a_problem(world: World, client: Client) -> None:
    quote = world.quote()  # of the tests' past
    headers = token_of(world.buyer, Role.DEVELOPER)
    assert client.get(f"/api/v1/quotes/{quote.public_id}", headers=headers).json()["state"] == "expired"
    answer = place(client, headers, quote)
    assert answer.status_code == 409
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:mosu:quote_expired"


def test_nobody_sees_what_is_anothers(world: World, client: Client) -> None:
    quote, order = fresh_quote(world), settled(world)
    stranger = token_of(make_organisation("Stranger"), Role.OWNER)
    receipt = order.receipt
    for path in (
        f"quotes/{quote.public_id}",
        f"orders/{order.public_id}",
        f"receipts/{receipt.public_id}",
    ):
        assert client.get(f"/api/v1/{path}", headers=stranger).status_code == 404
    assert place(client, stranger, quote).status_code == 404
    assert client.post(f"/api/v1/orders/{order.public_id}/cancel", headers=stranger).status_code == 404
    for path in ("orders", "receipts"):
        assert client.get(f"/api/v1/{path}", headers=stranger).json() == {"items": [], "next": None}


def test_a_receipt_adds_up_and_can_be_checked_by_whoever_holds_it(world: World, client: Client) -> None:
    give_voucher(world, now=datetime.now(UTC))
    order = settled(world)
    headers = token_of(world.buyer, Role.VIEWER)
    (receipt,) = client.get("/api/v1/receipts", headers=headers).json()["items"]
    assert (receipt["total"], receipt["voucher_share"], receipt["paid"]) == ("5.00", "2.00", "3.00")
    assert receipt["order_id"] == order.public_id
    assert client.get(f"/api/v1/receipts/{receipt['id']}", headers=headers).json() == receipt
    path = receipt["verify_url"].split("/verify/")[1].rstrip("/")
    checked = client.get(f"/api/v1/verify/{path}")
    assert checked.json()["sha256"] == receipt["sha256"]
    assert set(checked.json()) == {
        "number", "issued_at", "currency", "total", "voucher_share", "paid", "sha256"
    }  # fmt: skip
    assert client.get(f"/api/v1/verify/{receipt['number']}/{'0' * 16}").status_code == 404
    assert client.get("/api/v1/verify/R-2026-999999/0").status_code == 404


def test_an_order_can_be_cancelled(world: World, client: Client) -> None:
    headers = token_of(world.buyer, Role.DEVELOPER)
    order = place(client, headers, fresh_quote(world)).json()
    answer = client.post(f"/api/v1/orders/{order['id']}/cancel", headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert figures("balance", world.buyer.id) == (100 * YUAN, 0)


# offers


def test_anyone_may_look_at_the_shelf(world: World, client: Client) -> None:
    offer = world.offer()
    (shown,) = client.get("/api/v1/offers?shelf=desk").json()["items"]
    assert shown == {
        "id": offer.public_id,
        "shelf": "desk",
        "title": {"zh": "测试核时", "en": "Test cores"},
        "supplier": {"id": world.supplier.public_id, "name": world.supplier.name},
        "accelerator": None,
        "region": "shanghai",
        "mode": None,
        "currency": "CNY",
        "prices": [{"meter": "core_second", "unit": "core_hour", "unit_price": "3.60", "list_price": None}],
        "tier": None,
        "told": None,
        "tax": {"included": True, "rate": "0.06"},
        "sold_by": "hub",
        "limits": {"min_units": 1, "max_units": 64, "wall_s_max": 86_400},
        "stock": {"free": 3, "reserved": 1, "taken": 0, "total": 4},
        "live": True,
        "why_not_live": None,
        "delivered_90_days": None,
        "buyer_organisation_id": None,
        "block": None,
    }
    assert client.get(f"/api/v1/offers/{offer.public_id}").json() == shown


def test_offers_are_filtered_sorted_and_paged(world: World, client: Client) -> None:
    prices = ["5", "2", "4", "1", "3"]
    for price in prices:
        card = {"view": f"card-{price}", "region": "shanghai", "dead": price == "1"}
        world.offer(price=price, title_en=f"Card-{price}", attributes=card)

    def ask(query: str) -> list[str]:
        found = client.get(f"/api/v1/offers?{query}").json()["items"]
        return [item["title"]["en"][-1] for item in found]

    assert ask("shelf=desk") == ["1", "2", "3", "4", "5"]
    assert ask("sort=-price") == ["5", "4", "3", "2", "1"]
    assert ask("live=true") == ["2", "3", "4", "5"]
    assert ask("live=false") == ["1"]
    assert ask("view=card-4&view=card-2") == ["2", "4"]
    assert ask("shelf=desk&accelerator=card-4") == []
    assert ask("region=beijing") == []
    assert ask("shelf=elsewhere") == []
    assert ask("text=card-4") == ["4"]
    assert ask(f"supplier={world.supplier.public_id}&limit=2") == ["1", "2"]
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/api/v1/offers?limit=2&cursor={cursor}").json()
        seen += [item["title"]["en"][-1] for item in page["items"]]
        cursor = page["next"]
    assert seen == ["1", "2", "3", "4", "5"]


def test_the_list_asks_as_much_for_many_offers_as_for_one(
    world: World, client: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    world.offer()
    for many in (0, 20):
        for _ in range(many):
            world.offer()
        world.shelf.calls.clear()
        with django_assert_num_queries(
            6
        ):  # what changed; all with their prices, as this transaction sees them; the page
            client.get("/api/v1/offers?shelf=desk&live=true")
        assert world.shelf.calls == ["standings"]


def test_orders_and_receipts_ask_as_much_for_many_as_for_one(
    world: World, client: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    headers = token_of(world.buyer, Role.VIEWER)
    for many in (1, 3):
        for _ in range(many):
            settled(world)
        client.get("/api/v1/orders", headers=headers)  # the token's first use is noted
        for path in ("orders", "receipts"):
            with django_assert_num_queries(2):  # token with roles, page
                client.get(f"/api/v1/{path}", headers=headers)


def test_one_quote_takes_two_statements(
    world: World, client: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    headers, path = token_of(world.buyer, Role.VIEWER), f"/api/v1/quotes/{fresh_quote(world).public_id}"
    client.get(path, headers=headers)  # the token's first use is noted
    with django_assert_num_queries(2):  # token with roles, row
        assert client.get(path, headers=headers).status_code == 200


def offer_body(**change: Any) -> dict[str, Any]:
    return {
        "shelf": "desk",
        "subject_id": typeid("pool", uuid7()),
        "title": {"zh": "新核时", "en": "New cores"},
        "region": "shanghai",
        "prices": [{"meter": "core_second", "unit": "core_hour", "unit_price": "0.08"}],
        "max_units": 8,
        "wall_s_max": 3600,
        **change,
    }


def test_a_supplier_lists_prices_and_delists(world: World, client: Client) -> None:
    headers = token_of(world.supplier, Role.ADMIN)
    json = {"content_type": "application/json", "headers": headers}
    offer = client.post("/api/v1/offers", data=offer_body(), **json)
    assert (offer.status_code, offer.json()["prices"][0]["unit_price"]) == (201, "0.08")
    path = f"/api/v1/offers/{offer.json()['id']}"
    price = {"meter": "core_second", "unit": "core_hour", "unit_price": "0.09"}
    assert client.patch(f"{path}/price", data=price, **json).json()["prices"][0]["unit_price"] == "0.09"
    assert client.post(f"{path}/delist", **json).json()["why_not_live"] == "It is off the shelf."
    assert client.get("/api/v1/offers").json()["items"] == []
    assert client.get(path).status_code == 404
    assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"prices": [{"meter": "core_second", "unit": "core_hour", "unit_price": "free"}]},
        {"prices": [{"meter": "core_second", "unit": "core_hour", "unit_price": "-1"}]},
        {"prices": [{"meter": "core_second", "unit": "core_hour", "unit_price": "9999999999999"}]},
        {"title": {"zh": "\x00", "en": "x"}},
        {"max_units": 10**12},
        {"min_units": 9},
        {"shelf": "nowhere"},
        {"subject_id": "nonsense"},
        {"supplier_id": "org_nonsense"},
    ],
)
def test_a_bad_offer_is_refused(world: World, client: Client, change: dict[str, Any]) -> None:
    headers = token_of(world.supplier, Role.ADMIN)
    before = rows_now()
    answer = client.post(
        "/api/v1/offers", data=offer_body(**change), content_type="application/json", headers=headers
    )
    assert answer.status_code in (404, 422)
    assert rows_now() == before


def test_bills_are_ones_own_and_add_up(world: World, client: Client) -> None:
    settled(world)
    own = token_of(world.buyer, Role.FINANCE)
    (month,) = client.get("/api/v1/bills", headers=own).json()["items"]
    assert month["receipts"] == 1
    path = f"/api/v1/bills/{month['month']}"
    bill = client.get(path, headers=own).json()
    for key in ("total", "voucher_share", "paid"):
        assert bill[key] == month[key]
    assert Decimal(bill["total"]) == Decimal(bill["voucher_share"]) + Decimal(bill["paid"]) > 0
    assert sum(Decimal(one["amount"]) for one in bill["suppliers"]) == Decimal(bill["total"])
    other = token_of(make_organisation("Other"), Role.OWNER)
    assert client.get("/api/v1/bills", headers=other).json()["items"] == []
    named = f"{path}?organisation_id={world.buyer.public_id}"
    assert client.get(named, headers=other).status_code == 404
    assert client.get(named, headers=own).json() == bill
    assert client.get("/api/v1/bills/March", headers=own).status_code == 422


def test_terms_are_read_and_changed_by_who_manages_them(world: World) -> None:
    offer = world.offer(price="3.6")
    seller = token_of(world.supplier, Role.OWNER)
    path = f"/api/v1/offers/{offer.public_id}/terms"

    def change(headers: dict[str, str], **body: Any) -> Any:
        return Client().patch(path, body, content_type="application/json", headers=headers)

    seen = Client().get(path, headers=seller).json()
    assert seen["prices"][0]["currency"] == "CNY"
    buyer = token_of(world.buyer, Role.OWNER)
    assert Client().get(path, headers=buyer).status_code == 403
    assert change(buyer, revision=seen["revision"], max_units=2).status_code == 403
    dear = [{"meter": "core_second", "unit_price": "400"}]
    doubted = change(seller, revision=seen["revision"], prices=dear)
    assert (doubted.status_code, doubted.json()["type"]) == (409, "urn:mosu:price_doubted")
    assert Client().get(path, headers=seller).json() == seen
    changed = change(seller, revision=seen["revision"], prices=dear, max_units=2, confirmed=True)
    assert changed.status_code == 200, changed.content
    assert changed.json()["limits"]["max_units"] == 2
    assert changed.json()["prices"][0]["unit_price"] == "400.00"
    stale = change(seller, revision=seen["revision"], max_units=3)
    assert (stale.status_code, stale.json()["type"]) == (409, "urn:mosu:offer_changed")
    assert Client().get(path, headers=seller).json() == changed.json()


def test_a_file_of_offers_is_carried_on_by_the_hub(
    world: World, client: Client, settings: Any, tmp_path: Any
) -> None:
    settings.DATA_DIR = tmp_path
    headers = token_of(world.supplier, Role.ADMIN)
    supplier = {"supplier_id": world.supplier.public_id, "shelf": "desk"}

    def call(method: str, path: str, **body: Any) -> tuple[int, Any]:
        answer = client.generic(
            method, f"/api/v1/offer-imports{path}", json.dumps(body), "application/json", headers=headers
        )
        return answer.status_code, answer.json()

    def send(text: bytes) -> tuple[int, Any]:
        kept = put_file(
            file=io.BytesIO(text),
            size_bytes_max=999,
            now=datetime.now(UTC),
            organisation_id=world.supplier.id,
        )
        return call("POST", "", file={"name": "list.csv", "sha256": kept.sha256}, **supplier)

    def carried_on(made: dict[str, Any]) -> dict[str, Any]:
        services.carry_on_import(import_id=OfferImport.key_of(made["id"]), now=datetime.now(UTC))
        found: dict[str, Any] = call("GET", f"/{made['id']}")[1]
        return found

    status, made = send(b"key,price\na,20\n")
    assert (status, made["state"], made["percent"], made["refusal"]) == (201, "reading", 0, None)
    assert call("POST", f"/{made['id']}/apply")[0] == 409, "it was not read yet"
    assert carried_on(made)["counts"]["new"] == 1
    assert call("POST", f"/{made['id']}/apply")[1]["state"] == "applying"
    assert carried_on(made)["state"] == "applied"
    assert call("POST", f"/{made['id']}/undo", why="")[0] == 422
    assert call("POST", f"/{made['id']}/undo", why="the wrong file")[1]["state"] == "undoing"
    undone = carried_on(made)
    assert (undone["state"], undone["undone_at"] is not None) == ("undone", True)
    assert call("POST", f"/{made['id']}/undo", why="again")[1]["undone_at"] == undone["undone_at"]

    refused = carried_on(send(b"key,price\na,much\n")[1])
    assert (refused["state"], refused["refusal"]["code"]) == ("refused", "offers_refused")
    place = refused["refusal"]["problems"][0]
    assert (place["line"], place["field"], place["found"]) == (2, "price", "much")
    assert place["allowed"]
    viewer = token_of(world.supplier, Role.VIEWER)
    assert client.get(f"/api/v1/offer-imports/{made['id']}", headers=viewer).status_code in (403, 404)
