"""A month that is over: bills, settlement statements, and what is corrected afterwards."""

from django.db import models
from django.db.models import F, Q

from mosu.kernel.money import MICROS_MAX
from mosu.market.models.orders import Receipt
from mosu.platform.models import Organisation, User
from mosu.platform.rows import Row


class Bill(Row):
    """A month of one organisation, frozen at the month's close: `total = vouchers + paid`. Append-only.

    `paid - billed_by_suppliers - credits` is what the month took from its balance: the database holds this at the
    close. What is corrected later is a credit note, and counts in the month in which it is issued.
    """

    prefix = "bill"

    number = models.CharField(max_length=30, unique=True)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="bills")
    month = models.DateField()
    """Its first day, in the hub's zone."""
    currency = models.CharField(max_length=3)
    receipts = models.BigIntegerField()
    total_micros = models.BigIntegerField()
    vouchers_micros = models.BigIntegerField()
    paid_micros = models.BigIntegerField()
    billed_by_suppliers_micros = models.BigIntegerField()
    refund_later_micros = models.BigIntegerField()
    credited_micros = models.BigIntegerField()
    tax_micros = models.BigIntegerField()
    credits_micros = models.BigIntegerField()
    """What credit notes issued in this month gave back, of whatever month."""
    content = models.JSONField()
    """By programme, by supplier, with names as they were; `sha256` is that of its canonical form."""
    sha256 = models.CharField(max_length=64)
    issued_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["-month", "-id"], name="bill_by_month")]
        constraints = [
            models.UniqueConstraint(fields=["organisation", "month"], name="bill_once"),
            models.CheckConstraint(
                condition=Q(total_micros=F("vouchers_micros") + F("paid_micros")), name="bill_adds_up"
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def due_micros(self) -> int:
        """What the buyer itself bears: here, and to suppliers that bill themselves."""
        return self.paid_micros - self.credits_micros


class Statement(Row):
    """What a month's sales came to for their supplier, frozen at the close: `net = gross - fee - credits`. Append-only.

    `gross = vouchers + buyers` is what passed through the hub's ledger; `to_invoice` the supplier bills itself.
    """

    prefix = "statement"

    number = models.CharField(max_length=30, unique=True)
    supplier = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="statements")
    month = models.DateField()
    currency = models.CharField(max_length=3)
    orders = models.BigIntegerField()
    gross_micros = models.BigIntegerField()
    vouchers_micros = models.BigIntegerField()
    buyers_micros = models.BigIntegerField()
    fee_micros = models.BigIntegerField()
    tax_micros = models.BigIntegerField()
    credits_micros = models.BigIntegerField()
    """Credit notes of the month that the supplier bears."""
    net_micros = models.BigIntegerField()
    to_invoice_micros = models.BigIntegerField()
    content = models.JSONField()
    """Vouchers by programme."""
    sha256 = models.CharField(max_length=64)
    issued_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["-month", "-id"], name="statement_by_month")]
        constraints = [
            models.UniqueConstraint(fields=["supplier", "month"], name="statement_once"),
            models.CheckConstraint(
                condition=Q(
                    gross_micros=F("vouchers_micros") + F("buyers_micros"),
                    net_micros=F("gross_micros") - F("fee_micros") - F("credits_micros"),
                ),
                name="statement_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return self.number


class MonthClose(Row):
    """A month that is closed. The database takes it only if every bill and statement equals the postings.

    Afterwards no receipt is dated into it. Append-only.
    """

    prefix = "close"

    month = models.DateField(unique=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    bills = models.BigIntegerField()
    statements = models.BigIntegerField()
    receipts = models.BigIntegerField()
    usage_records = models.BigIntegerField()
    """So many were summed anew and agree with the charges."""
    total_micros = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    sha256 = models.CharField(max_length=64)
    """Over the bills' and the statements' own, by number."""
    closed_at = models.DateTimeField()


class CreditNoteState(models.TextChoices):
    PROPOSED = "proposed"
    ISSUED = "issued"
    REJECTED = "rejected"


class BorneBy(models.TextChoices):
    SUPPLIER = "supplier"
    HUB = "hub"


class CreditNote(Row):
    """Money given back on a receipt after its month was closed; one person proposes it, another issues it."""

    prefix = "credit"

    number = models.CharField(max_length=30, unique=True, null=True)
    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="credit_notes")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="credit_notes")
    supplier = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    amount_micros = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    borne_by = models.CharField(max_length=10, choices=BorneBy)
    why = models.CharField(max_length=1000)
    state = models.CharField(max_length=10, choices=CreditNoteState, default=CreditNoteState.PROPOSED)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    entry_id = models.UUIDField(null=True, unique=True)
    """The ledger's entry by which the money went back."""
    proposed_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(why=""), name="credit_note_says_why"),
            models.CheckConstraint(
                condition=Q(amount_micros__gt=0, amount_micros__lte=MICROS_MAX), name="credit_note_positive"
            ),
            models.CheckConstraint(
                condition=Q(checker=None) | ~Q(checker=F("maker")), name="credit_note_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(
                    state=CreditNoteState.PROPOSED, checker=None, entry_id=None, number=None, decided_at=None
                )
                | Q(
                    state=CreditNoteState.ISSUED,
                    checker__isnull=False,
                    entry_id__isnull=False,
                    number__isnull=False,
                    decided_at__isnull=False,
                )
                | Q(
                    state=CreditNoteState.REJECTED,
                    checker__isnull=False,
                    entry_id=None,
                    number=None,
                    decided_at__isnull=False,
                ),
                name="credit_note_state_whole",
            ),
        ]
