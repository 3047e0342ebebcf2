"""Operations on machines: what is known of them, their health tests, their blackouts."""

from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import queries, services
from mosu.compute.models import Blackout, Node, Pool
from mosu.compute.shapes import BlackoutIn, BlackoutOut, HealthOut, NodeOut, NodeStateIn
from mosu.compute.supply import pool_visible_to
from mosu.kernel.refusals import NotFound
from mosu.platform.actors import Actor
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of

router: Final = Router(tags=["compute"])


@router.get("/pools/{pool_id}/nodes", response=list[NodeOut], auth=token_auth, operation_id="listNodes")
@door("pool.read")
def list_nodes(request: HttpRequest, pool_id: str) -> list[NodeOut]:
    actor = actor_of(request)
    nodes = queries.nodes_visible_to(actor).filter(pool=pool_visible_to(actor, Pool.key_of(pool_id)))
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


@router.get("/blackouts", response=Listed[BlackoutOut], auth=token_auth, operation_id="listBlackouts")
@door("pool.read")
def list_blackouts(
    request: HttpRequest, paging: Annotated[Paging, Query()], pool: str | None = None
) -> dict[str, object]:
    """Spans in which nodes are not sold: those that are set and not over, oldest decision first."""
    actor = actor_of(request)
    rows = queries.blackouts_visible_to(actor, now=timezone.now()).order_by("id")
    if pool:
        rows = rows.filter(node__pool=pool_visible_to(actor, Pool.key_of(pool)))
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
