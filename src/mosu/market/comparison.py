"""Offers side by side: what is the same of all, and what differs. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from mosu.kernel.refusals import Invalid
from mosu.market.queries import ShownOffer
from mosu.market.shelves import Facet, Goods, shelf_of
from mosu.market.tiers import LIST_PRICE

OFFERS_MAX: Final = 4

Cell: TypeAlias = str | int | None
"""Money in micros. None: not known."""


@dataclass(frozen=True, slots=True)
class Row:
    """One property of every offer. `differs`: not the same in all, as far as it is known of any."""

    code: str
    cells: tuple[Cell, ...]
    facet: Facet | None = None
    """For a property of the shelf's own: its name, and what `cells` are values of."""

    @property
    def differs(self) -> bool:
        return len(set(self.cells)) > 1


def compared(offers: Sequence[ShownOffer]) -> list[Row]:
    """The properties that at least one of up to four offers of one shelf has, in the order of a label.

    Prices are `price:METER`; the shelf's facets have the values that searches use.

    Raises:
        Invalid: none, more than four, or offers of different shelves.
    """
    shelves = {one.offer.shelf for one in offers}
    if not 1 <= len(offers) <= OFFERS_MAX or len(shelves) != 1:
        raise Invalid(
            "Compare one to four offers of one shelf.", hint="Leave out what does not belong.", field="id"
        )
    shelf = shelf_of(shelves.pop())
    goods = [shelf.goods_of(one.offer.attributes) for one in offers]
    rows = [Row(code, tuple(cell(one) for one in offers)) for code, cell in _PLAIN.items()]
    rows[1:1] = [
        Row(facet.code, tuple(_value(one, facet) for one in goods), facet=facet) for facet in shelf.facets
    ]
    meters = dict.fromkeys(price.meter for one in offers for price in one.prices)
    rows += [Row(f"price:{meter}", tuple(_price(one, meter) for one in offers)) for meter in meters]
    if any(one.tier for one in offers):
        rows.append(Row("tier", tuple((one.tier or LIST_PRICE).tier.value for one in offers)))
    return [row for row in rows if any(cell not in (None, "") for cell in row.cells)]


_PLAIN: Final[dict[str, Callable[[ShownOffer], Cell]]] = {
    "supplier": lambda one: one.offer.supplier.name,
    "region": lambda one: str(one.offer.attributes.get("region") or ""),
    "mode": lambda one: str(one.offer.attributes.get("mode") or ""),
    "sold_by": lambda one: one.offer.sold_by,
    "min_units": lambda one: one.offer.min_units,
    "max_units": lambda one: one.offer.max_units,
    "wall_s_max": lambda one: one.offer.wall_s_max,
    "tax_rate_bp": lambda one: one.offer.tax_rate_bp,
    "tax_included": lambda one: int(one.offer.tax_included),
    "free": lambda one: one.stock.free if one.stock and one.live else None,
    "why_not_live": lambda one: one.why_not_live,
}


def _value(goods: Goods, facet: Facet) -> str | None:
    found = goods.facets.get(facet.code)
    return found.value if found else None


def _price(one: ShownOffer, meter: str) -> int | None:
    return next((price.unit_price_micros for price in one.prices if price.meter == meter), None)
