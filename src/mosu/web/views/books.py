"""The auditor's books, read-only: what they come to, public money by programme, and single accounts."""

from decimal import Decimal
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET

from mosu.kernel.money import decimal_of
from mosu.ledger.models import Account
from mosu.ledger.queries import account_visible_to, balance_in, day_heads, statement, sum_of_books
from mosu.ledger.services import CHAIN_MAX, HUB_ID, VERIFIED, verify_account
from mosu.market.queries import orders_settled
from mosu.market.services import RECOMPUTED
from mosu.platform.models import FindingState
from mosu.platform.policy import allows
from mosu.platform.queries import findings_figures, findings_visible_to, last_recorded
from mosu.platform.requests import actor_of
from mosu.subsidies.queries import PublicMoney, public_money
from mosu.web.components import Fact, Tab
from mosu.web.pages import page
from mosu.web.tables import Column, Empty, Plan, csv_file, list_page, table_of
from mosu.web.templatetags.mosu import money
from mosu.web.words import account_kind_name, entry_kind_name

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
            *(_figure(getattr(one, name)) for name, _title in _PUBLIC),
            _("yes") if one.adds_up else _("no"),
        ]
        for one in programmes
    ]
    return csv_file("public-money", [heads, *rows])


def _figure(micros: int) -> Decimal:
    """An amount in a file: plain, so that it can be summed."""
    return Decimal(decimal_of(micros, currency=settings.HUB_CURRENCY))


# One account


STATEMENT: Final = Plan(
    name="statement",
    title=_lazy("Postings"),
    columns=(
        Column("sequence", _lazy("No."), lambda posting: posting.sequence, kind="number", sort="sequence"),
        Column("at", _lazy("Posted"), lambda posting: posting.entry.posted_at, kind="time"),
        Column("kind", _lazy("Entry"), lambda posting: entry_kind_name(posting.entry.kind)),
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
            "name": account_kind_name(row.kind),
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
