"""Pure decisions of the counter: what a line costs, what of a usage claim counts, how quotes rank."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from mosu.kernel.money import MICROS_MAX, minor_unit, rounded
from mosu.kernel.refusals import Invalid
from mosu.market.models import OrderState, Outcome, QuoteState

QUOTE_VALID: Final = timedelta(minutes=15)
WHOLE_BP: Final = 10_000

QUOTE_MOVES: Final = MappingProxyType({QuoteState.OPEN: frozenset({QuoteState.ACCEPTED, QuoteState.EXPIRED})})
ORDER_MOVES: Final = MappingProxyType(
    {
        # Placed -> settled: the work ended before anybody saw it start.
        OrderState.PLACED: frozenset({OrderState.ACTIVE, OrderState.SETTLED, OrderState.CANCELLED}),
        OrderState.ACTIVE: frozenset({OrderState.SETTLED}),
    }
)


@dataclass(frozen=True, slots=True)
class Price:
    """What `per` of the meter's unit cost: a price per core-hour is per 3,600 core-seconds."""

    meter: str
    unit: str
    per: int
    unit_price_micros: int
    tax_rate_bp: int
    tax_included: bool


@dataclass(frozen=True, slots=True)
class QuotedLine:
    """A line as it stands frozen in a quote."""

    id: str
    meter: str
    unit: str
    per: int
    unit_price_micros: int
    tax_rate_bp: int
    tax_included: bool
    units: int
    quantity_max: int
    amount_max_micros: int

    @property
    def price(self) -> Price:
        return Price(
            meter=self.meter,
            unit=self.unit,
            per=self.per,
            unit_price_micros=self.unit_price_micros,
            tax_rate_bp=self.tax_rate_bp,
            tax_included=self.tax_included,
        )


def lines_to_json(lines: Sequence[QuotedLine]) -> list[dict[str, Any]]:
    """`lines` for `Quote.lines`."""
    return [asdict(line) for line in lines]


def lines_of_json(frozen: Sequence[Mapping[str, Any]]) -> list[QuotedLine]:
    """The lines that `Quote.lines` holds."""
    return [QuotedLine(**line) for line in frozen]


def amount_of(quantity: int, price: Price, *, currency: str) -> int:
    """What `quantity` costs with tax, in micros: exact until it is rounded once, half-even, to the minor unit.

    Raises:
        Invalid: more than any account can hold.
    """
    gross = WHOLE_BP if price.tax_included else WHOLE_BP + price.tax_rate_bp
    exact = Decimal(quantity * price.unit_price_micros * gross) / (price.per * WHOLE_BP)
    if exact > MICROS_MAX:
        raise Invalid("This costs more than an account can hold.", hint="Ask for less.", field="quantity")
    return rounded(exact, currency=currency)


def most_of(quantity_max: int, price: Price, *, currency: str) -> int:
    """What a line may cost at most, in micros: what is not free holds at least one minor unit.

    Else what rounds to nothing could be ordered, and hold capacity, without any money.

    Raises:
        Invalid: more than any account can hold.
    """
    amount = amount_of(quantity_max, price, currency=currency)
    is_free = quantity_max == 0 or price.unit_price_micros == 0
    return amount if amount or is_free else minor_unit(currency)


def rounds_to_nothing(line: QuotedLine, *, currency: str) -> bool:
    """Whether the line has a price, and all that it sells comes to less than can be charged."""
    return line.amount_max_micros > 0 and amount_of(line.quantity_max, line.price, currency=currency) == 0


def tax_in(amount_micros: int, *, rate_bp: int, currency: str) -> int:
    """The tax inside an amount that includes it, rounded half-even to the minor unit."""
    return rounded(Decimal(amount_micros * rate_bp) / (WHOLE_BP + rate_bp), currency=currency)


def fee_of(amount_micros: int, *, rate_bp: int, currency: str) -> int:
    """The hub's share of what passed through its ledger, rounded half-even to the minor unit."""
    return rounded(Decimal(amount_micros * rate_bp) / WHOLE_BP, currency=currency)


