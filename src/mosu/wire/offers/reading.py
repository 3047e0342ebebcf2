"""An offers file, row by row; refused whole if anything in it cannot be read."""

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mosu.kernel.refusals import Invalid
from mosu.wire.document import TEXT_BYTES_MAX, Problem, Unreadable, compose, found_in
from mosu.wire.offers.machines import GPUHUNT, NAMES_ONLY, SLURM, V8, gpuhunt_rows, slurm_rows, v8_rows
from mosu.wire.offers.own import COLUMNS, REQUIRED, check_columns, column_named, own_rows
from mosu.wire.offers.rows import OFFERS_MAX, OfferRow
from mosu.wire.offers.tables import Problems, TooBroken, records_of

Rows = Callable[..., Iterator[OfferRow]]
_ROWS: Final[Mapping[str, Rows]] = {
    "mosu": own_rows,
    "v8": v8_rows,
    "slurm": slurm_rows,
    "gpuhunt": gpuhunt_rows,
}


class OffersRefused(Invalid):
    """The file cannot be taken. `problems` lists what is wrong, in the order of the file; nothing was changed."""

    code = "offers_refused"

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.errors = self.problems = sorted(problems, key=lambda problem: problem["line"])
        first = self.problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        where = f"{source}, line {first['line']}" + (f", {first['field']}" if first["field"] else "")
        hint = f"Allowed: {first['allowed']}." if first["allowed"] else "Mend the file and try again."
        super().__init__(
            f"{where}: {first['message']}{more}",
            hint=f'Did you mean "{first["nearest"]}"? {hint}' if first["nearest"] else hint,
            file=source,
            line=first["line"],
            field=first["field"],
            found=first["found"],
            allowed=first["allowed"],
            problems=len(problems),
        )


def read_offers(file: BinaryIO, *, source: str, currency: str = "") -> Iterator[OfferRow]:
    """The offers of a file, streamed; `source` is its name, of which `.yaml` and `.yml` tell YAML from CSV.

    `currency` is that of prices which name none: catalogues of others are in USD otherwise. Reading goes on behind a
    problem to find the others, so a file is only good once all of it was read.

    Raises:
        OffersRefused: something in it cannot be read; at the latest when the last row was asked for.
    """
    problems = Problems()
    try:
        read = _yaml_rows if source.lower().endswith((".yaml", ".yml")) else _csv_rows
        for count, row in enumerate(read(file, problems, currency), start=1):
            if count > OFFERS_MAX:  # one record is an offer in each of its regions
                raise problems.stop(
                    row.line, "The file has too many offers.", allowed=f"at most {OFFERS_MAX} offers"
                )
            yield row
    except TooBroken:
        pass
    if problems.found:
        raise OffersRefused(source, problems.found)


def layout_of(columns: frozenset[str]) -> str:
    """Which layout has these columns (lower case); empty if none."""
    if columns >= SLURM:
        return "slurm"
    if columns >= set(REQUIRED):
        return "mosu"
    if columns >= V8 and columns & {"price", "priceusdperhour"}:
        return "v8"
    return "gpuhunt" if columns >= GPUHUNT else ""


def _csv_rows(file: BinaryIO, problems: Problems, currency: str) -> Iterator[OfferRow]:
    records = records_of(file, problems)
    first = next(records, None)
    if first is None:
        raise problems.stop(1, "The file is empty.", allowed="a line with the columns' names, then offers")
    line, header = first
    names = [column_named(cell) for cell in header]
    columns = dict(zip(names, header, strict=True))
    if len(columns) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise problems.stop(line, "A column comes twice.", found=twice, allowed="each column once")
    layout = layout_of(frozenset(names))
    if not layout:
        raise _unknown_layout(line, frozenset(names), header, problems)
    if layout == "mosu":
        check_columns(line, columns, problems)
    rows_of = _ROWS[layout]
    for begin, cells in records:
        if len(cells) != len(names):
            problems.add(
                begin,
                "",
                f"The record has {len(cells)} cells under {len(names)} columns.",
                found=f"{len(cells)} cells",
                allowed=f"{len(names)} cells; a comma inside a cell needs quotes around it",
            )
            continue
        yield from rows_of(begin, dict(zip(names, cells, strict=True)), problems, currency=currency)


def _unknown_layout(line: int, names: frozenset[str], header: list[str], problems: Problems) -> TooBroken:
    if names >= NAMES_ONLY:
        return problems.stop(
            line,
            "This is a list of names, without a price.",
            found=",".join(header),
            allowed="a file of offers",
        )
    missing = [name for name in REQUIRED if name not in names]
    return problems.stop(
        line,
        f"These are no columns of offers: {' and '.join(missing)} missing.",
        found=",".join(header),
        allowed=f"{', '.join(COLUMNS)}; or those of a v8 catalogue (InstanceType, AcceleratorName, Price...)",
    )


def _yaml_rows(file: BinaryIO, problems: Problems, currency: str) -> Iterator[OfferRow]:
    data = file.read(TEXT_BYTES_MAX + 1)
    try:
        root = compose(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise problems.stop(line, "The file is not UTF-8.", allowed="UTF-8") from error
    except Unreadable as error:
        problems.found.append(error.problem)
        raise TooBroken from error
    top = _map_of(root, "", problems)
    for name, node in top.items():
        if name not in {"offers", "defaults"}:
            problems.add(
                _line(node), name, f"There is no key {name[:60]!r}.", found=name, allowed="offers, defaults"
            )
    defaults = _cells_of(top["defaults"], "defaults", problems) if "defaults" in top else {}
    listed = top.get("offers")
    if not isinstance(listed, SequenceNode) or not listed.value:
        raise problems.stop(1, "offers: there is none.", allowed="offers: a list of offers")
    for index, node in enumerate(listed.value):
        cells = defaults | _cells_of(node, f"offers[{index}]", problems)
        yield from own_rows(_line(node), cells, problems, currency=currency)


def _cells_of(node: Node, field: str, problems: Problems) -> dict[str, str]:
    """A map as a CSV row would have it: `title: {zh, en}` as two cells, a list of regions as one."""
    cells: dict[str, str] = {}
    lines: dict[str, int] = {}
    for name, value in _map_of(node, field, problems).items():
        if name == "title" and isinstance(value, MappingNode):
            inner = {f"title_{key}": one for key, one in _map_of(value, f"{field}.title", problems).items()}
        else:
            inner = {column_named(name): value}
        for column, one in inner.items():
            text = _text_of(one)
            if text is None:
                found = found_in(one)[:60]
                problems.add(
                    _line(one), f"{field}.{column}", f"found {found}.", found=found, allowed="a value"
                )
                continue
            cells[column], lines[column] = text, _line(one)
    for column in cells:
        check_columns(lines[column], {column: column}, problems)
    return cells


def _text_of(node: Node) -> str | None:
    if isinstance(node, ScalarNode):
        return "" if node.tag == "tag:yaml.org,2002:null" else str(node.value)
    if isinstance(node, SequenceNode) and all(isinstance(one, ScalarNode) for one in node.value):
        return ";".join(str(one.value) for one in node.value)
    return None


def _map_of(node: Node | None, field: str, problems: Problems) -> dict[str, Node]:
    if not isinstance(node, MappingNode):
        line = _line(node) if node is not None else 1
        problems.add(line, field, f"{field or 'the file'}: a map is needed.", allowed="a map")
        return {}
    found: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode) or key.value in found:
            problems.add(
                _line(key), field, "A key is no text, or comes twice.", allowed="each key once, as text"
            )
            continue
        found[key.value] = value
    return found


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
