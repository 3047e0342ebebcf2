"""The desk: what operators make, what checkers confirm, what is refused; auditors read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Attempt
from mosu.compute.services import expire_leases
from mosu.ledger.models import Account, Deposit, JournalEntry
from mosu.ledger.services import confirm_deposit, propose_deposit
from mosu.market.models import ExchangeRate
from mosu.platform.actors import HubRole, Role
from mosu.platform.models import (
    AuditRecord,
    Fact,
    HubMembership,
    Mail,
    Notice,
    Organisation,
    User,
)
from mosu.platform.queries import actor_for_user
from mosu.platform.services import post_mail, record_fact
from mosu.subsidies import services as subsidies
from mosu.subsidies.models import Application, ProgrammeVersion, Voucher
from mosu.web.views.desk import organisations
from tests.compute import world as compute
from tests.subsidies.factories import YUAN, make_voucher, programme_text, released
from tests.web.conftest import Hub, queries

LISTS = (
    "organisations",
    "pools",
    "deposits",
    "programmes",
    "vouchers",
    "applications",
    "claims",
    "queue",
    "tasks",
    "staff",
    "rates",
)
FORMS = ("deposits/new", "programmes/new", "vouchers/new", "vouchers/batch", "notices/new")


@dataclass
class Desk:
    """The hub with an operator, a checker and an auditor at it."""

    hub: Hub
    operator: Client
    checker: Client
    auditor: Client
    users: dict[HubRole, User]

    @property
    def buyer(self) -> Organisation:
        return self.hub.world.buyer

    def actor(self, role: HubRole = HubRole.OPERATOR) -> Any:
        return actor_for_user(self.users[role])

    def deposit(self, reference: str = "ICBC-1", yuan: int = 100) -> Deposit:
        return propose_deposit(
            actor=self.actor(),
            organisation_id=self.buyer.id,
            amount_micros=yuan * YUAN,
            bank_reference=reference,
            now=self.hub.now,
        )


@pytest.fixture
def desk(hub: Hub) -> Desk:
    users = {role: hub.user(hub=role) for role in HubRole}
    clients = [hub.client(users[role]) for role in (HubRole.OPERATOR, HubRole.CHECKER, HubRole.AUDITOR)]
    return Desk(hub, *clients, users)


def text_of(client: Client, path: str, *, status: int = 200, **headers: str) -> str:
    response = client.get(path, headers=headers)
    assert response.status_code == status, (path, response.content.decode()[-2000:])
    return str(response.content.decode())


def posted(client: Client, path: str, data: dict[str, Any] | None = None) -> Any:
    return client.post(path, data or {})


def said(response: Any) -> str:
    return str(response.content.decode())


def seeded(desk: Desk) -> Iterator[str]:
    """One of everything; the addresses of their pages."""
    now = desk.hub.now
    version = released(now=now)
    draft = subsidies.propose_programme(actor=desk.actor(), text=programme_text(), now=now)
    voucher = make_voucher(version, desk.buyer.id, now=now)
    owner = desk.hub.user(role=Role.OWNER)
    application = subsidies.apply_for_voucher(
        actor=actor_for_user(owner),
        organisation_id=desk.buyer.id,
        programme_id=version.programme_id,
        amount_micros=5 * YUAN,
        note="We train a model.",
        now=now,
    )
    record_fact(
        actor=actor_for_user(owner),
        organisation_id=desk.buyer.id,
        name="employees",
        value=12,
        source="payroll",
        now=now,
    )
    mail = post_mail(
        email="new@example.org",
        title={"zh": "信", "en": "letter"},
        body={"zh": "信", "en": "letter"},
        secret_link="https://hub.example/secret",
        now=now,
    )
    desk.hub.settled()
    _, attempt = compute.started(desk.hub.world, now=now)
    deposit = confirm_deposit(actor=desk.actor(HubRole.CHECKER), deposit_id=desk.deposit().id, now=now)
    entry = JournalEntry.objects.get(id=deposit.entry_id)
    account = Account.objects.get(kind="balance", owner_id=desk.buyer.id)
    role = HubMembership.objects.get(user=desk.users[HubRole.CHECKER])
    yield f"/desk/organisations/{desk.buyer.public_id}/"
    yield f"/desk/programmes/{version.programme.public_id}/"
    yield f"/desk/programmes/{draft.programme.public_id}/"
    yield f"/desk/vouchers/{voucher.public_id}/"
    yield f"/desk/applications/{application.public_id}/"
    yield f"/desk/deposits/{deposit.public_id}/"
    yield f"/desk/attempts/{attempt.public_id}/"
    yield f"/desk/staff/{role.public_id}/"
    yield f"/ledger/entries/{entry.public_id}/"
    yield f"/ledger/accounts/{account.public_id}/"
    yield f"/desk/letters/{mail.public_id}/"


def test_everything_is_there_in_both_languages_and_nothing_of_it_for_others(
    desk: Desk, owner: Client
) -> None:
    pages = [*seeded(desk), "/desk/", "/ledger/", "/ledger/days/", *(f"/desk/{name}/" for name in LISTS)]
    anonymous = desk.hub.client()
    for path in pages:
        for language in ("en", "zh-hans"):
            text = text_of(desk.operator, path, **{"Accept-Language": language})
            assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=\"", text), path
        if "/letters/" not in path:
            assert desk.checker.get(path).status_code == desk.auditor.get(path).status_code == 200
        assert owner.get(path).status_code == 403
        assert anonymous.get(path).status_code == 302
    for path in FORMS:
        assert text_of(desk.operator, f"/desk/{path}/")
        assert desk.checker.get(f"/desk/{path}/").status_code == 403
        assert desk.auditor.get(f"/desk/{path}/").status_code == 403


def test_an_auditor_sees_no_button_that_changes_anything(desk: Desk) -> None:
    for path in seeded(desk):
        if "/letters/" not in path:
            main = text_of(desk.auditor, path).partition("<main")[2]
            assert 'method="post"' not in main, path


def test_lists_ask_at_most_twelve_times_however_many_rows(desk: Desk) -> None:
    for _path in seeded(desk):
        pass
    desk.hub.run()
    paths = [*(f"/desk/{name}/" for name in LISTS), "/desk/letters/", "/ledger/", "/desk/"]
    before = {path: queries(desk.operator, path) for path in paths}
    now = desk.hub.now
    version = released(now=now, pool="100000")
    for number in range(12):
        organisation = compute.make_organisation(f"o{number}")
        make_voucher(version, organisation.id, now=now)
        desk.deposit(f"many-{number}")
        desk.hub.run()
        subsidies.propose_programme(actor=desk.actor(), text=programme_text(), now=now)
        desk.hub.user(hub=HubRole.AUDITOR)
    after = {path: queries(desk.operator, path) for path in paths}
    assert after == before
    assert max(after.values()) <= 12


def test_a_deposit_takes_two_persons(desk: Desk) -> None:
    given = {"organisation": desk.buyer.name, "amount": "1,234.50", "bank_reference": "BOC-9"}
    made = posted(desk.operator, "/desk/deposits/new/", given)
    assert made.status_code == 302
    path = made["Location"]
    assert "A checker confirms this." in text_of(desk.operator, path)
    assert posted(desk.operator, f"{path}confirm/").status_code == 403
    assert Deposit.objects.get(bank_reference="BOC-9").state == "proposed"
    assert posted(desk.checker, f"{path}confirm/").status_code == 302
    deposit = Deposit.objects.get(bank_reference="BOC-9")
    assert (deposit.state, deposit.amount_micros) == ("confirmed", 1_234_500_000)
    assert deposit.entry is not None
    assert deposit.entry.public_id in text_of(desk.auditor, path)
    assert posted(desk.operator, f"{path}refund/", {"why": "sent twice"}).status_code == 302
    assert posted(desk.checker, f"{path}refund/confirm/").status_code == 302
    assert Deposit.objects.get(id=deposit.id).state == "refunded"


def test_who_entered_a_deposit_is_told_that_another_confirms_it(desk: Desk) -> None:
    user = desk.users[HubRole.OPERATOR]
    HubMembership.objects.create(user=user, role=HubRole.CHECKER, created_at=desk.hub.now)
    path = f"/desk/deposits/{desk.deposit().public_id}/"
    text = text_of(desk.operator, path)
    assert "a second person confirms it" in text
    assert "confirm/" not in text
    refused = posted(desk.operator, f"{path}confirm/")
    assert refused.status_code == 403
    assert Deposit.objects.get().state == "proposed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": "lots"}, "Write an amount"),
        ({"amount": "-5"}, "The amount must be positive"),
        ({"organisation": "Nobody Ltd"}, "There is no organisation of this name."),
        ({"bank_reference": ""}, "This field is required."),
        ({"bank_reference": "KNOWN"}, "was entered before"),
    ],
)
def test_a_wrong_deposit_is_refused_beside_what_was_typed(
    desk: Desk, change: dict[str, str], words: str
) -> None:
    desk.deposit("KNOWN")
    given = {"organisation": desk.buyer.name, "amount": "77.25", "bank_reference": "NEW"} | change
    response = posted(desk.operator, "/desk/deposits/new/", given)
    assert response.status_code in (409, 422)
    assert words in said(response)
    for value in given.values():
        assert f'value="{value}"' in said(response) or not value
    assert Deposit.objects.count() == 1


def test_a_half_remembered_name_is_answered_with_those_like_it(desk: Desk) -> None:
    given = {"organisation": desk.buyer.name[:9], "amount": "1", "bank_reference": "x"}
    assert f"Did you mean: {desk.buyer.name}" in said(posted(desk.operator, "/desk/deposits/new/", given))


def test_a_programme_is_proposed_compared_and_released(desk: Desk) -> None:
    text = programme_text(id="city", pool="1000")
    made = posted(desk.operator, "/desk/programmes/new/", {"text": text})
    assert made.status_code == 302
    path = made["Location"]
    first = ProgrammeVersion.objects.get()
    assert posted(desk.operator, f"{path}release/{first.public_id}/").status_code == 403
    assert posted(desk.checker, f"{path}release/{first.public_id}/").status_code == 302
    changed = text.replace("version: 1", "version: 2").replace('pool: "1000"', 'pool: "1500"')
    assert posted(desk.operator, "/desk/programmes/new/", {"text": changed}).status_code == 302
    page = text_of(desk.checker, path)
    assert '<span class="gone">' in page
    assert '<span class="new">' in page
    assert "¥500.00" in page  # by so much the pool grows
    assert "Release version 2" in page
    assert "Release version 2" not in text_of(desk.operator, path)
    assert changed in text_of(desk.operator, f"/desk/programmes/new/?of={first.programme.public_id}").replace(
        "&quot;", '"'
    )


def test_a_wrong_file_is_answered_line_by_line_and_nothing_is_kept(desk: Desk) -> None:
    text = programme_text(id="city", rate="1.7", mode="gift")
    response = posted(desk.operator, "/desk/programmes/new/", {"text": text})
    assert response.status_code == 422
    assert re.search(r"<td[^>]*>5</td>\s*<td[^>]*>mode</td>", said(response))
    assert "rate" in said(response)
    assert "id: city" in said(response)
    assert not ProgrammeVersion.objects.exists()


def test_a_voucher_is_issued_released_and_revoked(desk: Desk) -> None:
    version = released(now=desk.hub.now)
    given = {
        "programme": version.programme.public_id,
        "organisation": desk.buyer.public_id,
        "amount": "50",
    }
    made = posted(desk.operator, "/desk/vouchers/new/", given)
    assert made.status_code == 302
    path = made["Location"]
    assert posted(desk.operator, f"{path}release/").status_code == 403
    assert posted(desk.checker, f"{path}release/").status_code == 302
    assert Voucher.objects.get().state == "released"
    assert posted(desk.operator, f"{path}revoke/", {"why": ""}).status_code == 422
    assert Voucher.objects.get().state == "released"
    assert posted(desk.operator, f"{path}revoke/", {"why": "moved away"}).status_code == 302
    assert Voucher.objects.get().state == "revoked"
    assert "moved away" in text_of(desk.auditor, path)


@pytest.mark.parametrize("path", ["/desk/vouchers/new/", "/desk/vouchers/batch/", "/desk/notices/new/"])
def test_a_form_that_is_sent_twice_is_taken_once(desk: Desk, path: str) -> None:
    """A double click on the button; a refused one may be sent again; a form shown anew is another."""
    version, buyer = released(now=desk.hub.now), desk.buyer
    desk.hub.user(role=Role.OWNER)
    told = {"title_zh": "停电", "title_en": "Power", "body_zh": "今晚", "body_en": "Tonight"}
    given = {
        "organisation": buyer.public_id,
        "programme": version.programme.public_id,
        "amount": "50",
        "text": f"organisation,amount\n{buyer.name},50\n",
        **told,
    }

    def made() -> int:
        notices = Notice.objects.filter(kind="hub.notice").values("subject_id").distinct()
        return Voucher.objects.count() + notices.count()

    name = re.search(r'name="once" value="([0-9a-f]+)"', said(desk.operator.get(path)))
    assert name is not None
    form = {"once": name[1]}
    assert posted(desk.operator, path, form).status_code == 422
    before = made()
    answers = [posted(desk.operator, path, {**form, **given}) for _ in range(3)]
    after = made()
    assert [answer.status_code for answer in answers] == [302] * 3
    assert len({answer["Location"].partition("?")[0] for answer in answers[1:]}) == 1
    assert "sent already" in said(desk.operator.get(answers[1]["Location"]))
    assert posted(desk.operator, path, {**form, **given, "once": "another"}).status_code == 302
    assert (after - before, made() - after) == (1, 1)


def test_a_form_that_broke_may_be_sent_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed by a bug made nothing: saying that it was sent already would be a lie."""
    path = "/desk/notices/new/"
    desk.hub.user(role=Role.OWNER)
    form = {"once": "abc", "organisation": desk.buyer.public_id}
    form |= {"title_zh": "停电", "title_en": "Power", "body_zh": "今晚", "body_en": "Tonight"}
    with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="a bug"):
        broken.setattr(organisations, "acted", Mock(side_effect=RuntimeError("a bug")))
        desk.operator.post(path, form)
    assert Notice.objects.filter(kind="hub.notice").count() == 0
    assert posted(desk.operator, path, form).status_code == 302
    assert Notice.objects.filter(kind="hub.notice").count() > 0


