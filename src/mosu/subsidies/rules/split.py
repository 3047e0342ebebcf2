"""How the price of one order is shared between vouchers, later refunds and the organisation's own money.

A voucher is drawn on under the terms of one programme version (its *unit*). What all vouchers of a unit give to
one order is bounded together by rate x charge, by the cap per order and by what is left of the year's cap. Of an
exclusivity group one unit may be used; a unit that does not stack is used alone.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import product
from math import prod
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from mosu.kernel.money import MICROS, MINOR_DIGITS, floored

SELECTIONS_MAX: Final = 256
"""Selections of units that are compared, some 0.2 s; beyond, each exclusivity group keeps its most generous unit."""


class Source(StrEnum):
    VOUCHER = "voucher"
    """Paid from a voucher at checkout."""
    REFUND = "refund"
    """Paid by the organisation now, reimbursed on a claim later."""
    BALANCE = "balance"
    """The organisation's own money."""


class SpendKind(StrEnum):
    """What the money buys, as programmes name it."""

    CARD_HOURS = "card_hours"
    CORE_HOURS = "core_hours"
    STORAGE = "storage"
    CORPUS = "corpus"
    MODEL_TOKENS = "model_tokens"
    MODEL_DEPLOYMENT = "model_deployment"
    EVALUATION = "evaluation"


Choice: TypeAlias = Literal["auto", "none"] | Sequence[UUID]
"""Which vouchers an order may draw on: the best of all, none, or the best of these."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What is about to be bought, as far as subsidies care."""

    organisation_id: UUID
    supplier_id: UUID
    shelf: str
    kind: str
    charge_max_micros: int
    region: str
    domestic: bool | None
    """Whether the goods are of domestic make; None where that is not known, which counts as no."""
    accepted_at: datetime
    """Whose year's caps count; at the quote: now."""
    currency: str = "CNY"


@dataclass(frozen=True, slots=True)
class Share:
    """One source's part of a price: at most `limit_micros`, at most `rate` x charge, here `amount_micros`."""

    source: Source
    limit_micros: int
    amount_micros: int
    title_zh: str
    title_en: str
    voucher_id: UUID | None = None
    programme_id: UUID | None = None
    programme_code: str = ""
    programme_version: int = 0
    rate: str | None = None
    group: str = ""
    expires_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Only strings, integers and None, so that the frozen form has one digest."""
        return {
            "source": self.source.value,
            "limit_micros": self.limit_micros,
            "amount_micros": self.amount_micros,
            "title_zh": self.title_zh,
            "title_en": self.title_en,
            "voucher_id": str(self.voucher_id) if self.voucher_id else None,
            "programme_id": str(self.programme_id) if self.programme_id else None,
            "programme_code": self.programme_code,
            "programme_version": self.programme_version,
            "rate": self.rate,
            "group": self.group,
            "expires_at": self.expires_at.astimezone(UTC).isoformat() if self.expires_at else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Share":
        return cls(
            **{
                **value,
                "source": Source(value["source"]),
                "voucher_id": UUID(value["voucher_id"]) if value["voucher_id"] else None,
                "programme_id": UUID(value["programme_id"]) if value["programme_id"] else None,
                "expires_at": datetime.fromisoformat(value["expires_at"]) if value["expires_at"] else None,
            }
        )


@dataclass(frozen=True, slots=True)
class Split:
    """A price and its shares, in the order in which they are drawn; the balance is last.

    Voucher shares and the balance sum to the charge. Refund shares are part of what the balance pays now: they
    are expected later and never counted as paid.
    """

    charge_micros: int
    shares: tuple[Share, ...]
    currency: str = "CNY"

    def _sum(self, source: Source) -> int:
        return sum(share.amount_micros for share in self.shares if share.source is source)

    @property
    def pay_now_micros(self) -> int:
        return self._sum(Source.BALANCE)

    @property
    def voucher_now_micros(self) -> int:
        return self._sum(Source.VOUCHER)

    @property
    def refund_later_micros(self) -> int:
        return self._sum(Source.REFUND)

    @property
    def pay_hold_micros(self) -> int:
        """What to hold of the organisation's own money: covers the balance's share of *any* charge up to this.

        With one voucher it is `pay_now_micros`. With k it may be up to k - 1 minor units more: each share rounds
        down, and a smaller charge may lose up to that many units to rounding.
        """
        return sum(share.limit_micros for share in self.shares if share.source is Source.BALANCE)

    def to_json(self) -> dict[str, Any]:
        return {
            "charge_micros": self.charge_micros,
            "currency": self.currency,
            "shares": [share.to_json() for share in self.shares],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Split":
        return cls(
            charge_micros=value["charge_micros"],
            currency=value["currency"],
            shares=tuple(Share.from_json(share) for share in value["shares"]),
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A voucher that may be used for a spend, with the terms of its programme version."""

    voucher_id: UUID
    source: Source
    left_micros: int
    expires_at: datetime
    programme_id: UUID
    programme_code: str
    programme_version: int
    rate: str
    title_zh: str
    title_en: str
    cap_per_order_micros: int | None = None
    cap_left_micros: Mapping[int, int] = field(default_factory=dict)
    """What is left of the organisation's cap by year of the hub; a year that is missing has no cap."""
    group: str = ""
    stacking: bool = True

    @property
    def unit(self) -> tuple[UUID, int]:
        return self.programme_id, self.programme_version

    @property
    def exclusive_key(self) -> str:
        """Of all units with the same key one may be used; without a group: one version of a programme."""
        return f"group {self.group}" if self.group else f"programme {self.programme_id}"


