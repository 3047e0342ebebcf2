"""Pricing plans: a quote freezes prices, tax, split and terms; nothing is repriced later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.market import rules
from mosu.market.models import Offer, OfferPrice, OfferState, OrderLine, Quote, QuoteState
from mosu.market.rates import Rate, rate_for, rates_of
from mosu.market.shelves import Plan, PlanLine, shelf_of
from mosu.market.tiers import LIST_PRICE, TierPrice, tiers_of
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.models import Project
from mosu.platform.policy import require
from mosu.platform.rows import insert, inserts_together
from mosu.platform.services import record_audit
from mosu.subsidies.services import Choice, Spend, Split, best_splits

PLANS_MAX = 100


class NotForSale(DomainError):
    """The offer is off the shelf, or has no price for what the plan measures."""

    code = "not_for_sale"


class TooLittle(DomainError):
    """What is asked for has a price, and comes to less than can be charged."""

    code = "too_little"
    status = 422


def make_quotes(
    *,
    actor: Actor,
    organisation_id: UUID,
    project_id: UUID,
    shelf: str,
    plans: Sequence[Plan],
    choice: Choice,
    now: datetime,
    valid_for: timedelta | None = None,
) -> list[Quote]:
    """An open quote for each plan, best first (`rules.rank_of`); valid for 15 minutes unless said otherwise; for a
    shelf to call, inside its transaction.

    Raises:
        Forbidden: the actor may not ask quotes for this organisation.
        NotFound: the project is not the organisation's.
        NotForSale: an offer is off the shelf, of another shelf, or without a price of a meter.
        NoRate: an offer is listed in a foreign currency of which no rate is recent.
        Invalid: a plan outside its offer's limits, too many plans, or a voucher that `choice` names is unusable.
    """
    require(actor, "quote.ask", organisation_id)
    if len(plans) > PLANS_MAX:
        raise Invalid(f"{len(plans)} plans are too many.", hint=f"At most {PLANS_MAX}.", field="plans")
    if not Project.objects.filter(id=project_id, organisation_id=organisation_id).exists():
        raise NotFound("There is no such project.", hint="See GET /me.")
    offers, prices = _offers_for(plans, now=now)
    worth = _Worth(rates=_rates_for(prices.values(), now=now), now=now)
    tiers = tiers_of(organisation_id, now=now, offers=offers.keys())
    planned = [
        _priced(
            plan,
            offers.get(plan.offer_id),
            prices,
            worth=worth,
            tier=tiers.get(plan.offer_id, LIST_PRICE),
            organisation_id=organisation_id,
            shelf=shelf,
        )
        for plan in plans
    ]
    splits = best_splits(
        spends=[_spend(organisation_id, offer, lines, now) for offer, lines in planned],
        choice=choice,
        now=now,
    )
    ranked = []
    for plan, (offer, lines), split in zip(plans, planned, splits, strict=True):
        tier = tiers.get(plan.offer_id, LIST_PRICE)
        terms = _terms(offer, tier)
        quote = frozen_quote(plan, offer=offer, terms=terms, lines=lines, split=split, now=now)
        quote.organisation_id, quote.project_id = organisation_id, project_id
        quote.valid_until = now + (valid_for or rules.QUOTE_VALID)
        quote.fx = worth.frozen(prices[offer.id, line.meter] for line in lines)
        ranked.append((_rank(quote, split), quote))
    quotes = [quote for _, quote in sorted(ranked, key=lambda pair: pair[0])]
    with inserts_together():
        insert(*quotes)
        for quote in quotes:
            record_audit(
                actor=actor,
                action="quote.make",
                subject_id=quote.id,
                before=None,
                after=QuoteState.OPEN,
                now=now,
                organisation_id=organisation_id,
            )
    return quotes


def check_chargeable(quote: Quote) -> None:
    """For more time of what is there already: in pieces that each round to nothing it would never be paid.

    Raises:
        TooLittle: it has a price, and comes to less than the currency's minor unit.
    """
    lines = rules.lines_of_json(quote.lines)
    if all(rules.rounds_to_nothing(line, currency=quote.currency) for line in lines):
        raise TooLittle("So little time costs less than can be charged.", hint="Ask for more at once.")


@transaction.atomic(durable=True)
def expire_quotes(*, now: datetime, count_max: int = 500) -> int:
    """How many open quotes past their validity were moved to expired; up to `count_max`, oldest first."""
    due = list(
        Quote.objects.select_for_update(skip_locked=True, no_key=True)
        .filter(state=QuoteState.OPEN, valid_until__lt=now)
        .order_by("valid_until")[:count_max]
    )
    for quote in due:
        record_audit(
            actor=SYSTEM,
            action="quote.expire",
            subject_id=quote.id,
            before=QuoteState.OPEN,
            after=QuoteState.EXPIRED,
            now=now,
            organisation_id=quote.organisation_id,
        )
    Quote.objects.filter(id__in=[quote.id for quote in due]).update(state=QuoteState.EXPIRED)
    return len(due)


def _offers_for(
    plans: Sequence[Plan], *, now: datetime
) -> tuple[dict[UUID, Offer], dict[tuple[UUID, str], OfferPrice]]:
    """The listed offers of the plans, and the price of each meter that is in force."""
    ids = {plan.offer_id for plan in plans}
    offers = Offer.objects.select_related("supplier").filter(id__in=ids, state=OfferState.LISTED)
    rows = (
        OfferPrice.objects.filter(offer_id__in=ids, valid_from__lte=now)
        .order_by("offer_id", "meter", "-valid_from")
        .distinct("offer_id", "meter")
    )
    return {offer.id: offer for offer in offers}, {(row.offer_id, row.meter): row for row in rows}


def _priced(
    plan: Plan,
    offer: Offer | None,
    prices: Mapping[tuple[UUID, str], OfferPrice],
    *,
    worth: "_Worth",
    tier: TierPrice,
    organisation_id: UUID,
    shelf: str,
) -> tuple[Offer, list[rules.QuotedLine]]:
    """The plan's offer and lines.

    Raises:
        NotForSale, NoRate, Invalid: see `make_quotes`.
    """
    if offer is None or offer.shelf != shelf or not is_for(offer, organisation_id):
        raise NotForSale("The offer is off the shelf.", hint="Ask for quotes again.")
    _check(plan, offer)
    lines = [
        _line(line, offer=offer, price=prices.get((offer.id, line.meter)), worth=worth, tier=tier)
        for line in plan.lines
    ]
    return offer, lines


def is_for(offer: Offer, organisation_id: UUID) -> bool:
    """Whether the organisation may buy it: an offer at a price for one buyer is that buyer's alone."""
    return offer.buyer_organisation_id in (None, organisation_id)


