"""Whether people can be joined to a run's ports now, and at which address."""

from datetime import datetime

from django.conf import settings

from mosu.compute.models import Attempt, Pool, Run
from mosu.compute.queries import LIVE
from mosu.compute.states import AttemptState, PoolState, RunState


def has_relay() -> bool:
    return bool(_relay())


def tunnel_url() -> str:
    """Where agents open their tunnels; empty where the hub has no relay."""
    base = _relay()
    return f"{base}/agent/v1/tunnel" if base else ""


def connect_url(run: Run, attempt: Attempt | None, *, now: datetime) -> str | None:
    """Where the relay joins people to the run's ports; None where they cannot be joined now."""
    base = _relay()
    if not base or not is_reached(run) or not runs_now(run, attempt) or is_away(run.pool, now=now):
        return None
    return f"{base}/api/v1/runs/{run.public_id}/connect"


def is_reached(run: Run) -> bool:
    """Whether it was bought as one whose ports people are joined to: a session or a service."""
    return bool(run.request.get("kind", "batch") != "batch")


def runs_now(run: Run, attempt: Attempt | None) -> bool:
    """Whether the hub sees the run's last attempt run."""
    return run.state == RunState.RUNNING and attempt is not None and attempt.state == AttemptState.RUNNING


def is_away(pool: Pool, *, now: datetime) -> bool:
    """Whether nobody is there who could join people to what runs in the pool."""
    heard = pool.last_seen_at is not None and now - pool.last_seen_at <= LIVE
    return not heard or not pool.reaches or pool.state == PoolState.CLOSED


def _relay() -> str:
    url: str = settings.MOSU_RELAY_URL
    return "ws" + url.removeprefix("http").rstrip("/") if url else ""
