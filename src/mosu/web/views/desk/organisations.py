"""Organisations at the desk: search, admit, suspend, close; their facts; notices to them."""

from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.ledger.queries import accounts_visible_to, balance_in
from mosu.platform.models import (
    AdmissionState,
    Capability,
    Fact,
    Organisation,
    OrganisationKind,
    OrganisationState,
)
from mosu.platform.policy import allows
from mosu.platform.queries import (
    admissions_visible_to,
    audit_visible_to,
    facts_visible_to,
    memberships_visible_to,
    organisations_visible_to,
)
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.services import (
    admit,
    admit_asked,
    decline_admission,
    dismiss,
    move_organisation,
    send_notice,
    verify_fact,
)
from mosu.store.documents import documents_of, documents_visible_to
from mosu.web.once import once
from mosu.web.pages import acted, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import OrganisationField, desk, form_of, framed, turn_of
from mosu.web.words import capability_name, kind_name, role_name, state_name_lazy
from mosu.web.words import capability_name_lazy as _capability
from mosu.web.words import kind_name_lazy as _kind

AUDIT_SHOWN: Final = 20
MEMBERS_SHOWN: Final = 50
ADMISSIONS_SHOWN: Final = 20
DOCUMENTS_SHOWN: Final = 50

ORGANISATIONS: Final = Plan(
    name="organisations",
    title=_lazy("Organisations"),
    columns=(
        Column(
            "name",
            _lazy("Name"),
            lambda row: row.name,
            sort="name",
            href=lambda row: reverse("desk_organisation", args=[row.public_id]),
        ),
        Column("kind", _lazy("Kind"), lambda row: kind_name(row.kind), sort="kind"),
        Column(
            "capabilities",
            _lazy("Admitted as"),
            lambda row: ", ".join(capability_name(one) for one in row.capabilities),
        ),
        Column("state", _lazy("State"), lambda row: f"organisation_{row.state}", kind="state", sort="state"),
        Column("since", _lazy("Since"), lambda row: row.created_at, kind="day", sort="created_at"),
        Column("id", _lazy("Id"), lambda row: row.public_id, kind="mono", hidden=True),
    ),
    order="-since",
    filters=(
        Filter("q", _lazy("Name"), lambda rows, text: rows.filter(name__icontains=text)),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state, state_name_lazy(f"organisation_{state}")) for state in OrganisationState.values],
        ),
        Filter(
            "as",
            _lazy("Admitted as"),
            lambda rows, what: (
                rows.filter(capabilities=[]) if what == "none" else rows.filter(capabilities__contains=[what])
            ),
            [("none", _lazy("nothing yet")), *((one, _capability(one)) for one in Capability.values)],
        ),
        Filter(
            "kind",
            _lazy("Kind"),
            lambda rows, kind: rows.filter(kind=kind),
            [(one, _kind(one)) for one in OrganisationKind.values],
        ),
    ),
    empty=Empty(
        _lazy("No organisations yet."), _lazy("They come by signing up; the link is the front page's.")
    ),
)


class Admitting(Why):
    """A capability, given or taken back."""

    capability = forms.ChoiceField(
        label=_lazy("As"), choices=[(one, _capability(one)) for one in Capability.values]
    )
    field_order = ("capability", "why")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        checked = _lazy("What was checked: the licence, the contract, the minutes. It stays on record.")
        self.fields["why"].help_text = checked


class Closing(Why):
    """To close is for good, so its name is typed."""

    name = forms.CharField(label=_lazy("Type the organisation's name"), max_length=200, required=False)


class NoticeForm(forms.Form):
    """A notice in both languages; without an organisation, to everybody."""

    organisation = OrganisationField(required=False)
    title_zh = forms.CharField(label=_lazy("Title in Chinese"), max_length=200)
    title_en = forms.CharField(label=_lazy("Title in English"), max_length=200)
    body_zh = forms.CharField(
        label=_lazy("Text in Chinese"), max_length=4000, widget=forms.Textarea(attrs={"rows": 4})
    )
    body_en = forms.CharField(
        label=_lazy("Text in English"), max_length=4000, widget=forms.Textarea(attrs={"rows": 4})
    )


@require_GET
@page("desk.read")
def organisations(request: HttpRequest) -> HttpResponse:
    """All organisations."""
    actor = actor_of(request)
    context = {**framed("desk_organisations"), "title": ORGANISATIONS.title}
    return list_page(
        request, "pages/desk/list.html", ORGANISATIONS, organisations_visible_to(actor), context=context
    )


@require_GET
@page("desk.read")
def organisation(request: HttpRequest, org_id: str) -> HttpResponse:
    """One organisation: what it is, has, and what is to be decided about it."""
    return _shown(request, org_id)


