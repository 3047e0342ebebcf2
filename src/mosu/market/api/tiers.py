"""Tiered prices: what buyers are to a supplier, and which part of the list price they pay."""

from datetime import datetime
from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.refusals import Invalid, NotFound
from mosu.market import queries, services
from mosu.market.models import Offer, Relation, Tier, TierRate
from mosu.market.shapes import Key
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router = Router(tags=["market"])
WHY_MAX: Final = 400


class RelationIn(In):
    """What an organisation is to the supplier from now on."""

    organisation_id: Key
    tier: Tier
    why: Annotated[str, Field(max_length=WHY_MAX, pattern=r"^[^\x00]*$")] = ""


class RelationOut(Out):
    id: str
    supplier_id: str
    organisation_id: str
    tier: Tier
    since: datetime

    @classmethod
    def of(cls, relation: Relation) -> "RelationOut":
        return cls(
            id=relation.public_id,
            supplier_id=relation.supplier.public_id,
            organisation_id=relation.buyer.public_id,
            tier=Tier(relation.tier),
            since=relation.since,
        )


class TierRateIn(In):
    """Which part of the list price a tier pays from now on, in basis points."""

    tier: Tier
    rate_bp: Annotated[int, Field(ge=1, le=10_000)]


class TierRateOut(Out):
    tier: Tier
    rate_bp: int
    valid_from: datetime

    @classmethod
    def of(cls, rate: TierRate) -> "TierRateOut":
        return cls(tier=Tier(rate.tier), rate_bp=rate.rate_bp, valid_from=rate.valid_from)


@router.get("/relations", response=Listed[RelationOut], auth=token_auth, operation_id="listRelations")
@door("offer.manage")
def list_relations(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    """What organisations are to the actor's own, as suppliers, latest word first; earlier ones are history."""
    page, after = page_of(queries.relations_of(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [RelationOut.of(one) for one in page], "next": after}


@router.post("/relations", response={201: RelationOut}, auth=token_auth, operation_id="setRelation")
@door("offer.manage")
def set_relation(request: HttpRequest, body: RelationIn) -> Status[RelationOut]:
    """Make an organisation a partner, one of the supplier's own, or external again. Quotes made keep their prices."""
    actor = actor_of(request)
    if actor.organisation_id is None:
        raise Invalid("Which supplier sells this?", hint="Use a token made for one.", field="supplier_id")
    made = services.set_relation(
        actor=actor,
        supplier_id=actor.organisation_id,
        buyer_id=Organisation.key_of(body.organisation_id),
        tier=body.tier,
        why=body.why,
        now=timezone.now(),
    )
    return Status(201, RelationOut.of(made))


@router.get(
    "/offers/{offer_id}/tiers", response=list[TierRateOut], auth=token_auth, operation_id="listTierRates"
)
@door("offer.manage")
def list_tier_rates(request: HttpRequest, offer_id: str) -> list[TierRateOut]:
    """All tier rates that the offer ever had, latest first; for who sells it."""
    return [TierRateOut.of(one) for one in queries.tier_rates_of(actor_of(request), Offer.key_of(offer_id))]


@router.post(
    "/offers/{offer_id}/tiers", response={201: TierRateOut}, auth=token_auth, operation_id="setTierRate"
)
@door("offer.manage")
def set_tier_rate(request: HttpRequest, offer_id: str, body: TierRateIn) -> Status[TierRateOut]:
    """A tier's part of the list price from now on; quotes made keep theirs."""
    actor = actor_of(request)
    offer = one_of(queries.offers_visible_to(actor), Offer.key_of(offer_id))
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    rate = services.set_tier_rate(
        actor=actor, offer_id=offer.id, tier=body.tier, rate_bp=body.rate_bp, now=timezone.now()
    )
    return Status(201, TierRateOut.of(rate))
