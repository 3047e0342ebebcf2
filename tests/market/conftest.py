"""A buyer with money, a supplier with goods, and a shelf whose stock is a number."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from tests.conftest import NOW

from mosu.kernel.ids import typeid, uuid7, uuid_of
from mosu.kernel.refusals import DomainError
from mosu.ledger import services as ledger
from mosu.ledger.models import Account
from mosu.market import services, shelves
from mosu.market.models import Offer, Quote, SoldBy
from mosu.market.shelves import (
    Facet,
    FacetValue,
    Goods,
    NamedGoods,
    Place,
    Plan,
    PlanLine,
    Standing,
    Stock,
    register_shelf,
)
from mosu.platform.actors import ALL_SCOPES, SYSTEM, Actor, ActorKind, HubRole, Role
from mosu.platform.models import Organisation, Project
from mosu.platform.services import record_audit

YUAN = 1_000_000
GOODS = {
    "h100": (NamedGoods("nvidia-h100-sxm", 80.0),),
    "h200": (NamedGoods("nvidia-h200", 141.0),),
    "l40s": (NamedGoods("nvidia-l40s", 48.0),),
    "b200": (NamedGoods("nvidia-b200", 180.0),),
    "a100": (NamedGoods("nvidia-a100-80g", 80.0),),
    "昇腾910b": (NamedGoods("ascend-910b3", 64.0), NamedGoods("ascend-910b4", 32.0)),
}


class SoldOut(DomainError):
    code = "sold_out"


@dataclass
class DeskShelf:
    """Sells core-seconds of nothing. `started` says what `cancel` answers; `stock_left` may be None: no limit."""

    code: str = "desk"
    stock_left: int | None = None
    started: bool = False
    reserved: list[UUID] = field(default_factory=list)
    fulfilled: list[UUID] = field(default_factory=list)
    cancelled: list[UUID] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    free: dict[UUID, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def reserve(self, *, order_id: UUID, quote: Quote, now: datetime) -> None:
        with self.lock:
            if self.stock_left is not None:
                if self.stock_left == 0:
                    raise SoldOut("All gone.", hint="Come back tomorrow.")
                self.stock_left -= 1
            self.reserved.append(order_id)

    def fulfil(self, *, order_id: UUID, now: datetime) -> None:
        self.fulfilled.append(order_id)

    def cancel(self, *, order_id: UUID, actor: Actor, now: datetime, why: str) -> bool:
        self.cancelled.append(order_id)
        return not self.started

    facets = (Facet("floor", "楼层", "Floor", is_number=True), Facet("view", "景观", "View"))

    def goods_of(self, attributes: Mapping[str, Any]) -> Goods:
        """`dead` desks have a stock of their own, of which nothing can be accepted."""
        floor, view = attributes.get("floor"), attributes.get("view")
        facets = {
            "floor": FacetValue(str(floor), f"{floor} 楼", f"Floor {floor}", floor) if floor else None,
            "view": FacetValue(view, view, view) if view else None,
        }
        return Goods(
            key="dead" if attributes.get("dead") else "",
            meter="core_second",
            facets={name: value for name, value in facets.items() if value},
            words=[view or ""],
            worth=attributes.get("worth"),
        )

    def standings(self, places: Collection[Place], *, now: datetime) -> Mapping[Place, Standing]:
        self.calls.append("standings")
        return {
            place: Standing(
                Stock(free=self.free.get(place[0], 3), reserved=1, taken=0, total=4),
                "No agent." if place[1] == "dead" else None,
            )
            for place in places
        }

    def owns(self, *, supplier_id: UUID, subject_id: UUID) -> bool:
        return subject_id != UUID(int=13)

    def goods_named(self, name: str) -> Sequence[NamedGoods]:
        return GOODS.get(name.lower(), ())

    def subject_of(self, public_id: str) -> UUID:
        return uuid_of("pool", public_id)

    def work_of(self, order_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        self.calls.append("work_of")
        return {order_id: typeid("run", order_id) for order_id in order_ids}


@pytest.fixture
def shelf() -> Iterator[DeskShelf]:
    desk = DeskShelf()
    register_shelf(desk)
    yield desk
    shelves._shelves.pop(desk.code)


def make_organisation(name: str, *, capabilities: Sequence[str] = ()) -> Organisation:
    organisation = Organisation(
        name=f"{name} {uuid7().hex}", kind="company", capabilities=list(capabilities), created_at=NOW
    )
    with transaction.atomic():
        record_audit(
            actor=SYSTEM,
            action="test",
            subject_id=organisation.id,
            before=None,
            after=organisation.state,
            now=NOW,
        )
        organisation.save(force_insert=True)
    return organisation


def person(*roles: tuple[Organisation, Role], hub_roles: Sequence[HubRole] = ()) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        id=uuid7(),
        label="someone@example.org",
        roles={organisation.id: role for organisation, role in roles},
        hub_roles=frozenset(hub_roles),
        scopes=ALL_SCOPES,
        organisation_id=roles[0][0].id if roles else None,
    )


def balance_account(organisation_id: UUID) -> UUID:
    return ledger.open_account(kind="balance", owner_id=organisation_id, currency="CNY", floor_micros=0)


def deposit(organisation_id: UUID, amount_micros: int) -> None:
    bank = ledger.open_account(kind="bank", owner_id=UUID(int=0), currency="CNY", floor_micros=None)
    ledger.post_entry(
        key=f"deposit:{uuid7()}",
        kind="test",
        moves=[ledger.Move(bank, balance_account(organisation_id), amount_micros)],
        subject_id=organisation_id,
        now=NOW,
    )


def figures(kind: str, owner_id: UUID) -> tuple[int, int]:
    """Balance and held of an account; nothing where it was never opened."""
    found = Account.objects.filter(kind=kind, owner_id=owner_id).values_list("balance_micros", "held_micros")
    return found.first() or (0, 0)


def ledger_sum() -> int:
    """Zero when every entry balances."""
    with connection.cursor() as cursor:
        cursor.execute("select coalesce(sum(balance_micros), 0) from ledger_account")
        return int(cursor.fetchone()[0])


def rows_now() -> dict[str, list[tuple[Any, ...]]]:
    """All that an intention of the counter may change, to compare before and after a refusal."""
    tables = [
        "market_quote",
        "market_order",
        "market_orderline",
        "market_usagerecord",
        "market_charge",
        "market_receipt",
        "market_offer",
        "market_offerprice",
        "market_offerimport",
        "market_offerimportrow",
        "market_exchangerate",
        "ledger_account",
        "ledger_hold",
        "ledger_journalentry",
        "platform_event",
        "platform_auditrecord",
        "platform_idempotencyrecord",
    ]
    with connection.cursor() as cursor:
        return {table: _rows(cursor, table) for table in tables}


def _rows(cursor: Any, table: str) -> list[tuple[Any, ...]]:
    cursor.execute(f"select t::text from {table} t order by 1")
    return cursor.fetchall()


@dataclass
class World:
    """Who buys what from whom."""

    buyer: Organisation
    supplier: Organisation
    project: Project
    actor: Actor
    seller: Actor
    shelf: DeskShelf

    def offer(self, *, price: str = "3.6", sold_by: SoldBy = SoldBy.HUB, **fields: Any) -> Offer:
        wanted: dict[str, Any] = {
            "supplier_id": self.supplier.id,
            "shelf": "desk",
            "subject_id": uuid7(),
            "title_zh": "测试核时",
            "title_en": "Test cores",
            "max_units": 64,
            "wall_s_max": 86_400,
            "prices": [services.PriceSpec("core_second", "core_hour", round(float(price) * YUAN))],
            "sold_by": sold_by,
            "attributes": {"kind": "core_hours", "region": "shanghai", "domestic": True},
        }
        return services.create_offer(actor=SYSTEM, spec=services.OfferSpec(**(wanted | fields)), now=NOW)

    def plan(self, offer: Offer, *, units: int = 4, wall_s: int = 3600, **fields: Any) -> Plan:
        wanted: dict[str, Any] = {
            "offer_id": offer.id,
            "lines": (PlanLine("core_second", units, units * wall_s),),
            "starts_at": NOW + timedelta(minutes=1),
            "wall_limit_s": wall_s,
            "request": {"task": "train"},
        }
        return Plan(**(wanted | fields))

    def quotes(self, *plans: Plan, choice: Any = "auto", now: datetime = NOW) -> list[Quote]:
        return services.make_quotes(
            actor=self.actor,
            organisation_id=self.buyer.id,
            project_id=self.project.id,
            shelf="desk",
            plans=plans,
            choice=choice,
            now=now,
        )

    def quote(self, *, offer: Offer | None = None, **plan: Any) -> Quote:
        return self.quotes(self.plan(offer or self.offer(), **plan))[0]


def make_world(shelf: DeskShelf, *, money: int = 100 * YUAN) -> World:
    buyer, supplier = make_organisation("Buyer"), make_organisation("Supplier", capabilities=["supplier"])
    if money:
        deposit(buyer.id, money)
    return World(
        buyer=buyer,
        supplier=supplier,
        project=Project.objects.create(organisation=buyer, name="default", created_at=NOW),
        actor=person((buyer, Role.DEVELOPER)),
        seller=person((supplier, Role.OWNER)),
        shelf=shelf,
    )


@pytest.fixture
def world(db: None, shelf: DeskShelf) -> World:
    return make_world(shelf)
