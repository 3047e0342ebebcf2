"""Putting goods on a shelf and pricing them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.kernel.digests import sha256_of
from mosu.kernel.money import MICROS, MICROS_MAX
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.market.blocks import MODE, BlockTerms, check_block_terms
from mosu.market.catalogue.keeping import NOTED_FOR
from mosu.market.gates import Doubt, doubt_of_new_price
from mosu.market.hub import hub_currency
from mosu.market.models import Offer, OfferChange, OfferPrice, OfferState, SoldBy
from mosu.market.queries import prices_at
from mosu.market.rates import rate_for, rates_of
from mosu.market.shelves import shelf_of
from mosu.platform.actors import Actor
from mosu.platform.models import Capability, Organisation
from mosu.platform.policy import require
from mosu.platform.rules import is_seen
from mosu.platform.services import record_audit

TITLE_MAX: Final = 200
COUNT_MAX: Final = 2_147_483_647
"""What the database keeps of a count."""
_TERMS: Final = ("title_zh", "title_en", "min_units", "max_units", "wall_s_max")


class NotYours(DomainError):
    """What is to be sold is not the supplier's."""

    code = "not_yours"


class NotASupplier(DomainError):
    """The organisation may not sell: it lacks the capability `supplier`."""

    code = "not_a_supplier"


class OfferChanged(DomainError):
    """Somebody else changed the offer since it was looked at."""

    code = "offer_changed"


class PriceDoubted(DomainError):
    """The price looks wrong beside the last one; said again with `confirmed`, it is taken."""

    code = "price_doubted"


@dataclass(frozen=True, slots=True)
class PriceSpec:
    """A price of one meter: `unit_price_micros` for `per` of the meter's own unit; no currency is the hub's."""

    meter: str
    unit: str
    unit_price_micros: int
    per: int = 3600
    currency: str = ""


@dataclass(frozen=True, slots=True)
class OfferSpec:
    """What a supplier puts on the shelf; see `models.Offer`."""

    supplier_id: UUID
    shelf: str
    subject_id: UUID
    title_zh: str
    title_en: str
    max_units: int
    wall_s_max: int
    prices: Sequence[PriceSpec]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    min_units: int = 1
    tax_rate_bp: int = 600
    tax_included: bool = True
    sold_by: SoldBy = SoldBy.HUB
    fee_bp: int = 0
    source: str = ""
    buyer_organisation_id: UUID | None = None
    """The one organisation that may see and buy it; None: everyone."""
    block: BlockTerms | None = None
    """On what terms it is sold by the block, which its `mode` then says; None: it is not."""


@dataclass(frozen=True, slots=True)
class TermsSpec:
    """What of an offer is changed by hand; the rest, the buyer above all, is fixed. A price is by its meter."""

    title_zh: str
    title_en: str
    min_units: int
    max_units: int
    wall_s_max: int
    unit_prices_micros: Mapping[str, int] = field(default_factory=dict)


@transaction.atomic
def create_offer(*, actor: Actor, spec: OfferSpec, now: datetime) -> Offer:
    """A listed offer with its first prices. What the hub takes (`fee_bp`) only its own people may set.

    Raises:
        Forbidden: the actor may not manage the supplier's offers.
        NotASupplier: the organisation does not have the capability.
        NotYours: the shelf says that the goods are another's.
        Invalid: a title is missing or too long, no price, one that is not positive, two of one meter, or limits out
            of order.
        NoRate: a price in a foreign currency of which no rate is recent.
    """
    require(actor, "offer.manage", spec.supplier_id)
    _check(actor, spec, now=now)
    offer = Offer.objects.create(
        supplier_id=spec.supplier_id,
        shelf=spec.shelf,
        subject_id=spec.subject_id,
        title_zh=spec.title_zh,
        title_en=spec.title_en,
        attributes=dict(spec.attributes),
        block=spec.block.to_json() if spec.block else None,
        tax_rate_bp=spec.tax_rate_bp,
        tax_included=spec.tax_included,
        min_units=spec.min_units,
        max_units=spec.max_units,
        wall_s_max=spec.wall_s_max,
        sold_by=spec.sold_by,
        fee_bp=spec.fee_bp,
        source=spec.source,
        buyer_organisation_id=spec.buyer_organisation_id,
        created_at=now,
    )
    OfferPrice.objects.bulk_create(_price_row(offer.id, price, valid_from=now) for price in spec.prices)
    record_audit(
        actor=actor,
        action="offer.create",
        subject_id=offer.id,
        before=None,
        after=OfferState.LISTED,
        now=now,
        organisation_id=spec.supplier_id,
    )
    return offer


