"""Budgets: what the organisation, a project or a person may spend in a month."""

from datetime import datetime
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext, pgettext_lazy
from django.views.decorators.http import require_http_methods

from mosu.compute.models import Quota
from mosu.compute.queries import idle_stop_of, quotas_visible_to
from mosu.compute.services import set_idle_stop, set_quota
from mosu.compute.services.sharing import UNITS_MAX
from mosu.kernel.money import micros_of
from mosu.kernel.refusals import DomainError
from mosu.market.models import Budget
from mosu.market.queries import BudgetStanding, budgets_visible_to, standings_of
from mosu.market.services import lift_budget, set_budget
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation, Project, User
from mosu.platform.policy import allows
from mosu.platform.queries import memberships_visible_to, projects_visible_to
from mosu.platform.requests import actor_of
from mosu.web.labels import accelerator_name
from mosu.web.pages import own_organisation, page
from mosu.web.tables import Button, Column, Empty, Plan, list_page
from mosu.web.views.organisation import tabs_of
from mosu.web.words import said_of

SUBJECTS_MAX: Final = 500
"""Projects and people in the list of whose budget it is."""


class Capping(forms.Form):
    """Whose budget, and how much."""

    whose = forms.ChoiceField(label=_lazy("Whose"), required=False)
    cap = forms.DecimalField(
        label=_lazy("At most in a month"),
        min_value=0,
        max_digits=15,
        decimal_places=2,
        help_text=_lazy(
            "An order counts with all that it may cost until it is settled, vouchers' part included. "
            "Owners, administrators and finance are told at 50, 80 and 100%; "
            "then what runs is stopped, its outputs saved."
        ),
    )


class Idling(forms.Form):
    """For how long accelerators may do nothing."""

    idle_minutes = forms.IntegerField(
        label=_lazy("Stop what does nothing for (minutes)"),
        min_value=15,
        max_value=10_080,
        required=False,
        help_text=_lazy(
            "Runs whose accelerators do nothing, and sessions that nobody uses. People are told after 15 minutes and "
            "warned 10 minutes before the end. Left empty, nothing is stopped. Outputs are saved in any case."
        ),
    )


class Holding(forms.Form):
    """How many units a project may hold at one time."""

    project = forms.ChoiceField(label=_lazy("Project"))
    accelerator = forms.CharField(
        label=_lazy("Accelerator"),
        max_length=60,
        required=False,
        help_text=_lazy("Such as H100. Left empty: cores of runs without cards."),
    )
    volumes = forms.BooleanField(
        label=_lazy("GB of volumes instead"),
        required=False,
        help_text=_lazy("Of all pools together, snapshots included."),
    )
    units_max = forms.IntegerField(
        label=_lazy("At most at one time"),
        min_value=0,
        max_value=UNITS_MAX,
        required=False,
        help_text=_lazy("Left empty, nothing limits it."),
    )


def _whose(standing: BudgetStanding) -> str:
    budget = standing.budget
    if budget.project is not None:
        return pgettext("budget", "Project %s") % budget.project.name
    if budget.user is not None:
        return pgettext("budget", "Member %s") % budget.user
    return str(pgettext("budget", "The whole organisation"))


_LIFT: Final = Column(
    "lift",
    "",
    lambda one: Button("lift", "lift", one.budget.public_id, pgettext("budget", "Lift")),
    kind="button",
)
BUDGETS: Final = Plan(
    name="budgets",
    title=_lazy("Budgets"),
    columns=(
        Column("whose", _lazy("Whose"), _whose),
        Column("cap", _lazy("At most in a month"), lambda one: one.budget.cap_micros, kind="money"),
        Column("spent", pgettext_lazy("budget", "Spent"), lambda one: one.spent_micros, kind="money"),
        Column("percent", _lazy("Of it in %"), lambda one: one.spent_percent, kind="number"),
        Column(
            "promised",
            _lazy("Promised to open orders"),
            lambda one: max(0, one.committed_micros - one.spent_micros),
            kind="money",
        ),
        Column("left", _lazy("May still be ordered"), lambda one: one.left_micros, kind="money"),
        Column(
            "since",
            _lazy("Since"),
            lambda one: one.budget.created_at,
            kind="day",
            sort="created_at",
            hidden=True,
        ),
        _LIFT,
    ),
    order="since",
    empty=Empty(
        _lazy("No budgets yet."),
        _lazy("A budget caps what a month may cost: of the organisation, a project or a member."),
    ),
)
READ_ONLY: Final = Plan(
    name=BUDGETS.name,
    title=BUDGETS.title,
    columns=tuple(one for one in BUDGETS.columns if one is not _LIFT),
    order=BUDGETS.order,
    empty=BUDGETS.empty,
)


