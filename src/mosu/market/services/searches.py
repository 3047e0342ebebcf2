"""Searches that people keep."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.market.catalogue import OfferSearch, params_of
from mosu.market.models import SavedSearch
from mosu.market.queries import saved_searches_of
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require

SEARCHES_MAX = 50
NAME_MAX = 80


class NameTaken(DomainError):
    """The person has a search of this name."""

    code = "name_taken"


@transaction.atomic
def save_search(*, actor: Actor, name: str, wanted: OfferSearch, now: datetime) -> SavedSearch:
    """The search under a name of the person's own; not the place in its list.

    Raises:
        Unauthenticated, Forbidden: nobody is signed in, or a token that may only read.
        Invalid: no name, a long one, or too many searches.
        NameTaken: there is one of this name.
    """
    require(actor, "self.change")
    plain = name.replace("\x00", "").strip()
    if not 1 <= len(plain) <= NAME_MAX:
        raise Invalid("A saved search needs a name.", hint=f"1 to {NAME_MAX} characters.", field="name")
    if saved_searches_of(actor).count() >= SEARCHES_MAX:
        raise Invalid(
            f"{SEARCHES_MAX} searches are saved already.",
            hint="Delete one that you no longer need.",
            field="name",
        )
    search = SavedSearch(user_id=person_of(actor), name=plain, query=params_of(wanted), created_at=now)
    try:
        with transaction.atomic():
            search.save(force_insert=True)
    except IntegrityError:
        raise NameTaken(f"You have a search called {plain!r}.", hint="Choose another name.") from None
    return search


@transaction.atomic
def delete_search(*, actor: Actor, search_id: UUID) -> None:
    """Forget one of the person's searches.

    Raises:
        Unauthenticated, Forbidden: nobody is signed in, or a token that may only read.
        NotFound: the person has no such search.
    """
    require(actor, "self.change")
    deleted, _ = saved_searches_of(actor).filter(id=search_id).delete()
    if not deleted:
        raise NotFound("You have no such search.", hint="See GET /saved-searches.")
