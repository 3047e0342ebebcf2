"""One's organisation: what it is and may do, its people, its projects; founding one and choosing one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext, pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.queries import Spend, orders_visible_to, spend_by_project
from mosu.platform.actors import Actor, Role
from mosu.platform.models import (
    Admission,
    AdmissionState,
    Capability,
    Invitation,
    InvitationState,
    Membership,
    Organisation,
    Project,
    User,
)
from mosu.platform.policy import allows
from mosu.platform.queries import (
    admissions_visible_to,
    invitation_with,
    invitations_visible_to,
    memberships_visible_to,
    projects_visible_to,
)
from mosu.platform.requests import actor_of
from mosu.platform.services import (
    accept_invitation,
    change_role,
    invite,
    mail_goes_out,
    make_project,
    remove_member,
    revoke_invitation,
)
from mosu.web.components import Tab
from mosu.web.forms import Founding
from mosu.web.pages import own_organisation, page
from mosu.web.presenters import OrderShown
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.orders import ORDERS
from mosu.web.words import kind_name, role_name, role_name_lazy, said_of

ROLES: Final = [(role.value, role_name_lazy(role.value)) for role in Role]


class Inviting(forms.Form):
    """Whom to invite, and as what."""

    email = forms.EmailField(
        label=_lazy("E-mail address"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(
        label=_lazy("Role"),
        choices=ROLES,
        initial=Role.DEVELOPER.value,
        help_text=_lazy(
            "Developers order and run; finance applies for vouchers; administrators also manage people; "
            "viewers only look."
        ),
    )


class Naming(forms.Form):
    """A project's name."""

    name = forms.CharField(label=_lazy("Name of a new project"), min_length=2, max_length=100)


@dataclass(frozen=True, slots=True)
class CapabilityShown:
    """What an organisation may be here, and how it becomes that."""

    name: str
    gives: str
    has: bool
    how: str
    code: str = ""
    """What to ask for; empty where it cannot be asked for."""
    last: Admission | None = None
    """What was asked last, and what became of it."""

    @property
    def waits(self) -> bool:
        return self.last is not None and self.last.state == AdmissionState.ASKED


@dataclass(frozen=True, slots=True)
class ProjectShown:
    """A project with what its orders came to."""

    public_id: str
    name: str
    created_at: datetime
    spend: Spend

    @property
    def href(self) -> str:
        return reverse("project", args=[self.public_id])


ADMISSIONS_READ: Final = 50

MEMBERS: Final = Plan(
    name="members",
    title=_lazy("Members"),
    columns=(
        Column(
            "name",
            pgettext_lazy("member", "Who"),
            lambda row: str(row.user),
            href=lambda row: reverse("member", args=[row.public_id]),
        ),
        Column("email", _lazy("E-mail address"), lambda row: row.user.email),
        Column("role", _lazy("Role"), lambda row: role_name(row.role), sort="role"),
        Column("since", _lazy("Since"), lambda row: row.created_at, kind="day", sort="created_at"),
        Column("seen", _lazy("Last sign-in"), lambda row: row.user.last_login, kind="day", hidden=True),
    ),
    order="since",
    filters=(Filter("role", _lazy("Role"), lambda rows, role: rows.filter(role=role), ROLES),),
)

PROJECTS: Final = Plan(
    name="projects",
    title=_lazy("Projects"),
    columns=(
        Column("name", _lazy("Name"), lambda shown: shown.name, sort="name", href=lambda shown: shown.href),
        Column("orders", _lazy("Orders"), lambda shown: shown.spend.orders, kind="number"),
        Column("running", _lazy("Running"), lambda shown: shown.spend.running, kind="number"),
        Column("spent", _lazy("Spent"), lambda shown: shown.spend.spent_micros, kind="money"),
        Column("since", _lazy("Since"), lambda shown: shown.created_at, kind="day", sort="created_at"),
    ),
    order="since",
    empty=Empty(_lazy("No projects yet."), _lazy("Orders and their costs are gathered under projects.")),
)


def tabs_of(request: HttpRequest) -> list[Tab]:
    """The pages of an organisation."""
    places = [
        ("organisation", _("Overview")),
        ("members", _("Members")),
        ("projects", _("Projects")),
        ("budgets", _("Budgets")),
        ("facts", _("Facts")),
        ("documents", _("Documents")),
    ]
    return [Tab(title, reverse(name), reverse(name) == request.path) for name, title in places]


@require_GET
@page("organisation.read")
def organisation(request: HttpRequest) -> HttpResponse:
    """What the organisation is, what it may do here, and how it comes to may more."""
    return organisation_page(request)


