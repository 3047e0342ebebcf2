"""What is promised, bought, used, charged and receipted."""

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Reverse

from mosu.market.models.offers import Offer
from mosu.platform.models import Organisation, Project
from mosu.platform.rows import Row


class QuoteState(models.TextChoices):
    OPEN = "open"
    ACCEPTED = "accepted"
    EXPIRED = "expired"


class OrderState(models.TextChoices):
    PLACED = "placed"
    ACTIVE = "active"
    SETTLED = "settled"
    CANCELLED = "cancelled"


class Outcome(models.TextChoices):
    """How the work of an order ended. Only the last one changes the charge: it makes it nothing."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    PLATFORM_FAILURE = "platform_failure"
    """The platform or the supplier failed: what was used is credited, unasked."""


class UsageState(models.TextChoices):
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"


class Quote(Row):
    """A price promised until `valid_until`. All but `state` is frozen, by the database too."""

    prefix = "quote"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="+")
    shelf = models.SlugField(max_length=40)
    request = models.JSONField()
    facts = models.JSONField(default=dict)
    lines = models.JSONField()
    """`rules.lines_of_json` reads it."""
    terms = models.JSONField()
    """The offer as it was: title, supplier, tax, sold_by, fee."""
    total_max_micros = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    split = models.JSONField()
    """`subsidies` Split: shares, rates, limits and programme versions."""
    fx = models.JSONField(default=dict)
    """By meter: the dated rate by which a foreign list price was converted (`Rate.frozen`); empty if none was."""
    starts_at = models.DateTimeField()
    wall_limit_s = models.PositiveIntegerField()
    holds_until = models.DateTimeField()
    created_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    state = models.CharField(max_length=10, choices=QuoteState, default=QuoteState.OPEN)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-created_at", "-id"]),
            models.Index(fields=["-created_at", "-id"]),
            models.Index(fields=["valid_until"], condition=Q(state="open"), name="quote_open_until"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=QuoteState.values), name="quote_state_known"),
            models.CheckConstraint(condition=Q(total_max_micros__gte=0), name="quote_total_not_negative"),
        ]


class Order(Row):
    """What was bought: one accepted quote."""

    prefix = "order"

    number = models.CharField(max_length=20, unique=True)
    quote = models.OneToOneField(Quote, on_delete=models.PROTECT, related_name="order")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="orders")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="orders")
    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="orders")
    supplier = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="sales")
    """The offer's: what a supplier sold is read by an index of its own."""
    shelf = models.SlugField(max_length=40)
    state = models.CharField(max_length=10, choices=OrderState, default=OrderState.PLACED)
    total_max_micros = models.BigIntegerField()
    total_micros = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3)
    balance_hold_id = models.UUIDField(null=True)
    """The ledger's hold on the buyer's own money; None when nothing of it was to be paid here."""
    outcome = models.CharField(max_length=20, choices=Outcome, null=True)
    placed_at = models.DateTimeField()
    placed_by = models.UUIDField(null=True)
    """The user who accepted the quote; None where nobody did, and for orders from before it was kept."""
    ended_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-placed_at", "-id"]),
            models.Index(fields=["supplier", "-placed_at", "-id"], name="order_of_supplier"),
            models.Index(fields=["-placed_at", "-id"]),  # the hub's people see all, sorted as they like
            models.Index(fields=["state", "id"]),
            models.Index(fields=["total_max_micros", "id"]),
            models.Index(fields=["settled_at"]),
            # By the end of its number; by its beginning there is one of Django's, as for every unique text.
            models.Index(OpClass(Reverse("number"), name="text_pattern_ops"), name="order_by_end_of_number"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=OrderState.values), name="order_state_known"),
            models.CheckConstraint(
                condition=Q(total_micros=None)
                | Q(total_micros__gte=0, total_micros__lte=F("total_max_micros")),
                name="order_total_within_its_hold",
            ),
            models.CheckConstraint(
                condition=~Q(state="settled")
                | Q(total_micros__isnull=False, settled_at__isnull=False, outcome__isnull=False),
                name="order_settled_is_whole",
            ),
        ]

    def __str__(self) -> str:
        return self.number