def split_at(frozen: Split, charge_micros: int) -> Split:
    """What each frozen share pays of the actual charge.

    A charge above the frozen one counts as the frozen one: nothing is taken beyond what was held.
    """
    charge = min(charge_micros, frozen.charge_micros)
    drawn = [share for share in frozen.shares if share.source is not Source.BALANCE]
    amounts = _waterfall(drawn, charge=charge, currency=frozen.currency)
    paid = sum(amount for share, amount in zip(drawn, amounts, strict=True) if share.source is Source.VOUCHER)
    own = [
        replace(share, amount_micros=charge - paid)
        for share in frozen.shares
        if share.source is Source.BALANCE
    ]
    actual = [replace(share, amount_micros=amount) for share, amount in zip(drawn, amounts, strict=True)]
    return replace(frozen, charge_micros=charge, shares=(*actual, *own))


def _waterfall(drawn: Sequence[Share], *, charge: int, currency: str) -> list[int]:
    """What each share gives, in order: bounded by its limit, its unit's rate, and what is left of the charge.

    Vouchers come before refunds in `drawn`: a refund is of what was really paid.
    """
    left = charge
    by_unit: dict[tuple[UUID | None, int], int] = defaultdict(int)
    amounts = []
    for share in drawn:
        unit = (share.programme_id, share.programme_version)
        at_rate = floored(Decimal(share.rate or "0") * charge, currency=currency) - by_unit[unit]
        amount = max(0, min(share.limit_micros, at_rate, left))
        by_unit[unit] += amount
        left -= amount
        amounts.append(amount)
    return amounts


def best_split(spend: Spend, candidates: Sequence[Candidate], *, year: int) -> Split:
    """The legal split with the least paid now; then the least net of refunds; then whose money lapses first;
    then of the fewest vouchers; then of the lowest ids.

    `year` is the hub's year of acceptance. Exact while the selections of one unit per exclusivity group that
    `_narrow` leaves number at most `SELECTIONS_MAX`; beyond, what is paid now and the net are still the least, and
    only what decides between equals may fall otherwise. Within a selection the choice of vouchers is exact for any
    number, in polynomial time: the bounds are laminar (voucher in unit in charge), so taking the earliest expiry
    first reaches the greatest sum, and only the last expiry drawn on leaves a choice, which `_fewest` makes.
    """
    usable = [one for one in candidates if one.left_micros > 0 and one.expires_at > spend.accepted_at]
    chosen = min(
        (_best_of(selection, spend=spend, year=year) for selection in _selections(usable, spend, year)),
        key=_order_of,
    )
    return _with_balance(chosen)


