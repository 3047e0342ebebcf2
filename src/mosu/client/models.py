"""What the hub answers, typed. Keys that this version does not know are kept, so that a newer hub works too.

Money is `Decimal`, from decimal strings; instants are aware datetimes.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")


class Answer(BaseModel):
    """Frozen; open to keys of a newer hub. A null where a value was expected counts as left out.

    A command reads a few kinds of answers: each is built when it is first read.
    """

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or not cls._has_default(key)}

    @classmethod
    def _has_default(cls, key: str) -> bool:
        return key in cls.model_fields and not cls.model_fields[key].is_required()


class Text(Answer):
    """The same words in both languages."""

    zh: str = ""
    en: str = ""

    def in_language(self, lang: str) -> str:
        return (self.zh or self.en) if lang == "zh" else (self.en or self.zh)


class Page(Answer, Generic[T]):
    items: tuple[T, ...]
    next: str | None = None


class Party(Answer):
    id: str = ""
    name: str = ""


class Person(Answer):
    id: str
    email: str
    name: str = ""


class Organisation(Answer):
    id: str
    name: str
    kind: str = ""
    capabilities: tuple[str, ...] = ()
    role: str = ""


class Me(Answer):
    user: Person | None = None
    organisation: Organisation | None = None
    organisations: tuple[Organisation, ...] = ()
    hub_roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    currency: str = "CNY"
    zone: str = "Asia/Shanghai"


class NewToken(Answer):
    """`token` is shown this once."""

    token: str
    id: str
    name: str = ""
    expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()


class Price(Answer):
    meter: str
    unit_price: Decimal
    unit: str = ""


class Stock(Answer):
    free: int = 0
    reserved: int = 0
    taken: int = 0
    total: int = 0


class Offer(Answer):
    id: str
    shelf: str = ""
    title: Text = Text()
    supplier: Party | None = None
    accelerator: str | None = None
    region: str | None = None
    mode: str | None = None
    prices: tuple[Price, ...] = ()
    stock: Stock | None = None
    live: bool = True
    why_not_live: str | None = None


class Wrong(Answer):
    """What is wrong at one place of a file, or with one offer."""

    line: int = 0
    field: str = ""
    found: str = ""
    allowed: str = ""
    message: str = ""


class ImportRefusal(Answer):
    """Why an import's step was refused; of `count` places the first ones."""

    code: str = ""
    message: str = ""
    hint: str = ""
    count: int = 0
    problems: tuple[Wrong, ...] = ()


class Imported(Answer):
    """A file of offers brought in; `counts` by kind of change. While the hub works on it, `percent` says how far."""

    id: str
    state: str = ""
    file: str = ""
    source: str = ""
    counts: dict[str, int] = {}
    percent: int = 0
    rows_read: int = 0
    held: int = 0
    refusal: ImportRefusal | None = None

    @property
    def under_way(self) -> bool:
        """Whether the hub works on it."""
        return self.state in ("reading", "applying", "undoing")


class ListPrice(Answer):
    unit_price: Decimal
    currency: str = ""


class Doubt(Answer):
    """Why a row waits in quarantine."""

    code: str = ""
    title: Text = Text()
    reason: str = ""
    released: bool = False


class Difference(Answer):
    """What one row of a file changes on the shelf."""

    change: str = ""
    line: int | None = None
    key: str = ""
    offer_id: str = ""
    title: Text = Text()
    region: str = ""
    old: ListPrice | None = None
    new: ListPrice | None = None
    terms: tuple[str, ...] = ()
    doubt: Doubt | None = None


class Programme(Answer):
    id: str = ""
    version: int | str = ""
    title: Text = Text()


class Share(Answer):
    """A part of a bill: who pays how much of it. `source`: balance, voucher or refund."""

    source: str
    amount: Decimal
    label: Text = Text()
    voucher_id: str | None = None
    programme: Programme | None = None
    rate: Decimal | None = None
    limit: Decimal | None = None


class Line(Answer):
    id: str = ""
    meter: str = ""
    units: int = 0
    unit: str = ""
    unit_price: Decimal | None = None
    quantity_max: Decimal | None = None
    amount_max: Decimal | None = None


class CancellationRule(Answer):
    before_start_hours: int
    back_percent: int


class BlockTerms(Answer):
    """On what terms a block is sold, and what of it comes back when it is cancelled."""

    shortest_hours: int = 1
    ahead_days: int = 0
    cancellation: tuple[CancellationRule, ...] = ()
    back_percent_after_start: int = 0


class Copying(Answer):
    """What is copied to where a run is, and back; None: nobody knows yet."""

    in_bytes: int = 0
    in_s: int | None = None
    in_bytes_per_s: int | None = None
    out_bytes: int | None = None
    out_s: int | None = None
    out_bytes_per_s: int | None = None


class Quote(Answer):
    id: str
    state: str
    offer: Offer
    total_max: Decimal
    currency: str
    valid_until: datetime | None = None
    starts_at: datetime | None = None
    wall_limit_s: int | None = None
    lines: tuple[Line, ...] = ()
    split: tuple[Share, ...] = ()
    pay_now: Decimal = Decimal(0)
    voucher_now: Decimal = Decimal(0)
    refund_later: Decimal = Decimal(0)
    holds_until: datetime | None = None
    block: BlockTerms | None = None
    copying: Copying | None = None


