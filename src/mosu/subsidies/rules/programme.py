"""A programme's file, read and checked whole: every problem with line, field, what was found, what is allowed."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import yaml

from mosu.kernel.money import MICROS, MICROS_MAX, MINOR_DIGITS, micros_of
from mosu.kernel.refusals import Invalid
from mosu.subsidies.rules.clauses import Clause, fault_of
from mosu.subsidies.rules.split import SpendKind

BYTES_MAX: Final = 64 * 1024
ITEMS_MAX: Final = 50
DEPTH_MAX: Final = 10
YEARS: Final = (2000, 2999)


class ProgrammeKind(StrEnum):
    COMPUTE = "compute_voucher"
    CORPUS = "corpus_voucher"
    MODEL = "model_voucher"
    TRIAL = "trial"


class Mode(StrEnum):
    CHECKOUT = "checkout"
    """The voucher pays its share at once."""
    REIMBURSEMENT = "reimbursement"
    """The organisation pays in full and claims its share back."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file."""

    line: int
    field: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: found {self.found}; allowed: {self.allowed}"


class FileRefused(Invalid):
    """A file breaks rules: `problems` names all of them. Nothing was changed."""

    def __init__(self, source: str, problems: Sequence[Problem], *, hint: str) -> None:
        first = problems[0]
        super().__init__(
            f"{source} has {len(problems)} problem(s):\n" + "\n".join(f"{source}, {one}" for one in problems),
            hint=hint,
            file=source,
            line=first.line,
            field=first.field,
            found=first.found,
            allowed=first.allowed,
            problems=len(problems),
        )
        self.problems = tuple(problems)
        self.errors = [asdict(one) for one in problems]


class ProgrammeRefused(FileRefused):
    """The programme's file cannot be used."""

    code = "programme_refused"

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        super().__init__(source, problems, hint="Mend every line named above and send the whole file again.")


