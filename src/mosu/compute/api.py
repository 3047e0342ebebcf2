"""The compute shelf's operations of `/api/v1`; logs, outputs and blobs are the data plane's (`streams.py`)."""

from typing import Annotated, Final
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import api_sharing, queries, services
from mosu.compute.accelerators import catalogue
from mosu.compute.models import Attempt, Blackout, Node, Pool, Run
from mosu.compute.shapes import (
    AcceleratorOut,
    BlackoutIn,
    BlackoutOut,
    DayUsedOut,
    FenceIn,
    HealthOut,
    MadePoolOut,
    NodeOut,
    NodeStateIn,
    PoolIn,
    PoolOut,
    PoolStateIn,
    PoolTokenOut,
    QuoteIn,
    QuotesOut,
    RunOut,
    SamplesOut,
)
from mosu.compute.states import RunState
from mosu.kernel.ids import uuid_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.kernel.time import last_days
from mosu.market.hub import hub_zone
from mosu.platform.actors import Actor
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation, Project
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of, language_of_request
from mosu.subsidies.services import Choice
from mosu.wire.task import Vouchers, parse_task

router = Router(tags=["compute"])
routers: Final = [("", router), ("", api_sharing.router)]
DAYS_MAX: Final = 366


@router.get("/accelerators", response=list[AcceleratorOut], auth=public_auth, operation_id="listAccelerators")
@door("offer.read")
def list_accelerators(request: HttpRequest) -> list[AcceleratorOut]:
    return [AcceleratorOut.of(one) for one in catalogue().accelerators.values()]


@router.post("/quotes", response={201: QuotesOut}, auth=token_auth, operation_id="createQuotes")
@door("quote.ask")
def create_quotes(request: HttpRequest, body: QuoteIn) -> Status[QuotesOut]:
    """Ask every offer of compute for the task: quotes, best first, and why the others were refused."""
    actor, now = actor_of(request), timezone.now()
    organisation_id, project_id = _buyer(actor, body.project_id)
    task = parse_task(body.task)
    result = services.quote_run(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        task=task,
        workdir=[file.entry() for file in body.workdir],
        choice=_choice_of(body.vouchers if body.vouchers is not None else task.vouchers),
        now=now,
    )
    return Status(201, QuotesOut.of(result, language=language_of_request(request), now=now))


@router.get("/runs", response=Listed[RunOut], auth=token_auth, operation_id="listRuns")
@door("run.read")
def list_runs(
    request: HttpRequest, paging: Annotated[Paging, Query()], state: RunState | None = None
) -> dict[str, object]:
    rows = queries.runs_visible_to(actor_of(request))
    page, after = page_of(rows.filter(state=state) if state else rows, paging.cursor, paging.limit)
    return {
        "items": RunOut.all_of(page, language=language_of_request(request), now=timezone.now()),
        "next": after,
    }


@router.get("/runs/{run_id}", response=RunOut, auth=token_auth, operation_id="getRun")
@door("run.read")
def get_run(request: HttpRequest, run_id: str) -> RunOut:
    return _run_out(request, Run.key_of(run_id))


@router.get("/runs/{run_id}/samples", response=SamplesOut, auth=token_auth, operation_id="listRunSamples")
@door("run.read")
def list_run_samples(request: HttpRequest, run_id: str) -> SamplesOut:
    """CPU and memory of the run's last attempt over time; no points where its engine takes no samples."""
    return SamplesOut.of(queries.run_visible_to(actor_of(request), Run.key_of(run_id)))


@router.post("/runs/{run_id}/cancel", response=RunOut, auth=token_auth, operation_id="cancelRun")
@door("run.cancel")
def cancel_run(request: HttpRequest, run_id: str) -> RunOut:
    """End what has not started; stop what runs, which is then settled for what was used."""
    actor = actor_of(request)
    run = services.cancel_run(actor=actor, run_id=Run.key_of(run_id), now=timezone.now())
    return _run_out(request, run.id)


