"""The auditor's books: everything, read-only; samples, and each order's chain from posting to policy."""

from datetime import date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from mosu.kernel.ids import typeid, uuid_of
from mosu.kernel.money import decimal_of, micros_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.kernel.time import Period, day_in
from mosu.ledger.models import Account
from mosu.ledger.queries import account_visible_to, balance_in, day_heads, statement, sum_of_books
from mosu.ledger.services import CHAIN_MAX, HUB_ID, VERIFIED, verify_account
from mosu.market.models import Order
from mosu.market.queries import (
    SAMPLE_MAX,
    Sample,
    orders_settled,
    orders_visible_to,
    sample_of,
    samples_drawn,
)
from mosu.market.services import RECOMPUTED, draw_sample
from mosu.platform.models import AuditRecord, FindingState, Organisation
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to, findings_figures, findings_visible_to, last_recorded
from mosu.platform.requests import actor_of
from mosu.subsidies.queries import PublicMoney, public_money
from mosu.web.audit.chain import chain_of
from mosu.web.audit.evidence import evidence_of
from mosu.web.audit.shown import account_name, links_shown
from mosu.web.components import Fact, Tab
from mosu.web.pages import page
from mosu.web.presenters import OrderShown
from mosu.web.tables import Column, Empty, Filter, Plan, csv_file, list_page, table_of
from mosu.web.templatetags.mosu import money
from mosu.web.words import said_of

PLACES: Final = (
    ("books", _lazy("Overview")),
    ("books_audit", _lazy("Audit trail")),
    ("books_public", _lazy("Public money")),
    ("samples", _lazy("Samples")),
    ("findings", _lazy("Findings")),
)


def tabs_of(here: str) -> list[Tab]:
    """The pages of the books, one of them current."""
    return [Tab(title, reverse(name), is_current=name == here) for name, title in PLACES]


@require_GET
@page("books.read")
def books(request: HttpRequest) -> HttpResponse:
    """What the books come to, and whether they were found sound."""
    actor, now = actor_of(request), timezone.now()
    figures = findings_figures(actor, now=now)
    overdue = findings_visible_to(actor).filter(state=FindingState.OPEN, due_at__lt=now)
    late = list(overdue[:5]) if figures.overdue else []
    nightly = last_recorded(actor, (VERIFIED, RECOMPUTED), HUB_ID)
    return render(
        request,
        "pages/books.html",
        {
            "tabs": tabs_of("books"),
            "settled": orders_settled(actor),
            "sum": sum_of_books(),
            "verified": nightly.get(VERIFIED),
            "recomputed": nightly.get(RECOMPUTED),
            "head": day_heads().first(),
            "findings": figures,
            "programmes": public_money(actor),
            "late": late,
            "may_admin": allows(actor, "admin.read"),
            "may_open": allows(actor, "finding.open"),
        },
    )


# Public money


@require_GET
@page("books.read")
def public(request: HttpRequest) -> HttpResponse:
    """Public money by programme: given, granted, held, captured, returned, left."""
    programmes = public_money(actor_of(request))
    if request.GET.get("format") == "csv":
        return _public_file(programmes)
    return render(
        request, "pages/books_public.html", {"tabs": tabs_of("books_public"), "programmes": programmes}
    )


_PUBLIC: Final = (
    ("pool_micros", _lazy("Given")),
    ("granted_micros", _lazy("Granted")),
    ("captured_micros", _lazy("Captured")),
    ("held_micros", _lazy("Held")),
    ("with_holders_micros", _lazy("Left on vouchers")),
    ("in_pool_micros", _lazy("Left in the pool")),
    ("returned_micros", _lazy("Returned")),
)


