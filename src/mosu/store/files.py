"""Blobs as files: `blobs/ab/cd/<sha256>` below the data folder. No tables here."""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, cast

from django.conf import settings

from mosu.kernel.refusals import DomainError, Invalid
from mosu.store.rules import checked_sha256

_TEMPORARY: Final = "tmp"
_ABANDONED_S: Final = 60


class NotStored(DomainError):
    """The disk refused the bytes: full, or failing. Nothing was kept and nothing is acknowledged."""

    code = "not_stored"
    status = 507


class TooLarge(DomainError):
    """More bytes came than are allowed."""

    code = "too_large"
    status = 413


class WrongHash(Invalid):
    """The bytes that came are not those of the sha256 that was named."""

    code = "wrong_hash"


def folder() -> Path:
    """Where blobs are."""
    return Path(settings.DATA_DIR) / "blobs"


def path_of(sha256: str) -> Path:
    """The file of a blob.

    Raises:
        Invalid: not a sha256.
    """
    checked_sha256(sha256)
    return folder() / sha256[:2] / sha256[2:4] / sha256


class BlobWriter:
    """Bytes on their way in, in a temporary file that is gone unless `keep` is reached.

    Use it in a `with`: `write` each chunk, `finish` once, `keep` once. One thread at a time.
    """

    def __init__(self, *, size_bytes_max: int) -> None:
        self.size_bytes = 0
        self._size_bytes_max = size_bytes_max
        self._hash = hashlib.sha256()
        self._sha256: str | None = None
        with _disk():
            _make_folder(folder() / _TEMPORARY)
            handle, name = tempfile.mkstemp(dir=folder() / _TEMPORARY)
        self._path: Path | None = Path(name)
        self._file = os.fdopen(handle, "wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # sweep_temporary leaves alone what is locked

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLarge: they are more than allowed.
            NotStored: the disk refused them.
        """
        self.size_bytes += len(chunk)
        if self.size_bytes > self._size_bytes_max:
            raise TooLarge(
                f"More than {self._size_bytes_max} bytes came.",
                hint="Send a smaller file.",
                allowed=self._size_bytes_max,
            )
        self._hash.update(chunk)
        with _disk():
            self._file.write(chunk)

    def finish(self, *, sha256: str) -> None:
        """Check the hash and make the bytes durable, still under a temporary name.

        Raises:
            WrongHash: other bytes came.
            NotStored: the disk refused them.
        """
        found = self._hash.hexdigest()
        if found != checked_sha256(sha256):
            raise WrongHash(
                "The bytes that came have another sha256.",
                hint="Send the file again.",
                field="sha256",
                found=found,
            )
        with _disk():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._sha256 = sha256

    def keep(self) -> None:
        """Put the finished bytes in their place, durably; others that bring the same bytes do no harm.

        Raises:
            NotStored: the disk refused; the place is as before.
        """
        if self._sha256 is None or self._path is None:
            raise ValueError("keep() comes once, after finish()")
        target = path_of(self._sha256)
        with _disk():
            _make_folder(target.parent)
            with _locked(target.parent) as handle:
                known = target.exists()
                self._path.chmod(0o640)
                self._path.replace(target)
                self._path = None
                try:
                    os.fsync(handle)
                except OSError:
                    if not known:
                        target.unlink()
                    raise
        self._file.close()

    def abort(self) -> None:
        """Leave nothing behind, unless the bytes were kept."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        with suppress(OSError):  # what is left in its buffer may not fit the disk
            self._file.close()


def temporary_file() -> BinaryIO:
    """An empty file on the disk of the blobs, without a name: it is gone when it is closed, or its process ends.

    Raises:
        NotStored: the disk refused it.
    """
    with _disk():
        _make_folder(folder() / _TEMPORARY)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder() / _TEMPORARY))


def size_of(sha256: str) -> int | None:
    """How many bytes lie there; None if there is no file."""
    try:
        return path_of(sha256).stat().st_size
    except FileNotFoundError:
        return None


def open_file(sha256: str) -> BufferedReader:
    """The bytes of a blob that has a row.

    Raises:
        FileNotFoundError: they are lost.
    """
    return path_of(sha256).open("rb")


def sweep_temporary() -> int:
    """How many temporary files of uploads that died were removed. What is still being written stays."""
    removed = 0
    for path in _files_in(folder() / _TEMPORARY):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if path.stat().st_mtime > time.time() - _ABANDONED_S:
                continue
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
    return removed


def _files_in(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


@contextmanager
def _disk() -> Iterator[None]:
    """Turn what the operating system refuses into a refusal of ours."""
    try:
        yield
    except OSError as error:
        raise NotStored(
            f"The bytes could not be stored: {error.strerror or error}.",
            hint="Free space in the hub's data folder (mosu doctor), then send them again.",
        ) from error


@contextmanager
def _locked(place: Path) -> Iterator[int]:
    """The open folder, while nobody else moves files into it."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _make_folder(place: Path) -> None:
    """`place`, durable in each of its parents that is made here too."""
    if place.is_dir():
        return
    _make_folder(place.parent)
    with suppress(FileExistsError):
        place.mkdir(mode=0o750)
    handle = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
