"""The counter's intentions: each does all or nothing, once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from tests.conftest import NOW
from tests.market.conftest import (
    YUAN,
    SoldOut,
    World,
    figures,
    ledger_sum,
    make_organisation,
    person,
    rows_now,
)
from tests.market.vouchers import give_voucher

from mosu.kernel.digests import sha256_of
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.ledger.services import InsufficientFunds
from mosu.market import services
from mosu.market.models import (
    Charge,
    Offer,
    OfferPrice,
    Order,
    OrderState,
    Outcome,
    Quote,
    QuoteState,
    Receipt,
    SoldBy,
    UsageRecord,
)
from mosu.market.queries import prices_at
from mosu.market.services.offers import NotASupplier, NotYours
from mosu.market.services.quotes import NotForSale
from mosu.market.shelves import PlanLine, UsageIn, UsageResult
from mosu.platform.actors import Role
from mosu.platform.models import AuditRecord, Event
from mosu.platform.services import KeyReused
from mosu.subsidies.models import Redemption

HOUR = timedelta(hours=1)


@contextmanager
def refused(kind: type[Exception]) -> Iterator[None]:
    """The refusal comes, and nothing of the counter, the ledger or the audit changed."""
    before = rows_now()
    with pytest.raises(kind):
        yield
    assert rows_now() == before


def accept(world: World, quote: Quote, *, key: str = "k1", **fields: Any) -> Order:
    wanted = {"actor": world.actor, "quote_id": quote.id, "idempotency_key": key, "now": NOW}
    return services.accept_quote(**(wanted | fields))


def used(order: Order, seconds: int, *, sequence: int = 0, units: int = 4, **fields: Any) -> UsageIn:
    wanted: dict[str, Any] = {
        "order_id": order.id,
        "meter": "core_second",
        "sequence": sequence,
        "quantity": units * seconds,
        "start": NOW,
        "end": NOW + timedelta(seconds=seconds),
    }
    return UsageIn(**(wanted | fields))


def record(*records: UsageIn) -> UsageResult:
    return services.record_usage(records=records, now=NOW + HOUR)


def settle(order: Order, *, outcome: Outcome = Outcome.SUCCEEDED) -> Receipt:
    return services.settle_order(order_id=order.id, ended_at=NOW + HOUR, outcome=outcome, now=NOW + HOUR)


# quotes


def test_a_quote_keeps_its_price_when_a_new_one_is_set(world: World) -> None:
    offer = world.offer(price="3.6", fee_bp=0)
    quote = world.quote(offer=offer, units=4, wall_s=1800)
    assert quote.total_max_micros == 7_200_000
    assert quote.valid_until == NOW + timedelta(minutes=15)
    services.set_price(
        actor=world.seller,
        offer_id=offer.id,
        price=services.PriceSpec("core_second", "core_hour", 9 * YUAN),
        now=NOW + timedelta(minutes=1),
    )
    order = accept(world, quote, now=NOW + timedelta(minutes=2))
    assert order.total_max_micros == 7_200_000
    assert order.lines.get().unit_price_micros == 3_600_000
    later = world.quotes(world.plan(offer), now=NOW + timedelta(minutes=2))[0]
    assert later.total_max_micros == 36 * YUAN


def test_whatever_becomes_of_the_offer_and_the_programme_a_quote_keeps_its_own(world: World) -> None:
    """Tax, titles, limits, price and rate of the voucher change behind it; its order is charged as was quoted."""
    offer = world.offer(price="3.6", tax_rate_bp=600)
    voucher = programme_voucher(world, version=1, rate="0.4")
    quote = world.quote(offer=offer)
    kept = {name: getattr(quote, name) for name in ("lines", "terms", "split", "total_max_micros")}
    later = NOW + timedelta(minutes=1)

    changed = _terms(max_units=2, wall_s_max=60, unit_prices_micros={"core_second": 9 * YUAN})
    services.change_offer(
        actor=world.seller, offer_id=offer.id, terms=changed, revision=_revision(offer), now=later
    )
    Offer.objects.filter(id=offer.id).update(tax_rate_bp=1300, tax_included=False)
    programme_voucher(world, version=2, rate="0.9")
    now_quoted = world.quotes(world.plan(offer, units=2, wall_s=60), now=later)[0]
    for name, value in kept.items():
        assert getattr(now_quoted, name) != value, f"{name}: the change changes nothing that is quoted"

    order = accept(world, quote, now=later)
    quote.refresh_from_db()
    assert {name: getattr(quote, name) for name in kept} == kept
    line = order.lines.get()
    assert (line.unit_price_micros, line.tax_rate_bp, line.tax_included) == (3_600_000, 600, True)
    record(used(order, 3600))
    content = settle(order).content
    assert content["lines"][0]["text"]["en"].startswith("Test cores")
    assert (content["total"], content["voucher_share"], content["paid"]) == ("14.40", "5.76", "8.64")
    assert content["tax"] == {"rate": "0.06", "included": True, "amount": "0.82"}
    assert Charge.objects.get().tax_micros == 820_000
    assert (content["split"][0]["source"], content["split"][0]["rate"]) == ("voucher", "0.4")
    assert figures("voucher", voucher) == (1000 * YUAN - 5_760_000, 0)


def programme_voucher(world: World, *, version: int, rate: str) -> UUID:
    """A released voucher of the buyer's, of this version of one programme."""
    return give_voucher(world, rate=rate, id="frozen", version=version)


