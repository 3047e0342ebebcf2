"""The `[ray]` table of the agent's settings, checked whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from mosu.site_agent.engines.tables import read_table
from mosu.wire.shares import kind_of


class RayOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = "http://127.0.0.1:8265"
    """The head's dashboard; the agent lies beside it, or `token_file` opens a way through a proxy."""
    folder: Path
    """Seen under this path by the agent and by every node."""
    python: str = "python3"
    """Python 3.11 or newer, as the nodes find it."""
    legs_at: str = ""
    """`HOST:PORT` of the agent's machine, to which legs of sessions on other machines come; a port of 0 is any."""
    token_file: Path | None = None
    accelerators: Mapping[str, str] = {}
    """Of each accelerator's id its Ray resource, such as `GPU`, or `GPU:A100` where nodes differ. Of a kind `/4-shared`
    the same: a share is a quarter of one. Of a kind `/4` a resource of the cluster's own that counts the shares."""

    @property
    def legs_address(self) -> tuple[str, int] | None:
        """None: as the cluster's network has it, and any port."""
        if not self.legs_at:
            return None
        host, _, port = self.legs_at.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)

    @field_validator("legs_at")
    @classmethod
    def _names_a_port(cls, found: str) -> str:
        host, _, port = found.rpartition(":")
        if found and not (host and port.isdecimal() and port.isascii() and int(port) < 65_536):
            raise ValueError("write HOST:PORT, such as 10.0.0.5:7411")
        if found and host.strip("[]") in {"0.0.0.0", "::"}:  # noqa: S104 - refused
            raise ValueError("nodes are told this address: write one of the agent's machine")
        return found

    @field_validator("accelerators")
    @classmethod
    def _shares_are_told(cls, found: Mapping[str, str]) -> Mapping[str, str]:
        for name, resource in found.items():
            kind = kind_of(name)
            if kind.shares > 1 and not kind.shared and resource.partition(":")[0] == "GPU":
                raise ValueError(f"{name} says more than Ray keeps: write {name}-shared")
        return found


def options_of(found: Mapping[str, Any]) -> RayOptions:
    """The settings in the table.

    Raises:
        Invalid: a key or a value is wrong; the message names it.
    """
    # Of its keys, only the folder has no default.
    missing = "--set ray.folder=PATH: a folder that the agent and every node see under this path."
    return read_table(RayOptions, "ray", found, missing=missing)