def _selections(
    usable: Sequence[Candidate], spend: Spend, year: int
) -> Iterable[tuple[tuple[Candidate, ...], ...]]:
    """Every maximal set of units that may be used together, each unit as its vouchers."""
    units: dict[tuple[UUID, int], list[Candidate]] = defaultdict(list)
    for one in sorted(usable, key=lambda one: (one.expires_at, one.voucher_id)):
        units[one.unit].append(one)
    groups: dict[str, list[tuple[Candidate, ...]]] = defaultdict(list)
    for unit in units.values():
        if unit[0].stacking:
            groups[unit[0].exclusive_key].append(tuple(unit))
        else:
            yield (tuple(unit),)
    _narrow(groups, spend, year)
    if prod(len(group) for group in groups.values()) > SELECTIONS_MAX:
        for key, group in groups.items():
            groups[key] = [min(group, key=lambda unit: _generosity(unit, spend, year))]
    yield from product(*groups.values())


def _narrow(groups: dict[str, list[tuple[Candidate, ...]]], spend: Spend, year: int) -> None:
    """Leave out units that no best split uses; exact.

    Where the charge has room for the most that every group can give, each group has to give its most.
    """
    left = spend.charge_max_micros
    settled: set[str] = set()
    for source in (Source.VOUCHER, Source.REFUND):
        gives = {
            key: [_gives(unit, spend, year) if unit[0].source is source else 0 for unit in group]
            for key, group in groups.items()
            if key not in settled
        }
        left -= sum(max(amounts) for amounts in gives.values())
        if left < 0:
            return
        for key, amounts in gives.items():
            if max(amounts) > 0:
                pairs = zip(groups[key], amounts, strict=True)
                groups[key] = [unit for unit, amount in pairs if amount == max(amounts)]
                settled.add(key)


def _gives(unit: Sequence[Candidate], spend: Spend, year: int) -> int:
    """The most that the unit's vouchers can give to this spend."""
    return min(_bound_of(unit[0], spend, year), sum(one.left_micros for one in unit))


def _generosity(unit: Sequence[Candidate], spend: Spend, year: int) -> tuple[bool, int]:
    """Sorts the most generous unit first: paid at checkout before refunded, then the most."""
    gives = _gives(unit, spend, year)
    return unit[0].source is not Source.VOUCHER or gives == 0, -gives


def _bound_of(one: Candidate, spend: Spend, year: int) -> int:
    """The most that all vouchers of one unit may give to this spend."""
    bounds = [floored(Decimal(one.rate) * spend.charge_max_micros, currency=spend.currency)]
    if one.cap_per_order_micros is not None:
        bounds.append(one.cap_per_order_micros)
    if year in one.cap_left_micros:
        bounds.append(one.cap_left_micros[year])
    return max(0, min(bounds))


def _best_of(selection: Sequence[Sequence[Candidate]], *, spend: Spend, year: int) -> Split:
    """The best split that draws on these units; they may all be used together."""
    left = spend.charge_max_micros
    shares: list[Share] = []
    for source in (Source.VOUCHER, Source.REFUND):
        bounds = {
            unit[0].unit: _bound_of(unit[0], spend, year) for unit in selection if unit[0].source is source
        }
        vouchers = [one for unit in selection for one in unit if one.source is source]
        drawn = _drawn(vouchers, bounds=bounds, wanted=left)
        shares += [_share_of(one, amount) for one, amount in drawn]
        left -= sum(amount for _, amount in drawn)
    return Split(charge_micros=spend.charge_max_micros, shares=tuple(shares), currency=spend.currency)


def _share_of(one: Candidate, amount: int) -> Share:
    return Share(
        source=one.source,
        limit_micros=amount,
        amount_micros=amount,
        title_zh=one.title_zh,
        title_en=one.title_en,
        voucher_id=one.voucher_id,
        programme_id=one.programme_id,
        programme_code=one.programme_code,
        programme_version=one.programme_version,
        rate=one.rate,
        group=one.group,
        expires_at=one.expires_at,
    )


