"""Where a hub lives and what its processes are told: from the environment, the command line, its folder."""

import base64
import errno
import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mosu.kernel.refusals import DomainError
from mosu.runtime.folders import make_folder
from mosu.runtime.postgres import Cluster, write_secret

DATABASE: Final = "mosu"

# What only a process with the database's owner may see, and what the shell of the operator may have set.
_NOT_FOR_CHILDREN: Final = ("DATABASE_URL", "DATABASE_OWNER_URL", "MOSU_MIGRATE")

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

# Of a hub's life; changing one later would change what its records mean.
_CHOICES: Final = {"MOSU_ZONE": "Asia/Shanghai", "MOSU_CURRENCY": "CNY"}


class ConfigRefused(DomainError):
    """The configuration contradicts itself or the hub's folder."""

    code = "config_refused"


@dataclass(frozen=True, slots=True)
class Config:
    """One hub on one machine. `database_url` and `database_owner_url` name a server that mosu does not run."""

    data_dir: Path
    host: str
    port: int
    database_url: str | None = None
    database_owner_url: str | None = None
    relay_port: int | None = None
    """Where the relay listens; None: the first free port after the hub's own."""
    ssh_port: int | None = None
    """Where it listens for plain ssh; None: nowhere."""

    @property
    def url(self) -> str:
        """Where people reach the hub."""
        return os.environ.get("MOSU_URL") or f"http://{self._local_host}:{self.port}"

    def relay_url(self, port: int) -> str:
        """Where people and agents reach the relay that listens at `port`; empty: nowhere.

        Where they reach the hub by its own port they reach the relay by its; behind a proxy only the operator knows.
        """
        named, hub = os.environ.get("MOSU_RELAY_URL"), urlsplit(self.url)
        if named or (hub.scheme, hub.port) != ("http", self.port):
            return named or ""
        return f"http://{hub.netloc.rpartition(':')[0]}:{port}"

    def ssh_address(self, relay_url: str) -> str:
        """Where people reach the hub by plain ssh, `HOST:PORT`; empty: nowhere."""
        host = urlsplit(relay_url).hostname
        if self.ssh_port is None or host is None:
            return ""
        return os.environ.get("MOSU_SSH_ADDRESS") or f"{host}:{self.ssh_port}"

    def apps_host(self, relay_url: str) -> str:
        """Below which apps have their hosts; empty: nowhere.

        Every name below `localhost` is this machine to its browsers (RFC 6761 section 6.3); elsewhere it takes names
        and certificates that only the operator can make.
        """
        named, relay = os.environ.get("MOSU_APPS_HOST"), urlsplit(relay_url)
        if named is not None or relay.scheme != "http" or relay.hostname not in _LOOPBACK:
            return named or ""
        return "apps.localhost"

    @property
    def local_url(self) -> str:
        """Where this machine's own processes reach it."""
        return self.local_url_at(self.port)

    def local_url_at(self, port: int) -> str:
        """The same for another of its ports."""
        return f"http://{self._local_host}:{port}"

    @property
    def _local_host(self) -> str:
        if self.host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            return "127.0.0.1"
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_embedded(self) -> bool:
        """Whether mosu runs the PostgreSQL itself."""
        return self.database_url is None

    @property
    def secrets_dir(self) -> Path:
        return self.data_dir / "secrets"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def blobs_dir(self) -> Path:
        return self.data_dir / "blobs"

    @property
    def agent_config(self) -> Path:
        return self.data_dir / "site_agent" / "config.toml"

    @property
    def status_file(self) -> Path:
        return self.data_dir / "up.json"

    def cluster(self) -> Cluster:
        """The embedded PostgreSQL (raises what `Cluster` raises)."""
        return Cluster(self.data_dir)

    def ensure(self) -> None:
        """The folder with its keys, made where missing.

        Raises:
            ConfigRefused: the zone or the currency differs from what the hub was made with.
        """
        make_folder(self.data_dir, mode=0o755)
        for folder in (self.secrets_dir, self.logs_dir, self.blobs_dir):
            make_folder(folder, mode=0o700)
        for name, made in (
            ("secret_key", secrets.token_urlsafe(48)),
            ("encryption_key", base64.urlsafe_b64encode(os.urandom(32)).decode()),
        ):
            if not (self.secrets_dir / name).exists():
                write_secret(self.secrets_dir / name, made)
        self._keep_choices()

    def choices(self) -> dict[str, str]:
        """The hub's zone and currency: as it was made with, else as asked for."""
        path = self.data_dir / "hub.json"
        kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return {name: kept.get(name) or os.environ.get(name) or default for name, default in _CHOICES.items()}

    def _keep_choices(self) -> None:
        chosen = self.choices()
        for name, value in chosen.items():
            asked = os.environ.get(name)
            if asked and asked != value:
                raise ConfigRefused(
                    f"This hub was made with {name}={value}; {asked} was asked for.",
                    hint=f"Unset {name}, or start a new hub in another --data-dir.",
                )
        path = self.data_dir / "hub.json"
        if not path.exists():
            write_secret(path, json.dumps(chosen))

    def app_dsn(self) -> str:
        return self.database_url or self.cluster().app_dsn(DATABASE)

    def owner_dsn(self) -> str:
        return self.database_owner_url or self.database_url or self.cluster().owner_dsn(DATABASE)

    def environment(self, *, app_dsn: str) -> dict[str, str]:
        """For the hub's own processes (web, worker): never the owner's role."""
        hosts = {"localhost", "127.0.0.1", "[::1]", self._local_host, urlsplit(self.url).hostname or ""}
        return {
            **plain_environment(),
            **self.choices(),
            "DJANGO_SETTINGS_MODULE": "mosu.web.settings",
            "DATABASE_URL": app_dsn,
            "MOSU_DATA_DIR": str(self.data_dir),
            "MOSU_SECRET_KEY_FILE": str(self.secrets_dir / "secret_key"),
            "MOSU_ENCRYPTION_KEY_FILE": str(self.secrets_dir / "encryption_key"),
            "MOSU_URL": self.url,
            "MOSU_HOSTS": os.environ.get("MOSU_HOSTS") or ",".join(sorted(hosts - {""})),
        }

    def migration_environment(self, *, app_dsn: str, owner_dsn: str) -> dict[str, str]:
        """For the one process that changes tables."""
        return {
            **self.environment(app_dsn=app_dsn),
            "MOSU_MIGRATE": "1",
            "DATABASE_OWNER_URL": owner_dsn,
            "MOSU_DB_POOL": "0",
        }