def _check(plan: Plan, offer: Offer) -> None:
    for line in plan.lines:
        if not offer.min_units <= line.units <= offer.max_units:
            raise Invalid(
                f"{offer.title_en} sells {offer.min_units} to {offer.max_units} units, not {line.units}.",
                hint="Ask for a number within the limits.",
                field="units",
                found=line.units,
            )
    if not 1 <= plan.wall_limit_s <= offer.wall_s_max:
        raise Invalid(
            f"{offer.title_en} sells up to {offer.wall_s_max} s, not {plan.wall_limit_s} s.",
            hint="Set a shorter wall limit.",
            field="wall_limit_s",
            found=plan.wall_limit_s,
        )


def _rates_for(prices: Iterable[OfferPrice], *, now: datetime) -> Mapping[str, Rate]:
    """The rates that foreign list prices need; nothing is asked where there are none."""
    foreign = any(price.currency != settings.HUB_CURRENCY for price in prices)
    return rates_of(now=now) if foreign else {}


@dataclass(frozen=True, slots=True)
class _Worth:
    """What list prices are worth in the hub's currency now."""

    rates: Mapping[str, Rate]
    now: datetime

    def of(self, price: OfferPrice) -> int:
        """Raises NoRate where no rate is recent."""
        if price.currency == settings.HUB_CURRENCY:
            return price.unit_price_micros
        return rate_for(price.currency, self.rates, now=self.now).converted(price.unit_price_micros)

    def frozen(self, prices: Iterable[OfferPrice]) -> dict[str, Any]:
        """For `Quote.fx`: by meter, how a foreign list price was converted."""
        return {
            price.meter: self.rates[price.currency].frozen(price.unit_price_micros)
            for price in prices
            if price.currency != settings.HUB_CURRENCY
        }


