"""Endpoints: addresses at which services answer, how they do, who may ask, and what was asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost
from mosu.compute.endpoint_figures import (
    Figures,
    figures_of,
    keys_of,
    latency_ms,
    minutes_of,
    replicas_of,
    requests_of,
)
from mosu.compute.models import Endpoint, EndpointKey, EndpointMinute, EndpointRequest, Replica
from mosu.compute.queries import endpoint_visible_to, endpoints_visible_to
from mosu.compute.states import EndpointState
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.components import Curve, Point
from mosu.web.pages import acted, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.words import mark_of, said_here, state_name, state_name_lazy
from mosu.wire.task import ReplicaNeed
from mosu.wire.task_service import AUTHS, IDLE_S_MAX, REPLICAS_MAX, REQUESTS_MAX

REPLICAS_SHOWN: Final = 20
CURVE_OF: Final = timedelta(hours=3)
_MINUTE: Final = timedelta(minutes=1)
_KEY_HERE: Final = "YOUR_KEY"

AUTH_NAMES: Final = {
    "key": _lazy("whoever has one of its keys"),
    "hub": _lazy("whoever is signed in at the hub"),
    "public": _lazy("anybody"),
}


@dataclass(frozen=True, slots=True)
class EndpointShown:
    """An endpoint as a line, and as the head of its page."""

    row: Endpoint
    figures: Figures

    @property
    def url(self) -> str:
        return EndpointHost(self.row.label).origin

    @property
    def state(self) -> str:
        return f"endpoint_{self.row.state}"

    @property
    def state_name(self) -> str:
        return state_name(self.state)

    @property
    def health(self) -> str:
        return f"{self.figures.well}/{self.figures.wanted}"

    @property
    def mark(self) -> str:
        """Of its state: `live` where all that should be well are."""
        if self.row.state != EndpointState.OPEN:
            return "later"
        return "live" if self.figures.well >= self.figures.wanted else "wait"

    @property
    def latency(self) -> str:
        return f"≤ {self.figures.p95_ms} ms" if self.figures.p95_ms is not None else "—"

    @property
    def reason(self) -> str:
        return said_here(self.row.reason)

    @property
    def auth_name(self) -> str:
        return str(AUTH_NAMES[self.row.auth])


def _shown(rows: Sequence[Endpoint], *, now: datetime) -> list[EndpointShown]:
    figures = figures_of(rows, now=now)
    return [EndpointShown(row, figures[row.id]) for row in rows]


ENDPOINTS: Final = Plan(
    name="endpoints",
    title=_lazy("Endpoints"),
    columns=(
        Column(
            "name",
            _lazy("Name"),
            lambda shown: shown.row.name,
            href=lambda shown: reverse("endpoint", args=[shown.row.public_id]),
        ),
        Column(
            "state", _lazy("State"), lambda shown: shown.state, kind="state", mark=lambda shown: shown.mark
        ),
        Column("well", pgettext_lazy("replicas", "Well"), lambda shown: shown.health),
        Column("requests", _lazy("Requests in an hour"), lambda shown: shown.figures.requests, kind="number"),
        Column("failed", _lazy("Errors"), lambda shown: shown.figures.failed, kind="number"),
        Column(
            "refused",
            pgettext_lazy("requests", "Refused"),
            lambda shown: shown.figures.refused,
            kind="number",
            hidden=True,
        ),
        Column("latency", _lazy("95 of 100 within"), lambda shown: shown.latency),
        Column("address", _lazy("Address"), lambda shown: shown.url, kind="mono"),
        Column(
            "created",
            _lazy("Made"),
            lambda shown: shown.row.created_at,
            kind="time",
            sort="created_at",
            hidden=True,
        ),
    ),
    order="-created",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(f"endpoint_{state.value}")) for state in EndpointState],
        ),
    ),
    empty=Empty(
        _lazy("No endpoints yet."),
        _lazy(
            "An endpoint is an address that stays, whoever answers there: write mosu: {kind: service, port: 8000} "
            "into a task file and say mosu serve task.yaml."
        ),
    ),
)


def _who(row: EndpointRequest) -> str:
    return row.key.name if row.key else row.user.email if row.user else ""


REQUESTS: Final = Plan(
    name="requests",
    title=_lazy("Requests"),
    columns=(
        Column("at", _lazy("Time"), lambda row: row.at, kind="time", sort="at"),
        Column("method", _lazy("Method"), lambda row: row.method, kind="mono"),
        Column("path", _lazy("Path"), lambda row: row.path, kind="mono"),
        Column("status", _lazy("Answer"), lambda row: row.status or _("broken off")),
        Column("waited", _lazy("Waited, ms"), lambda row: row.waited_ms, kind="number"),
        Column("took", _lazy("Took, ms"), lambda row: row.took_ms, kind="number"),
        Column("bytes_in", _lazy("Bytes in"), lambda row: row.bytes_in, kind="number", hidden=True),
        Column("bytes_out", _lazy("Bytes out"), lambda row: row.bytes_out, kind="number", hidden=True),
        Column("who", _lazy("Who"), _who),
        Column(
            "run", _lazy("Run"), lambda row: row.run.public_id if row.run else "", kind="mono", hidden=True
        ),
    ),
    order="-at",
    empty=Empty(
        _lazy("Nobody asked within the last week."),
        _lazy("Each request is listed here by its path; queries, headers and bodies are not kept."),
    ),
)


class Terms(forms.Form):
    """Who may ask, and how many answer."""

    auth = forms.ChoiceField(label=_lazy("Who may ask"), choices=[(auth, AUTH_NAMES[auth]) for auth in AUTHS])
    least = forms.IntegerField(
        label=_lazy("At least"),
        min_value=0,
        max_value=REPLICAS_MAX,
        help_text=_lazy("Replicas that run though nobody asks; 0: the first request waits for one."),
    )
    most = forms.IntegerField(label=_lazy("At most"), min_value=1, max_value=REPLICAS_MAX)
    requests = forms.IntegerField(
        label=_lazy("Requests at once"),
        min_value=1,
        max_value=REQUESTS_MAX,
        help_text=_lazy("At each replica; for more, another is ordered."),
    )
    idle_s = forms.IntegerField(
        label=_lazy("Kept for"),
        min_value=1,
        max_value=IDLE_S_MAX,
        help_text=_lazy("Seconds; a replica that was not needed for so long goes."),
    )

    @classmethod
    def of(cls, row: Endpoint) -> "Terms":
        return cls(
            initial={
                "auth": row.auth,
                "least": row.replicas_min,
                "most": row.replicas_max,
                "requests": row.requests_per_replica,
                "idle_s": row.idle_s,
            }
        )


class NewKey(forms.Form):
    """Who asks with it."""

    name = forms.CharField(label=_lazy("Who asks with it"), max_length=63)


@require_GET
@page("endpoint.read")
def endpoints(request: HttpRequest) -> HttpResponse:
    """The organisation's endpoints with the last hour's figures, newest first."""
    now = timezone.now()
    return list_page(
        request,
        "pages/endpoints.html",
        ENDPOINTS,
        endpoints_visible_to(actor_of(request)),
        prepare=lambda rows: _shown(rows, now=now),
    )


@require_GET
@page("endpoint.read")
def endpoint(request: HttpRequest, endpoint_id: str) -> HttpResponse:
    """One endpoint: its address, how to ask it, keys, replicas, curves."""
    return _endpoint_page(request, endpoint_id)


@require_GET
@page("endpoint.read")
def endpoint_requests(request: HttpRequest, endpoint_id: str) -> HttpResponse:
    """What was asked there, newest first; as CSV, too."""
    row = endpoint_visible_to(actor_of(request), Endpoint.key_of(endpoint_id))
    context = {"endpoint": row}
    return list_page(request, "pages/endpoint_requests.html", REQUESTS, requests_of(row), context=context)


@require_POST
@page("endpoint.change")
def endpoint_terms(request: HttpRequest, endpoint_id: str) -> HttpResponse:
    """Who may ask, and how many answer."""
    form = Terms(request.POST)
    if not form.is_valid():
        return _endpoint_page(request, endpoint_id, terms=form, status=422)
    given = form.cleaned_data
    return acted(
        request,
        lambda: services.change_endpoint(
            actor=actor_of(request),
            endpoint_id=Endpoint.key_of(endpoint_id),
            auth=given["auth"],
            replicas=ReplicaNeed(
                least=given["least"], most=given["most"], requests=given["requests"], idle_s=given["idle_s"]
            ),
            now=timezone.now(),
        ),
        done=_("Saved. What is ordered for it from now on is in your name."),
        to=reverse("endpoint", args=[endpoint_id]),
        again=lambda **shown: _endpoint_page(request, endpoint_id, terms=form, **shown),
    )


@require_POST
@page("endpoint.end")
def endpoint_end(request: HttpRequest, endpoint_id: str) -> HttpResponse:
    """End it for good."""
    key = Endpoint.key_of(endpoint_id)
    services.end_endpoint(actor=actor_of(request), endpoint_id=key, now=timezone.now())
    messages.success(request, _("The endpoint has ended; its replicas are told to stop."))
    return redirect("endpoint", endpoint_id)


@require_http_methods(["POST"])
@page("endpoint.change")
def endpoint_keys(request: HttpRequest, endpoint_id: str) -> HttpResponse:
    """A new key, shown once; or one revoked."""
    actor, key, now = actor_of(request), Endpoint.key_of(endpoint_id), timezone.now()
    if "revoke" in request.POST:
        services.revoke_key(actor=actor, endpoint_id=key, key_id=request.POST["revoke"], now=now)
        messages.success(request, _("The key is revoked: who asks with it is cut off within 30 seconds."))
        return redirect("endpoint", endpoint_id)
    form = NewKey(request.POST)
    if not form.is_valid():
        return _endpoint_page(request, endpoint_id, new_key=form, status=422)
    made = services.make_key(actor=actor, endpoint_id=key, name=form.cleaned_data["name"], now=now)
    return _endpoint_page(request, endpoint_id, made=made.secret)


def _endpoint_page(
    request: HttpRequest,
    endpoint_id: str,
    *,
    terms: Terms | None = None,
    new_key: NewKey | None = None,
    made: str = "",
    problem: Any = None,
    status: int = 200,
) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    row = endpoint_visible_to(actor, Endpoint.key_of(endpoint_id))
    shown = _shown([row], now=now)[0]
    replicas = list(replicas_of(row)[: REPLICAS_SHOWN + 1])
    open_ = row.state == EndpointState.OPEN
    keys: list[EndpointKey] = list(keys_of(row)[:50])
    context = {
        "here": "endpoints",
        "endpoint": shown,
        "row": row,
        "open": open_,
        "examples": _examples(row, shown.url, made or _KEY_HERE) if open_ else [],
        "keys": keys,
        "made": made,
        "replicas": [ReplicaShown.of(one, now=now) for one in replicas[:REPLICAS_SHOWN]],
        "more": len(replicas) > REPLICAS_SHOWN,
        "curves": curves_of(minutes_of(row, since=now - CURVE_OF), now=now),
        "terms": terms or Terms.of(row),
        "new_key": new_key or NewKey(),
        "problem": problem,
        "may_change": open_ and allows(actor, "endpoint.change", row.organisation_id),
        "may_end": open_ and allows(actor, "endpoint.end", row.organisation_id),
    }
    return render(request, "pages/endpoint.html", context, status=status)


@dataclass(frozen=True, slots=True)
class ReplicaShown:
    """A replica as a line of its endpoint's page."""

    run: str
    order: str
    version: int
    state_name: str
    mark: str
    """The sign of its run's state."""
    well_for: timedelta | None
    """Since it first said that it is well, until now or its end."""
    drained: bool
    in_flight: int

    @classmethod
    def of(cls, row: Replica, *, now: datetime) -> "ReplicaShown":
        until = row.run.ended_at or now
        return cls(
            run=row.run.public_id,
            order=row.run.order.public_id,
            version=row.version,
            state_name=state_name(row.run.state),
            mark=mark_of(row.run.state),
            well_for=timedelta(seconds=int((until - row.well_at).total_seconds())) if row.well_at else None,
            drained=row.drained_at is not None and not row.over,
            in_flight=0 if row.over else row.in_flight,
        )


