"""Where one can go. A page gets its place in the navigation by one line in `PLACES`.

A place whose address does not exist yet is not shown; one that a person may not enter neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, get_urlconf, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from mosu.platform.actors import ANONYMOUS, Actor, HubRole
from mosu.platform.models import Capability, Organisation
from mosu.platform.policy import allows
from mosu.platform.queries import UNREAD_COUNTED

UNREAD_MAX: Final = UNREAD_COUNTED - 1
LIGHTS: Final = ("day", "night")
LIGHT_COOKIE: Final = "mosu_light"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, for what organisation."""

    actor: Actor
    organisation: Organisation | None = None

    def may(self, action: str) -> bool:
        return allows(self.actor, action)

    @property
    def buys(self) -> bool:
        """Whether they speak for a buyer: the hub's own people do where their organisation is a resident."""
        if self.organisation is None:
            return False
        return not self.actor.hub_roles or Capability.RESIDENT in self.organisation.capabilities


Whom = Callable[[Viewer], bool]


def whoever_may(action: str) -> Whom:
    """All whom the policy allows `action` somewhere."""
    return lambda viewer: viewer.may(action)


def members_who_may(action: str) -> Whom:
    """Those who speak for an organisation and may do it there."""
    return lambda viewer: viewer.organisation is not None and viewer.may(action)


def buyers_who_may(action: str) -> Whom:
    """Those who speak for a buyer and may do it there."""
    return lambda viewer: viewer.buys and viewer.may(action)


def suppliers(viewer: Viewer) -> bool:
    return viewer.organisation is not None and Capability.SUPPLIER in viewer.organisation.capabilities


def sellers(viewer: Viewer) -> bool:
    """Suppliers, and the hub's operators, who look after everybody's."""
    return suppliers(viewer) or HubRole.OPERATOR in viewer.actor.hub_roles


def staff(*roles: HubRole) -> Whom:
    """The hub's own people with one of these roles."""
    return lambda viewer: bool(viewer.actor.hub_roles & set(roles))


@dataclass(frozen=True, slots=True)
class Place:
    """A page in the navigation: its words, the name of its address, for whom.

    `also` names pages that belong to it; `desk_*` are all whose name begins so.
    """

    title: Any
    url: str
    whom: Whom
    also: Sequence[str] = ()
    is_coming: bool = False
    """Its page says what will be there."""


# The five doors, in the order of the hub. One that has no page yet says that it comes.
DOORS: Final = (
    Place(
        _("Compute"),
        "shelf",
        whoever_may("offer.read"),
        ("quote", "compare", "offer", "offer_calendar", "reserve", "saved"),
    ),
    Place(pgettext_lazy("door", "Data"), "data", whoever_may("hub.look"), is_coming=True),
    Place(pgettext_lazy("door", "Evaluation"), "evaluation", whoever_may("hub.look"), is_coming=True),
    Place(pgettext_lazy("door", "Finance"), "finance", whoever_may("hub.look")),
    Place(pgettext_lazy("door", "Services"), "services", whoever_may("hub.look")),
)

# What is one's own, by role. The first four that one may enter are the phone's bar.
PLACES: Final = (
    Place(_("Today"), "today", whoever_may("self.read")),
    Place(
        _("Desk"),
        "desk",
        staff(HubRole.OPERATOR, HubRole.CHECKER),
        ("desk_*", "ledger", "ledger_*", "credit_note*"),
    ),
    Place(
        _("Books"),
        "books",
        staff(HubRole.AUDITOR, HubRole.OPERATOR, HubRole.CHECKER),
        (
            "books_audit",
            "books_public",
            "samples",
            "sample",
            "chain",
            "book_account",
            "findings",
            "finding",
            "finding_new",
        ),
    ),
    Place(_("New run"), "quote", buyers_who_may("quote.ask"), ("checkout", "accept")),
    Place(_("Orders"), "orders", buyers_who_may("order.read"), ("order", "receipt")),
    Place(_("Volumes"), "volumes", buyers_who_may("order.read"), ("volume",)),
    Place(_("Endpoints"), "endpoints", buyers_who_may("endpoint.read"), ("endpoint", "endpoint_*")),
    Place(_("Bills"), "bills", buyers_who_may("receipt.read"), ("bill", "credit_notes", "credit_note")),
    Place(_("Costs"), "costs", buyers_who_may("receipt.read")),
    Place(_("Money"), "money", buyers_who_may("ledger.read"), ("deposits",)),
    Place(
        _("Vouchers"),
        "vouchers",
        buyers_who_may("voucher.read"),
        ("voucher", "programmes", "programme", "applications", "application", "claims"),
    ),
    Place(
        _("Organisation"),
        "organisation",
        members_who_may("organisation.read"),
        ("members", "member", "projects", "project", "budgets", "facts", "documents"),
    ),
    Place(
        _("Pools"),
        "pools",
        sellers,
        ("pool", "new_pool", "pool_*", "node"),
    ),
    Place(
        _("My offers"),
        "my_offers",
        sellers,
        ("my_offer", "new_offer", "offer_imports", "offer_import", "partners"),
    ),
    Place(_("Sales"), "sales", sellers, ("owed", "owed_to", "statements", "statement")),
)

SEARCH: Final = "search"
"""The address that answers the search field's `?q=`."""
NOTICES: Final = "notices"
"""The address of one's notices."""


@dataclass(frozen=True, slots=True)
class Link:
    """A place as it is shown: without an address it is yet to come."""

    title: Any
    href: str
    is_here: bool
    is_coming: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds a page: `frame` in templates."""

    doors: Sequence[Link]
    places: Sequence[Link]
    phone: Sequence[Link]
    search: str
    query: str
    notices: str
    unread: int
    light: str
    buys: bool
    """Whether its purse is shown: who looks speaks for a buyer."""

    @property
    def unread_said(self) -> str:
        return f"{UNREAD_MAX}+" if self.unread > UNREAD_MAX else str(self.unread)


def light_of(request: HttpRequest) -> str:
    """`day` or `night` as the person chose on this device; empty: as the device says."""
    chosen = request.COOKIES.get(LIGHT_COOKIE, "")
    return chosen if chosen in LIGHTS else ""


def frame_of(request: HttpRequest, viewer: Viewer, *, unread: int) -> Frame:
    """The navigation for who looks; it asks the database nothing."""
    match = request.resolver_match
    here = match.url_name or "" if match else ""
    places = [_link(place, here) for place in PLACES if place.whom(viewer)]
    places = [link for link in places if link.href]
    # Where a page is a place of one's own, the door that leads there too is not marked as well.
    doors = [_link(door, here if not any(link.is_here for link in places) else "") for door in DOORS]
    knows = viewer.actor is not ANONYMOUS
    notices = address_of(NOTICES) if knows else ""
    return Frame(
        doors=doors,
        places=places,
        phone=([doors[0], *places] if knows else [])[:4],
        search=address_of(SEARCH),
        query=request.GET.get("q", "") if here == SEARCH else "",
        notices=notices,
        unread=unread,
        light=light_of(request),
        buys=viewer.buys,
    )


def address_of(name: str) -> str:
    """The path of a named address; empty as long as there is none."""
    return _address(name, get_urlconf() or settings.ROOT_URLCONF)


@cache
def _address(name: str, urlconf: str) -> str:
    try:
        return reverse(name, urlconf)
    except NoReverseMatch:
        return ""


def _link(place: Place, here: str) -> Link:
    href = address_of(place.url)
    return Link(
        place.title,
        href,
        here == place.url or any(fnmatchcase(here, name) for name in place.also),
        place.is_coming or not href,
    )
