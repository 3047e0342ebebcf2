"""The front door: what is on the shelves now, how to join, and the five doors with what each gives."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET

from mosu.compute.accelerators import catalogue
from mosu.compute.goods import CARDS, CORES
from mosu.market.catalogue import CatalogueLoading, GoodsSummary, ShelfSummary
from mosu.market.queries import shelf_summary
from mosu.subsidies.queries import programmes_open
from mosu.subsidies.rules import Mode, Terms
from mosu.web.finding import SHELF
from mosu.web.navigation import address_of
from mosu.web.pages import page
from mosu.web.words import title_of, told
from mosu.wire.shares import kind_of

FAMILIES_SHOWN: Final = 10
OF_A_BILL: Final = 100_000_000
"""A bill of 100 in the hub's currency, to show who pays what."""


@dataclass(frozen=True, slots=True)
class FamilyShown:
    """Cards that go by one name: the cheapest, and how many are free."""

    name: str
    offers: int
    price: int | None
    free: int
    href: str


@dataclass(frozen=True, slots=True)
class ProgrammeShown:
    """A programme in force, and how a bill of 100 is shared under it."""

    title: dict[str, str]
    own: int
    public: int
    later: int
    pool: int
    cap: int | None
    until: Any
    funders: Sequence[str]
    is_refund: bool
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Something behind a door; without an address it is yet to come."""

    title: Any
    text: Any
    href: str = ""


@dataclass(frozen=True, slots=True)
class DoorShown:
    """What is behind a door that is not a shelf yet."""

    name: str
    title: Any
    lede: Any
    entries: Sequence[tuple[Any, Any, Sequence[str]]]
    """Title, text, and names of addresses: the first that exists is the way there."""

    @property
    def shown(self) -> list[Entry]:
        return [
            Entry(title, text, next((found for url in urls if (found := address_of(url))), ""))
            for title, text, urls in self.entries
        ]


@require_GET
@page("hub.look")
def landing(request: HttpRequest) -> HttpResponse:
    """For strangers and residents alike: the shelves in figures, the doors, how to join, who pays."""
    now = timezone.now()
    try:
        summary = shelf_summary(SHELF, now=now)
    except CatalogueLoading:
        summary = None  # it is there in a few seconds; the rest of the page need not wait
    return render(
        request,
        "pages/landing.html",
        {
            "here": "home",
            "summary": summary,
            "cards_free": _free(summary, CARDS),
            "cores_free": _free(summary, CORES),
            "families": _families(summary),
            "programmes": [_shown(one) for one in programmes_open(now)],
            "now": now,
            "is_known": request.user.is_authenticated,
        },
    )


def _free(summary: ShelfSummary | None, meter: str) -> int:
    return sum(one.free for one in summary.goods if one.goods.meter == meter) if summary else 0


def _families(summary: ShelfSummary | None) -> list[FamilyShown]:
    """Cards by the name of their family, where they have one; those with most free, then most offers, first."""
    groups: dict[str, list[GoodsSummary]] = {}
    for one in summary.goods if summary else ():
        if one.goods.meter == CARDS:
            groups.setdefault(_family(one.goods.key), []).append(one)
    found = [
        FamilyShown(
            name=name,
            offers=sum(one.offers for one in group),
            price=min((one.price_micros for one in group if one.price_micros is not None), default=None),
            free=sum(one.free for one in group),
            href=_shelf_of(group),
        )
        for name, group in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.free, -one.offers))[:FAMILIES_SHOWN]


def _shelf_of(group: Sequence[GoodsSummary]) -> str:
    """The shelf with nothing but these cards and their shares."""
    cards = dict.fromkeys(kind_of(one.goods.key).accelerator for one in group)
    return f"{reverse('shelf')}?{urlencode({'accelerator': list(cards)}, doseq=True)}"


def _family(key: str) -> str:
    key = kind_of(key).accelerator
    names = catalogue().families.get(key)
    if names:
        chinese = next((name for name in names if not name.isascii()), names[0])
        return told({"zh": _spaced(chinese), "en": _spaced(names[0])})
    card = catalogue().accelerators.get(key)
    return told({"zh": card.zh or card.name, "en": card.name}) if card else key


def _spaced(name: str) -> str:
    """A family's name as it is read: tasks write Ascend910B, people Ascend 910B."""
    return re.sub(r"(?<=[^\W\d_])(?=\d)", " ", name, count=1) if not name[0].isdigit() else name


