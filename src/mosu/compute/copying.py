"""What is copied before a run and after it, and how long that is expected to take by what was last measured there."""

from typing import Any, Final, NamedTuple

_KEPT: Final = (7, 8)
"""Of the measure so far when another comes: the last dozen copies make nearly all of it."""


class Pace(NamedTuple):
    """How long so many bytes took. Nothing was measured where there are none."""

    size_bytes: int
    took_ms: int

    @property
    def bytes_per_s(self) -> int | None:
        """None: not yet measured. At least 1."""
        return max(1, self.size_bytes * 1000 // self.took_ms) if self.size_bytes and self.took_ms else None

    def then(self, more: "Pace") -> "Pace":
        """The measure with another copy in it, which weighs by its bytes."""
        part, of = _KEPT
        return Pace(self.size_bytes * part // of + more.size_bytes, self.took_ms * part // of + more.took_ms)


def seconds_for(size_bytes: int, pace: Pace) -> int | None:
    """How long so many bytes are expected to take, in whole seconds, rounded up; None: nobody has measured."""
    if size_bytes == 0:
        return 0
    rate = pace.bytes_per_s
    return None if rate is None else -(-size_bytes // rate)


def copying_facts(*, in_bytes: int, into: Pace, out_bytes: int | None, back: Pace) -> dict[str, Any]:
    """What a quote keeps of it; what is not known is None. `out_bytes` of None: nobody knows before the run."""
    return {
        "in_bytes": in_bytes,
        "in_s": seconds_for(in_bytes, into),
        "in_bytes_per_s": into.bytes_per_s,
        "out_bytes": out_bytes,
        "out_s": None if out_bytes is None else seconds_for(out_bytes, back),
        "out_bytes_per_s": back.bytes_per_s,
    }
