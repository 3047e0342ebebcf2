"""Which agent serves a pool: one at a time, and the hub remembers which."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mosu.compute.models import Pool
from mosu.kernel.refusals import DomainError, Forbidden, NotFound
from mosu.platform.actors import Actor, ActorKind
from mosu.platform.policy import require

LEASE_S: Final = 30
"""After so long without a word, an attempt is unreachable, a pool not live, and its agent may be another."""


class AgentTaken(DomainError):
    """Another agent serves the pool, with the same token."""

    code = "agent_taken"


class NotRegistered(DomainError):
    """The agent has not registered, or another took over while it was silent."""

    code = "not_registered"


def pool_of(actor: Actor) -> UUID:
    """The pool that the agent serves."""
    require(actor, "agent.serve")
    if actor.kind is not ActorKind.AGENT or actor.id is None:
        raise Forbidden("Only a site agent may do this.", hint="Use the token of a pool.")
    return actor.id


def served_pool(actor: Actor, *, instance: str, now: datetime) -> Pool:
    """The pool, if it is this agent that serves it.

    Raises:
        AgentTaken: another does, and was heard of lately.
        NotRegistered: another did.
    """
    pool = Pool.objects.get(id=pool_of(actor))
    if pool.agent_instance and pool.agent_instance != instance:
        raise _taken(pool, now=now) or NotRegistered(
            "This agent has not registered.", hint="Start it again: it registers first."
        )
    return pool


def take_over(pool: Pool, *, instance: str, host: str, now: datetime) -> None:
    """Have this agent serve the pool; the caller holds its lock and saves it.

    Raises:
        AgentTaken: another does, and was heard of lately.
    """
    if pool.agent_instance and pool.agent_instance != instance:
        taken = _taken(pool, now=now)
        if taken is not None:
            raise taken
    pool.agent_instance, pool.agent_host = instance, host


def locked_pool(pool_id: UUID) -> Pool:
    """The pool, under lock.

    Raises:
        NotFound: there is none.
    """
    pool = Pool.objects.select_for_update(no_key=True).filter(id=pool_id).first()
    if pool is None:
        raise NotFound("There is no such pool.", hint="See your pools.")
    return pool


def _taken(pool: Pool, *, now: datetime) -> AgentTaken | None:
    silent_s = LEASE_S + 1 if pool.last_seen_at is None else (now - pool.last_seen_at) / timedelta(seconds=1)
    if silent_s > LEASE_S:
        return None
    return AgentTaken(
        f"Another agent serves {pool.name}: on {pool.agent_host or '-'}, heard of {max(0, int(silent_s))} s ago.",
        hint=f"One pool, one agent: stop the other, wait {LEASE_S} s, or make a pool of its own for this one.",
    )
