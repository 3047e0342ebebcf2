"""Applications and claims: what organisations ask for, decided with the evidence in view."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.market.queries import orders_visible_to
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to, facts_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.store.documents import documents_of
from mosu.subsidies.models import Application, Claim
from mosu.subsidies.queries import (
    applications_visible_to,
    claims_visible_to,
    disbursements_of,
    redemptions_of,
    standings_of,
)
from mosu.subsidies.rules import ApplicationState, ClaimState
from mosu.subsidies.services import (
    approve_application,
    approve_claim,
    disburse_claim,
    reject_application,
    reject_claim,
)
from mosu.web.pages import acted, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import desk, framed, turn_of
from mosu.web.words import state_name_lazy, title_of

_CLAIM_STATES: Final = {ClaimState.APPROVED.value: "claim_approved"}


def claim_state(state: str) -> str:
    """The code by which a claim's state is named: what is approved still waits for the second person."""
    return _CLAIM_STATES.get(state, state)


APPLICATIONS: Final = Plan(
    name="applications",
    title=_lazy("Applications"),
    columns=(
        Column(
            "organisation",
            _lazy("Organisation"),
            lambda row: row.organisation.name,
            href=lambda row: reverse("desk_application", args=[row.public_id]),
        ),
        Column(
            "programme",
            _lazy("Programme"),
            lambda row: title_of(row.version),
        ),
        Column("amount", _lazy("Amount"), lambda row: row.amount_micros, kind="money", sort="amount_micros"),
        Column("state", _lazy("State"), lambda row: row.state, kind="state", sort="state"),
        Column("at", _lazy("Asked"), lambda row: row.submitted_at, kind="time", sort="submitted_at"),
        Column("decided", _lazy("Decided"), lambda row: row.decided_at, kind="time"),
        Column("id", _lazy("Id"), lambda row: row.public_id, kind="mono", hidden=True),
    ),
    order="-at",
    filters=(
        Filter(
            "organisation",
            _lazy("Organisation"),
            lambda rows, text: rows.filter(organisation__name__icontains=text),
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(one.value, state_name_lazy(one.value)) for one in ApplicationState],
        ),
    ),
    empty=Empty(
        _lazy("No applications yet."),
        _lazy("Organisations apply on the page of vouchers, once a programme is in force."),
        "/desk/programmes/",
        _lazy("See programmes"),
    ),
)
CLAIMS: Final = Plan(
    name="claims",
    title=_lazy("Claims"),
    columns=(
        Column(
            "organisation",
            _lazy("Organisation"),
            lambda row: row.organisation.name,
            href=lambda row: reverse("desk_claim", args=[row.public_id]),
        ),
        Column("amount", _lazy("Amount"), lambda row: row.amount_micros, kind="money", sort="amount_micros"),
        Column("evidence", _lazy("Evidence"), lambda row: len(row.evidence), kind="number"),
        Column("state", _lazy("State"), lambda row: claim_state(row.state), kind="state", sort="state"),
        Column("at", _lazy("Asked"), lambda row: row.submitted_at, kind="time", sort="submitted_at"),
        Column("decided", _lazy("Decided"), lambda row: row.decided_at, kind="time"),
        Column("id", _lazy("Id"), lambda row: row.public_id, kind="mono", hidden=True),
    ),
    order="-at",
    filters=(
        Filter(
            "organisation",
            _lazy("Organisation"),
            lambda rows, text: rows.filter(organisation__name__icontains=text),
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(one.value, state_name_lazy(claim_state(one.value))) for one in ClaimState],
        ),
    ),
    empty=Empty(
        _lazy("No claims yet."),
        _lazy("An order under a programme that reimburses can be claimed once it is settled."),
    ),
)


@require_GET
@page("desk.read")
def applications(request: HttpRequest) -> HttpResponse:
    """Who asks for a voucher."""
    rows = applications_visible_to(actor_of(request)).select_related("organisation", "version__programme")
    context = {**framed("desk_applications"), "title": APPLICATIONS.title}
    return list_page(request, "pages/desk/list.html", APPLICATIONS, rows, context=context)


@require_GET
@page("desk.read")
def application(request: HttpRequest, application_id: str) -> HttpResponse:
    """One application, with each condition and the fact that it rests on."""
    return _application(request, application_id)


def _application(
    request: HttpRequest, application_id: str, *, status: int = 200, **more: Any
) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    people = ("organisation", "version__programme", "applicant", "decided_by", "voucher")
    row = row_of(applications_visible_to(actor).select_related(*people), application_id)
    clauses = [
        {
            "passed": one.passed,
            "needs": one.needs,
            "reason": {"zh": one.clause.reason_zh, "en": one.clause.reason_en},
            "when": one.clause.when,
        }
        for one in standings_of(row.organisation, [row.version], now=now)[0].results
    ]
    context = {
        "row": row,
        "title": title_of(row.version),
        "clauses": clauses,
        "facts": facts_visible_to(actor).filter(organisation=row.organisation)[:50],
        "documents": documents_of(actor, [row.id]).get(row.id, []),
        "may_decide": row.state == ApplicationState.SUBMITTED and allows(actor, "voucher.issue"),
        "audit": audit_visible_to(actor).filter(subject_id=row.id),
        "why": Why(),
        **more,
    }
    return desk(request, "pages/desk/application.html", "desk_applications", status=status, **context)


