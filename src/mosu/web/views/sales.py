"""What a supplier sold, what the hub owes it for that, and what it bills itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET

from mosu.kernel.units import many_units
from mosu.ledger.models import Account, AccountKind
from mosu.ledger.queries import (
    MonthMoved,
    accounts_visible_to,
    balance_in,
    paid_out_to,
    statement,
    statement_by_month,
)
from mosu.market.bills import month_of, span_of
from mosu.market.hub import hub_zone
from mosu.market.models import OrderState
from mosu.market.queries import sales_visible_to
from mosu.market.sales import ToInvoice, Used, sales_of, to_invoice_of
from mosu.platform.actors import Actor
from mosu.platform.models import Capability, Organisation
from mosu.platform.queries import organisations_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.components import Tab
from mosu.web.days import monthly
from mosu.web.pages import page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page, showing
from mosu.web.words import entry_kind_name, state_name_lazy, supplier_named, told


def _amounts(used: Sequence[Used]) -> str:
    return "; ".join(f"{one.quantity} {told(many_units(one.unit))}" for one in used)


SALES: Final = Plan(
    name="sales",
    title=_lazy("Sales"),
    columns=(
        Column("number", _lazy("Order"), lambda one: one.order.number, sort="number"),
        Column("placed", _lazy("Placed"), lambda one: one.order.placed_at, kind="time", sort="placed_at"),
        Column("settled", _lazy("Settled"), lambda one: one.order.settled_at, kind="time", hidden=True),
        Column(
            "offer",
            _lazy("Offer"),
            lambda one: one.order.quote.terms["title"],
            csv=lambda one: told(one.order.quote.terms["title"]),
        ),
        Column(
            "supplier", _lazy("Supplier"), lambda one: one.order.quote.terms["supplier"]["name"], hidden=True
        ),
        Column("buyer", _lazy("Buyer"), lambda one: one.buyer.name if one.buyer else ""),
        Column("state", _lazy("State"), lambda one: one.order.state, kind="state", sort="state"),
        Column("used", _lazy("Used"), lambda one: _amounts(one.used)),
        Column("reported", _lazy("Reported by your engine"), lambda one: _amounts(one.reported), hidden=True),
        Column(
            "observed", _lazy("Observed by the hub, at most"), lambda one: _amounts(one.observed), hidden=True
        ),
        Column("total", _lazy("Charged"), lambda one: one.total_micros, kind="money"),
        Column("vouchers", _lazy("by vouchers"), lambda one: one.vouchers_micros, kind="money"),
        Column("buyer_share", _lazy("by the buyer"), lambda one: one.buyer_share_micros, kind="money"),
        Column("fee", _lazy("The hub's fee"), lambda one: one.fee_micros, kind="money", hidden=True),
        Column("due", _lazy("Owed to you"), lambda one: one.due_micros, kind="money"),
        Column("invoice", _lazy("You bill"), lambda one: one.to_invoice_micros, kind="money"),
    ),
    order="-placed",
    empty=Empty(
        _lazy("Nothing was bought of you yet."),
        _lazy(
            "What is ordered at your offers appears here at once, with its charge as soon as it is settled."
        ),
        "/my-offers/",
        _lazy("See my offers"),
    ),
)

STATEMENT: Final = Plan(
    name="owed",
    title=_lazy("Every posting"),
    columns=(
        Column("at", _lazy("When"), lambda one: one.entry.posted_at, kind="time"),
        Column("what", _lazy("What"), lambda one: entry_kind_name(one.entry.kind)),
        Column("memo", _lazy("Order"), lambda one: one.entry.memo),
        Column("amount", _lazy("Amount"), lambda one: one.amount_micros, kind="money"),
        Column("after", _lazy("Owed after it"), lambda one: one.balance_after_micros, kind="money"),
        Column("number", _lazy("No."), lambda one: one.sequence, kind="number", sort="sequence", hidden=True),
    ),
    order="-number",
    key="sequence",
    empty=Empty(_lazy("Nothing has been posted yet.")),
)


@require_GET
@page("sale.read")
def sales(request: HttpRequest) -> HttpResponse:
    """Orders at the supplier's offers, with what each brought."""
    actor = actor_of(request)
    months = replace(monthly("settled_at", last=timezone.localdate()), title=_("Settled in"))
    plan = replace(
        showing(SALES, "supplier") if actor.sees_all else SALES,
        filters=(
            months,
            Filter(
                "state",
                _("State"),
                lambda rows, state: rows.filter(state=state),
                [(state, state_name_lazy(state)) for state in OrderState.values],
            ),
        ),
    )
    return list_page(
        request,
        "pages/sales.html",
        plan,
        sales_visible_to(actor),
        prepare=lambda rows: sales_of(actor, rows),
        context={"tabs": sales_tabs("sales")},
    )


