"""What auditors find: opened, answered by another person, closed; each step with its record."""

from functools import partial
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform import services
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord, Finding, FindingState
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to, findings_visible_to
from mosu.platform.requests import actor_of
from mosu.web.components import Moment
from mosu.web.pages import acted, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.books import tabs_of
from mosu.web.words import said_of

STATES: Final = (
    (FindingState.OPEN.value, pgettext_lazy("finding", "Open")),
    (FindingState.ANSWERED.value, pgettext_lazy("finding", "Answered")),
    (FindingState.CLOSED.value, pgettext_lazy("finding", "Closed")),
)


def _late(rows: Any, value: str) -> Any:
    return rows.filter(state=FindingState.OPEN, due_at__lt=timezone.now())


def page_of_subject(subject: str) -> str:
    """Where a finding's subject is shown in the books; empty if nowhere."""
    names = {"order": "chain", "account": "book_account", "sample": "sample"}
    name = names.get(subject.rpartition("_")[0])
    return reverse(name, args=[subject]) if name else ""


FINDINGS: Final = Plan(
    name="findings",
    title=_lazy("Findings"),
    columns=(
        Column(
            "title",
            _lazy("Finding"),
            lambda one: one.title,
            href=lambda one: reverse("finding", args=[one.public_id]),
        ),
        Column("subject", _lazy("Subject"), lambda one: one.subject, kind="mono"),
        Column("state", _lazy("State"), lambda one: one.state, kind="state", sort="state"),
        Column(
            "due",
            _lazy("Answer due"),
            lambda one: one.due_at if one.state == FindingState.OPEN else None,
            kind="day",
        ),
        Column("opened", _lazy("Opened"), lambda one: one.opened_at, kind="time", sort="opened_at"),
        Column("by", _lazy("Opened by"), lambda one: one.opened_by.email),
        Column(
            "answered",
            _lazy("Answered by"),
            lambda one: one.answered_by.email if one.answered_by else "",
            hidden=True,
        ),
        Column("text", _lazy("What was found"), lambda one: one.text, hidden=True),
        Column("answer", _lazy("Answer"), lambda one: one.answer, hidden=True),
        Column("closed", _lazy("Closed"), lambda one: one.closed_at, kind="time", hidden=True),
    ),
    order="-opened",
    filters=(
        Filter("state", _lazy("State"), lambda rows, state: rows.filter(state=state), STATES),
        Filter("due", _lazy("Answer"), _late, [("overdue", _lazy("Overdue"))]),
        Filter("subject", _lazy("Subject"), lambda rows, text: rows.filter(subject=text.strip())),
    ),
    empty=Empty(
        _lazy("No findings."),
        _lazy("One is opened on the page of what it is about: an order's chain, a sample, an account."),
    ),
)


@require_GET
@page("finding.read")
def findings(request: HttpRequest) -> HttpResponse:
    """All findings, the newest first."""
    actor = actor_of(request)
    context = {"tabs": tabs_of("findings"), "may_open": allows(actor, "finding.open")}
    return list_page(request, "pages/findings.html", FINDINGS, findings_visible_to(actor), context=context)


class Opening(forms.Form):
    """A new finding."""

    subject = forms.CharField(
        label=_lazy("Subject"),
        max_length=100,
        help_text=_lazy("The id of what it is about, such as order_01jd4x…"),
    )
    title = forms.CharField(label=_lazy("In one line"), max_length=200)
    text = forms.CharField(
        label=_lazy("What was found"),
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text=_lazy(
            "What you saw, what you expected, by what rule. The operator answers within 14 days."
        ),
    )


