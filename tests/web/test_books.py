"""The auditor's books: who sees them, what they say, how often they ask."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from mosu.ledger.models import Account
from mosu.ledger.services import verify_and_alarm
from mosu.market.models import Order
from mosu.market.queries import samples_drawn
from mosu.market.services import recompute_charges
from mosu.platform.actors import HubRole
from mosu.platform.models import AuditRecord, Finding
from mosu.platform.services import record_audit
from mosu.subsidies.models import Redemption
from mosu.subsidies.queries import public_money
from mosu.web.deeds import deed_name
from mosu.web.templatetags.mosu import moved
from mosu.web.views import samples
from tests.web.conftest import Hub, page, queries
from tests.web.test_chain import AUDITOR, settled

LISTS = ("/books/", "/books/audit/", "/books/public/", "/books/samples/", "/books/findings/")


@pytest.fixture
def auditor(hub: Hub) -> Client:
    return hub.client(hub.user(hub=HubRole.AUDITOR))


@pytest.fixture
def operator(hub: Hub) -> Client:
    return hub.client(hub.user(hub=HubRole.OPERATOR))


def drawn(client: Client, *, seed: str = "dice 4 2 6") -> str:
    """The address of a sample over yesterday to tomorrow."""
    today = timezone.localdate()
    asked = {"seed": seed, "start": today - timedelta(days=1), "end": today + timedelta(days=1), "count": 10}
    response = client.post("/books/samples/", asked)
    assert response.status_code == 302, page(response)
    return str(response["Location"])


def test_the_books_are_the_hubs_peoples_alone_in_both_languages(hub: Hub, owner: Client) -> None:
    order = settled(hub)
    account = Account.objects.filter(kind="payable").get()
    paths = [*LISTS, f"/books/orders/{order.public_id}/", f"/books/accounts/{account.public_id}/"]
    for role in HubRole:
        staff = hub.client(hub.user(hub=role))
        for language in ("en", "zh-hans"):
            statuses = {
                path: staff.get(path, headers={"Accept-Language": language}).status_code for path in paths
            }
            assert set(statuses.values()) == {200}, statuses
    assert {owner.get(path).status_code for path in paths} == {403}
    assert {hub.client().get(path).status_code for path in paths} == {302}


def test_the_overview_says_what_was_recomputed_and_when(hub: Hub, auditor: Client) -> None:
    settled(hub)
    assert page(auditor.get("/books/")).count("not yet: it runs every night") == 2
    verify_and_alarm(now=hub.now)
    recompute_charges(now=hub.now + timedelta(hours=1))
    text = page(auditor.get("/books/"))
    assert "entries balanced" in text
    assert "1 orders of the last two days" in text
    assert "the books balance" in text
    assert "adds up" in text


def test_public_money_adds_up_from_pool_to_captured(hub: Hub) -> None:
    order = settled(hub)
    (money,) = public_money(AUDITOR)
    assert money.adds_up
    assert money.captured_micros == sum(one.amount_micros for one in _redemptions(order)) > 0
    assert (money.pool_micros, money.granted_micros, money.held_micros) == (1000_000_000, 100_000_000, 0)
    assert money.in_pool_micros == 900_000_000
    assert money.with_holders_micros == 100_000_000 - money.captured_micros


def _redemptions(order: Order) -> Any:
    return Redemption.objects.filter(order_id=order.id)


def test_a_sample_is_drawn_once_by_its_seed_and_stays_on_record(hub: Hub, auditor: Client) -> None:
    order = settled(hub)
    order_later = Order.objects.get(id=order.id)
    assert order_later.settled_at is not None
    early = drawn(auditor)
    assert "No order was settled in these days." in page(auditor.get(early))  # ten minutes in the future
    record = samples_drawn(AUDITOR).get()
    assert (record.facts["seed"], record.facts["orders"]) == ("dice 4 2 6", [])


def test_a_sample_shows_its_orders_and_their_checks(
    hub: Hub, auditor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = settled(hub)
    monkeypatch.setattr("mosu.web.views.samples.timezone.now", lambda: hub.now + timedelta(hours=1))
    address = drawn(auditor)
    assert order.number in page(auditor.get(address))
    assert samples_drawn(AUDITOR).get().facts["orders"] == [order.public_id]
    assert drawn(auditor) == address
    assert samples_drawn(AUDITOR).count() == 1
    head, *rows = csv.reader(io.StringIO(auditor.get(f"{address}checks.csv").content.decode("utf-8-sig")))
    assert head[1] == "Number"
    assert {row[1] for row in rows} == {order.number}
    assert len(rows) > 30
    assert {row[6] for row in rows} == {"holds", "cannot be checked here"}


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_the_days_of_a_sample_are_filled_in_as_browsers_read_them(auditor: Client, language: str) -> None:
    text = page(auditor.get("/books/samples/", headers={"accept-language": language}))
    assert f'value="{timezone.localdate():%Y-%m-%d}"' in text  # a date field shows nothing of 2026年11月22日


def test_a_sample_of_nothing_is_refused_beside_the_form(hub: Hub, auditor: Client) -> None:
    later = timezone.localdate() + timedelta(days=40)
    response = auditor.post("/books/samples/", {"seed": "x", "start": later, "end": later, "count": 5})
    assert response.status_code == 200
    assert 'value="x"' in page(response)
    assert "nothing lies between" in page(response)
    assert not samples_drawn(AUDITOR).exists()


def test_the_chain_names_every_link_and_a_tampered_one(hub: Hub, auditor: Client) -> None:
    order = settled(hub)
    text = page(auditor.get(f"/books/orders/{order.public_id}/"))
    assert "checks hold, none fails." in text
    assert text.count('<li class="holds" id="') == 10
    assert "kind: compute_voucher" in text  # the policy, word for word
    quote = order.quote
    tampered = {**quote.lines[0], "unit_price_micros": quote.lines[0]["unit_price_micros"] + 1}
    honest = samples.evidence_of

    def dishonest(*args: Any) -> Any:
        evidence = honest(*args)
        evidence.quote.lines = [tampered]
        return evidence

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "evidence_of", dishonest)
        text = page(auditor.get(f"/books/orders/{order.public_id}/"))
    assert "checks fail." in text
    assert "unit_price_micros" in text


def test_the_audit_trail_is_searched_by_who_what_of_what_and_when(hub: Hub, auditor: Client) -> None:
    order = settled(hub)
    today = timezone.localdate()

    def found(**asked: Any) -> int:
        return page(auditor.get("/books/audit/", asked)).count('class="is-time')

    assert found(subject=order.public_id) == found(subject=order.number) == found(subject=str(order.id)) == 3
    assert found(subject=order.public_id, action="order.settled") == 1
    assert (
        found(subject="nonsense")
        == found(subject="order_x")
        == found(**{"from": "no day"})
        == found(to="9999-12-31")
        == 0
    )
    assert found(organisation=hub.world.buyer.name[:20], action="order.") == 3
    assert found(organisation=hub.world.buyer.public_id, action="order.") == 3
    assert found(who="nobody@") == 0
    assert (
        found(subject=order.public_id, **{"from": today - timedelta(days=1), "to": today + timedelta(days=1)})
        == 3
    )
    assert found(subject=order.public_id, to=today - timedelta(days=2)) == 0


@pytest.mark.parametrize(
    ("action", "before", "after", "said"),
    [
        ("import.applied", "applying", "applied", ("正在生效", "已生效")),
        ("admission.admitted", "asked", "admitted", ("待运营方处理", "已通过")),
        ("application.rejected", "submitted", "rejected", ("审批中", "未通过")),
        ("claim.approved", "submitted", "approved", ("审核中", "已审核，待复核拨付")),
        ("order.settled", "active", "settled", ("进行中", "已结算")),
        ("organisation.admit", "data_provider", "supplier", ("数据提供方", "算力供应商")),
    ],
)
def test_the_audit_trail_names_states_in_the_words_of_their_subject(
    hub: Hub, auditor: Client, action: str, before: str, after: str, said: tuple[str, str]
) -> None:
    record_audit(
        actor=AUDITOR, action=action, subject_id=hub.world.buyer.id, before=before, after=after, now=hub.now
    )
    asked = {"subject": str(hub.world.buyer.id), "action": action}
    shown = page(auditor.get("/books/audit/", asked, headers={"accept-language": "zh-hans"}))
    [row] = re.findall(r"<tr>.*?</tr>", shown.partition("<tbody")[2], re.S)
    assert all(f">{one}<" in row for one in (*said, action))
    with translation.override("zh-hans"):
        assert deed_name(action) in row
        assert moved(AuditRecord(action=action, before=before, after=after)) == " → ".join(said)
        assert moved(AuditRecord(action=action, after=after)) == f"– → {said[1]}"


def test_an_account_is_recomputed_on_demand(hub: Hub, auditor: Client) -> None:
    settled(hub)
    account = Account.objects.filter(kind="balance", owner_id=hub.world.buyer.id).get()
    path = f"/books/accounts/{account.public_id}/"
    assert "recomputed:" not in page(auditor.get(path))
    assert "recomputed: hash" in page(auditor.get(f"{path}?verify=1"))


def test_a_finding_is_opened_from_its_subject_answered_by_another_and_closed(
    hub: Hub, auditor: Client, operator: Client
) -> None:
    order = settled(hub)
    chain = page(auditor.get(f"/books/orders/{order.public_id}/"))
    opening = f"/books/findings/new/?subject={order.public_id}"
    assert opening in chain
    assert opening not in page(operator.get(f"/books/orders/{order.public_id}/"))
    assert order.public_id in page(auditor.get(opening))
    given = {"subject": order.public_id, "title": "Too cheap", "text": "Half of the list price."}
    assert operator.post("/books/findings/new/", given).status_code == 403
    assert not Finding.objects.exists()
    path = auditor.post("/books/findings/new/", given)["Location"]
    assert "Too cheap" in page(operator.get(f"/books/orders/{order.public_id}/"))
    assert auditor.post(path, {"step": "answer", "text": "Fine."}).status_code == 403
    assert Finding.objects.get().state == "open"
    assert operator.post(path, {"step": "answer", "text": "A private offer."}).status_code == 302
    assert operator.post(path, {"step": "close", "text": "Done."}).status_code == 403
    assert auditor.post(path, {"step": "reopen", "text": "Whose?"}).status_code == 302
    assert "overdue" in page(auditor.get("/books/findings/"))
    assert auditor.post(path, {"step": "close", "text": "Seen."}).status_code == 302
    text = page(auditor.get(path))
    assert [text.count(said) for said in ("A private offer.", "Whose?", "Seen.")] == [2, 1, 1]
    assert AuditRecord.objects.filter(action__startswith="finding.").count() == 4


def test_what_is_typed_wrongly_stays_typed(hub: Hub, auditor: Client) -> None:
    response = auditor.post(
        "/books/findings/new/", {"subject": "order_1", "title": " ", "text": "kept words"}
    )
    assert response.status_code == 422
    assert "kept words" in page(response)
    assert not Finding.objects.exists()


def test_each_page_asks_as_often_for_many_rows_as_for_few(hub: Hub, auditor: Client) -> None:
    order = settled(hub)
    chain = f"/books/orders/{order.public_id}/"
    account = f"/books/accounts/{Account.objects.filter(kind='payable').get().public_id}/"
    before = {path: queries(auditor, path) for path in (*LISTS, account)}
    for _ in range(3):
        settled(hub)
    after = {path: queries(auditor, path) for path in (*LISTS, account)}
    assert after == before
    assert max(after.values()) <= 12, after
    assert queries(auditor, chain) <= 37