def test_quotes_rank_by_what_is_paid_now_then_net_then_start(world: World) -> None:
    give_voucher(world, rate="0.5")
    cheap, dear = world.offer(price="2"), world.offer(price="3")
    late = world.plan(cheap, starts_at=NOW + HOUR)
    ranked = world.quotes(world.plan(dear), late, world.plan(cheap))
    assert [quote.offer_id for quote in ranked] == [cheap.id, cheap.id, dear.id]
    assert ranked[0].starts_at < ranked[1].starts_at


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"lines": (PlanLine("core_second", 65, 65),)}, Invalid),
        ({"wall_limit_s": 86_401}, Invalid),
        ({"lines": (PlanLine("card_second", 1, 1),)}, NotForSale),
        ({"offer_id": uuid4()}, NotForSale),
        ({"lines": (PlanLine("core_second", 1, 10**18),)}, Invalid),
    ],
)
def test_a_plan_that_the_offer_does_not_sell_is_refused(
    world: World, change: dict[str, Any], refusal: type[Exception]
) -> None:
    plan = world.plan(world.offer(), **change)
    with refused(refusal):
        world.quotes(plan)


def test_quotes_are_only_made_for_ones_own_organisation_and_project(world: World) -> None:
    plan = world.plan(world.offer())
    world.actor = person((make_organisation("Stranger"), Role.OWNER))
    with refused(Forbidden):
        world.quotes(plan)
    world.actor = person((world.buyer, Role.VIEWER))
    with refused(Forbidden):
        world.quotes(plan)
    world.actor = person((world.buyer, Role.DEVELOPER))
    world.project.id = uuid4()
    with refused(NotFound):
        world.quotes(plan)


def test_open_quotes_expire_in_the_background(world: World) -> None:
    old, young = world.quote(), world.quotes(world.plan(world.offer()), now=NOW + HOUR)[0]
    assert services.expire_quotes(now=NOW + HOUR) == 1
    old.refresh_from_db(), young.refresh_from_db()
    assert (old.state, young.state) == (QuoteState.EXPIRED, QuoteState.OPEN)
    with refused(services.QuoteExpired):
        accept(world, old)


# accepting


def test_accepting_holds_voucher_and_money_and_sets_the_work_going(world: World) -> None:
    voucher = give_voucher(world, rate="0.4")
    quote = world.quote()
    order = accept(world, quote)
    assert order.total_max_micros == 14_400_000
    assert figures("voucher", voucher) == (1000 * YUAN, 5_760_000)
    assert figures("balance", world.buyer.id) == (100 * YUAN, 8_640_000)
    assert world.shelf.reserved == world.shelf.fulfilled == [order.id]
    quote.refresh_from_db()
    assert quote.state == QuoteState.ACCEPTED
    assert order.number.startswith("O-2026-")
    assert Event.objects.get(name="market.order_placed").subject_id == order.id
    assert AuditRecord.objects.get(subject_id=order.id).actor_id == world.actor.id


