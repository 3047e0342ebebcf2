"""List pages: a `Plan` says once what its columns are; the address says the order, filter, columns and page.

    ORDERS = Plan(
        name="orders",
        title=_("Orders"),
        columns=(
            Column("number", _("Number"), lambda row: row.number, href=lambda row: row.get_absolute_url()),
            Column("placed", _("Placed"), lambda row: row.placed_at, kind="time", sort="placed_at"),
            Column("total", _("Total"), lambda row: row.total, kind="money"),
        ),
        order="-placed",
    )

    def orders(request):
        return list_page(request, "pages/orders.html", ORDERS, orders_visible_to(actor_of(request)), prepare=shown)

`?sort=-placed`, `?columns=number,total`, `?state=active` (a filter's name), `?cursor=`, `?format=csv`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Final, cast
from urllib.parse import urlencode

from django.conf import settings
from django.db import close_old_connections
from django.db.models import CompositePrimaryKey, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from mosu.kernel.csv import csv_lines
from mosu.kernel.money import decimal_of
from mosu.platform.cursors import page_of
from mosu.web.words import state_name, told

ROWS: Final = 50
CSV_ROWS_MAX: Final = 10_000
CSV_BATCH: Final = 200
_CSV: Final = "text/csv; charset=utf-8"
_RIGHT: Final = frozenset({"money", "number"})

Words = Any
"""A `str`, or one that is translated when it is shown."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `value` takes what `prepare` made of a row.

    `kind` says how the value is drawn and written to CSV: `text`, `mono`, `number`, `money` (micros; `None` is a
    dash), `time`, `day` (a `datetime`), `state` (a state's code), `button` (a `Button`; not in the CSV).
    """

    name: str
    title: Words
    value: Callable[[Any], Any]
    kind: str = "text"
    sort: str = ""
    """The database column by which to sort: one of the row's own, never null. Empty: not by this one."""
    href: Callable[[Any], str] | None = None
    mark: Callable[[Any], str] | None = None
    """Of a `state`: its sign (`ok`, `live`, `wait`, `refused`), if the state's own is not meant."""
    csv: Callable[[Any], str | int | Decimal] | None = None
    hidden: bool = False
    """Only shown when chosen."""

    @property
    def right(self) -> bool:
        return self.kind in _RIGHT


@dataclass(frozen=True, slots=True)
class Button:
    """The value of a column of kind `button`: sends the form `form`, which stands outside the table, with one value."""

    form: str
    name: str
    value: str
    label: Words


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter in the address: `?name=value`. `apply` gets the rows and a value that is one of the choices.

    Without `choices` it is a field to type in.
    """

    name: str
    title: Words
    apply: Callable[[Any, str], Any]
    choices: Sequence[tuple[str, Words]] = ()
    kind: str = "search"
    """Of the field: `search` or `date`."""


@dataclass(frozen=True, slots=True)
class Empty:
    """What an empty list says: why, and the next step."""

    title: Words
    hint: Words = ""
    href: str = ""
    action: Words = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A list page, said once."""

    name: str
    title: Words
    columns: Sequence[Column]
    order: str
    """The name of the column by which it is sorted at first, `-` before it for the other way."""
    filters: Sequence[Filter] = ()
    empty: Empty = field(default_factory=lambda: Empty(_("Nothing here yet.")))
    rows: int = ROWS
    key: str = "id"
    """The column that no two rows share: rows that sort alike keep its order."""


def showing(plan: Plan, name: str) -> Plan:
    """The same list with a column shown that is else only shown when chosen."""
    columns = [replace(one, hidden=False) if one.name == name else one for one in plan.columns]
    return replace(plan, columns=columns)


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in its column."""

    column: Column
    value: Any
    href: str
    mark: str


@dataclass(frozen=True, slots=True)
class Head:
    """A column's head: where a click sorts, and how it is sorted now."""

    column: Column
    href: str
    sorted: str
    """`ascending`, `descending` or nothing."""


@dataclass(frozen=True, slots=True)
class FilterShown:
    filter: Filter
    chosen: str


@dataclass(frozen=True, slots=True)
class Table:
    """What `{% table table %}` draws."""

    plan: Plan
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    filters: Sequence[FilterShown]
    chooser: Sequence[tuple[Column, bool]]
    kept: Sequence[tuple[str, str]]
    """What the forms above the table keep of the address: the order, and parameters of the page's own."""
    csv: str
    next: str
    start: str
    """The address of the first page; empty on it."""
    bare: str
    """The address without filters; empty if none is set."""
    csv_note: Words = ""
    """How much of the list its file has, if not all."""

    @property
    def is_wide(self) -> bool:
        return len(self.heads) > 8


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the address asks for; what it says wrongly counts as not said."""

    given: QueryDict
    columns: Sequence[Column]
    by: Column
    descending: bool
    chosen: Mapping[str, str]

    def address(self, **changes: str) -> str:
        kept = {key: value for key, value in self.given.items() if key not in ("cursor", "format")}
        changed = {key: value for key, value in {**kept, **changes}.items() if value}
        return "?" + urlencode(changed)


def list_page(
    request: HttpRequest,
    template: str,
    plan: Plan,
    rows: QuerySet[Any],
    *,
    prepare: Callable[[list[Any]], Sequence[Any]] | None = None,
    context: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """The page of a list, or with `?format=csv` the file of it.

    `prepare` turns a page of rows into what the columns' `value` takes, all at once: as many queries for fifty rows
    as for one.
    """
    if request.GET.get("format") == "csv":
        return csv_of(request, plan, rows, prepare=prepare)
    table = table_of(request, plan, rows, prepare=prepare)
    return render(request, template, {**(context or {}), "table": table})


def table_of(
    request: HttpRequest,
    plan: Plan,
    rows: QuerySet[Any],
    *,
    prepare: Callable[[list[Any]], Sequence[Any]] | None = None,
) -> Table:
    """One page of the table that the address asks for.

    Raises:
        Invalid: the cursor is of another list.
    """
    asked = _asked(request, plan)
    found, after = page_of(
        _sorted(_filtered(rows, plan, asked), plan, asked), request.GET.get("cursor"), plan.rows
    )
    return drawn(request, plan, prepare(found) if prepare else found, after=after)


def drawn(request: HttpRequest, plan: Plan, items: Sequence[Any], *, after: str | None = None) -> Table:
    """The table of items that were found, sorted and cut already; `after` is the cursor of the page behind."""
    asked = _asked(request, plan)
    filtered = any(asked.chosen.values())
    forms = {*(one.name for one in plan.filters), "columns", "cursor", "format"}
    return Table(
        plan=plan,
        heads=[_head(column, plan, asked) for column in asked.columns],
        rows=[[_cell(column, item) for column in asked.columns] for item in items],
        filters=[FilterShown(one, asked.chosen.get(one.name, "")) for one in plan.filters],
        chooser=[(column, column in asked.columns) for column in plan.columns],
        kept=[(key, str(value)) for key, value in asked.given.items() if key not in forms],
        csv=asked.address(format="csv"),
        next=asked.address(cursor=after) if after else "",
        start=asked.address() if request.GET.get("cursor") else "",
        bare=asked.address(**dict.fromkeys(asked.chosen, "")) if filtered else "",
    )


def csv_of(
    request: HttpRequest,
    plan: Plan,
    rows: QuerySet[Any] | Sequence[Any],
    *,
    prepare: Callable[[list[Any]], Sequence[Any]] | None = None,
) -> HttpResponse:
    """What is seen, as a file: the same filter, order and columns; up to `CSV_ROWS_MAX` rows."""
    asked = _asked(request, plan)
    batches = _batches(_sorted(_filtered(rows, plan, asked), plan, asked))
    return csv_drawn(
        request, plan, (item for batch in batches for item in (prepare(batch) if prepare else batch))
    )


def _batches(rows: QuerySet[Any] | Sequence[Any]) -> Iterator[list[Any]]:
    """Page after page, so that the last of ten thousand rows costs what the first does, in time and memory."""
    if isinstance(rows, Sequence):
        for start in range(0, min(len(rows), CSV_ROWS_MAX), CSV_BATCH):
            yield list(rows[start : start + CSV_BATCH])
        return
    cursor: str | None = None
    for _number in range(CSV_ROWS_MAX // CSV_BATCH):
        found, cursor = page_of(rows, cursor, CSV_BATCH)
        yield found
        if cursor is None:
            return


def csv_drawn(request: HttpRequest, plan: Plan, items: Iterable[Any]) -> HttpResponse:
    """The file of items that were found and sorted already, in the columns that the address asks for."""
    columns = [column for column in _asked(request, plan).columns if column.kind != "button"]
    heads = [str(column.title) for column in columns]
    rows = ([_written(column, item) for column in columns] for item in items)
    return csv_file(plan.name, [heads, *rows])


def csv_file(name: str, rows: Iterable[Sequence[object]]) -> HttpResponse:
    """Rows as a file to save: numbers are numbers, and no text is taken for a formula.

    A file of more than `CSV_BATCH` rows is sent while it is made. What is wrong with the first of them is told as ever.
    """
    lines = csv_lines(rows)
    # The mark at the start tells spreadsheets that it is UTF-8.
    start, more = "\ufeff" + "".join(islice(lines, CSV_BATCH)), next(lines, None)
    if more is None:
        response = HttpResponse(start, content_type=_CSV)
    else:
        sent = StreamingHttpResponse(chain([start], _pieces(chain([more], lines))), content_type=_CSV)
        response = cast(HttpResponse, sent)  # no page looks into its content, and every page says this type
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """The lines, many at a time. Another thread may make each piece: it knows no language and keeps no connection."""
    language = translation.get_language()

    def made() -> str:
        try:
            with translation.override(language):
                return "".join(islice(lines, CSV_BATCH))
        finally:
            close_old_connections()

    return iter(made, "")


def _asked(request: HttpRequest, plan: Plan) -> _Asked:
    given = request.GET
    by_name = {column.name: column for column in plan.columns}
    # A form with checkboxes sends `columns` once for each; a link sends them with commas.
    names = {name for part in given.getlist("columns") for name in part.split(",")} & set(by_name)
    columns = [one for one in plan.columns if one.name in names] or [
        one for one in plan.columns if not one.hidden
    ]
    tidy = given.copy()
    if names:
        tidy["columns"] = ",".join(one.name for one in columns)
    wanted = given.get("sort", "")
    if not (by_name.get(wanted.lstrip("-")) or Column("", "", str)).sort:
        wanted = plan.order
        tidy.pop("sort", None)
    chosen = {one.name: _chosen(one, given.get(one.name, "")) for one in plan.filters}
    return _Asked(tidy, columns, by_name[wanted.lstrip("-")], wanted.startswith("-"), chosen)


def _chosen(one: Filter, value: str) -> str:
    value = value.replace("\x00", "").strip()
    return value if not one.choices or value in {code for code, _title in one.choices} else ""


def _filtered(rows: Any, plan: Plan, asked: _Asked) -> Any:
    for one in plan.filters:
        if asked.chosen[one.name]:
            rows = one.apply(rows, asked.chosen[one.name])
    return rows


def _sorted(rows: QuerySet[Any] | Sequence[Any], plan: Plan, asked: _Asked) -> Any:
    if isinstance(rows, Sequence):
        return rows  # found and sorted already
    sign = "-" if asked.descending else ""
    # A table without a key of one column is listed by what is unique in it: postings of an account by their number.
    key = asked.by.sort if isinstance(rows.model._meta.pk, CompositePrimaryKey) else plan.key
    by = [f"{sign}{asked.by.sort}"] if asked.by.sort != key else []
    return rows.order_by(*by, f"{sign}{key}")


def _head(column: Column, plan: Plan, asked: _Asked) -> Head:
    if not column.sort:
        return Head(column, "", "")
    is_by = column.name == asked.by.name
    to = column.name if is_by and asked.descending else f"-{column.name}" if is_by else column.name
    now = ("descending" if asked.descending else "ascending") if is_by else ""
    return Head(column, asked.address(sort="" if to == plan.order else to), now)


def _cell(column: Column, item: Any) -> Cell:
    return Cell(
        column=column,
        value=column.value(item),
        href=column.href(item) if column.href else "",
        mark=column.mark(item) if column.mark else "",
    )


def _written(column: Column, item: Any) -> object:
    value: Any = column.csv(item) if column.csv else column.value(item)
    if value is None:
        return ""
    if column.kind == "money" and isinstance(value, int):
        return Decimal(decimal_of(value, currency=settings.HUB_CURRENCY))
    if isinstance(value, datetime):
        local = timezone.localtime(value)
        return local.date().isoformat() if column.kind == "day" else local.isoformat(timespec="seconds")
    if column.kind == "state":
        return state_name(str(value))
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return value if is_number else told(value)
