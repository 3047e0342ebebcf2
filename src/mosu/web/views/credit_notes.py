"""Credit notes: money given back on a receipt of a closed month; one person proposes, another issues."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.refusals import DomainError
from mosu.market import services
from mosu.market.models import BorneBy, CreditNote, CreditNoteState
from mosu.market.queries import credit_notes_visible_to, receipts_visible_to
from mosu.platform.queries import audit_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.once import once
from mosu.web.pages import acted, page
from mosu.web.presenters import receipt_shown
from mosu.web.reasons import WHY_MAX, Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import MoneyField, form_of, turn_of
from mosu.web.words import said_of, state_name_lazy, supplier_named

BEARERS: Final = {
    BorneBy.SUPPLIER.value: _lazy("the supplier"),
    BorneBy.HUB.value: _lazy("the hub's goodwill"),
}

NOTES: Final = Plan(
    name="credit-notes",
    title=_lazy("Credit notes"),
    columns=(
        Column(
            "number",
            _lazy("Number"),
            lambda row: row.number or row.public_id,
            kind="mono",
            href=lambda row: reverse("credit_note", args=[row.public_id]),
        ),
        Column("receipt", _lazy("On the receipt"), lambda row: row.receipt.number, kind="mono"),
        Column(
            "amount", _lazy("Given back"), lambda row: row.amount_micros, kind="money", sort="amount_micros"
        ),
        Column("state", _lazy("State"), lambda row: f"credit_note_{row.state}", kind="state", sort="state"),
        Column("borne", _lazy("Borne by"), lambda row: str(BEARERS[row.borne_by])),
        Column("supplier", _lazy("Supplier"), lambda row: supplier_named(row.supplier.name)),
        Column("why", _lazy("Reason"), lambda row: row.why),
        Column("proposed", _lazy("Proposed"), lambda row: row.proposed_at, kind="time", sort="proposed_at"),
        Column("decided", _lazy("Decided"), lambda row: row.decided_at, kind="time", hidden=True),
    ),
    order="-proposed",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state, state_name_lazy(f"credit_note_{state}")) for state in CreditNoteState.values],
        ),
        Filter("q", _lazy("Receipt"), lambda rows, text: rows.filter(receipt__number__icontains=text)),
    ),
    empty=Empty(
        _lazy("No credit notes."),
        _lazy("What is found wrong after a month is closed is given back by a credit note on its receipt."),
        "/bills/",
        _lazy("See the bills"),
    ),
)


class NoteForm(forms.Form):
    """What is given back, and who bears it."""

    amount = MoneyField(
        label=_lazy("Amount"), help_text=_lazy("At most what the buyer paid here, without vouchers.")
    )
    borne_by = forms.ChoiceField(
        label=_lazy("Borne by"), choices=list(BEARERS.items()), widget=forms.RadioSelect
    )
    why = forms.CharField(
        label=_lazy("What was wrong"),
        max_length=WHY_MAX,
        widget=forms.Textarea(attrs={"rows": 2, "class": "short"}),
        help_text=_lazy("The buyer and the supplier read it."),
    )


@require_GET
@page("receipt.read")
def credit_notes(request: HttpRequest) -> HttpResponse:
    """Those to one's organisation and on its sales; for the hub's people, all."""
    actor = actor_of(request)
    return list_page(request, "pages/credit_notes.html", NOTES, credit_notes_visible_to(actor))


@require_GET
@page("receipt.read")
def credit_note(request: HttpRequest, note_id: str) -> HttpResponse:
    """One: on what, how much, why, and whose turn it is."""
    return _shown(request, note_id)


def _shown(request: HttpRequest, note_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    row = row_of(credit_notes_visible_to(actor).select_related("maker", "checker"), note_id)
    waits = row.state == CreditNoteState.PROPOSED
    context = {
        "row": row,
        "bearer": BEARERS[row.borne_by],
        "supplier": supplier_named(row.supplier.name),
        "sees_buyer": actor.sees(row.organisation_id),
        "turn": turn_of(actor, "credit.issue", row.maker_id) if waits and actor.sees_all else "",
        "audit": audit_visible_to(actor).filter(subject_id=row.id),
        "why": Why(),
        **more,
    }
    return render(request, "pages/credit_note.html", context, status=status)


@require_http_methods(["GET", "POST"])
@page("credit.propose")
@once(to="credit_notes")
def propose(request: HttpRequest, receipt_id: str) -> HttpResponse:
    """Propose one on a receipt."""
    actor = actor_of(request)
    receipt = row_of(receipts_visible_to(actor), receipt_id)
    form = form_of(NoteForm, request, initial={"borne_by": BorneBy.SUPPLIER.value})
    status, problem = 200, None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            note = services.propose_credit_note(
                actor=actor,
                receipt_id=receipt.id,
                amount_micros=given["amount"],
                borne_by=BorneBy(given["borne_by"]),
                why=given["why"],
                now=timezone.now(),
            )
        except DomainError as refusal:
            status, problem = refusal.status, said_of(refusal)
        else:
            return redirect("credit_note", note.public_id)
    context = {
        "form": form,
        "problem": problem,
        "public_id": receipt.public_id,
        "receipt": receipt_shown(receipt),
    }
    return render(request, "pages/credit_note_new.html", context, status=422 if form.errors else status)


def _decision(
    do: Callable[..., Any], done: Any, *, with_why: bool
) -> Callable[[HttpRequest, str], HttpResponse]:
    def decided(request: HttpRequest, note_id: str) -> HttpResponse:
        decide = partial(
            do, actor=actor_of(request), credit_note_id=CreditNote.key_of(note_id), now=timezone.now()
        )
        to, again = reverse("credit_note", args=[note_id]), partial(_shown, request, note_id)
        if not with_why:
            return acted(request, decide, done=str(done), to=to, again=again)
        return acted_with_reason(request, lambda why: decide(why=why), done=str(done), to=to, again=again)

    return decided


issue = require_POST(
    page("credit.issue")(
        _decision(
            services.issue_credit_note,
            _lazy("The credit note is issued: the money is on the buyer's balance."),
            with_why=False,
        )
    )
)
reject = require_POST(
    page("credit.issue")(
        _decision(
            services.reject_credit_note,
            _lazy("The credit note is refused; no money moved."),
            with_why=True,
        )
    )
)
