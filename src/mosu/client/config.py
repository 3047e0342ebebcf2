"""Which hub to speak to, and with which token: environment first, then the user's configuration file."""

import json
import os
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mosu.client.errors import ClientError, NotSignedIn


@dataclass(frozen=True, slots=True)
class Profile:
    url: str
    token: str = field(repr=False)


def headers_of(token: str, language: str) -> dict[str, str]:
    """What every request carries, the token among it: not to be shown."""
    headers = {"User-Agent": "mosu-client/0.1"}
    if language:
        headers["Accept-Language"] = language
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def config_path() -> Path:
    """`mosu/config.toml` in XDG_CONFIG_HOME, or in `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".config"
    return base / "mosu" / "config.toml"


def load_profile() -> Profile:
    """The hub and token to use: `MOSU_URL` and `MOSU_TOKEN` win over the file, each for itself.

    A token of the file is used for the file's own hub only, never sent to another `MOSU_URL`.

    Raises:
        NotSignedIn: the one or the other is nowhere.
        ClientError: the file cannot be read.
    """
    saved = _saved()
    url = os.environ.get("MOSU_URL") or str(saved.get("url", ""))
    token = os.environ.get("MOSU_TOKEN") or ""
    if not token and url.rstrip("/") == str(saved.get("url", "")).rstrip("/"):
        token = str(saved.get("token", ""))
    if not url:
        raise NotSignedIn("No hub is configured.", hint="Sign in: mosu login --url https://hub.example.org")
    if not token:
        raise NotSignedIn(f"No token for {url}.", hint=f"Sign in: mosu login --url {url}")
    return Profile(url=url, token=token)


def saved_url() -> str:
    """The hub of the environment or of the last sign-in; empty if there was none."""
    return os.environ.get("MOSU_URL") or str(_saved().get("url", ""))


def save_profile(profile: Profile) -> Path:
    """Write the configuration file anew, readable by its owner only."""
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = f"[profile]\nurl = {_toml(profile.url)}\ntoken = {_toml(profile.token)}\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")  # made with mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    Path(name).replace(path)
    return path


def _saved() -> dict[str, Any]:
    path = config_path()
    try:
        profile = tomllib.loads(path.read_text(encoding="utf-8")).get("profile", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ClientError(f"{path} cannot be read: {error}.", hint="Delete it and sign in anew.") from error
    return profile if isinstance(profile, dict) else {}


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML basic string