def load_config(*, data_dir: Path | None = None, host: str = "127.0.0.1", port: int | None = None) -> Config:
    """What the command line, then the environment, then the defaults say.

    Raises:
        ConfigRefused: MOSU_PORT, MOSU_RELAY_PORT or MOSU_SSH_PORT is not a port.
    """
    return Config(
        data_dir=(data_dir or default_data_dir()).absolute(),
        host=host,
        port=port if port is not None else (_port_in("MOSU_PORT") or 8000),
        relay_port=_port_in("MOSU_RELAY_PORT"),
        ssh_port=_port_in("MOSU_SSH_PORT"),
        database_url=os.environ.get("DATABASE_URL"),
        database_owner_url=os.environ.get("DATABASE_OWNER_URL"),
    )


def _port_in(name: str) -> int | None:
    asked = os.environ.get(name)
    if not asked:
        return None
    if not (asked.isascii() and asked.isdigit() and 0 < int(asked) < 65536):
        raise ConfigRefused(f"{name}: {asked!r} is not a port.", hint="Give a number from 1 to 65535.")
    return int(asked)


def await_port(config: Config, *, within_s: float = 15.0) -> None:
    """Until nobody listens where the hub and its relay shall: the servers of a killed hub may still be ending.

    The web server shares its port with others of the same user, so a second hub would start without a word
    and each would get some of the other's requests.

    Raises:
        ConfigRefused: a port stays in use.
    """
    until = time.monotonic() + within_s
    hint = f"Choose another: mosu up --port {min(config.port + 1, 65535)}"
    _await(config.host, config.port, until=until, hint=hint)
    if config.relay_port is not None:
        _await(config.host, config.relay_port, until=until, hint="Set another MOSU_RELAY_PORT, or none.")
    if config.ssh_port is not None:
        _await(config.host, config.ssh_port, until=until, hint="Set another MOSU_SSH_PORT, or none.")


def _await(host: str, port: int, *, until: float, hint: str) -> None:
    while True:
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as door:
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                door.bind((host, port))
                return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # the server says it better
            if time.monotonic() > until:
                raise ConfigRefused(f"{host}:{port} is in use.", hint=hint) from None
        time.sleep(0.2)


def free_port(first: int) -> int:
    """The first port from `first` on that nobody on this machine listens on.

    Raises:
        ConfigRefused: a hundred in a row are taken.
    """
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as door, suppress(OSError):
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", port))
            return port
    raise ConfigRefused(f"No port from {first} on is free.", hint="Give one with --port.")


def default_data_dir() -> Path:
    """MOSU_DATA_DIR, else the system's folder for root and the user's own for others."""
    chosen = os.environ.get("MOSU_DATA_DIR")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/mosu")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mosu"


def plain_environment() -> dict[str, str]:
    """This process's environment without the database: what a part gets that has no business with it."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    return {**kept, "PYTHONUNBUFFERED": "1"}
