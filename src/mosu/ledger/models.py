"""Tables of the ledger. What holds between them is enforced by the functions and triggers in `sql.py`.

The application's role only reads accounts, entries, postings, holds and day heads.
"""

from django.db import models
from django.db.models import F, Q

from mosu.kernel.money import MICROS_MAX, MINOR_DIGITS
from mosu.ledger.rules import GENESIS
from mosu.platform.models import Organisation, User
from mosu.platform.rows import Row


class AccountKind(models.TextChoices):
    BALANCE = "balance"
    """An organisation's money."""
    BANK = "bank"
    """The hub's bank account, seen from outside: negative by what came in."""
    PAYABLE = "payable"
    """What the hub owes a supplier."""
    FEE = "fee"
    VOUCHER = "voucher"
    POOL = "pool"
    """What a programme may still give."""
    FUNDER = "funder"
    CAP = "cap"
    """What an organisation may still use of a programme in a year."""
    CAP_SOURCE = "cap_source"
    CAP_USED = "cap_used"
    CREDIT = "credit"
    """The hub's goodwill: hours lost by its fault are credited from here."""


GUARDED_KINDS = (
    AccountKind.BALANCE,
    AccountKind.PAYABLE,
    AccountKind.VOUCHER,
    AccountKind.POOL,
    AccountKind.CAP,
)
"""Kinds that never go below zero."""


class Account(Row):
    """Where money stands. Balance, head and held are written by the triggers of postings and holds alone."""

    prefix = "account"

    kind = models.CharField(max_length=20, choices=AccountKind)
    owner_id = models.UUIDField()
    currency = models.CharField(max_length=3)
    floor_micros = models.BigIntegerField(null=True)
    """Balance less held never goes below it; null: no floor."""
    balance_micros = models.BigIntegerField(default=0)
    held_micros = models.BigIntegerField(default=0)
    sequence = models.BigIntegerField(default=0)
    """How many postings it has."""
    head_hash = models.CharField(max_length=64, default=GENESIS)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "owner_id", "currency"], name="account_once"),
            models.CheckConstraint(condition=Q(kind__in=AccountKind.values), name="account_kind_known"),
            models.CheckConstraint(
                condition=Q(currency__in=list(MINOR_DIGITS)), name="account_currency_known"
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=GUARDED_KINDS) | Q(floor_micros=0, floor_micros__isnull=False),
                name="account_guarded",
            ),
            models.CheckConstraint(condition=Q(held_micros__gte=0), name="account_held_positive"),
            models.CheckConstraint(
                condition=Q(floor_micros=None) | Q(balance_micros__gte=F("floor_micros") + F("held_micros")),
                name="account_floor",
            ),
        ]


class HoldState(models.TextChoices):
    OPEN = "open"
    CLOSED = "closed"


class Hold(Row):
    """Money of an account reserved for one subject: taken in parts (captured), the rest given back (released)."""

    prefix = "hold"

    key = models.CharField(max_length=200, unique=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds")
    amount_micros = models.BigIntegerField()
    captured_micros = models.BigIntegerField(default=0)
    released_micros = models.BigIntegerField(default=0)
    subject_id = models.UUIDField(db_index=True)
    state = models.CharField(max_length=10, choices=HoldState, default=HoldState.OPEN)
    placed_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_micros__gt=0, amount_micros__lte=MICROS_MAX), name="hold_amount_positive"
            ),
            models.CheckConstraint(
                condition=Q(captured_micros__gte=0, released_micros__gte=0), name="hold_parts_positive"
            ),
            models.CheckConstraint(
                condition=Q(
                    state=HoldState.OPEN,
                    closed_at=None,
                    amount_micros__gt=F("captured_micros") + F("released_micros"),
                )
                | Q(
                    state=HoldState.CLOSED,
                    closed_at__isnull=False,
                    amount_micros=F("captured_micros") + F("released_micros"),
                ),
                name="hold_closed_when_used",
            ),
        ]

    @property
    def remaining_micros(self) -> int:
        return self.amount_micros - self.captured_micros - self.released_micros


class JournalEntry(Row):
    """One business fact: its moves, and the postings they net to."""

    prefix = "entry"

    key = models.CharField(max_length=200, unique=True)
    digest = models.CharField(max_length=64)
    kind = models.CharField(max_length=40)
    subject_id = models.UUIDField(db_index=True)
    hold = models.ForeignKey(Hold, null=True, on_delete=models.PROTECT, related_name="captures")
    reverses = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="reversed_by")
    moves = models.JSONField()
    """A list of [source, destination, micros]."""
    memo = models.TextField(blank=True)
    posted_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["posted_at"], name="entry_posted_at"),  # what came after a day's end
            models.Index(fields=["kind", "id"], name="entry_kind"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(key__regex=r"^[^\n\r]+$"), name="entry_key_one_line"),
            models.CheckConstraint(condition=Q(kind__regex=r"^[a-z][a-z_.]*$"), name="entry_kind_plain"),
        ]


class Posting(models.Model):
    """What one entry did to one account, chained by hash to the account's posting before it."""

    pk = models.CompositePrimaryKey("account_id", "sequence")
    # Without the database's own constraints: the trigger that chains it needs both rows, and neither is ever deleted.
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="postings", db_index=False, db_constraint=False
    )
    sequence = models.BigIntegerField()
    entry = models.ForeignKey(
        JournalEntry, on_delete=models.PROTECT, related_name="postings", db_index=False, db_constraint=False
    )
    amount_micros = models.BigIntegerField()
    balance_after_micros = models.BigIntegerField()
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        indexes = [models.Index(fields=["amount_micros"])]  # the books are searched by amount
        constraints = [
            models.UniqueConstraint(fields=["entry", "account"], name="posting_once"),
            models.CheckConstraint(condition=~Q(amount_micros=0), name="posting_not_zero"),
        ]


