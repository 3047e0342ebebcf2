"""What an organisation is to the suppliers that it buys from, and which part of the list price it therefore pays."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from mosu.market.models import Tier

LIST_BP: Final = 10_000

_TIERS: Final = """
with said as (
    select distinct on (supplier_id) supplier_id, tier from market_relation
    where buyer_id = %(buyer)s and since <= %(now)s
    order by supplier_id, since desc, id desc
), theirs as (
    select supplier_id, tier from said union all select %(buyer)s, 'internal'
)
select distinct on (r.offer_id) r.offer_id, r.tier, r.rate_bp
from theirs t
join market_offer o on o.supplier_id = t.supplier_id
join market_tierrate r on r.offer_id = o.id and r.tier = t.tier and r.valid_from <= %(now)s
where %(offers)s::uuid[] is null or o.id = any(%(offers)s)
order by r.offer_id, r.valid_from desc
"""


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


def tiers_of(
    organisation_id: UUID, *, now: datetime, offers: Collection[UUID] | None = None
) -> Mapping[UUID, TierPrice]:
    """By offer, of all or of `offers`, for those of whose list price the organisation pays a part; one query."""
    if offers is not None and not offers:
        return {}
    with connection.cursor() as cursor:
        named = None if offers is None else list(offers)
        cursor.execute(_TIERS, {"buyer": organisation_id, "now": now, "offers": named})
        return {offer: TierPrice(Tier(tier), rate_bp) for offer, tier, rate_bp in cursor.fetchall()}