def test_a_list_of_vouchers_is_all_or_none(desk: Desk) -> None:
    version = released(now=desk.hub.now)
    other = compute.make_organisation("other")
    wrong = f"organisation,amount\n{desk.buyer.name},10\nNobody,5\n{other.public_id},x\n{desk.buyer.public_id},3\n"
    given = {"programme": version.programme.public_id, "text": wrong}
    response = posted(desk.operator, "/desk/vouchers/batch/", given)
    assert response.status_code == 422
    assert "1 line is wrong" in said(response)  # the amount, before anybody is looked up
    assert "Nobody,5" in said(response)
    wrong = wrong.replace(",x\n", ",7.001\n")
    response = posted(desk.operator, "/desk/vouchers/batch/", given | {"text": wrong})
    assert "2 lines are wrong" in said(response)  # nobody, and the buyer a second time
    right = f"organisation,amount\r\n{desk.buyer.name},10\r\n\r\n{other.public_id},7.001\r\n"
    response = posted(desk.operator, "/desk/vouchers/batch/", given | {"text": right})
    assert "1 line is wrong" in said(response)  # finer than the currency
    assert not Voucher.objects.exists()
    right = right.replace("7.001", "7.50")
    assert posted(desk.operator, "/desk/vouchers/batch/", given | {"text": right}).status_code == 302
    assert sorted(Voucher.objects.values_list("amount_micros", flat=True)) == [7_500_000, 10_000_000]
    assert set(Voucher.objects.values_list("state", flat=True)) == {"issued"}


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_an_application_is_decided_once(desk: Desk, action: str) -> None:
    path = next(path for path in seeded(desk) if "/applications/" in path)
    assert "We train a model." in text_of(desk.operator, path)
    assert posted(desk.checker, f"{path}{action}/", {"why": "no"}).status_code == 403
    assert Application.objects.get().state == "submitted"
    assert posted(desk.operator, f"{path}{action}/", {"why": "no licence"}).status_code == 302
    assert Application.objects.get().state == {"approve": "approved", "reject": "rejected"}[action]
    again = posted(desk.operator, f"{path}approve/")
    assert again.status_code == 409
    assert "cannot become" in said(again)


