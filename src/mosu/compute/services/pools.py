"""Pools: made by suppliers, described by their agents."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.compute.models import Node, Pool
from mosu.compute.moves import move_node, move_pool, record_made
from mosu.compute.reach import tunnel_url
from mosu.compute.services.identity import locked_pool, pool_of, take_over
from mosu.compute.services.inventory import take_inventory
from mosu.compute.states import NodeState, Placing, PoolState
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor, ActorKind
from mosu.platform.models import Capability, Organisation
from mosu.platform.policy import Unauthenticated, require
from mosu.platform.rules import is_seen
from mosu.platform.services import record_audit
from mosu.wire.agent import PoolSeen, Registered, Registration

POOL_TOKEN_PREFIX: Final = "mosu_pool_"  # noqa: S105 - the beginning of tokens, not one
HEARTBEAT_S: Final = 2
"""How often an agent reports; a cancel reaches it within this."""


class NameTaken(DomainError):
    """The organisation has a pool of this name already."""

    code = "name_taken"


class NotASupplier(Forbidden):
    """The organisation may not sell here."""

    code = "not_a_supplier"


@transaction.atomic
def create_pool(
    *, actor: Actor, organisation_id: UUID, name: str, region: str, now: datetime
) -> tuple[Pool, str]:
    """A new pool, and the token of its agent: shown now, never again.

    Raises:
        NotASupplier: the organisation was not admitted as a supplier.
        NameTaken: it has a pool of this name.
        Invalid: the name or region is empty or too long.
    """
    require(actor, "pool.manage", organisation_id)
    for field, text, longest in (("name", name, 100), ("region", region, 60)):
        if not text.strip() or len(text) > longest or not is_seen(text):
            raise Invalid(
                f"{field}: {text[:60]!r} cannot be used.",
                hint=f"Give 1 to {longest} visible characters.",
                field=field,
            )
    organisation = Organisation.objects.get(id=organisation_id)
    if Capability.SUPPLIER not in organisation.capabilities:
        raise NotASupplier(
            f"{organisation.name} is not a supplier.", hint="Ask the hub's operator to admit it as one."
        )
    token, digest = _new_token()
    try:
        with transaction.atomic():
            pool = Pool.objects.create(
                organisation=organisation,
                name=name.strip(),
                region=region.strip(),
                created_at=now,
                token_sha256=digest,
                token_made_at=now,
            )
    except IntegrityError as error:
        raise NameTaken(
            f"{organisation.name} has a pool called {name!r}.", hint="Choose another name."
        ) from error
    record_made(pool, actor=actor, now=now)
    return pool, token


@transaction.atomic
def rotate_token(*, actor: Actor, pool_id: UUID, now: datetime) -> str:
    """A new token for the pool's agent; the old one no longer works from this moment."""
    pool = locked_pool(pool_id)
    require(actor, "pool.manage", pool.organisation_id)
    token, pool.token_sha256 = _new_token()
    pool.token_made_at = now
    pool.save(update_fields=["token_sha256", "token_made_at"])
    record_audit(
        actor=actor,
        action="pool.token_rotated",
        subject_id=pool.id,
        before=None,
        after=None,
        now=now,
        organisation_id=pool.organisation_id,
    )
    return token


@transaction.atomic
def set_pool_state(*, actor: Actor, pool_id: UUID, to: PoolState, why: str, now: datetime) -> Pool:
    """Open, drain or close a pool. What runs there goes on."""
    pool = locked_pool(pool_id)
    require(actor, "pool.manage", pool.organisation_id)
    move_pool(pool, to=to, actor=actor, now=now, why=why)
    return pool


@transaction.atomic
def set_placing(*, actor: Actor, pool_id: UUID, to: Placing, now: datetime) -> Pool:
    """Have what is bought from now on packed or spread. What was placed already stays where it is."""
    pool = locked_pool(pool_id)
    require(actor, "pool.manage", pool.organisation_id)
    if pool.placing == to:
        return pool
    record_audit(
        actor=actor,
        action="pool.placing",
        subject_id=pool.id,
        before=pool.state,
        after=pool.state,
        now=now,
        organisation_id=pool.organisation_id,
        facts={"placing": [pool.placing, to.value]},
    )
    pool.placing = to.value
    pool.save(update_fields=["placing"])
    return pool