@dataclass(frozen=True, slots=True)
class Example:
    """How to ask, filled in."""

    id: str
    title: str
    text: str


def _examples(row: Endpoint, url: str, key: str) -> list[Example]:
    """As one asks it from a shell, from Python, and with OpenAI's client where that can bring a key."""
    if row.auth == "hub":
        return [Example("browser", _("In the browser, signed in at the hub"), url)]
    with_key = row.auth == "key"
    header = f" -H 'Authorization: Bearer {key}'" if with_key else ""
    headers = f', headers={{"Authorization": "Bearer {key}"}}' if with_key else ""
    said = key if with_key else "none"
    return [
        Example("curl", "curl", f"curl{header} {url}/"),
        Example("python", "Python", f'import httpx\n\nprint(httpx.get("{url}/"{headers}).text)'),
        Example(
            "openai",
            _("OpenAI's client, for a service that speaks its API"),
            "from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{url}/v1", api_key="{said}")\n'
            'answer = client.chat.completions.create(model="MODEL", messages=[{"role": "user", "content": "你好"}])\n'
            "print(answer.choices[0].message.content)",
        ),
    ]


def curves_of(minutes: Sequence[EndpointMinute], *, now: datetime) -> list[Curve]:
    """Requests, errors and latency by the minute; a minute in which nobody asked is zero."""
    if not minutes:
        return []
    by_minute = {one.minute: one for one in minutes}
    end = now.replace(second=0, microsecond=0)
    at = [
        minutes[0].minute + count * _MINUTE for count in range(int((end - minutes[0].minute) / _MINUTE) + 1)
    ]
    asked = [Point(moment, by_minute[moment].requests if moment in by_minute else 0) for moment in at]
    failed = [Point(moment, by_minute[moment].failed if moment in by_minute else 0) for moment in at]
    slow = [(one.minute, latency_ms([one.latencies], 0.95)) for one in minutes]
    return [
        Curve(_("Requests in a minute"), "", asked),
        Curve(_("Errors in a minute"), "", failed),
        Curve(
            _("95 of 100 answers within"), "ms", [Point(moment, ms) for moment, ms in slow if ms is not None]
        ),
    ]
