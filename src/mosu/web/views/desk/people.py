"""The hub's staff, and letters that could not be mailed."""

from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.platform.actors import HubRole
from mosu.platform.models import HubMembership, Mail
from mosu.platform.policy import allows
from mosu.platform.queries import mail_waiting, person_with_email, staff_of_hub
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.services import grant_hub_role, mail_goes_out, pass_on, revoke_hub_role
from mosu.web.pages import acted, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page, table_of
from mosu.web.views.desk.frame import desk, form_of, framed
from mosu.web.words import hub_role_name, hub_role_name_lazy

STAFF: Final = Plan(
    name="staff",
    title=_lazy("Staff"),
    columns=(
        Column(
            "email",
            _lazy("E-mail"),
            lambda row: row.user.email,
            href=lambda row: reverse("desk_staff_role", args=[row.public_id]),
        ),
        Column("name", _lazy("Name"), lambda row: row.user.name),
        Column("role", _lazy("Role"), lambda row: hub_role_name(row.role), sort="role"),
        Column("since", _lazy("Since"), lambda row: row.created_at, kind="day", sort="created_at"),
    ),
    order="since",
    filters=(
        Filter(
            "role",
            _lazy("Role"),
            lambda rows, role: rows.filter(role=role),
            [(one.value, hub_role_name_lazy(one.value)) for one in HubRole],
        ),
    ),
)
MAILS: Final = Plan(
    name="letters",
    title=_lazy("Letters that did not go out"),
    columns=(
        Column(
            "email",
            pgettext_lazy("letter", "To"),
            lambda row: row.email,
            sort="email",
            href=lambda row: reverse("desk_mail", args=[row.public_id]),
        ),
        Column("title", _lazy("Title"), lambda row: row.title),
        Column("link", _lazy("With a link"), lambda row: _("yes") if row.sealed_link else _("no")),
        Column("since", _lazy("Since"), lambda row: row.created_at, kind="time", sort="created_at"),
    ),
    order="-since",
    filters=(
        Filter("email", pgettext_lazy("letter", "To"), lambda rows, text: rows.filter(email__icontains=text)),
    ),
    empty=Empty(
        _lazy("No letter waits."),
        _lazy("On a hub without a mail server, invitations and new passwords wait here to be passed on."),
    ),
)


class RoleForm(forms.Form):
    """A person of the hub to be."""

    email = forms.EmailField(
        label=_lazy("E-mail"), help_text=_lazy("The person signs up first, with this address.")
    )
    role = forms.ChoiceField(
        label=_lazy("Role"), choices=[(one.value, hub_role_name_lazy(one.value)) for one in HubRole]
    )


@require_GET
@page("desk.read")
def staff(request: HttpRequest) -> HttpResponse:
    """Who operates, who checks, who audits."""
    return _staff(request, form=RoleForm())


def _staff(request: HttpRequest, *, form: forms.Form, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    table = table_of(request, STAFF, staff_of_hub(actor))
    context = {"table": table, "form": form, "may_grant": allows(actor, "hub.staff"), **more}
    return desk(request, "pages/desk/staff.html", "desk_staff", status=status, **context)


@require_POST
@page("hub.staff")
def grant(request: HttpRequest) -> HttpResponse:
    """Take a person into the hub's staff."""
    form, actor = form_of(RoleForm, request), actor_of(request)
    person = person_with_email(actor, form.cleaned_data["email"]) if form.is_valid() else None
    if person is None:
        if not form.errors:
            form.add_error("email", _("Nobody signs in with this address yet."))
        return _staff(request, form=form, status=422)
    return acted(
        request,
        lambda: grant_hub_role(
            actor=actor, user_id=person.id, role=HubRole(form.cleaned_data["role"]), now=timezone.now()
        ),
        done=_("%s belongs to the hub's staff.") % person.email,
        to=reverse("desk_staff"),
        again=partial(_staff, request, form=form),
    )


@require_GET
@page("desk.read")
def role(request: HttpRequest, hubmember_id: str) -> HttpResponse:
    """One role of one person, and its end."""
    return _role(request, hubmember_id)


def _role(request: HttpRequest, hubmember_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    row = row_of(staff_of_hub(actor), hubmember_id)
    context = {
        "row": row,
        "role": hub_role_name(row.role),
        "is_self": row.user_id == actor.id,
        "may_revoke": allows(actor, "hub.staff"),
        "why": Why(),
        **more,
    }
    return desk(request, "pages/desk/staff_role.html", "desk_staff", status=status, **context)


@require_POST
@page("hub.staff")
def revoke(request: HttpRequest, hubmember_id: str) -> HttpResponse:
    """Take a role back."""
    return acted_with_reason(
        request,
        lambda why: revoke_hub_role(
            actor=actor_of(request),
            membership_id=HubMembership.key_of(hubmember_id),
            why=why,
            now=timezone.now(),
        ),
        done=_("The role is taken back; what the person did stays on record."),
        to=reverse("desk_staff"),
        again=partial(_role, request, hubmember_id),
    )


@require_GET
@page("mail.read")
def mails(request: HttpRequest) -> HttpResponse:
    """Letters that wait to be passed on."""
    context = {
        **framed("desk_mails"),
        "title": MAILS.title,
        "new": (reverse("desk_notice"), _("Send a notice")),
        "note": "" if mail_goes_out() else _("This hub has no mail server: letters wait here for you."),
    }
    rows = mail_waiting(actor_of(request))
    return list_page(request, "pages/desk/list.html", MAILS, rows, context=context)


@require_GET
@page("mail.read")
def mail(request: HttpRequest, mail_id: str) -> HttpResponse:
    """One letter; its link is shown when asked for, which is recorded."""
    return _mail(request, mail_id)


def _mail(request: HttpRequest, mail_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    row = row_of(mail_waiting(actor_of(request)), mail_id)
    return desk(request, "pages/desk/mail.html", "desk_mails", status=status, row=row, **more)


@require_POST
@page("mail.pass_on")
def show_link(request: HttpRequest, mail_id: str) -> HttpResponse:
    """The secret link, once on this page; that it was shown is on record."""
    link = pass_on(actor=actor_of(request), mail_id=Mail.key_of(mail_id), now=timezone.now())
    return _mail(request, mail_id, link=link)
