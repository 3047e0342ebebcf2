"""The hub that runs on a data folder, as it says itself in `up.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosu.runtime.children import is_running
from mosu.runtime.config import Config


@dataclass(frozen=True, slots=True)
class RunningHub:
    """`parts` has each part's state, process and restarts by its name."""

    pid: int
    host: str
    port: int
    url: str
    parts: Mapping[str, Mapping[str, Any]]


def facts_of(config: Config) -> dict[str, str | int]:
    """What a hub writes of itself, so that other commands find it on whichever port it was started."""
    return {"host": config.host, "port": config.port, "url": config.url}


def running_hub(config: Config) -> RunningHub | None:
    """The hub of this folder; None if its process has ended."""
    try:
        said = json.loads(config.status_file.read_text())
        hub = RunningHub(
            pid=int(said["pid"]),
            host=str(said["host"]),
            port=int(said["port"]),
            url=str(said["url"]),
            parts=dict(said["parts"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return hub if is_running(hub.pid) else None
