"""Reads of the store."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from mosu.store.models import Blob, BlobGrant, Quota
from mosu.store.rules import checked_sha256

BYTES_MAX_DEFAULT = 20 << 30


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organisation keeps in the store, and may keep."""

    used_bytes: int
    bytes_max: int


def blobs_of(sha256s: Collection[str], *, organisation_id: UUID | None) -> dict[str, int]:
    """The sizes of those blobs that the organisation has; None: of all that are there, for mosu itself.

    Raises:
        Invalid: something is not a sha256.
    """
    wanted = {checked_sha256(sha256) for sha256 in sha256s}
    rows = Blob.objects.filter(sha256__in=wanted)
    if organisation_id is not None:
        granted = BlobGrant.objects.filter(organisation_id=organisation_id, blob_id__in=wanted)
        rows = rows.filter(sha256__in=granted.values("blob_id"))
    return dict(rows.values_list("sha256", "size_bytes"))


def usage_of(organisation_id: UUID) -> Usage:
    """How much of its quota an organisation has used."""
    row = Quota.objects.filter(organisation_id=organisation_id).first()
    return Usage(row.used_bytes, row.bytes_max) if row else Usage(0, bytes_max_default())


def bytes_max_default() -> int:
    """The quota of an organisation that was given no other."""
    return int(getattr(settings, "STORE_BYTES_MAX", BYTES_MAX_DEFAULT))
