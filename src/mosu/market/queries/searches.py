"""Searches of the shelves: what is found, what else there is to choose, what a person saved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.core import signing
from django.db.models import QuerySet

from mosu.kernel.refusals import Invalid
from mosu.market.catalogue import (
    FREE_NOW,
    Counted,
    OfferSearch,
    ShelfSummary,
    Viewer,
    catalogue_at,
    search,
    summarised,
)
from mosu.market.catalogue.asked import LIMIT_DEFAULT
from mosu.market.catalogue.asked import search_of as asked_in
from mosu.market.models import OfferState, SavedSearch
from mosu.market.queries.offers import ShownOffer, catalogue_for, offers_visible_to, shown_as
from mosu.market.shelves import Facet, has_shelf, shelf_codes, shelf_of
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of

_FACETS: Final = (
    Facet("region", "地区", "Region"),
    Facet("supplier", "供应商", "Supplier"),
    Facet("mode", "方式", "Mode"),
    Facet("price", "单价", "Unit price", is_number=True),
    Facet(FREE_NOW, "现在可用", "Free now"),
)


@dataclass(frozen=True, slots=True)
class FacetShown:
    """A facet with its values: each counts what fits if it is chosen beside all that other facets ask."""

    facet: Facet
    values: Sequence[Counted]


@dataclass(frozen=True, slots=True)
class OfferPage:
    """One page of a search, how many fit in all, and what else there is to choose."""

    items: Sequence[ShownOffer]
    total: int
    facets: Sequence[FacetShown]
    without: Mapping[str, int]
    """By facet that something is asked of: how many would fit if nothing were asked of it."""
    next: str | None


def facets_of(shelf: str) -> Sequence[Facet]:
    """By what one may choose on a shelf (on all, if it is not named): its own facets, then the counter's."""
    own = [shelf_of(code).facets for code in ([shelf] if shelf else shelf_codes()) if has_shelf(code)]
    return [*(facet for facets in own for facet in facets), *_FACETS]


def search_of(
    params: Mapping[str, Sequence[str]], *, shelf: str = "", limit: int = LIMIT_DEFAULT
) -> OfferSearch:
    """The search that the parameters of an address ask for; `shelf` wins over theirs.

    Raises:
        Invalid: a number, a sort or a length that cannot be.
    """
    named = {**params, "shelf": [shelf]} if shelf else params
    facets = facets_of("")  # of all shelves: what another shelf is chosen by, nothing on this one has
    return asked_in(
        named,
        facets=[facet.code for facet in facets if facet.code != FREE_NOW],
        numbers=[facet.code for facet in facets if facet.is_number],
        limit=limit,
    )


def search_offers(actor: Actor, wanted: OfferSearch, *, now: datetime, counted: bool = True) -> OfferPage:
    """The offers on the shelves that fit and that the actor may see, in order, at the prices that it would pay.

    Without `counted` there are no facets. What is shown of each is read from PostgreSQL: one that left the shelf a
    moment ago is not on its page.

    Raises:
        Invalid: `wanted.after` is not a cursor of this list.
        CatalogueLoading: this process still reads the offers for the first time.
    """
    facets = facets_of(wanted.shelf) if counted else ()
    snapshot = catalogue_for(actor.organisation_id, now=now)
    found = search(
        snapshot,
        wanted,
        viewer=Viewer(actor.organisation_ids, sees_all=actor.sees_all),
        facets=[facet.code for facet in facets],
        after=_after_of(wanted) if wanted.after else None,
    )
    rows = offers_visible_to(actor).filter(state=OfferState.LISTED).in_bulk(list(found.ids))
    offers = [rows[key] for key in found.ids if key in rows]
    return OfferPage(
        items=shown_as(offers, now=now, standing=snapshot.standing, tiers=snapshot.tiers),
        total=found.total,
        facets=[FacetShown(facet, found.facets[facet.code]) for facet in facets],
        without=found.without,
        next=_cursor_of(wanted, found.last) if found.last else None,
    )


def offers_found(
    actor: Actor, wanted: OfferSearch, *, now: datetime, batch: int
) -> Iterator[Sequence[ShownOffer]]:
    """As `search_offers` without its facets, `batch` offers at a time: searched once, each read when it is taken.

    Raises:
        Invalid, CatalogueLoading: as `search_offers`, before the first.
    """
    snapshot = catalogue_for(actor.organisation_id, now=now)
    viewer = Viewer(actor.organisation_ids, sees_all=actor.sees_all)
    after = _after_of(wanted) if wanted.after else None
    ids = search(snapshot, wanted, viewer=viewer, facets=(), after=after).ids
    for start in range(0, len(ids), batch):
        named = list(ids[start : start + batch])
        rows = offers_visible_to(actor).filter(state=OfferState.LISTED).in_bulk(named)
        offers = [rows[key] for key in named if key in rows]
        yield shown_as(offers, now=now, standing=snapshot.standing, tiers=snapshot.tiers)


def shelf_summary(shelf: str, *, now: datetime) -> ShelfSummary:
    """What hangs on a shelf for everyone, in figures that anyone may see; from the catalogue, without waiting for it.

    Raises:
        CatalogueLoading: this process still reads the offers for the first time.
    """
    return summarised(catalogue_at(now, first_wait_s=0), shelf)


def saved_searches_of(actor: Actor) -> QuerySet[SavedSearch]:
    """The searches that the person saved, by name."""
    return SavedSearch.objects.filter(user_id=person_of(actor)).order_by("name", "id")


def _after_of(wanted: OfferSearch) -> tuple[int, UUID]:
    """Where the page before ended.

    Raises:
        Invalid: it is not a cursor of a list in this order.
    """
    try:
        key, last = signing.loads(wanted.after, salt=_salt_of(wanted))
    except signing.BadSignature:
        raise Invalid(
            "This cursor is not one of this list's.",
            hint="Take `next` of the page before, or leave it out for the first page.",
            field="cursor",
        ) from None
    return int(key), UUID(hex=last)


def _cursor_of(wanted: OfferSearch, last: tuple[int, UUID]) -> str:
    return signing.dumps([last[0], last[1].hex], salt=_salt_of(wanted))


def _salt_of(wanted: OfferSearch) -> str:
    """Binds a cursor to its order; how well a text fits depends on the text."""
    return f"mosu.offers:{wanted.sort}:{wanted.text if wanted.sort == 'relevance' else ''}"
