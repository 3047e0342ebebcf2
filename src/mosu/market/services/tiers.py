"""Tiered prices: partners and a supplier's own pay a part of the list price, which the quote freezes."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.models import Offer, Relation, Tier, TierRate
from mosu.market.tiers import LIST_BP
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.services import record_audit


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
