"""Operations on how pools are shared: calendars, the queue's weights, quotas, and for how long cards may idle."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.compute import queries, services
from mosu.compute.calendar import DAYS_MAX, calendars_of
from mosu.compute.models import Pool, PoolShare, Quota
from mosu.compute.supply import pool_visible_to
from mosu.kernel.ids import typeid, uuid_of
from mosu.kernel.refusals import NotFound
from mosu.market.hub import hub_zone
from mosu.market.models import Offer
from mosu.market.queries import offers_named
from mosu.market.shapes import Word
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation, Project
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router: Final = Router(tags=["compute"])
Days = Annotated[int, Query(ge=1, le=DAYS_MAX)]


class HourOut(Out):
    """`free` of `total` units are held by nobody at any moment of the hour that begins at `at`."""

    at: datetime
    free: int
    total: int


@router.get(
    "/offers/{offer_id}/calendar",
    response=list[HourOut],
    auth=public_auth,
    operation_id="readOfferCalendar",
)
@door("offer.read")
def read_offer_calendar(request: HttpRequest, offer_id: str, days: Days = 14) -> list[HourOut]:
    """Hour by hour, what of an offer's goods is free: cards or cores, from this hour to the end of the last day."""
    now = timezone.now()
    found = offers_named(actor_of(request), [Offer.key_of(offer_id)], now=now)
    if not found or found[0].offer.shelf != "compute":
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    offer = found[0].offer
    return _hours(offer.subject_id, str(offer.attributes.get("accelerator") or ""), days=days, now=now)


@router.get(
    "/pools/{pool_id}/calendar", response=list[HourOut], auth=token_auth, operation_id="readPoolCalendar"
)
@door("pool.read")
def read_pool_calendar(
    request: HttpRequest, pool_id: str, accelerator: Word = "", days: Days = 14
) -> list[HourOut]:
    """The same of a pool: cards of `accelerator` (its id), or without one cores."""
    pool = pool_visible_to(actor_of(request), Pool.key_of(pool_id))
    return _hours(pool.id, accelerator, days=days, now=timezone.now())


def _hours(pool_id: UUID, accelerator: str, *, days: int, now: datetime) -> list[HourOut]:
    found = calendars_of(pool_id, accelerators=[accelerator], days=days, now=now, zone=hub_zone())
    return [HourOut(at=one.at, free=one.free, total=one.total) for one in found[accelerator]]


class PoolShareIn(In):
    organisation_id: str
    weight: int


class PoolShareOut(Out):
    """`weight` times what an organisation without a weight has, where several wait in the pool."""

    pool_id: str
    organisation_id: str
    weight: int

    @classmethod
    def of(cls, share: PoolShare) -> "PoolShareOut":
        return cls(
            pool_id=typeid(Pool.prefix, share.pool_id),
            organisation_id=typeid(Organisation.prefix, share.organisation_id),
            weight=share.weight,
        )


@router.get(
    "/pools/{pool_id}/shares", response=Listed[PoolShareOut], auth=token_auth, operation_id="listPoolShares"
)
@door("share.set")
def list_shares(request: HttpRequest, pool_id: str, paging: Query[Paging]) -> Listed[PoolShareOut]:
    """The weights of organisations in a pool; who is not listed has 1."""
    actor = actor_of(request)
    pool = pool_visible_to(actor, Pool.key_of(pool_id))
    rows, after = page_of(queries.pool_shares_of(actor, pool.id), paging.cursor, paging.limit)
    return Listed(items=[PoolShareOut.of(row) for row in rows], next=after)


@router.put("/pools/{pool_id}/shares", response=PoolShareOut, auth=token_auth, operation_id="setPoolShare")
@door("share.set")
def set_share(request: HttpRequest, pool_id: str, body: PoolShareIn) -> PoolShareOut:
    """Give an organisation a weight in a pool."""
    share = services.set_share(
        actor=actor_of(request),
        pool_id=Pool.key_of(pool_id),
        organisation_id=Organisation.key_of(body.organisation_id),
        weight=body.weight,
        now=timezone.now(),
    )
    return PoolShareOut.of(share)


class HeldIn(In):
    """`units_max` cards of `accelerator`, or with `volumes` GB of volumes, or cores of runs without cards; null: no
    quota."""

    accelerator: Word = ""
    volumes: bool = False
    units_max: int | None


class QuotaIn(HeldIn):
    organisation_id: str
    project_id: str


class QuotaOut(Out):
    organisation_id: str
    project_id: str | None
    accelerator: str
    volumes: bool
    """It counts GB of volumes."""
    units_max: int
    kept_gb: int | None
    """How many of these GB are kept now; null of other quotas."""

    @classmethod
    def of(cls, quota: Quota) -> "QuotaOut":
        return cls(
            organisation_id=typeid(Organisation.prefix, quota.organisation_id),
            project_id=typeid(Project.prefix, quota.project_id) if quota.project_id else None,
            accelerator=quota.accelerator,
            volumes=quota.volumes,
            units_max=quota.units_max,
            kept_gb=services.kept_gb(organisation_id=quota.organisation_id, project_id=quota.project_id)
            if quota.volumes
            else None,
        )


@router.get("/quotas", response=Listed[QuotaOut], auth=token_auth, operation_id="listQuotas")
@door("quota.read")
def list_quotas(request: HttpRequest, paging: Query[Paging]) -> Listed[QuotaOut]:
    """How much the caller's organisations and their projects may hold at one time."""
    rows, after = page_of(queries.quotas_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[QuotaOut.of(row) for row in rows], next=after)


@router.put("/quotas", response={204: None}, auth=token_auth, operation_id="setQuota")
@door("quota.set")
def set_quota(request: HttpRequest, body: QuotaIn) -> Status[None]:
    """Set or lift a project's quota."""
    return _set_quota(
        request,
        body,
        organisation_id=Organisation.key_of(body.organisation_id),
        project_id=uuid_of(Project.prefix, body.project_id),
    )


@router.put(
    "/organisations/{organisation_id}/quotas",
    response={204: None},
    auth=token_auth,
    operation_id="grantQuota",
)
@door("quota.grant")
def grant_quota(request: HttpRequest, organisation_id: str, body: HeldIn) -> Status[None]:
    """Set or lift the quota of a whole organisation."""
    return _set_quota(request, body, organisation_id=Organisation.key_of(organisation_id), project_id=None)


def _set_quota(
    request: HttpRequest, body: HeldIn, *, organisation_id: UUID, project_id: UUID | None
) -> Status[None]:
    services.set_quota(
        actor=actor_of(request),
        organisation_id=organisation_id,
        project_id=project_id,
        accelerator=body.accelerator,
        volumes=body.volumes,
        units_max=body.units_max,
        now=timezone.now(),
    )
    return Status(204, None)


class IdleStopIn(In):
    organisation_id: str
    stop_after_s: Annotated[int, Field(ge=1)] | None = None


@router.put("/idle-stop", response={204: None}, auth=token_auth, operation_id="setIdleStop")
@door("budget.set")
def set_idle_stop(request: HttpRequest, body: IdleStopIn) -> Status[None]:
    """Stop runs whose accelerators did nothing for so long; null: never."""
    services.set_idle_stop(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        stop_after_s=body.stop_after_s,
        now=timezone.now(),
    )
    return Status(204, None)
