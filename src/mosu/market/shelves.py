"""What a shelf must be able to do to sell at the counter. A context above defines one and registers it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from uuid import UUID

from mosu.kernel.refusals import NotFound
from mosu.platform.actors import Actor

if TYPE_CHECKING:
    from mosu.market.models import Quote


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One metered part of a plan: `units` of something at once (cores, cards), `quantity_max` over all time.

    Quantities are whole numbers in the meter's unit: for `core_second`, cores x seconds.
    """

    meter: str
    units: int
    quantity_max: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One way in which a shelf can serve a request, before it has a price.

    `request` is frozen into the quote and handed back in `Shelf.reserve`. `facts` are frozen beside it, for
    people and for the receipt; `grace_s` in it (optional, whole seconds) lengthens `Quote.holds_until`.
    """

    offer_id: UUID
    lines: tuple[PlanLine, ...]
    starts_at: datetime
    wall_limit_s: int
    request: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stock:
    """How many units of an offer's goods there are, in the shelf's own unit (cores, cards)."""

    free: int
    reserved: int
    taken: int
    total: int


@dataclass(frozen=True, slots=True)
class NamedGoods:
    """A kind of goods that a name in somebody's catalogue can stand for (a card type)."""

    id: str
    memory_gb: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What of the goods was ordered in the last 90 days, and what of that was delivered, in seconds."""

    ordered_s: int
    delivered_s: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is at a place, and why nothing of it can be accepted now (English); None if it can.

    `stock` is None where the goods cannot be counted.
    """

    stock: Stock | None
    why_not_live: str | None
    delivery: Delivery | None = None
    """None where the shelf does not count it."""


Place: TypeAlias = tuple[UUID, str]
"""`Offer.subject_id` with `Goods.key`: one stock, which several offers may sell."""


@dataclass(frozen=True, slots=True)
class Facet:
    """Something that a shelf's goods are chosen by. With `is_number`, ranges of it may be asked for too."""

    code: str
    title_zh: str
    title_en: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a facet, as an address names it and as people read it; `number` orders those of numbers."""

    value: str
    zh: str
    en: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Goods:
    """What an offer sells, as its shelf reads the offer's attributes. What is not known is not there."""

    key: str
    """Tells apart the stocks of one subject (for compute: the accelerator; empty for cores)."""
    meter: str
    """Whose price offers are compared by."""
    facets: Mapping[str, FacetValue] = field(default_factory=dict)
    words: Sequence[str] = ()
    """Names in every language by which people search."""
    worth: float | None = None
    """How much one unit of the meter gives of what is really wanted (for compute: PFLOPS of a card)."""
    told: Mapping[str, str] | None = None
    """What must stand beside the offer's title wherever it is sold, quoted and billed, by language (`zh`, `en`)."""


@dataclass(frozen=True, slots=True)
class UsageIn:
    """One record of use, as the shelf took it from the supplier.

    `quantity_allowed` is the most that the whole line may have used by now, by what the hub itself observed
    (allocation x time); None leaves the line's own `quantity_max` as the only bound.
    """

    order_id: UUID
    meter: str
    sequence: int
    quantity: int
    start: datetime
    end: datetime
    quantity_allowed: int | None = None
    further: tuple[UUID, ...] = ()
    """Orders of more of the same, one after the other: what the lines before cannot take is theirs."""


@dataclass(frozen=True, slots=True)
class UsageResult:
    """How many records were taken whole, were known already, and were more than their bound."""

    accepted: int
    repeated: int
    quarantined: int


class Shelf(Protocol):
    """One kind of goods. Every method is called inside the market's open transaction."""

    @property
    def code(self) -> str:
        """The shelf's name in `Offer.shelf`, such as `compute`."""
        ...

    def reserve(self, *, order_id: UUID, quote: "Quote", now: datetime) -> None:
        """Take the capacity of `quote.request` for the order, locking nodes by id; touch no ledger account.

        The order's row is written in the same transaction, but later. Raises a refusal such as `SoldOut`; then
        nothing of the order remains.
        """
        ...

    def fulfil(self, *, order_id: UUID, now: datetime) -> None:
        """Queue the work: the last step of acceptance, with the money already held."""
        ...

    def cancel(self, *, order_id: UUID, actor: Actor, now: datetime, why: str) -> bool:
        """True: nothing had started, the capacity is free again. False: told to stop, settlement follows.

        `why` is for people (English, in the catalogue of sentences); empty where it needs no saying.
        """
        ...

    @property
    def facets(self) -> Sequence[Facet]:
        """By what else than the counter's own facets (supplier, region, mode, price, stock) people choose."""
        ...

    def goods_of(self, attributes: Mapping[str, Any]) -> Goods:
        """What `Offer.attributes` say, in words that the catalogue can search; pure, asked once for equal ones."""
        ...

    def standings(self, places: Collection[Place], *, now: datetime) -> Mapping[Place, Standing]:
        """How each place stands now, in one batch; a place that is unknown cannot be sold from."""
        ...

    def owns(self, *, supplier_id: UUID, subject_id: UUID) -> bool:
        """Whether the goods behind `Offer.subject_id` are this supplier's to sell."""
        ...

    def goods_named(self, name: str) -> Sequence[NamedGoods]:
        """Every kind of goods that `name` can stand for in a catalogue; empty if none. Asks no table."""
        ...

    def subject_of(self, public_id: str) -> UUID:
        """The key behind the public id of goods (`pool_...`). Raises NotFound if it is no such id."""
        ...

    def work_of(self, order_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """The public id (`run_...`) of what each order set going, in one batch."""
        ...


_shelves: Final[dict[str, Shelf]] = {}


def register_shelf(shelf: Shelf) -> None:
    """Let `shelf` sell. For `AppConfig.ready`; registering a code again replaces the shelf."""
    _shelves[shelf.code] = shelf


def shelf_of(code: str) -> Shelf:
    """The shelf registered under `code`.

    Raises:
        NotFound: no such shelf.
    """
    try:
        return _shelves[code]
    except KeyError:
        known = ", ".join(sorted(_shelves)) or "none"
        raise NotFound(f"There is no shelf {code[:40]!r}.", hint=f"Shelves: {known}.") from None


def shelf_codes() -> Sequence[str]:
    """All shelves that may sell."""
    return sorted(_shelves)


def has_shelf(code: str) -> bool:
    """Whether a shelf of this code is registered."""
    return code in _shelves
