"""The first settings of an agent: what it would sell, whether tenants are kept apart, and the files that say so."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mosu.kernel.refusals import DomainError, Invalid
from mosu.sandbox.environments import Environment, build_python_environment, load_environment
from mosu.sandbox.probing import SandboxReport
from mosu.site_agent.config import AgentConfig, UnknownKey, load_config
from mosu.site_agent.engines.choice import allowed_images_of, check_images, engine_of
from mosu.wire.agent import NodeInfo

TOKEN_PREFIX: Final = "mosu_pool_"  # noqa: S105 - the beginning of tokens, not one


class Bare(DomainError):
    """On this engine jobs would run under the agent's own user, with nothing between two organisations."""

    code = "bare"


class Away(DomainError):
    """The engine does not answer, so nobody can say how its jobs would run."""

    code = "away"


class AlreadyThere(DomainError):
    """There are settings already."""

    code = "already_there"


@dataclass(frozen=True, slots=True)
class Draft:
    """What `write` would write."""

    path: Path
    hub_url: str
    token: str
    state_dir: Path
    engine: str
    environments: Sequence[Path]
    options: Mapping[str, Any]

    @property
    def token_path(self) -> Path:
        return self.path.with_name("pool.token")

    def text(self) -> str:
        """The settings as TOML; the token stays in a file of its own."""
        facts: dict[str, Any] = {
            "hub_url": self.hub_url,
            "token_file": str(self.token_path),
            "state_dir": str(self.state_dir),
            "engine": self.engine,
            "environments": [str(folder) for folder in self.environments],
        }
        own = {key: value for key, value in self.options.items() if "." not in key}
        lines = [f"{key} = {_toml(value)}" for key, value in {**facts, **own}.items()]
        table = [
            f"{key.partition('.')[2]} = {_toml(value)}" for key, value in self.options.items() if "." in key
        ]
        return "\n".join([*lines, *(["", f"[{self.engine}]", *table] if table else [])]) + "\n"

    def config(self) -> AgentConfig:
        """The settings as the agent will read them.

        Raises:
            Invalid: a key or value is wrong.
        """
        with tempfile.TemporaryDirectory(prefix="mosu-init-") as folder:
            path = Path(folder) / self.path.name
            path.write_text(self.text().replace(str(self.token_path), str(Path(folder) / "token")))
            (Path(folder) / "token").write_text(self.token)
            try:
                return replace(load_config(path), token=self.token)
            except UnknownKey as unknown:  # the file is a draft that nobody will ever see
                raise Invalid(
                    f"--set {unknown.facts['field']}: there is no such setting.", hint=unknown.hint
                ) from unknown


@dataclass(frozen=True, slots=True)
class Published:
    """What the hub would hear of this agent."""

    nodes: tuple[NodeInfo, ...]
    environments: tuple[Environment, ...]
    isolation: SandboxReport
    unreached: str
    """Why nobody is joined to sessions; empty where people are."""
    volumes: str
    """How much room is sold of those that its engine keeps by itself, or why none is; empty where it keeps none."""
    images: tuple[str, ...]
    """From where tasks may name images of containers."""


def published_by(config: AgentConfig) -> Published:
    """What an agent with these settings would sell, asked of its engine as the agent itself asks.

    Raises:
        Away: the engine does not answer.
        Bare: one organisation's jobs would not be kept from another's; the hint is the mend.
        Invalid: the settings are wrong.
    """
    config.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    environments = tuple(load_environment(folder) for folder in config.environments)
    engine = engine_of(config, config.state_dir.absolute(), environments)
    check_images(config, environments)
    isolation = engine.isolation()
    if isolation.away:
        raise Away(isolation.why_not, hint=isolation.mend)
    if not isolation.ok:
        raise Bare(
            f"On {engine.name}, jobs would run bare under the agent's user: {isolation.why_not}",
            hint=isolation.mend,
        )
    volumes = engine.volumes
    room = "" if volumes is None else volumes.unkept or f"{volumes.room_gb} GB of volumes are sold."
    images = allowed_images_of(config)
    return Published(engine.nodes(), environments, isolation, engine.unreached, room, images)


def environment_below(folder: Path) -> Path:
    """A Python environment for jobs, laid once: this interpreter, with NumPy where it is installed here."""
    try:
        made = build_python_environment(folder, packages=("numpy",))
    except Invalid:
        made = build_python_environment(folder, packages=())
    return made.root


def check_token(token: str) -> str:
    """The token without blanks around it.

    Raises:
        Invalid: it is no pool's token.
    """
    token = token.strip()
    if not token.startswith(TOKEN_PREFIX) or any(letter.isspace() for letter in token):
        raise Invalid(
            "This is not the token of a pool.",
            hint=f"It begins with {TOKEN_PREFIX} and is shown once, when the pool is made.",
            field="token",
        )
    return token


def replacing(config: Path) -> str:
    """The hint where settings are there already."""
    return f"Replace it: mosu agent init --force --config {config}"


def write(draft: Draft, *, replaces: bool) -> None:
    """Write settings and token, each for its owner's eyes alone (0600).

    Raises:
        AlreadyThere: one of them is there, and `replaces` was not said.
    """
    for path in (draft.path, draft.token_path):
        if path.exists() and not replaces:
            raise AlreadyThere(f"{path} is there already.", hint=replacing(path.parent / draft.path.name))
    draft.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _write_secret(draft.token_path, draft.token + "\n")
    _write_secret(draft.path, draft.text())


def _write_secret(path: Path, text: str) -> None:
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # made with mode 0600
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    Path(name).replace(path)


def _toml(value: Any) -> str:
    """Strings, numbers, truth and lists of them are written in TOML as in JSON; a table is written inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
