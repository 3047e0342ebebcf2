"""A search as people make it: one form for the page's address, the API's parameters and what is saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, cast, get_args

from mosu.kernel.money import decimal_of, micros_of
from mosu.kernel.refusals import Invalid

Sort: TypeAlias = Literal["price", "-price", "ready", "effective", "free", "-created_at", "relevance"]
"""`ready`: what can be ordered now before all else, the cheapest first of both."""
Range: TypeAlias = tuple[float | None, float | None]
"""From and to, both included; None: open."""

LIMIT_DEFAULT: Final = 30
LIMIT_MAX: Final = 200
TEXT_MAX: Final = 100
VALUES_MAX: Final = 50
"""Of one facet, chosen at once."""
SORTS: Final = get_args(Sort)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferSearch:
    """What is wanted of the shelf. Values of one facet are alternatives; facets, ranges and text must all fit."""

    shelf: str = ""
    text: str = ""
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By facet: `accelerator`, `vendor`, `country`, `memory_gb`, `count`, `region`, `supplier`, `mode`, `price`."""
    ranges: Mapping[str, Range] = field(default_factory=lambda: MappingProxyType({}))
    """By facet of numbers; `price` in micros."""
    live: bool | None = None
    free_now: bool = False
    sort: Sort = "price"
    after: str = ""
    limit: int = LIMIT_DEFAULT


def search_of(
    params: Mapping[str, Sequence[str]],
    *,
    facets: Sequence[str],
    numbers: Sequence[str],
    limit: int = LIMIT_DEFAULT,
) -> OfferSearch:
    """The search that an address's parameters ask for; those it does not know are passed over.

    Raises:
        Invalid: a number, a sort or a length that cannot be.
    """

    def one(name: str) -> str:
        values = params.get(name) or [""]
        return values[-1].replace("\x00", "").strip()

    sort = one("sort") or "price"
    if sort not in SORTS:
        raise Invalid(
            f"There is no sort {sort[:40]!r}.",
            hint=f"One of: {', '.join(SORTS)}.",
            field="sort",
            found=sort[:40],
        )
    text = one("text")
    if len(text) > TEXT_MAX:
        raise Invalid("That is a long text.", hint=f"At most {TEXT_MAX} characters.", field="text")
    chosen = {name: _values(name, params.get(name, ())) for name in facets}
    ranges: dict[str, Range] = {
        name: (_number(name, "min", one(f"{name}_min")), _number(name, "max", one(f"{name}_max")))
        for name in numbers
    }
    return OfferSearch(
        shelf=one("shelf")[:40],
        text=text,
        chosen={name: values for name, values in chosen.items() if values},
        ranges={name: span for name, span in ranges.items() if span != (None, None)},
        live=_truth(one("live"), "live"),
        free_now=bool(_truth(one("free_now"), "free_now")),
        sort=cast(Sort, sort),
        after=one("cursor"),
        limit=limit,
    )


def params_of(search: OfferSearch) -> dict[str, list[str]]:
    """The parameters that ask for the same search: to share, to save. Not the place in the list."""
    found: dict[str, list[str]] = {}
    if search.shelf:
        found["shelf"] = [search.shelf]
    if search.text:
        found["text"] = [search.text]
    for name in sorted(search.chosen):
        found[name] = list(search.chosen[name])
    for name in sorted(search.ranges):
        for end, value in zip(("min", "max"), search.ranges[name], strict=True):
            if value is not None:
                found[f"{name}_{end}"] = [decimal_of(int(value)) if name == "price" else f"{value:g}"]
    if search.live is not None:
        found["live"] = [str(search.live).lower()]
    if search.free_now:
        found["free_now"] = ["true"]
    if search.sort != "price":
        found["sort"] = [search.sort]
    return found


def _values(name: str, given: Sequence[str]) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(text for value in given if (text := value.replace("\x00", "").strip())))
    if len(values) > VALUES_MAX:
        raise Invalid(f"{len(values)} values are many.", hint=f"At most {VALUES_MAX}.", field=name)
    return values


def _number(name: str, end: str, text: str) -> float | None:
    if not text:
        return None
    label = f"{name}_{end}"
    if name == "price":
        return micros_of(text, field=label)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > 10**12:
        raise Invalid(f"{label} is not a number.", hint="Such as 80.", field=label, found=text[:40])
    return float(number)


def _truth(text: str, name: str) -> bool | None:
    if text not in ("", "true", "false"):
        raise Invalid(f"{name} is true or false.", hint="Leave it out for both.", field=name, found=text[:40])
    return None if not text else text == "true"
