"""The one way bytes come in and go out. Whatever has a row is durable on disk and has the sha256 of its name."""

import hashlib
import logging
import os
from collections.abc import AsyncIterable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.models import F

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.store import files, rules
from mosu.store.files import BlobWriter, NotStored, TooLarge, WrongHash, sweep_temporary, temporary_file
from mosu.store.models import Blob, BlobGrant, Quota
from mosu.store.queries import blobs_of, bytes_max_default
from mosu.store.rules import ManifestEntry

__all__ = [
    "Blob",
    "BlobVerification",
    "BlobWriter",
    "Damaged",
    "ManifestEntry",
    "NotStored",
    "QuotaExceeded",
    "TooLarge",
    "WrongHash",
    "checked_chunks",
    "commit_blob",
    "grant_blobs",
    "has_blobs",
    "missing_of",
    "open_blob",
    "put_blob",
    "put_blob_streamed",
    "put_file",
    "put_manifest",
    "read_manifest",
    "set_quota",
    "sweep_temporary",
    "temporary_file",
    "verify_blobs",
]

_BUFFER_BYTES: Final = 1 << 20

_log = logging.getLogger(__name__)


class Damaged(DomainError):
    """What the disk holds is not what was stored; it is never served as if it were."""

    code = "blob_damaged"
    status = 500


class QuotaExceeded(DomainError):
    """The organisation would keep more bytes than it may."""

    code = "quota_exceeded"
    status = 413


@dataclass(frozen=True, slots=True)
class BlobVerification:
    """What reading all blobs again found."""

    blobs: int
    size_bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def put_blob(
    *,
    chunks: Iterable[bytes],
    sha256: str,
    size_bytes_max: int,
    now: datetime,
    organisation_id: UUID | None = None,
) -> Blob:
    """The blob of these bytes, durable, and the organisation's to use; bytes that are there are taken again.

    All of it or nothing: what is refused leaves no file and no row. Without an organisation it is mosu's own.

    Raises:
        Invalid: `sha256` is not one.
        WrongHash: the bytes have another sha256.
        TooLarge: more than `size_bytes_max` came.
        QuotaExceeded: the organisation would keep too much.
        NotStored: the disk refused.
    """
    rules.checked_sha256(sha256)
    with BlobWriter(size_bytes_max=size_bytes_max) as writer:
        for chunk in chunks:
            writer.write(chunk)
        return commit_blob(writer, sha256=sha256, now=now, organisation_id=organisation_id)


def put_file(*, file: BinaryIO, size_bytes_max: int, now: datetime, organisation_id: UUID) -> Blob:
    """The blob of what a file that can be read twice holds: its sha256 is found first.

    Raises: as `put_blob`.
    """
    digest = hashlib.sha256()
    for chunk in _chunks_of(file):
        digest.update(chunk)
    return put_blob(
        chunks=_chunks_of(file),
        sha256=digest.hexdigest(),
        size_bytes_max=size_bytes_max,
        now=now,
        organisation_id=organisation_id,
    )


def _chunks_of(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_BUFFER_BYTES):
        yield chunk


async def put_blob_streamed(
    *,
    chunks: AsyncIterable[bytes],
    sha256: str,
    size_bytes_max: int,
    now: datetime,
    organisation_id: UUID | None = None,
) -> Blob:
    """`put_blob` for the data plane: the disk and the database are waited for in threads.

    Raises: as `put_blob`.
    """
    rules.checked_sha256(sha256)
    writer = await sync_to_async(BlobWriter, thread_sensitive=False)(size_bytes_max=size_bytes_max)
    write = sync_to_async(writer.write, thread_sensitive=False)
    try:
        buffer = bytearray()
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= _BUFFER_BYTES:
                await write(bytes(buffer))
                buffer.clear()
        await write(bytes(buffer))
        return await sync_to_async(_commit_in_thread, thread_sensitive=False)(
            writer, sha256, now, organisation_id
        )
    finally:
        writer.abort()


