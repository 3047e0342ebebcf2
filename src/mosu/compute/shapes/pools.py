"""A supplier's pools: how they stand, what of them was promised, their agents' tokens."""

from datetime import date, datetime
from typing import Any

from mosu.compute.models import Pool
from mosu.compute.queries import Used, why_not_live
from mosu.compute.shapes.parts import Why
from mosu.compute.states import Placing, PoolState
from mosu.kernel.ids import typeid
from mosu.market.shapes import Word
from mosu.platform.schemas import In, Out


class PoolIn(In):
    name: Word
    region: Word
    organisation_id: Word | None = None


class PoolOut(Out):
    id: str
    organisation_id: str
    name: str
    region: str
    state: str
    engine: str
    agent_version: str
    sandbox: str
    sandbox_ok: bool
    reaches: bool
    """Whether sessions are sold there: people are joined to their ports."""
    has_sshd: bool
    """Whether people come into them by ssh."""
    images: list[str]
    """From where it runs images of containers that tasks name."""
    volumes_gb: int
    """How much room it keeps for volumes."""
    clock_skew_s: float
    agent_host: str
    ordered_s: int
    delivered_s: int
    placing: Placing
    environments: list[dict[str, Any]]
    last_seen_at: datetime | None
    live: bool
    why_not_live: str | None

    @classmethod
    def of(cls, pool: Pool, *, now: datetime) -> "PoolOut":
        why = why_not_live(pool, now=now)
        return cls(
            id=pool.public_id,
            organisation_id=typeid("org", pool.organisation_id),
            name=pool.name,
            region=pool.region,
            state=pool.state,
            engine=pool.engine,
            agent_version=pool.agent_version,
            sandbox=pool.sandbox,
            sandbox_ok=pool.sandbox_ok,
            reaches=pool.reaches,
            has_sshd=pool.has_sshd,
            images=pool.images,
            volumes_gb=pool.volumes_gb,
            clock_skew_s=pool.clock_skew_s,
            agent_host=pool.agent_host,
            ordered_s=pool.ordered_s,
            delivered_s=pool.delivered_s,
            placing=Placing(pool.placing),
            environments=pool.environments,
            last_seen_at=pool.last_seen_at,
            live=why is None,
            why_not_live=why,
        )


class MadePoolOut(Out):
    """A pool with its agent's token: shown now, never again."""

    pool: PoolOut
    token: str


class PoolTokenOut(Out):
    """An agent's token: shown now, never again."""

    token: str


class PoolStateIn(In):
    """Where a pool is moved to, and why."""

    state: PoolState
    why: Why = ""


class PlacingIn(In):
    """`pack`: whole nodes stay free for large runs. `spread`: runs share as little as can be."""

    placing: Placing


class DayUsedOut(Out):
    """How much of a pool was promised on a day of the hub's zone, beside what its nodes have now."""

    day: date
    core_hours: float
    core_hours_max: float
    card_hours: float
    card_hours_max: float

    @classmethod
    def of(cls, used: Used) -> "DayUsedOut":
        return cls(
            day=used.day,
            core_hours=round(used.promised, 4),
            core_hours_max=round(used.capacity, 4),
            card_hours=round(used.cards_promised, 4),
            card_hours_max=round(used.cards_capacity, 4),
        )