@transaction.atomic(durable=True)
def change_offer(
    *, actor: Actor, offer_id: UUID, terms: TermsSpec, revision: str, now: datetime, confirmed: bool = False
) -> Offer:
    """The offer with other terms from `now` on; orders and quotes already made keep theirs.

    `revision` is what `revision_of` said when the offer was looked at: what was shown is what is changed. Without any
    difference nothing is written.

    Raises:
        NotFound: no such offer.
        Forbidden: the actor may not manage the supplier's offers.
        OfferChanged: somebody changed it in between.
        PriceDoubted: a price looks wrong and was not `confirmed`.
        Invalid: a title is missing, limits out of order, a price not positive or of a meter that it lacks.
        NoRate: a price in a foreign currency of which no rate is recent.
    """
    offer = _locked_offer(offer_id)
    require(actor, "offer.manage", offer.supplier_id)
    prices = prices_at(offer.id, at=now)
    if revision != revision_of(offer, prices):
        raise OfferChanged(
            "The offer was changed since you looked at it.",
            hint="Look at it again, and change what it is now.",
            offer_id=offer.public_id,
        )
    _check_terms(terms, prices)
    changes = {
        name: [getattr(offer, name), getattr(terms, name)]
        for name in _TERMS
        if getattr(offer, name) != getattr(terms, name)
    }
    if changes:
        record_audit(
            actor=actor,
            action="offer.change",
            subject_id=offer.id,
            before=offer.state,
            after=offer.state,
            now=now,
            organisation_id=offer.supplier_id,
            facts={"changes": changes},
        )
        for name in changes:
            setattr(offer, name, getattr(terms, name))
        offer.save(update_fields=[*changes])
    for meter, micros in sorted(terms.unit_prices_micros.items()):
        old = prices[meter]
        if micros != old.unit_price_micros:
            price = PriceSpec(meter, old.unit, micros, old.per, old.currency)
            _set_price(offer, price, last=old, actor=actor, confirmed=confirmed, now=now)
    return offer


def revision_of(offer: Offer, prices: Mapping[str, OfferPrice]) -> str:
    """What tells whether an offer's terms are still those that somebody looked at. `prices`: those in force."""
    now_priced = {
        meter: [one.unit, one.per, one.unit_price_micros, one.currency] for meter, one in prices.items()
    }
    return sha256_of({**{name: getattr(offer, name) for name in _TERMS}, "prices": now_priced})


@transaction.atomic
def set_price(
    *, actor: Actor, offer_id: UUID, price: PriceSpec, now: datetime, confirmed: bool = False
) -> OfferPrice:
    """A new price from `now` on; quotes already made keep the old one.

    Raises:
        NotFound: no such offer.
        Forbidden: the actor may not manage the supplier's offers.
        Invalid: not positive, or another price of this meter starts at this very instant.
        PriceDoubted: it looks wrong and was not `confirmed`.
        NoRate: in a foreign currency of which no rate is recent.
    """
    offer = _locked_offer(offer_id)
    require(actor, "offer.manage", offer.supplier_id)
    last = prices_at(offer.id, at=now).get(price.meter)
    return _set_price(offer, price, last=last, actor=actor, confirmed=confirmed, now=now)


