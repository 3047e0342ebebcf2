"""Tables as CSV, going out: no cell of ours is taken for a formula by a spreadsheet; and coming back in."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula's beginning (OWASP, CSV Injection); full-width forms too."""
_NUMBER_SIGNS: Final = ("-", "+")


def inert(cell: object) -> str:
    """The cell's text, with `'` before it where a spreadsheet would take it for a formula; numbers stay numbers."""
    text = "" if cell is None else str(cell)
    if not text.startswith(FORMULA_STARTS) or _is_number(text):
        return text
    return f"'{text}"


def meant(cell: str) -> str:
    """What a cell said before `inert`: a file that mosu wrote comes back as it was."""
    return cell[1:] if cell.startswith("'") and inert(cell[1:]) == cell else cell


def csv_lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Each row as one CSV record with every cell inert, in UTF-8 with CRLF (RFC 4180), streamed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in rows:
        writer.writerow([inert(cell) for cell in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _is_number(text: str) -> bool:
    """A plain signed decimal in ASCII, such as -12.50."""
    digits = text[1:] if text.startswith(_NUMBER_SIGNS) else text
    whole, _, part = digits.partition(".")
    return whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))
