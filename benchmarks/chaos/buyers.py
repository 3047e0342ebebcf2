"""Buyers: threads that place orders through the public API and repeat each, under its key, until answered."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from benchmarks.hubs import Buyer
from mosu.client import Client
from mosu.client.errors import ClientError, ProblemError, Unreachable
from mosu.client.models import Order

T = TypeVar("T")
Kind = Literal["voucher", "own money", "fails", "cancelled", "too long"]

WAIT_S_MAX: Final = 180.0
"""How long a buyer waits for one run before turning to the next order; the count at the end sees it all the same."""
LATE_MAX: Final = 2.0
"""On a slow machine the kills go on for so many times the seconds, while there are orders to place."""
PEACE_S: Final = 600.0
"""So long after that the orders still to be placed may begin; what is not begun then is dropped, which breaks a law."""
_KINDS: Final[dict[Kind, int]] = {"voucher": 60, "own money": 12, "fails": 12, "cancelled": 12, "too long": 4}
_SCRIPTS: Final[dict[Kind, str]] = {"fails": "sleep {s}; echo no; exit 7", "too long": "sleep 60"}


@dataclass(frozen=True, slots=True)
class Ticket:
    """One order that is to be placed."""

    number: int
    kind: Kind
    work_s: float

    @property
    def task(self) -> str:
        script = _SCRIPTS.get(self.kind, "echo begin; sleep {s}; echo end > out.txt").format(s=self.work_s)
        return (
            f"name: chaos-{self.number}\nresources: {{cpus: 1, memory: 1}}\nrun: {script!r}\n"
            "mosu: {wall_limit: 4s, outputs: [out.txt]}\n"
        )


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An order that the hub said it has."""

    key: str
    order_id: str
    run_id: str
    kind: Kind


def tickets(count: int, *, seed: int) -> list[Ticket]:
    choice = random.Random(seed)  # noqa: S311
    kinds, weights = list(_KINDS), list(_KINDS.values())
    return [
        Ticket(number, choice.choices(kinds, weights)[0], round(choice.uniform(0.2, 2.0), 2))
        for number in range(count)
    ]


class Market:
    """The tickets still to be bought, and what came of the others."""

    def __init__(self, todo: Sequence[Ticket], *, url: str, seed: int, seconds: float) -> None:
        self.url, self._seed = url, seed
        self._began, self._pace_s = time.monotonic(), seconds / len(todo)
        self._until = self._began + LATE_MAX * seconds + PEACE_S
        self._todo, self._guard = list(reversed(todo)), threading.Lock()
        self.acknowledged: list[Acknowledged] = []
        self.repeated = 0
        self.refusals: Counter[str] = Counter()
        self.faults: list[str] = []
        """Answers that no fault excuses."""

    def next_ticket(self) -> Ticket | None:
        """The next order when its time has come: they are spread over the seconds. None: no more."""
        with self._guard:
            ticket = self._todo.pop() if self._todo and time.monotonic() < self._until else None
        if ticket is not None:
            time.sleep(max(0.0, self._began + ticket.number * self._pace_s - time.monotonic()))
        return ticket

    @property
    def dropped(self) -> int:
        """Tickets that nobody began to buy."""
        return len(self._todo)

    def note(self, order: Order, ticket: Ticket, key: str) -> None:
        with self._guard:
            self.acknowledged.append(Acknowledged(key, order.id, order.run_id or "", ticket.kind))

    def until_answered(self, call: Callable[[], T]) -> T:
        """Repeat until the hub answers or refuses; a hub that is away, or an answer of 5xx, is none."""
        while True:
            try:
                return call()
            except (Unreachable, ProblemError) as error:
                if isinstance(error, ProblemError) and error.status < 500:
                    raise
                with self._guard:
                    self.repeated += 1
            time.sleep(0.3)

    def key_of(self, ticket: Ticket, time_: int) -> str:
        return f"chaos-{self._seed}-{ticket.number}-{time_}"

    def refused(self, error: ProblemError, *, where: str) -> None:
        with self._guard:
            self.refusals[f"{where}: {error.code}"] += 1


class Shopper(threading.Thread):
    """Buys one ticket after the other with one organisation's token."""

    def __init__(self, market: Market, buyer: Buyer, *, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._market, self._buyer = market, buyer

    def run(self) -> None:
        while (ticket := self._market.next_ticket()) is not None:
            with Client(self._market.url, self._buyer.token) as client:
                try:
                    order = self._buy(client, ticket)
                    self._follow(client, ticket, order)
                except ClientError as error:
                    self._market.faults.append(f"ticket {ticket.number} ({ticket.kind}): {error}")

    def _buy(self, client: Client, ticket: Ticket) -> Order:
        """Quotes again after a refusal, under a new key; the same key again after silence."""
        vouchers: Literal["auto", "none"] = "none" if ticket.kind == "own money" else "auto"
        market, tries = self._market, 0
        while True:
            found = market.until_answered(lambda: client.make_quotes(ticket.task, vouchers=vouchers))
            if found.quotes:
                quote_id, key = found.quotes[0].id, market.key_of(ticket, tries)
                tries += 1
                try:
                    order = market.until_answered(lambda: client.accept(quote_id, idempotency_key=key))  # noqa: B023
                except ProblemError as refused:
                    market.refused(refused, where="accept")
                else:
                    market.note(order, ticket, key)
                    return order
            time.sleep(0.3)

    def _follow(self, client: Client, ticket: Ticket, order: Order) -> None:
        market = self._market
        if ticket.kind == "cancelled":
            time.sleep(ticket.work_s / 2)
            try:
                market.until_answered(lambda: client.cancel_order(order.id))
            except ProblemError as refused:  # it may have ended before
                market.refused(refused, where="cancel")
        until = time.monotonic() + WAIT_S_MAX
        while (
            time.monotonic() < until and not market.until_answered(lambda: client.order(order.id)).receipt_id
        ):
            if market.until_answered(lambda: client.order(order.id)).state == "cancelled":
                return
            time.sleep(0.4)
