"""The storage shelf, as the counter sees it: room for volumes, by the GB and the time it is kept."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from mosu.compute.models import Pool
from mosu.compute.queries import pools_by_id, why_not_live
from mosu.compute.services.volumes import VolumeKept, reserve_volume
from mosu.compute.volumes import GB_SECOND, SHELF, taken_gb
from mosu.market.models import Quote
from mosu.market.services import NamedGoods, Stock
from mosu.market.shelves import Facet, Goods, Place, Standing
from mosu.platform.actors import Actor, ActorKind

KEY: Final = "volumes"


class VolumeShelf:
    """Sells room for volumes. `Offer.subject_id` is the pool."""

    code = SHELF
    facets: Sequence[Facet] = ()

    def reserve(self, *, order_id: UUID, quote: Quote, now: datetime) -> None:
        reserve_volume(order_id=order_id, quote=quote, now=now)

    def fulfil(self, *, order_id: UUID, now: datetime) -> None:
        """Nothing more: its time begins at the next turn, its folder is made by the first run that sees it."""

    def cancel(self, *, order_id: UUID, actor: Actor, now: datetime, why: str) -> bool:
        """No order takes files away: a budget that is spent leaves them, a person deletes the volume by its name.

        Raises:
            VolumeKept: a person asked.
        """
        if actor.kind is ActorKind.SYSTEM:
            return False
        raise VolumeKept(
            "This order keeps a volume, and is not cancelled.",
            hint="Delete the volume: what is left of its time is given back.",
        )

    def goods_of(self, attributes: Mapping[str, Any]) -> Goods:
        return Goods(key=KEY, meter=GB_SECOND, words=("存储卷 存储 volume storage GB",))

    def standings(self, places: Collection[Place], *, now: datetime) -> Mapping[Place, Standing]:
        ids = [pool_id for pool_id, _ in places]
        pools, taken = pools_by_id(ids), taken_gb(ids)
        return {place: standing_of(pools.get(place[0]), taken, now=now) for place in places}

    def owns(self, *, supplier_id: UUID, subject_id: UUID) -> bool:
        return Pool.objects.filter(id=subject_id, organisation_id=supplier_id).exists()

    def goods_named(self, name: str) -> Sequence[NamedGoods]:
        return ()

    def subject_of(self, public_id: str) -> UUID:
        return Pool.key_of(public_id)

    def work_of(self, order_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        return {}  # nothing runs


def standing_of(pool: Pool | None, taken: Mapping[UUID, int], *, now: datetime) -> Standing:
    """How room of the pool stands at the counter; `taken`: how much of it is, by pool."""
    if pool is None:
        return Standing(None, why_not_live(pool, now=now))
    used, room = taken.get(pool.id, 0), pool.volumes_gb
    stock = Stock(free=max(0, room - used), reserved=0, taken=used, total=room)
    return Standing(stock, why_not_live(pool, now=now))
