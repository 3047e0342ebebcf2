"""What is for sale: offers, their prices, what tells the catalogue that one changed; and exchange rates."""

from django.db import models
from django.db.models import F, Q

from mosu.market.hub import hub_currency
from mosu.platform.models import Organisation, TransactionIdField
from mosu.platform.rows import Row


class SoldBy(models.TextChoices):
    HUB = "hub"
    """The hub bills the buyer; voucher and balance are held."""
    SUPPLIER = "supplier"
    """The supplier bills the buyer directly; only vouchers are held."""


class OfferState(models.TextChoices):
    LISTED = "listed"
    DELISTED = "delisted"


class Offer(Row):
    """Something for sale on a shelf. Its prices are rows of `OfferPrice`."""

    prefix = "offer"

    supplier = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="offers")
    shelf = models.SlugField(max_length=40)
    subject_id = models.UUIDField()
    """What is sold, in the shelf's own tables (for compute: the pool)."""
    title_zh = models.CharField(max_length=200)
    title_en = models.CharField(max_length=200)
    attributes = models.JSONField(default=dict)
    """What people search by: `accelerator` (or null), `region`, `mode`, `kind`, `domestic`."""
    tax_rate_bp = models.PositiveIntegerField(default=600)
    """Basis points: 600 is 6%, China's VAT on information technology services."""
    tax_included = models.BooleanField(default=True)
    block = models.JSONField(null=True)
    """On what terms it is sold by the block (`blocks.BlockTerms`); None: it is not. Never changes."""
    min_units = models.PositiveIntegerField(default=1)
    max_units = models.PositiveIntegerField()
    wall_s_max = models.PositiveIntegerField()
    sold_by = models.CharField(max_length=10, choices=SoldBy, default=SoldBy.HUB)
    fee_bp = models.PositiveIntegerField(default=0)
    """The hub's share of what passes through its ledger, in basis points."""
    buyer_organisation = models.ForeignKey(
        Organisation, null=True, on_delete=models.PROTECT, related_name="+"
    )
    """The one organisation that sees and may buy it, at a price of its own; None: everyone. Never changes."""
    source = models.CharField(max_length=300, blank=True)
    """The catalogue that an imported offer came from; empty for one entered here."""
    external_key = models.CharField(max_length=200, blank=True)
    """The offer's own key in that catalogue, by which it is known again."""
    state = models.CharField(max_length=10, choices=OfferState, default=OfferState.LISTED)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["shelf", "state", "id"]),
            models.Index(fields=["shelf", "subject_id"]),
            models.Index(fields=["state", "id"]),
            models.Index(fields=["source", "id"]),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["supplier", "source", "external_key"],
                condition=~Q(external_key=""),
                name="offer_external_key_once",
            ),
            models.CheckConstraint(condition=Q(state__in=OfferState.values), name="offer_state_known"),
            models.CheckConstraint(condition=Q(sold_by__in=SoldBy.values), name="offer_sold_by_known"),
            models.CheckConstraint(
                condition=Q(min_units__gte=1, max_units__gte=F("min_units"), wall_s_max__gte=1),
                name="offer_limits_in_order",
            ),
            models.CheckConstraint(
                condition=Q(block__isnull=True) | Q(attributes__contains={"mode": "reserved"}),
                name="offer_block_is_reserved",
            ),
            models.CheckConstraint(
                condition=Q(tax_rate_bp__lte=10_000, fee_bp__lte=10_000), name="offer_rates_at_most_whole"
            ),
        ]

    def __str__(self) -> str:
        return self.title_en


class OfferPrice(Row):
    """What one unit of a meter costs from `valid_from` on. Append-only: a new price is a new row."""

    prefix = "price"

    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="prices")
    meter = models.SlugField(max_length=40)
    unit = models.SlugField(max_length=40)
    """What the price is for (`core_hour`): `per` of the meter's own unit."""
    per = models.PositiveIntegerField(default=3600)
    unit_price_micros = models.BigIntegerField()
    currency = models.CharField(max_length=3, default=hub_currency)
    """The list price's own; the quote converts a foreign one with a dated rate and freezes both."""
    valid_from = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["offer", "meter", "valid_from"], name="offer_price_once"),
            models.CheckConstraint(
                condition=Q(unit_price_micros__gt=0, per__gte=1), name="offer_price_positive"
            ),
        ]


class ExchangeRate(Row):
    """What one unit of a foreign currency is worth in the hub's, on a day. Append-only: a day's last word counts."""

    prefix = "rate"

    currency = models.CharField(max_length=3)
    rate = models.DecimalField(max_digits=20, decimal_places=10)
    dated = models.DateField()
    source = models.CharField(max_length=200)
    recorded_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["currency", "-dated", "-recorded_at"])]
        constraints = [models.CheckConstraint(condition=Q(rate__gt=0), name="exchange_rate_positive")]


class OfferChange(models.Model):
    """That an offer, its prices or its supplier's name changed; written by triggers, read by each catalogue."""

    id = models.BigAutoField(primary_key=True)
    offer_id = models.UUIDField()
    xid = TransactionIdField()
    """The transaction: what commits late has a number that a reader still waits for."""
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["xid"]), models.Index(fields=["at"])]
