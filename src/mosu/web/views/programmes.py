"""Programmes: what they give, who may have it, applying, and claiming what orders earned back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.ids import typeid
from mosu.kernel.money import MINOR_DIGITS, micros_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.models import Order
from mosu.market.queries import orders_visible_to
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import allows
from mosu.platform.queries import facts_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.store.documents import documents_of, documents_visible_to
from mosu.store.models import Document
from mosu.subsidies.models import Application, Claim, Programme, ProgrammeVersion, Redemption, Voucher
from mosu.subsidies.queries import (
    Standing,
    applications_visible_to,
    claims_visible_to,
    reason_of_decision,
    refunds_due,
    standings_of,
    terms_of,
    versions_in_force,
)
from mosu.subsidies.rules import ApplicationState, ClaimState, ProgrammeKind
from mosu.subsidies.services import apply_for_voucher, submit_claim, withdraw_application
from mosu.web.pages import own_organisation, page
from mosu.web.presenters import Bilingual
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import Why, acted_with_reason
from mosu.web.views.money import orders_named
from mosu.web.views.vouchers import percent, tabs_of, terms_shown, where_of
from mosu.web.words import said_of, state_name_lazy, title_of

DOCUMENTS_OFFERED: Final = 50
_FACT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True, slots=True)
class ClauseShown:
    """A condition as it stands for one organisation."""

    reason: Bilingual
    state: str
    """`clause_passed`, `clause_failed`, `clause_needs` or `clause_waits`: recorded, not checked by the hub yet."""
    needs: str = ""
    record: str = ""
    """Where the fact that it needs is recorded."""


@dataclass(frozen=True, slots=True)
class ProgrammeShown:
    """A programme in force, and how the organisation stands to it."""

    public_id: str
    title: Bilingual
    kind: str
    rate: str
    where: Sequence[str]
    cap_per_order: int | None
    grant: int | None
    pool: int
    state: str
    clauses: Sequence[ClauseShown]
    by_rule: bool

    @property
    def href(self) -> str:
        return reverse("programme", args=[self.public_id])

    @property
    def missing(self) -> list[ClauseShown]:
        return [one for one in self.clauses if one.state != "clause_passed"]


class Applying(forms.Form):
    """An application: how much, why, and what shows it."""

    amount = forms.DecimalField(label=_lazy("Amount"), min_value=0, max_digits=18)
    note = forms.CharField(
        label=_lazy("What for"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_lazy(
            "One or two sentences help whoever decides: the project, how many card-hours, by when."
        ),
    )
    documents = forms.MultipleChoiceField(
        label=_lazy("Documents"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_lazy("From those that your organisation uploaded once."),
    )

    def __init__(self, *args: Any, documents: Sequence[Document], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        digits = MINOR_DIGITS[settings.HUB_CURRENCY]
        amount = self.fields["amount"]
        amount.decimal_places = digits  # type: ignore[attr-defined]
        amount.help_text = _("In %(currency)s, at most %(digits)d decimals.") % {
            "currency": settings.HUB_CURRENCY,
            "digits": digits,
        }
        choose_among(self, documents)


class Claiming(forms.Form):
    """A claim: its receipt goes along by itself, further documents as chosen."""

    documents = forms.MultipleChoiceField(
        label=_lazy("Invoice, delivery certificate"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_lazy("The order's receipt goes along by itself."),
    )

    def __init__(self, *args: Any, documents: Sequence[Document], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choose_among(self, documents)


def choose_among(form: forms.Form, documents: Sequence[Document]) -> None:
    """Offer the documents in the form's field `documents`; where there are none, no such field."""
    if not documents:
        del form.fields["documents"]
        return
    field: Any = form.fields["documents"]
    field.choices = [(one.public_id, f"{one.name} · {one.uploaded_at:%Y-%m-%d}") for one in documents]


def documents_chosen(form: forms.Form) -> list[UUID]:
    """The keys of the documents that were ticked."""
    return [Document.key_of(one) for one in form.cleaned_data.get("documents", [])]


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


@require_GET
@page("programme.read")
def programmes(request: HttpRequest) -> HttpResponse:
    """What is in force, and how one's organisation stands to each."""
    actor, now = actor_of(request), timezone.now()
    versions = versions_in_force()
    organisation = own_organisation(request) if actor.organisation_id else None
    shown = _shown(actor, organisation, versions, now=now)
    return render(
        request,
        "pages/programmes.html",
        {"tabs": tabs_of(request) if organisation else [], "programmes": shown, "organisation": organisation},
    )


