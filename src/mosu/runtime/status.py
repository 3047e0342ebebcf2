"""What the parts of a hub do: a line for each on a terminal or in a file, or JSON for programs."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol, TextIO


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part now; `last_exit` is of its process before this one."""

    state: str
    pid: int | None
    restarts: int
    last_exit: int | None


class Screen(Protocol):
    """Where the states are shown."""

    def show(self, parts: Mapping[str, PartStatus], *, notes: Mapping[str, str]) -> bool:
        """Whether something changed since the last call; `notes` are for people."""
        ...

    def ready(self, url: str, *, text: str) -> None:
        """The hub answers at `url`; `text` says so."""
        ...

    def close(self) -> None: ...


class Lines:
    """One line per part on `out`: rewritten in place on a terminal, printed when it changes elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._in_place = out.isatty()
        self._shown: dict[str, str] = {}
        self._height = 0

    def show(self, parts: Mapping[str, PartStatus], *, notes: Mapping[str, str]) -> bool:
        lines = {name: _line(part, notes.get(name, "")) for name, part in parts.items()}
        if lines == self._shown:
            return False
        width = max(map(len, lines), default=0)
        if self._in_place:
            up = f"\x1b[{self._height}A" if self._height else ""
            body = "".join(f"\x1b[2K{name:<{width}}  {line}\n" for name, line in lines.items())
            _print(self._out, up + body)
            self._height = len(lines)
        else:
            for name, line in lines.items():
                if self._shown.get(name) != line:
                    _print(self._out, f"{name:<{width}}  {line}\n")
        self._shown = lines
        return True

    def ready(self, url: str, *, text: str) -> None:
        """A line of its own; what was shown stays above it."""
        _print(self._out, f"{text}\n")
        self._height = 0
        self._shown = {} if self._in_place else self._shown

    def close(self) -> None:
        self._height = 0


class JsonLines:
    """One JSON object a line on `out`, whole, each time something changed: `url` is null until the hub answers."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._url: str | None = None
        self._shown: dict[str, PartStatus] = {}

    def show(self, parts: Mapping[str, PartStatus], *, notes: Mapping[str, str]) -> bool:
        if dict(parts) == self._shown:
            return False
        self._shown = dict(parts)
        self._write()
        return True

    def ready(self, url: str, *, text: str) -> None:
        self._url = url
        self._write()

    def close(self) -> None:
        pass

    def _write(self) -> None:
        parts = {name: asdict(part) for name, part in self._shown.items()}
        _print(self._out, json.dumps({"url": self._url, "parts": parts}) + "\n")


def _line(part: PartStatus, note: str) -> str:
    pid = f"pid {part.pid}" if part.pid else ""
    again = f"restarted {part.restarts}x, last exit {part.last_exit}" if part.restarts else ""
    return "  ".join(text for text in (f"{part.state:<10}", pid, note, again) if text)


def _print(out: TextIO, text: str) -> None:
    """What cannot be shown, as on a full disk, is not worth stopping for."""
    with suppress(OSError):
        out.write(text)
        out.flush()