def test_an_organisation_is_admitted_suspended_and_closed_by_its_name(desk: Desk) -> None:
    path = f"/desk/organisations/{desk.buyer.public_id}/"
    admitted = posted(desk.operator, f"{path}admit/", {"capability": "supplier", "why": "contract 7"})
    assert admitted.status_code == 302
    assert Organisation.objects.get(id=desk.buyer.id).capabilities == ["supplier"]
    assert posted(desk.checker, f"{path}admit/", {"capability": "sponsor", "why": "x"}).status_code == 403
    assert (
        posted(desk.operator, f"{path}move/", {"to": "closed", "why": "gone", "name": "x"}).status_code == 422
    )
    assert posted(desk.operator, f"{path}move/", {"to": "suspended", "why": ""}).status_code == 422
    assert Organisation.objects.get(id=desk.buyer.id).state == "active"
    assert posted(desk.operator, f"{path}move/", {"to": "suspended", "why": "unpaid"}).status_code == 302
    assert Organisation.objects.get(id=desk.buyer.id).state == "suspended"
    closing = {"to": "closed", "why": "gone", "name": desk.buyer.name}
    assert posted(desk.operator, f"{path}move/", closing).status_code == 302
    assert Organisation.objects.get(id=desk.buyer.id).state == "closed"
    assert "unpaid" in text_of(desk.auditor, path)


