"""Tables as CSV, going out: no cell of ours is taken for a formula by a spreadsheet; and coming back in."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

FORMULA_STARTS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula's beginning (OWASP, CSV Injection), also behind white space; full-width
forms too."""
_BREAKS: Final = ("\t", "\r", "\n")
_NUMBER_SIGNS: Final = ("-", "+")


def inert(text: str) -> str:
    """The text, with `'` before it where a spreadsheet would take it for a formula; numbers stay numbers."""
    starts = text.startswith(_BREAKS) or text.lstrip().startswith(FORMULA_STARTS)
    return f"'{text}" if starts and not _is_number(text) else text


def meant(cell: str) -> str:
    """What a cell said before `inert`: a file that mosu wrote comes back as it was."""
    return cell[1:] if cell.startswith("'") and inert(cell[1:]) == cell else cell


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Each row as one CSV record with every text inert, with CRLF (RFC 4180), behind the mark that tells
    spreadsheets that it is UTF-8."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    for row in rows:
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in row])
    return f"\ufeff{written.getvalue()}"


def _is_number(text: str) -> bool:
    """A plain signed decimal in ASCII, such as -12.50."""
    digits = text[1:] if text.startswith(_NUMBER_SIGNS) else text
    whole, _, part = digits.partition(".")
    return whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))
