"""Tables of the counter. What is frozen at the quote is frozen in the database: see the migration's grants."""

from django.db import models
from django.db.models import F, Q

from mosu.market.hub import hub_currency
from mosu.platform.models import Organisation, Project, TransactionIdField, User
from mosu.platform.rows import Row


class SoldBy(models.TextChoices):
    HUB = "hub"
    """The hub bills the buyer; voucher and balance are held."""
    SUPPLIER = "supplier"
    """The supplier bills the buyer directly; only vouchers are held."""


class OfferState(models.TextChoices):
    LISTED = "listed"
    DELISTED = "delisted"


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


class ImportState(models.TextChoices):
    """Three are the hub's to carry on, in the background: reading, applying and undoing."""

    READING = "reading"
    REFUSED = "refused"
    """The file cannot be read: `refusal` says where."""
    PREVIEWED = "previewed"
    APPLYING = "applying"
    FAILED = "failed"
    """It could not be applied: `refusal` says why. Nothing of it was."""
    APPLIED = "applied"
    UNDOING = "undoing"
    UNDONE = "undone"
    DISCARDED = "discarded"


class Gone(models.TextChoices):
    """What becomes of offers of the same source that the file no longer has."""

    KEEP = "keep"
    WITHDRAW = "withdraw"


class Change(models.TextChoices):
    """What an imported row does to the shelf. Unchanged ones are counted only."""

    NEW = "new"
    PRICE = "price"
    CHANGED = "changed"
    """Its terms (title, limits, tax...), and its price too if that differs."""
    GONE = "gone"


class UsageState(models.TextChoices):
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"


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


class OfferImport(Row):
    """A file of offers brought in: read whole and compared, then applied at once or discarded; undone at most once."""

    prefix = "import"

    supplier = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    shelf = models.SlugField(max_length=40)
    source = models.CharField(max_length=300)
    """The catalogue's name: offers of the same supplier and source are what the file is compared with."""
    filename = models.CharField(max_length=300)
    file_sha256 = models.CharField(max_length=64)
    subject_id = models.UUIDField(null=True)
    """What rows that name no goods are sold from."""
    currency = models.CharField(max_length=3, blank=True)
    """Of prices that name none; empty: the hub's, or the layout's."""
    gone = models.CharField(max_length=10, choices=Gone, default=Gone.KEEP)
    state = models.CharField(max_length=10, choices=ImportState, default=ImportState.READING)
    counts = models.JSONField(default=dict)
    """By `Change`, `unchanged`, `repeated` (the same row twice), `quarantined`, and `rows` in all."""
    rows_read = models.PositiveIntegerField(default=0)
    percent = models.PositiveSmallIntegerField(default=0)
    """How far reading, applying or undoing is; written while it goes on."""
    held = models.PositiveIntegerField(default=0)
    """Lines in quarantine that the hub's operator may let through, and has not."""
    refusal = models.JSONField(default=dict)
    """Why the last step was refused: `code`, `message`, `hint`, `count`, and the first `problems` with their places."""
    created_at = models.DateTimeField()
    applied_at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["supplier", "-created_at", "-id"]),
            models.Index(
                fields=["created_at"], condition=Q(state="previewed", held__gt=0), name="offer_import_held"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=ImportState.values), name="offer_import_state_known"
            ),
            models.CheckConstraint(condition=Q(gone__in=Gone.values), name="offer_import_gone_known"),
            models.CheckConstraint(
                condition=Q(state__in=["applied", "undoing", "undone"], applied_at__isnull=False)
                | Q(
                    state__in=["reading", "refused", "previewed", "applying", "failed", "discarded"],
                    applied_at=None,
                ),
                name="offer_import_applied_at",
            ),
            models.CheckConstraint(
                condition=Q(state="undone", undone_at__isnull=False) | ~Q(state="undone") & Q(undone_at=None),
                name="offer_import_undone_at",
            ),
            models.CheckConstraint(condition=Q(percent__lte=100), name="offer_import_percent"),
        ]