def commit_blob(writer: BlobWriter, *, sha256: str, now: datetime, organisation_id: UUID | None) -> Blob:
    """The blob that `writer` wrote: checked, durable, in its place, with its row.

    Raises:
        WrongHash: the bytes have another sha256.
        QuotaExceeded: the organisation would keep too much.
        NotStored: the disk refused.
    """
    writer.finish(sha256=sha256)
    with transaction.atomic():
        # The row waits uncommitted until the bytes are in their place: a row always has its bytes.
        blob, _ = Blob.objects.get_or_create(
            sha256=sha256, defaults={"size_bytes": writer.size_bytes, "created_at": now}
        )
        if organisation_id is not None:
            grant_blobs(sha256s=[sha256], organisation_id=organisation_id, now=now)
        writer.keep()
    return blob


@transaction.atomic
def grant_blobs(*, sha256s: Collection[str], organisation_id: UUID, now: datetime) -> None:
    """Let an organisation read these blobs and refer to them. The caller knows that it may; repeats are free.

    Raises:
        NotFound: a blob is not there.
        QuotaExceeded: the organisation would keep too much.
    """
    sizes = blobs_of(sha256s, organisation_id=None)
    if len(sizes) < len(set(sha256s)):
        raise _no_blob()
    Quota.objects.get_or_create(
        organisation_id=organisation_id, defaults={"bytes_max": bytes_max_default(), "used_bytes": 0}
    )
    quota = Quota.objects.select_for_update().get(organisation_id=organisation_id)
    fresh = sorted(sizes.keys() - blobs_of(sizes, organisation_id=organisation_id).keys())
    more = sum(sizes[sha256] for sha256 in fresh)
    if quota.used_bytes + more > quota.bytes_max:
        raise QuotaExceeded(
            f"This would keep {quota.used_bytes + more} bytes of at most {quota.bytes_max}.",
            hint="Ask the hub for more room.",
            used_bytes=quota.used_bytes,
            bytes_max=quota.bytes_max,
        )
    BlobGrant.objects.bulk_create(
        BlobGrant(blob_id=sha256, organisation_id=organisation_id, created_at=now) for sha256 in fresh
    )
    Quota.objects.filter(organisation_id=organisation_id).update(used_bytes=F("used_bytes") + more)


@transaction.atomic
def set_quota(*, organisation_id: UUID, bytes_max: int) -> None:
    """Let an organisation keep so many bytes; the caller asked the policy.

    Raises:
        Invalid: it keeps more than that already.
    """
    quota, _ = Quota.objects.select_for_update().get_or_create(
        organisation_id=organisation_id, defaults={"bytes_max": bytes_max, "used_bytes": 0}
    )
    if bytes_max < max(quota.used_bytes, 0):
        raise Invalid(
            f"The organisation keeps {quota.used_bytes} bytes already.",
            hint="Choose at least that.",
            field="bytes_max",
        )
    quota.bytes_max = bytes_max
    quota.save(update_fields=["bytes_max"])


def has_blobs(sha256s: Collection[str], *, organisation_id: UUID) -> set[str]:
    """Which of these the organisation has. What only others have is not among them, nor what a disk lost.

    Raises:
        Invalid: something is not a sha256.
    """
    known = blobs_of(sha256s, organisation_id=organisation_id)
    return {sha256 for sha256, size_bytes in known.items() if files.size_of(sha256) == size_bytes}


def missing_of(sha256s: Sequence[str], *, organisation_id: UUID) -> list[str]:
    """Which of these the organisation must still bring, in their order, each once.

    Raises:
        Invalid: something is not a sha256.
    """
    had = has_blobs(sha256s, organisation_id=organisation_id)
    return [sha256 for sha256 in dict.fromkeys(sha256s) if sha256 not in had]


def open_blob(sha256: str, *, organisation_id: UUID | None = None) -> BinaryIO:
    """The bytes, open for reading; for an organisation only if it has them, for mosu itself without one.

    Raises:
        Invalid: not a sha256.
        NotFound: not there, or not the organisation's.
        Damaged: a disk lost them, or part of them.
    """
    known = blobs_of([sha256], organisation_id=organisation_id)
    if sha256 not in known:
        raise _no_blob()
    if files.size_of(sha256) != known[sha256]:
        raise _damaged(sha256)
    return files.open_file(sha256)