def _public_file(programmes: list[PublicMoney]) -> HttpResponse:
    heads = [_("Programme"), _("Version"), *(str(title) for _name, title in _PUBLIC), _("Adds up")]
    rows = [
        [
            one.programme.code,
            one.version,
            *(money_text(getattr(one, name)) for name, _title in _PUBLIC),
            _("yes") if one.adds_up else _("no"),
        ]
        for one in programmes
    ]
    return csv_file("public-money", [heads, *rows])


def money_text(micros: int) -> str:
    """An amount in a file: plain, so that it can be summed."""
    return decimal_of(micros, currency=settings.HUB_CURRENCY)


# Who did what


def _by_subject(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    """Of a thing by its id, of whichever kind, or an order by its number."""
    text = text.strip()
    if text.upper().startswith("O-"):
        return rows.filter(subject_id__in=Order.objects.filter(number=text.upper()).values("id"))
    try:
        key = UUID(text) if "_" not in text else uuid_of(text.rpartition("_")[0], text)
    except (ValueError, NotFound):
        return rows.none()
    return rows.filter(subject_id=key)


def _by_organisation(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    if text.startswith("org_"):
        return _of_organisations(rows, text)
    found = Organisation.objects.filter(name__icontains=text.strip()).values_list("id", flat=True)
    return rows.filter(organisation_id__in=list(found[:ORGANISATIONS_MAX]))


def _of_organisations(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    try:
        return rows.filter(organisation_id=Organisation.key_of(text))
    except NotFound:
        return rows.none()


ORGANISATIONS_MAX: Final = 50


def _instant(text: str, *, end: bool = False) -> datetime | None:
    """The start of a day of the hub's, or its end."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        return None
    return datetime.combine(day + timedelta(days=end), time(), tzinfo=ZoneInfo(settings.HUB_ZONE))


def _since(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    at = _instant(text)
    return rows.filter(at__gte=at) if at else rows.none()


def _until(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    at = _instant(text, end=True)
    return rows.filter(at__lt=at) if at else rows.none()


def _subject(record: AuditRecord) -> str:
    """The subject by its public id, where its action says of what kind it is."""
    prefix = {"order.place": "order", "quote.accept": "quote"}.get(record.action) or record.action.partition(
        "."
    )[0]
    return typeid(prefix, record.subject_id)


AUDIT: Final = Plan(
    name="audit",
    title=_lazy("Audit trail"),
    columns=(
        Column("at", _lazy("When"), lambda record: record.at, kind="time"),
        Column("who", _lazy("Who"), lambda record: record.actor_label),
        Column("action", _lazy("Action"), lambda record: record.action, kind="mono"),
        Column(
            "subject",
            _lazy("Subject"),
            _subject,
            kind="mono",
            href=lambda record: f"{reverse('books_audit')}?subject={record.subject_id}",
        ),
        Column(
            "before",
            _lazy("Before"),
            lambda record: record.before or "",
            kind="state",
            mark=lambda record: " ",
        ),
        Column(
            "after", _lazy("After"), lambda record: record.after or "", kind="state", mark=lambda record: " "
        ),
        Column("why", _lazy("Why"), lambda record: record.why),
        Column(
            "facts",
            pgettext_lazy("audit", "Facts"),
            lambda record: str(record.facts) if record.facts else "",
            kind="mono",
            hidden=True,
        ),
        Column("kind", _lazy("Kind of actor"), lambda record: record.actor_kind, hidden=True),
        Column("id", _lazy("Record"), lambda record: record.public_id, kind="mono", sort="id", hidden=True),
    ),
    order="-id",
    filters=(
        Filter("who", _lazy("Who"), lambda rows, text: rows.filter(actor_label__icontains=text.strip())),
        Filter("action", _lazy("Action"), lambda rows, text: rows.filter(action__startswith=text.strip())),
        Filter("subject", _lazy("Subject"), _by_subject),
        Filter("organisation", _lazy("Organisation"), _by_organisation),
        Filter("from", _lazy("From day"), _since),
        Filter("to", _lazy("To day"), _until),
    ),
    empty=Empty(_lazy("Nothing has happened yet.")),
)


@require_GET
@page("books.read")
def audit(request: HttpRequest) -> HttpResponse:
    """Who did what, when, to what, and why."""
    rows = audit_visible_to(actor_of(request))
    return list_page(request, "pages/books_audit.html", AUDIT, rows, context={"tabs": tabs_of("books_audit")})


# Samples


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
        zone = ZoneInfo(settings.HUB_ZONE)
        first, last = sorted((self.cleaned_data["start"], self.cleaned_data["end"]))
        return Period(
            datetime.combine(first, time(), tzinfo=zone),
            datetime.combine(last + timedelta(days=1), time(), tzinfo=zone),
        )


@require_http_methods(["GET", "POST"])
@page("sample.draw")
def samples(request: HttpRequest) -> HttpResponse:
    """The samples that were drawn, and the form that draws one."""
    actor, now = actor_of(request), timezone.now()
    today = day_in(ZoneInfo(settings.HUB_ZONE), now)
    first = {"seed": f"{today:%Y-%m-%d}", "start": today - timedelta(days=30), "end": today, "count": 25}
    form = Drawing(request.POST or None, initial=first)
    refusal = None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            sample = draw_sample(
                actor=actor, seed=given["seed"], span=form.span(), count=given["count"], now=now
            )
            return redirect("sample", sample.public_id)
        except DomainError as refused:
            refusal = said_of(refused)
    context = {"tabs": tabs_of("samples"), "form": form, "refusal": refusal}
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
    drawn: Sample = sample_of(actor, uuid_of("sample", sample_id))
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


# One account


STATEMENT: Final = Plan(
    name="statement",
    title=_lazy("Postings"),
    columns=(
        Column("sequence", _lazy("No."), lambda posting: posting.sequence, kind="number", sort="sequence"),
        Column("at", _lazy("Posted"), lambda posting: posting.entry.posted_at, kind="time"),
        Column("kind", _lazy("Entry"), lambda posting: posting.entry.kind, kind="mono"),
        Column("amount", _lazy("Amount"), lambda posting: posting.amount_micros, kind="money"),
        Column("after", _lazy("Balance after"), lambda posting: posting.balance_after_micros, kind="money"),
        Column("memo", _lazy("Memo"), lambda posting: posting.entry.memo),
        Column(
            "hash",
            _lazy("Hash"),
            lambda posting: posting.hash[:16],
            kind="mono",
            csv=lambda posting: posting.hash,
        ),
        Column(
            "before",
            _lazy("Hash before"),
            lambda posting: posting.previous_hash[:16],
            kind="mono",
            csv=lambda posting: posting.previous_hash,
            hidden=True,
        ),
    ),
    order="-sequence",
    empty=Empty(_lazy("Nothing was posted to this account.")),
)


@require_GET
@page("books.read")
def account(request: HttpRequest, account_id: str) -> HttpResponse:
    """An account's postings, and, asked for, whether the end of its hash chain holds."""
    actor = actor_of(request)
    row = account_visible_to(actor, Account.key_of(account_id))
    rows = statement(actor, row.id)
    if request.GET.get("format") == "csv":
        return list_page(request, "", STATEMENT, rows)
    balance = balance_in(row)
    return render(
        request,
        "pages/book_account.html",
        {
            "tabs": tabs_of(""),
            "account": row,
            "name": account_name(row.kind),
            "facts": [
                Fact(_("Balance"), money(balance.balance_micros)),
                Fact(_("Held"), money(balance.held_micros)),
                Fact(_("Postings"), row.sequence),
                Fact(_("Head"), row.head_hash[:16]),
            ],
            "verified": verify_account(actor=actor, account_id=row.id) if "verify" in request.GET else None,
            "chain_max": CHAIN_MAX,
            "table": table_of(request, STATEMENT, rows),
            "may_open": allows(actor, "finding.open"),
        },
    )