@dataclass(frozen=True, slots=True)
class Charged:
    """What the use of one line costs, what of it is tax, and what of its worth was credited."""

    amount_micros: int
    tax_micros: int
    credited_micros: int


def charged(quantity: int, price: Price, *, outcome: Outcome, currency: str) -> Charged:
    """A line's charge: a function of the quantity that counts, the frozen price and the outcome."""
    worth = amount_of(quantity, price, currency=currency)
    amount = worth if is_charged(outcome) else 0
    tax = tax_in(amount, rate_bp=price.tax_rate_bp, currency=currency)
    return Charged(amount, tax, worth - amount)


def is_charged(outcome: Outcome) -> bool:
    """Whether use is paid for: not when the platform or the supplier failed (DESIGN, what always holds, 13)."""
    return outcome is not Outcome.PLATFORM_FAILURE


@dataclass(frozen=True, slots=True)
class Counted:
    """How much of a claim counts, and why the rest of it does not."""

    quantity: int
    reason: str = ""


def counted(
    quantity: int,
    *,
    claimed: int,
    used: int,
    units: int,
    quantity_max: int,
    quantity_allowed: int | None,
    timed: bool,
    start: datetime,
    end: datetime,
) -> Counted:
    """The part of a claim of `quantity` that counts on a line of which `used` counts already, of `claimed`.

    Each bound takes away what exceeds it: the record's own span (for meters of time), what the hub observed,
    what the order's hold covers. A negative claim takes back: no more counts than is claimed then.
    """
    if quantity < 0:
        kept = min(used, max(0, claimed + quantity))
        return Counted(
            kept - used, "" if kept - used == quantity else "not all that it takes back had counted"
        )
    bounds = [(max(0, quantity_max - used), "more than the order's wall limit allows")]
    if quantity_allowed is not None:
        bounds.append((max(0, quantity_allowed - used), "more than allocation x time that the hub observed"))
    if timed:
        seconds = -((start - end) // timedelta(seconds=1))  # rounded up
        bounds.append((max(0, units * seconds), "more than fits between its start and end"))
    bound, reason = min(bounds, key=lambda pair: pair[0])
    return Counted(quantity) if quantity <= bound else Counted(bound, reason)


@dataclass(frozen=True, slots=True)
class Room:
    """How a line of usage stands: what was claimed of it, what of that counts, and the most that can."""

    claimed: int
    used: int
    quantity_max: int


def spread(quantity: int, lines: Sequence[Room]) -> list[int]:
    """A claim over lines that follow each other: each takes up to its maximum, the last one what is left.

    A negative claim is taken back from the last first: none gives more than was claimed of it, but for the first.
    """
    parts = [0] * len(lines)
    if quantity >= 0:
        for number, line in enumerate(lines[:-1]):
            parts[number] = min(quantity, max(0, line.quantity_max - line.used))
            quantity -= parts[number]
        parts[-1] = quantity
    else:
        for number in range(len(lines) - 1, 0, -1):
            parts[number] = max(quantity, -lines[number].claimed)
            quantity -= parts[number]
        parts[0] = quantity
    return parts


def is_timed(meter: str) -> bool:
    """Whether the meter counts units x seconds."""
    return meter.endswith("_second")


def rank_of(
    *, pay_now_micros: int, refund_later_micros: int, starts_at: datetime, total_micros: int, id: UUID
) -> tuple[int, int, datetime, int, UUID]:
    """Sort key of quotes, best first: least pay now, least net of refunds, earliest start, total, id."""
    return (pay_now_micros, pay_now_micros - refund_later_micros, starts_at, total_micros, id)


def quantity_text(quantity: int, *, per: int) -> str:
    """A quantity in the priced unit, such as core-hours, to six places."""
    text = f"{Decimal(quantity) / per:.6f}"
    return text.rstrip("0").rstrip(".")
