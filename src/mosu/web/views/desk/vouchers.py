"""Vouchers: issued by one person, one or many at once, released by another, revoked with a reason."""

from functools import partial
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.refusals import DomainError
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.subsidies.models import Programme, Voucher
from mosu.subsidies.queries import (
    VoucherBalance,
    programmes_visible_to,
    terms_of,
    versions_of,
    vouchers_visible_to,
    vouchers_with_balances,
)
from mosu.subsidies.rules import VersionState, VoucherState
from mosu.subsidies.services import (
    BatchRefused,
    issue_voucher,
    issue_vouchers,
    release_voucher,
    revoke_voucher,
)
from mosu.web.navigation import address_of
from mosu.web.once import once
from mosu.web.pages import acted, page
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import MoneyField, OrganisationField, desk, form_of, framed, turn_of
from mosu.web.words import said_of, state_name_lazy, title_of, told

LIST_BYTES_MAX: Final = 300_000
PROGRAMMES_MAX: Final = 200

VOUCHERS: Final = Plan(
    name="vouchers",
    title=_lazy("Vouchers"),
    columns=(
        Column(
            "organisation",
            _lazy("Organisation"),
            lambda row: row.voucher.organisation.name,
            href=lambda row: reverse("desk_voucher", args=[row.voucher.public_id]),
        ),
        Column("programme", _lazy("Programme"), lambda row: title_of(row.voucher.version)),
        Column("state", _lazy("State"), lambda row: row.voucher.state, kind="state", sort="state"),
        Column(
            "amount",
            _lazy("Amount"),
            lambda row: row.voucher.amount_micros,
            kind="money",
            sort="amount_micros",
        ),
        Column("left", _lazy("Left"), lambda row: row.remaining_micros, kind="money"),
        Column("held", _lazy("Held"), lambda row: row.held_micros, kind="money", hidden=True),
        Column("issued", _lazy("Issued"), lambda row: row.voucher.issued_at, kind="time", sort="issued_at"),
        Column("until", _lazy("Until"), lambda row: row.voucher.expires_at, kind="day", sort="expires_at"),
        Column("maker", _lazy("By"), lambda row: maker_of(row.voucher)),
        Column("id", _lazy("Id"), lambda row: row.voucher.public_id, kind="mono", hidden=True),
    ),
    order="-issued",
    filters=(
        Filter(
            "organisation",
            _lazy("Organisation"),
            lambda rows, text: rows.filter(organisation__name__icontains=text),
        ),
        Filter(
            "programme",
            _lazy("Id of the programme"),
            lambda rows, text: rows.filter(version__programme__code__icontains=text),
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(one.value, state_name_lazy(one.value)) for one in VoucherState],
        ),
    ),
    empty=Empty(
        _lazy("No vouchers yet."),
        _lazy("Release a programme first; then issue vouchers under it, or grant applications."),
        "/desk/programmes/",
        _lazy("See programmes"),
    ),
)


def maker_of(voucher: Voucher) -> str:
    """Who issued it."""
    return voucher.maker.email if voucher.maker else _("by rule")