def _set_price(
    offer: Offer, price: PriceSpec, *, last: OfferPrice | None, actor: Actor, confirmed: bool, now: datetime
) -> OfferPrice:
    """The price's row and its record; the caller holds the offer's lock."""
    _check_price(price, now=now)
    doubt = _doubt(price, last)
    if doubt is not None and not confirmed:
        raise PriceDoubted(
            doubt.reason,
            hint="If it is what you mean, confirm it.",
            doubt=doubt.code,
            meter=price.meter,
        )
    row = _price_row(offer.id, price, valid_from=now)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise Invalid(
            f"{price.meter} has a price from this instant on.", hint="Try again.", field="meter"
        ) from None
    record_audit(
        actor=actor,
        action="offer.price",
        subject_id=offer.id,
        before=offer.state,
        after=offer.state,
        now=now,
        organisation_id=offer.supplier_id,
        facts={
            "meter": price.meter,
            "unit_price_micros": price.unit_price_micros,
            "per": price.per,
            "currency": row.currency,
            **({"confirmed": doubt.code} if doubt else {}),
        },
    )
    return row


@transaction.atomic
def delist_offer(*, actor: Actor, offer_id: UUID, now: datetime, why: str = "") -> Offer:
    """The offer, off the shelf; orders and open quotes are untouched. Repeating it changes nothing.

    Raises:
        NotFound: no such offer.
        Forbidden: the actor may not manage the supplier's offers.
    """
    offer = _locked_offer(offer_id)
    require(actor, "offer.manage", offer.supplier_id)
    if offer.state != OfferState.DELISTED:
        _move(offer, to=OfferState.DELISTED, action="offer.delist", actor=actor, why=why, now=now)
    return offer


@transaction.atomic
def relist_offer(*, actor: Actor, offer_id: UUID, now: datetime, why: str = "") -> Offer:
    """The offer, on the shelf again at the price it has. Repeating it changes nothing.

    Raises:
        NotFound: no such offer.
        Forbidden: the actor may not manage the supplier's offers.
        NotASupplier: the organisation may no longer sell.
    """
    offer = _locked_offer(offer_id)
    require(actor, "offer.manage", offer.supplier_id)
    if offer.state != OfferState.LISTED:
        check_supplier(Organisation.objects.get(id=offer.supplier_id))
        _move(offer, to=OfferState.LISTED, action="offer.relist", actor=actor, why=why, now=now)
    return offer


@transaction.atomic(durable=True)
def forget_changes(*, now: datetime) -> int:
    """How many notes of changed offers were dropped: those older than any catalogue goes on from."""
    deleted, _ = OfferChange.objects.filter(at__lt=now - 2 * NOTED_FOR).delete()
    return deleted


def _move(offer: Offer, *, to: OfferState, action: str, actor: Actor, why: str, now: datetime) -> None:
    """The only place that writes one offer's state; the caller holds its lock. A file's offers move in sets."""
    record_audit(
        actor=actor,
        action=action,
        subject_id=offer.id,
        before=offer.state,
        after=to,
        now=now,
        organisation_id=offer.supplier_id,
        why=why,
    )
    offer.state = to
    offer.save(update_fields=["state"])


def _locked_offer(offer_id: UUID) -> Offer:
    offer = Offer.objects.select_for_update(no_key=True).filter(id=offer_id).first()
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    return offer


def _check(actor: Actor, spec: OfferSpec, *, now: datetime) -> None:
    supplier = Organisation.objects.filter(id=spec.supplier_id).first()
    if supplier is None:
        raise NotFound("There is no such organisation.", hint="See GET /me.")
    buyer_id = spec.buyer_organisation_id
    if buyer_id is not None and not Organisation.objects.filter(id=buyer_id).exists():
        raise NotFound("There is no such buyer.", hint="Ask the buyer for its id: GET /me.")
    check_supplier(supplier)
    if not shelf_of(spec.shelf).owns(supplier_id=spec.supplier_id, subject_id=spec.subject_id):
        raise NotYours(
            "These goods are not this supplier's.", hint="Name goods of your own, such as one of your pools."
        )
    if not is_seen(str(spec.attributes.get("region") or "")):
        raise Invalid("region: cannot be used.", hint="Write visible characters.", field="region")
    if spec.fee_bp:
        require(actor, "organisation.admit")
    _check_titles(spec)
    _check_limits(spec.min_units, spec.max_units, spec.wall_s_max)
    _check_block(spec)
    if not (0 <= spec.tax_rate_bp <= 10_000 and 0 <= spec.fee_bp <= 10_000):
        raise Invalid("A rate is at most the whole.", hint="0 to 10000 basis points.", field="tax_rate_bp")
    meters = [price.meter for price in spec.prices]
    if not meters or len(set(meters)) != len(meters):
        raise Invalid(
            "An offer needs a price, and one of each meter.", hint="See GET /offers.", field="prices"
        )
    for price in spec.prices:
        _check_price(price, now=now)