class OrderLine(Row):
    """One metered part of an order, with its frozen price. Append-only."""

    prefix = "line"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="lines")
    meter = models.SlugField(max_length=40)
    unit = models.SlugField(max_length=40)
    units = models.PositiveIntegerField()
    per = models.PositiveIntegerField()
    unit_price_micros = models.BigIntegerField()
    tax_rate_bp = models.PositiveIntegerField()
    tax_included = models.BooleanField()
    quantity_max = models.BigIntegerField()
    amount_max_micros = models.BigIntegerField()
    accepted_month = models.DateField()
    """The first day of the month, in the hub's zone, in which the order was placed: where its usage is kept."""

    class Meta:
        indexes = [models.Index(fields=["accepted_month"], name="order_line_by_month")]
        constraints = [
            models.UniqueConstraint(fields=["order", "meter"], name="order_line_meter_once"),
            models.UniqueConstraint(fields=["id", "accepted_month"], name="order_line_month"),
            models.CheckConstraint(
                condition=Q(quantity_max__gte=0, amount_max_micros__gte=0), name="order_line_not_negative"
            ),
        ]


class UsageRecord(Row):
    """What a supplier says was used: a claim. `quantity_accepted` is what counts; the rest is quarantined.

    A negative quantity takes back what was claimed too much before.

    Append-only, in partitions by the month of the order's acceptance, which `market_open_usage_month` makes. The
    database holds the month to be the line's: so (line, meter, sequence) is once in all partitions.
    """

    prefix = "usage"

    order_line = models.ForeignKey(
        OrderLine, on_delete=models.PROTECT, related_name="usage", db_index=False, db_constraint=False
    )
    accepted_month = models.DateField()
    meter = models.SlugField(max_length=40)
    sequence = models.BigIntegerField()
    quantity = models.BigIntegerField()
    quantity_accepted = models.BigIntegerField()
    quantity_observed = models.BigIntegerField(null=True)
    """The most that the whole line could have used by then, by what the hub saw; None: it sees nothing itself."""
    start = models.DateTimeField()
    end = models.DateTimeField()
    received_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=UsageState)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order_line", "meter", "sequence", "accepted_month"], name="usage_once"
            ),
            models.CheckConstraint(
                condition=Q(quantity_accepted__gte=0, quantity__gte=F("quantity_accepted"))
                | Q(quantity__lt=0, quantity_accepted__lte=0, quantity_accepted__gte=F("quantity")),
                name="usage_accepted_within_claim",
            ),
            models.CheckConstraint(
                condition=Q(state="accepted", reason="", quantity=F("quantity_accepted"))
                | (Q(state="quarantined") & ~Q(reason="")),
                name="usage_quarantined_with_reason",
            ),
        ]


class UsageTotal(models.Model):
    """What a line's usage adds up to: the supplier's figure and the hub's, side by side.

    Written by the trigger of `UsageRecord` alone, which refuses more than the line's `quantity_max`
    and less than nothing.
    """

    order_line = models.OneToOneField(
        OrderLine, primary_key=True, on_delete=models.PROTECT, related_name="usage_total"
    )
    records = models.BigIntegerField()
    last_sequence = models.BigIntegerField()
    """The highest; there may be gaps below it."""
    quarantined = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=38, decimal_places=0)
    """What the supplier reported, whatever of it counts."""
    quantity_accepted = models.BigIntegerField()
    quantity_observed = models.BigIntegerField(null=True)
    """The most that the hub can have seen used; None where it sees nothing itself."""


class Charge(Row):
    """What one line's use costs: a function of usage, frozen price and outcome. Append-only."""

    prefix = "charge"

    order_line = models.OneToOneField(OrderLine, on_delete=models.PROTECT, related_name="charge")
    quantity = models.BigIntegerField()
    amount_micros = models.BigIntegerField()
    tax_micros = models.BigIntegerField()
    credited_micros = models.BigIntegerField(default=0)
    """What it would have cost, had not the platform or the supplier failed."""
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(quantity__gte=0, amount_micros__gte=0, tax_micros__gte=0, credited_micros__gte=0),
                name="charge_not_negative",
            )
        ]


class Receipt(Row):
    """Proof of one order. `content` is frozen, `sha256` is that of its canonical form. Append-only."""

    prefix = "receipt"

    number = models.CharField(max_length=20, unique=True)
    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="receipt")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="receipts")
    content = models.JSONField()
    sha256 = models.CharField(max_length=64)
    issued_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-issued_at", "-id"]),
            models.Index(fields=["-issued_at", "-id"]),
        ]

    def __str__(self) -> str:
        return self.number


class ReceiptCounter(models.Model):
    """The last receipt number of a year: without gaps, so its row is locked from numbering to commit."""

    year = models.PositiveIntegerField(primary_key=True)
    last = models.PositiveIntegerField()
