"""The month's close: which months are closed, and closing the next."""

from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.kernel.time import month_in
from mosu.market import services
from mosu.market.bills import month_of
from mosu.market.hub import hub_zone
from mosu.market.queries import closes_visible_to
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.pages import acted, page
from mosu.web.tables import Column, Empty, Plan, list_page
from mosu.web.views.desk.frame import form_of, framed

CLOSES: Final = Plan(
    name="closes",
    title=_lazy("Closed months"),
    columns=(
        Column(
            "month",
            _lazy("Month"),
            lambda row: f"{row.month:%Y-%m}",
            sort="month",
            href=lambda row: f"{reverse('statements')}?month={row.month:%Y-%m}",
        ),
        Column("bills", _lazy("Bills"), lambda row: row.bills, kind="number"),
        Column("statements", _lazy("Statements"), lambda row: row.statements, kind="number"),
        Column("receipts", _lazy("Receipts"), lambda row: row.receipts, kind="number"),
        Column("usage", _lazy("Usage records summed"), lambda row: row.usage_records, kind="number"),
        Column("total", _lazy("Total"), lambda row: row.total_micros, kind="money"),
        Column("closed", _lazy("Closed"), lambda row: row.closed_at, kind="time"),
        Column("sha256", _lazy("Hash"), lambda row: row.sha256, kind="mono", hidden=True),
    ),
    order="-month",
    empty=Empty(_lazy("No month is closed yet."), _lazy("A month can be closed as soon as it is over.")),
)


class CloseForm(forms.Form):
    """Which month."""

    month = forms.CharField(
        label=_lazy("Month"),
        max_length=7,
        help_text=_lazy("Such as 2026-10, in the hub's months."),
        widget=forms.TextInput(
            attrs={"placeholder": "2026-10", "inputmode": "numeric", "autocomplete": "off"}
        ),
    )


@require_GET
@page("desk.read")
def closing(request: HttpRequest) -> HttpResponse:
    """All closed months; for the operator, the next to close."""
    return _shown(request)


def _shown(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    last = month_in(hub_zone(), timezone.now()).replace(day=1)
    before = last.replace(year=last.year - (last.month == 1), month=(last.month - 2) % 12 + 1)
    context = {
        **framed("desk_closing"),
        "may": allows(actor, "month.close"),
        "form": CloseForm(initial={"month": f"{before:%Y-%m}"}),
        **more,
    }
    answer = list_page(request, "pages/desk/closing.html", CLOSES, closes_visible_to(actor), context=context)
    answer.status_code = status
    return answer


@require_POST
@page("month.close")
def close(request: HttpRequest) -> HttpResponse:
    """Close a month."""
    form = form_of(CloseForm, request)
    if not form.is_valid():
        return _shown(request, status=422, form=form)
    return acted(
        request,
        lambda: services.close_month(
            actor=actor_of(request), month=month_of(form.cleaned_data["month"]), now=timezone.now()
        ),
        done=_("The month is closed: bills and statements are frozen."),
        to=reverse("desk_closing"),
        again=lambda **more: _shown(request, form=form, **more),
    )
