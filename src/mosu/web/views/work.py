"""What runs, waits and ran in a pool, as its supplier sees it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET

from mosu.compute.models import Attempt, Pool
from mosu.compute.states import HELD, AttemptState
from mosu.compute.supply import attempts_in, pool_visible_to
from mosu.market.models import SoldBy
from mosu.platform.requests import actor_of
from mosu.web.pages import page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.pools import tabs_of
from mosu.web.words import state_name_lazy


@dataclass(frozen=True, slots=True)
class AttemptShown:
    """An attempt as the supplier sees it: its order and what it takes, not what the buyer runs."""

    attempt: Attempt
    order_id: str
    order_number: str
    buyer: str
    node: str
    cores: int | None
    cards: int | None
    ends_by: datetime | None

    @classmethod
    def of(cls, attempt: Attempt, *, sees_all: bool) -> "AttemptShown":
        order = attempt.run.order
        place = max(attempt.allocations.all(), key=lambda one: (one.live, one.id), default=None)
        tells = sees_all or order.quote.terms["sold_by"] == SoldBy.SUPPLIER
        return cls(
            attempt=attempt,
            order_id=order.public_id if sees_all else "",
            order_number=order.number,
            buyer=order.quote.organisation.name if tells else "",
            node=place.node.name if place else "",
            cores=place.cores if place else None,
            cards=len(place.devices.all()) if place else None,
            ends_by=place.period.upper if place and place.live else None,
        )


_OPEN: Final = [AttemptState.WAITING.value, *(state.value for state in HELD)]
WORK: Final = Plan(
    name="work",
    title=_lazy("Work"),
    columns=(
        Column(
            "order",
            _lazy("Order"),
            lambda one: one.order_number,
            href=lambda one: reverse("order", args=[one.order_id]) if one.order_id else "",
        ),
        Column("state", _lazy("State"), lambda one: one.attempt.state, kind="state", sort="state"),
        Column("node", _lazy("Node"), lambda one: one.node),
        Column("cores", _lazy("Cores"), lambda one: one.cores, kind="number"),
        Column("cards", _lazy("Cards"), lambda one: one.cards, kind="number"),
        Column("made", _lazy("Bought"), lambda one: one.attempt.created_at, kind="time", sort="created_at"),
        Column("started", _lazy("Started"), lambda one: one.attempt.started_at, kind="time"),
        Column("ended", _lazy("Ended"), lambda one: one.attempt.ended_at, kind="time"),
        Column("by", _lazy("Ends by"), lambda one: one.ends_by, kind="time"),
        Column("buyer", _lazy("Buyer"), lambda one: one.buyer, hidden=True),
        Column("try", _lazy("Attempt no."), lambda one: one.attempt.epoch, kind="number", hidden=True),
    ),
    order="-made",
    filters=(
        Filter(
            "now",
            _lazy("Now"),
            lambda rows, now: (
                rows.filter(state__in=_OPEN) if now == "open" else rows.exclude(state__in=_OPEN)
            ),
            [("open", _lazy("running or waiting")), ("ended", _lazy("ended"))],
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(state.value)) for state in AttemptState],
        ),
    ),
    empty=Empty(
        _lazy("Nothing has run here yet."), _lazy("What is bought of this pool appears here, newest first.")
    ),
)


@require_GET
@page("pool.read")
def work(request: HttpRequest, pool_id: str) -> HttpResponse:
    """What runs, waits and ran in the pool."""
    actor = actor_of(request)
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    return list_page(
        request,
        "pages/pool_list.html",
        WORK,
        attempts_in(row.id),
        prepare=lambda found: [AttemptShown.of(one, sees_all=actor.sees_all) for one in found],
        context={"pool": row, "tabs": tabs_of(row, "pool_work")},
    )
