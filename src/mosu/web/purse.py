"""What every page of a person who signed in shows at its head: whose money, and how much is left."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from mosu.platform.models import Organisation
from mosu.platform.queries import organisations_of
from mosu.platform.requests import actor_of
from mosu.subsidies.queries import purse_of
from mosu.web.middleware import is_api


@dataclass(frozen=True)
class PurseShown:
    """The organisation for which the person speaks, what it can spend, and for which others they could speak."""

    organisation: Organisation
    organisations: list[Organisation]
    available: int
    vouchers: int


def purse(request: HttpRequest) -> dict[str, Any]:
    """`purse` for templates: two queries, and none for strangers."""
    if is_api(request) or not hasattr(request, "user") or not request.user.is_authenticated:
        return {}
    actor = actor_of(request)
    if actor.organisation_id is None:
        return {}
    organisations = list(organisations_of(actor))
    money = purse_of(actor.organisation_id, now=timezone.now())
    return {
        "purse": PurseShown(
            organisation=next(one for one in organisations if one.id == actor.organisation_id),
            organisations=organisations,
            available=money.balance_micros,
            vouchers=money.vouchers_micros,
        )
    }
