"""Files of offers that are brought in, and their rows."""

from django.db import models
from django.db.models import Q

from mosu.platform.models import Organisation
from mosu.platform.rows import Row


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
