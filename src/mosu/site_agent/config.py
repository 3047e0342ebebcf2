"""The agent's settings: a TOML file, then the environment.

```toml
hub_url = "https://hub.example.org"
token_file = "/etc/mosu/pool.token"   # or MOSU_POOL_TOKEN; a 0600 file with the pool's token
state_dir = "/var/lib/mosu/site_agent"
environments = ["/var/lib/mosu/environments/python-3.11.7-2f55c8d330c3"]  # where the engine has no images

# Optional, with their defaults:
engine = "local"
node_name = "local"
cores = 8                 # this machine's
memory_bytes = 16000000000  # nine tenths of this machine's
disk_bytes = 100000000000   # nine tenths of what is free in state_dir
log_bytes_max = 67108864
volumes_dir = "/srv/mosu/volumes"  # where volumes of buyers are kept; without it none are sold
volumes_gb = 4000                  # how much of it may be sold, or of [kubernetes] volumes_storage_class
images_dir = "/srv/mosu/images"    # where images of containers are kept; without it none are run
images_gb = 500                    # how much they may take there together
allowed_images = ["docker.io/pytorch"]  # registries, or parts of them, whose images tasks may name

# A table of the engine's name holds what that engine alone needs:
# [local], [slurm], [kubernetes], [ray]
```
"""

import os
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mosu.kernel.refusals import Invalid
from mosu.site_agent.logs import LOG_BYTES_MAX
from mosu.wire.images import PREFIX

_KEYS = {
    "hub_url": str,
    "token": str,
    "token_file": str,
    "state_dir": str,
    "environments": list,
    "engine": str,
    "node_name": str,
    "cores": int,
    "memory_bytes": int,
    "disk_bytes": int,
    "log_bytes_max": int,
    "volumes_dir": str,
    "volumes_gb": int,
    "images_dir": str,
    "images_gb": int,
    "allowed_images": list,
}


class UnknownKey(Invalid):
    """There is no setting of this name: `field`."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`environments` are folders that `build_python_environment` made. Zero means: measure this machine."""

    hub_url: str
    token: str = field(repr=False)
    state_dir: Path
    environments: tuple[Path, ...]
    engine: str = "local"
    node_name: str = "local"
    cores: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    log_bytes_max: int = LOG_BYTES_MAX
    volumes_dir: Path | None = None
    volumes_gb: int = 0
    images_dir: Path | None = None
    images_gb: int = 0
    allowed_images: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """The table named like the engine; its module checks it."""


def load_config(path: Path) -> AgentConfig:
    """The settings in `path`, checked whole.

    Raises:
        Invalid: the file, a key or a value is wrong; the message names it.
    """
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise Invalid(f"There are no settings at {path}.", hint="mosu agent init writes it.") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{path}: {error}", hint="See docs/reference for the agent's settings.") from error
    engine = found.get("engine", "local")
    options = found.pop(engine, {}) if isinstance(engine, str) and engine not in _KEYS else {}
    if not isinstance(options, dict):
        raise Invalid(f"{path}: {engine} must be a table.", hint=f"Write [{engine}].", field=engine)
    for key, value in found.items():
        if key not in _KEYS:
            raise UnknownKey(f"{path}: unknown key {key!r}.", hint=f"Known: {', '.join(_KEYS)}.", field=key)
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            wanted = _KEYS[key].__name__
            raise Invalid(
                f"{path}: {key} must be a {wanted}, found {value!r}.", hint="Correct it.", field=key
            )
    for key in ("hub_url", "state_dir"):
        if not found.get(key):
            raise Invalid(f"{path}: {key} is missing.", hint=f"Add {key} to the file.", field=key)
    token = _token_of(path, found)
    rest = {key: found[key] for key in _KEYS if key in found and key not in {"token", "token_file"}}
    rest["state_dir"] = Path(rest["state_dir"])
    for key in ("volumes_dir", "images_dir"):
        if key in rest:
            rest[key] = Path(rest[key])
    rest["allowed_images"] = _registries(path, rest.get("allowed_images", ()))
    rest["environments"] = tuple(Path(folder) for folder in rest.get("environments", ()))
    return AgentConfig(token=token, options=options, **rest)


def _registries(path: Path, named: Sequence[object]) -> tuple[str, ...]:
    for one in named:
        if not isinstance(one, str) or not re.fullmatch(PREFIX, one):
            raise Invalid(
                f"{path}: allowed_images: {str(one)[:80]!r} is no registry, nor a part of one.",
                hint='Write, say, "registry.example.org/team".',
                field="allowed_images",
            )
    return tuple(map(str, named))


def measured(config: AgentConfig) -> tuple[int, int, int]:
    """Cores, memory and disk bytes that the agent offers: as set, else as this machine has them."""
    cores = config.cores or len(os.sched_getaffinity(0))
    memory = config.memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10 * 9
    disk = config.disk_bytes or shutil.disk_usage(config.state_dir).free // 10 * 9
    return cores, memory, disk


def _token_of(path: Path, found: dict[str, Any]) -> str:
    token = os.environ.get("MOSU_POOL_TOKEN") or found.get("token", "")
    if not token and "token_file" in found:
        try:
            token = Path(found["token_file"]).read_text().strip()
        except OSError as error:
            raise Invalid(f"{path}: token_file: {error}", hint="Write the pool's token there.") from error
    if not token:
        raise Invalid(
            f"{path}: there is no pool token.", hint="Set token_file, or MOSU_POOL_TOKEN.", field="token"
        )
    return str(token)
