"""Asking for a volume, and for more time for one that is there."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Pool, Volume
from mosu.compute.queries import pools_by_id, why_not_live
from mosu.compute.requests import VolumeRequest
from mosu.compute.services.capacity import SoldOut
from mosu.compute.services.volume_quotas import keep_within_gb
from mosu.compute.services.volume_uses import VolumeGone, in_use
from mosu.compute.states import VOLUME_LIVES, PoolState, VolumeState
from mosu.compute.volumes import GB_SECOND, SHELF, free_gb, volume_visible_to
from mosu.kernel.ids import typeid
from mosu.kernel.refusals import DomainError, Invalid
from mosu.market.catalogue import catalogue_at
from mosu.market.models import Offer, OfferState, Quote
from mosu.market.queries import ShownOffer, offers_for
from mosu.market.services import NotForSale, Plan, PlanLine, check_chargeable, make_quotes
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.subsidies.services import Choice

DAYS_MAX: Final = 366
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_OFFERS_MAX: Final = 100


class VolumeNameTaken(DomainError):
    """The project has a volume of this name."""

    code = "volume_name_taken"


@transaction.atomic(durable=True)
def quote_volume(
    *,
    actor: Actor,
    organisation_id: UUID,
    project_id: UUID,
    name: str,
    size_gb: int,
    days: int,
    choice: Choice,
    now: datetime,
    offer_id: UUID | None = None,
    supplier: str = "",
    pool: str = "",
) -> Quote:
    """A quote for room for a volume, for so many days: of the cheapest offer that has it, or of the one that is named
    by itself, its supplier or its pool (each by name or id).

    Nothing is reserved: the room is looked at again when the quote is accepted.

    Raises:
        Forbidden: the actor may not ask quotes for this organisation.
        Invalid: a name, a size or a time that no offer sells.
        VolumeNameTaken: the project has a volume of this name.
        NotForSale: nobody sells volumes, or not who is named.
        SoldOut: there is no room for it now.
        QuotaReached: the project, or its organisation, would keep more than it may.
    """
    require(actor, "quote.ask", organisation_id)
    if not is_name(name):
        raise Invalid(
            f"{name[:60]!r} cannot name a volume.",
            hint="Use 1 to 63 small letters, digits and -, a letter or digit first and last.",
            field="name",
            found=name[:60],
        )
    check_days(days)
    check_name_free(project_id, name)
    offers = _offers(organisation_id, now=now, offer_id=offer_id, supplier=supplier, pool=pool)
    if not offers:
        raise NotForSale(
            "No volumes are sold there." if offer_id or supplier or pool else "No volumes are sold yet.",
            hint="See GET /offers?shelf=storage.",
        )
    keep_within_gb(organisation_id=organisation_id, project_id=project_id, size_gb=size_gb)
    shown = _first_that_fits(offers, size_gb=size_gb, days=days, now=now)
    request = VolumeRequest(pool_id=str(shown.offer.subject_id), name=name, size_gb=size_gb, days=days)
    return quoted_volume(
        request,
        offer_id=shown.offer.id,
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        choice=choice,
        starts_at=now,
        now=now,
    )


@transaction.atomic(durable=True)
def quote_volume_time(
    *, actor: Actor, volume_id: UUID, days: int, choice: Choice, now: datetime, until_at_least: datetime
) -> Quote:
    """A quote for more time for a volume, of the offer that it was bought of, at its price of today.

    It begins where the time that is paid for ends, also where that is over.

    Raises:
        NotFound: there is no such volume, or the actor may not know.
        Forbidden: the actor may not ask quotes for its organisation.
        VolumeGone: it is being deleted.
        VolumeInUse: it is a snapshot that is not whole yet.
        NotForSale: the offer left the shelf, or the pool is closed for good.
        Invalid: too few days to reach `until_at_least`, or more than the offer sells.
    """
    volume = volume_visible_to(actor, volume_id)
    require(actor, "quote.ask", volume.organisation_id)
    if volume.state not in VOLUME_LIVES:
        raise VolumeGone("The volume is being deleted.", hint="Make another.")
    if volume.state == VolumeState.MAKING:
        raise in_use(volume)
    if volume.pool.state == PoolState.CLOSED:
        raise NotForSale(f"The pool {volume.pool.name} is closed.", hint="Make a volume elsewhere.")
    check_days(days)
    if volume.kept_until + timedelta(days=days) <= until_at_least:
        raise Invalid("That time would be over already.", hint="Ask for more days.", field="days", found=days)
    last = volume.terms.select_related("order").latest("period")
    request = VolumeRequest(
        pool_id=str(volume.pool_id),
        name=volume.name,
        size_gb=volume.size_gb,
        days=days,
        volume_id=str(volume.id),
        start_s=int(volume.kept_until.timestamp()),
    )
    return quoted_volume(
        request,
        offer_id=last.order.offer_id,
        actor=actor,
        organisation_id=volume.organisation_id,
        project_id=volume.project_id,
        choice=choice,
        starts_at=volume.kept_until,
        now=now,
    )


def is_name(text: str) -> bool:
    """Whether it can name a volume, or a snapshot of one."""
    return _NAME.fullmatch(text) is not None


def check_name_free(project_id: UUID, name: str) -> None:
    """
    Raises:
        VolumeNameTaken: the project has a volume of this name.
    """
    if Volume.objects.filter(project_id=project_id, name=name, state__in=VOLUME_LIVES).exists():
        raise VolumeNameTaken(f"The project has a volume {name!r}.", hint="Choose another name.")


def check_days(days: int) -> None:
    """
    Raises:
        Invalid: nobody keeps a volume for so many days at once.
    """
    if not 1 <= days <= DAYS_MAX:
        raise Invalid(
            f"days: {days} cannot be used.", hint=f"Choose 1 to {DAYS_MAX}.", field="days", found=days
        )


def _offers(
    organisation_id: UUID, *, now: datetime, offer_id: UUID | None, supplier: str, pool: str
) -> list[ShownOffer]:
    """Those that fit the names, the cheapest first."""
    rows = Offer.objects.filter(shelf=SHELF, state=OfferState.LISTED).order_by("id")
    if offer_id is not None:
        rows = rows.filter(id=offer_id)
    shown = offers_for(
        organisation_id,
        list(rows.values_list("id", flat=True)[:_OFFERS_MAX]),
        snapshot=catalogue_at(now),
        now=now,
    )
    pools = pools_by_id({one.offer.subject_id for one in shown})
    found = [
        one
        for one in shown
        if _is_named(supplier, one.offer.supplier.name, typeid(Organisation.prefix, one.offer.supplier_id))
        and _is_named(pool, *_names_of(pools.get(one.offer.subject_id)))
    ]
    return sorted(found, key=lambda one: (_price_of(one), str(one.offer.id)))


def _is_named(wanted: str, *names: str) -> bool:
    return not wanted or wanted in names


def _names_of(pool: Pool | None) -> Iterable[str]:
    return (pool.name, pool.public_id) if pool is not None else ()


def _price_of(shown: ShownOffer) -> int:
    return min((one.unit_price_micros for one in shown.prices if one.meter == GB_SECOND), default=1 << 62)


def _first_that_fits(offers: list[ShownOffer], *, size_gb: int, days: int, now: datetime) -> ShownOffer:
    refused: DomainError | None = None
    pools = pools_by_id({one.offer.subject_id for one in offers})
    for shown in offers:
        why = _why_not(shown, pools.get(shown.offer.subject_id), size_gb=size_gb, days=days, now=now)
        if why is None:
            return shown
        refused = refused or why
    raise refused or NotForSale("No volumes are sold yet.", hint="See GET /offers?shelf=storage.")


def _why_not(
    shown: ShownOffer, pool: Pool | None, *, size_gb: int, days: int, now: datetime
) -> DomainError | None:
    offer = shown.offer
    if not offer.min_units <= size_gb <= offer.max_units:
        return Invalid(
            f"A volume of this offer has {offer.min_units} to {offer.max_units} GB, not {size_gb}.",
            hint="Ask for a size within the limits.",
            field="gb",
            found=size_gb,
        )
    if days * 86_400 > offer.wall_s_max:
        return Invalid(
            f"A volume of this offer is kept up to {offer.wall_s_max // 86_400} days at once, not {days}.",
            hint="Ask for fewer days, and for more time later.",
            field="days",
            found=days,
        )
    dead = why_not_live(pool, now=now)
    if dead is not None or pool is None:
        return SoldOut(f"The pool can sell nothing now: {dead}.", hint="Ask again later.")
    return no_room(pool, size_gb=size_gb)


def no_room(pool: Pool, *, size_gb: int) -> SoldOut | None:
    """Why the pool has no room for so much; None if it has."""
    free = free_gb(pool)
    if size_gb <= free:
        return None
    return SoldOut(
        f"The pool has room for {free} GB more, not {size_gb}.", hint="Ask for less, or elsewhere."
    )


def quoted_volume(
    request: VolumeRequest,
    *,
    offer_id: UUID,
    actor: Actor,
    organisation_id: UUID,
    project_id: UUID,
    choice: Choice,
    starts_at: datetime,
    now: datetime,
) -> Quote:
    """The quote of one offer for what is asked.

    Raises:
        TooLittle: it would come to less than can be charged.
    """
    seconds = request.days * 86_400
    plan = Plan(
        offer_id=offer_id,
        lines=(PlanLine(meter=GB_SECOND, units=request.size_gb, quantity_max=request.size_gb * seconds),),
        starts_at=starts_at,
        wall_limit_s=seconds,
        request=request.to_json(),
        facts={"name": request.name, "gb": request.size_gb, "days": request.days},
    )
    [quote] = make_quotes(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        shelf=SHELF,
        plans=[plan],
        choice=choice,
        now=now,
    )
    check_chargeable(quote)
    return quote
