"""What surrounds every page: whose money and how much is left, and where one can go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from mosu.platform.actors import ANONYMOUS
from mosu.platform.models import Organisation
from mosu.platform.queries import Person
from mosu.platform.requests import person_signed_in
from mosu.subsidies.queries import purse_of
from mosu.web.middleware import is_api
from mosu.web.navigation import Viewer, frame_of


@dataclass(frozen=True)
class PurseShown:
    """The organisation for which the person speaks, what it can spend, and for which others they could speak."""

    organisation: Organisation
    organisations: Sequence[Organisation]
    available: int
    vouchers: int


def surroundings(request: HttpRequest) -> dict[str, Any]:
    """`frame` and `purse` for templates: two queries, and none for strangers."""
    if is_api(request):
        return {}
    person = person_signed_in(request)
    purse = purse_of_request(request)
    viewer = Viewer(person.actor if person else ANONYMOUS, purse.organisation if purse else None)
    return {"frame": frame_of(request, viewer, unread=person.unread if person else 0), "purse": purse}


def purse_of_request(request: HttpRequest) -> PurseShown | None:
    """The purse of who sends the request, asked once: a page that shows more of it asks no second time."""
    if not hasattr(request, "mosu_purse"):
        person = person_signed_in(request)
        request.mosu_purse = purse_for(person) if person else None  # type: ignore[attr-defined]
    found: PurseShown | None = request.mosu_purse  # type: ignore[attr-defined]
    return found


def purse_for(person: Person) -> PurseShown | None:
    """The purse of who speaks for an organisation: one query."""
    chosen = person.actor.organisation_id
    if chosen is None:
        return None
    money = purse_of(chosen, now=timezone.now())
    return PurseShown(
        organisation=next(one for one in person.organisations if one.id == chosen),
        organisations=person.organisations,
        available=money.balance_micros,
        vouchers=money.vouchers_micros,
    )