class Door(models.TextChoices):
    """By which function an entry comes to be."""

    POST = "post"
    CAPTURE = "capture"
    REVERSE = "reverse"
    DEPOSIT = "deposit"
    """`ledger_confirm_deposit`: two persons."""
    REFUND = "refund"
    """`ledger_confirm_refund`: two persons."""
    PAYOUT = "payout"
    """`ledger_confirm_payout`: two persons."""
    CREDIT = "credit"
    """The counter's `market_issue_credit_note`: two persons."""


class EntryRule(models.Model):
    """Which kind of entry may move money from which kind of account to which, and by which door.

    The database refuses every other move. Rows come by migrations alone.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=40)
    door = models.CharField(max_length=10, choices=Door)
    source = models.CharField(max_length=20)
    destination = models.CharField(max_length=20)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "door", "source", "destination"], name="entry_rule_once"),
        ]


class DayHead(models.Model):
    """The seal of one of the hub's days: a hash over the sorted heads that accounts had at its end.

    Once it is written no entry can be posted into that day.
    """

    date = models.DateField(primary_key=True)
    ends_at = models.DateTimeField(unique=True)
    sha256 = models.CharField(max_length=64)
    accounts = models.BigIntegerField()
    sealed_at = models.DateTimeField()


class DepositState(models.TextChoices):
    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    REFUNDING = "refunding"
    """One person asked to give it back; it is still on the balance until another confirms."""
    REFUNDED = "refunded"


class Deposit(Row):
    """Money that reached the hub's bank for an organisation; one person enters it, another confirms it.

    Given back, it needs two persons again: `refund_maker` and `refund_checker`.
    """

    prefix = "deposit"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="deposits")
    amount_micros = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    bank_reference = models.CharField(max_length=100, unique=True)
    state = models.CharField(max_length=20, choices=DepositState, default=DepositState.PROPOSED)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    entry = models.OneToOneField(JournalEntry, null=True, on_delete=models.PROTECT, related_name="deposit")
    proposed_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    refund_maker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    refund_checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    refund_entry = models.OneToOneField(JournalEntry, null=True, on_delete=models.PROTECT, related_name="+")
    refund_why = models.CharField(max_length=1000, blank=True)
    refunded_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_micros__gt=0, amount_micros__lte=MICROS_MAX),
                name="deposit_amount_positive",
            ),
            models.CheckConstraint(
                condition=Q(checker=None) | ~Q(checker=F("maker")), name="deposit_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(state=DepositState.PROPOSED, checker=None, entry=None, decided_at=None)
                | Q(
                    state__in=[DepositState.CONFIRMED, DepositState.REFUNDING, DepositState.REFUNDED],
                    checker__isnull=False,
                    entry__isnull=False,
                    decided_at__isnull=False,
                )
                | Q(state=DepositState.REJECTED, checker__isnull=False, entry=None, decided_at__isnull=False),
                name="deposit_state_whole",
            ),
            models.CheckConstraint(
                condition=Q(refund_checker=None) | ~Q(refund_checker=F("refund_maker")),
                name="deposit_refund_two_persons",
            ),
            models.CheckConstraint(
                condition=Q(
                    state=DepositState.REFUNDED,
                    refund_maker__isnull=False,
                    refund_checker__isnull=False,
                    refund_entry__isnull=False,
                    refunded_at__isnull=False,
                )
                | Q(
                    state=DepositState.REFUNDING,
                    refund_maker__isnull=False,
                    refund_checker=None,
                    refund_entry=None,
                    refunded_at=None,
                )
                | Q(
                    state__in=[DepositState.PROPOSED, DepositState.CONFIRMED, DepositState.REJECTED],
                    refund_maker=None,
                    refund_checker=None,
                    refund_entry=None,
                    refunded_at=None,
                ),
                name="deposit_refund_whole",
            ),
        ]


class PayoutState(models.TextChoices):
    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class Payout(Row):
    """Money that the hub's bank paid to a supplier for one subject; one person enters it, another confirms it."""

    prefix = "payout"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="payouts")
    subject_id = models.UUIDField()
    """The settlement statement that it pays."""
    amount_micros = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    bank_reference = models.CharField(max_length=100, unique=True)
    state = models.CharField(max_length=20, choices=PayoutState, default=PayoutState.PROPOSED)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    entry = models.OneToOneField(JournalEntry, null=True, on_delete=models.PROTECT, related_name="payout")
    proposed_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject_id"], condition=~Q(state=PayoutState.REJECTED), name="payout_subject_once"
            ),
            models.CheckConstraint(
                condition=Q(amount_micros__gt=0, amount_micros__lte=MICROS_MAX), name="payout_positive"
            ),
            models.CheckConstraint(
                condition=Q(checker=None) | ~Q(checker=F("maker")), name="payout_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(state=PayoutState.PROPOSED, checker=None, entry=None, decided_at=None)
                | Q(
                    state=PayoutState.CONFIRMED,
                    checker__isnull=False,
                    entry__isnull=False,
                    decided_at__isnull=False,
                )
                | Q(state=PayoutState.REJECTED, checker__isnull=False, entry=None, decided_at__isnull=False),
                name="payout_state_whole",
            ),
        ]
