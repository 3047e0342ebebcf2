"""The `[ray]` table of the agent's settings, checked whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mosu.kernel.refusals import Invalid


class RayOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = "http://127.0.0.1:8265"
    """The head's dashboard; the agent lies beside it, or `token_file` opens a way through a proxy."""
    folder: Path
    """Seen under this path by the agent and by every node."""
    python: str = "python3"
    """Python 3.11 or newer, as the nodes find it."""
    token_file: Path | None = None
    accelerators: Mapping[str, str] = {}
    """Of each accelerator's id its Ray resource, such as `GPU`, or `GPU:A100` where nodes differ."""


def options_of(found: Mapping[str, Any]) -> RayOptions:
    """The settings in the table.

    Raises:
        Invalid: a key or a value is wrong; the message names it.
    """
    try:
        return RayOptions(**found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise Invalid(
            f"ray.{key}: {first['msg']}.", hint=f"Its keys: {', '.join(RayOptions.model_fields)}.", field=key
        ) from error
