"""Applications: what an organisation asked of programmes, and what became of it."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.kernel.ids import typeid
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.store.documents import documents_of
from mosu.subsidies.models import Application, Voucher
from mosu.subsidies.queries import (
    applications_visible_to,
    reason_of_decision,
)
from mosu.subsidies.rules import ApplicationState
from mosu.subsidies.services import withdraw_application
from mosu.web.pages import own_organisation, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.vouchers import tabs_of
from mosu.web.words import state_name_lazy, title_of

APPLICATIONS: Final = Plan(
    name="applications",
    title=_lazy("Applications"),
    columns=(
        Column("at", _lazy("Sent"), lambda one: one["row"].submitted_at, kind="time", sort="submitted_at"),
        Column(
            "programme",
            _lazy("Programme"),
            lambda one: one["title"],
            href=lambda one: reverse("application", args=[one["row"].public_id]),
        ),
        Column(
            "amount",
            _lazy("Amount"),
            lambda one: one["row"].amount_micros,
            kind="money",
            sort="amount_micros",
        ),
        Column(
            "state", _lazy("State"), lambda one: f"application_{one['row'].state}", kind="state", sort="state"
        ),
        Column("decided", _lazy("Decided"), lambda one: one["row"].decided_at, kind="time"),
        Column("note", _lazy("What for"), lambda one: one["row"].note, hidden=True),
        Column("documents", _lazy("Documents"), lambda one: one["documents"], hidden=True),
        Column(
            "voucher",
            _lazy("Voucher"),
            lambda one: _("See it") if one["voucher"] else "",
            href=lambda one: one["voucher"],
        ),
    ),
    order="-at",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(one.value, state_name_lazy(f"application_{one.value}")) for one in ApplicationState],
        ),
    ),
    empty=Empty(
        _lazy("No applications yet."),
        _lazy("Programmes say what they give and who may have it."),
        "/programmes/",
        _lazy("See the programmes"),
    ),
)


@require_GET
@page("voucher.read")
def applications(request: HttpRequest) -> HttpResponse:
    """What one's organisation applied for, and what became of it."""
    actor, organisation = actor_of(request), own_organisation(request)
    return list_page(
        request,
        "pages/applications.html",
        APPLICATIONS,
        applications_visible_to(actor).filter(organisation=organisation),
        prepare=lambda rows: _applications(actor, rows),
        context={"tabs": tabs_of(request)},
    )


@require_GET
@page("voucher.read")
def application(request: HttpRequest, application_id: str) -> HttpResponse:
    """One application: what was asked, what became of it and why; undecided, it can be taken back."""
    return _application(request, application_id)


def _application(
    request: HttpRequest, application_id: str, *, status: int = 200, **more: Any
) -> HttpResponse:
    actor, organisation = actor_of(request), own_organisation(request)
    people = ("version__programme", "applicant", "voucher")
    rows = applications_visible_to(actor).filter(organisation=organisation).select_related(*people)
    row = row_of(rows, application_id)
    context = {
        "row": row,
        "title": title_of(row.version),
        "documents": documents_of(actor, [row.id]).get(row.id, []),
        "reason": reason_of_decision(actor, row),
        "may_withdraw": row.state == ApplicationState.SUBMITTED
        and allows(actor, "voucher.apply", organisation.id),
        "why": Why(),
        **more,
    }
    return render(request, "pages/application.html", context, status=status)


@require_POST
@page("voucher.apply")
def withdraw(request: HttpRequest, application_id: str) -> HttpResponse:
    """Take an application back that nobody has decided."""
    return acted_with_reason(
        request,
        lambda why: withdraw_application(
            actor=actor_of(request),
            application_id=Application.key_of(application_id),
            why=why,
            now=timezone.now(),
        ),
        done=_("The application is taken back."),
        to=reverse("application", args=[application_id]),
        again=partial(_application, request, application_id),
    )


def _applications(actor: Actor, rows: Sequence[Application]) -> list[dict[str, Any]]:
    papers = documents_of(actor, [row.id for row in rows])
    return [
        {
            "row": row,
            "title": title_of(row.version),
            "documents": ", ".join(one.name for one in papers.get(row.id, [])),
            "voucher": reverse("voucher", args=[typeid(Voucher.prefix, row.voucher_id)])
            if row.voucher_id
            else "",
        }
        for row in rows
    ]