def _line(
    line: PlanLine, *, offer: Offer, price: OfferPrice | None, worth: _Worth, tier: TierPrice
) -> rules.QuotedLine:
    """A line in the hub's currency: a foreign list price is converted to the micro, by a rate that `fx` keeps."""
    if price is None:
        raise NotForSale(
            f"{offer.title_en} has no price for {line.meter}.", hint="Choose another offer.", meter=line.meter
        )
    unit_price_micros = tier.of(worth.of(price))
    frozen = rules.Price(
        meter=price.meter,
        unit=price.unit,
        per=price.per,
        unit_price_micros=unit_price_micros,
        tax_rate_bp=offer.tax_rate_bp,
        tax_included=offer.tax_included,
    )
    return rules.QuotedLine(
        id=typeid(OrderLine.prefix, uuid7()),
        meter=price.meter,
        unit=price.unit,
        per=price.per,
        unit_price_micros=unit_price_micros,
        tax_rate_bp=offer.tax_rate_bp,
        tax_included=offer.tax_included,
        units=line.units,
        quantity_max=line.quantity_max,
        amount_max_micros=rules.most_of(line.quantity_max, frozen, currency=settings.HUB_CURRENCY),
    )


def _spend(organisation_id: UUID, offer: Offer, lines: Sequence[rules.QuotedLine], now: datetime) -> Spend:
    """What subsidies need to know; the kind of spend is the offer's own word, else the unit of its dearest line."""
    dearest = max(lines, key=lambda line: line.amount_max_micros)
    return Spend(
        organisation_id=organisation_id,
        supplier_id=offer.supplier_id,
        shelf=offer.shelf,
        kind=offer.attributes.get("kind") or f"{dearest.unit}s",
        charge_max_micros=_total(lines),
        region=offer.attributes.get("region") or "",
        domestic=offer.attributes.get("domestic"),
        accepted_at=now,
        currency=settings.HUB_CURRENCY,
    )


def _terms(offer: Offer, tier: TierPrice) -> dict[str, Any]:
    """The offer as it is, for `Quote.terms`; what its shelf says of the goods stands in its title."""
    told = shelf_of(offer.shelf).goods_of(offer.attributes).told
    return {
        "title": {
            "zh": f"{offer.title_zh}（{told['zh']}）" if told else offer.title_zh,
            "en": f"{offer.title_en} ({told['en']})" if told else offer.title_en,
        },
        "supplier": {"id": offer.supplier.public_id, "name": offer.supplier.name},
        "tax": {"rate_bp": offer.tax_rate_bp, "included": offer.tax_included},
        "sold_by": offer.sold_by,
        "fee_bp": offer.fee_bp,
        "tier": {"name": tier.tier.value, "rate_bp": tier.rate_bp},
        **({"block": offer.block} if offer.block else {}),
    }


def frozen_quote(
    plan: Plan,
    *,
    offer: Offer,
    terms: Mapping[str, Any],
    lines: Sequence[rules.QuotedLine],
    split: Split,
    now: datetime,
) -> Quote:
    """All but whose it is."""
    span = timedelta(seconds=plan.wall_limit_s + int(plan.facts.get("grace_s", 0)))
    return Quote(
        offer=offer,
        shelf=offer.shelf,
        request=dict(plan.request),
        facts=dict(plan.facts),
        lines=rules.lines_to_json(lines),
        terms=dict(terms),
        total_max_micros=_total(lines),
        currency=settings.HUB_CURRENCY,
        split=split.to_json(),
        starts_at=plan.starts_at,
        wall_limit_s=plan.wall_limit_s,
        holds_until=plan.starts_at + span,
        created_at=now,
        valid_until=now + rules.QUOTE_VALID,
        state=QuoteState.OPEN,
    )


def _total(lines: Sequence[rules.QuotedLine]) -> int:
    return sum(line.amount_max_micros for line in lines)


def _rank(quote: Quote, split: Split) -> tuple[int, int, datetime, int, UUID]:
    return rules.rank_of(
        pay_now_micros=split.pay_now_micros,
        refund_later_micros=split.refund_later_micros,
        starts_at=quote.starts_at,
        total_micros=quote.total_max_micros,
        id=quote.id,
    )
