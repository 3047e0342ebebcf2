"""One line per part: rewritten in place on a terminal, printed when it changes elsewhere."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO


class Screen:
    """Shows the state of each part on `out`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._in_place = out.isatty()
        self._shown: dict[str, str] = {}
        self._height = 0

    def show(self, lines: Mapping[str, str]) -> bool:
        """Whether something changed since the last call."""
        if dict(lines) == self._shown:
            return False
        width = max(map(len, lines), default=0)
        if self._in_place:
            up = f"\x1b[{self._height}A" if self._height else ""
            body = "".join(f"\x1b[2K{name:<{width}}  {line}\n" for name, line in lines.items())
            self._print(up + body)
            self._height = len(lines)
        else:
            for name, line in lines.items():
                if self._shown.get(name) != line:
                    self._print(f"{name:<{width}}  {line}\n")
        self._shown = dict(lines)
        return True

    def say(self, text: str) -> None:
        """A line of its own; what was shown stays above it."""
        self._print(f"{text}\n")
        self._height = 0
        self._shown = {} if self._in_place else self._shown

    def close(self) -> None:
        self._height = 0

    def _print(self, text: str) -> None:
        """What cannot be shown, as on a full disk, is not worth stopping for."""
        with suppress(OSError):
            self._out.write(text)
            self._out.flush()
