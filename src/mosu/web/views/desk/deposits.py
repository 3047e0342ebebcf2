"""Deposits: entered with the bank's reference by one person, confirmed by another; given back the same way."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.refusals import DomainError
from mosu.ledger import services
from mosu.ledger.models import Deposit, DepositState
from mosu.ledger.queries import deposits_visible_to
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.pages import acted, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import MoneyField, OrganisationField, desk, form_of, framed, turn_of
from mosu.web.words import said_of, state_name_lazy

DEPOSITS: Final = Plan(
    name="deposits",
    title=_lazy("Deposits"),
    columns=(
        Column(
            "reference",
            _lazy("Bank reference"),
            lambda row: row.bank_reference,
            kind="mono",
            sort="bank_reference",
            href=lambda row: reverse("desk_deposit", args=[row.public_id]),
        ),
        Column("organisation", _lazy("Organisation"), lambda row: row.organisation.name),
        Column("amount", _lazy("Amount"), lambda row: row.amount_micros, kind="money", sort="amount_micros"),
        Column("state", _lazy("State"), lambda row: f"deposit_{row.state}", kind="state", sort="state"),
        Column("proposed", _lazy("Entered"), lambda row: row.proposed_at, kind="time", sort="proposed_at"),
        Column("maker", _lazy("By"), lambda row: row.maker.email),
        Column("checker", _lazy("Decided by"), lambda row: row.checker.email if row.checker else None),
        Column("decided", _lazy("Decided"), lambda row: row.decided_at, kind="time", hidden=True),
        Column("id", _lazy("Id"), lambda row: row.public_id, kind="mono", hidden=True),
    ),
    order="-proposed",
    filters=(
        Filter("q", _lazy("Bank reference"), lambda rows, text: rows.filter(bank_reference__icontains=text)),
        Filter(
            "organisation",
            _lazy("Organisation"),
            lambda rows, text: rows.filter(organisation__name__icontains=text),
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state, state_name_lazy(f"deposit_{state}")) for state in DepositState.values],
        ),
    ),
    empty=Empty(
        _lazy("No deposits yet."),
        _lazy("When money reaches the hub's bank account, an operator enters it with the bank's reference."),
        "/desk/deposits/new/",
        _lazy("Enter a deposit"),
    ),
)


class DepositForm(forms.Form):
    """What the bank's statement says."""

    organisation = OrganisationField()
    amount = MoneyField(label=_lazy("Amount"), help_text=_lazy("As the bank shows it."))
    bank_reference = forms.CharField(
        label=_lazy("Bank reference"),
        max_length=100,
        help_text=_lazy("Copy it from the bank's statement: each transfer is entered once."),
    )


@require_GET
@page("desk.read")
def deposits(request: HttpRequest) -> HttpResponse:
    """All deposits."""
    actor = actor_of(request)
    new = (reverse("desk_deposit_new"), _("Enter a deposit")) if allows(actor, "deposit.propose") else None
    rows = deposits_visible_to(actor).select_related("organisation", "maker", "checker")
    context = {**framed("desk_deposits"), "title": DEPOSITS.title, "new": new}
    return list_page(request, "pages/desk/list.html", DEPOSITS, rows, context=context)


@require_http_methods(["GET", "POST"])
@page("deposit.propose")
def new(request: HttpRequest) -> HttpResponse:
    """Enter a deposit."""
    form = form_of(DepositForm, request, initial={"organisation": request.GET.get("organisation", "")})
    status, problem = 200, None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = services.propose_deposit(
                actor=actor_of(request),
                organisation_id=given["organisation"].id,
                amount_micros=given["amount"],
                bank_reference=given["bank_reference"],
                now=timezone.now(),
            )
        except DomainError as refusal:
            status, problem = refusal.status, said_of(refusal)
        else:
            return redirect("desk_deposit", made.public_id)
    return desk(
        request,
        "pages/desk/form.html",
        "desk_deposits",
        status=422 if form.errors else status,
        form=form,
        problem=problem,
        title=_("Enter a deposit"),
        lede=_("No money moves until a second person confirms it."),
        action=_("Enter it"),
    )


@require_GET
@page("desk.read")
def deposit(request: HttpRequest, deposit_id: str) -> HttpResponse:
    """One deposit: who entered it, who may decide."""
    return _shown(request, deposit_id)


def _shown(request: HttpRequest, deposit_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    people = ("organisation", "maker", "checker", "refund_maker", "refund_checker", "entry", "refund_entry")
    row = row_of(deposits_visible_to(actor).select_related(*people), deposit_id)
    context = {
        "row": row,
        "turn": turn_of(actor, "deposit.confirm", row.maker_id) if row.state == "proposed" else "",
        "refund_turn": turn_of(actor, "deposit.confirm", row.refund_maker_id)
        if row.state == "refunding"
        else "",
        "may_refund": row.state == "confirmed" and allows(actor, "deposit.propose"),
        "audit": audit_visible_to(actor).filter(subject_id=row.id),
        "why": Why(),
        **more,
    }
    return desk(request, "pages/desk/deposit.html", "desk_deposits", status=status, **context)


def _decision(
    do: Callable[..., Any], done: Any, *, with_why: bool
) -> Callable[[HttpRequest, str], HttpResponse]:
    def decided(request: HttpRequest, deposit_id: str) -> HttpResponse:
        decide = partial(
            do, actor=actor_of(request), deposit_id=Deposit.key_of(deposit_id), now=timezone.now()
        )
        to, again = reverse("desk_deposit", args=[deposit_id]), partial(_shown, request, deposit_id)
        if not with_why:
            return acted(request, decide, done=str(done), to=to, again=again)
        return acted_with_reason(request, lambda why: decide(why=why), done=str(done), to=to, again=again)

    return decided


confirm = require_POST(
    page("deposit.confirm")(
        _decision(services.confirm_deposit, _lazy("The money is on the balance."), with_why=False)
    )
)
reject = require_POST(
    page("deposit.confirm")(
        _decision(services.reject_deposit, _lazy("The deposit is refused; no money moved."), with_why=True)
    )
)
refund = require_POST(
    page("deposit.propose")(
        _decision(
            services.propose_refund,
            _lazy("The refund waits for its second person; the money stays on the balance until then."),
            with_why=True,
        )
    )
)
confirm_refund = require_POST(
    page("deposit.confirm")(
        _decision(services.confirm_refund, _lazy("The deposit is given back."), with_why=False)
    )
)
decline_refund = require_POST(
    page("deposit.confirm")(
        _decision(services.decline_refund, _lazy("The deposit stays on the balance."), with_why=True)
    )
)
