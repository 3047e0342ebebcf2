"""What the local site agent reads: written by mosu, at each start, since the hub's address may change."""

import json
import shutil
from pathlib import Path
from typing import Final

from mosu.runtime.config import Config
from mosu.runtime.folders import make_folder
from mosu.runtime.postgres import write_secret
from mosu.sandbox.environments import Environment
from mosu.sandbox.starter import run_as, unreachable_part

VOLUMES_GB_MAX: Final = 20
"""Enough to try volumes with; a supplier's own agent names as much as it likes."""
_GIB: Final = 1 << 30


def token_file(data_dir: Path) -> Path:
    return data_dir / "secrets" / "local_pool_token"


def write_token(data_dir: Path, token: str) -> None:
    """Keep the local pool's token, which the hub shows once."""
    write_secret(token_file(data_dir), token)


def environment_file(data_dir: Path) -> Path:
    return data_dir / "environments" / "local"


def write_environment(data_dir: Path, folder: Path) -> None:
    """Keep which prebuilt environment the local pool's jobs run in: by its name, since the data folder may be moved."""
    write_secret(environment_file(data_dir), folder.name)


def _environment(data_dir: Path) -> Path:
    """Before, its whole path was kept."""
    kept = environment_file(data_dir)
    return kept.parent / kept.read_text()


def note_environment(data_dir: Path, environment: Environment) -> None:
    """Have the local pool offer it from the agent's next start on, in place of an earlier one of its name."""
    more = {**_added(data_dir), environment.name: str(environment.root)}
    write_secret(_added_file(data_dir), json.dumps(more))


def _added_file(data_dir: Path) -> Path:
    return data_dir / "environments" / "added.json"


def _added(data_dir: Path) -> dict[str, str]:
    """By name, the folders of those that were added and still lie there."""
    try:
        noted: dict[str, str] = json.loads(_added_file(data_dir).read_text())
    except FileNotFoundError:
        return {}
    return {name: folder for name, folder in noted.items() if Path(folder).is_dir()}


def write_agent_config(config: Config) -> None:
    """The agent's configuration for this hub. The token stays in its own file."""
    # Its user's jobs lie below, each in a folder of its own that they have to pass through.
    make_folder(config.agent_config.parent, mode=0o711)
    facts: dict[str, str | int | list[str]] = {
        "hub_url": config.local_url,
        "token_file": str(token_file(config.data_dir)),
        "state_dir": str(config.agent_config.parent),
        "environments": [
            str(_environment(config.data_dir)),
            *_added(config.data_dir).values(),
        ],
        **_volumes(config.agent_config.parent / "volumes"),
    }
    # JSON's strings, whole numbers and lists of strings are TOML's too.
    text = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in facts.items())
    write_secret(config.agent_config, text)


def _volumes(folder: Path) -> dict[str, str | int]:
    """Room for volumes, and what is left of the disk for working folders: neither is sold twice.

    At most a quarter of what is free; none where the sandbox's user cannot come to it or the disk has no GB to spare,
    unless some are there already.
    """
    make_folder(folder, mode=0o711)
    free = shutil.disk_usage(folder).free
    room_gb = min(VOLUMES_GB_MAX, free // 4 // _GIB)
    if unreachable_part(folder, run_as()) is not None or (room_gb < 1 and not any(folder.iterdir())):
        return {}
    room_gb = max(1, room_gb)
    return {
        "volumes_dir": str(folder),
        "volumes_gb": room_gb,
        "disk_bytes": max(_GIB, (free - room_gb * _GIB) // 10 * 9),
    }
