"""Credit notes and papers in the browser: proposed by one, decided by another, read by whose they are."""

import pytest
from django.test import Client

from mosu.market.models import CreditNote, Receipt
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import User
from mosu.platform.services import record_audit
from tests.compute import world as compute
from tests.web.conftest import Hub, page, queries
from tests.web.test_closing import closed
from tests.web.test_sales import seller, sold

__all__ = ["seller"]
BOTH = ("en", "zh-hans")


def noted(hub: Hub, *, maker: User, why: str = "Metered twice.") -> CreditNote:
    """Proposed around the service: the hub's month still runs, and only a closed month's receipts are corrected."""
    receipt = Receipt.objects.latest("issued_at")
    note = CreditNote.objects.create(
        receipt=receipt,
        organisation_id=receipt.organisation_id,
        supplier=compute.pool_of(hub.world).organisation,
        amount_micros=50_000,
        currency="CNY",
        borne_by="supplier",
        why=why,
        maker=maker,
        proposed_at=hub.now,
    )
    record_audit(
        actor=SYSTEM,
        action="credit_note.proposed",
        subject_id=note.id,
        before=None,
        after="proposed",
        now=hub.now,
        organisation_id=note.organisation_id,
    )
    return note


def test_a_receipt_of_an_open_month_is_refused_with_what_was_typed(hub: Hub) -> None:
    sold(hub)
    path = f"/receipts/{Receipt.objects.get().public_id}/credit/"
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert path in page(operator.get(path.replace("credit/", "")))
    assert operator.get(path).status_code == 200
    given = {"amount": "0.05", "borne_by": "hub", "why": "Metered twice."}
    answer = operator.post(path, given)
    assert answer.status_code == 409 and "Metered twice." in page(answer)
    assert operator.post(path, {**given, "amount": "much"}).status_code == 422
    for role in (HubRole.CHECKER, HubRole.AUDITOR):
        assert hub.client(hub.user(hub=role)).post(path, given).status_code == 403
    owner = hub.client(hub.user(role=Role.OWNER))
    assert owner.post(path, given).status_code == 403
    assert path not in page(owner.get(path.replace("credit/", "")))
    assert CreditNote.objects.count() == 0


@pytest.mark.parametrize("language", BOTH)
def test_the_second_person_decides_and_says_why_not(hub: Hub, language: str) -> None:
    said = {"Accept-Language": language}
    sold(hub)
    maker = hub.user(hub=HubRole.OPERATOR)
    note = noted(hub, maker=maker)
    path = f"/credit-notes/{note.public_id}/"
    checker, own = hub.client(hub.user(hub=HubRole.CHECKER)), hub.client(maker)
    assert f"{path}issue/" in page(checker.get(path, headers=said))
    assert f"{path}issue/" not in page(own.get(path, headers=said))
    for verb in ("issue/", "reject/"):
        assert own.post(path + verb, {"why": "x"}).status_code == 403
    assert checker.post(path + "reject/", {"why": ""}).status_code == 422
    assert CreditNote.objects.get().state == "proposed"
    assert checker.post(path + "reject/", {"why": "Rightly metered."}).status_code == 302
    assert CreditNote.objects.get().state == "rejected"
    assert "Rightly metered." in page(checker.get(path, headers=said))
    assert f"{path}reject/" not in page(checker.get(path, headers=said))


@pytest.mark.parametrize("language", BOTH)
def test_each_reads_its_own_notes(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    buyer = hub.client(hub.user(role=Role.OWNER))
    assert buyer.get("/credit-notes/", headers=said).status_code == 200
    sold(hub)
    note = noted(hub, maker=hub.user(hub=HubRole.OPERATOR))
    path = f"/credit-notes/{note.public_id}/"
    assert note.public_id in page(buyer.get("/credit-notes/", headers=said))
    assert "¥0.05" in page(buyer.get(path, headers=said))
    assert note.public_id not in page(seller.get("/credit-notes/", headers=said))
    assert seller.get(path, headers=said).status_code == 404
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("stranger")))
    assert stranger.get(path).status_code == 404
    assert note.public_id in page(
        hub.client(hub.user(hub=HubRole.AUDITOR)).get("/credit-notes/?state=proposed", headers=said)
    )


def test_the_list_asks_as_often_for_many_as_for_one(hub: Hub) -> None:
    maker, owner = hub.user(hub=HubRole.OPERATOR), hub.client(hub.user(role=Role.OWNER))
    sold(hub)
    noted(hub, maker=maker)
    before = queries(owner, "/credit-notes/")
    for _ in range(3):
        sold(hub)
        noted(hub, maker=maker)
    assert queries(owner, "/credit-notes/") == before


@pytest.mark.parametrize("language", BOTH)
def test_papers_are_saved_from_their_pages(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    statement = closed(hub)
    receipt, owner = Receipt.objects.get(), hub.client(hub.user(role=Role.OWNER))
    path = f"/receipts/{receipt.public_id}/pdf/"
    assert path in page(owner.get(f"/receipts/{receipt.public_id}/"))
    answer = owner.get(path, headers=said)
    assert (answer["Content-Type"], answer.content[:5]) == ("application/pdf", b"%PDF-")
    assert seller.get(path).status_code == 404
    month = f"{receipt.issued_at:%Y-%m}"
    open_month = owner.get(f"/bills/{month}/pdf/", headers=said)
    assert open_month.status_code == 409
    assert f"/bills/{month}/pdf/" not in page(owner.get(f"/bills/{month}/", headers=said))
    assert f"/statements/{statement.public_id}/pdf/" in page(
        seller.get(f"/statements/{statement.public_id}/")
    )
    assert owner.get(f"/statements/{statement.public_id}/pdf/").status_code == 404