@require_http_methods(["GET", "POST"])
@page("budget.read")
def budgets(request: HttpRequest) -> HttpResponse:
    """The organisation's budgets with how this month stands; owner, administrators and finance set and lift them."""
    actor, row, now = actor_of(request), own_organisation(request), timezone.now()
    form, idling, holding = _capping(request, row), _idling(request, row), _holding(request, row)
    problem = None
    if request.method == "POST":
        try:
            done = _done(request, row, form, idling, holding, now=now)
        except DomainError as refusal:
            problem = said_of(refusal)
        else:
            if done:
                messages.success(request, done)
                return redirect("budgets")
    may = allows(actor, "budget.set", row.id)
    context = {
        "tabs": tabs_of(request),
        "form": form,
        "idling": idling,
        "holding": holding,
        "quotas": _quotas(actor, row),
        "may_hold": allows(actor, "quota.set", row.id),
        "problem": problem,
        "may_set": may,
    }
    return list_page(
        request,
        "pages/budgets.html",
        BUDGETS if may else READ_ONLY,
        budgets_visible_to(actor).filter(organisation=row),
        prepare=lambda found: standings_of(found, now=now),
        context=context,
    )


def _done(
    request: HttpRequest, row: Organisation, form: Capping, idling: Idling, holding: Holding, *, now: datetime
) -> str:
    """Do what was sent; what is said of it, empty where its form says what is wrong."""
    actor = actor_of(request)
    if "lift" in request.POST:
        lift_budget(actor=actor, budget_id=Budget.key_of(request.POST["lift"]), now=now)
        return _("The budget is lifted: nothing is capped by it any more.")
    if idling.is_valid():
        minutes = idling.cleaned_data["idle_minutes"]
        set_idle_stop(actor=actor, organisation_id=row.id, stop_after_s=minutes and minutes * 60, now=now)
        return _("It counts for what runs now, too.")
    if holding.is_valid():
        set_quota(
            actor=actor,
            organisation_id=row.id,
            project_id=Project.key_of(holding.cleaned_data["project"]),
            accelerator=holding.cleaned_data["accelerator"].strip(),
            volumes=holding.cleaned_data["volumes"],
            units_max=holding.cleaned_data["units_max"],
            now=now,
        )
        return _("The quota counts from the next order on.")
    if form.is_valid():
        set_budget(
            actor=actor,
            organisation_id=row.id,
            cap_micros=micros_of(str(form.cleaned_data["cap"])),
            now=now,
            **_subject(form.cleaned_data["whose"]),
        )
        return _("The budget is set, and counts from this month on.")
    return ""


def _quotas(actor: Actor, row: Organisation) -> list[dict[str, Any]]:
    found = quotas_visible_to(actor).filter(organisation=row)[:SUBJECTS_MAX]
    return [
        {
            "whose": pgettext("budget", "Project %s") % one.project.name
            if one.project
            else pgettext("budget", "The whole organisation"),
            "what": _what(one),
            "units_max": one.units_max,
        }
        for one in found
    ]


def _what(quota: Quota) -> str:
    if quota.volumes:
        return _("GB of volumes")
    return accelerator_name(quota.accelerator) if quota.accelerator else _("Cores")


def _sent(request: HttpRequest, field: str) -> QueryDict | None:
    """What was posted, if it is the form that has this field: there are three on the page."""
    return request.POST if field in request.POST else None


def _idling(request: HttpRequest, row: Organisation) -> Idling:
    stop_s = idle_stop_of(row.id)
    return Idling(_sent(request, "idle_minutes"), initial={"idle_minutes": stop_s and stop_s // 60})


def _holding(request: HttpRequest, row: Organisation) -> Holding:
    form = Holding(_sent(request, "units_max"))
    projects = projects_visible_to(actor_of(request)).filter(organisation=row)[:SUBJECTS_MAX]
    choice: Any = form.fields["project"]
    choice.choices = [(one.public_id, one.name) for one in projects]
    return form


def _capping(request: HttpRequest, row: Organisation) -> Capping:
    actor = actor_of(request)
    projects = projects_visible_to(actor).filter(organisation=row)[:SUBJECTS_MAX]
    members = memberships_visible_to(actor).filter(organisation=row)[:SUBJECTS_MAX]
    form = Capping(_sent(request, "cap"))
    whose: Any = form.fields["whose"]
    whose.choices = [
        ("", pgettext("budget", "The whole organisation")),
        *((one.public_id, pgettext("budget", "Project %s") % one.name) for one in projects),
        *((one.user.public_id, pgettext("budget", "Member %s") % one.user) for one in members),
    ]
    return form


def _subject(whose: str) -> dict[str, Any]:
    if whose.startswith(f"{Project.prefix}_"):
        return {"project_id": Project.key_of(whose)}
    return {"user_id": User.key_of(whose)} if whose else {}
