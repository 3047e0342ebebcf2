"""Tables of the store: which bytes are there, who may use them, how much each organisation keeps."""

from django.db import models
from django.db.models import F, Q

from mosu.platform.models import Organisation
from mosu.platform.rows import Row


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
