"""A list of vouchers to issue, read and checked whole: `organisation,amount`, one line each."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Invalid
from mosu.subsidies.rules.programme import FileRefused, Problem

COLUMNS: Final = ("organisation", "amount")
ROWS_MAX: Final = 1000
CELL_MAX: Final = 200


class BatchRefused(FileRefused):
    """The list cannot be used. Nothing was issued."""

    code = "batch_refused"

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        super().__init__(source, problems, hint="Mend every line named above and send the whole list again.")


@dataclass(frozen=True, slots=True)
class Grant:
    """One line: for whom, how much."""

    line: int
    organisation: str
    """A public id or the whole name."""
    amount_micros: int


def parse_grants(text: str, *, source: str) -> list[Grant]:
    """The lines of the list.

    Raises:
        BatchRefused: with every problem that shows without looking anybody up.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    grants: list[Grant] = []
    problems: list[Problem] = []
    try:
        head = [cell.strip().lower() for cell in next(reader, [])]
        if tuple(head) != COLUMNS:
            shown = ",".join(head)[:80] or "nothing"
            raise BatchRefused(source, [Problem(1, "(head)", shown, ",".join(COLUMNS))])
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            grant = _grant(row, reader.line_num, problems)
            if grant is not None:
                grants.append(grant)
            if len(grants) > ROWS_MAX:
                problems.append(Problem(reader.line_num, "(file)", "more lines", f"at most {ROWS_MAX}"))
                break
    except csv.Error as broken:
        problems.append(Problem(max(reader.line_num, 1), "(file)", str(broken)[:80], "CSV"))
    if not grants and not problems:
        problems.append(Problem(1, "(file)", "no lines", "one line for each voucher"))
    if problems:
        raise BatchRefused(source, problems)
    return grants


def _grant(row: Sequence[str], line: int, problems: list[Problem]) -> Grant | None:
    if len(row) != len(COLUMNS):
        problems.append(Problem(line, "(line)", f"{len(row)} cells", ",".join(COLUMNS)))
        return None
    # A spreadsheet's own export writes what starts like a formula behind an apostrophe.
    organisation, amount = row[0].strip().removeprefix("'"), row[1].strip()
    if not organisation or len(organisation) > CELL_MAX or "\x00" in organisation:
        problems.append(Problem(line, "organisation", organisation[:40] or "nothing", "an id or a name"))
        return None
    try:
        micros = micros_of(amount)
    except Invalid:
        problems.append(Problem(line, "amount", amount[:40] or "nothing", 'an amount such as "5000.00"'))
        return None
    return Grant(line, organisation, micros)


def matched(grants: Sequence[Grant], known: Mapping[str, UUID], *, source: str) -> list[tuple[Grant, UUID]]:
    """Each line with its organisation; `known` is by public id and by name in small letters.

    Raises:
        BatchRefused: an organisation is not known, or stands twice.
    """
    found: dict[UUID, Grant] = {}
    problems: list[Problem] = []
    for grant in grants:
        key = known.get(grant.organisation) or known.get(grant.organisation.lower())
        if key is None:
            problems.append(
                Problem(
                    grant.line, "organisation", grant.organisation[:40], "the id or name of an organisation"
                )
            )
        elif key in found:
            problems.append(
                Problem(
                    grant.line,
                    "organisation",
                    grant.organisation[:40],
                    f"each one once; it stands in line {found[key].line} already",
                )
            )
        else:
            found[key] = grant
    if problems:
        raise BatchRefused(source, problems)
    return [(grant, key) for key, grant in found.items()]