def test_a_fact_is_verified_by_another_than_who_recorded_it(desk: Desk) -> None:
    path = next(path for path in seeded(desk) if "/organisations/" in path)
    for _ in seeded_facts(desk):
        pass
    own = Fact.objects.get(name="own")
    assert "another verifies it" in text_of(desk.operator, path)
    assert posted(desk.operator, f"{path}facts/{own.public_id}/verify/").status_code == 403
    assert Fact.objects.get(id=own.id).verified_at is None
    theirs = Fact.objects.get(name="employees-2")
    assert posted(desk.operator, f"{path}facts/{theirs.public_id}/verify/").status_code == 302
    assert Fact.objects.get(id=theirs.id).verified_by == desk.users[HubRole.OPERATOR]


def seeded_facts(desk: Desk) -> Iterator[Fact]:
    people = ((desk.actor(), "own"), (actor_for_user(desk.hub.user(role=Role.OWNER)), "employees-2"))
    for actor, name in people:
        yield record_fact(
            actor=actor, organisation_id=desk.buyer.id, name=name, value=1, source="a paper", now=desk.hub.now
        )


def test_an_attempt_that_nobody_hears_of_is_fenced_with_a_reason(desk: Desk) -> None:
    _, attempt = compute.started(desk.hub.world, now=desk.hub.now, wall="1h")
    path = f"/desk/attempts/{attempt.public_id}/"
    assert "fence it" not in text_of(desk.operator, path)
    expire_leases(now=desk.hub.now + timedelta(minutes=10))
    assert "The agent says nothing of it" in text_of(desk.operator, "/desk/queue/?state=unreachable")
    assert "fence it" in text_of(desk.operator, path)
    assert posted(desk.operator, f"{path}fence/", {"why": " "}).status_code == 422
    assert posted(desk.checker, f"{path}fence/", {"why": "x"}).status_code == 403
    assert Attempt.objects.get(id=attempt.id).state == "unreachable"
    assert posted(desk.operator, f"{path}fence/", {"why": "machine is off"}).status_code == 302
    assert Attempt.objects.get(id=attempt.id).state == "lost"
    assert "machine is off" in text_of(desk.auditor, path)


