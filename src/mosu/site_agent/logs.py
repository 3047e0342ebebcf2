"""A job's output made fit to show: UTF-8, no control sequences, no endless line or log."""

import codecs
import re
from typing import Final

LINE_BYTES_MAX: Final = 16_384
LOG_BYTES_MAX: Final = 64 << 20
_CUT: Final = " … [mosu: line cut]".encode()
_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC: titles, links
    r"|\x1b[ -/]*[0-Z\\`-~]"  # two and three character escapes
)
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z|\r\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_UNFINISHED_MAX: Final = 4096


class LogCleaner:
    """Feed raw bytes, get the bytes to keep: at most `bytes_max`, and then a line that says so.

    A lone carriage return (progress bars) becomes a line end, so that each state of the bar is a line.
    """

    def __init__(self, *, bytes_max: int = LOG_BYTES_MAX, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._left, self._bytes_max, self._line_max = bytes_max, bytes_max, line_bytes_max
        self._unfinished = ""
        self._in_line = 0
        self._full = False

    def feed(self, raw: bytes, *, last: bool = False) -> bytes:
        """The clean bytes of `raw`; an incomplete escape sequence or character waits for the rest."""
        if self._full:
            return b""
        text = self._unfinished + self._decoder.decode(raw, last)
        text, self._unfinished = (text, "") if last else _split_unfinished(text)
        text = _SEQUENCE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
        return self._capped(self._cut_lines(_CONTROL.sub("", text)))

    def _cut_lines(self, text: str) -> bytes:
        kept = bytearray()
        for piece in text.splitlines(keepends=True) if "\n" in text else [text]:
            body, end = (piece[:-1], b"\n") if piece.endswith("\n") else (piece, b"")
            kept += self._cut(body.encode(errors="replace")) + end
            if end:
                self._in_line = 0
        return bytes(kept)

    def _cut(self, body: bytes) -> bytes:
        before, self._in_line = self._in_line, self._in_line + len(body)
        if self._in_line <= self._line_max:
            return body
        if before > self._line_max:
            return b""
        return body[: self._line_max - before].decode(errors="ignore").encode() + _CUT

    def _capped(self, clean: bytes) -> bytes:
        if len(clean) <= self._left:
            self._left -= len(clean)
            return clean
        self._full = True
        head = clean[: self._left].decode(errors="ignore").encode()
        return head + f"\n[mosu: the log reached {self._bytes_max} bytes; the rest is not kept]\n".encode()


def whole_characters(data: bytes) -> bytes:
    """`data` without a UTF-8 character that is cut off at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < length else data
    return data


def _split_unfinished(text: str) -> tuple[str, str]:
    """Hold back what may yet become a sequence or a line end with the next bytes (but not for ever)."""
    held = _UNFINISHED.search(text, max(0, len(text) - _UNFINISHED_MAX))
    return (text[: held.start()], text[held.start() :]) if held else (text, "")