def test_the_same_key_returns_the_first_order(world: World) -> None:
    quote = world.quote()
    first = accept(world, quote)
    before = rows_now()
    again = accept(world, quote, now=NOW + HOUR)
    assert again.id == first.id
    assert rows_now() == before
    assert world.shelf.reserved == [first.id]


@pytest.mark.parametrize(("vouchers", "asked"), [(0, 9), (1, 11), (2, 11)])
def test_an_acceptance_asks_exactly_this_much(
    world: World, django_assert_num_queries: Callable[[int], Any], vouchers: int, asked: int
) -> None:
    """With two statements of the test's savepoint; the shelf adds its own. More vouchers ask no more, nor do caps
    once the year has begun."""
    for _ in range(vouchers):
        give_voucher(world, rate="0.1", more='cap_per_organisation_year: "500"')
    first, second = world.quote(), world.quote()
    accept(world, first, key="first")
    with django_assert_num_queries(asked):
        order = accept(world, second, key="second")
    assert Redemption.objects.filter(order_id=order.id).count() == vouchers


def test_refusals_of_acceptance_change_nothing(world: World) -> None:
    quote, other = world.quotes(world.plan(world.offer()), world.plan(world.offer()))
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    with refused(NotFound):
        accept(world, quote, actor=stranger)
    with refused(Forbidden):
        accept(world, quote, actor=person((world.buyer, Role.FINANCE)))
    with refused(services.QuoteExpired):
        accept(world, quote, now=NOW + timedelta(minutes=15, seconds=1))
    world.shelf.stock_left = 0
    with refused(SoldOut):
        accept(world, quote)
    world.shelf.stock_left = None
    accept(world, quote)
    with refused(services.QuoteTaken):
        accept(world, quote, key="k2")
    with refused(KeyReused):
        accept(world, other)


def test_without_enough_money_nothing_happens(world: World) -> None:
    quote = world.quote(offer=world.offer(price="100"))
    with refused(InsufficientFunds):
        accept(world, quote)
    assert world.shelf.fulfilled == []


def test_what_the_supplier_bills_holds_vouchers_only(world: World) -> None:
    voucher = give_voucher(world, rate="0.4")
    order = accept(world, world.quote(offer=world.offer(sold_by=SoldBy.SUPPLIER, price="1000")))
    assert order.balance_hold_id is None
    assert figures("balance", world.buyer.id) == (100 * YUAN, 0)
    record(used(order, 1800))
    content = settle(order).content
    assert content["billed_by"] == "supplier"
    assert (content["total"], content["voucher_share"], content["paid"]) == ("2000.00", "800.00", "1200.00")
    assert figures("payable", world.supplier.id) == (800 * YUAN, 0)
    assert figures("voucher", voucher) == (200 * YUAN, 0)
    assert figures("balance", world.buyer.id) == (100 * YUAN, 0)


# usage


def test_usage_counts_once_and_within_its_bounds(world: World) -> None:
    order = accept(world, world.quote())
    assert record(used(order, 600, sequence=0)) == UsageResult(1, 0, 0)
    assert record(used(order, 600, sequence=0), used(order, 600, sequence=1)) == UsageResult(1, 1, 0)
    assert record(used(order, 600, sequence=2), used(order, 999, sequence=2)) == UsageResult(1, 1, 0)
    over = record(used(order, 3600, sequence=3))
    assert over == UsageResult(accepted=0, repeated=0, quarantined=1)
    row = UsageRecord.objects.get(sequence=3)
    assert (row.quantity, row.quantity_accepted) == (4 * 3600, 4 * 1800)
    assert "wall limit" in row.reason


