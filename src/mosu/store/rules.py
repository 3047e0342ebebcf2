"""What a blob's name and a manifest may be, before any file or table."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from mosu.kernel.digests import canonical
from mosu.kernel.refusals import Invalid
from mosu.wire.paths import safe_relative_path

ENTRIES_MAX: Final = 50_000
MANIFEST_BYTES_MAX: Final = 32 << 20
DOCUMENT_BYTES_MAX: Final = 20 << 20
_VERSION: Final = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = {"path": str, "sha256": str, "size_bytes": int, "executable": bool}


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file of a folder: where it goes, and which bytes it has."""

    path: str
    sha256: str
    size_bytes: int
    executable: bool = False


class MediaType(StrEnum):
    """What a document may be: what every office reads, and no browser runs."""

    PDF = "application/pdf"
    PNG = "image/png"
    JPEG = "image/jpeg"


_BEGINNINGS: Final = (
    (b"%PDF-", MediaType.PDF),
    (b"\x89PNG\r\n\x1a\n", MediaType.PNG),
    (b"\xff\xd8\xff", MediaType.JPEG),
)
_ENDINGS: Final = {MediaType.PDF: b"%%EOF", MediaType.PNG: b"IEND\xaeB`\x82", MediaType.JPEG: b"\xff\xd9"}
ENDING_BYTES: Final = 1024
"""Within how many bytes of its end a document says that it is whole: writers of PDF add a few behind."""


def media_type_of(beginning: bytes, ending: bytes) -> MediaType:
    """What a document is, by its first bytes; its last `ENDING_BYTES` say that nothing of it is missing.

    Raises:
        Invalid: none of the three, or cut short.
    """
    found = next((kind for start, kind in _BEGINNINGS if beginning.startswith(start)), None)
    if found is None:
        raise Invalid(
            "This file is neither PDF, PNG nor JPEG.",
            hint="Save it as one of them: what counts is what the file holds, not how it is called.",
            field="file",
            allowed="PDF, PNG, JPEG",
        )
    if _ENDINGS[found] not in ending[-ENDING_BYTES:]:
        raise Invalid("This file is cut short.", hint="Save it anew and send it again.", field="file")
    return found


def checked_sha256(text: str) -> str:
    """`text`, if it is a sha256 in lower-case hex: nothing else ever becomes part of a path.

    Raises:
        Invalid: it is not.
    """
    if not _SHA256.fullmatch(text):
        raise Invalid(
            f"{text[:80]!r} is not a sha256.",
            hint="Send 64 digits of lower-case hex.",
            field="sha256",
            found=text[:80],
        )
    return text


def checked_entries(entries: Iterable[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """The entries sorted by path, if they can be laid out as one folder.

    Raises:
        Invalid: too many, a bad path or sha256, a path twice, a file where others need a folder.
    """
    ordered = tuple(sorted(entries, key=lambda entry: entry.path))
    if len(ordered) > ENTRIES_MAX:
        raise _bad(f"{len(ordered)} files are too many", allowed=ENTRIES_MAX)
    files: set[str] = set()
    for entry in ordered:
        safe_relative_path(entry.path)
        checked_sha256(entry.sha256)
        if entry.size_bytes < 0:
            raise _bad(f"{entry.path!r} has a negative size")
        if entry.path in files:
            raise _bad(f"{entry.path!r} is there twice")
        files.add(entry.path)
    for path in files:
        end = path.rfind("/")
        while end > 0:
            if path[:end] in files:
                raise _bad(f"{path[:end]!r} is a file and a folder")
            end = path.rfind("/", 0, end)
    return ordered


def manifest_bytes(entries: Iterable[ManifestEntry]) -> bytes:
    """The one way to write these entries: canonical JSON, sorted by path, so equal folders have one sha256.

    Raises:
        Invalid: as `checked_entries`.
    """
    files = [
        {
            "path": entry.path,
            "sha256": entry.sha256,
            "size_bytes": entry.size_bytes,
            "executable": entry.executable,
        }
        for entry in checked_entries(entries)
    ]
    return canonical({"version": _VERSION, "files": files})


def manifest_of(data: bytes) -> tuple[ManifestEntry, ...]:
    """The entries that `manifest_bytes` wrote.

    Raises:
        Invalid: these bytes are not what it writes.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise _bad("this is not JSON") from None
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list) or not all(_is_file(file) for file in files):
        raise _bad("its fields are not a manifest's")
    entries = tuple(ManifestEntry(**file) for file in files)
    if manifest_bytes(entries) != data:
        raise _bad("it is not in canonical form")
    return entries


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and file.keys() == _FIELDS.keys()
        and all(type(file[name]) is kind for name, kind in _FIELDS.items())
    )


def sizes_that_differ(entries: Sequence[ManifestEntry], known: dict[str, int]) -> list[str]:
    """Paths whose blob is not known, or has another size."""
    return [entry.path for entry in entries if known.get(entry.sha256) != entry.size_bytes]


def _bad(what: str, **facts: int) -> Invalid:
    return Invalid(f"Not a manifest: {what}.", hint="See the reference of manifests.", field="files", **facts)