@require_http_methods(["GET", "POST"])
@page("finding.open")
def open_finding(request: HttpRequest) -> HttpResponse:
    """The form of a new finding about a subject."""
    form = Opening(request.POST or None, initial={"subject": request.GET.get("subject", "")})
    problem, status = None, 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        try:
            found = services.open_finding(actor=actor_of(request), now=timezone.now(), **form.cleaned_data)
        except DomainError as refusal:
            problem, status = said_of(refusal), refusal.status
        else:
            messages.success(request, _("The finding is open; the operator has 14 days to answer."))
            return redirect("finding", found.public_id)
    context = {"tabs": tabs_of("findings"), "form": form, "problem": problem}
    return render(request, "pages/finding_new.html", context, status=status)


class Words(forms.Form):
    """What is said about a finding."""

    text = forms.CharField(max_length=4000, widget=forms.Textarea(attrs={"rows": 5}))

    def __init__(self, *args: Any, label: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["text"].label = label


_STEPS: Final[dict[str, tuple[Any, Any]]] = {
    "answer": (_lazy("Answer: what was or will be done"), _lazy("Answer")),
    "close": (_lazy("Why it can be closed"), _lazy("Close the finding")),
    "reopen": (_lazy("Why it is open again"), _lazy("Open it again")),
}


@require_http_methods(["GET", "POST"])
@page("finding.read")
def finding(request: HttpRequest, finding_id: str) -> HttpResponse:
    """One finding: its words, what happened to it, and what is the reader's to do."""
    actor = actor_of(request)
    row = findings_visible_to(actor).filter(id=Finding.key_of(finding_id)).first()
    if row is None:
        raise NotFound(_("There is no such finding."), hint=_("See the list of findings."))
    if request.method != "POST":
        return _shown(request, row)
    step, form = request.POST.get("step", ""), Words(request.POST, label="")
    if step not in _STEPS or not form.is_valid():
        return _shown(request, row, status=422)
    return acted(
        request,
        lambda: _take(step, actor, row, form.cleaned_data["text"]),
        done=_("It is on record."),
        to=reverse("finding", args=[finding_id]),
        again=partial(_shown, request, row),
    )


def _shown(request: HttpRequest, row: Finding, *, status: int = 200, **more: Any) -> HttpResponse:
    actor, step = actor_of(request), request.POST.get("step", "")
    return render(
        request,
        "pages/finding.html",
        {
            "tabs": tabs_of("findings"),
            "finding": row,
            "subject_page": page_of_subject(row.subject),
            "is_late": row.state == FindingState.OPEN and row.due_at < timezone.now(),
            "moments": [
                _moment(record) for record in audit_visible_to(actor).filter(subject_id=row.id).order_by("id")
            ],
            "steps": [
                (
                    code,
                    button,
                    Words(request.POST if code == step else None, label=label, auto_id=f"{code}_%s"),
                )
                for code, (label, button) in _STEPS.items()
                if code in _steps_of(actor, row)
            ],
            "own": actor.id == row.opened_by_id
            and allows(actor, "finding.answer")
            and row.state == FindingState.OPEN,
            **more,
        },
        status=status,
    )


def _steps_of(actor: Actor, row: Finding) -> list[str]:
    """What this person can do with it now."""
    steps = []
    if row.state == FindingState.OPEN and allows(actor, "finding.answer") and actor.id != row.opened_by_id:
        steps.append("answer")
    if allows(actor, "finding.open"):
        steps += ["reopen"] if row.state == FindingState.CLOSED else ["close"]
        if row.state == FindingState.ANSWERED:
            steps.append("reopen")
    return steps


def _take(step: str, actor: Actor, row: Finding, text: str) -> None:
    now = timezone.now()
    if step == "answer":
        services.answer_finding(actor=actor, finding_id=row.id, answer=text, now=now)
    elif step == "close":
        services.close_finding(actor=actor, finding_id=row.id, why=text, now=now)
    else:
        services.reopen_finding(actor=actor, finding_id=row.id, why=text, now=now)


def _moment(record: AuditRecord) -> Moment:
    names = dict(STATES)
    title = names.get(record.after or "", record.after or "")
    return Moment(
        f"{title} · {record.actor_label}",
        record.at,
        mark="ok" if record.after == "closed" else "wait",
        note=record.why,
    )
