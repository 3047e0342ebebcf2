"""The parts of a hub on one machine, and when each is ready."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg

import mosu
from mosu.runtime.agent_config import environment_file, token_file, write_agent_config
from mosu.runtime.config import DATABASE, Config, free_port
from mosu.runtime.postgres import ENVIRONMENT, Cluster, write_secret
from mosu.runtime.supervisor import Part

WEB_WORKERS: Final = 2

# Packages with migrations of their own; their version stands for them.
_MIGRATED: Final = ("django", "django-allauth", "procrastinate")

# What the jobs' environment is made of, beside the interpreter.
_LAID_OUT: Final = ("numpy",)

# What the site agent may know of the operator's environment.
_AGENT_VARIABLES: Final = (
    *("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "XDG_RUNTIME_DIR"),
    "MOSU_BWRAP",
)


def parts_of(config: Config) -> list[Part]:
    """What has to run for this hub, in order of start. Its folder and keys exist already.

    Raises:
        DataFolderRefused, BinariesMissing, WrongMajor: the embedded PostgreSQL cannot be used.
    """
    parts: list[Part] = []
    cluster: Cluster | None = None
    if config.is_embedded:
        cluster = config.cluster()
        cluster.init()
        parts.append(_postgres(cluster))
    app_dsn, owner_dsn = config.app_dsn(), config.owner_dsn()
    if not is_prepared(config, owner_dsn=owner_dsn):
        parts.append(_prepare(config, cluster, app_dsn=app_dsn, owner_dsn=owner_dsn))
    relay_port = config.relay_port or free_port(config.port + 1)
    relay_url = config.relay_url(relay_port)
    environment = config.environment(app_dsn=app_dsn) | {
        "MOSU_RELAY_URL": relay_url,
        "MOSU_APPS_HOST": config.apps_host(relay_url),
        "MOSU_SSH_ADDRESS": config.ssh_address(relay_url),
    }
    parts += [_web(config, environment), _worker(environment, app_dsn)]
    if relay_url:
        parts.append(_relay(config, environment, port=relay_port))
    return [*parts, _agent(config)]


def _postgres(cluster: Cluster) -> Part:
    return Part(
        name="postgres",
        argv=cluster.command(),
        env=ENVIRONMENT,
        ready=cluster.answers,
        before_start=cluster.before_start,
        stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
        stop_s_max=60.0,
        user=cluster.user,
        note=f"PostgreSQL {cluster.binaries.version}",
    )


def _prepare(config: Config, cluster: Cluster | None, *, app_dsn: str, owner_dsn: str) -> Part:
    return Part(
        name="prepare",
        argv=[sys.executable, "-m", "mosu.runtime.prepare"],
        env=config.migration_environment(app_dsn=app_dsn, owner_dsn=owner_dsn),
        once=True,
        before_start=(lambda: cluster.prepare_database(DATABASE)) if cluster else (lambda: None),
        after=lambda: mark_prepared(config, owner_dsn=owner_dsn),
    )


def _web(config: Config, environment: dict[str, str]) -> Part:
    return Part(
        name="web",
        argv=[
            *(sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--no-access-log"),
            *("--host", config.host, "--port", str(config.port), "--workers", str(WEB_WORKERS)),
            *("--respawn-failed-workers", "--workers-kill-timeout", "8", "mosu.web.asgi:application"),
        ],
        env=environment,
        ready=lambda: answers(config.local_url, "/readyz"),
        note=config.url,
    )


def _relay(config: Config, environment: dict[str, str], *, port: int) -> Part:
    """One process: a person's connection and the tunnel that it goes through meet in its memory."""
    return Part(
        name="relay",
        argv=[
            *(sys.executable, "-m", "mosu.runtime.relay", "--host", config.host, "--port", str(port)),
            *(("--ssh-port", str(config.ssh_port)) if config.ssh_port else ()),
        ],
        env=environment | {"MOSU_DB_POOL": "0"},
        ready=lambda: answers(config.local_url_at(port), "/healthz"),
        note=environment["MOSU_RELAY_URL"],
    )


def _worker(environment: dict[str, str], app_dsn: str) -> Part:
    """Ready when it registered itself: a heartbeat later than its start."""
    started_at = datetime.now(UTC)

    def note_start() -> None:
        nonlocal started_at
        started_at = datetime.now(UTC)

    def has_registered() -> bool:
        try:
            with psycopg.connect(app_dsn, connect_timeout=5) as connection:
                query = "SELECT 1 FROM procrastinate_workers WHERE last_heartbeat >= %s"
                return connection.execute(query, [started_at]).fetchone() is not None
        except psycopg.Error:
            return False

    return Part(
        name="worker",
        argv=[sys.executable, "-m", "mosu.runtime.worker"],
        env=environment | {"MOSU_DB_POOL": "0"},  # few threads, each with its own connection
        before_start=note_start,
        ready=has_registered,
    )


def _agent(config: Config) -> Part:
    kept = {name: os.environ[name] for name in _AGENT_VARIABLES if name in os.environ}
    return Part(
        name="agent",
        argv=[sys.executable, "-m", "mosu.cli.main", "agent", "run", str(config.agent_config)],
        env={**kept, "PYTHONUNBUFFERED": "1"},
        before_start=lambda: write_agent_config(config),
    )


def answers(url: str, path: str, *, timeout_s: float = 1.0) -> bool:
    """Whether `url` answers `path` with 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Host": parts.netloc})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_prepared(config: Config, *, owner_dsn: str) -> bool:
    """Whether the database was brought to this code's migrations already: saves a Python start."""
    path = config.data_dir / "prepared.json"
    if not all(
        file.exists() for file in (path, token_file(config.data_dir), environment_file(config.data_dir))
    ):
        return False
    return bool(json.loads(path.read_text()).get("digest") == _digest(config, owner_dsn))


def mark_prepared(config: Config, *, owner_dsn: str) -> None:
    write_secret(config.data_dir / "prepared.json", json.dumps({"digest": _digest(config, owner_dsn)}))


def _digest(config: Config, owner_dsn: str) -> str:
    """Of all migrations, of which database they were run on, and of what the jobs' environment is made of.

    The embedded database lies in the data folder and moves with it; its password tells it from another one.
    """
    database = owner_dsn.partition("?")[0] if config.is_embedded else owner_dsn
    digest = hashlib.sha256(f"{database} {sys.version} {sys.base_prefix}".encode())
    root = Path(mosu.__file__).parent
    for path in sorted(root.glob("*/migrations/*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    for package in (*_MIGRATED, *_LAID_OUT):
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            digest.update(f"{package} absent".encode())
    return digest.hexdigest()


def forget_old_clusters(data_dir: Path) -> None:
    """What `mosu upgrade-db` kept until the new one had started."""
    for folder in data_dir.glob("postgres.old-*"):
        shutil.rmtree(folder, ignore_errors=True)