def checked_chunks(file: BinaryIO, *, sha256: str, chunk_bytes: int) -> Iterator[bytes]:
    """The bytes of a blob, of which the last are only given when all of them are those that its name says.

    Raises:
        Damaged: they are not; who is reading gets less than was announced, never wrong bytes as a whole.
    """
    digest = hashlib.sha256()
    held = file.read(chunk_bytes)
    while chunk := file.read(chunk_bytes):
        digest.update(held)
        yield held
        held = chunk
    digest.update(held)
    if digest.hexdigest() != sha256:
        raise _damaged(sha256)
    if held:
        yield held


def _damaged(sha256: str) -> Damaged:
    """The refusal for a blob whose bytes a disk lost or changed; logged, since somebody must look."""
    _log.error("blob %s is damaged", sha256)
    return Damaged(
        f"The stored bytes of {sha256} are damaged.",
        hint="Send the file again, or ask the hub's operator to restore a backup.",
        sha256=sha256,
    )


def put_manifest(entries: Sequence[ManifestEntry], *, organisation_id: UUID, now: datetime) -> str:
    """The sha256 of the folder that these entries are; equal folders have one.

    Raises:
        Invalid: not a folder, or an entry whose blob the organisation does not have in that size.
        QuotaExceeded: the organisation would keep too much.
        NotStored: the disk refused.
    """
    data = rules.manifest_bytes(entries)
    _check_blobs(entries, organisation_id=organisation_id)
    sha256 = hashlib.sha256(data).hexdigest()
    put_blob(
        chunks=[data],
        sha256=sha256,
        size_bytes_max=rules.MANIFEST_BYTES_MAX,
        now=now,
        organisation_id=organisation_id,
    )
    return sha256


def read_manifest(sha256: str, *, organisation_id: UUID | None = None) -> tuple[ManifestEntry, ...]:
    """The folder's entries, sorted by path; for an organisation only if it has the manifest and all its blobs.

    Raises:
        NotFound: not there, or not the organisation's.
        Invalid: the blob is not a manifest, or names blobs that the organisation does not have.
    """
    with open_blob(sha256, organisation_id=organisation_id) as file:
        data = file.read(rules.MANIFEST_BYTES_MAX + 1)
    entries = rules.manifest_of(data)
    # Anyone can bring bytes that look like a manifest of another's blobs.
    _check_blobs(entries, organisation_id=organisation_id)
    return entries


def verify_blobs() -> BlobVerification:
    """All blobs read again: each there, of its size, with its sha256."""
    problems: list[str] = []
    count = size_bytes = 0
    for blob in Blob.objects.order_by("sha256").iterator():
        count += 1
        size_bytes += blob.size_bytes
        try:
            with files.open_file(blob.sha256) as file:
                size = os.fstat(file.fileno()).st_size
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            problems.append(f"{blob.sha256}: {error.strerror}")
            continue
        if found != blob.sha256:
            problems.append(f"{blob.sha256}: its bytes are others")
        elif size != blob.size_bytes:
            problems.append(f"{blob.sha256}: its size is another")
    return BlobVerification(blobs=count, size_bytes=size_bytes, problems=tuple(problems))


def _check_blobs(entries: Sequence[ManifestEntry], *, organisation_id: UUID | None) -> None:
    known = blobs_of({entry.sha256 for entry in entries}, organisation_id=organisation_id)
    wrong = rules.sizes_that_differ(entries, known)
    if wrong:
        raise Invalid(
            f"The bytes of {wrong[0]!r} are not there in that size ({len(wrong)} such files).",
            hint="Send them first: POST /api/v1/blobs/missing says which.",
            field="files",
            found=wrong[0],
        )


def _commit_in_thread(writer: BlobWriter, sha256: str, now: datetime, organisation_id: UUID | None) -> Blob:
    try:
        return commit_blob(writer, sha256=sha256, now=now, organisation_id=organisation_id)
    finally:
        connections.close_all()  # this thread's


def _no_blob() -> NotFound:
    return NotFound("There is no such blob.", hint="Send it: PUT /api/v1/blobs/{sha256}.")