@dataclass(frozen=True, slots=True)
class Funder:
    name: str
    share: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a programme version promises. Amounts in micros of the hub's currency; rates as decimal strings."""

    code: str
    version: int
    title_zh: str
    title_en: str
    kind: ProgrammeKind
    mode: Mode
    source: str
    funders: tuple[Funder, ...]
    rate: str
    pool_micros: int
    shelves: tuple[str, ...]
    spend_kinds: tuple[str, ...]
    cap_per_order_micros: int | None
    cap_per_organisation_year_micros: int | None
    grant_micros: int | None
    """What one trial voucher is worth."""
    validity_days: int | None
    valid_from: date | None
    valid_to: date | None
    claim_days: int | None
    """Within how many days of settlement a reimbursement must be claimed."""
    regions: tuple[str, ...]
    domestic_only: bool
    unrelated_parties: bool
    exclusivity_group: str
    stacking: bool
    eligibility: tuple[Clause, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is stored beside the file: readable for ever, also when the file's rules have changed."""
        return {
            **asdict(self),
            "valid_from": self.valid_from.isoformat() if self.valid_from else None,
            "valid_to": self.valid_to.isoformat() if self.valid_to else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Terms":
        return cls(
            **{
                **value,
                "kind": ProgrammeKind(value["kind"]),
                "mode": Mode(value["mode"]),
                "funders": tuple(Funder(**one) for one in value["funders"]),
                "shelves": tuple(value["shelves"]),
                "spend_kinds": tuple(value["spend_kinds"]),
                "regions": tuple(value["regions"]),
                "eligibility": tuple(Clause(**one) for one in value["eligibility"]),
                "valid_from": date.fromisoformat(value["valid_from"]) if value["valid_from"] else None,
                "valid_to": date.fromisoformat(value["valid_to"]) if value["valid_to"] else None,
            }
        )


def parse_programme(text: str, *, source: str, currency: str) -> Terms:
    """The terms in a programme's file.

    Raises:
        ProgrammeRefused: with every problem of the file, not only the first.
    """
    reader = _Reader(currency)
    node = _root(text, source)
    reader.no_repeats(node, "")
    values = reader.fields(node, _FIELDS, prefix="")
    if not reader.problems:
        _check_together(reader, node, values)
    if reader.problems:
        raise ProgrammeRefused(source, tuple(sorted(reader.problems, key=lambda one: (one.line, one.field))))
    title = values.pop("title")
    return Terms(
        code=values.pop("id"),
        title_zh=title["zh"],
        title_en=title["en"],
        cap_per_order_micros=values.pop("cap_per_order"),
        cap_per_organisation_year_micros=values.pop("cap_per_organisation_year"),
        pool_micros=values.pop("pool"),
        grant_micros=values.pop("grant"),
        **values,
    )


def _root(text: str, source: str) -> yaml.MappingNode:
    """The file's root mapping: without anchors and deep nesting, by which a small file becomes endless work."""

    def refuse(line: int, field: str, found: str, allowed: str) -> ProgrammeRefused:
        return ProgrammeRefused(source, (Problem(line, field, found, allowed),))

    if len(text.encode(errors="replace")) > BYTES_MAX:
        raise refuse(1, "(file)", f"{len(text)} characters", f"at most {BYTES_MAX} bytes")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise refuse(line, "(file)", "an anchor or alias", "every value in full")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_MAX:
                raise refuse(line, "(file)", "brackets in brackets", f"at most {DEPTH_MAX} levels")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as broken:
        mark = broken.problem_mark or broken.context_mark
        raise refuse(mark.line + 1 if mark else 1, "(file)", str(broken.problem), "YAML") from None
    except (yaml.YAMLError, RecursionError) as broken:
        raise refuse(1, "(file)", str(broken).splitlines()[0][:100], "YAML text") from None
    if not isinstance(node, yaml.MappingNode):
        raise refuse(1, "(file)", "no mapping", "fields such as `id: ...`")
    return node


_Check = Callable[["_Reader", yaml.Node, str], Any]


@dataclass(frozen=True, slots=True)
class _Field:
    check: _Check
    required: bool = True
    default: Any = None


class _Reader:
    """Reads values of the composed nodes and gathers problems instead of stopping at the first."""

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.problems: list[Problem] = []

    def add(self, node: yaml.Node, field: str, found: str, allowed: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, field, found[:80], allowed))

    def no_repeats(self, node: yaml.Node, prefix: str) -> None:
        """A key that stands twice in a mapping would silently win or lose."""
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                field = f"{prefix}{key.value}"
                if str(key.value) in seen:
                    self.add(key, field, "the field a second time", "each field once")
                seen.add(str(key.value))
                self.no_repeats(value, f"{field}.")
        elif isinstance(node, yaml.SequenceNode):
            for place, value in enumerate(node.value):
                self.no_repeats(value, f"{prefix[:-1]}[{place}].")

    def fields(self, node: yaml.Node, table: Mapping[str, _Field], *, prefix: str) -> dict[str, Any]:
        """The values of a mapping by its table of fields; defaults for what is missing or wrong."""
        values = {name: field.default for name, field in table.items()}
        if not isinstance(node, yaml.MappingNode):
            self.add(node, prefix.rstrip("."), shown(node), f"a mapping of {', '.join(table)}")
            return values
        present = {str(key.value): value for key, value in node.value}
        for key, _ in node.value:
            if str(key.value) not in table:
                self.add(key, f"{prefix}{key.value}", "an unknown field", ", ".join(table))
        for name, field in table.items():
            if name in present:
                values[name] = field.check(self, present[name], f"{prefix}{name}")
            elif field.required:
                self.add(node, f"{prefix}{name}", "nothing", "a value: the field is required")
        return values

    def scalar(self, node: yaml.Node, field: str, allowed: str, *tags: str) -> str | None:
        """The text of a scalar of one of these YAML types, or None with a problem."""
        if isinstance(node, yaml.ScalarNode) and node.tag.rpartition(":")[2] in tags:
            return str(node.value)
        self.add(node, field, shown(node), allowed)
        return None


def shown(node: yaml.Node) -> str:
    """What stands there, as a person sees it."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.tag.endswith(":str") else f"{node.value or 'nothing'}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _text(pattern: str, allowed: str) -> _Check:
    def check(reader: _Reader, node: yaml.Node, field: str) -> str:
        value = reader.scalar(node, field, allowed, "str")
        if value is not None and not re.fullmatch(pattern, value, re.DOTALL):
            reader.add(node, field, shown(node), allowed)
        return value or ""

    return check


def _whole(low: int, high: int) -> _Check:
    allowed = f"a whole number from {low} to {high}"

    def check(reader: _Reader, node: yaml.Node, field: str) -> int:
        value = reader.scalar(node, field, allowed, "int")
        if value is None:
            return low
        if not re.fullmatch(r"\d{1,9}", value) or not low <= int(value) <= high:
            reader.add(node, field, shown(node), allowed)
            return low
        return int(value)

    return check


def _one_of(*allowed: str) -> _Check:
    def check(reader: _Reader, node: yaml.Node, field: str) -> str:
        value = reader.scalar(node, field, ", ".join(allowed), "str")
        if value is not None and value not in allowed:
            reader.add(node, field, shown(node), ", ".join(allowed))
        return value if value in allowed else allowed[0]

    return check


def _truth(reader: _Reader, node: yaml.Node, field: str) -> bool:
    value = reader.scalar(node, field, "true or false", "bool")
    return value is not None and value.lower() in {"true", "yes", "on"}


def _rate(reader: _Reader, node: yaml.Node, field: str) -> str:
    allowed = 'a decimal string above 0, at most 1, with at most six places, such as "0.30"'
    value = reader.scalar(node, field, allowed, "str")
    if value is None:
        return "0"
    if not re.fullmatch(r"[01](\.\d{1,6})?", value) or not 0 < Decimal(value) <= 1:
        reader.add(node, field, shown(node), allowed)
        return "0"
    return value


def _amount(reader: _Reader, node: yaml.Node, field: str) -> int:
    digits = MINOR_DIGITS[reader.currency]
    allowed = f'a positive amount of {reader.currency} as a decimal string with at most {digits} places, such as "500"'
    value = reader.scalar(node, field, allowed, "str")
    if value is None:
        return 0
    try:
        micros = micros_of(value)
    except Invalid:
        micros = 0
    if not 0 < micros <= MICROS_MAX or micros % (MICROS // 10**digits):
        reader.add(node, field, shown(node), allowed)
    return micros


def _date(reader: _Reader, node: yaml.Node, field: str) -> date | None:
    allowed = f"a date from {YEARS[0]} to {YEARS[1]} such as 2026-01-31"
    value = reader.scalar(node, field, allowed, "str", "timestamp")
    if value is None:
        return None
    try:
        found = date.fromisoformat(value)
    except ValueError:
        found = date.min
    if YEARS[0] <= found.year <= YEARS[1]:
        return found
    reader.add(node, field, shown(node), allowed)
    return None


def _list_of(check: _Check, *, at_least: int) -> _Check:
    allowed = f"a list of {at_least} to {ITEMS_MAX} entries"

    def check_all(reader: _Reader, node: yaml.Node, field: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode) or not at_least <= len(node.value) <= ITEMS_MAX:
            found = f"{len(node.value)} entries" if isinstance(node, yaml.SequenceNode) else shown(node)
            reader.add(node, field, found, allowed)
            return ()
        return tuple(check(reader, one, f"{field}[{place}]") for place, one in enumerate(node.value))

    return check_all


_TITLE = _text(r"(?=.*\S).{1,1000}", "text that is not empty, at most 1000 characters")
_NAME = _text(r"(?=.*\S).{1,100}", "a name of at most 100 characters")
_SLUG = _text(r"[a-z][a-z0-9_-]{0,59}", "lower-case letters, digits, - and _, beginning with a letter")


def _bilingual(reader: _Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    return reader.fields(node, {"zh": _Field(_TITLE), "en": _Field(_TITLE)}, prefix=f"{field}.")


def _funder(reader: _Reader, node: yaml.Node, field: str) -> Funder:
    values = reader.fields(node, {"name": _Field(_NAME), "share": _Field(_rate)}, prefix=f"{field}.")
    return Funder(name=values["name"] or "", share=values["share"] or "0")


def _when(reader: _Reader, node: yaml.Node, field: str) -> str:
    value = _TITLE(reader, node, field)
    fault = fault_of(value) if value else ""
    if fault:
        reader.add(
            node, field, fault, "a CEL condition on `organisation`, such as organisation.kind == 'company'"
        )
    return str(value)


def _clause(reader: _Reader, node: yaml.Node, field: str) -> Clause:
    table = {"id": _Field(_SLUG), "when": _Field(_when), "reason": _Field(_bilingual)}
    values = reader.fields(node, table, prefix=f"{field}.")
    reason = values["reason"] or {"zh": "", "en": ""}
    return Clause(
        id=values["id"] or "", when=values["when"] or "", reason_zh=reason["zh"], reason_en=reason["en"]
    )


_FIELDS: Final[Mapping[str, _Field]] = {
    "id": _Field(_SLUG),
    "version": _Field(_whole(1, 9999)),
    "title": _Field(_bilingual),
    "kind": _Field(_one_of(*ProgrammeKind)),
    "mode": _Field(_one_of(*Mode)),
    "source": _Field(_TITLE),
    "funders": _Field(_list_of(_funder, at_least=1)),
    "rate": _Field(_rate),
    "pool": _Field(_amount),
    "shelves": _Field(_list_of(_SLUG, at_least=1)),
    "spend_kinds": _Field(_list_of(_one_of(*SpendKind), at_least=1)),
    "cap_per_order": _Field(_amount, required=False),
    "cap_per_organisation_year": _Field(_amount, required=False),
    "grant": _Field(_amount, required=False),
    "validity_days": _Field(_whole(1, 3660), required=False),
    "valid_from": _Field(_date, required=False),
    "valid_to": _Field(_date, required=False),
    "claim_days": _Field(_whole(1, 3660), required=False),
    "regions": _Field(_list_of(_NAME, at_least=1), required=False, default=()),
    "domestic_only": _Field(_truth, required=False, default=False),
    "unrelated_parties": _Field(_truth),
    "exclusivity_group": _Field(_SLUG, required=False, default=""),
    "stacking": _Field(_truth, required=False, default=True),
    "eligibility": _Field(_list_of(_clause, at_least=0), required=False, default=()),
}


def _check_together(reader: _Reader, node: yaml.MappingNode, values: dict[str, Any]) -> None:
    """Rules between fields, each reported at the field that would have to change."""
    at = {str(key.value): value for key, value in node.value}

    def add(field: str, found: str, allowed: str) -> None:
        reader.add(at.get(field, node), field, found, allowed)

    values["kind"], values["mode"] = ProgrammeKind(values["kind"]), Mode(values["mode"])
    total = sum(Decimal(funder.share) for funder in values["funders"])
    if total != 1:
        add("funders", f"shares that sum to {total}", "shares that sum to 1")
    names = [funder.name for funder in values["funders"]]
    if len(set(names)) < len(names):
        add("funders", "a funder twice", "each funder once")
    ids = [clause.id for clause in values["eligibility"]]
    if len(set(ids)) < len(ids):
        add("eligibility", "a clause id twice", "each clause id once")
    if values["validity_days"] is None and values["valid_to"] is None:
        add("validity_days", "neither validity_days nor valid_to", "one of them, or both")
    if values["valid_from"] and values["valid_to"] and values["valid_to"] < values["valid_from"]:
        add("valid_to", str(values["valid_to"]), f"a date from {values['valid_from']} on")
    for field in ("cap_per_order", "cap_per_organisation_year", "grant"):
        if values[field] is not None and values[field] > values["pool"]:
            add(field, f"{values[field] // MICROS}", f"at most the pool, {values['pool'] // MICROS}")
    _check_mode(add, values)


def _check_mode(add: Callable[[str, str, str], None], values: Mapping[str, Any]) -> None:
    trial = values["kind"] is ProgrammeKind.TRIAL
    if trial and values["grant"] is None:
        add("grant", "nothing", "an amount: every trial voucher is worth it")
    if trial and values["mode"] is not Mode.CHECKOUT:
        add("mode", values["mode"], "checkout: a trial pays at once")
    if not trial and values["grant"] is not None:
        add("grant", "an amount", "nothing: only a trial has a fixed grant")
    reimbursed = values["mode"] is Mode.REIMBURSEMENT
    if reimbursed and values["claim_days"] is None:
        add("claim_days", "nothing", "a number of days: when a reimbursement must be claimed by")
    if not reimbursed and values["claim_days"] is not None:
        add("claim_days", f"{values['claim_days']}", "nothing: only a reimbursement is claimed")