@transaction.atomic
def set_node_state(*, actor: Actor, node_id: UUID, to: NodeState, why: str, now: datetime) -> Node:
    """Drain a node, take it down or bring it back. What runs there goes on."""
    node = (
        Node.objects.select_for_update(of=("self",), no_key=True)
        .select_related("pool")
        .filter(id=node_id)
        .first()
    )
    if node is None:
        raise NotFound("There is no such node.", hint="See the pool's nodes.")
    require(actor, "pool.manage", node.pool.organisation_id)
    move_node(node, to=to, actor=actor, now=now, why=why)
    return node


def actor_of_agent(header: str, *, now: datetime) -> Actor:
    """The actor of a site agent's `Authorization` header: an agent, whose id is its pool's.

    Raises:
        Unauthenticated: not the token of a pool that is there.
    """
    scheme, _, secret = header.partition(" ")
    if scheme.lower() == "bearer" and secret.startswith(POOL_TOKEN_PREFIX):
        pool = Pool.objects.filter(token_sha256=_digest(secret)).exclude(state=PoolState.CLOSED).first()
        if pool is not None:
            return Actor(kind=ActorKind.AGENT, id=pool.id, label=pool.name)
    raise Unauthenticated(
        "This is not the token of a pool.",
        hint="Make a new one on the pool's page, and give it to its agent.",
    )


def digest_of_agent(header: str) -> str:
    """What is kept of the token in a site agent's `Authorization` header."""
    return _digest(header.partition(" ")[2])


def tokens_that_hold(*, digests: Collection[str]) -> frozenset[str]:
    """Those of the digests whose token would let an agent in now."""
    pools = Pool.objects.filter(token_sha256__in=digests).exclude(state=PoolState.CLOSED)
    return frozenset(pools.values_list("token_sha256", flat=True))


def pool_of_agent(*, actor: Actor, now: datetime) -> PoolSeen:
    """Whose token the agent has, and the hub's time: what it asks before it works. Changes nothing."""
    pool = Pool.objects.get(id=pool_of(actor))
    return PoolSeen(pool_id=pool.public_id, pool_name=pool.name, clock_at=now)


@transaction.atomic(durable=True)
def register_agent(*, actor: Actor, registration: Registration, now: datetime) -> Registered:
    """Take down what the agent has; nodes and cards that it no longer lists leave sale.

    A node that the supplier drains stays draining.

    Raises:
        AgentTaken: another agent serves the pool.
        Invalid: two nodes of one name, two cards of one index, or an accelerator that the catalogue lacks.
    """
    pool = locked_pool(pool_of(actor))
    take_over(pool, instance=registration.instance, host=registration.host, now=now)
    pool.engine, pool.agent_version = registration.engine[:60], registration.agent_version[:60]
    pool.sandbox, pool.sandbox_ok = registration.sandbox[:500], registration.sandbox_ok
    pool.environments = [environment.model_dump(mode="json") for environment in registration.environments]
    pool.spans_nodes, pool.reaches = registration.spans_nodes, registration.reaches
    pool.has_sshd, pool.images = registration.has_sshd, list(registration.images)
    pool.volumes_gb, pool.extends = registration.volumes_gb, registration.extends
    pool.copies_volumes = registration.copies_volumes
    pool.clock_skew_s = (registration.clock_at - now).total_seconds()
    pool.registered_at = pool.last_seen_at = now
    pool.save()
    take_inventory(pool, registration.nodes, actor=actor, now=now)
    return Registered(
        pool_id=pool.public_id,
        pool_name=pool.name,
        heartbeat_s=HEARTBEAT_S,
        clock_skew_s=pool.clock_skew_s,
        organisation_id=pool.organisation.public_id,
        tunnel_url=tunnel_url(),
    )


def _new_token() -> tuple[str, str]:
    token = POOL_TOKEN_PREFIX + secrets.token_urlsafe(32)
    return token, _digest(token)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
