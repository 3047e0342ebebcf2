"""Samples of orders, as auditors draw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import BinaryField, Func, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import Forbidden, NotFound
from mosu.kernel.time import Period
from mosu.market.models import Order, OrderState
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord
from mosu.platform.queries import audit_visible_to

SAMPLE_DRAWN: Final = "sample.drawn"
"""The audit action of a drawing; its facts say how and which."""
SAMPLE_MAX: Final = 200


def orders_sampled(actor: Actor, *, seed: str, span: Period, count: int) -> list[Order]:
    """`count` settled orders of a span, drawn at random: the same seed draws the same ones, for whoever repeats it.

    An order's place is the sha256 of seed and id, so that nobody who places orders can choose to be drawn.

    Raises:
        Forbidden: the actor does not see everybody's orders.
    """
    if not actor.sees_all:
        raise Forbidden("Samples are drawn from all orders.", hint="Who may: auditor, checker, operator.")
    settled = Order.objects.select_related("quote", "receipt", "organisation", "offer__supplier").filter(
        state=OrderState.SETTLED, settled_at__gte=span.start, settled_at__lt=span.end
    )
    place = Func(
        Concat(Value(f"{seed}:"), Cast("id", TextField())),
        function="sha256",
        template="%(function)s(convert_to(%(expressions)s, 'UTF8'))",
        output_field=BinaryField(),
    )
    return list(settled.annotate(place=place).order_by("place", "id")[:count])


@dataclass(frozen=True, slots=True)
class AuditSample:
    """Orders that were drawn, in the order of their drawing, and how to draw them again."""

    id: UUID
    seed: str
    span: Period
    count: int
    orders: Sequence[Order]
    drawn_by: str
    drawn_at: datetime

    @property
    def public_id(self) -> str:
        return typeid("sample", self.id)


def samples_drawn(actor: Actor) -> QuerySet[AuditRecord]:
    """The records of all samples, newest first; for the hub's people alone."""
    rows = audit_visible_to(actor).filter(action=SAMPLE_DRAWN)
    return rows if actor.sees_all else rows.none()


def sample_of(actor: Actor, sample_id: UUID) -> AuditSample:
    """A sample as it was drawn.

    Raises:
        NotFound: there is none, or the actor is not of the hub's people.
    """
    record = samples_drawn(actor).filter(subject_id=sample_id).order_by("id").first()
    if record is None:
        raise NotFound("There is no such sample.", hint="Draw one: GET /samples.")
    facts = record.facts
    keys = [Order.key_of(public_id) for public_id in facts["orders"]]
    rows = Order.objects.select_related("quote", "receipt", "organisation", "offer__supplier")
    found = rows.in_bulk(keys)
    return AuditSample(
        id=sample_id,
        seed=facts["seed"],
        span=Period(datetime.fromisoformat(facts["from"]), datetime.fromisoformat(facts["to"])),
        count=facts["count"],
        orders=[found[key] for key in keys],
        drawn_by=record.actor_label,
        drawn_at=record.at,
    )
