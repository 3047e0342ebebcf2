"""What surrounds every page: whose money and how much is left, and where one can go."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from mosu.platform.actors import ANONYMOUS, Actor
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.subsidies.queries import purse_of
from mosu.web.middleware import is_api
from mosu.web.navigation import Viewer, frame_of
from mosu.web.pages import organisations_known


@dataclass(frozen=True)
class PurseShown:
    """The organisation for which the person speaks, what it can spend, and for which others they could speak."""

    organisation: Organisation
    organisations: list[Organisation]
    available: int
    vouchers: int


def surroundings(request: HttpRequest) -> dict[str, Any]:
    """`frame` and `purse` for templates: a few queries, and none for strangers."""
    if is_api(request):
        return {}
    user = getattr(request, "user", None)
    actor = actor_of(request) if user is not None and user.is_authenticated else ANONYMOUS
    purse = purse_of_request(request)
    viewer = Viewer(actor, purse.organisation if purse else None)
    return {"frame": frame_of(request, viewer), "purse": purse}


def purse_of_request(request: HttpRequest) -> PurseShown | None:
    """The purse of who sends the request, asked once: a page that shows more of it asks no second time."""
    if not hasattr(request, "mosu_purse"):
        user = getattr(request, "user", None)
        known = user is not None and user.is_authenticated
        request.mosu_purse = purse_for(actor_of(request), request) if known else None  # type: ignore[attr-defined]
    found: PurseShown | None = request.mosu_purse  # type: ignore[attr-defined]
    return found


def purse_for(actor: Actor, request: HttpRequest) -> PurseShown | None:
    """The purse of who speaks for an organisation: at most two queries."""
    if actor.organisation_id is None:
        return None
    organisations = organisations_known(request)
    money = purse_of(actor.organisation_id, now=timezone.now())
    return PurseShown(
        organisation=next(one for one in organisations if one.id == actor.organisation_id),
        organisations=organisations,
        available=money.balance_micros,
        vouchers=money.vouchers_micros,
    )
