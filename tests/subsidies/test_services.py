"""Programmes, vouchers, redemptions and claims on the real ledger, as the application's role."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, transaction
from tests.subsidies.factories import (
    NOW,
    YUAN,
    account,
    checker,
    make_founder,
    make_payee,
    make_spend,
    make_voucher,
    maker,
    programme_text,
    released,
    yuan_on,
)

from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.ledger.models import Account, Hold, JournalEntry
from mosu.ledger.services import InsufficientFunds, lock_accounts
from mosu.platform.models import AuditRecord, Event
from mosu.platform.services import deliver, found_organisation
from mosu.subsidies import services
from mosu.subsidies.models import (
    Application,
    Claim,
    Programme,
    ProgrammeVersion,
    Redemption,
    Voucher,
    YearCap,
)
from mosu.subsidies.services import Split

PROOF = "ab" * 32


def figures() -> list[Any]:
    """Everything that a refused action must leave as it was."""
    return [
        *Account.objects.order_by("id").values_list("id", "balance_micros", "held_micros"),
        *Voucher.objects.order_by("id").values_list("id", "state"),
        *Redemption.objects.order_by("id").values_list("id", "state", "amount_micros"),
        *Claim.objects.order_by("id").values_list("id", "state"),
        *ProgrammeVersion.objects.order_by("id").values_list("id", "state"),
        Programme.objects.count(),
        YearCap.objects.count(),
        JournalEntry.objects.count(),
        Hold.objects.count(),
        AuditRecord.objects.count(),
    ]


def accept(split: Split, *, at: datetime = NOW) -> UUID:
    """What the market does when a quote is accepted."""
    order_id = uuid4()
    with transaction.atomic():
        drawing = services.drawing_of(split, now=at)
        services.redeem(order_id=order_id, drawing=drawing, now=at)
    return order_id


def settle(order_id: UUID, frozen: Split, yuan: float, payee: UUID, *, at: datetime = NOW) -> Split:
    with transaction.atomic():
        lock_accounts([payee, *services.accounts_of_order(order_id)])
        return services.capture_redemptions(
            order_id=order_id,
            frozen=frozen,
            charge_micros=round(yuan * YUAN),
            payee_account_id=payee,
            now=at,
        )


@pytest.mark.django_db
def test_a_released_programme_has_its_pool_from_its_funders_by_share() -> None:
    version = released(pool="1000.01")
    pool = account("pool", version.programme_id)
    assert yuan_on(pool) == (1000.01, 0)
    parts = [account("funder", uuid5(version.programme_id, name)) for name in ("City", "District")]
    assert [yuan_on(part)[0] for part in parts] == [-700.01, -300]


@pytest.mark.django_db
def test_a_later_version_adds_only_what_the_pool_grows_by() -> None:
    first = released(id="grows", pool="100")
    released(id="grows", version=2, pool="150", rate="0.20")
    assert yuan_on(account("pool", first.programme_id)) == (150, 0)


@pytest.mark.django_db
def test_one_person_can_neither_release_their_programme_nor_their_voucher() -> None:
    both = maker()
    both = type(both)(**{**_fields(both), "hub_roles": both.hub_roles | checker().hub_roles})
    version = services.propose_programme(actor=both, text=programme_text(), now=NOW)
    before = figures()
    with pytest.raises(services.SamePerson):
        services.release_programme(actor=both, version_id=version.id, now=NOW)
    assert figures() == before
    services.release_programme(actor=checker(), version_id=version.id, now=NOW)
    _, organisation = make_founder()
    voucher = services.issue_voucher(
        actor=both,
        organisation_id=organisation.id,
        programme_id=version.programme_id,
        amount_micros=YUAN,
        now=NOW,
    )
    before = figures()
    with pytest.raises(services.SamePerson):
        services.release_voucher(actor=both, voucher_id=voucher.id, now=NOW)
    assert figures() == before


def _fields(actor: Any) -> dict[str, Any]:
    return {name: getattr(actor, name) for name in type(actor).__slots__}


@pytest.mark.django_db
def test_the_database_itself_refuses_one_person_unaudited_moves_and_changed_terms() -> None:
    version = released()
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 10)
    refused = [
        f"update subsidies_voucher set checker_id = maker_id where id = '{voucher.id}'",
        f"update subsidies_programmeversion set checker_id = maker_id where id = '{version.id}'",
        f"update subsidies_programmeversion set pool_micros = 1 where id = '{version.id}'",
        f"delete from subsidies_programmeversion where id = '{version.id}'",
        f"delete from subsidies_voucher where id = '{voucher.id}'",
        "truncate subsidies_disbursement",
        f"update subsidies_voucher set state = 'revoked' where id = '{voucher.id}'; set constraints all immediate",
    ]
    for statement in refused:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    voucher.refresh_from_db()
    assert voucher.state == "released"


@pytest.mark.django_db
def test_an_issued_voucher_moves_no_money_until_another_person_releases_it() -> None:
    version = released()
    _, organisation = make_founder()
    pool = account("pool", version.programme_id)
    voucher = services.issue_voucher(
        actor=maker(),
        organisation_id=organisation.id,
        programme_id=version.programme_id,
        amount_micros=40 * YUAN,
        now=NOW,
    )
    assert yuan_on(pool) == (1000, 0)
    services.release_voucher(actor=checker(), voucher_id=voucher.id, now=NOW)
    services.release_voucher(actor=checker(), voucher_id=voucher.id, now=NOW)
    assert yuan_on(pool) == (960, 0)
    assert yuan_on(account("voucher", voucher.id)) == (40, 0)


@pytest.mark.django_db
def test_a_pool_gives_no_more_than_it_has() -> None:
    version = released(pool="100")
    _, organisation = make_founder()
    make_voucher(version, organisation.id, 80)
    voucher = services.issue_voucher(
        actor=maker(),
        organisation_id=organisation.id,
        programme_id=version.programme_id,
        amount_micros=21 * YUAN,
        now=NOW,
    )
    second = checker()
    before = figures()
    with pytest.raises(InsufficientFunds):
        services.release_voucher(actor=second, voucher_id=voucher.id, now=NOW)
    assert figures() == before


@pytest.mark.django_db
def test_eligibility_names_each_clause_and_what_it_needs() -> None:
    clauses = (
        "eligibility:\n"
        "  - {id: company, when: organisation.kind == 'team', reason: {zh: 团队, en: Only teams}}\n"
        "  - {id: young, when: organisation.founded_year > 2020, reason: {zh: 新, en: Only the young}}\n"
        "  - {id: fits, when: size(organisation.kind) > 0, reason: {zh: 行, en: fits}}"
    )
    version = released(more=clauses)
    _, organisation = make_founder()
    first = maker()
    before = figures()
    with pytest.raises(services.Ineligible) as refusal:
        services.issue_voucher(
            actor=first,
            organisation_id=organisation.id,
            programme_id=version.programme_id,
            amount_micros=YUAN,
            now=NOW,
        )
    assert refusal.value.facts == {"clauses": "company, young", "needs": "founded_year"}
    assert "Only teams" in refusal.value.message
    assert figures() == before


@pytest.mark.django_db
def test_an_order_at_60_percent_pays_its_shares_and_the_rest_returns() -> None:
    version = released(rate="0.30", more='cap_per_organisation_year: "200"')
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    assert (split.voucher_now_micros, split.pay_now_micros) == (30 * YUAN, 70 * YUAN)
    order_id = accept(split)
    year_cap = YearCap.objects.get()
    assert yuan_on(account("voucher", voucher.id)) == (100, 30)
    assert yuan_on(year_cap.account_id) == (200, 30)
    payee = make_payee()
    actual = settle(order_id, split, 60, payee)
    assert (actual.voucher_now_micros, actual.pay_now_micros) == (18 * YUAN, 42 * YUAN)
    assert yuan_on(account("voucher", voucher.id)) == (82, 0)
    assert yuan_on(year_cap.account_id) == (182, 0)
    assert yuan_on(account("cap_used", version.programme_id)) == (18, 0)
    assert yuan_on(payee) == (18, 0)
    assert settle(order_id, split, 60, payee) == actual
    assert yuan_on(payee) == (18, 0)
    assert Redemption.objects.get().state == "captured"


@pytest.mark.django_db
def test_an_overrun_takes_no_more_than_was_held() -> None:
    version = released(rate="0.30")
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    order_id = accept(split)
    actual = settle(order_id, split, 140, make_payee())
    assert actual.charge_micros == 100 * YUAN
    assert yuan_on(account("voucher", voucher.id)) == (70, 0)


@pytest.mark.django_db
def test_a_voucher_used_up_is_exhausted_and_a_cancelled_order_gives_all_back() -> None:
    version = released(rate="1")
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 50)
    split = services.best_split(spend=make_spend(organisation.id, 80), choice="auto", now=NOW)
    order_id = accept(split)
    assert (
        services.best_split(spend=make_spend(organisation.id, 80), choice="auto", now=NOW).voucher_now_micros
        == 0
    )
    with transaction.atomic():
        lock_accounts(services.accounts_of_order(order_id))
        services.release_redemptions(order_id=order_id, now=NOW)
    assert yuan_on(account("voucher", voucher.id)) == (50, 0)
    settle(accept(split), split, 80, make_payee())
    voucher.refresh_from_db()
    assert voucher.state == "exhausted"


@pytest.mark.django_db
def test_a_voucher_that_expires_while_held_is_captured_and_what_is_left_returns_to_its_pool() -> None:
    version = released(rate="0.50")
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    order_id = accept(split)
    late = NOW + timedelta(days=31)
    pool, own = account("pool", version.programme_id), account("voucher", voucher.id)
    assert services.expire_vouchers(now=NOW) == 0
    assert services.expire_vouchers(now=late) == 1
    voucher.refresh_from_db()
    assert voucher.state == "expired"
    assert (yuan_on(pool), yuan_on(own)) == ((950, 0), (50, 50))
    with pytest.raises(services.VoucherNotUsable), transaction.atomic():
        accept(split, at=late)
    payee = make_payee()
    settle(order_id, split, 60, payee, at=late)
    assert (yuan_on(payee), yuan_on(own)) == ((30, 0), (20, 0))
    assert services.expire_vouchers(now=late + timedelta(hours=1)) == 1
    assert services.expire_vouchers(now=late + timedelta(hours=2)) == 0
    assert (yuan_on(pool), yuan_on(own)) == ((970, 0), (0, 0))


@pytest.mark.django_db
def test_the_cap_is_of_the_year_of_acceptance_in_the_hubs_zone() -> None:
    eve = datetime(2026, 12, 31, 15, 59, tzinfo=UTC)  # 23:59 in Shanghai
    version = released(rate="1", more='cap_per_organisation_year: "60"', now=eve)
    _, organisation = make_founder()
    make_voucher(version, organisation.id, 500, now=eve)
    spend = make_spend(organisation.id, 50, at=eve)
    split = services.best_split(spend=spend, choice="auto", now=eve)
    first = accept(split, at=eve)
    assert services.best_split(spend=spend, choice="auto", now=eve).voucher_now_micros == 10 * YUAN
    with pytest.raises(InsufficientFunds), transaction.atomic():
        accept(split, at=eve)
    new_year = eve + timedelta(minutes=1)
    accept(split, at=new_year)
    settle(first, split, 50, make_payee(), at=new_year)
    caps = {cap.year: yuan_on(cap.account_id) for cap in YearCap.objects.all()}
    assert caps == {2026: (10, 0), 2027: (60, 50)}


@pytest.mark.django_db
def test_vouchers_that_do_not_fit_the_spend_are_left_out_and_refused_when_named() -> None:
    version = released(more="domestic_only: true\nregions: [east]")
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id)
    fits = {"domestic": True, "region": "east"}
    assert _voucher_part(organisation.id, **fits) == 30 * YUAN
    misfits: list[dict[str, Any]] = [
        {"domestic": None, "region": "east"},
        {"domestic": True, "region": "west"},
        {**fits, "kind": "card_hours"},
        {**fits, "shelf": "corpus"},
        {**fits, "supplier_id": organisation.id},
    ]
    for misfit in misfits:
        assert _voucher_part(organisation.id, **misfit) == 0
        with pytest.raises(services.VoucherNotUsable):
            services.best_split(
                spend=make_spend(organisation.id, 100, **misfit), choice=[voucher.id], now=NOW
            )
    assert _voucher_part(organisation.id, choice="none", **fits) == 0
    _, stranger = make_founder()
    with pytest.raises(services.VoucherNotUsable):
        services.best_split(spend=make_spend(stranger.id, 100, **fits), choice=[voucher.id], now=NOW)


@pytest.mark.parametrize(("group", "programmes", "yuan"), [("", 2, 50), ("exclusivity_group: one", 1, 30)])
def test_of_an_exclusivity_group_one_programme_pays(db: None, group: str, programmes: int, yuan: int) -> None:
    _, organisation = make_founder()
    vouchers = [make_voucher(released(rate=rate, more=group), organisation.id) for rate in ("0.20", "0.30")]
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    assert split.voucher_now_micros == yuan * YUAN
    assert len({share.programme_id for share in split.shares if share.voucher_id}) == programmes
    named = services.best_split(
        spend=make_spend(organisation.id, 100), choice=[voucher.id for voucher in vouchers], now=NOW
    )
    assert named.voucher_now_micros == yuan * YUAN


def _voucher_part(organisation_id: UUID, choice: Any = "auto", **fields: Any) -> int:
    spend = make_spend(organisation_id, 100, **fields)
    return services.best_split(spend=spend, choice=choice, now=NOW).voucher_now_micros


@pytest.mark.django_db
def test_a_refund_is_paid_once_on_a_claim_by_two_persons() -> None:
    version = released(
        mode="reimbursement", rate="0.20", more='claim_days: 10\ncap_per_organisation_year: "100"'
    )
    owner, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    assert (split.pay_now_micros, split.refund_later_micros) == (100 * YUAN, 20 * YUAN)
    order_id, payee = accept(split), make_payee()
    with pytest.raises(services.NothingToClaim):
        services.submit_claim(actor=owner, order_id=order_id, evidence=[PROOF], now=NOW)
    actual = settle(order_id, split, 50, payee)
    assert (actual.pay_now_micros, actual.refund_later_micros) == (50 * YUAN, 10 * YUAN)
    own = account("voucher", voucher.id)
    assert (yuan_on(payee), yuan_on(own)) == ((0, 0), (100, 10))
    with pytest.raises(Invalid):
        services.submit_claim(actor=owner, order_id=order_id, evidence=[], now=NOW)
    stranger, _ = make_founder()
    with pytest.raises(Forbidden):
        services.submit_claim(actor=stranger, order_id=order_id, evidence=[PROOF], now=NOW)
    claim = services.submit_claim(actor=owner, order_id=order_id, evidence=[PROOF], now=NOW)
    with pytest.raises(services.ClaimedBefore):
        services.submit_claim(actor=owner, order_id=order_id, evidence=[PROOF], now=NOW)
    with pytest.raises(IllegalMove):
        services.disburse_claim(actor=checker(), claim_id=claim.id, now=NOW)
    services.approve_claim(actor=maker(), claim_id=claim.id, now=NOW)
    assert services.lapse_refunds(now=NOW + timedelta(days=11)) == 0
    services.disburse_claim(actor=checker(), claim_id=claim.id, now=NOW)
    services.disburse_claim(actor=checker(), claim_id=claim.id, now=NOW)
    assert yuan_on(account("balance", organisation.id)) == (10, 0)
    assert yuan_on(own) == (90, 0)
    assert yuan_on(YearCap.objects.get().account_id) == (90, 0)


@pytest.mark.django_db
def test_a_rejected_claim_and_an_unclaimed_refund_free_what_was_held() -> None:
    version = released(mode="reimbursement", rate="0.20", more="claim_days: 10")
    owner, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    rejected, lapsed = accept(split), accept(split)
    for order_id in (rejected, lapsed):
        settle(order_id, split, 100, make_payee())
    own = account("voucher", voucher.id)
    assert yuan_on(own) == (100, 40)
    claim = services.submit_claim(actor=owner, order_id=rejected, evidence=[PROOF], now=NOW)
    services.reject_claim(actor=maker(), claim_id=claim.id, why="no invoice", now=NOW)
    assert yuan_on(own) == (100, 20)
    late = NOW + timedelta(days=10)
    with pytest.raises(services.NothingToClaim):
        services.submit_claim(actor=owner, order_id=lapsed, evidence=[PROOF], now=late)
    assert services.lapse_refunds(now=late) == 1
    assert services.lapse_refunds(now=late) == 0
    assert yuan_on(own) == (100, 0)


@pytest.mark.django_db
def test_an_application_approved_is_a_voucher_that_another_person_releases() -> None:
    version = released()
    owner, organisation = make_founder()
    application = services.apply_for_voucher(
        actor=owner,
        organisation_id=organisation.id,
        programme_id=version.programme_id,
        amount_micros=5 * YUAN,
        now=NOW,
    )
    _, other = make_founder()
    with pytest.raises(Forbidden):
        services.apply_for_voucher(
            actor=owner,
            organisation_id=other.id,
            programme_id=version.programme_id,
            amount_micros=YUAN,
            now=NOW,
        )
    voucher = services.approve_application(actor=maker(), application_id=application.id, now=NOW)
    assert voucher.state == "issued"
    with pytest.raises(IllegalMove):
        services.reject_application(actor=maker(), application_id=application.id, why="late", now=NOW)
    assert services.release_voucher(actor=checker(), voucher_id=voucher.id, now=NOW).state == "released"


def _asked(version: ProgrammeVersion, owner: Any, organisation_id: UUID) -> Application:
    return services.apply_for_voucher(
        actor=owner,
        organisation_id=organisation_id,
        programme_id=version.programme_id,
        amount_micros=5 * YUAN,
        now=NOW,
    )


@pytest.mark.django_db
def test_an_application_is_withdrawn_by_its_organisation_while_nobody_decided_it() -> None:
    version = released()
    owner, organisation = make_founder()
    asked, decided = (_asked(version, owner, organisation.id) for _ in range(2))
    services.reject_application(actor=maker(), application_id=decided.id, why="no", now=NOW)
    (stranger, _), operator = make_founder(), maker()
    records = AuditRecord.objects.count()
    for actor, application, refusal in (
        (stranger, asked, NotFound),
        (operator, asked, Forbidden),
        (owner, decided, IllegalMove),
    ):
        with pytest.raises(refusal):
            services.withdraw_application(actor=actor, application_id=application.id, why="", now=NOW)
    states = dict(Application.objects.values_list("id", "state"))
    assert states == {asked.id: "submitted", decided.id: "rejected"}
    assert AuditRecord.objects.count() == records
    for _ in range(2):
        services.withdraw_application(actor=owner, application_id=asked.id, why="another plan", now=NOW)
    (record,) = AuditRecord.objects.filter(subject_id=asked.id, after="withdrawn")
    assert (record.before, record.why, record.actor_id) == ("submitted", "another plan", owner.id)
    for decide in (
        lambda: services.approve_application(actor=maker(), application_id=asked.id, now=NOW),
        lambda: services.reject_application(actor=maker(), application_id=asked.id, why="late", now=NOW),
    ):
        with pytest.raises(IllegalMove):
            decide()
    assert Application.objects.get(id=asked.id).state == "withdrawn"
    assert not Voucher.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        "state = 'submitted', decided_at = null",
        "decided_at = now()",
    ],
)
def test_the_database_keeps_a_withdrawn_application(change: str) -> None:
    owner, organisation = make_founder()
    asked = _asked(released(), owner, organisation.id)
    services.withdraw_application(actor=owner, application_id=asked.id, why="", now=NOW)
    with pytest.raises(DatabaseError, match="no longer changes"), transaction.atomic():
        connection.cursor().execute(f"update subsidies_application set {change}")
    assert Application.objects.get().state == "withdrawn"


TRIAL = 'grant: "10"\ncap_per_order: "10"'


@pytest.mark.django_db
def test_a_founded_organisation_gets_one_trial_by_rule() -> None:
    _, early = make_founder()
    assert services.issue_trial(organisation_id=early.id, now=NOW) is None
    version = released(kind="trial", rate="1", pool="25", more=TRIAL)
    _, organisation = make_founder()
    first = services.issue_trial(organisation_id=organisation.id, now=NOW)
    assert first is not None
    assert (first.state, first.by_rule) == ("released", True)
    assert services.issue_trial(organisation_id=organisation.id, now=NOW) == first
    assert services.issue_trial(organisation_id=early.id, now=NOW) is not None
    _, poor = make_founder()
    assert services.issue_trial(organisation_id=poor.id, now=NOW) is None
    assert yuan_on(account("pool", version.programme_id)) == (5, 0)
    assert Voucher.objects.filter(organisation=poor).count() == 0


@pytest.mark.django_db
def test_the_founding_event_gives_the_trial() -> None:
    released(kind="trial", rate="1", more=TRIAL)
    _, organisation = make_founder()
    event = Event.objects.get(name="platform.organisation_founded", subject_id=organisation.id)
    deliver(event_id=event.id, now=NOW)
    deliver(event_id=event.id, now=NOW)
    assert Voucher.objects.filter(organisation=organisation, by_rule=True).count() == 1


@pytest.mark.django_db
def test_a_person_gets_one_trial_however_much_they_found() -> None:
    released(kind="trial", rate="1", more=TRIAL)
    founder, first = make_founder()
    second = found_organisation(actor=founder, name="Another name", kind="company", now=NOW)
    for event in Event.objects.filter(name="platform.organisation_founded").order_by("-id"):
        deliver(event_id=event.id, now=NOW)
    assert list(Voucher.objects.values_list("organisation_id", flat=True)) == [first.id]
    assert second.id != first.id


@pytest.mark.django_db
def test_new_versions_keep_what_is_fixed() -> None:
    released(id="fixed", pool="100")
    first = maker()
    before = figures()
    for fields in (
        {"version": 2, "mode": "reimbursement", "more": "claim_days: 5", "pool": "100"},
        {"version": 2, "more": "exclusivity_group: other", "pool": "100"},
        {"version": 2, "pool": "99"},
    ):
        with pytest.raises(services.TermsFixed):
            services.propose_programme(actor=first, text=programme_text(id="fixed", **fields), now=NOW)
    with pytest.raises(services.VersionTaken):
        services.propose_programme(actor=first, text=programme_text(id="fixed", pool="101"), now=NOW)
    assert figures() == before


def _race(count: int, work: Any) -> list[Any]:
    """The outcome of `work(number)` in `count` threads that start together."""
    barrier, outcomes = threading.Barrier(count), [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            outcomes[number] = work(number)
        except (InsufficientFunds, services.VoucherNotUsable, IntegrityError) as refusal:
            outcomes[number] = refusal
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return outcomes


@pytest.mark.parametrize("more", ["", 'cap_per_organisation_year: "30"'])
def test_two_orders_race_for_the_last_of_a_voucher_or_a_cap(fresh_db: Any, more: str) -> None:
    version = released(rate="1", more=more)
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 500 if more else 30)
    split = services.best_split(spend=make_spend(organisation.id, 20), choice="auto", now=NOW)
    outcomes = _race(4, lambda _: accept(split))
    won = [one for one in outcomes if isinstance(one, UUID)]
    assert len(won) == 1
    assert all(isinstance(one, InsufficientFunds) for one in outcomes if one not in won)
    assert yuan_on(account("voucher", voucher.id))[1] == 20
    assert Redemption.objects.count() == 1
    assert Hold.objects.count() == (2 if more else 1)


def test_expiry_races_settlement_and_no_money_is_lost(fresh_db: Any) -> None:
    version = released(rate="1")
    _, organisation = make_founder()
    voucher = make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 10), choice="auto", now=NOW)
    orders = [accept(split) for _ in range(3)]
    late, payee = NOW + timedelta(days=31), make_payee()

    def work(number: int) -> Any:
        if number == 3:
            return services.expire_vouchers(now=late)
        return settle(orders[number], split, 4, payee, at=late)

    outcomes = _race(4, work)
    assert not [one for one in outcomes if one is None or isinstance(one, Exception)]
    services.expire_vouchers(now=late + timedelta(seconds=1))
    assert yuan_on(payee) == (12, 0)
    assert yuan_on(account("voucher", voucher.id)) == (0, 0)
    assert yuan_on(account("pool", version.programme_id)) == (988, 0)


def test_two_trials_at_once_are_one(fresh_db: Any) -> None:
    released(kind="trial", rate="1", more=TRIAL)
    _, organisation = make_founder()
    outcomes = _race(4, lambda _: services.issue_trial(organisation_id=organisation.id, now=NOW))
    assert len({one.id for one in outcomes}) == 1
    assert Voucher.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        "update subsidies_voucher set amount_micros = amount_micros * 10",
        "update subsidies_voucher set expires_at = expires_at + interval '9 years'",
        "delete from subsidies_voucher",
        "update subsidies_redemption set share = '{}'",
        "update subsidies_claim set amount_micros = 1",
        "delete from subsidies_application",
    ],
)
def test_the_application_cannot_change_what_was_given(db: None, change: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        connection.cursor().execute(change)