def test_the_queue_says_place_and_why(desk: Desk) -> None:
    for _ in range(2):
        desk.hub.run()
    text = text_of(desk.operator, "/desk/queue/")
    assert "Its turn: the agent takes it next." in text
    assert "Waits for those before it." in text


def test_a_letters_link_is_shown_when_asked_for_and_recorded(desk: Desk) -> None:
    path = next(path for path in seeded(desk) if "/letters/" in path)
    link = "https://hub.example/secret"
    assert link not in text_of(desk.operator, path)
    assert desk.checker.get(path).status_code == 403
    assert posted(desk.checker, f"{path}link/").status_code == 403
    assert link in said(posted(desk.operator, f"{path}link/"))
    mail = Mail.objects.get(email="new@example.org")
    assert AuditRecord.objects.filter(subject_id=mail.id, action="mail.pass_on").count() == 1


def test_a_notice_reaches_the_members_in_both_languages(desk: Desk) -> None:
    member = desk.hub.user(role=Role.VIEWER)
    stranger = desk.hub.user(role=Role.OWNER, at=compute.make_organisation("other"))
    given = {
        "organisation": desk.buyer.name,
        "title_zh": "停机",
        "title_en": "Maintenance",
        "body_zh": "周六停机",
        "body_en": "On Saturday",
    }
    assert posted(desk.operator, "/desk/notices/new/", given | {"body_zh": ""}).status_code == 422
    assert posted(desk.checker, "/desk/notices/new/", given).status_code == 403
    assert not Notice.objects.exists()
    assert posted(desk.operator, "/desk/notices/new/", given).status_code == 302
    assert Notice.objects.get(user=member).body == {"zh": "周六停机", "en": "On Saturday"}
    assert not Notice.objects.filter(user=stranger).exists()
    assert posted(desk.operator, "/desk/notices/new/", given | {"organisation": ""}).status_code == 302
    assert Notice.objects.filter(user=stranger).exists()
    assert AuditRecord.objects.filter(action="notice.send").count() == 2


