"""Tables and bars on a terminal, in the language of whoever asks."""

from collections.abc import Sequence

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from mosu.kernel.languages import language_of_environment, said

_BAR_COLUMNS = 50


def told(text: str) -> str:
    return said(text, language_of_environment())


def console(*, err: bool = False) -> Console:
    return Console(stderr=err, highlight=False)


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(told(heading), justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_bars(bars: Sequence[tuple[str, float]], *, unit: str) -> None:
    """Each beside its name and figure, against the longest (of percents: from where they differ)."""
    values = [value for _, value in bars]
    low = max(0.0, min(values) - 2 * (max(values) - min(values)) - 1) if unit == "%" else 0.0
    table = Table.grid(padding=(0, 1))
    for name, value in bars:
        bar = Bar(max(max(values) - low, 1e-9), 0, value - low, width=_BAR_COLUMNS)
        table.add_row(name, bar, f"{value:,.1f} {unit}")
    console().print(table)
    if low:
        console().print(told(f"The bars begin at {low:.1f}%."))