@require_POST
@page("voucher.issue")
def approve(request: HttpRequest, application_id: str) -> HttpResponse:
    """Grant it: a voucher is issued, which another person releases."""
    return acted(
        request,
        lambda: approve_application(
            actor=actor_of(request), application_id=Application.key_of(application_id), now=timezone.now()
        ),
        done=_("Granted: the voucher waits for its release by a second person."),
        to=reverse("desk_application", args=[application_id]),
        again=partial(_application, request, application_id),
    )


@require_POST
@page("voucher.issue")
def reject(request: HttpRequest, application_id: str) -> HttpResponse:
    """Refuse it, with the reason."""
    return acted_with_reason(
        request,
        lambda why: reject_application(
            actor=actor_of(request),
            application_id=Application.key_of(application_id),
            why=why,
            now=timezone.now(),
        ),
        done=_("The application is refused."),
        to=reverse("desk_application", args=[application_id]),
        again=partial(_application, request, application_id),
    )


@require_GET
@page("desk.read")
def claims(request: HttpRequest) -> HttpResponse:
    """Who asks for money back."""
    rows = claims_visible_to(actor_of(request)).select_related("organisation")
    context = {**framed("desk_claims"), "title": CLAIMS.title}
    return list_page(request, "pages/desk/list.html", CLAIMS, rows, context=context)


@require_GET
@page("desk.read")
def claim(request: HttpRequest, claim_id: str) -> HttpResponse:
    """One claim: its order, its evidence beside the hub's own records, who may pay it."""
    return _claim(request, claim_id)


def _claim(request: HttpRequest, claim_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    people = ("organisation", "claimant", "maker", "checker")
    row = row_of(claims_visible_to(actor).select_related(*people), claim_id)
    order = orders_visible_to(actor).filter(id=row.order_id).first()
    receipt = getattr(order, "receipt", None)
    decides = allows(actor, "voucher.issue")
    context = {
        "row": row,
        "state": claim_state(row.state),
        "order": order,
        "receipt": receipt,
        "evidence": _evidence(row.evidence, receipt.sha256 if receipt else ""),
        "redemptions": redemptions_of(actor, row.order_id),
        "disbursements": disbursements_of(actor, row.id),
        "may_decide": row.state == ClaimState.SUBMITTED and decides,
        "may_reject": row.state in (ClaimState.SUBMITTED, ClaimState.APPROVED) and decides,
        "turn": turn_of(actor, "voucher.release", row.maker_id) if row.state == ClaimState.APPROVED else "",
        "audit": audit_visible_to(actor).filter(subject_id=row.id),
        "why": Why(),
        **more,
    }
    return desk(request, "pages/desk/claim.html", "desk_claims", status=status, **context)


def _evidence(digests: Sequence[str], receipt: str) -> list[dict[str, Any]]:
    return [{"sha256": one, "is_receipt": one == receipt} for one in digests]


@require_POST
@page("voucher.issue")
def approve_refund(request: HttpRequest, claim_id: str) -> HttpResponse:
    """The evidence is checked; a second person pays."""
    return acted(
        request,
        lambda: approve_claim(actor=actor_of(request), claim_id=Claim.key_of(claim_id), now=timezone.now()),
        done=_("The claim waits for its payment by a second person."),
        to=reverse("desk_claim", args=[claim_id]),
        again=partial(_claim, request, claim_id),
    )


@require_POST
@page("voucher.issue")
def reject_refund(request: HttpRequest, claim_id: str) -> HttpResponse:
    """Refuse it: what was held for it is free again."""
    return acted_with_reason(
        request,
        lambda why: reject_claim(
            actor=actor_of(request),
            claim_id=Claim.key_of(claim_id),
            why=why,
            now=timezone.now(),
        ),
        done=_("The claim is refused; what was held for it is free again."),
        to=reverse("desk_claim", args=[claim_id]),
        again=partial(_claim, request, claim_id),
    )


@require_POST
@page("voucher.release")
def disburse(request: HttpRequest, claim_id: str) -> HttpResponse:
    """Pay it out."""
    return acted(
        request,
        lambda: disburse_claim(actor=actor_of(request), claim_id=Claim.key_of(claim_id), now=timezone.now()),
        done=_("The refund is on the organisation's balance."),
        to=reverse("desk_claim", args=[claim_id]),
        again=partial(_claim, request, claim_id),
    )