@require_http_methods(["GET", "POST"])
@page("programme.read")
def programme(request: HttpRequest, programme_id: str) -> HttpResponse:
    """One programme: its terms, each condition with how one stands to it, and the application."""
    actor, now = actor_of(request), timezone.now()
    key = Programme.key_of(programme_id)
    version = next((one for one in versions_in_force() if one.programme_id == key), None)
    if version is None:
        raise NotFound(_("There is no such programme."), hint=_("See the list of programmes."))
    organisation = own_organisation(request) if actor.organisation_id else None
    may = organisation is not None and allows(actor, "voucher.apply", organisation.id)
    form = problem = None
    if organisation is not None and may:
        form = Applying(request.POST or None, documents=_documents(actor, organisation))
        if request.method == "POST" and form.is_valid():
            try:
                apply_for_voucher(
                    actor=actor,
                    organisation_id=organisation.id,
                    programme_id=key,
                    amount_micros=micros_of(format(form.cleaned_data["amount"], "f")),
                    note=form.cleaned_data["note"],
                    document_ids=documents_chosen(form),
                    now=now,
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                messages.success(
                    request, _("Your application is with the operator. You see here what becomes of it.")
                )
                return redirect("applications")
    (shown,) = _shown(actor, organisation, [version], now=now)
    own = applications_visible_to(actor).filter(organisation=organisation, version__programme=key)[:10]
    context = {
        "programme": shown,
        "terms": terms_shown(terms_of(version)),
        "source": version.terms["source"],
        "number": version.number,
        "released_at": version.released_at,
        "organisation": organisation,
        "may_apply": may,
        "form": form,
        "problem": problem,
        "applications": list(own) if organisation else [],
    }
    return render(request, "pages/programme.html", context, status=409 if problem else 200)


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


@require_http_methods(["GET", "POST"])
@page("voucher.read")
def claims(request: HttpRequest) -> HttpResponse:
    """Refunds that settled orders earned: to be claimed, and claimed."""
    actor, organisation, now = actor_of(request), own_organisation(request), timezone.now()
    documents = _documents(actor, organisation)
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


def _shown(
    actor: Actor, organisation: Organisation | None, versions: Sequence[ProgrammeVersion], *, now: datetime
) -> list[ProgrammeShown]:
    if organisation is None:
        standings: Sequence[Standing] = [Standing(terms_of(one), True, []) for one in versions]
        claimed: set[str] = set()
    else:
        standings = standings_of(organisation, versions, now=now)
        claimed = set(
            facts_visible_to(actor)
            .order_by()
            .filter(organisation=organisation, verified_at=None)
            .values_list("name", flat=True)
        )
    return [
        _programme(version, standing, claimed, member=organisation is not None)
        for version, standing in zip(versions, standings, strict=True)
    ]


def _programme(
    version: ProgrammeVersion, standing: Standing, claimed: set[str], *, member: bool
) -> ProgrammeShown:
    terms = standing.terms
    by_rule = terms.kind is ProgrammeKind.TRIAL
    if not standing.is_open:
        state = "programme_closed"
    elif by_rule:
        state = "programme_by_rule"
    elif not member:
        state = ""
    elif standing.passes:
        state = "programme_fits"
    else:
        state = "programme_needs" if len(standing.needs) == len(_failed(standing)) else "programme_unfit"
    return ProgrammeShown(
        public_id=version.programme.public_id,
        title=title_of(terms),
        kind=terms.kind,
        rate=percent(terms.rate),
        where=where_of(terms),
        cap_per_order=terms.cap_per_order_micros,
        grant=terms.grant_micros,
        pool=terms.pool_micros,
        state=state,
        clauses=[_clause(result, claimed) for result in standing.results],
        by_rule=by_rule,
    )


def _failed(standing: Standing) -> list[Any]:
    return [result for result in standing.results if not result.passed]


def _clause(result: Any, claimed: set[str]) -> ClauseShown:
    reason = {"zh": result.clause.reason_zh, "en": result.clause.reason_en}
    if result.passed:
        return ClauseShown(reason, "clause_passed")
    if not result.needs:
        return ClauseShown(reason, "clause_failed")
    if not _FACT_NAME.fullmatch(result.needs):
        return ClauseShown(reason, "clause_failed")
    if result.needs in claimed:
        return ClauseShown(reason, "clause_waits", result.needs, reverse("facts"))
    record = reverse("facts") + "?" + urlencode({"record": result.needs}) + "#record"
    return ClauseShown(reason, "clause_needs", result.needs, record)


def _documents(actor: Actor, organisation: Organisation) -> list[Document]:
    return list(documents_visible_to(actor).filter(organisation=organisation)[:DOCUMENTS_OFFERED])


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