def test_staff_is_granted_and_taken_back_but_never_ones_own(desk: Desk) -> None:
    person = desk.hub.user()
    given = {"email": person.email.upper(), "role": "checker"}
    assert posted(desk.operator, "/desk/staff/grant/", given | {"email": "no@example.org"}).status_code == 422
    assert posted(desk.checker, "/desk/staff/grant/", given).status_code == 403
    assert posted(desk.operator, "/desk/staff/grant/", given).status_code == 302
    role = HubMembership.objects.get(user=person)
    path = f"/desk/staff/{role.public_id}/revoke/"
    assert posted(desk.operator, path, {"why": ""}).status_code == 422
    assert posted(desk.checker, path, {"why": "left"}).status_code == 403
    assert HubMembership.objects.filter(user=person).exists()
    assert posted(desk.operator, path, {"why": "left"}).status_code == 302
    assert not HubMembership.objects.filter(user=person).exists()
    own = HubMembership.objects.get(user=desk.users[HubRole.OPERATOR])
    refused = posted(desk.operator, f"/desk/staff/{own.public_id}/revoke/", {"why": "x"})
    assert refused.status_code == 403
    assert HubMembership.objects.filter(id=own.id).exists()


def test_an_entry_is_found_by_account_subject_kind_amount_and_day(desk: Desk) -> None:
    deposit = confirm_deposit(
        actor=desk.actor(HubRole.CHECKER), deposit_id=desk.deposit(yuan=321).id, now=desk.hub.now
    )
    released(now=desk.hub.now)
    assert deposit.entry is not None
    href = f"/ledger/entries/{deposit.entry.public_id}/"
    account = Account.objects.get(kind="balance", owner_id=desk.buyer.id)
    day = f"{timezone.localtime(desk.hub.now):%Y-%m-%d}"
    found = (
        f"about={deposit.public_id}",
        f"about={deposit.entry.public_id}",
        f"account={account.public_id}",
        "kind=deposit",
        "amount=321.00",
        f"from={day}&to={day}",
    )
    for asked in found:
        assert href in text_of(desk.auditor, f"/ledger/?{asked}"), asked
    for asked in (
        "about=order_01",
        "account=x",
        "kind=pool.filled",
        "amount=322",
        "amount=x",
        "to=2001-01-01",
    ):
        assert href not in text_of(desk.auditor, f"/ledger/?{asked}"), asked
    page = text_of(desk.auditor, href)
    assert f"/desk/deposits/{deposit.public_id}/" in page
    assert f"/ledger/accounts/{account.public_id}/" in page
    assert desk.buyer.name in text_of(desk.auditor, f"/ledger/accounts/{account.public_id}/")


def test_a_list_goes_out_as_csv(desk: Desk) -> None:
    desk.deposit("=cmd()", yuan=5)
    response = desk.auditor.get("/desk/deposits/?format=csv")
    assert response["Content-Type"].startswith("text/csv")
    assert "'=cmd()" in response.content.decode()
    assert "5.00" in response.content.decode()


def test_a_rate_is_entered_by_an_operator_and_a_leap_needs_a_reason(desk: Desk) -> None:
    day = timezone.localdate().isoformat()
    given = {"currency": "USD", "rate": "7.1234", "dated": day, "source": "PBoC"}
    assert posted(desk.checker, "/desk/rates/record/", given).status_code == 403
    assert posted(desk.operator, "/desk/rates/record/", given | {"rate": "-1"}).status_code == 422
    assert not ExchangeRate.objects.exists()
    assert posted(desk.operator, "/desk/rates/record/", given).status_code == 302
    leap = posted(desk.operator, "/desk/rates/record/", given | {"rate": "71.234"})
    assert leap.status_code == 422
    assert 'value="71.234"' in said(leap)
    assert ExchangeRate.objects.count() == 1
    assert "7.1234" in text_of(desk.auditor, "/desk/rates/")