def test_usage_beyond_what_the_hub_observed_is_quarantined(world: World) -> None:
    order = accept(world, world.quote())
    assert record(used(order, 600, quantity_allowed=4 * 500)).quarantined == 1
    row = UsageRecord.objects.get()
    assert (row.quantity_accepted, row.reason) == (2000, "more than allocation x time that the hub observed")


def test_usage_beyond_its_own_span_is_quarantined(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 600, end=NOW + timedelta(seconds=10)))
    row = UsageRecord.objects.get()
    assert (row.quantity_accepted, row.reason) == (40, "more than fits between its start and end")


@pytest.mark.parametrize("change", [{"sequence": -1}, {"end": NOW - HOUR}, {"meter": "x"}])
def test_impossible_usage_is_a_bug_of_the_shelf(world: World, change: dict[str, Any]) -> None:
    order = accept(world, world.quote())
    with refused(ValueError):
        record(used(order, 1), used(order, 1, **({"sequence": 1} | change)))


def test_usage_after_the_end_is_kept_but_does_not_count(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 600))
    receipt = settle(order)
    assert record(used(order, 600, sequence=1)) == UsageResult(0, 0, 1)
    assert UsageRecord.objects.get(sequence=1).reason == "the order had ended"
    assert services.recompute_charge(order.id).agrees
    assert settle(order).content == receipt.content


def test_usage_takes_as_many_statements_for_many_records_as_for_one(
    world: World, django_assert_num_queries: Callable[[int], Any]
) -> None:
    order = accept(world, world.quote())
    with django_assert_num_queries(6):
        record(*(used(order, 1, sequence=sequence) for sequence in range(500)))
    with django_assert_num_queries(7):  # what may be known is looked up
        record(*(used(order, 1, sequence=sequence) for sequence in range(490, 900)))


# settlement


def test_settling_charges_captures_releases_pays_and_writes_the_receipt(world: World) -> None:
    voucher = give_voucher(world, rate="0.4")
    offer = world.offer(price="3.6")
    quote = world.quote(offer=offer)
    order = accept(world, quote)
    services.activate_order(order_id=order.id, now=NOW)
    record(used(order, 1250))  # 5000 core-seconds at 3.6 an hour: 5.00
    receipt = settle(order)
    order.refresh_from_db()
    assert (order.state, order.total_micros) == (OrderState.SETTLED, 5_000_000)
    assert figures("voucher", voucher) == (998 * YUAN, 0)
    assert figures("balance", world.buyer.id) == (97 * YUAN, 0)
    assert figures("payable", world.supplier.id) == (5 * YUAN, 0)
    assert ledger_sum() == 0
    content = receipt.content
    assert (content["total"], content["voucher_share"], content["paid"]) == ("5.00", "2.00", "3.00")
    assert content["released"] == "9.40"
    assert content["tax"] == {"rate": "0.06", "included": True, "amount": "0.28"}
    line = content["lines"][0]
    assert (line["quantity"], line["amount"], line["text"]["zh"]) == ("1.388889", "5.00", "测试核时 · 核时")
    assert receipt.sha256 == sha256_of(Receipt.objects.get(id=receipt.id).content)
    assert receipt.number == "R-2026-000001"
    assert services.recompute_charge(order.id).agrees
    assert [record.after for record in AuditRecord.objects.filter(subject_id=order.id).order_by("id")] == [
        "placed",
        "active",
        "settled",
    ]


def test_settling_twice_changes_nothing(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 600))
    first = settle(order)
    before = rows_now()
    assert settle(order).id == first.id
    assert settle(order, outcome=Outcome.PLATFORM_FAILURE).id == first.id
    assert rows_now() == before


def test_the_hub_takes_its_fee_from_what_the_supplier_is_paid(world: World) -> None:
    order = accept(world, world.quote(offer=world.offer(fee_bp=250)))
    record(used(order, 3600))
    settle(order)
    assert figures("payable", world.supplier.id) == (14_040_000, 0)
    assert ledger_sum() == 0


