"""What is copied before a run and after it, on one line: how much, and how long it is expected to take."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mosu.cli.text import Language

if TYPE_CHECKING:
    from mosu.client.models import Copying

_COPYING: Final = MappingProxyType(
    {
        "zh": {
            "in": "传入",
            "out": "传出",
            "nothing": "无",
            "unknown": "大小未知",
            "unmeasured": "（该处尚未测得速度）",
            "rate": "（最近每秒 {mb} MB）",
            "about": "（约 {s} 秒）",
            "free": "传输不收费",
        },
        "en": {
            "in": "copied in",
            "out": "copied out",
            "nothing": "nothing",
            "unknown": "size not known yet",
            "unmeasured": " (not yet measured there)",
            "rate": " ({mb} MB/s last)",
            "about": " (about {s} s)",
            "free": "copying is not charged",
        },
    }
)


def copying_of(copying: "Copying", lang: Language) -> str:
    """What is copied in and out, and how long that is expected to take; never charged. Empty: nothing is."""
    if copying.in_bytes == copying.out_bytes == 0:
        return ""
    words = _COPYING[lang]
    known = (copying.in_bytes, copying.in_s, copying.in_bytes_per_s)
    back = (copying.out_bytes, copying.out_s, copying.out_bytes_per_s)
    parts = [
        f"{words['in']} {_copied(*known, words)}",
        f"{words['out']} {_copied(*back, words)}",
        words["free"],
    ]
    return " · ".join(parts)


def _copied(
    size_bytes: int | None, expected_s: int | None, bytes_per_s: int | None, words: Mapping[str, str]
) -> str:
    if size_bytes == 0:
        return words["nothing"]
    if size_bytes is None:
        pace = words["rate"].format(mb=_mb(bytes_per_s)) if bytes_per_s else words["unmeasured"]
        return f"{words['unknown']}{pace}"
    pace = words["unmeasured"] if expected_s is None else words["about"].format(s=f"{expected_s:,}")
    return f"{_mb(size_bytes)} MB{pace}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f}"