def _check_terms(terms: TermsSpec, prices: Mapping[str, OfferPrice]) -> None:
    _check_titles(terms)
    _check_limits(terms.min_units, terms.max_units, terms.wall_s_max)
    for meter in terms.unit_prices_micros:
        if meter not in prices:
            raise Invalid(f"This offer has no meter {meter[:40]!r}.", hint="See its prices.", field="prices")


def _check_titles(spec: OfferSpec | TermsSpec) -> None:
    for name, title in (("title_zh", spec.title_zh), ("title_en", spec.title_en)):
        if not title.strip() or len(title) > TITLE_MAX or not is_seen(title):
            raise Invalid(
                f"{name}: cannot be used.", hint=f"Write 1 to {TITLE_MAX} visible characters.", field=name
            )


def _check_limits(min_units: int, max_units: int, wall_s_max: int) -> None:
    if not 1 <= min_units <= max_units <= COUNT_MAX or not 1 <= wall_s_max <= COUNT_MAX:
        raise Invalid(
            "The limits are out of order.",
            hint="1 <= min_units <= max_units, and wall_s_max >= 1.",
            field="limits",
        )


def _check_block(spec: OfferSpec) -> None:
    if (spec.block is not None) != (spec.attributes.get("mode") == MODE):
        raise Invalid(
            "Goods are reserved exactly if they are sold by the block.",
            hint=f"Give the terms of blocks and the mode {MODE!r}, or neither.",
            field="block",
        )
    if spec.block is None:
        return
    check_block_terms(spec.block)
    if spec.block.shortest_hours * 3600 > spec.wall_s_max:
        raise Invalid(
            "The shortest block is longer than the longest.", hint="Raise wall_s_max.", field="wall_s_max"
        )


def _doubt(price: PriceSpec, last: OfferPrice | None) -> Doubt | None:
    currency = price.currency or hub_currency()
    known = last if last and (last.currency, last.per) == (currency, price.per) else None
    return doubt_of_new_price(
        listed=Decimal(price.unit_price_micros) / MICROS,
        unit=price.unit,
        last=Decimal(known.unit_price_micros) / MICROS if known else None,
    )


def check_supplier(supplier: Organisation) -> None:
    """Pass if the organisation may sell.

    Raises:
        NotASupplier: it does not have the capability.
    """
    if Capability.SUPPLIER not in supplier.capabilities:
        raise NotASupplier(f"{supplier.name} is not a supplier.", hint="The hub's operator admits suppliers.")


def _check_price(price: PriceSpec, *, now: datetime) -> None:
    if not 0 < price.unit_price_micros <= MICROS_MAX or price.per < 1:
        raise Invalid(
            f"The price of {price.meter} is not positive.", hint="Write a price above 0.", field="unit_price"
        )
    if price.currency and price.currency != hub_currency():
        rate_for(price.currency, rates_of(now=now), now=now)


def _price_row(offer_id: UUID, price: PriceSpec, *, valid_from: datetime) -> OfferPrice:
    return OfferPrice(
        offer_id=offer_id,
        meter=price.meter,
        unit=price.unit,
        per=price.per,
        unit_price_micros=price.unit_price_micros,
        currency=price.currency or hub_currency(),
        valid_from=valid_from,
    )