@router.post(
    "/attempts/{attempt_id}/fence", response={204: None}, auth=token_auth, operation_id="fenceAttempt"
)
@door("attempt.fence")
def fence_attempt(request: HttpRequest, attempt_id: str, body: FenceIn) -> Status[None]:
    """Record that an attempt runs no more: its run ends, nothing is charged, what it held is free."""
    services.fence_attempt(
        actor=actor_of(request), attempt_id=Attempt.key_of(attempt_id), why=body.why, now=timezone.now()
    )
    return Status(204, None)


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
        organisation_id=_organisation(actor, body.organisation_id),
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
    pool = _pool(actor, pool_id)
    return Status(
        201, PoolTokenOut(token=services.rotate_token(actor=actor, pool_id=pool.id, now=timezone.now()))
    )


@router.post("/pools/{pool_id}/state", response=PoolOut, auth=token_auth, operation_id="setPoolState")
@door("pool.manage")
def set_pool_state(request: HttpRequest, pool_id: str, body: PoolStateIn) -> PoolOut:
    """Open, drain or close a pool. What runs there goes on."""
    actor, now = actor_of(request), timezone.now()
    pool = services.set_pool_state(
        actor=actor, pool_id=_pool(actor, pool_id).id, to=body.state, why=body.why, now=now
    )
    return PoolOut.of(pool, now=now)


@router.get("/pools/{pool_id}/nodes", response=list[NodeOut], auth=token_auth, operation_id="listNodes")
@door("pool.read")
def list_nodes(request: HttpRequest, pool_id: str) -> list[NodeOut]:
    actor = actor_of(request)
    nodes = queries.nodes_visible_to(actor).filter(pool=_pool(actor, pool_id))
    return [NodeOut.of(node) for node in nodes]


@router.post("/nodes/{node_id}/state", response=NodeOut, auth=token_auth, operation_id="setNodeState")
@door("pool.manage")
def set_node_state(request: HttpRequest, node_id: str, body: NodeStateIn) -> NodeOut:
    """Drain a node, take it down, or bring it back. What runs there goes on."""
    actor = actor_of(request)
    node = _node(actor, node_id)
    moved = services.set_node_state(
        actor=actor, node_id=node.id, to=body.state, why=body.why, now=timezone.now()
    )
    return NodeOut.of(moved)


@router.get(
    "/nodes/{node_id}/checks", response=list[HealthOut], auth=token_auth, operation_id="listHealthChecks"
)
@door("pool.read")
def list_health_checks(
    request: HttpRequest, node_id: str, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> list[HealthOut]:
    """The node's health tests, the last one first."""
    node = _node(actor_of(request), node_id)
    return [HealthOut.of(check) for check in node.checks.order_by("-at", "-id")[:limit]]


@router.post("/nodes/{node_id}/check", response=NodeOut, auth=token_auth, operation_id="checkNode")
@door("pool.manage")
def check_node(request: HttpRequest, node_id: str) -> NodeOut:
    """Ask for a health test: it is made as soon as nothing runs there."""
    actor = actor_of(request)
    node = services.check_now(actor=actor, node_id=_node(actor, node_id).id, now=timezone.now())
    return NodeOut.of(node)


@router.post("/nodes/{node_id}/publish", response=NodeOut, auth=token_auth, operation_id="publishNode")
@door("pool.manage")
def publish_node(request: HttpRequest, node_id: str) -> NodeOut:
    """Publish the node as its agent finds it: it has drifted no more, and its health is tested again."""
    actor = actor_of(request)
    node = services.publish_node(actor=actor, node_id=_node(actor, node_id).id, now=timezone.now())
    return NodeOut.of(node)


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
    found = queries.utilisation_of(actor, _pool(actor, pool_id).id, span=span, zone=zone)
    return [DayUsedOut.of(used) for used in found]


@router.get("/blackouts", response=Listed[BlackoutOut], auth=token_auth, operation_id="listBlackouts")
@door("pool.read")
def list_blackouts(
    request: HttpRequest, paging: Annotated[Paging, Query()], pool: str | None = None
) -> dict[str, object]:
    """Spans in which nodes are not sold: those that are set and not over, oldest decision first."""
    actor = actor_of(request)
    rows = queries.blackouts_visible_to(actor, now=timezone.now()).order_by("id")
    if pool:
        rows = rows.filter(node__pool=_pool(actor, pool))
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [BlackoutOut.of(one) for one in page], "next": after}


