"""Which relative paths may cross the wire: the same check where a path leaves and where it arrives."""

import unicodedata
from typing import Final

from mosu.kernel.refusals import Invalid

PATH_BYTES_MAX: Final = 1024
NAME_BYTES_MAX: Final = 255


class UnsafePath(Invalid):
    """A path that is absolute, climbs out of its folder, or cannot be a file's name everywhere."""

    code = "unsafe_path"


def fault_of_path(text: str) -> str | None:
    """Why `text` may not name a file below a folder; None if it may."""
    if not text:
        return "it is empty"
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text):
        return "it has control characters"
    if len(text.encode()) > PATH_BYTES_MAX:
        return f"it is longer than {PATH_BYTES_MAX} bytes"
    if text.startswith(("/", "~")):
        return "it is not relative"
    if "\\" in text:
        return "it has a backslash"
    return _fault_of_parts(text.split("/"))


def _fault_of_parts(parts: list[str]) -> str | None:
    if ".." in parts:
        return 'it has ".."'
    if "" in parts or "." in parts:
        return "it is not in its shortest form"
    if any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        return f"one of its names is longer than {NAME_BYTES_MAX} bytes"
    return None


def safe_relative_path(text: str, *, field: str = "path") -> str:
    """`text` itself, a normal relative path with "/" between its names, which stays below its folder.

    Raises:
        UnsafePath: absolute, with "..", ".", an empty name, a backslash or control characters, or too long.
    """
    fault = fault_of_path(text)
    if fault is not None:
        raise UnsafePath(
            f"{field}: {text[:120]!r} cannot be used as a path: {fault}.",
            hint='Write a path relative to the folder, such as "results/loss.csv".',
            field=field,
            found=text[:120].encode(errors="replace").decode(),
        )
    return text