def test_an_order_ends_at_the_price_and_fee_of_its_quote(world: World) -> None:
    """Both were raised while it ran."""
    offer = world.offer(price="3.6", fee_bp=250)
    order = accept(world, world.quote(offer=offer))
    services.set_price(
        actor=world.seller,
        offer_id=offer.id,
        price=services.PriceSpec("core_second", "core_hour", 9 * YUAN),
        now=NOW + timedelta(minutes=1),
    )
    Offer.objects.filter(id=offer.id).update(fee_bp=5000)
    record(used(order, 3600))
    assert settle(order).content["total"] == "14.40"
    assert figures("payable", world.supplier.id) == (14_040_000, 0)


def test_a_failure_of_the_platform_costs_the_buyer_nothing(world: World) -> None:
    voucher = give_voucher(world, rate="0.4")
    order = accept(world, world.quote())
    record(used(order, 1250))
    content = settle(order, outcome=Outcome.PLATFORM_FAILURE).content
    assert (content["total"], content["credited"], content["outcome"]) == ("0.00", "5.00", "platform_failure")
    assert figures("balance", world.buyer.id) == (100 * YUAN, 0)
    assert figures("voucher", voucher) == (1000 * YUAN, 0)
    assert figures("payable", world.supplier.id) == (0, 0)
    assert services.recompute_charge(order.id).agrees
    assert Charge.objects.get().credited_micros == 5 * YUAN


def test_an_order_without_use_costs_nothing(world: World) -> None:
    order = accept(world, world.quote())
    assert settle(order, outcome=Outcome.FAILED).content["total"] == "0.00"
    assert figures("balance", world.buyer.id) == (100 * YUAN, 0)


def test_a_refund_later_is_paid_now(world: World) -> None:
    give_voucher(world, rate="0.5", mode="reimbursement", more="claim_days: 90")
    quote = world.quote()
    order = accept(world, quote)
    assert figures("balance", world.buyer.id) == (100 * YUAN, 14_400_000)
    record(used(order, 3600))
    content = settle(order).content
    assert (content["voucher_share"], content["paid"]) == ("0.00", "14.40")
    assert [share["amount"] for share in content["split"] if share["source"] == "refund"] == ["7.20"]


def test_receipt_numbers_have_no_gaps(world: World) -> None:
    numbers = []
    for key in ("a", "b", "c"):
        numbers.append(settle(accept(world, world.quote(), key=key)).number)
        undone = accept(world, world.quote(), key=f"{key}-undone")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            settle(undone)
            raise ZeroDivisionError
    assert numbers == ["R-2026-000001", "R-2026-000002", "R-2026-000003"]


# cancelling


def test_cancelling_before_the_start_gives_everything_back(world: World) -> None:
    voucher = give_voucher(world, rate="0.4")
    order = accept(world, world.quote())
    cancelled = services.cancel_order(actor=world.actor, order_id=order.id, now=NOW)
    assert cancelled.state == OrderState.CANCELLED
    assert figures("balance", world.buyer.id) == (100 * YUAN, 0)
    assert figures("voucher", voucher) == (1000 * YUAN, 0)
    before = rows_now()
    services.cancel_order(actor=world.actor, order_id=order.id, now=NOW)
    assert rows_now() == before
    assert world.shelf.cancelled == [order.id]
    with refused(IllegalMove):
        settle(order)


def test_cancelling_what_runs_only_tells_it_to_stop(world: World) -> None:
    order = accept(world, world.quote())
    services.activate_order(order_id=order.id, now=NOW)
    world.shelf.started = True
    before = rows_now()
    assert services.cancel_order(actor=world.actor, order_id=order.id, now=NOW).state == OrderState.ACTIVE
    assert rows_now() == before
    assert world.shelf.cancelled == [order.id]


def test_refusals_of_cancelling_change_nothing(world: World) -> None:
    order = accept(world, world.quote())
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    with refused(NotFound):
        services.cancel_order(actor=stranger, order_id=order.id, now=NOW)
    with refused(Forbidden):
        services.cancel_order(actor=person((world.buyer, Role.FINANCE)), order_id=order.id, now=NOW)
    settle(order)
    with refused(IllegalMove):
        services.cancel_order(actor=world.actor, order_id=order.id, now=NOW)