@router.post(
    "/nodes/{node_id}/blackouts", response={201: BlackoutOut}, auth=token_auth, operation_id="setBlackout"
)
@door("pool.manage")
def set_blackout(request: HttpRequest, node_id: str, body: BlackoutIn) -> Status[BlackoutOut]:
    """Sell nothing of the node for a while. What was sold before is not taken back: then it is refused."""
    actor = actor_of(request)
    node = _node(actor, node_id)
    made = services.set_blackout(
        actor=actor,
        node_id=node.id,
        period=services.span_between(body.starts_at, body.ends_at),
        kind=body.kind,
        why=body.why,
        now=timezone.now(),
    )
    return Status(201, BlackoutOut.of(made))


@router.delete("/blackouts/{blackout_id}", response=BlackoutOut, auth=token_auth, operation_id="liftBlackout")
@door("pool.manage")
def lift_blackout(request: HttpRequest, blackout_id: str) -> BlackoutOut:
    """Sell from the node again."""
    actor, now = actor_of(request), timezone.now()
    blackout = one_of(queries.blackouts_visible_to(actor, now=now), Blackout.key_of(blackout_id))
    if blackout is None:
        raise NotFound("There is no such blackout.", hint="See GET /blackouts.")
    return BlackoutOut.of(services.lift_blackout(actor=actor, blackout_id=blackout.id, now=now))


def _node(actor: Actor, node_id: str) -> Node:
    node = one_of(queries.nodes_visible_to(actor), Node.key_of(node_id))
    if node is None:
        raise NotFound("There is no such node.", hint="See GET /pools/{pool_id}/nodes.")
    return node


def _run_out(request: HttpRequest, run_id: UUID) -> RunOut:
    run = queries.run_visible_to(actor_of(request), run_id)
    return RunOut.all_of([run], language=language_of_request(request), now=timezone.now())[0]


def _pool(actor: Actor, pool_id: str) -> Pool:
    pool = one_of(queries.pools_visible_to(actor), Pool.key_of(pool_id))
    if pool is None:
        raise NotFound("There is no such pool.", hint="See GET /pools.")
    return pool


def _organisation(actor: Actor, public_id: str | None) -> UUID:
    found = Organisation.key_of(public_id) if public_id else actor.organisation_id
    if found is None:
        raise Invalid(
            "For which organisation?", hint="Name it, or use a token made for one.", field="organisation_id"
        )
    return found


def _buyer(actor: Actor, project_id: str | None) -> tuple[UUID, UUID]:
    """The organisation and project for which the actor buys; without a project, the organisation's first."""
    visible = Project.objects.filter(organisation_id__in=actor.organisation_ids)
    if project_id:
        chosen = visible.filter(id=Project.key_of(project_id)).first()
    else:
        organisation_id = _organisation(actor, None)
        chosen = visible.filter(organisation_id=organisation_id).order_by("created_at", "id").first()
    if chosen is None:
        raise NotFound("There is no such project.", hint="Make one in your organisation.")
    return chosen.organisation_id, chosen.id


def _choice_of(vouchers: Vouchers | list[str]) -> Choice:
    if vouchers in ("auto", "none"):
        return vouchers
    return [uuid_of("voucher", voucher) for voucher in vouchers]
