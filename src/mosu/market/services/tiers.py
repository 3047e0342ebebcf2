"""Tiered prices: partners and a supplier's own pay a part of the list price, which the quote freezes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.models import Offer, Relation, Tier, TierRate
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.services import record_audit

LIST_BP: Final = 10_000


@dataclass(frozen=True, slots=True)
class TierPrice:
    """What an organisation is to an offer's supplier, and which part of the list price it therefore pays."""

    tier: Tier
    rate_bp: int

    def of(self, unit_price_micros: int) -> int:
        """The part of a price, rounded half-even to the micro; never nothing."""
        exact = Decimal(unit_price_micros * self.rate_bp) / LIST_BP
        return max(1, int(exact.to_integral_value(rounding=ROUND_HALF_EVEN)))


LIST_PRICE: Final = TierPrice(Tier.EXTERNAL, LIST_BP)


@transaction.atomic
def set_relation(
    *, actor: Actor, supplier_id: UUID, buyer_id: UUID, tier: Tier, why: str = "", now: datetime
) -> Relation:
    """Say what a buyer is to a supplier from now on; quotes already made keep their prices.

    Raises:
        NotFound: there is no such buyer.
        Invalid: the two are one.
    """
    require(actor, "offer.manage", supplier_id)
    if supplier_id == buyer_id:
        raise Invalid("A supplier is its own already.", hint="Name another organisation.", field="buyer")
    if not Organisation.objects.filter(id=buyer_id).exists():
        raise NotFound("There is no such organisation.", hint="Ask it for its id.")
    relation = Relation.objects.create(supplier_id=supplier_id, buyer_id=buyer_id, tier=tier, since=now)
    record_audit(
        actor=actor,
        action="relation.set",
        subject_id=relation.id,
        before=None,
        after=None,
        now=now,
        organisation_id=supplier_id,
        why=why,
        facts={"buyer": str(buyer_id), "tier": tier.value},
    )
    return relation


@transaction.atomic
def set_tier_rate(*, actor: Actor, offer_id: UUID, tier: Tier, rate_bp: int, now: datetime) -> TierRate:
    """Which part of the offer's list prices a tier pays from now on; quotes already made keep theirs.

    Raises:
        NotFound: there is no such offer.
        Invalid: of everyone's price, not between 0.01% and 100%, or set at this very instant already.
    """
    offer = Offer.objects.select_for_update(no_key=True).filter(id=offer_id).first()
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    require(actor, "offer.manage", offer.supplier_id)
    if tier is Tier.EXTERNAL:
        raise Invalid("Everyone pays the list price.", hint="Set the price itself.", field="tier")
    if not 1 <= rate_bp <= LIST_BP:
        raise Invalid(
            "This is no part of the list price.", hint=f"Give 1 to {LIST_BP} basis points.", field="rate_bp"
        )
    if TierRate.objects.filter(offer=offer, tier=tier, valid_from=now).exists():
        raise Invalid("It was set at this instant already.", hint="Try again.", field="rate_bp")
    rate = TierRate.objects.create(offer=offer, tier=tier, rate_bp=rate_bp, valid_from=now)
    record_audit(
        actor=actor,
        action="offer.tier_rate",
        subject_id=offer.id,
        before=offer.state,
        after=offer.state,
        now=now,
        organisation_id=offer.supplier_id,
        facts={"tier": tier.value, "rate_bp": rate_bp},
    )
    return rate


def tier_prices_for(
    organisation_id: UUID, offers: Iterable[Offer], *, now: datetime
) -> Mapping[UUID, TierPrice]:
    """By offer, for those at which the organisation pays less than the list price; two queries at most."""
    by_id = {offer.id: offer.supplier_id for offer in offers}
    said = Relation.objects.filter(buyer_id=organisation_id, supplier_id__in=by_id.values(), since__lte=now)
    tiers = dict(
        said.order_by("supplier_id", "-since", "-id")
        .distinct("supplier_id")
        .values_list("supplier_id", "tier")
    )
    tiers[organisation_id] = Tier.INTERNAL.value
    theirs = {key: tiers[supplier] for key, supplier in by_id.items() if supplier in tiers}
    if not any(tier != Tier.EXTERNAL for tier in theirs.values()):
        return {}
    rates = TierRate.objects.filter(offer_id__in=theirs, valid_from__lte=now)
    rates = rates.order_by("offer_id", "tier", "-valid_from").distinct("offer_id", "tier")
    return {
        rate.offer_id: TierPrice(Tier(rate.tier), rate.rate_bp)
        for rate in rates
        if rate.tier == theirs[rate.offer_id]
    }
