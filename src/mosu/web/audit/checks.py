"""One check, a link of checks, the chain of links; and how checks are made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.money import decimal_of

Words = Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked. `holds` None: it cannot be checked here, `found` says why."""

    code: str
    title: Words
    holds: bool | None
    found: str = ""
    expected: str = ""

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "fails", None: "unknown"}[self.holds]


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain with its checks; `note` says why there are none."""

    code: str
    title: Words
    checks: Sequence[Check]
    note: Words = ""

    @property
    def verdict(self) -> str:
        if any(check.holds is False for check in self.checks):
            return "fails"
        return "holds" if any(check.holds for check in self.checks) else "unknown"


@dataclass(frozen=True, slots=True)
class Chain:
    """The links from posting to policy."""

    links: Sequence[Link]

    @property
    def checks(self) -> list[Check]:
        return [check for link in self.links for check in link.checks]

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.holds is False]

    @property
    def held(self) -> int:
        return sum(check.holds is True for check in self.checks)

    @property
    def unknown(self) -> int:
        return sum(check.holds is None for check in self.checks)

    @property
    def holds(self) -> bool:
        return not self.failed


TITLES: Final = {
    "journal": _lazy("Journal entries and postings"),
    "charge": _lazy("Charge: recomputed from usage and the frozen price"),
    "usage": _lazy("Usage: claimed, counted, quarantined"),
    "observed": _lazy("Attempts and allocations: what the hub observed itself"),
    "quote": _lazy("Order lines and quote: frozen terms and split"),
    "vouchers": _lazy("Vouchers: made out by one person, released by another"),
    "programme": _lazy("Programme version: the policy itself"),
    "facts": _lazy("The organisation's facts at the time"),
    "receipt": _lazy("Receipt: what the buyer was told"),
    "moves": _lazy("Audit records of the order's moves"),
}


# How checks are made


def faultless(code: str, title: Words, faults: Iterable[str], *, of: int) -> Check:
    """Holds if there are no faults among `of` things; none at all cannot be checked."""
    found = list(faults)
    if found:
        return Check(code, title, holds=False, found="; ".join(found[:3]))
    if not of:
        return Check(code, title, holds=None, found=_("nothing to check"))
    return Check(code, title, holds=True, found=str(of))


def same(code: str, title: Words, found: object, expected: object) -> Check:
    """Holds if what was found is what was expected."""
    return Check(code, title, holds=found == expected, found=str(found), expected=str(expected))


def same_sum(code: str, title: Words, found: int, expected: int, *, currency: str) -> Check:
    """Two sums of money that must be one."""
    return same(code, title, decimal_of(found, currency=currency), decimal_of(expected, currency=currency))


def unknown(code: str, title: Words, why: str) -> Check:
    """Cannot be checked here, and why."""
    return Check(code, title, holds=None, found=why)


def differences(name: str, pairs: Mapping[str, tuple[object, object]]) -> list[str]:
    """One sentence for each field whose two values differ."""
    return [
        f"{name}: {field} {found} ≠ {expected}"
        for field, (found, expected) in pairs.items()
        if found != expected
    ]


def side_by_side(found: Sequence[Any], wanted: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pairs of the two, also where one is longer."""
    longest = max(len(found), len(wanted))
    return list(
        zip(
            [*found, *[None] * (longest - len(found))],
            [*wanted, *[None] * (longest - len(wanted))],
            strict=True,
        )
    )


NOT_SETTLED: Final = _lazy("the order is not settled")
