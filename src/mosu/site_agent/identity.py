"""Which agent this is: the same over restarts, another on another machine or with another state folder."""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from mosu.site_agent.files import read_json_if_whole, write_durably

_MACHINE: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def instance_of(state_dir: Path) -> str:
    """The agent's instance: what its state folder holds, with what tells machine and folder from copies of them."""
    path = state_dir / "instance"
    kept = read_json_if_whole(path)
    if not isinstance(kept, str):
        kept = secrets.token_hex(16)
        write_durably(path, kept)
    machine = os.uname().nodename
    for file in _MACHINE:
        with suppress(OSError):
            machine += file.read_text().strip()
            break
    return hashlib.sha256(f"{kept} {machine} {path.stat().st_ino}".encode()).hexdigest()[:32]


def host() -> str:
    """This machine's name."""
    return os.uname().nodename[:100]