def sales_tabs(current: str) -> list[Tab]:
    """What a supplier reads of its money; `current` names the tab."""
    return [
        Tab(_("Sales"), reverse("sales"), current == "sales"),
        Tab(_("What is owed"), reverse("owed"), current == "owed"),
        Tab(_("Settlement statements"), reverse("statements"), current == "statements"),
        Tab(_("Credit notes"), reverse("credit_notes"), False),
    ]


@dataclass(frozen=True, slots=True)
class MonthOwed:
    """A month of a supplier's account with the hub, and what it bills itself."""

    month: date
    moved: MonthMoved | None
    invoice: ToInvoice | None
    before_micros: int
    after_micros: int

    @property
    def vouchers(self) -> int:
        return self.moved.by_kind.get("voucher.captured", 0) if self.moved else 0

    @property
    def buyers(self) -> int:
        return self.moved.by_kind.get("order.charge", 0) if self.moved else 0

    @property
    def fee(self) -> int:
        return self.moved.by_kind.get("order.fee", 0) if self.moved else 0

    @property
    def other(self) -> int:
        return self.after_micros - self.before_micros - self.vouchers - self.buyers - self.fee


@require_GET
@page("sale.read")
def owed(request: HttpRequest) -> HttpResponse:
    """What the hub owes: to the supplier one speaks for; for the hub's people, to whom."""
    actor = actor_of(request)
    suppliers = list(
        organisations_visible_to(actor).filter(capabilities__contains=[Capability.SUPPLIER.value])
    )
    chosen = next((one for one in suppliers if one.id == actor.organisation_id), None)
    if chosen is None and len(suppliers) == 1:
        chosen = suppliers[0]
    if chosen is not None and not actor.sees_all:
        return _owed_page(request, actor, chosen)
    accounts = _payables(actor, [one.id for one in suppliers])
    context = {
        "tabs": sales_tabs("owed"),
        "suppliers": [
            (
                one.public_id,
                supplier_named(one.name),
                accounts[one.id].balance_micros if one.id in accounts else 0,
            )
            for one in suppliers
        ],
        "total": sum(account.balance_micros for account in accounts.values()),
    }
    return render(request, "pages/owed_all.html", context)


@require_GET
@page("sale.read")
def owed_to(request: HttpRequest, organisation_id: str) -> HttpResponse:
    """What the hub owes one supplier."""
    actor = actor_of(request)
    rows = organisations_visible_to(actor).filter(capabilities__contains=[Capability.SUPPLIER.value])
    return _owed_page(request, actor, row_of(rows, organisation_id))


def _owed_page(request: HttpRequest, actor: Actor, supplier: Organisation) -> HttpResponse:
    zone = hub_zone()
    account = _payables(actor, [supplier.id]).get(supplier.id)
    moved = statement_by_month(actor, account.id, zone=zone) if account else []
    months = _months(moved, to_invoice_of(actor, supplier.id, zone=zone))
    context = {
        "tabs": sales_tabs("owed"),
        "supplier": supplier,
        "named": supplier_named(supplier.name),
        "owed": balance_in(account).balance_micros if account else 0,
        "months": months,
        "invoice": sum(one.invoice.amount_micros for one in months if one.invoice),
        "paid_out": paid_out_to(actor, supplier.id),
        "speaks": actor.organisation_id == supplier.id,
    }
    if account is None:
        return render(request, "pages/owed.html", context)
    rows = statement(actor, account.id)
    wanted = request.GET.get("month", "")
    if wanted:
        span = span_of(month_of(wanted), zone=zone)
        rows = rows.filter(entry__posted_at__gte=span.start, entry__posted_at__lt=span.end)
        context["month"] = wanted
    return list_page(request, "pages/owed.html", STATEMENT, rows, context=context)


def _payables(actor: Actor, owner_ids: Sequence[UUID]) -> dict[UUID, Account]:
    rows: Any = accounts_visible_to(actor).filter(
        kind=AccountKind.PAYABLE, owner_id__in=owner_ids, currency=settings.HUB_CURRENCY
    )
    return {one.owner_id: one for one in rows}


def _months(moved: Sequence[MonthMoved], invoices: Sequence[ToInvoice]) -> list[MonthOwed]:
    """Both by month, newest first; a month in which only one of them is has the balance of the month before."""
    by_month, billed = {one.month: one for one in moved}, {one.month: one for one in invoices}
    found: list[MonthOwed] = []
    after = 0
    for month in sorted({*by_month, *billed}):
        before, here = after, by_month.get(month)
        after = here.after_micros if here else before
        found.insert(0, MonthOwed(month, here, billed.get(month), before, after))
    return found
