"""Shares of cards: a card that is cut into equal parts is sold by the part, each a card of a kind of its own.

| kind | what |
|---|---|
| `nvidia-a100-80gb` | the whole card |
| `nvidia-a100-80gb/4` | a quarter of it, whose memory nobody else reaches (MIG, vNPU) |
| `nvidia-a100-80gb/4-shared` | a quarter of it, with nothing between it and the others (shards, time slices) |

The kind stands wherever an accelerator's id does, so what compares ids never takes one for the other. A share's index
names its card and which part of that it is: the share 2 of the card 3 has 2 x 1024 + 3.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

CARDS_MAX: Final = 1024
"""Cards of one node."""
SHARES_MAX: Final = 64
"""Of one card."""
INDEX_MAX: Final = CARDS_MAX * SHARES_MAX - 1
_SHARE: Final = re.compile(r"([^/]+)/([1-9][0-9]?)(-shared)?")
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Kind:
    """What a card is when it is sold: whole, or one of so many equal shares."""

    accelerator: str
    """Its id in the accelerator data file."""
    shares: int = 1
    shared: bool = False
    """Nothing keeps what one share holds in memory from the others of its card."""

    def __str__(self) -> str:
        if self.shares == 1:
            return self.accelerator
        return f"{self.accelerator}/{self.shares}{'-shared' if self.shared else ''}"

    @property
    def asked(self) -> str:
        """As a task asks for it: `1`, or a fraction such as `0.25`."""
        return f"{round(1 / Decimal(self.shares), _DIGITS).normalize():f}"


def kind_of(text: str) -> Kind:
    """What the text means; what is no share is a whole card of that name."""
    match = _SHARE.fullmatch(text)
    if match is None or not 2 <= int(match[2]) <= SHARES_MAX:
        return Kind(text)
    return Kind(match[1], int(match[2]), match[3] is not None)


def shares_in(asked: Decimal) -> int | None:
    """In how many shares a card is cut of which one is what was asked; None: no equal share is so large.

    What has no end is asked with two digits or more: 0.33 is a third, and 0.3 is none.
    """
    shares = round(1 / asked)
    if not 2 <= shares <= SHARES_MAX:
        return None
    digits = -int(asked.as_tuple().exponent)
    is_near = digits >= 2 and round(1 / Decimal(shares), digits) == asked
    return shares if asked * shares == 1 or is_near else None


def card_at(index: int) -> int:
    """The number of the card that the index means, or of which it means a share."""
    return index % CARDS_MAX


def share_at(index: int) -> int:
    """Which share of its card it is, from 0; 0 of a whole card."""
    return index // CARDS_MAX


def listed_twice(cards: Iterable[tuple[int, str]]) -> int | None:
    """The first card, of these (index, kind), that is there twice or cut in more than one way; None: all is well."""
    cut_as: dict[int, str] = {}
    seen: set[int] = set()
    for index, kind in cards:
        if index in seen or cut_as.setdefault(card_at(index), kind) != kind:
            return card_at(index)
        seen.add(index)
    return None
