"""Settlement statements: what a closed month came to for its supplier, and the payout by two persons."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.kernel.money import micros_of
from mosu.ledger import services as ledger
from mosu.ledger.models import Payout, PayoutState
from mosu.ledger.queries import payouts_visible_to
from mosu.market import services
from mosu.market.models import Statement
from mosu.market.queries import statements_visible_to
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.pages import acted, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import form_of, turn_of
from mosu.web.views.sales import sales_tabs
from mosu.web.words import supplier_named

STATEMENTS: Final = Plan(
    name="statements",
    title=_lazy("Settlement statements"),
    columns=(
        Column(
            "number",
            _lazy("Number"),
            lambda row: row.number,
            kind="mono",
            sort="number",
            href=lambda row: reverse("statement", args=[row.public_id]),
        ),
        Column("month", _lazy("Month"), lambda row: f"{row.month:%Y-%m}", sort="month"),
        Column("supplier", _lazy("Supplier"), lambda row: supplier_named(row.supplier.name)),
        Column("orders", _lazy("Orders"), lambda row: row.orders, kind="number"),
        Column("vouchers", _lazy("Vouchers"), lambda row: row.vouchers_micros, kind="money"),
        Column("buyers", _lazy("Buyers paid"), lambda row: row.buyers_micros, kind="money"),
        Column("fee", _lazy("Hub's fee"), lambda row: -row.fee_micros, kind="money"),
        Column("credits", _lazy("Credit notes"), lambda row: -row.credits_micros, kind="money", hidden=True),
        Column("net", _lazy("To be paid"), lambda row: row.net_micros, kind="money", sort="net_micros"),
        Column("invoice", _lazy("You invoice"), lambda row: row.to_invoice_micros, kind="money", hidden=True),
        Column("tax", _lazy("Tax in it"), lambda row: row.tax_micros, kind="money", hidden=True),
    ),
    order="-month",
    filters=(
        Filter("month", _lazy("Month"), lambda rows, text: rows.filter(number__startswith=_of_month(text))),
    ),
    empty=Empty(
        _lazy("No statements yet."),
        _lazy("A statement is made when the hub closes a month in which something was sold."),
        "/sales/",
        _lazy("See sales"),
    ),
)


def _of_month(text: str) -> str:
    """How the numbers of a month begin: they say it."""
    return f"S-{text.replace('-', '')[:6]}-"


class PayForm(forms.Form):
    """What the bank's statement says of the transfer."""

    bank_reference = forms.CharField(
        label=_lazy("Bank reference"),
        max_length=100,
        help_text=_lazy("Send the money by the bank first; copy the reference from its statement."),
    )


@require_GET
@page("sale.read")
def statements(request: HttpRequest) -> HttpResponse:
    """The statements of one's organisation; for the hub's people, all."""
    context = {"tabs": sales_tabs("statements")}
    rows = statements_visible_to(actor_of(request))
    return list_page(request, "pages/statements.html", STATEMENTS, rows, context=context)


@require_GET
@page("sale.read")
def statement(request: HttpRequest, statement_id: str) -> HttpResponse:
    """One statement: how its net comes about, and what became of the payout."""
    return _shown(request, statement_id)


def _shown(request: HttpRequest, statement_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    row = row_of(statements_visible_to(actor), statement_id)
    payouts = list(
        payouts_visible_to(actor).filter(subject_id=row.id).select_related("maker", "checker", "entry")
    )
    live = next((one for one in payouts if one.state != PayoutState.REJECTED), None)
    context = {
        "row": row,
        "named": supplier_named(row.supplier.name),
        "programmes": [(one["title"], micros_of(one["amount"])) for one in row.content["programmes"]],
        "payouts": payouts,
        "payout": live,
        "turn": turn_of(actor, "payout.confirm", live.maker_id)
        if live is not None and live.state == PayoutState.PROPOSED and actor.sees_all
        else "",
        "may_pay": live is None and row.net_micros > 0 and allows(actor, "payout.propose"),
        "audit": audit_visible_to(actor).filter(subject_id__in=[one.id for one in payouts]),
        "form": PayForm(),
        "why": Why(),
        **more,
    }
    return render(request, "pages/statement.html", context, status=status)


@require_POST
@page("payout.propose")
def pay(request: HttpRequest, statement_id: str) -> HttpResponse:
    """Enter the bank's transfer that pays a statement."""
    form = form_of(PayForm, request)
    if not form.is_valid():
        return _shown(request, statement_id, status=422, form=form)
    return acted(
        request,
        lambda: services.pay_statement(
            actor=actor_of(request),
            statement_id=Statement.key_of(statement_id),
            bank_reference=form.cleaned_data["bank_reference"],
            now=timezone.now(),
        ),
        done=str(_lazy("The payout waits for its second person.")),
        to=reverse("statement", args=[statement_id]),
        again=partial(_shown, request, statement_id, form=form),
    )


def _decision(
    do: Callable[..., Any], done: Any, *, with_why: bool
) -> Callable[[HttpRequest, str, str], HttpResponse]:
    def decided(request: HttpRequest, statement_id: str, payout_id: str) -> HttpResponse:
        decide = partial(do, actor=actor_of(request), payout_id=Payout.key_of(payout_id), now=timezone.now())
        to, again = reverse("statement", args=[statement_id]), partial(_shown, request, statement_id)
        if not with_why:
            return acted(request, decide, done=str(done), to=to, again=again)
        return acted_with_reason(request, lambda why: decide(why=why), done=str(done), to=to, again=again)

    return decided


confirm = require_POST(
    page("payout.confirm")(
        _decision(
            ledger.confirm_payout, _lazy("The payout is booked: the hub owes that much less."), with_why=False
        )
    )
)
reject = require_POST(
    page("payout.confirm")(
        _decision(ledger.reject_payout, _lazy("The payout is refused; no money moved."), with_why=True)
    )
)