# offers


def test_offers_need_a_supplier_its_goods_and_prices_in_order(world: World) -> None:
    with refused(NotASupplier):
        world.offer(supplier_id=world.buyer.id)
    with refused(NotYours):
        world.offer(subject_id=UUID(int=13))
    with refused(Invalid):
        world.offer(prices=[])
    with refused(Invalid):
        world.offer(prices=[services.PriceSpec("core_second", "core_hour", 0)])
    with refused(Invalid):
        world.offer(min_units=5, max_units=4)
    for title in (" ", "x" * 201, "a\x00"):
        with refused(Invalid):
            world.offer(title_en=title)
    offer = world.offer()
    price = services.PriceSpec("core_second", "core_hour", YUAN)
    with refused(Forbidden):
        services.set_price(actor=world.actor, offer_id=offer.id, price=price, now=NOW + HOUR)
    with refused(Invalid):
        services.set_price(actor=world.seller, offer_id=offer.id, price=price, now=NOW)
    with refused(Forbidden):
        services.delist_offer(actor=world.actor, offer_id=offer.id, now=NOW)


def test_a_supplier_does_not_set_the_hubs_fee(world: World) -> None:
    spec = services.OfferSpec(
        supplier_id=world.supplier.id,
        shelf="desk",
        subject_id=uuid4(),
        title_zh="零费",
        title_en="No fee",
        max_units=1,
        wall_s_max=1,
        prices=[services.PriceSpec("core_second", "core_hour", YUAN)],
        fee_bp=1,
    )
    with refused(Forbidden):
        services.create_offer(actor=world.seller, spec=spec, now=NOW)


def test_what_is_off_the_shelf_is_not_quoted_but_its_quotes_stand(world: World) -> None:
    offer = world.offer()
    quote = world.quote(offer=offer)
    services.delist_offer(actor=world.seller, offer_id=offer.id, now=NOW)
    with refused(NotForSale):
        world.quote(offer=offer)
    assert accept(world, quote).state == OrderState.PLACED


# what the database holds


