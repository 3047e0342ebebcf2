"""The desk's first page, and the pools of all."""

from collections import Counter
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from mosu.compute.models import Pool
from mosu.compute.queries import pools_visible_to, why_not_live
from mosu.compute.states import PoolState
from mosu.compute.stocks import NOTHING, stocks_of
from mosu.platform.requests import actor_of
from mosu.platform.waiting import ARM_ROWS, Turn
from mosu.web.navigation import address_of
from mosu.web.pages import page
from mosu.web.places import region_named
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.today import day_of
from mosu.web.views.desk.frame import desk, framed
from mosu.web.words import state_name_lazy, supplier_named, words_of_liveness

# (address, title, what one does there, kinds of waiting things that belong to it)
_COUNTERS: Final = (
    (
        "desk_organisations",
        _("Organisations"),
        _("Admit, suspend, verify facts."),
        ("organisation.admit", "fact.verify"),
    ),
    ("desk_applications", _("Applications"), _("Decide who gets a voucher."), ("application.decide",)),
    (
        "desk_claims",
        _("Claims"),
        _("Decide refunds, and pay them out."),
        ("claim.decide", "claim.disburse"),
    ),
    (
        "desk_deposits",
        _("Deposits"),
        _("Enter what reached the bank; a second person confirms it."),
        ("deposit.confirm", "refund.confirm"),
    ),
    (
        "desk_programmes",
        _("Programmes"),
        _("Propose a policy as a file; release it."),
        ("programme.release",),
    ),
    ("desk_vouchers", _("Vouchers"), _("Issue, release, revoke."), ("voucher.release",)),
    (
        "statements",
        _("Settlement statements"),
        _("Enter what was paid to suppliers; a second person confirms it."),
        ("statement.pay", "payout.confirm"),
    ),
    (
        "credit_notes",
        _("Credit notes"),
        _("What is given back after a month is closed; a second person issues it."),
        ("credit.issue",),
    ),
    ("desk_pools", _("Pools"), _("All suppliers' clusters, and whether they answer."), ()),
    ("desk_queue", _("Queue"), _("What runs, what waits and why, what is out of reach."), ("attempt.fence",)),
    ("ledger", _("Ledger"), _("Follow any yuan: by account, subject, kind, amount, date."), ()),
    (
        "desk_mails",
        _("Letters"),
        _("Pass on what could not be mailed; tell everybody something."),
        ("mail.pass_on",),
    ),
    ("desk_staff", _("Staff"), _("Who operates, who checks, who audits."), ()),
    (
        "findings",
        _("Findings"),
        _("What auditors found, and its answers."),
        ("finding.answer", "finding.close"),
    ),
)

POOLS: Final = Plan(
    name="pools",
    title=_("Pools"),
    columns=(
        Column("name", _("Pool"), lambda row: row["pool"].name, sort="name", href=lambda row: row["href"]),
        Column("supplier", _("Supplier"), lambda row: supplier_named(row["pool"].organisation.name)),
        Column("region", _("Region"), lambda row: region_named(row["pool"].region), sort="region"),
        Column("state", _("State"), lambda row: f"pool_{row['pool'].state}", kind="state", sort="state"),
        Column("trouble", _("Why nothing is sold"), lambda row: row["trouble"]),
        Column("cores", _("Cores"), lambda row: row["total"], kind="number"),
        Column("taken", _("Taken"), lambda row: row["taken"], kind="number"),
        Column("reserved", _("Reserved"), lambda row: row["reserved"], kind="number", hidden=True),
        Column("engine", _("Engine"), lambda row: row["pool"].engine, hidden=True),
        Column("version", _("Agent"), lambda row: row["pool"].agent_version, kind="mono", hidden=True),
        Column("seen", _("Last heard of"), lambda row: row["pool"].last_seen_at, kind="time"),
    ),
    order="name",
    filters=(
        Filter("q", _("Name"), lambda rows, text: rows.filter(name__icontains=text)),
        Filter(
            "state",
            _("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(f"pool_{state.value}")) for state in PoolState],
        ),
    ),
    empty=Empty(
        _("No pools yet."),
        _("A supplier makes its pool; admit an organisation as a supplier first."),
        "/desk/organisations/",
        _("See organisations"),
    ),
)


@require_GET
@page("desk.read")
def home(request: HttpRequest) -> HttpResponse:
    """All counters of the desk, with what waits at each."""
    day = day_of(actor_of(request), purse=None, now=timezone.now())
    waits = Counter(item.kind for group in day.groups if group.turn == Turn.YOURS for item in group.items)
    counters = [
        {
            "title": title,
            "href": address_of(url),
            "note": note,
            "count": sum(waits[kind] for kind in kinds),
            "more": any(waits[kind] >= ARM_ROWS for kind in kinds),
        }
        for url, title, note, kinds in _COUNTERS
        if address_of(url)
    ]
    return desk(request, "pages/desk/home.html", "desk", counters=counters)


@require_GET
@page("desk.read")
def pools(request: HttpRequest) -> HttpResponse:
    """Every supplier's pools."""
    now = timezone.now()

    def prepared(rows: list[Pool]) -> list[dict[str, object]]:
        stocks = stocks_of([row.id for row in rows], now=now)
        cores = {row.id: stocks.get((row.id, ""), NOTHING) for row in rows}
        return [
            {
                "pool": row,
                "href": reverse("pool", args=[row.public_id]) if address_of("pools") else "",
                "trouble": words_of_liveness(why_not_live(row, now=now)),
                "total": cores[row.id][0],
                "reserved": cores[row.id][1],
                "taken": cores[row.id][2],
            }
            for row in rows
        ]

    context = {**framed("desk_pools"), "title": POOLS.title}
    return list_page(
        request,
        "pages/desk/list.html",
        POOLS,
        pools_visible_to(actor_of(request)),
        prepare=prepared,
        context=context,
    )
