"""Records out of a CSV file: its encoding found, its lines counted, never more than a piece of it in memory."""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from mosu.wire.document import Problem

LINE_CHARACTERS_MAX: Final = 65_536
RECORD_LINES_MAX: Final = 200
RECORDS_MAX: Final = 500_000
COLUMNS_MAX: Final = 500
PROBLEMS_MAX: Final = 20
_CHUNK_BYTES: Final = 1 << 20
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ENCODINGS: Final = "UTF-8, GB18030 (GBK), or UTF-16 with a byte order mark"


class TooBroken(Exception):
    """Reading cannot go on: the problem, and those before it, are in the list of problems."""


@dataclass(slots=True)
class Problems:
    """What is wrong with a file; reading goes on until there are too many."""

    found: list[Problem] = field(default_factory=list)

    def add(
        self, line: int, column: str, message: str, *, found: str = "", allowed: str = "", nearest: str = ""
    ) -> None:
        self.found.append(
            Problem(
                line=line, column=1, field=column, found=found[:120], allowed=allowed, nearest=nearest, message=message
            )
        )  # fmt: skip
        if len(self.found) >= PROBLEMS_MAX:
            raise TooBroken

    def stop(self, line: int, message: str, *, found: str = "", allowed: str = "") -> TooBroken:
        """To raise: nothing behind this can be read."""
        self.found.append(
            Problem(line=line, column=1, field="", found=found[:120], allowed=allowed, nearest="", message=message)
        )  # fmt: skip
        return TooBroken()


def encoding_of(file: BinaryIO, problems: Problems) -> str:
    """The encoding in which all of the file can be read; the file is at its start again.

    Raises:
        TooBroken: there is none.
    """
    start = file.read(4)
    for bom, name in _BOMS:
        if start.startswith(bom):
            names: tuple[str, ...] = (name,)
            break
    else:
        names = ("utf-8", "gb18030")
    first_bad: tuple[int, str] | None = None
    for name in names:
        bad = _undecodable(file, name)
        if bad is None:
            file.seek(0)
            return name
        first_bad = first_bad or bad
    line, found = first_bad or (1, "")
    raise problems.stop(
        line, f"The byte {found} is in no encoding that is read here.", found=found, allowed=_ENCODINGS
    )


def _undecodable(file: BinaryIO, name: str) -> tuple[int, str] | None:
    """Line and value of the first byte that is not of this encoding."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(name)()
    line = 1
    while True:
        chunk = file.read(_CHUNK_BYTES)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = error.object[: error.start]
            return line + before.count(b"\n"), f"0x{error.object[error.start]:02x}"
        if not chunk:
            return None
        line += text.count("\n")


def records_of(file: BinaryIO, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line on which it begins (from 1); the first one is the header. Blank ones are left out.

    Raises:
        TooBroken: the file cannot be read on.
    """
    text = io.TextIOWrapper(file, encoding=encoding_of(file, problems), newline="")
    try:
        lines = _Lines(text, problems)
        reader = csv.reader(lines, delimiter=_delimiter_of(text, problems), strict=True)
        yield from _checked(reader, lines, problems)
    finally:
        text.detach()


def _checked(
    reader: Iterator[list[str]], lines: "_Lines", problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    count = 0
    while True:
        begin = lines.count + 1
        lines.record_begin = begin
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise problems.stop(
                begin, f"This is no CSV: {error}.", allowed="cells with commas between; quotes in pairs"
            ) from error
        if not any(cell.strip() for cell in cells):
            continue
        count += 1
        if count > RECORDS_MAX:
            raise problems.stop(begin, "The file is too long.", allowed=f"at most {RECORDS_MAX} records")
        if len(cells) > COLUMNS_MAX:
            raise problems.stop(
                begin,
                "The record is too wide.",
                found=f"{len(cells)} cells",
                allowed=f"at most {COLUMNS_MAX} columns",
            )
        yield begin, cells


class _Lines:
    """The lines of a text, counted; neither one line nor one record grows without bound."""

    def __init__(self, text: io.TextIOWrapper, problems: Problems) -> None:
        self._text, self._problems = text, problems
        self.count = 0
        self.record_begin = 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(LINE_CHARACTERS_MAX + 1)
        if not line:
            raise StopIteration
        self.count += 1
        if len(line) > LINE_CHARACTERS_MAX:
            raise self._problems.stop(
                self.count, "The line is too long.", allowed=f"at most {LINE_CHARACTERS_MAX} characters"
            )
        if "\0" in line:
            raise self._problems.stop(self.count, "The line holds the character U+0000.", allowed="text")
        if self.count - self.record_begin >= RECORD_LINES_MAX:
            raise self._problems.stop(
                self.record_begin,
                f"A record goes on for more than {RECORD_LINES_MAX} lines.",
                allowed="a quote that is closed again",
            )
        return line


def _delimiter_of(text: io.TextIOWrapper, problems: Problems) -> str:
    """Comma, semicolon or tab: whichever the first line has most of."""
    head = text.readline(LINE_CHARACTERS_MAX)
    text.seek(0)
    return max(",;\t", key=head.count)