class Reason(Answer):
    code: str = ""
    message: str = ""
    hint: str = ""


class RefusedOffer(Answer):
    offer_id: str = ""
    title: Text = Text()
    reasons: tuple[Reason, ...] = ()


class RefusedGroup(Answer):
    codes: tuple[str, ...] = ()
    count: int = 0


class Quotes(Answer):
    """Plans that fit, best first, and why other offers do not: examples in words, all of them by reason."""

    quotes: tuple[Quote, ...] = ()
    refused: tuple[RefusedOffer, ...] = ()
    refused_groups: tuple[RefusedGroup, ...] = ()
    not_priced: int = 0


class Order(Answer):
    id: str
    state: str
    number: str = ""
    placed_at: datetime | None = None
    quote_id: str = ""
    offer: Offer | None = None
    run_id: str | None = None
    currency: str = "CNY"
    total: Decimal | None = None
    total_max: Decimal | None = None
    lines: tuple[Line, ...] = ()
    split: tuple[Share, ...] = ()
    receipt_id: str | None = None


class IfCancelled(Answer):
    """What cancelling a block now comes to."""

    charged: Decimal
    back: Decimal
    back_percent: int = 0


class Block(Answer):
    """Nodes that were bought from one time to another; `cards` and `cores` are of each."""

    id: str
    state: str
    order_id: str
    start: datetime
    end: datetime
    nodes: tuple[str, ...] = ()
    accelerator: str | None = None
    cards: int = 0
    cores: int = 0
    total_max: Decimal = Decimal(0)
    currency: str = "CNY"
    if_cancelled: IfCancelled | None = None
    """None for one that is over."""


class Output(Answer):
    path: str
    sha256: str
    size_bytes: int


class InLine(Answer):
    """Where a run that waits stands in its pool."""

    place: int
    waiting: int
    expected_start: datetime
    promised_start: datetime
    estimates: int = 0
    estimate_error_s: int | None = None


class Run(Answer):
    id: str
    state: str
    name: str = ""
    order_id: str | None = None
    offer: Offer | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str | None = ""
    cores: int | None = None
    wall_limit_s: int | None = None
    """With what was bought while it ran."""
    extension_order_ids: tuple[str, ...] = ()
    """The orders of that."""
    outputs: tuple[Output, ...] = ()
    cost_so_far: Decimal | None = None
    currency: str = "CNY"
    why_waiting: str | None = None
    queue: InLine | None = None
    kind: str = "batch"
    port: int | None = None
    connect_url: str | None = None
    """Where its ports are reached; None where they cannot be now."""
    ends_at: datetime | None = None
    """When its wall limit ends it; None where it does not run."""
    stop_asked_at: datetime | None = None
    """When it was told to stop; None where it was not, or has ended."""
    idle_since: datetime | None = None
    """Since when it does nothing; None while it does."""
    idle_stop_s: int | None = None
    """After how long without use it is stopped, by a time of its own."""
    idle_stops_at: datetime | None = None
    """When it is stopped if that goes on."""

    @property
    def is_over(self) -> bool:
        return self.state in {"succeeded", "failed", "cancelled", "timed_out"}


class App(Answer):
    """What the hub started in a session: `path` at `port` lets a browser in, and is a secret."""

    app: str
    port: int
    path: str = Field(default="", repr=False)


class Apps(Answer):
    items: tuple[App, ...] = ()


class Connection(Answer):
    """Somebody at a port of a run."""

    id: str
    port: int
    user: str = ""
    """Their e-mail address."""
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    bytes_in: int = 0
    """To the run."""
    bytes_out: int = 0
    """From the run."""
    why: str = ""
    """Why it was closed; empty while it is open."""


class Guest(Answer):
    """Somebody with whom a session is shared."""

    id: str
    user: str
    """Their e-mail address."""
    let_in_at: datetime | None = None


class Guests(Answer):
    items: tuple[Guest, ...] = ()


class ReplicaCounts(Answer):
    """By how many runs an endpoint answers."""

    min: int
    max: int
    requests: int
    """In flight at each of them."""
    idle_s: int


class Endpoint(Answer):
    """An address at which a service answers; the figures are of the last hour."""

    id: str
    name: str
    state: str
    url: str
    auth: str
    port: int
    version: int = 1
    owner: str = ""
    replicas: ReplicaCounts
    well: int = 0
    wanted: int = 0
    reason: str = ""
    """Why it has fewer replicas than it should; empty: it has them, or they are on their way."""
    requests: int = 0
    refused: int = 0
    failed: int = 0
    p95_ms: int | None = None


class Replica(Answer):
    """A run that answers at an endpoint, or did."""

    id: str
    run_id: str
    run_state: str
    version: int
    well_at: datetime | None = None
    drained_at: datetime | None = None
    over: bool = False
    in_flight: int = 0