class OfferImportRow(models.Model):
    """One difference between a file and the shelf."""

    id = models.BigAutoField(primary_key=True)
    offer_import = models.ForeignKey(OfferImport, on_delete=models.PROTECT, related_name="rows")
    line = models.PositiveIntegerField(null=True)
    """Where in the file; None for what is gone from it."""
    change = models.CharField(max_length=10, choices=Change)
    offer_id = models.UUIDField()
    """The offer that is there, or the id that a new one gets."""
    external_key = models.CharField(max_length=200)
    subject_id = models.UUIDField(null=True)
    terms = models.JSONField(default=dict)
    """What the offer becomes: title, attributes, limits, tax; for what is gone, what it is."""
    meter = models.SlugField(max_length=40)
    unit = models.SlugField(max_length=40)
    unit_price_micros = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3)
    old_price_micros = models.BigIntegerField(null=True)
    old_currency = models.CharField(max_length=3, blank=True)
    old_terms = models.JSONField(default=dict)
    """What it was; empty for what is new."""
    old_state = models.CharField(max_length=10, blank=True)
    doubt = models.SlugField(max_length=20, blank=True)
    """Why the row waits in quarantine: a key of `gates.DOUBTS`; empty if it does not."""
    reason = models.CharField(max_length=300, blank=True)
    released = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["offer_import", "change", "id"])]
        constraints = [
            models.CheckConstraint(condition=Q(change__in=Change.values), name="offer_import_change_known"),
            models.CheckConstraint(
                condition=Q(released=False) | ~Q(doubt=""), name="offer_import_released_was_doubted"
            ),
        ]


class OfferChange(models.Model):
    """That an offer, its prices or its supplier's name changed; written by triggers, read by each catalogue."""

    id = models.BigAutoField(primary_key=True)
    offer_id = models.UUIDField()
    xid = TransactionIdField()
    """The transaction: what commits late has a number that a reader still waits for."""
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["xid"]), models.Index(fields=["at"])]


class SavedSearch(Row):
    """A person's search of a shelf under a name of their own."""

    prefix = "search"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    query = models.JSONField()
    """The address's parameters, as `catalogue.params_of` writes and `catalogue.search_of` reads them."""
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="saved_search_name_once")]

    def __str__(self) -> str:
        return self.name


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
    shelf = models.SlugField(max_length=40)
    state = models.CharField(max_length=10, choices=OrderState, default=OrderState.PLACED)
    total_max_micros = models.BigIntegerField()
    total_micros = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3)
    balance_hold_id = models.UUIDField(null=True)
    """The ledger's hold on the buyer's own money; None when nothing of it was to be paid here."""
    outcome = models.CharField(max_length=20, choices=Outcome, null=True)
    placed_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-placed_at", "-id"]),
            models.Index(fields=["-placed_at", "-id"]),  # the hub's people see all, sorted as they like
            models.Index(fields=["state", "id"]),
            models.Index(fields=["total_max_micros", "id"]),
            models.Index(fields=["settled_at"]),
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

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "meter"], name="order_line_meter_once"),
            models.CheckConstraint(
                condition=Q(quantity_max__gte=0, amount_max_micros__gte=0), name="order_line_not_negative"
            ),
        ]


class UsageRecord(Row):
    """What a supplier says was used: a claim. `quantity_accepted` is what counts; the rest is quarantined.

    Append-only. Partitions by the month of the order's acceptance come when one table no longer serves.
    """

    prefix = "usage"

    order_line = models.ForeignKey(OrderLine, on_delete=models.PROTECT, related_name="usage")
    meter = models.SlugField(max_length=40)
    sequence = models.BigIntegerField()
    quantity = models.BigIntegerField()
    quantity_accepted = models.BigIntegerField()
    start = models.DateTimeField()
    end = models.DateTimeField()
    received_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=UsageState)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order_line", "meter", "sequence"], name="usage_once"),
            models.CheckConstraint(
                condition=Q(quantity_accepted__gte=0, quantity__gte=F("quantity_accepted")),
                name="usage_accepted_within_claim",
            ),
            models.CheckConstraint(
                condition=Q(state="accepted", reason="", quantity=F("quantity_accepted"))
                | (Q(state="quarantined") & ~Q(reason="")),
                name="usage_quarantined_with_reason",
            ),
        ]


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
