"""What a part prints, kept as JSON lines in one file that is rotated by size."""

import json
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 10_000_000
FILES_KEPT: Final = 3
LINE_BYTES_MAX: Final = 64_000


class PartLog:
    """The log of one part. Lines that are JSON objects are kept as they are, others are wrapped.

    What a full disk does not take is lost: the hub goes on without its log rather than not at all.
    """

    def __init__(self, path: Path, *, part: str, bytes_max: int = FILE_BYTES_MAX) -> None:
        self.path = path
        self._part = part
        self._bytes_max = bytes_max
        self._file = path.open("ab", buffering=0)
        self._rest = b""
        self._last: deque[str] = deque(maxlen=8)

    def write(self, data: bytes) -> None:
        """Take what was printed, cut anywhere."""
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            lines.append(rest)
            rest = b""
        self._rest = rest
        for line in lines:
            self._write_line(line[:LINE_BYTES_MAX].strip())

    def write_event(self, text: str) -> None:
        """Something the supervisor has to say about the part."""
        self._put({"event": text, "level": "warning", "logger": "mosu.runtime.supervisor"})

    def last_words(self) -> str:
        return "\n".join(self._last)

    def close(self) -> None:
        if self._rest:
            self.write(b"\n")
        self._file.close()

    def _write_line(self, line: bytes) -> None:
        if not line:
            return
        text = line.decode(errors="replace")
        self._last.append(text[:400])
        if line.startswith(b"{") and _is_object(line):
            self._append(line)
        else:
            self._put({"event": text})

    def _put(self, facts: dict[str, str]) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._append(json.dumps({"timestamp": stamp, "part": self._part, **facts}).encode())

    def _append(self, line: bytes) -> None:
        with suppress(OSError):
            if self._file.tell() + len(line) > self._bytes_max:
                self._rotate()
            self._file.write(line + b"\n")

    def _rotate(self) -> None:
        self._file.close()
        for number in range(FILES_KEPT - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)
        self._file = self.path.open("ab", buffering=0)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