def _shown(request: HttpRequest, org_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    row = row_of(organisations_visible_to(actor), org_id)
    facts = list(facts_visible_to(actor).filter(organisation=row)[:100])
    accounts = [
        {"kind": one.kind, "href": reverse("ledger_account", args=[one.public_id]), "money": balance_in(one)}
        for one in accounts_visible_to(actor).filter(owner_id=row.id)
    ]
    members = memberships_visible_to(actor).filter(organisation=row)[: MEMBERS_SHOWN + 1]
    now = timezone.now()
    asked = list(admissions_visible_to(actor).filter(organisation=row)[:ADMISSIONS_SHOWN])
    papers = documents_of(actor, [one.id for one in (*facts, *asked)])
    context = {
        "row": row,
        "asked": [
            {
                "row": one,
                "name": capability_name(one.capability),
                "state": f"admission_{one.state}",
                "waits": one.state == AdmissionState.ASKED,
                "documents": papers.get(one.id, []),
            }
            for one in asked
        ],
        "documents": documents_visible_to(actor).filter(organisation=row)[:DOCUMENTS_SHOWN],
        "why": Why(),
        "kind": kind_name(row.kind),
        "capabilities": [(one, capability_name(one)) for one in row.capabilities],
        "facts": [
            {
                "fact": one,
                "turn": turn_of(actor, "fact.verify", one.recorded_by_id),
                "documents": papers.get(one.id, []),
                "expired": one.expires_at is not None and one.expires_at <= now,
            }
            for one in facts
        ],
        "accounts": accounts,
        "members": [{"email": one.user.email, "role": role_name(one.role)} for one in members],
        "audit": audit_visible_to(actor).filter(organisation_id=row.id)[:AUDIT_SHOWN],
        "may_admit": allows(actor, "organisation.admit"),
        "may_propose": allows(actor, "deposit.propose"),
        "may_notify": allows(actor, "notice.send"),
        "admission": Admitting(),
        "moving": Closing(),
        **more,
    }
    return desk(request, "pages/desk/organisation.html", "desk_organisations", status=status, **context)


@require_POST
@page("organisation.admit")
def admit_as(request: HttpRequest, org_id: str) -> HttpResponse:
    """Give a capability, or take it back."""
    form = form_of(Admitting, request)
    if not form.is_valid():
        return _shown(request, org_id, status=422, admission=form)
    given, do = form.cleaned_data, dismiss if "dismiss" in request.POST else admit
    return acted(
        request,
        lambda: do(
            actor=actor_of(request),
            organisation_id=Organisation.key_of(org_id),
            capability=given["capability"],
            why=given["why"],
            now=timezone.now(),
        ),
        done=_("Recorded: %s.") % capability_name(given["capability"]),
        to=reverse("desk_organisation", args=[org_id]),
        again=partial(_shown, request, org_id, admission=form),
    )


@require_POST
@page("organisation.admit")
def decide_admission(request: HttpRequest, admission_id: str) -> HttpResponse:
    """Admit an organisation as what it asked for, or decline with the reason that it reads."""
    actor = actor_of(request)
    row = row_of(admissions_visible_to(actor), admission_id)
    org_id, declines = row.organisation.public_id, "decline" in request.POST
    decide = decline_admission if declines else admit_asked
    return acted_with_reason(
        request,
        lambda why: decide(actor=actor, admission_id=row.id, why=why, now=timezone.now()),
        done=_("Declined; they read the reason.") if declines else _("Admitted; they read the reason."),
        to=reverse("desk_organisation", args=[org_id]),
        again=partial(_shown, request, org_id),
    )


@require_POST
@page("organisation.admit")
def move(request: HttpRequest, org_id: str) -> HttpResponse:
    """Suspend, resume or close."""
    actor = actor_of(request)
    form, to = form_of(Closing, request), request.POST.get("to", "")
    row = row_of(organisations_visible_to(actor), org_id)
    closes = to == OrganisationState.CLOSED
    if form.is_valid() and closes and form.cleaned_data["name"].strip() != row.name:
        form.add_error("name", _("Type the name as it stands above: closing cannot be undone."))
    if to not in OrganisationState.values or not form.is_valid():
        return _shown(request, org_id, status=422, moving=form)
    done = {
        OrganisationState.ACTIVE.value: _("The organisation acts again."),
        OrganisationState.SUSPENDED.value: _(
            "The organisation is suspended: its people can do nothing for it."
        ),
        OrganisationState.CLOSED.value: _("The organisation is closed."),
    }[to]
    return acted(
        request,
        lambda: move_organisation(
            actor=actor,
            organisation_id=row.id,
            to=OrganisationState(to),
            why=form.cleaned_data["why"],
            now=timezone.now(),
        ),
        done=done,
        to=reverse("desk_organisation", args=[org_id]),
        again=partial(_shown, request, org_id, moving=form),
    )


@require_POST
@page("fact.verify")
def verify(request: HttpRequest, org_id: str, fact_id: str) -> HttpResponse:
    """Note that a fact was checked against its source."""
    return acted(
        request,
        lambda: verify_fact(actor=actor_of(request), fact_id=Fact.key_of(fact_id), now=timezone.now()),
        done=_("The fact is verified."),
        to=reverse("desk_organisation", args=[org_id]) + "#facts",
        again=partial(_shown, request, org_id),
    )


@require_http_methods(["GET", "POST"])
@page("notice.send")
@once(to="desk_mails")
def notice(request: HttpRequest) -> HttpResponse:
    """Tell the members of one organisation, or everybody."""
    form = form_of(NoticeForm, request, initial={"organisation": request.GET.get("organisation", "")})

    def again(**said: Any) -> HttpResponse:
        return desk(
            request,
            "pages/desk/form.html",
            "desk_mails",
            form=form,
            title=_("Send a notice"),
            lede=_("It reaches people's notices, and their mail where this hub sends mail."),
            action=_("Send"),
            **said,
        )

    if request.method == "GET" or not form.is_valid():
        return again(status=200 if request.method == "GET" else 422)
    given = form.cleaned_data
    return acted(
        request,
        lambda: send_notice(
            actor=actor_of(request),
            organisation_id=given["organisation"].id if given["organisation"] else None,
            title={"zh": given["title_zh"], "en": given["title_en"]},
            body={"zh": given["body_zh"], "en": given["body_en"]},
            now=timezone.now(),
        ),
        done=_("The notice is sent."),
        to=reverse("desk_mails"),
        again=again,
    )
