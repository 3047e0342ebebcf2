"""The hub's own pool: what every machine has to sell on the first day, its cores and some room of its disk."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from mosu.compute import volumes
from mosu.compute.models import Pool
from mosu.compute.requests import SHELF
from mosu.compute.services.identity import locked_pool
from mosu.compute.services.pools import create_pool, rotate_token
from mosu.compute.services.volume_offers import volume_offer
from mosu.market.models import Offer
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from mosu.platform.models import Capability, Organisation, OrganisationKind, OrganisationState
from mosu.platform.services import record_audit

SUPPLIER_NAME: Final = "The hub's trial pool"
POOL_NAME: Final = "local"
LOCAL_REGION: Final = "local"
CORE_HOUR_MICROS: Final = 150_000
"""CNY 0.15 a core-hour: a published tariff (hpc.srils.ac.cn/pricing)."""
CORES_MAX: Final = 4096
GB_MONTH_MICROS: Final = 150_000
"""CNY 0.15 a GB-month: a published tariff (volcengine.com/docs/6453/1275016)."""
WALL_S_MAX: Final = 7 * 86_400
VOLUMES_GB_MAX: Final = 1000
_LOCK: Final = 0x6D6F7375  # any number of our own


@transaction.atomic
def ensure_local_pool(
    *, now: datetime, region: str = LOCAL_REGION, supplier_name: str = SUPPLIER_NAME, rotate: bool = False
) -> tuple[UUID, str | None]:
    """The hub's own pool, made with its supplier and its offer of cores at the first call.

    Returns its id, and the token of its agent where one was just made: at first, or with `rotate`.
    """
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
    supplier = Organisation.objects.filter(name=supplier_name).first() or _found(supplier_name, now=now)
    pool = Pool.objects.filter(organisation=supplier, name=POOL_NAME).first()
    if pool is None:
        pool, token = create_pool(
            actor=SYSTEM, organisation_id=supplier.id, name=POOL_NAME, region=region, now=now
        )
    else:
        token = rotate_token(actor=SYSTEM, pool_id=pool.id, now=now) if rotate else ""
    if not Offer.objects.filter(subject_id=pool.id, shelf=SHELF).exists():
        create_offer(actor=SYSTEM, spec=_offer(pool), now=now)
    return pool.id, token or None


@transaction.atomic
def ensure_local_volumes(*, pool_id: UUID, now: datetime) -> None:
    """Offer room for volumes of the hub's own pool, where nothing was ever offered of it: how much its agent says."""
    pool = locked_pool(pool_id)
    if Offer.objects.filter(subject_id=pool.id, shelf=volumes.SHELF).exists():
        return
    create_offer(
        actor=SYSTEM,
        spec=volume_offer(
            pool,
            title_zh="本机存储卷",
            title_en="Volumes on this hub",
            unit_price_micros=GB_MONTH_MICROS,
            max_gb=VOLUMES_GB_MAX,
        ),
        now=now,
    )


def _found(name: str, *, now: datetime) -> Organisation:
    supplier = Organisation.objects.create(
        name=name,
        kind=OrganisationKind.COMPANY,
        capabilities=[Capability.SUPPLIER.value, Capability.OPERATOR.value],
        created_at=now,
    )
    record_audit(
        actor=SYSTEM,
        action="organisation.found",
        subject_id=supplier.id,
        before=None,
        after=OrganisationState.ACTIVE,
        now=now,
        organisation_id=supplier.id,
    )
    return supplier


def _offer(pool: Pool) -> OfferSpec:
    return OfferSpec(
        supplier_id=pool.organisation_id,
        shelf=SHELF,
        subject_id=pool.id,
        title_zh="本地 CPU 核",
        title_en="CPU cores of this hub",
        max_units=CORES_MAX,
        wall_s_max=WALL_S_MAX,
        prices=[PriceSpec(meter="core_second", unit="core_hour", unit_price_micros=CORE_HOUR_MICROS)],
        attributes={"region": pool.region, "mode": "on_demand"},
    )
