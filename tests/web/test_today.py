"""Today: whose turn it is, due when."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Attempt, Pool
from mosu.compute.services import create_pool, expire_leases
from mosu.ledger.services import confirm_payout, propose_deposit
from mosu.market.models import CreditNote
from mosu.market.services import pay_statement
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import HubMembership, User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import open_finding, post_mail, record_audit, record_fact
from mosu.subsidies import services as subsidies
from tests.compute import world as compute
from tests.subsidies.factories import YUAN, make_voucher, programme_text, released
from tests.web.conftest import Hub, queries
from tests.web.residents import deposit, programme
from tests.web.test_closing import closed


def text_of(client: Client, path: str = "/today/", **headers: str) -> str:
    response = client.get(path, headers=headers)
    assert response.status_code == 200
    return str(response.content.decode())


def group(text: str, turn: str) -> str:
    """The markup of one group; empty if it is not there."""
    _, _, rest = text.partition(f'<section class="waits {turn}"')
    return rest.partition("</section>")[0]


def staff(hub: Hub, role: HubRole) -> tuple[User, Any, Client]:
    user = hub.user(hub=role)
    return user, actor_for_user(user), hub.client(user)


def test_one_comes_here_after_the_sign_in(settings: Any) -> None:
    assert settings.LOGIN_REDIRECT_URL == "/today/"


def test_a_newcomer_sees_three_steps_and_nothing_else(hub: Hub) -> None:
    client = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("new")))
    text = text_of(client)
    assert "To your first receipt" in text
    assert (
        text.count('<li class="later"') + text.count('<li class="now"') + text.count('<li class="done"') == 3
    )
    assert "Start a first run" in text
    assert "Nothing waits on you" not in text


def test_a_new_supplier_is_led_to_a_pool_and_an_offer_not_to_a_run(hub: Hub) -> None:
    fresh = compute.make_organisation("newsupplier", capabilities=["supplier"])
    text = text_of(hub.client(hub.user(role=Role.OWNER, at=fresh)))
    assert "To your first offer" in text and "To your first receipt" not in text
    assert re.search(r'<a class="go" href="/pools/new/">', text)
    seller = hub.user(role=Role.OWNER, at=compute.pool_of(hub.world).organisation)
    assert "To your first offer" not in text_of(hub.client(seller))
    create_pool(actor=SYSTEM, organisation_id=fresh.id, name="hall", region="here", now=hub.now)
    text = text_of(hub.client(hub.user(role=Role.OWNER, at=fresh)))
    assert re.search(r'<a class="go" href="/my-offers/new/">', text)


def test_an_operator_of_an_empty_hub_is_led_through_its_opening(hub: Hub) -> None:
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    # The hub of these tests has a supplier, but no programme and no deposit that somebody entered.
    text = text_of(operator)
    assert "To an open hub" in text
    assert re.search(r'<a class="go" href="/desk/programmes/new/">', text)
    programme(hub)
    assert re.search(r'<a class="go" href="/desk/deposits/new/">', text_of(operator))
    deposit(hub, "ICBC-opening")
    assert "To an open hub" not in text_of(operator)
    for role in (HubRole.CHECKER, HubRole.AUDITOR):
        assert "To an open hub" not in text_of(hub.client(hub.user(hub=role)))


def test_who_is_nobody_yet_is_told_what_to_do(hub: Hub) -> None:
    text = text_of(hub.client(hub.user()))
    assert "Nothing waits on you" in text
    assert "Found an organisation" in text


def test_a_resident_sees_the_run_with_its_end_and_the_receipt_of_today(hub: Hub, owner: Client) -> None:
    hub.settled()
    compute.started(hub.world, now=hub.now)
    text = text_of(owner)
    under_way = group(text, "under_way")
    assert "ends by" in under_way
    assert "<progress" in under_way
    assert "/receipts/receipt_" in group(text, "done")
    assert "To your first receipt" not in text


def test_another_organisation_sees_none_of_it(hub: Hub) -> None:
    hub.settled()
    compute.started(hub.world, now=hub.now)
    compute.quote(hub.world, compute.task_of(), now=hub.now)
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("other")))
    text = text_of(stranger)
    assert "waits under_way" not in text
    assert "waits done" not in text
    assert "waits yours" not in text


def test_quotes_and_vouchers_are_shown_before_they_lapse(hub: Hub, owner: Client) -> None:
    compute.quote(hub.world, compute.task_of(), now=hub.now)
    programme = released(now=hub.now - timedelta(days=25), more="valid_to: 2999-12-31")
    make_voucher(programme, hub.world.buyer.id, now=hub.now)
    yours = group(text_of(owner), "yours")
    assert "Quote that expires" in yours
    assert "Voucher that lapses" not in yours  # of thirty days, the first is none to be alarmed at
    make_voucher(programme, hub.world.buyer.id, now=hub.now - timedelta(days=25))
    yours = group(text_of(owner), "yours")
    assert yours.count("Voucher that lapses") == 1
    assert 'class="soon"' in yours  # the quote, in minutes; the voucher has its thirty days


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_what_an_operator_made_is_the_checkers_and_only_waits_for_the_maker(hub: Hub, language: str) -> None:
    _, operator, operators = staff(hub, HubRole.OPERATOR)
    _, _, checkers = staff(hub, HubRole.CHECKER)
    propose_deposit(
        actor=operator,
        organisation_id=hub.world.buyer.id,
        amount_micros=5 * YUAN,
        bank_reference="ICBC-77",
        now=hub.now,
    )
    subsidies.propose_programme(actor=operator, text=programme_text(), now=hub.now)
    version = released(now=hub.now)
    subsidies.issue_voucher(
        actor=operator,
        organisation_id=hub.world.buyer.id,
        programme_id=version.programme_id,
        amount_micros=7 * YUAN,
        now=hub.now,
    )
    headers = {"Accept-Language": language}
    mine, theirs = text_of(checkers, **headers), text_of(operators, **headers)
    for href in ("/desk/deposits/deposit_", "/desk/programmes/programme_", "/desk/vouchers/voucher_"):
        assert href in group(mine, "yours")
        assert href in group(theirs, "others")
        assert href not in group(theirs, "yours")
    assert "ICBC-77" in mine


def test_who_is_maker_and_checker_is_not_asked_to_confirm_their_own(hub: Hub) -> None:
    user = hub.user(hub=HubRole.OPERATOR)
    HubMembership.objects.create(user=user, role=HubRole.CHECKER, created_at=hub.now)
    propose_deposit(
        actor=actor_for_user(user),
        organisation_id=hub.world.buyer.id,
        amount_micros=5 * YUAN,
        bank_reference="own",
        now=hub.now,
    )
    text = text_of(hub.client(user))
    assert "/desk/deposits/" not in group(text, "yours")
    assert "/desk/deposits/" in group(text, "others")


def test_an_operator_sees_what_comes_in(hub: Hub) -> None:
    _, _, operators = staff(hub, HubRole.OPERATOR)
    _, auditor, auditors = staff(hub, HubRole.AUDITOR)
    owner = hub.user(role=Role.OWNER)
    record_fact(
        actor=actor_for_user(owner),
        organisation_id=hub.world.buyer.id,
        name="employees",
        value=12,
        source="payroll",
        now=hub.now,
    )
    post_mail(
        email="new@example.org",
        title={"zh": "信", "en": "letter"},
        body={"zh": "信", "en": "letter"},
        secret_link="https://hub.example/k",
        now=hub.now,
    )
    open_finding(actor=auditor, subject="order_x", title="Odd order", text="Why?", now=hub.now)
    _, attempt = compute.started(hub.world, now=hub.now, wall="1h")
    expire_leases(now=hub.now + timedelta(minutes=5))
    assert Attempt.objects.get(id=attempt.id).state == "unreachable"
    yours = group(text_of(operators), "yours")
    for kind in (
        "Fact to verify",
        "Letter to pass on",
        "Finding to answer",
        "Attempt out of reach",
        "New organisation",
    ):
        assert kind in yours
    assert "Finding that waits for an answer" in group(text_of(auditors), "others")
    assert "Fact that waits to be verified" in group(text_of(hub.client(owner)), "others")


def test_a_supplier_sees_a_silent_pool(hub: Hub) -> None:
    pool = Pool.objects.get(id=hub.world.pool_id)
    supplier = hub.client(hub.user(role=Role.OWNER, at=pool.organisation))
    assert "Pool whose agent is silent" not in text_of(supplier)
    Pool.objects.filter(id=pool.id).update(last_seen_at=hub.now - timedelta(hours=2))
    assert "Pool whose agent is silent" in group(text_of(supplier), "yours")


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_statement_goes_from_the_operator_to_the_checker_to_its_supplier(hub: Hub, language: str) -> None:
    _, operator, operators = staff(hub, HubRole.OPERATOR)
    _, checker, checkers = staff(hub, HubRole.CHECKER)
    suppliers = hub.client(hub.user(role=Role.OWNER, at=compute.pool_of(hub.world).organisation))
    strangers = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("stranger")))
    statement = closed(hub)
    path = f"/statements/{statement.public_id}/"
    said = {"Accept-Language": language}

    def turns(client: Client) -> list[str]:
        text = text_of(client, **said)
        return [turn for turn in ("yours", "others", "done") if path in group(text, turn)]

    assert [turns(one) for one in (operators, checkers, suppliers, strangers)] == [
        ["yours"],
        [],
        ["others"],
        [],
    ]
    payout = pay_statement(actor=operator, statement_id=statement.id, bank_reference="ICBC-out", now=hub.now)
    assert [turns(one) for one in (operators, checkers, suppliers, strangers)] == [
        ["others"],
        ["yours"],
        ["others"],
        [],
    ]
    assert group(text_of(suppliers, **said), "others").count(path) == 1  # the payout, no longer the statement
    confirm_payout(actor=checker, payout_id=payout.id, now=hub.now)
    assert [turns(one) for one in (operators, checkers, suppliers, strangers)] == [[], [], ["done"], []]
    assert suppliers.get(path).status_code == 200


def test_a_supplier_is_reminded_of_what_it_invoices_itself(hub: Hub) -> None:
    supplier = compute.pool_of(hub.world).organisation
    suppliers = hub.client(hub.user(role=Role.OWNER, at=supplier))
    statement = closed(hub, net_micros=0, gross_micros=0, buyers_micros=0, to_invoice_micros=150_000)
    assert "Statement: what you invoice" in group(text_of(suppliers), "yours")
    _, _, operators = staff(hub, HubRole.OPERATOR)
    assert statement.number not in text_of(operators)  # nothing is the hub's to pay


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_credit_note_waits_for_its_second_person(hub: Hub, language: str) -> None:
    _, operator, operators = staff(hub, HubRole.OPERATOR)
    _, _, checkers = staff(hub, HubRole.CHECKER)
    buyers = hub.client(hub.user(role=Role.OWNER))
    suppliers = hub.client(hub.user(role=Role.OWNER, at=compute.pool_of(hub.world).organisation))
    receipt = hub.settled()
    note = CreditNote.objects.create(
        receipt=receipt,
        organisation_id=receipt.organisation_id,
        supplier=compute.pool_of(hub.world).organisation,
        amount_micros=10_000,
        currency="CNY",
        borne_by="hub",
        why="Metered twice.",
        maker_id=operator.id,
        proposed_at=hub.now,
    )
    record_audit(
        actor=operator,
        action="credit_note.proposed",
        subject_id=note.id,
        before=None,
        after="proposed",
        now=hub.now,
    )
    path, said = f"/credit-notes/{note.public_id}/", {"Accept-Language": language}
    mine, theirs = text_of(checkers, **said), text_of(operators, **said)
    assert path in group(mine, "yours")
    assert path in group(theirs, "others") and path not in group(theirs, "yours")
    assert path in group(text_of(buyers, **said), "others")
    assert path not in text_of(suppliers, **said)  # who sold it hears of it once it is issued


def test_at_the_desk_each_counter_says_how_much_waits(hub: Hub) -> None:
    _, operator, operators = staff(hub, HubRole.OPERATOR)
    _, _, checkers = staff(hub, HubRole.CHECKER)
    statement = closed(hub)

    def waits(client: Client) -> bool:
        _, _, rest = text_of(client, "/desk/").partition('href="/statements/"')
        return 'class="state wait"' in rest.partition("</li>")[0]

    assert (waits(operators), waits(checkers)) == (True, False)
    pay_statement(actor=operator, statement_id=statement.id, bank_reference="ICBC-out", now=hub.now)
    assert (waits(operators), waits(checkers)) == (False, True)


def test_it_asks_at_most_ten_times_however_much_waits(hub: Hub) -> None:
    user = hub.user(role=Role.OWNER, hub=HubRole.OPERATOR)
    client, actor = hub.client(user), actor_for_user(user)

    one = queries(client, "/today/")
    for number in range(30):
        propose_deposit(
            actor=actor,
            organisation_id=hub.world.buyer.id,
            amount_micros=YUAN,
            bank_reference=f"r{number}",
            now=hub.now,
        )
        hub.run()
    assert queries(client, "/today/") == one
    assert one <= 10
    assert "20+" in text_of(client)


def test_times_are_of_the_hubs_zone(hub: Hub, owner: Client) -> None:
    assert timezone.localtime(hub.now).date().isoformat() in text_of(owner)