def _drawn(
    vouchers: Sequence[Candidate], *, bounds: Mapping[tuple[UUID, int], int], wanted: int
) -> list[tuple[Candidate, int]]:
    """Vouchers and what each gives: in all the most up to `wanted`, from what lapses first, from the fewest."""
    bounds = dict(bounds)
    drawn: list[tuple[Candidate, int]] = []
    by_expiry: dict[datetime, list[Candidate]] = defaultdict(list)
    for one in vouchers:
        by_expiry[one.expires_at].append(one)
    for _, same in sorted(by_expiry.items()):
        reach = _reach(same, bounds)
        for one in _fewest(same, bounds=bounds, wanted=min(wanted, reach)):
            amount = min(one.left_micros, bounds[one.unit], wanted)
            bounds[one.unit] -= amount
            wanted -= amount
            drawn.append((one, amount))
    return drawn


def _reach(vouchers: Iterable[Candidate], bounds: Mapping[tuple[UUID, int], int]) -> int:
    """What these vouchers can give together."""
    sums: dict[tuple[UUID, int], int] = defaultdict(int)
    for one in vouchers:
        sums[one.unit] += one.left_micros
    return sum(min(bounds[unit], total) for unit, total in sums.items())


def _fewest(
    vouchers: Sequence[Candidate], *, bounds: Mapping[tuple[UUID, int], int], wanted: int
) -> list[Candidate]:
    """The smallest set of these that can give `wanted`; of several the one with the lowest ids; by id.

    Within a unit the gain of one more voucher, largest first, never grows; so taking the greatest gains over all
    units is optimal for every size, also with some vouchers forced in.
    """
    if wanted <= 0:
        return []
    rest = sorted(vouchers, key=lambda one: one.voucher_id)
    size = next(count for count in range(len(rest) + 1) if _reach_with([], rest, bounds, count) >= wanted)
    forced: list[Candidate] = []
    for place, one in enumerate(rest):
        if len(forced) == size:
            break
        trial = [*forced, one]
        if _reach_with(trial, rest[place + 1 :], bounds, size - len(trial)) >= wanted:
            forced = trial
    return forced


def _reach_with(
    forced: Sequence[Candidate],
    others: Sequence[Candidate],
    bounds: Mapping[tuple[UUID, int], int],
    count: int,
) -> int:
    """What `forced` and the best `count` of `others` can give."""
    left = dict(bounds)
    reach = 0
    for one in forced:
        amount = min(one.left_micros, left[one.unit])
        left[one.unit] -= amount
        reach += amount
    gains = []
    for one in sorted(others, key=lambda one: -one.left_micros):
        gain = min(one.left_micros, left[one.unit])
        left[one.unit] -= gain
        gains.append(gain)
    return reach + sum(heapq.nlargest(count, gains))


def _order_of(split: Split) -> tuple[Any, ...]:
    """Sorts the better split first."""
    paid = split.charge_micros - split.voucher_now_micros
    by_expiry: dict[tuple[bool, datetime], int] = defaultdict(int)
    for share in split.shares:
        if share.expires_at:
            by_expiry[share.source is Source.REFUND, share.expires_at] -= share.amount_micros
    profile = tuple(sorted((when, amount) for when, amount in by_expiry.items()))
    ids = tuple(sorted(share.voucher_id for share in split.shares if share.voucher_id))
    return paid, paid - split.refund_later_micros, profile, len(ids), ids


def _with_balance(split: Split) -> Split:
    """The voucher and refund shares with the organisation's own, held so that it covers every smaller charge."""
    own = split.charge_micros - split.voucher_now_micros
    vouchers = sum(share.source is Source.VOUCHER for share in split.shares)
    slack = max(0, vouchers - 1) * (MICROS // 10 ** MINOR_DIGITS[split.currency])
    balance = Share(
        source=Source.BALANCE,
        limit_micros=min(split.charge_micros, own + slack),
        amount_micros=own,
        title_zh="单位余额",
        title_en="Own balance",
    )
    return replace(split, shares=(*split.shares, balance))