class EndpointKey(Answer):
    """With which programs ask at an endpoint; its secret is not known any more."""

    id: str
    name: str
    made_by: str = ""
    made_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None


class NewEndpointKey(Answer):
    """A key just made: its secret is shown here alone."""

    id: str
    name: str
    secret: str


class EndpointRequest(Answer):
    """One request at an endpoint; status 0: it was broken off before an answer began."""

    at: datetime
    method: str
    path: str
    status: int
    waited_ms: int = 0
    took_ms: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    key: str | None = None
    user: str | None = None
    run_id: str | None = None


class Ticket(Answer):
    """What lets a browser in to a port of a run: whoever opens `url` first, until then."""

    url: str
    expires_at: datetime


class SshCertificate(Answer):
    """What lets a key into a session by ssh."""

    certificate: str
    """The line of a `-cert.pub` file."""
    host_key: str
    """The one key that the session's server may show."""
    valid_until: datetime


class ReceiptLine(Answer):
    text: Text
    amount: Decimal
    quantity: Decimal | None = None
    unit: str = ""
    unit_price: Decimal | None = None
    meter: str = ""
    metered: int | None = None
    """What was used in the meter's own unit, such as core-seconds: a whole number, never rounded."""

    @property
    def rounds_to_nothing(self) -> bool:
        """Whether its price is below half of the currency's smallest unit, and so 0.00 by the rounding rule."""
        if self.quantity is None or self.unit_price is None or self.metered is None:
            return False
        smallest = Decimal((0, (1,), self.amount.as_tuple().exponent))  # type: ignore[arg-type]
        return self.amount == 0 and self.unit_price > 0 and self.quantity * self.unit_price <= smallest / 2


class Tax(Answer):
    rate: Decimal | None = None
    amount: Decimal | None = None


class Claimed(Answer):
    """Of a service, as measured where it ran: how long it was well, and how often it was started again."""

    uptime_s: int
    restarts: int = 0


class Receipt(Answer):
    id: str
    number: str
    currency: str
    total: Decimal
    paid: Decimal
    voucher_share: Decimal = Decimal(0)
    order_id: str = ""
    run_id: str | None = None
    issued_at: datetime | None = None
    lines: tuple[ReceiptLine, ...] = ()
    split: tuple[Share, ...] = ()
    released: Decimal | None = None
    credited: Decimal = Decimal(0)
    outcome: str = ""
    why: str = ""
    tax: Tax | None = None
    seller: Party | str | None = None
    buyer: Party | str | None = None
    claimed: Claimed | None = None
    sha256: str = ""
    verify_url: str = ""


class BillMonth(Answer):
    month: str
    number: str | None = None
    """Of the frozen bill; None while the month is open."""
    receipts: int = 0
    total: Decimal
    voucher_share: Decimal = Decimal(0)
    paid: Decimal = Decimal(0)
    credits: Decimal = Decimal(0)
    currency: str = ""


class Bills(Answer):
    items: tuple[BillMonth, ...] = ()


class Budget(Answer):
    """A month's cap of an organisation, a project or a person, and how this month stands."""

    id: str
    organisation_id: str = ""
    project_id: str = ""
    user_id: str = ""
    cap: Decimal
    currency: str = "CNY"
    month: str = ""
    spent: Decimal
    committed: Decimal
    left: Decimal
    spent_percent: int = 0


class BillPart(Answer):
    """What one programme paid, or what was bought of one supplier."""

    title: Text = Text()
    name: str = ""
    amount: Decimal


class Bill(BillMonth):
    """A month's receipts, summed: total = voucher_share + paid."""

    billed_by_suppliers: Decimal = Decimal(0)
    refund_later: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    programmes: tuple[BillPart, ...] = ()
    suppliers: tuple[BillPart, ...] = ()


class Statement(Answer):
    """A supplier's closed month: net = gross - fee - credits, gross = voucher_share + buyer_share."""

    id: str
    number: str
    supplier: str = ""
    month: str
    currency: str
    orders: int
    gross: Decimal
    voucher_share: Decimal
    buyer_share: Decimal
    fee: Decimal
    tax: Decimal = Decimal(0)
    credits: Decimal = Decimal(0)
    net: Decimal
    to_invoice: Decimal = Decimal(0)
    programmes: tuple[BillPart, ...] = ()
    credit_notes: tuple[str, ...] = ()
    sha256: str = ""
    issued_at: datetime | None = None


class Payout(Answer):
    """The hub's payment for a statement: `proposed`, then `confirmed` or `rejected` by a second person."""

    id: str
    statement_id: str
    amount: Decimal
    currency: str
    bank_reference: str = ""
    state: str
    proposed_at: datetime | None = None
    decided_at: datetime | None = None


class Balance(Answer):
    currency: str
    balance: Decimal
    held: Decimal
    available: Decimal


class Voucher(Answer):
    id: str
    state: str
    amount: Decimal
    remaining: Decimal
    programme: Programme | None = None
    kind: str = ""
    held: Decimal = Decimal(0)
    rate: Decimal | None = None
    cap_per_order: Decimal | None = None
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    shelves: tuple[str, ...] = ()
