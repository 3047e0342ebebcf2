"""What an auditor checks: samples of orders, and of each order the chain from posting to policy."""

from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods

from mosu.kernel.ids import typeid, uuid_of
from mosu.kernel.money import micros_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.kernel.time import Period
from mosu.market.models import Order
from mosu.market.queries import SAMPLE_MAX, orders_visible_to, sample_of, samples_drawn
from mosu.market.services import draw_sample
from mosu.platform.policy import allows
from mosu.platform.queries import findings_visible_to
from mosu.platform.requests import actor_of
from mosu.web.audit.chain import chain_of
from mosu.web.audit.evidence import evidence_of
from mosu.web.audit.shown import links_shown
from mosu.web.components import Fact
from mosu.web.days import day_began
from mosu.web.pages import page
from mosu.web.presenters import OrderShown
from mosu.web.tables import Column, Empty, Plan, csv_file, list_page
from mosu.web.views.books import tabs_of
from mosu.web.words import said_of


class Drawing(forms.Form):
    """How a sample is drawn."""

    seed = forms.CharField(
        label=_lazy("Seed"),
        max_length=60,
        help_text=_lazy(
            "Any words or digits. The same seed, days and count draw the same orders, for whoever repeats it."
        ),
    )
    start = forms.DateField(
        label=_lazy("Settled from"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    end = forms.DateField(
        label=_lazy("Settled to"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    count = forms.IntegerField(label=_lazy("Orders"), min_value=1, max_value=SAMPLE_MAX, initial=25)

    def span(self) -> Period:
        """The days asked for, whole, in the hub's zone."""
        first, last = sorted((self.cleaned_data["start"], self.cleaned_data["end"]))
        return Period(day_began(first), day_began(last + timedelta(days=1)))


@require_http_methods(["GET", "POST"])
@page("sample.draw")
def samples(request: HttpRequest) -> HttpResponse:
    """The samples that were drawn, and the form that draws one."""
    actor, now = actor_of(request), timezone.now()
    today = timezone.localdate(now)
    first = {"seed": f"{today:%Y-%m-%d}", "start": today - timedelta(days=30), "end": today, "count": 25}
    form = Drawing(request.POST or None, initial=first)
    problem = None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            sample = draw_sample(
                actor=actor, seed=given["seed"], span=form.span(), count=given["count"], now=now
            )
            return redirect("sample", sample.public_id)
        except DomainError as refusal:
            problem = said_of(refusal)
    context = {"tabs": tabs_of("samples"), "form": form, "problem": problem}
    return list_page(request, "pages/samples.html", SAMPLES, samples_drawn(actor), context=context)


SAMPLES: Final = Plan(
    name="samples",
    title=_lazy("Samples"),
    columns=(
        Column(
            "seed",
            _lazy("Seed"),
            lambda record: record.facts["seed"],
            kind="mono",
            href=lambda record: reverse("sample", args=[typeid("sample", record.subject_id)]),
        ),
        Column(
            "from", _lazy("From"), lambda record: datetime.fromisoformat(record.facts["from"]), kind="time"
        ),
        Column("to", _lazy("To"), lambda record: datetime.fromisoformat(record.facts["to"]), kind="time"),
        Column("drawn", _lazy("Drawn"), lambda record: len(record.facts["orders"]), kind="number"),
        Column("asked", _lazy("Asked for"), lambda record: record.facts["count"], kind="number"),
        Column("by", _lazy("Drawn by"), lambda record: record.actor_label),
        Column("at", _lazy("When"), lambda record: record.at, kind="time"),
        Column("id", _lazy("Record"), lambda record: record.public_id, kind="mono", sort="id", hidden=True),
    ),
    order="-id",
    empty=Empty(_lazy("No sample was drawn yet."), _lazy("Choose a seed and days above.")),
)


def _voucher_share(order: Order) -> int:
    return micros_of(order.receipt.content["voucher_share"])


DRAWN: Final = Plan(
    name="sample",
    title=_lazy("Orders of the sample"),
    columns=(
        Column(
            "number",
            _lazy("Number"),
            lambda order: order.number,
            sort="number",
            href=lambda order: reverse("chain", args=[order.public_id]),
        ),
        Column("buyer", _lazy("Buyer"), lambda order: order.organisation.name),
        Column("supplier", _lazy("Supplier"), lambda order: order.quote.terms["supplier"]["name"]),
        Column("offer", _lazy("Offer"), lambda order: order.quote.terms["title"]),
        Column("settled", _lazy("Settled"), lambda order: order.settled_at, kind="time"),
        Column("total", _lazy("Total"), lambda order: order.total_micros, kind="money"),
        Column("public", _lazy("Vouchers"), _voucher_share, kind="money"),
        Column(
            "receipt",
            _lazy("Receipt"),
            lambda order: order.receipt.number,
            href=lambda order: reverse("receipt", args=[order.receipt.public_id]),
        ),
    ),
    order="number",
    empty=Empty(_lazy("No order was settled in these days."), _lazy("Draw again over more days.")),
)


@require_GET
@page("books.read")
def sample(request: HttpRequest, sample_id: str) -> HttpResponse:
    """The orders of a sample, as they were drawn."""
    actor = actor_of(request)
    drawn = sample_of(actor, uuid_of("sample", sample_id))
    rows = (
        orders_visible_to(actor)
        .select_related("organisation")
        .filter(id__in=[one.id for one in drawn.orders])
    )
    facts = [
        Fact(_("Seed"), drawn.seed),
        Fact(_("Settled from"), _local(drawn.span.start)),
        Fact(_("Settled to"), _local(drawn.span.end)),
        Fact(_("Asked for"), drawn.count),
        Fact(_("Drawn"), len(drawn.orders)),
        Fact(_("Drawn by"), drawn.drawn_by, _local(drawn.drawn_at)),
    ]
    context = {
        "tabs": tabs_of("samples"),
        "sample": drawn,
        "facts": facts,
        "may_open": allows(actor, "finding.open"),
    }
    return list_page(request, "pages/sample.html", DRAWN, rows, context=context)


def _local(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}"


@require_GET
@page("books.read")
def sample_checks(request: HttpRequest, sample_id: str) -> HttpResponse:
    """Every check of every order of a sample, as a file for the working papers."""
    actor = actor_of(request)
    drawn = sample_of(actor, uuid_of("sample", sample_id))
    words = {"holds": _("holds"), "fails": _("fails"), "unknown": _("cannot be checked here")}
    rows: list[list[Any]] = []
    for order in drawn.orders:
        for link in chain_of(evidence_of(actor, order)).links:
            rows += [
                [
                    drawn.seed,
                    order.number,
                    order.public_id,
                    str(link.title),
                    check.code,
                    str(check.title),
                    words[check.verdict],
                    str(check.found),
                    str(check.expected),
                ]
                for check in link.checks
            ]
    heads = [
        _("Seed"),
        _("Number"),
        _("Order"),
        _("Link"),
        _("Check"),
        _("What was checked"),
        _("Result"),
        _("Found"),
        _("Expected"),
    ]
    return csv_file(f"{drawn.public_id}-checks", [heads, *rows])


# From posting to policy


@require_GET
@page("books.read")
def chain(request: HttpRequest, order_id: str) -> HttpResponse:
    """An order's chain on one page: each link, what was checked, and whether it holds."""
    actor = actor_of(request)
    rows = orders_visible_to(actor).select_related("quote", "receipt", "organisation", "offer__supplier")
    order = rows.filter(id=Order.key_of(order_id)).first()
    if order is None:
        raise NotFound(_("There is no such order."), hint=_("See the list of your orders."))
    evidence = evidence_of(actor, order)
    found = chain_of(evidence)
    return render(
        request,
        "pages/chain.html",
        {
            "tabs": tabs_of(""),
            "order": order,
            "chain": found,
            "links": links_shown(evidence, found),
            "split": OrderShown.of(order).split,
            "findings": findings_visible_to(actor).filter(subject=order.public_id)[:5],
            "may_open": allows(actor, "finding.open"),
        },
    )
