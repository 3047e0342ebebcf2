"""Tables as CSV, going out: no text of ours is taken for a formula by a spreadsheet; and coming back in."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

FORMULA_SIGNS: Final = tuple("=+-@＝＋－＠")
"""What a spreadsheet takes for a formula's beginning, behind blanks too (OWASP, CSV Injection); full-width forms."""
_CONTROLS: Final = ("\t", "\r", "\n")


def inert(cell: object) -> str:
    """The cell's text, with `'` before it where a spreadsheet would take it for a formula.

    What is a number by its type is written as one: -12.50 stays that, while the text "-12.50" does not.
    """
    text = "" if cell is None else str(cell)
    if isinstance(cell, int | float | Decimal):
        return text
    return f"'{text}" if text.startswith(_CONTROLS) or text.lstrip().startswith(FORMULA_SIGNS) else text


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