def organisation_page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    """The page of one's organisation, with what `more` says above it."""
    row = own_organisation(request)
    actor = actor_of(request)
    asked = admissions_visible_to(actor).filter(organisation=row)
    last = {one.capability: one for one in reversed(asked[:ADMISSIONS_READ])}
    context = {
        "organisation": row,
        "state": f"organisation_{row.state}",
        "kind": kind_name(row.kind),
        "role": role_name(actor.roles[row.id]),
        "capabilities": _capabilities(row, last),
        "may_ask": allows(actor, "admission.ask", row.id),
        "tabs": tabs_of(request),
        **more,
    }
    return render(request, "pages/organisation.html", context, status=status)


def _capabilities(row: Organisation, last: Mapping[str, Admission]) -> list[CapabilityShown]:
    ask = _("Owners and administrators ask for it here; the operator decides.")
    every = {
        Capability.RESIDENT: (
            pgettext("capability", "Resident"),
            _("buys on all shelves, applies for the hub's programmes"),
            _("The operator admits residents after a look at the company."),
        ),
        Capability.SUPPLIER: (
            pgettext("capability", "Compute supplier"),
            _("puts a cluster on the shelf and is paid for what was used"),
            ask,
        ),
        Capability.DATA_PROVIDER: (
            pgettext("capability", "Data provider"),
            _("publishes corpora under a licence"),
            ask,
        ),
        Capability.SPONSOR: (
            pgettext("capability", "Sponsor"),
            _("posts problems with money"),
            ask,
        ),
        Capability.INVESTOR: (pgettext("capability", "Investor"), _("finds companies that fit"), ask),
    }
    shown = [
        CapabilityShown(
            name, gives, has=kind in row.capabilities, how=how, code=kind.value, last=last.get(kind.value)
        )
        for kind, (name, gives, how) in every.items()
    ]
    if Capability.OPERATOR in row.capabilities:
        shown.append(CapabilityShown(pgettext("capability", "Operator"), _("runs the hub"), has=True, how=""))
    return sorted(shown, key=lambda one: not one.has)


