"""Operations on pools: how they stand, their agents' tokens, what of them was promised."""

from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import queries, services
from mosu.compute.models import Pool
from mosu.compute.shapes import DayUsedOut, MadePoolOut, PlacingIn, PoolIn, PoolOut, PoolStateIn, PoolTokenOut
from mosu.compute.supply import pool_visible_to
from mosu.kernel.time import last_days
from mosu.market.hub import hub_zone
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of, organisation_asked

router: Final = Router(tags=["compute"])
DAYS_MAX: Final = 366


@router.get("/pools", response=Listed[PoolOut], auth=token_auth, operation_id="listPools")
@door("pool.read")
def list_pools(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    page, after = page_of(queries.pools_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [PoolOut.of(pool, now=timezone.now()) for pool in page], "next": after}


@router.post("/pools", response={201: MadePoolOut}, auth=token_auth, operation_id="createPool")
@door("pool.manage")
def create_pool(request: HttpRequest, body: PoolIn) -> Status[MadePoolOut]:
    """A new pool of a supplier, with the token of its agent: shown now, never again."""
    actor, now = actor_of(request), timezone.now()
    pool, token = services.create_pool(
        actor=actor,
        organisation_id=organisation_asked(actor, body.organisation_id),
        name=body.name,
        region=body.region,
        now=now,
    )
    return Status(201, MadePoolOut(pool=PoolOut.of(pool, now=now), token=token))


@router.post(
    "/pools/{pool_id}/token", response={201: PoolTokenOut}, auth=token_auth, operation_id="rotatePoolToken"
)
@door("pool.manage")
def rotate_pool_token(request: HttpRequest, pool_id: str) -> Status[PoolTokenOut]:
    """A new token for the pool's agent; the old one no longer works."""
    actor = actor_of(request)
    pool = pool_visible_to(actor, Pool.key_of(pool_id))
    return Status(
        201, PoolTokenOut(token=services.rotate_token(actor=actor, pool_id=pool.id, now=timezone.now()))
    )


@router.post("/pools/{pool_id}/state", response=PoolOut, auth=token_auth, operation_id="setPoolState")
@door("pool.manage")
def set_pool_state(request: HttpRequest, pool_id: str, body: PoolStateIn) -> PoolOut:
    """Open, drain or close a pool. What runs there goes on."""
    actor, now = actor_of(request), timezone.now()
    pool = services.set_pool_state(
        actor=actor,
        pool_id=pool_visible_to(actor, Pool.key_of(pool_id)).id,
        to=body.state,
        why=body.why,
        now=now,
    )
    return PoolOut.of(pool, now=now)


@router.post("/pools/{pool_id}/placing", response=PoolOut, auth=token_auth, operation_id="setPoolPlacing")
@door("pool.manage")
def set_pool_placing(request: HttpRequest, pool_id: str, body: PlacingIn) -> PoolOut:
    """How single runs are placed from now on, among nodes that all could take them."""
    actor, now = actor_of(request), timezone.now()
    pool = services.set_placing(
        actor=actor,
        pool_id=pool_visible_to(actor, Pool.key_of(pool_id)).id,
        to=body.placing,
        now=now,
    )
    return PoolOut.of(pool, now=now)


@router.get(
    "/pools/{pool_id}/utilisation",
    response=list[DayUsedOut],
    auth=token_auth,
    operation_id="readPoolUtilisation",
)
@door("pool.read")
def read_utilisation(
    request: HttpRequest, pool_id: str, days: Annotated[int, Query(ge=1, le=DAYS_MAX)] = 7
) -> list[DayUsedOut]:
    """By day of the hub's zone, today last: what was promised of the pool, beside what its nodes have now."""
    actor, now, zone = actor_of(request), timezone.now(), hub_zone()
    span = last_days(days, now=now, zone=zone)
    found = queries.utilisation_of(
        actor, pool_visible_to(actor, Pool.key_of(pool_id)).id, span=span, zone=zone
    )
    return [DayUsedOut.of(used) for used in found]
