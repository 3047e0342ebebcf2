"""Offers: what is for sale, and what a supplier says of it."""

from dataclasses import asdict
from typing import Annotated, Literal

from django.conf import settings
from pydantic import Field

from mosu.kernel.ids import typeid
from mosu.market.blocks import BlockTerms
from mosu.market.models import Offer
from mosu.market.queries import ShownOffer
from mosu.market.receipts import percent_of
from mosu.market.shapes.blocks import BlockTermsIn, BlockTermsOut
from mosu.market.shapes.parts import (
    BasisPoints,
    BilingualIn,
    Count,
    GoodsKey,
    Key,
    Named,
    Slug,
    Word,
    hub_money,
)
from mosu.market.shelves import has_shelf, shelf_of
from mosu.platform.models import Organisation
from mosu.platform.schemas import Bilingual, In, Out


class PriceOut(Out):
    """What you would pay; `list_price` is everyone's, where yours is a tier's."""

    meter: str
    unit_price: str
    unit: str
    list_price: str | None = None


class TaxTerms(Out):
    included: bool
    rate: str


class Limits(Out):
    min_units: int
    max_units: int
    wall_s_max: int


class StockOut(Out):
    free: int
    reserved: int
    taken: int
    total: int


class DeliveredOut(Out):
    """Hours ordered in the last 90 days, and what of them was delivered."""

    hours_ordered: float
    hours_delivered: float


class OfferOut(Out):
    """Something for sale, as it stands now."""

    id: str
    shelf: str
    title: Bilingual
    told: Bilingual | None
    """What stands beside the title wherever the goods are sold: which share of a card, and whether it is isolated."""
    supplier: Named
    accelerator: str | None
    region: str | None
    mode: str | None
    currency: str
    prices: list[PriceOut]
    tier: str | None
    """What you are to the supplier, where your price is not everyone's."""
    tax: TaxTerms
    sold_by: Literal["hub", "supplier"]
    limits: Limits
    stock: StockOut | None
    live: bool
    why_not_live: str | None
    delivered_90_days: DeliveredOut | None
    buyer_organisation_id: str | None
    block: BlockTermsOut | None

    @classmethod
    def of(cls, shown: ShownOffer) -> "OfferOut":
        offer, stock, delivery = shown.offer, shown.stock, shown.delivery
        return cls(
            id=offer.public_id,
            shelf=offer.shelf,
            title=Bilingual(zh=offer.title_zh, en=offer.title_en),
            told=_told(offer),
            supplier=Named(id=offer.supplier.public_id, name=offer.supplier.name),
            accelerator=offer.attributes.get("accelerator"),
            region=offer.attributes.get("region"),
            mode=offer.attributes.get("mode"),
            currency=settings.HUB_CURRENCY,
            prices=[
                PriceOut(
                    meter=price.meter,
                    unit_price=hub_money(price.unit_price_micros),
                    unit=price.unit,
                    list_price=hub_money(price.everyones_micros) if shown.tier else None,
                )
                for price in shown.prices
            ],
            tier=shown.tier.tier.value if shown.tier else None,
            tax=TaxTerms(included=offer.tax_included, rate=percent_of(offer.tax_rate_bp)),
            sold_by=offer.sold_by,
            limits=Limits(min_units=offer.min_units, max_units=offer.max_units, wall_s_max=offer.wall_s_max),
            stock=StockOut(**asdict(stock)) if stock else None,
            live=shown.live,
            why_not_live=shown.why_not_live,
            delivered_90_days=DeliveredOut(
                hours_ordered=round(delivery.ordered_s / 3600, 2),
                hours_delivered=round(delivery.delivered_s / 3600, 2),
            )
            if delivery
            else None,
            buyer_organisation_id=typeid(Organisation.prefix, offer.buyer_organisation_id)
            if offer.buyer_organisation_id
            else None,
            block=BlockTermsOut.of(BlockTerms.of_json(offer.block)) if offer.block else None,
        )


def _told(offer: Offer) -> Bilingual | None:
    told = shelf_of(offer.shelf).goods_of(offer.attributes).told if has_shelf(offer.shelf) else None
    return Bilingual(zh=told["zh"], en=told["en"]) if told else None


class PriceIn(In):
    meter: Slug
    unit: Slug
    unit_price: Key
    per: Count = 3600


class OfferIn(In):
    """Goods of the actor's organisation; `subject_id` names them on their shelf (`pool_...`)."""

    shelf: Slug
    subject_id: Key
    title: BilingualIn
    accelerator: GoodsKey | None = None
    memory_gb: Annotated[float, Field(gt=0, lt=100_000)] | None = None
    """Of a card, or of a share, where it is not what its accelerator's figures say."""
    region: Word = ""
    mode: Slug = "on_demand"
    kind: Word = ""
    domestic: bool | None = None
    prices: Annotated[list[PriceIn], Field(min_length=1, max_length=20)]
    tax_rate_bp: BasisPoints = 600
    tax_included: bool = True
    min_units: Count = 1
    max_units: Count
    wall_s_max: Count
    sold_by: Literal["hub", "supplier"] = "hub"
    fee_bp: BasisPoints = 0
    supplier_id: Key | None = None
    buyer_organisation_id: Key | None = None
    block: BlockTermsIn | None = None
    """With the mode `reserved`, and only with it."""


class NewPriceIn(PriceIn):
    confirmed: bool = False
    """Take it although it looks wrong beside the last one."""


class ListPriceOut(PriceOut):
    currency: str
    """The list price's own."""


class TermsOut(Out):
    """What of an offer its supplier changes by hand; `revision` names what was read."""

    id: str
    title: Bilingual
    limits: Limits
    prices: list[ListPriceOut]
    revision: str


class MeterPriceIn(In):
    meter: Slug
    unit_price: Key


class TermsIn(In):
    """What is left out stays."""

    revision: Key
    title: BilingualIn | None = None
    min_units: Count | None = None
    max_units: Count | None = None
    wall_s_max: Count | None = None
    prices: Annotated[list[MeterPriceIn], Field(max_length=20)] = []
    confirmed: bool = False
    """Take a price although it looks wrong beside the last one."""
