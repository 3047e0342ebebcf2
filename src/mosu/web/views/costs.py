"""What a month cost: by day, by project, by accelerator; as a table, as CSV, and in FOCUS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET

from mosu.kernel.time import month_in
from mosu.market.bills import month_of, span_of
from mosu.market.focus import VERSIONS, Format, costs_of, file_of, version_of
from mosu.market.hub import hub_zone
from mosu.market.queries import costs_in, largest
from mosu.platform.requests import actor_of
from mosu.web.components import Bar
from mosu.web.labels import accelerator_name
from mosu.web.pages import page
from mosu.web.tables import Column, Plan, csv_of
from mosu.web.views.bills import organisation_asked

PARTS: Final = Plan(
    name="costs",
    title=_lazy("Costs"),
    columns=(
        Column("by", _lazy("By"), lambda part: part.by),
        Column("name", _lazy("Name"), lambda part: part.name),
        Column("cost", _lazy("Cost"), lambda part: part.micros, kind="money"),
    ),
    order="-cost",
)


@dataclass(frozen=True, slots=True)
class Part:
    """What one day, project or accelerator cost, and its share of the largest."""

    by: Any
    name: str
    micros: int
    percent: str


@require_GET
@page("receipt.read")
def costs(request: HttpRequest) -> HttpResponse:
    """A month's cost; this month's, unless another is named."""
    actor, organisation = actor_of(request), organisation_asked(request)
    zone, now = hub_zone(), timezone.now()
    month = month_of(request.GET["month"]) if request.GET.get("month") else month_in(zone, now)
    found = costs_in(actor, organisation.id, span_of(month, zone=zone), zone=zone)
    projects = _parts(_("Project"), dict(found.by_project))
    accelerators = _parts(
        _("Accelerator"),
        {accelerator_name(code) if code else _("Cores alone"): n for code, n in found.by_accelerator.items()},
    )
    days = _days(month)
    if request.GET.get("format") == "csv":
        by_day = [Part(_("Day"), f"{day}", found.by_day[day], "") for day in days if found.by_day[day]]
        return csv_of(request, PARTS, [*by_day, *projects, *accelerators])
    top = max(found.by_day.values(), default=0)
    context = {
        "organisation": organisation,
        "month": f"{month:%Y-%m}",
        "before": f"{month - timedelta(days=1):%Y-%m}",
        "after": f"{days[-1] + timedelta(days=1):%Y-%m}" if days[-1] < timezone.localdate() else "",
        "costs": found,
        "top": top,
        "bars": [Bar(f"{day.day}", found.by_day[day], top, f"{day}") for day in days],
        "groups": [(_("By project"), projects), (_("By accelerator"), accelerators)],
        "versions": VERSIONS,
    }
    return render(request, "pages/costs.html", context)


@require_GET
@page("receipt.read")
def focus(request: HttpRequest, month: str, version: str) -> StreamingHttpResponse:
    """The month's rows in FOCUS: as CSV, or with `?format=parquet`."""
    kind: Format = "parquet" if request.GET.get("format") == "parquet" else "csv"
    organisation, wanted = organisation_asked(request), version_of(version)
    rows = costs_of(actor_of(request), organisation.id, month=month_of(month), version=wanted)
    media_type, pieces = file_of(rows, wanted, kind)
    answer = StreamingHttpResponse(pieces, content_type=media_type)
    answer["Content-Disposition"] = f'attachment; filename="focus-{wanted}-{month}.{kind}"'
    return answer


def _parts(by: str, found: Mapping[str, int]) -> Sequence[Part]:
    parts = largest(found)
    top = parts[0][1] if parts else 0
    return [Part(by, name, micros, f"{micros / top * 100:.1f}%") for name, micros in parts]


def _days(month: date) -> list[date]:
    following = (month + timedelta(days=31)).replace(day=1)
    return [month + timedelta(days=n) for n in range((following - month).days)]
