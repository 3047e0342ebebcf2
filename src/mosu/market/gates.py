"""Sanity gates of what is imported: a row that looks wrong waits in quarantine, with its reason. Pure.

What has been seen in public catalogues: an H100 at 0, a B200 at 0.01 instead of 3.45 dollars, placeholders of 700,
spot dearer than on demand, one memory column in MiB, in GB, and of all cards together.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from mosu.kernel.money import MICROS_MAX
from mosu.market.shelves import NamedGoods
from mosu.wire.offers import OfferRow

RATIO_MAX: Final = 100
"""A price this many times (or this part of) the offer's last price, or the median of its kind, is doubted."""
MEDIAN_OF_MIN: Final = 3
"""Prices of a kind that make a median."""

DOUBTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "no_price": {"zh": "没有价格", "en": "no price"},
        "zero": {"zh": "价格为零", "en": "price of zero"},
        "too_much": {"zh": "价格超出上限", "en": "price beyond any account"},
        "placeholder": {"zh": "疑似占位价格", "en": "looks like a placeholder"},
        "spot": {"zh": "竞价不低于按需价", "en": "spot not below on demand"},
        "last_price": {"zh": "与上次价格相差百倍", "en": "100 times off its last price"},
        "median": {"zh": "与同类中位价相差百倍", "en": "100 times off the median of its kind"},
        "currency": {"zh": "币种不识", "en": "unknown currency"},
        "rate": {"zh": "没有汇率", "en": "no exchange rate"},
        "memory": {"zh": "显存单位或数值不符", "en": "memory does not fit the card"},
        "accelerator": {"zh": "卡型不识", "en": "unknown accelerator"},
        "machine": {"zh": "只有卡价，不含主机", "en": "cards without their machine"},
        "duplicate": {"zh": "同一编号有不同内容", "en": "the same key twice, not the same"},
        "delisted": {"zh": "已下架", "en": "was taken off the shelf"},
        "subject": {"zh": "资源池不属于该供应方", "en": "not the supplier's pool"},
        "buyer": {"zh": "没有这个购买方", "en": "no such buyer"},
    }
)  # fmt: skip
UNRELEASABLE: Final = frozenset(
    {"no_price", "zero", "too_much", "currency", "rate", "duplicate", "subject", "buyer"}
)
"""What nobody can wave through, since nothing could be sold by it: the file is mended and imported again."""

_CENTS: Final = frozenset({Decimal("0.0001"), Decimal("0.001"), Decimal("0.01")})
_HOSTLESS: Final = Decimal(700)
_NEAR: Final = Decimal("0.1")
_GIB: Final = {
    "MiB": Decimal(1024), "MB": Decimal(1000), "GiB": Decimal(1), "GB": Decimal(1),
    "TiB": Decimal(1) / 1024, "TB": Decimal(1) / 1000,
}  # fmt: skip
"""How many of a unit make one of those by which cards are known: an 80 GB card has 80 GiB, give or take."""


class Doubt(NamedTuple):
    """Why a row waits: a key of `DOUBTS`, and a sentence with what was found."""

    code: str
    reason: str


def price_doubt(row: OfferRow) -> Doubt | None:
    """What is wrong with a row's price by itself."""
    if row.listed is None:
        return Doubt("no_price", "The file names no price.")
    if row.price_micros == 0 or row.price_micros * 1000 > MICROS_MAX:
        return Doubt("zero" if row.price_micros == 0 else "too_much", f"The price is {row.listed}.")
    if _is_placeholder(row):
        return Doubt("placeholder", f"{row.listed} is what files have where a price is not known.")
    if row.card_alone:
        return Doubt("machine", "The price is of cards alone; the price of a machine comes on top.")
    if _spot_is_dear(row):
        return Doubt("spot", "Spot does not cost less than on demand: one of the two is wrong.")
    return None


def card_of(row: OfferRow, goods: Sequence[NamedGoods]) -> NamedGoods | Doubt:
    """Which card a row means, of those that its name can stand for; or why that is not clear."""
    if not goods:
        return Doubt("accelerator", f"No accelerator is called {row.accelerator[:60]!r}.")
    fitting = [one for one in goods if _memory_fits(row, one)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        has = " or ".join(f"{one.id} has {one.memory_gb:g} GB" for one in goods if one.memory_gb)
        unit = row.card_memory_unit or "(unit unknown)"
        return Doubt("memory", f"The file says {row.card_memory} {unit}; {has}."[:300])
    names = ", ".join(one.id for one in fitting)
    return Doubt("accelerator", f"{row.accelerator[:60]!r} stands for {names}: name one."[:300])


def slug_of(name: str) -> str:
    """A name that no catalogue of ours has, as an id: what a released row is searched by."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in kept.split("-") if part)[:60]


def _spot_is_dear(row: OfferRow) -> bool:
    if row.other_micros is None:
        return False
    spot, on_demand = row.price_micros, row.other_micros
    if row.mode != "spot":
        spot, on_demand = on_demand, spot
    return spot >= on_demand


def doubt_of_new_price(*, listed: Decimal, unit: str, last: Decimal | None) -> Doubt | None:
    """What looks wrong with a price that is set by hand, beside the offer's `last` in the same currency."""
    if last and not last / RATIO_MAX < listed < last * RATIO_MAX:
        return Doubt("last_price", f"The price was {last:f} and would be {listed:f}: 100 times off.")
    if _looks_made_up(listed, unit):
        return Doubt("placeholder", f"{listed:f} looks like a placeholder, not like a price.")
    return None


def _is_placeholder(row: OfferRow) -> bool:
    listed = row.listed or Decimal(0)
    if row.unit == "card_hour" and row.card_alone and listed == _HOSTLESS:
        return True
    return _looks_made_up(listed, row.unit)


def _looks_made_up(listed: Decimal, unit: str) -> bool:
    if unit == "card_hour" and listed in _CENTS:
        return True
    whole = str(int(listed))
    return len(whole) >= 3 and set(whole) == {"9"}


def _memory_fits(row: OfferRow, card: NamedGoods) -> bool:
    """Whether the file's figure can be this card's memory; where the unit is not sure, in any unit that occurs."""
    if not row.card_memory or not card.memory_gb:
        return True
    memory, count = Decimal(card.memory_gb), max(1, row.max_units)
    if row.card_memory_unit:
        return _near(row.card_memory / _GIB[row.card_memory_unit], memory)
    shapes = (
        Decimal(1024),
        Decimal(1024) * count,
        Decimal(1),
        Decimal(count),
    )  # MiB or GB, of one card or of all
    return any(_near(row.card_memory / shape, memory) for shape in shapes)


def memory_in(row: OfferRow) -> float | None:
    """The memory of a card, or of a share, as the file says it, in the unit of the catalogue; None where unsure."""
    if not row.card_memory or not row.card_memory_unit:
        return None
    return round(float(row.card_memory / _GIB[row.card_memory_unit]), 2)


def _near(found: Decimal, known: Decimal) -> bool:
    return abs(found - known) <= known * _NEAR
