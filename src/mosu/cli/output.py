"""Data on standard output, messages on standard error."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from mosu.cli.text import clean, language, told

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mosu.client import Client


def show(text: str) -> None:
    """Text that the user asked for."""
    sys.stdout.write(clean(text).rstrip("\n") + "\n")
    sys.stdout.flush()


def show_json(value: "BaseModel | Sequence[BaseModel] | dict[str, object]") -> None:
    """One JSON value, as the hub sent it: money as decimal strings."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


def show_line(value: dict[str, object]) -> None:
    """One JSON value on a line of its own, at once: for programs that read as it comes."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: object) -> object:
    """A value that `json` can write."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    """A message about what is going on, in the person's language."""
    sys.stderr.write(clean(told(text)) + "\n")
    sys.stderr.flush()


def time_of(at: datetime | None, zone: tzinfo | None) -> str:
    """To the minute, with its offset, or a dash. In `zone`, the hub's: its days and months are counted there."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %z}" if at is not None else "-"


def zone_of(hub: "Client") -> tzinfo | None:
    """The hub's zone; None (this machine's) where this machine does not know it."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(hub.me().zone)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def client() -> "Client":
    """The hub that the environment or the configuration file names.

    Raises:
        NotSignedIn: there is none.
    """
    from mosu.client import Client
    from mosu.client.config import load_profile

    profile = load_profile()
    return Client(profile.url, profile.token, language=language())