@pytest.mark.parametrize(
    "statement",
    [
        "update market_quote set total_max_micros = 0",
        "update market_quote set lines = '[]'",
        "delete from market_quote",
        "update market_order set total_max_micros = 1",
        "delete from market_order",
        "update market_orderline set unit_price_micros = 1",
        "update market_offerprice set unit_price_micros = 1",
        "update market_usagerecord set quantity_accepted = 0",
        "delete from market_usagerecord",
        "update market_charge set amount_micros = 0",
        "update market_receipt set content = '{}'",
        "truncate market_receipt",
    ],
)
def test_raw_sql_cannot_rewrite_what_was_promised_or_used(world: World, statement: str) -> None:
    order = accept(world, world.quote())
    record(used(order, 600))
    settle(order)
    with refused(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_change_of_state_without_audit_is_refused(world: World) -> None:
    order = accept(world, world.quote())
    with refused(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("update market_order set state = 'active' where id = %s", [order.id])
        cursor.execute("set constraints all immediate")


def test_the_total_of_a_settled_order_stands(world: World) -> None:
    order = accept(world, world.quote(offer=world.offer(price="3.6"), units=1, wall_s=3600))
    settle(order)
    for change in ("total_micros = total_micros + 1", "settled_at = null", "balance_hold_id = null"):
        with pytest.raises(IntegrityError, match="no longer changes"), transaction.atomic():
            connection.cursor().execute(f"update market_order set {change}")


def _terms(**changes: Any) -> services.TermsSpec:
    given: dict[str, Any] = {"title_zh": "二号厅", "title_en": "Hall 2", "min_units": 1, "max_units": 4}
    return services.TermsSpec(**{**given, "wall_s_max": 7200, **changes})


def _revision(offer: Offer, *, at: Any = NOW) -> str:
    return services.revision_of(offer, prices_at(offer.id, at=at))


def _kept() -> list[Any]:
    return [
        *Offer.objects.values_list("title_zh", "title_en", "min_units", "max_units", "wall_s_max"),
        *OfferPrice.objects.order_by("id").values_list("unit_price_micros", "valid_from"),
        AuditRecord.objects.count(),
    ]


def test_terms_are_changed_as_they_were_seen_with_a_record_and_a_line_of_history(world: World) -> None:
    offer = world.offer(price="3.6")
    quote = world.quote(offer=offer)
    revision, later = _revision(offer), NOW + timedelta(minutes=1)
    terms = _terms(unit_prices_micros={"core_second": 4 * YUAN})
    changed = services.change_offer(
        actor=world.seller, offer_id=offer.id, terms=terms, revision=revision, now=later
    )
    assert (changed.title_zh, changed.max_units, changed.wall_s_max) == ("二号厅", 4, 7200)
    prices = OfferPrice.objects.filter(offer=offer).order_by("valid_from")
    assert [one.unit_price_micros for one in prices] == [3_600_000, 4 * YUAN]
    change, price = AuditRecord.objects.filter(subject_id=offer.id).order_by("id")[1:]
    assert (change.action, price.action) == ("offer.change", "offer.price")
    assert change.facts["changes"]["wall_s_max"] == [offer.wall_s_max, 7200]
    assert accept(world, quote, now=later).lines.get().unit_price_micros == 3_600_000
    before = _kept()
    for stale in (revision, ""):
        with refused(services.OfferChanged):
            services.change_offer(
                actor=world.seller, offer_id=offer.id, terms=_terms(max_units=9), revision=stale, now=later
            )
    services.change_offer(
        actor=world.seller, offer_id=offer.id, terms=terms, revision=_revision(changed, at=later), now=later
    )
    assert _kept() == before


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"title_zh": " "}, Invalid),
        ({"title_en": "x" * 201}, Invalid),
        ({"min_units": 5}, Invalid),
        ({"wall_s_max": 0}, Invalid),
        ({"max_units": 2**31}, Invalid),
        ({"unit_prices_micros": {"card_second": YUAN}}, Invalid),
        ({"unit_prices_micros": {"core_second": 0}}, Invalid),
        ({"unit_prices_micros": {"core_second": 361 * YUAN}}, services.PriceDoubted),
        ({"unit_prices_micros": {"core_second": YUAN // 100}}, services.PriceDoubted),
        ({"unit_prices_micros": {"core_second": 99 * YUAN}, "title_en": "n"}, None),
        ({"unit_prices_micros": {"core_second": 999 * YUAN}}, services.PriceDoubted),
    ],
)
def test_terms_that_cannot_be_or_look_wrong_change_nothing(
    world: World, change: dict[str, Any], refusal: type[Exception] | None
) -> None:
    offer = world.offer(price="3.6")
    revision, later, before = _revision(offer), NOW + timedelta(minutes=1), _kept()

    def change_it(**more: Any) -> Offer:
        return services.change_offer(
            actor=world.seller,
            offer_id=offer.id,
            terms=_terms(**change),
            revision=revision,
            now=later,
            **more,
        )

    if refusal is None:
        assert change_it().title_en == "n"
        return
    with pytest.raises(refusal):
        change_it()
    assert _kept() == before
    if refusal is services.PriceDoubted:
        change_it(confirmed=True)
        (record,) = AuditRecord.objects.filter(subject_id=offer.id, action="offer.price")
        assert record.facts["confirmed"] == "last_price"


def test_only_who_manages_the_suppliers_offers_changes_their_terms(world: World) -> None:
    offer = world.offer()
    before = _kept()
    with pytest.raises(Forbidden):
        services.change_offer(
            actor=world.actor, offer_id=offer.id, terms=_terms(), revision=_revision(offer), now=NOW
        )
    with pytest.raises(NotFound):
        services.change_offer(actor=world.seller, offer_id=uuid4(), terms=_terms(), revision="", now=NOW)
    assert _kept() == before
