"""What a supplier puts on the storage shelf: room of a pool, by the GB-month."""

from typing import Any, Final

from mosu.compute.models import Pool
from mosu.compute.volumes import GB_MONTH, GB_MONTH_S, GB_SECOND, SHELF
from mosu.market.services import OfferSpec, PriceSpec

DAY_S: Final = 86_400
TERM_DAYS_MAX: Final = 365


def volume_offer(
    pool: Pool,
    *,
    title_zh: str,
    title_en: str,
    unit_price_micros: int,
    max_gb: int,
    min_gb: int = 1,
    days_max: int = TERM_DAYS_MAX,
    **terms: Any,
) -> OfferSpec:
    """An offer of volumes of so many GB in this pool, kept up to so many days at once; `terms` are any offer's."""
    return OfferSpec(
        supplier_id=pool.organisation_id,
        shelf=SHELF,
        subject_id=pool.id,
        title_zh=title_zh,
        title_en=title_en,
        min_units=min_gb,
        max_units=max_gb,
        wall_s_max=days_max * DAY_S,
        prices=[PriceSpec(GB_SECOND, GB_MONTH, unit_price_micros, per=GB_MONTH_S)],
        attributes={"region": pool.region, "mode": "on_demand", "kind": "storage"},
        **terms,
    )
