"""Claims: refunds that settled orders earned, claimed and to be claimed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods

from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.models import Order
from mosu.market.queries import orders_visible_to
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.store.models import Document
from mosu.subsidies.models import Claim, Redemption
from mosu.subsidies.queries import (
    claims_visible_to,
    refunds_due,
)
from mosu.subsidies.rules import ClaimState
from mosu.subsidies.services import submit_claim
from mosu.web.attaching import choose_among, documents_chosen, documents_field, documents_offered
from mosu.web.pages import own_organisation, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.money import orders_named
from mosu.web.views.vouchers import tabs_of
from mosu.web.words import said_of, state_name_lazy, title_of


class Claiming(forms.Form):
    """A claim: its receipt goes along by itself, further documents as chosen."""

    documents = documents_field(
        _lazy("Invoice, delivery certificate"), _lazy("The order's receipt goes along by itself.")
    )

    def __init__(self, *args: Any, documents: Sequence[Document], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choose_among(self, documents)


CLAIMS: Final = Plan(
    name="claims",
    title=_lazy("Claims"),
    columns=(
        Column("at", _lazy("Sent"), lambda one: one["row"].submitted_at, kind="time", sort="submitted_at"),
        Column("order", _lazy("Order"), lambda one: one["number"], href=lambda one: one["href"]),
        Column(
            "amount",
            _lazy("Amount"),
            lambda one: one["row"].amount_micros,
            kind="money",
            sort="amount_micros",
        ),
        Column("state", _lazy("State"), lambda one: f"claim_{one['row'].state}", kind="state", sort="state"),
        Column("decided", _lazy("Decided"), lambda one: one["row"].decided_at, kind="time"),
        Column(
            "evidence", _lazy("Evidence"), lambda one: len(one["row"].evidence), kind="number", hidden=True
        ),
    ),
    order="-at",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(one.value, state_name_lazy(f"claim_{one.value}")) for one in ClaimState],
        ),
    ),
    empty=Empty(
        _lazy("Nothing claimed yet."),
        _lazy("Where a programme refunds part of an order later, the order stands here once it is settled."),
    ),
)


@require_http_methods(["GET", "POST"])
@page("voucher.read")
def claims(request: HttpRequest) -> HttpResponse:
    """Refunds that settled orders earned: to be claimed, and claimed."""
    actor, organisation, now = actor_of(request), own_organisation(request), timezone.now()
    documents = documents_offered(actor, organisation)
    problem = None
    if request.method == "POST":
        form = Claiming(request.POST, documents=documents)
        order = (
            orders_visible_to(actor)
            .filter(id=Order.key_of(request.POST.get("order", "")), organisation=organisation)
            .first()
        )
        if order is None or not form.is_valid():
            raise NotFound(_("There is no such order."), hint=_("See the list of your orders."))
        chosen = {one.id: one.blob_id for one in documents}
        evidence = [*_receipt_of(order), *(chosen[key] for key in documents_chosen(form))]
        try:
            submit_claim(actor=actor, order_id=order.id, evidence=evidence, now=now)
        except DomainError as refusal:
            problem = said_of(refusal)
        else:
            messages.success(
                request, _("The refund is claimed. The operator checks it, a second person pays it.")
            )
            return redirect("claims")
    context = {
        "tabs": tabs_of(request),
        "due": [
            {**one, "form": Claiming(documents=documents, auto_id=f"{one['order'].public_id}_%s")}
            for one in _due(actor, organisation, now=now)
        ],
        "may_claim": allows(actor, "voucher.apply", organisation.id),
        "problem": problem,
    }
    return list_page(
        request,
        "pages/claims.html",
        CLAIMS,
        claims_visible_to(actor).filter(organisation=organisation),
        prepare=lambda rows: _claims(actor, rows),
        context=context,
    )


def _claims(actor: Actor, rows: Sequence[Claim]) -> list[dict[str, Any]]:
    orders = orders_named(actor, [row.order_id for row in rows])
    nothing: Mapping[str, str] = {"number": "—", "href": ""}
    return [{"row": row, **orders.get(row.order_id, nothing)} for row in rows]


def _due(actor: Actor, organisation: Organisation, *, now: datetime) -> list[dict[str, Any]]:
    """Each order that earned a refund which nobody claimed: what, from which programmes, until when."""
    by_order: dict[UUID, list[Redemption]] = {}
    for one in refunds_due(actor, organisation.id, now=now):
        by_order.setdefault(one.order_id, []).append(one)
    rows = orders_visible_to(actor).filter(id__in=by_order).select_related(None)
    return [
        {
            "order": row,
            "amount": sum(one.amount_micros or 0 for one in by_order[row.id]),
            "programmes": [title_of(one.voucher.version) for one in by_order[row.id]],
            "claim_by": min(one.claim_by for one in by_order[row.id] if one.claim_by),
        }
        for row in rows
    ]


def _receipt_of(order: Order) -> list[str]:
    receipt = getattr(order, "receipt", None)
    return [receipt.sha256] if receipt is not None else []