class ProgrammeField(forms.ChoiceField):
    """A programme in force."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label=_lazy("Programme"), **kwargs)


class VoucherForm(forms.Form):
    """One voucher."""

    programme = ProgrammeField()
    organisation = OrganisationField()
    amount = MoneyField(label=_lazy("Amount"))


class BatchForm(forms.Form):
    """A list of vouchers, pasted or chosen."""

    programme = ProgrammeField()
    text = forms.CharField(
        label=_lazy("The list"),
        required=False,
        max_length=LIST_BYTES_MAX,
        widget=forms.Textarea(
            attrs={"rows": 10, "spellcheck": "false", "placeholder": "organisation,amount\nACME,5000.00"}
        ),
        help_text=_lazy("CSV. First line: organisation,amount. An organisation by its whole name or its id."),
    )
    file = forms.FileField(
        label=_lazy("Or choose it"), required=False, widget=forms.FileInput(attrs={"accept": ".csv,text/csv"})
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        file = given.get("file")
        if file and file.size > LIST_BYTES_MAX:
            self.add_error("file", _("The file is larger than 300 KB."))
        elif file:
            try:
                given["text"], given["source"] = file.read().decode("utf-8-sig"), file.name[:100]
            except UnicodeDecodeError:
                self.add_error("file", _("The file is not text in UTF-8."))
        elif not given.get("text", "").strip():
            self.add_error("text", _("Paste the list here, or choose a file below."))
        return given


def _choices(actor: Actor) -> list[tuple[str, str]]:
    """The programmes in force, for a form."""
    rows = {row.id: row for row in programmes_visible_to(actor)[:PROGRAMMES_MAX]}
    found = []
    for key, versions in versions_of(list(rows)).items():
        version = next((one for one in versions if one.state == VersionState.RELEASED), None)
        if version is not None:
            title = told(title_of(version))
            found.append((rows[key].public_id, f"{title} · {rows[key].code} v{version.number}"))
    return sorted(found, key=lambda pair: pair[1])


def _form(kind: type[forms.Form], request: HttpRequest) -> Any:
    initial = {key: request.GET.get(key, "") for key in ("organisation", "programme")}
    form = form_of(kind, request, initial=initial)
    form.fields["programme"].choices = _choices(actor_of(request))
    return form


@require_GET
@page("desk.read")
def vouchers(request: HttpRequest) -> HttpResponse:
    """All vouchers."""
    actor = actor_of(request)
    may = allows(actor, "voucher.issue")
    context = {
        **framed("desk_vouchers"),
        "title": VOUCHERS.title,
        "new": (reverse("desk_voucher_new"), _("Issue a voucher")) if may else None,
        "more": (reverse("desk_voucher_batch"), _("Issue many from a list")) if may else None,
    }
    rows = vouchers_visible_to(actor).select_related("organisation", "version__programme", "maker")
    return list_page(
        request, "pages/desk/list.html", VOUCHERS, rows, prepare=vouchers_with_balances, context=context
    )


@require_http_methods(["GET", "POST"])
@page("voucher.issue")
@once(to="desk_vouchers")
def new(request: HttpRequest) -> HttpResponse:
    """Issue one voucher."""
    form = _form(VoucherForm, request)
    status, problem = 422 if request.method == "POST" else 200, None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = issue_voucher(
                actor=actor_of(request),
                organisation_id=given["organisation"].id,
                programme_id=Programme.key_of(given["programme"]),
                amount_micros=given["amount"],
                now=timezone.now(),
            )
        except DomainError as refusal:
            status, problem = refusal.status, said_of(refusal)
        else:
            return redirect("desk_voucher", made.public_id)
    return desk(
        request,
        "pages/desk/form.html",
        "desk_vouchers",
        status=status,
        form=form,
        problem=problem,
        title=_("Issue a voucher"),
        lede=_("The programme's pool pays it once a second person releases it."),
        action=_("Issue it"),
    )


@require_http_methods(["GET", "POST"])
@page("voucher.issue")
@once(to="desk_vouchers")
def batch(request: HttpRequest) -> HttpResponse:
    """Issue many vouchers from a list: checked whole, all or none."""
    form = _form(BatchForm, request)
    context: dict[str, Any] = {}
    status = 422 if request.method == "POST" else 200
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = issue_vouchers(
                actor=actor_of(request),
                programme_id=Programme.key_of(given["programme"]),
                text=given["text"],
                source=given.get("source", "vouchers.csv"),
                now=timezone.now(),
            )
        except BatchRefused as refusal:
            context["problems"] = refusal.problems
        except DomainError as refusal:
            status, context["problem"] = refusal.status, said_of(refusal)
        else:
            done = ngettext("%d voucher is issued.", "%d vouchers are issued.", len(made)) % len(made)
            messages.success(request, done)
            return redirect(f"{reverse('desk_vouchers')}?state=issued")
        form.data = form.data.copy()
        form.data["text"] = given["text"]
    return desk(
        request,
        "pages/desk/form.html",
        "desk_vouchers",
        status=status,
        form=form,
        title=_("Issue many from a list"),
        lede=_("The list is checked whole: if one line is wrong, none is issued."),
        action=_("Issue them"),
        **context,
    )


@require_GET
@page("desk.read")
def voucher(request: HttpRequest, voucher_id: str) -> HttpResponse:
    """One voucher: its money, who made it, who may release it."""
    return _shown(request, voucher_id)


def _shown(request: HttpRequest, voucher_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    rows = vouchers_visible_to(actor)
    row = row_of(rows.select_related("organisation", "version__programme", "maker", "checker"), voucher_id)
    (money,) = vouchers_with_balances([row])
    ends = row.state in (VoucherState.ISSUED, VoucherState.RELEASED)
    context = {
        "row": row,
        "money": money,
        "spent": _spent(money),
        "title": title_of(row.version),
        "maker": maker_of(row),
        "terms": terms_of(row.version),
        "turn": turn_of(actor, "voucher.release", row.maker_id) if row.state == VoucherState.ISSUED else "",
        "may_revoke": ends and allows(actor, "voucher.issue"),
        "ledger": f"{address_of('ledger')}?about={row.public_id}",
        "audit": audit_visible_to(actor).filter(subject_id=row.id),
        "why": Why(),
        **more,
    }
    return desk(request, "pages/desk/voucher.html", "desk_vouchers", status=status, **context)


def _spent(money: VoucherBalance) -> int | None:
    """What was spent of it, as long as it can be told from what is left."""
    if money.voucher.state not in (VoucherState.RELEASED, VoucherState.EXHAUSTED):
        return None
    return money.voucher.amount_micros - money.remaining_micros - money.held_micros


@require_POST
@page("voucher.release")
def release(request: HttpRequest, voucher_id: str) -> HttpResponse:
    """Let the voucher be used: its money leaves the pool."""
    return acted(
        request,
        lambda: release_voucher(
            actor=actor_of(request), voucher_id=Voucher.key_of(voucher_id), now=timezone.now()
        ),
        done=_("The voucher can be used; its money left the pool."),
        to=reverse("desk_voucher", args=[voucher_id]),
        again=partial(_shown, request, voucher_id),
    )


@require_POST
@page("voucher.issue")
def revoke(request: HttpRequest, voucher_id: str) -> HttpResponse:
    """Take the voucher back."""
    return acted_with_reason(
        request,
        lambda why: revoke_voucher(
            actor=actor_of(request),
            voucher_id=Voucher.key_of(voucher_id),
            why=why,
            now=timezone.now(),
        ),
        done=_("The voucher is revoked; what was left returns to its pool."),
        to=reverse("desk_voucher", args=[voucher_id]),
        again=partial(_shown, request, voucher_id),
    )
