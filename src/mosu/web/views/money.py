"""An organisation's money: what it has, what moved it, and how more comes in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET

from mosu.ledger.models import AccountKind, DepositState, Posting
from mosu.ledger.queries import (
    Balance,
    accounts_visible_to,
    balance_in,
    deposits_visible_to,
    open_holds,
    statement,
)
from mosu.market.queries import orders_visible_to
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.web.components import Tab
from mosu.web.days import monthly
from mosu.web.navigation import address_of
from mosu.web.pages import own_organisation, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.words import state_name_lazy

HOLDS_SHOWN: Final = 20
KINDS: Final = (
    ("deposit", _lazy("Paid in")),
    ("order.charge", _lazy("Order charged")),
    ("voucher.captured", _lazy("Refund of a programme")),
    ("reversal", _lazy("Given back")),
)
_NOTHING: Final = Balance(balance_micros=0, held_micros=0, available_micros=0)


@dataclass(frozen=True, slots=True)
class Moved:
    """A line of the statement."""

    number: int
    at: datetime
    kind: str
    amount: int
    after: int
    about: str
    href: str
    hash: str


STATEMENT: Final = Plan(
    name="statement",
    title=_lazy("Statement"),
    columns=(
        Column("at", _lazy("When"), lambda moved: moved.at, kind="time"),
        Column("kind", _lazy("What"), lambda moved: moved.kind),
        Column("about", _lazy("For"), lambda moved: moved.about, href=lambda moved: moved.href),
        Column("amount", _lazy("Amount"), lambda moved: moved.amount, kind="money"),
        Column("after", _lazy("Balance after"), lambda moved: moved.after, kind="money"),
        Column(
            "number", _lazy("Number"), lambda moved: moved.number, kind="number", sort="sequence", hidden=True
        ),
        Column("hash", _lazy("Hash"), lambda moved: moved.hash, kind="mono", hidden=True),
    ),
    order="-number",
    empty=Empty(
        _lazy("Nothing has moved yet."),
        _lazy("Money that you pay in, charges of orders and refunds of programmes stand here."),
        "/money/deposits/",
        _lazy("How to pay in"),
    ),
)

DEPOSITS: Final = Plan(
    name="deposits",
    title=_lazy("Deposits"),
    columns=(
        Column("proposed", _lazy("Entered"), lambda row: row.proposed_at, kind="time", sort="proposed_at"),
        Column("reference", _lazy("Bank reference"), lambda row: row.bank_reference, kind="mono"),
        Column("amount", _lazy("Amount"), lambda row: row.amount_micros, kind="money", sort="amount_micros"),
        Column("state", _lazy("State"), lambda row: f"deposit_{row.state}", kind="state", sort="state"),
        Column("decided", _lazy("Checked"), lambda row: row.decided_at, kind="time"),
        Column("refunded", _lazy("Given back"), lambda row: row.refunded_at, kind="time", hidden=True),
        Column("why", _lazy("Why given back"), lambda row: row.refund_why, hidden=True),
    ),
    order="-proposed",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state, state_name_lazy(f"deposit_{state}")) for state in DepositState.values],
        ),
    ),
    empty=Empty(
        _lazy("No deposits yet."),
        _lazy(
            "After your transfer the operator enters it and a second person checks it; then it stands here."
        ),
    ),
)


def tabs_of(request: HttpRequest) -> list[Tab]:
    """The pages of money; bills where there are some."""
    places = [("money", _("Statement")), ("deposits", _("Deposits")), ("bills", _("Bills"))]
    return [
        Tab(title, address_of(name), address_of(name) == request.path)
        for name, title in places
        if address_of(name)
    ]


@require_GET
@page("ledger.read")
def money(request: HttpRequest) -> HttpResponse:
    """Balance, held, available, and the statement with the balance after each line."""
    actor, organisation = actor_of(request), own_organisation(request)
    account = accounts_visible_to(actor).filter(**_balance_of(organisation)).first()
    rows = statement(actor, account.id) if account else Posting.objects.none()
    held = list(open_holds(actor, account.id)[: HOLDS_SHOWN + 1]) if account else []
    orders = orders_named(actor, [hold.subject_id for hold in held])
    context = {
        "figures": balance_in(account) if account else _NOTHING,
        "tabs": tabs_of(request),
        "holds": [
            {"amount": hold.remaining_micros, "since": hold.placed_at, "order": orders.get(hold.subject_id)}
            for hold in held[:HOLDS_SHOWN]
        ],
        "more_holds": len(held) > HOLDS_SHOWN,
    }
    return list_page(
        request,
        "pages/money.html",
        _with_filters(timezone.now()),
        rows,
        prepare=lambda found: _moved(actor, found),
        context=context,
    )


@require_GET
@page("ledger.read")
def deposits(request: HttpRequest) -> HttpResponse:
    """How to pay in, and what became of what was paid in."""
    organisation = own_organisation(request)
    context = {
        "tabs": tabs_of(request),
        "organisation": organisation,
        "pay_in": settings.HUB_PAY_IN,
    }
    rows = deposits_visible_to(actor_of(request)).filter(organisation=organisation)
    return list_page(request, "pages/deposits.html", DEPOSITS, rows, context=context)


def _balance_of(organisation: Organisation) -> Mapping[str, Any]:
    return {"kind": AccountKind.BALANCE, "owner_id": organisation.id, "currency": settings.HUB_CURRENCY}


def _with_filters(now: datetime) -> Plan:
    filters = (
        Filter("kind", _lazy("What"), lambda rows, kind: rows.filter(entry__kind=kind), KINDS),
        monthly("entry__posted_at", last=timezone.localdate(now)),
    )
    return replace(STATEMENT, filters=filters)


def _moved(actor: Actor, rows: Sequence[Posting]) -> list[Moved]:
    named = orders_named(actor, [row.entry.subject_id for row in rows if row.entry.kind != "deposit"])
    paid_in = deposits_visible_to(actor).filter(id__in={row.entry.subject_id for row in rows})
    for deposit in paid_in.order_by():
        named[deposit.id] = {"number": deposit.bank_reference, "href": reverse("deposits")}
    return [_line(row, named.get(row.entry.subject_id)) for row in rows]


def _line(row: Posting, subject: Mapping[str, str] | None) -> Moved:
    kind = row.entry.kind
    about, href = (subject["number"], subject["href"]) if subject else (row.entry.memo, "")
    return Moved(
        number=row.sequence,
        at=row.entry.posted_at,
        kind=str(dict(KINDS).get(kind, kind)),
        amount=row.amount_micros,
        after=row.balance_after_micros,
        about=about,
        href=href,
        hash=row.hash,
    )


def orders_named(actor: Actor, ids: Iterable[UUID]) -> dict[UUID, dict[str, str]]:
    """Number and address of those orders among `ids` that the actor may see, in one query."""
    wanted = set(ids)
    if not wanted:
        return {}
    rows = orders_visible_to(actor).filter(id__in=wanted).select_related(None).only("id", "number")
    return {row.id: {"number": row.number, "href": reverse("order", args=[row.public_id])} for row in rows}
