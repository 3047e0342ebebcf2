"""The doors of subsidies, by token."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client, override_settings
from django.urls import path
from ninja import NinjaAPI
from tests.platform.factories import bearer, make_founder
from tests.subsidies.factories import checker, make_voucher, maker, programme_text, released

from mosu.kernel.ids import typeid
from mosu.ledger.models import JournalEntry
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.problems import install
from mosu.subsidies.api import routers
from mosu.subsidies.models import Programme, ProgrammeVersion, Voucher

pytestmark = pytest.mark.django_db

api = NinjaAPI(urls_namespace="subsidies-tests", docs_url=None)
install(api)
for prefix, one in routers:
    api.add_router(prefix, one)
urlpatterns = [path("api/v1/", api.urls)]


@pytest.fixture(autouse=True)
def _these_urls() -> Any:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def get(actor: Any, address: str) -> Any:
    return Client().get(f"/api/v1/{address}", headers=bearer(actor))


def post(actor: Any, address: str, key: str = "", **body: Any) -> Any:
    headers = bearer(actor) | ({"Idempotency-Key": key} if key else {})
    return Client().post(f"/api/v1/{address}", json.dumps(body), "application/json", headers=headers)


def test_a_programme_goes_from_file_to_voucher_by_two_persons() -> None:
    first, second = maker(), checker()
    owner, organisation = make_founder()
    made = post(first, "programmes", text=programme_text(id="by-api", pool="500"))
    assert made.status_code == 201
    programme = made.json()
    assert (programme["in_force"], programme["drafts"][0]["pool"]) == (None, "500.00")
    assert get(owner, "programmes").json()["items"] == []
    assert get(owner, f"programmes/{programme['id']}").status_code == 404
    assert post(first, f"programmes/{programme['id']}/release").status_code == 403
    assert post(second, f"programmes/{programme['id']}/release").json()["in_force"]["state"] == "released"
    (seen,) = get(owner, "programmes").json()["items"]
    assert (seen["in_force"]["rate"], seen["drafts"]) == ("0.30", [])
    asked = {"programme_id": programme["id"], "organisation_id": organisation.public_id, "amount": "80.50"}
    assert post(first, "vouchers", **asked).status_code == 422  # sent twice it would be two
    issued = post(first, "vouchers", key="k", **asked)
    assert issued.status_code == 201
    assert post(first, "vouchers", key="k", **asked).json()["id"] == issued.json()["id"]
    assert (
        post(first, "vouchers", key="k", **(asked | {"amount": "80.51"})).json()["type"]
        == "urn:mosu:key_reused"
    )
    assert Voucher.objects.count() == 1
    address = f"vouchers/{issued.json()['id']}"
    assert post(first, f"{address}/release").status_code == 403
    assert post(second, f"{address}/release").status_code == 200
    voucher = get(owner, address).json()
    assert voucher["programme"] == {
        "id": programme["id"],
        "title": {"zh": "算力券", "en": "Compute voucher"},
        "version": 1,
    }
    kept = ("kind", "state", "amount", "remaining", "held", "currency", "rate", "cap_per_order", "shelves")
    assert [voucher[name] for name in kept] == [
        "compute_voucher",
        "released",
        "80.50",
        "80.50",
        "0.00",
        "CNY",
        "0.30",
        None,
        ["compute"],
    ]


def test_a_list_that_is_sent_twice_is_taken_once() -> None:
    first, version = maker(), released()
    owners = [make_founder() for _ in range(3)]
    text = "organisation,amount\n" + "".join(f"{organisation.public_id},5\n" for _, organisation in owners)
    asked = {"programme_id": version.programme.public_id, "text": text}
    assert post(first, "vouchers/batch", **asked).status_code == 422
    assert (
        post(first, "vouchers/batch", key="k", **(asked | {"text": f"{text}nobody,5\n"})).status_code == 422
    )
    made = post(first, "vouchers/batch", key="k", **asked)
    assert made.status_code == 201
    assert post(first, "vouchers/batch", key="k", **asked).json() == made.json()
    assert [one["organisation_id"] for one in made.json()] == [
        organisation.public_id for _, organisation in owners
    ]
    other = post(first, "vouchers/batch", key="k", **(asked | {"text": text.replace(",5", ",6")}))
    assert other.json()["type"] == "urn:mosu:key_reused"
    assert Voucher.objects.count() == 3
    post(first, "vouchers/batch", key="another", **asked)
    assert Voucher.objects.count() == 6


def test_a_bad_file_is_refused_with_its_line_and_field_and_changes_nothing() -> None:
    answer = post(maker(), "programmes", text=programme_text(rate="3"), source="bad.yaml")
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["type"], problem["file"], problem["field"], problem["found"]) == (
        "urn:mosu:programme_refused",
        "bad.yaml",
        "rate",
        "'3'",
    )
    assert isinstance(problem["line"], int)
    assert (Programme.objects.count(), ProgrammeVersion.objects.count()) == (0, 0)


def test_nobody_sees_or_takes_the_voucher_of_another_organisation() -> None:
    version = released()
    owner, organisation = make_founder()
    stranger, _ = make_founder()
    voucher = make_voucher(version, organisation.id)
    assert [one["id"] for one in get(owner, "vouchers").json()["items"]] == [voucher.public_id]
    assert get(stranger, "vouchers").json()["items"] == []
    assert get(stranger, f"vouchers/{voucher.public_id}").status_code == 404
    assert Client().get(f"/api/v1/vouchers/{voucher.public_id}").status_code == 401
    entries = JournalEntry.objects.count()
    assert post(owner, f"vouchers/{voucher.public_id}/revoke", why="mine").status_code == 403
    assert (
        post(maker(), f"vouchers/{voucher.public_id}/revoke", why="wrong firm").json()["state"] == "revoked"
    )
    assert JournalEntry.objects.count() == entries + 1


def test_an_application_is_decided_by_the_operator() -> None:
    version = released()
    owner, organisation = make_founder()
    asked = post(owner, "applications", programme_id=version.programme.public_id, amount="20")
    assert asked.status_code == 201
    assert asked.json()["organisation_id"] == organisation.public_id
    address = f"applications/{asked.json()['id']}"
    assert post(owner, f"{address}/approve").status_code == 403
    assert post(maker(), f"{address}/approve").json()["state"] == "issued"
    refused = post(maker(), f"{address}/reject", why="twice")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:mosu:illegal_move")
    (listed,) = get(owner, "applications").json()["items"]
    assert (listed["state"], listed["voucher_id"]) == ("approved", Voucher.objects.get().public_id)


def test_an_application_is_withdrawn_once_and_by_its_organisation() -> None:
    version = released()
    owner, _ = make_founder()
    asked = post(owner, "applications", programme_id=version.programme.public_id, amount="20").json()
    address = f"applications/{asked['id']}/withdraw"
    stranger, _ = make_founder()
    assert post(stranger, address, why="mine now").status_code == 404
    assert get(owner, "applications").json()["items"][0]["state"] == "submitted"
    taken = post(owner, address, why="we found another way")
    assert (taken.status_code, taken.json()["state"]) == (200, "withdrawn")
    assert post(maker(), f"applications/{asked['id']}/approve").status_code == 409


def test_a_claim_without_a_refund_is_refused() -> None:
    owner, _ = make_founder()
    order = typeid("order", uuid4())
    answer = post(owner, "claims", order_id=order, evidence=["ab" * 32])
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:mosu:nothing_to_claim")
    assert post(owner, "claims", order_id="order_x", evidence=["ab" * 32]).status_code == 404
    assert post(owner, "claims", order_id=order, evidence=["zz"]).status_code == 422
    assert get(owner, "claims").json() == {"items": [], "next": None}


def test_every_operation_names_its_action() -> None:
    views = [view for _, router in routers for view in router.path_operations.values()]
    operations = [operation for view in views for operation in view.operations]
    assert len(operations) == 20
    assert all(getattr(operation.view_func, ATTRIBUTE, "") for operation in operations)