def _shown(terms: Terms) -> ProgrammeShown:
    part = round(OF_A_BILL * float(terms.rate))
    is_refund = terms.mode is Mode.REIMBURSEMENT
    return ProgrammeShown(
        title=title_of(terms),
        own=OF_A_BILL if is_refund else OF_A_BILL - part,
        public=0 if is_refund else part,
        later=part if is_refund else 0,
        pool=terms.pool_micros,
        cap=terms.grant_micros or terms.cap_per_organisation_year_micros,
        until=terms.valid_to,
        funders=[funder.name for funder in terms.funders],
        is_refund=is_refund,
        source=terms.source,
    )


DATA: Final = DoorShown(
    "data",
    pgettext_lazy("door", "Data"),
    _lazy(
        "Corpora under a licence that says what may be done with them, bought at the same counter as compute."
    ),
    (
        (
            _lazy("Shelf of datasets"),
            _lazy("Search by subject, language and licence; a label says price, size and origin."),
            (),
        ),
        (
            _lazy("Put a corpus up"),
            _lazy("Publish under your licence, and see who uses it and for what."),
            (),
        ),
        (
            _lazy("Use it in a run"),
            _lazy(
                "A run names its inputs; the licence is checked before it starts, and the receipt lists them."
            ),
            (),
        ),
        (_lazy("Corpus vouchers"), _lazy("The same programmes, the same split bar."), ()),
    ),
)
EVALUATION: Final = DoorShown(
    "evaluation",
    pgettext_lazy("door", "Evaluation"),
    _lazy("What a model can do and whether it is safe, tested on the hub and open to recomputation."),
    (
        (
            _lazy("Benchmarks"),
            _lazy("A score names model, data, log and scorer, and can be computed again."),
            (),
        ),
        (_lazy("Safety question banks"), _lazy("Tested against the banks that filing asks for."), ()),
        (_lazy("Leaderboards"), _lazy("With intervals, so that nobody wins by chance."), ()),
        (
            _lazy("Filing and registration"),
            _lazy("The papers to the authority, filled from what the hub itself saw."),
            (),
        ),
        (_lazy("Challenges"), _lazy("A posted problem with money, paid by milestone."), ()),
    ),
)
FINANCE: Final = DoorShown(
    "finance",
    pgettext_lazy("door", "Finance"),
    _lazy("Your own money and public money, told apart to the cent."),
    (
        (_lazy("Money"), _lazy("Balance, what orders hold, and every movement."), ("money", "account")),
        (_lazy("Bills"), _lazy("What a month's receipts add up to."), ("bills",)),
        (_lazy("Vouchers"), _lazy("What each has left, and until when."), ("vouchers", "account")),
        (
            _lazy("Programmes"),
            _lazy("Which are open, what they pay, and whether you fit."),
            ("programmes", "home"),
        ),
        (_lazy("Investors"), _lazy("Find companies that fit, and see evidence instead of slides."), ()),
        (_lazy("Tax invoices and contracts"), _lazy("Issued from the same records as the bill."), ()),
    ),
)
SERVICES: Final = DoorShown(
    "services",
    pgettext_lazy("door", "Services"),
    _lazy("What else a place gives: being admitted, being heard, being seen."),
    (
        (
            _lazy("Your organisation"),
            _lazy("Members, projects, facts that the hub has verified."),
            ("organisation", "account"),
        ),
        (_lazy("Notices"), _lazy("What happened that concerns you."), ("notices",)),
        (_lazy("Tokens"), _lazy("Reach the hub from a terminal or a program."), ("tokens", "account")),
        (_lazy("Space"), _lazy("Desks and rooms, with the same receipt."), ()),
        (_lazy("Events and showcase"), _lazy("Who meets when, and what residents have built."), ()),
    ),
)


@require_GET
@page("hub.look")
def data(request: HttpRequest) -> HttpResponse:
    """What the door of data will give."""
    return _door(request, DATA)


@require_GET
@page("hub.look")
def evaluation(request: HttpRequest) -> HttpResponse:
    """What the door of evaluation will give."""
    return _door(request, EVALUATION)


@require_GET
@page("hub.look")
def finance(request: HttpRequest) -> HttpResponse:
    """Money, vouchers and programmes: what there is, and what comes."""
    return _door(request, FINANCE)


@require_GET
@page("hub.look")
def services(request: HttpRequest) -> HttpResponse:
    """Organisation, notices and tokens: what there is, and what comes."""
    return _door(request, SERVICES)


def _door(request: HttpRequest, door: DoorShown) -> HttpResponse:
    entries = door.shown
    context = {
        "here": door.name,
        "door": door,
        "there": [one for one in entries if one.href],
        "coming": [one for one in entries if not one.href],
    }
    return render(request, "pages/door.html", context)
