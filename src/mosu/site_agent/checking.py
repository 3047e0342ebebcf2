"""Would this agent work? Each part asked by doing it, without registering and without leasing anything."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from mosu.kernel.refusals import DomainError
from mosu.site_agent.config import AgentConfig, load_config
from mosu.site_agent.hub import Hub, HubAway, Refusal
from mosu.site_agent.joining import published_by

SKEW_S_MAX: Final = 5.0
"""A clock further off than this is said to be; leases and bills are timed by the hub's."""


@dataclass(frozen=True, slots=True)
class Check:
    """One part: whether it is as it must be, what was found, and what mends it."""

    name: str
    ok: bool
    said: str
    mend: str = ""


def checks_of(path: Path) -> Iterator[Check]:
    """Settings, their modes, engine, isolation, what is sold, hub, token, clock; a broken file ends it."""
    try:
        config = load_config(path)
    except DomainError as refusal:
        yield Check("settings", False, refusal.message, refusal.hint)
        return
    yield _secrecy(path)
    yield from _engine(config)
    yield from _hub(config)


def _secrecy(path: Path) -> Check:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return Check("settings", False, f"{path} has mode {mode:o}: others may read it.", f"chmod 600 {path}")
    return Check("settings", True, str(path))


def _engine(config: AgentConfig) -> Iterator[Check]:
    try:
        there = published_by(config)
    except DomainError as refusal:
        yield Check("engine", False, refusal.message, refusal.hint)
        return
    cards = sum(len(node.devices) for node in there.nodes)
    cores = sum(node.cores for node in there.nodes)
    yield Check(
        "engine",
        True,
        f"{config.engine}: {len(there.nodes)} nodes, {cores} cores, {cards} cards; {there.isolation.features}",
    )
    yield Check("sessions", True, there.unreached or "Sessions are sold.")
    if there.volumes:
        yield Check("volumes", True, there.volumes)
    if there.images:
        yield Check("images", True, f"Images of containers are run from: {', '.join(there.images)}.")


def _hub(config: AgentConfig) -> Iterator[Check]:
    hub = Hub(config.hub_url, config.token, stopping=threading.Event(), log=structlog.get_logger())
    asked_at = datetime.now(UTC)
    try:
        pool = hub.pool()
    except HubAway as away:
        yield Check(
            "hub", False, f"{config.hub_url} does not answer: {away}", "Check hub_url and the network."
        )
        return
    except Refusal as refusal:
        yield Check("hub", True, config.hub_url)
        yield Check("token", False, refusal.said, "Make a new token on the pool's page.")
        return
    finally:
        hub.close()
    answered_at = datetime.now(UTC)
    yield Check("hub", True, config.hub_url)
    yield Check("token", True, f"{pool.pool_name} ({pool.pool_id})")
    off_s = (asked_at + (answered_at - asked_at) / 2 - pool.clock_at) / timedelta(seconds=1)
    if abs(off_s) > SKEW_S_MAX:
        yield Check(
            "clock", False, f"This machine's clock is {off_s:+.1f} s off the hub's.", "Set it by NTP."
        )
    else:
        yield Check("clock", True, f"{off_s:+.1f} s")