@require_http_methods(["GET", "POST"])
@page("organisation.read")
def members(request: HttpRequest) -> HttpResponse:
    """Who belongs to the organisation, and whom it has invited. An invitation's link is shown once."""
    actor, row, now = actor_of(request), own_organisation(request), timezone.now()
    may = allows(actor, "organisation.manage", row.id)
    form, problem, made = Inviting(), None, None
    if request.method == "POST" and "revoke" in request.POST:
        revoke_invitation(actor=actor, invitation_id=Invitation.key_of(request.POST["revoke"]), now=now)
        messages.success(request, _("The invitation is void; its link opens nothing any more."))
        return redirect("members")
    if request.method == "POST":
        form = Inviting(request.POST)
        if form.is_valid():
            try:
                invitation, link = invite(
                    actor=actor,
                    organisation_id=row.id,
                    email=form.cleaned_data["email"],
                    role=Role(form.cleaned_data["role"]),
                    now=now,
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                made = {"link": link, "email": invitation.email, "mailed": mail_goes_out()}
                form = Inviting()
    open_ones = invitations_visible_to(actor).filter(
        organisation=row, state=InvitationState.OPEN, expires_at__gt=now
    )
    context = {
        "tabs": tabs_of(request),
        "may_manage": may,
        "form": form,
        "problem": problem,
        "made": made,
        "invitations": [{"row": one, "role": role_name(one.role)} for one in (open_ones[:50] if may else [])],
    }
    rows = memberships_visible_to(actor).filter(organisation=row)
    return list_page(request, "pages/members.html", MEMBERS, rows, context=context)


@require_http_methods(["GET", "POST"])
@page("organisation.read")
def member(request: HttpRequest, member_id: str) -> HttpResponse:
    """One member: another role, or leaving. The last owner stays."""
    actor, now = actor_of(request), timezone.now()
    row = memberships_visible_to(actor).filter(id=Membership.key_of(member_id)).first()
    if row is None:
        raise NotFound(_("There is no such member."), hint=_("See the members of your organisation."))
    problem = None
    if request.method == "POST":
        try:
            if "remove" in request.POST:
                remove_member(actor=actor, membership_id=row.id, now=now)
                return _left(request, row)
            change_role(actor=actor, membership_id=row.id, role=_role_in(request), now=now)
        except DomainError as refusal:
            problem = said_of(refusal)
        else:
            messages.success(request, _("The role is changed; it counts from now on."))
            return redirect("members")
    context = {
        "member": row,
        "role": role_name(row.role),
        "roles": ROLES,
        "is_self": row.user_id == actor.id,
        "may_manage": allows(actor, "organisation.manage", row.organisation_id),
        "problem": problem,
    }
    return render(request, "pages/member.html", context, status=409 if problem else 200)


def _role_in(request: HttpRequest) -> Role:
    try:
        return Role(request.POST.get("role", ""))
    except ValueError:
        raise NotFound(_("There is no such role."), hint=_("Choose one from the list.")) from None


def _left(request: HttpRequest, row: Membership) -> HttpResponse:
    if row.user_id == actor_of(request).id:
        request.session.pop("organisation_id", None)
        messages.success(request, _("You have left %s.") % row.organisation.name)
        return redirect("account")
    messages.success(request, _("%s no longer belongs to the organisation.") % row.user)
    return redirect("members")


@require_http_methods(["GET", "POST"])
@page("organisation.read")
def projects(request: HttpRequest) -> HttpResponse:
    """The organisation's projects, each with its orders and what they cost."""
    actor, row = actor_of(request), own_organisation(request)
    form, problem = Naming(), None
    if request.method == "POST":
        form = Naming(request.POST)
        if form.is_valid():
            try:
                make_project(
                    actor=actor,
                    organisation_id=row.id,
                    name=form.cleaned_data["name"],
                    now=timezone.now(),
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                messages.success(request, _("The project is there: choose it when you order."))
                return redirect("projects")
    context = {
        "tabs": tabs_of(request),
        "form": form,
        "problem": problem,
        "may_make": allows(actor, "project.make", row.id),
    }
    rows = projects_visible_to(actor).filter(organisation=row)
    return list_page(
        request,
        "pages/projects.html",
        PROJECTS,
        rows,
        prepare=lambda found: _projects(actor, row, found),
        context=context,
    )


def _projects(actor: Actor, row: Organisation, found: list[Project]) -> list[ProjectShown]:
    spend = spend_by_project(actor, row.id)
    return [
        ProjectShown(one.public_id, one.name, one.created_at, spend.get(one.id, Spend())) for one in found
    ]


@require_GET
@page("organisation.read")
def project(request: HttpRequest, project_id: str) -> HttpResponse:
    """One project: what it spent, and its orders."""
    actor = actor_of(request)
    row = projects_visible_to(actor).filter(id=Project.key_of(project_id)).first()
    if row is None:
        raise NotFound(_("There is no such project."), hint=_("See the projects of your organisation."))
    spend = spend_by_project(actor, row.organisation_id).get(row.id, Spend())
    return list_page(
        request,
        "pages/project.html",
        ORDERS,
        orders_visible_to(actor).filter(project=row),
        prepare=lambda found: [OrderShown.of(one) for one in found],
        context={"project": row, "spend": spend},
    )


@require_POST
@page("self.change")
def choose_organisation(request: HttpRequest) -> HttpResponse:
    """Speak for another of one's organisations, in this session."""
    chosen = Organisation.key_of(request.POST.get("organisation", ""))
    if chosen not in actor_of(request).organisation_ids:
        raise NotFound(_("You do not belong to this organisation."), hint=_("Ask for an invitation."))
    request.session["organisation_id"] = str(chosen)
    return redirect("organisation")


@require_http_methods(["GET", "POST"])
@page("organisation.found")
def found(request: HttpRequest) -> HttpResponse:
    """An organisation of one's own: a first one, or a further one."""
    form = Founding(request.POST or None)
    user, problem = request.user, None
    if request.method == "POST" and form.is_valid() and isinstance(user, User):
        try:
            founded = form.found(user)
        except DomainError as refusal:
            problem = said_of(refusal)
        else:
            request.session["organisation_id"] = str(founded.id)
            messages.success(request, _("%s is founded, and you own it.") % founded.name)
            return redirect("organisation")
    status = 200 if request.method == "GET" else 422
    return render(request, "pages/found.html", {"form": form, "problem": problem}, status=status)


@require_http_methods(["GET", "POST"])
@page("hub.enter")
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """What one is invited to; accepting takes a press of the button, since mail readers open links by themselves."""
    if request.method == "POST":
        membership = accept_invitation(actor=actor_of(request), secret=secret, now=timezone.now())
        request.session["organisation_id"] = str(membership.organisation_id)
        messages.success(request, _("Welcome to %s.") % membership.organisation.name)
        return redirect("organisation")
    row = invitation_with(secret)
    if row is None:
        raise NotFound(
            _("There is no such invitation."),
            hint=_("Compare the address with the letter, or ask for a new one."),
        )
    context = {
        "invitation": row,
        "role": role_name(row.role),
        "over": row.state != InvitationState.OPEN or row.expires_at <= timezone.now(),
        "is_yours": actor_of(request).label.lower() == row.email.lower(),
    }
    return render(request, "pages/invitation.html", context)
