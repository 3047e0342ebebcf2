"""One offer as a file says it, before anything of the hub is asked."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

KEY_CHARACTERS_MAX: Final = 200
OFFERS_MAX: Final = 500_000
UNITS_MAX: Final = 1_000_000
WALL_S_DEFAULT: Final = 30 * 86_400
MODES: Final = ("on_demand", "spot", "reserved")
UNITS: Final = ("card_hour", "core_hour")


@dataclass(slots=True)
class OfferRow:
    """One offer of a file. Prices are of one unit (a card-hour, a core-hour), as the file lists them in `currency`.

    `listed` is the number that the file has, for as many units as it sells at once; None: it names no price.
    `other_micros` is the same goods' price in the other mode (spot or on demand), where the file has both.
    """

    line: int
    key: str
    unit: str
    price_micros: int
    listed: Decimal | None
    currency: str = ""
    title_zh: str = ""
    title_en: str = ""
    accelerator: str = ""
    region: str = ""
    mode: str = "on_demand"
    min_units: int = 1
    max_units: int = 1
    wall_s_max: int = WALL_S_DEFAULT
    other_micros: int | None = None
    card_memory: Decimal | None = None
    card_memory_unit: str = ""
    """Empty: the layout's files disagree on it."""
    cores: int | None = None
    memory_gib: Decimal | None = None
    card_alone: bool = False
    """A price of cards to which the price of a machine comes on top."""
    pool: str = ""
    kind: str = ""
    domestic: bool | None = None
    tax_rate_bp: int = 600
    tax_included: bool = True
    sold_by: str = "hub"
    buyer: str = ""
