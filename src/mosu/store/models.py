"""Tables of the store: which bytes are there, who may use them, how much each organisation keeps."""

from django.db import models
from django.db.models import F, Q

from mosu.platform.models import Organisation, User
from mosu.platform.rows import Row
from mosu.store.rules import MediaType


class Blob(models.Model):
    """Bytes that are durable on disk under their sha256; the row is written after them."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size_bytes = models.BigIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(sha256__regex="^[0-9a-f]{64}$"), name="blob_sha256_hex"),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="blob_size_positive"),
        ]


class BlobGrant(Row):
    """That an organisation may read a blob and refer to it: it brought the bytes, or was given them."""

    prefix = "grant"

    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="grants")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organisation", "blob"], name="blob_grant_once")]


class Quota(models.Model):
    """How many bytes an organisation keeps, and may keep. A blob counts for everyone who holds a grant."""

    organisation = models.OneToOneField(
        Organisation, primary_key=True, on_delete=models.PROTECT, related_name="+"
    )
    used_bytes = models.BigIntegerField(default=0)
    bytes_max = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(used_bytes__gte=0, used_bytes__lte=F("bytes_max")), name="quota_kept"
            )
        ]


class Document(Row):
    """A paper that an organisation brought once (a licence, a contract) and attaches wherever it is asked for."""

    prefix = "document"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="documents")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    """As its file was called."""
    media_type = models.CharField(max_length=40, choices=[(one.value, one.value) for one in MediaType])
    """As its content says, whatever it was called."""
    uploaded_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["organisation", "-uploaded_at", "-id"])]
        constraints = [
            models.UniqueConstraint(fields=["organisation", "blob"], name="document_once"),
            models.CheckConstraint(
                condition=Q(media_type__in=[one.value for one in MediaType]), name="document_type_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Attachment(Row):
    """That a document speaks for something of its organisation, named by an opaque id: a fact, an application."""

    prefix = "attachment"

    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="attachments")
    subject_id = models.UUIDField(db_index=True)
    attached_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    attached_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["document", "subject_id"], name="attachment_once"),
        ]
