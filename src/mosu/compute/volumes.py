"""Reads of volumes: which there are, how much room a pool has for more."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Prefetch, QuerySet, Sum

from mosu.compute.models import Pool, Volume, VolumeCopy, VolumeTerm, VolumeUse
from mosu.compute.states import CopyState, VolumeState
from mosu.kernel.refusals import NotFound
from mosu.market import rules
from mosu.market.models import Order
from mosu.platform.actors import Actor

SHELF: Final = "storage"
GB_SECOND: Final = "gb_second"
GB_MONTH: Final = "gb_month"
GB_MONTH_S: Final = 30 * 86_400
"""A price per GB-month is for 30 days."""
GRACE: Final = timedelta(days=7)
"""How long a volume can still be read and renewed once its paid time is over."""


def volumes_visible_to(actor: Actor) -> QuerySet[Volume]:
    """Volumes of the actor's organisations, or all for the hub's people; newest first, with terms and users."""
    rows = Volume.objects.select_related("pool", "project", "organisation", "snapshot_of").order_by(
        "-created_at", "-id"
    )
    rows = rows.prefetch_related(
        Prefetch("terms", VolumeTerm.objects.select_related("order__quote").order_by("period")),
        Prefetch(
            "uses",
            VolumeUse.objects.filter(live=True, run__isnull=False).select_related("run").order_by("id"),
        ),
        Prefetch("copies_to", VolumeCopy.objects.select_related("source").order_by("-created_at", "-id")),
    )
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def volumes_kept(actor: Actor) -> QuerySet[Volume]:
    """Those that are not deleted."""
    return volumes_visible_to(actor).exclude(state=VolumeState.DELETED)


def volume_visible_to(actor: Actor, volume_id: UUID) -> Volume:
    """One of them.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    volume = volumes_visible_to(actor).filter(id=volume_id).first()
    if volume is None:
        raise NotFound("There is no such volume.", hint="See your volumes: mosu volumes list.")
    return volume


def taken_gb(pool_ids: list[UUID]) -> Mapping[UUID, int]:
    """What of these pools' room is taken, also by volumes that are still to be deleted or are being restored."""
    rows = Volume.objects.filter(pool_id__in=pool_ids).exclude(state=VolumeState.DELETED).order_by()
    taken = dict(rows.values_list("pool_id").annotate(sum=Sum("size_gb")))
    restored = VolumeCopy.objects.filter(
        state=CopyState.COPYING, restores=True, target__pool_id__in=pool_ids
    ).order_by()
    for pool_id, size_gb in restored.values_list("target__pool_id").annotate(sum=Sum("source__size_gb")):
        taken[pool_id] = taken.get(pool_id, 0) + size_gb
    return taken


class RoomSold(NamedTuple):
    """What of a pool's room is sold: GB, volumes, and how many of these runs see now."""

    gb: int
    volumes: int
    in_use: int


def room_sold(pool_id: UUID) -> RoomSold:
    """Also of volumes that are still to be deleted."""
    uses = VolumeUse.objects.filter(volume=OuterRef("pk"), live=True)
    rows = Volume.objects.filter(pool_id=pool_id).exclude(state=VolumeState.DELETED).order_by()
    found = rows.aggregate(
        gb=Sum("size_gb", default=0), volumes=Count("id"), in_use=Count("id", filter=Exists(uses))
    )
    return RoomSold(**found)


def free_gb(pool: Pool) -> int:
    """How much room the pool has for more; under the pool's lock this holds until the commit."""
    return max(0, pool.volumes_gb - taken_gb([pool.id]).get(pool.id, 0))


def cost_so_far(volume: Volume, order: Order, *, now: datetime) -> int:
    """What the order of the volume, not settled yet, would be charged if the volume were deleted now; in micros."""
    [term] = [one for one in volume.terms.all() if one.order_id == order.id]
    kept = min(now, term.period.upper) - charged_from(volume, term, now=now)
    [line] = rules.lines_of_json(order.quote.lines)
    quantity = volume.size_gb * max(0, kept // timedelta(seconds=1))
    return rules.amount_of(quantity, line.price, currency=order.currency)


def charged_from(volume: Volume, term: VolumeTerm, *, now: datetime) -> datetime:
    """From when on the term is charged: of a snapshot not before it is whole, which may still be to come."""
    begun: datetime = term.period.lower
    return max(begun, volume.whole_at or now) if volume.snapshot_of_id else begun


def deleted_at(volume: Volume) -> datetime:
    """When it is deleted unless it is renewed."""
    return volume.kept_until + GRACE
