"""Searches of the shelves: pages, facets, offers side by side, searches kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from mosu.market.comparison import Row
from mosu.market.models import SavedSearch
from mosu.market.queries import FacetShown, OfferPage, ShownOffer
from mosu.market.shapes.offers import OfferOut
from mosu.market.shapes.parts import Slug, Word, hub_money
from mosu.platform.schemas import Bilingual, In, Out


class FacetValueOut(Out):
    """`count`: how many offers fit if it is chosen beside all that other facets ask."""

    value: str
    label: Bilingual
    count: int
    chosen: bool


class FacetOut(Out):
    code: str
    title: Bilingual
    values: list[FacetValueOut]

    @classmethod
    def of(cls, shown: FacetShown) -> "FacetOut":
        facet = shown.facet
        return cls(
            code=facet.code,
            title=Bilingual(zh=facet.title_zh, en=facet.title_en),
            values=[
                FacetValueOut(
                    value=one.value.value,
                    label=Bilingual(zh=one.value.zh, en=one.value.en),
                    count=one.count,
                    chosen=one.chosen,
                )
                for one in shown.values
            ],
        )


class OffersOut(Out):
    """One page of a search; `total` fit in all."""

    items: list[OfferOut]
    next: str | None
    total: int
    facets: list[FacetOut] | None

    @classmethod
    def of(cls, page: OfferPage, *, with_facets: bool) -> "OffersOut":
        return cls(
            items=[OfferOut.of(shown) for shown in page.items],
            next=page.next,
            total=page.total,
            facets=[FacetOut.of(facet) for facet in page.facets] if with_facets else None,
        )


class ComparedOut(Out):
    """One property: of each offer its value, null where it is not known. Prices are those of `unit_price`."""

    code: str
    title: Bilingual | None
    values: list[str | None]
    differs: bool

    @classmethod
    def of(cls, row: Row) -> "ComparedOut":
        is_price = row.code.startswith("price:")
        return cls(
            code=row.code,
            title=Bilingual(zh=row.facet.title_zh, en=row.facet.title_en) if row.facet else None,
            values=[
                None
                if cell in (None, "")
                else hub_money(cell)
                if is_price and isinstance(cell, int)
                else str(cell)
                for cell in row.cells
            ],
            differs=row.differs,
        )


class ComparisonOut(Out):
    """Offers side by side, in the order in which they were named."""

    offers: list[OfferOut]
    rows: list[ComparedOut]

    @classmethod
    def of(cls, offers: Sequence[ShownOffer], rows: Sequence[Row]) -> "ComparisonOut":
        return cls(offers=[OfferOut.of(one) for one in offers], rows=[ComparedOut.of(row) for row in rows])


class SavedSearchIn(In):
    """`query`: the parameters of `GET /offers`, each with its values."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    query: dict[Slug, Annotated[list[Word], Field(max_length=50)]] = Field(default={}, max_length=40)


class SavedSearchOut(Out):
    id: str
    name: str
    query: dict[str, list[str]]
    created_at: datetime

    @classmethod
    def of(cls, search: SavedSearch) -> "SavedSearchOut":
        return cls(id=search.public_id, name=search.name, query=search.query, created_at=search.created_at)
