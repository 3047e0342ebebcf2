"""What a hub needs of its machine: each thing looked at, with the command that mends it."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg

from mosu.kernel.refusals import DomainError
from mosu.runtime.binaries import find_binaries
from mosu.runtime.config import Config
from mosu.runtime.folders import check_reach, service_user
from mosu.runtime.hub import answers
from mosu.runtime.running import RunningHub, running_hub
from mosu.sandbox.probing import probe

DISK_BYTES_MIN: Final = 500_000_000
DISK_BYTES_WARN: Final = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `outcome` is ok, warn or fail."""

    name: str
    outcome: str
    found: str
    mend: str = ""


def examine(config: Config) -> list[Check]:
    """All checks, in the order in which a start would meet them. Changes nothing in the hub's folder."""
    hub = running_hub(config)
    if hub is not None:
        config = replace(config, host=hub.host, port=hub.port)
    return [
        _python(),
        _sandbox(),
        _folder(config),
        _modes(config),
        _disk(config),
        _programs(config),
        _port(config, is_up=hub is not None),
        _zone(config),
        *_parts(config, hub),
        *_serving(config, hub),
    ]


def is_well(checks: Sequence[Check]) -> bool:
    return all(check.outcome != "fail" for check in checks)


def _python() -> Check:
    return Check("python", "ok", f"Python {sys.version.split()[0]} at {sys.executable}")


def _sandbox() -> Check:
    """Without it no run can be started, but the counter works."""
    report = probe()
    if report.ok:
        return Check("sandbox", "ok", f"Untrusted code can be confined ({report.features}).")
    return Check("sandbox", "fail", report.why_not, report.mend)


def _folder(config: Config) -> Check:
    try:
        check_reach(config.data_dir, service_user() if config.is_embedded else None)
    except DomainError as refused:
        return Check("data folder", "fail", refused.message, refused.hint)
    existing = next(folder for folder in (config.data_dir, *config.data_dir.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        mend = f"Run: chown {os.geteuid()} {existing}, or choose another with --data-dir."
        return Check("data folder", "fail", f"{existing} cannot be written.", mend)
    return Check(
        "data folder", "ok", f"{config.data_dir}{'' if existing == config.data_dir else ' (not made yet)'}"
    )


def _modes(config: Config) -> Check:
    """Keys that others can read are no keys."""
    open_ones = [
        path
        for path in (config.secrets_dir, *_files_in(config.secrets_dir))
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if open_ones:
        return Check(
            "secrets",
            "fail",
            f"Others can read {open_ones[0]}.",
            f"Run: chmod -R go-rwx {config.secrets_dir}",
        )
    return Check(
        "secrets", "ok", "Readable by this user alone." if config.secrets_dir.exists() else "Not made yet."
    )


def _files_in(folder: Path) -> Iterator[Path]:
    if os.access(folder, os.R_OK | os.X_OK):
        yield from folder.iterdir()


def _disk(config: Config) -> Check:
    existing = next(folder for folder in (config.data_dir, *config.data_dir.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free"
    mend = f"Make room on the disk of {existing}."
    if free < DISK_BYTES_MIN:
        return Check("disk", "fail", found, mend)
    return Check("disk", "ok", found) if free >= DISK_BYTES_WARN else Check("disk", "warn", found, mend)


def _programs(config: Config) -> Check:
    if not config.is_embedded:
        return Check("postgresql", "ok", "DATABASE_URL names a server.")
    try:
        binaries = find_binaries(keep_in=None, user=service_user())
    except DomainError as refused:
        return Check("postgresql", "fail", refused.message, refused.hint)
    written = config.data_dir / "postgres" / "data" / "PG_VERSION"
    if os.access(written, os.R_OK) and written.read_text().strip() != str(binaries.major):
        return Check(
            "postgresql",
            "fail",
            f"The database is of PostgreSQL {written.read_text().strip()}, the programs are {binaries.version}.",
            "Run: mosu upgrade-db",
        )
    return Check("postgresql", "ok", f"PostgreSQL {binaries.version}")


def _port(config: Config, *, is_up: bool) -> Check:
    with socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((config.host, config.port))
        except OSError as error:
            if is_up:
                return Check("port", "ok", f"{config.host}:{config.port} is taken, and a hub is up.")
            return Check(
                "port",
                "fail",
                f"{config.host}:{config.port} cannot be used: {error.strerror}.",
                "Choose another: mosu up --port 8001",
            )
    return Check("port", "ok", f"{config.host}:{config.port} is free.")


def _zone(config: Config) -> Check:
    name = config.choices()["MOSU_ZONE"]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return Check("zone", "fail", f"The time zone {name} is not known.", "Run: pip install tzdata")
    return Check("zone", "ok", name)


def _parts(config: Config, hub: RunningHub | None) -> Iterator[Check]:
    if hub is None:
        yield Check("hub", "ok", "Not up.", f"Start it: mosu up --data-dir {config.data_dir}")
        return
    yield Check("hub", "ok", f"Up (process {hub.pid}).")
    for name, facts in hub.parts.items():
        found = f"{facts['state']}, restarted {facts['restarts']} times"
        well = facts["state"] in ("ready", "done")
        mend = "" if well else f"Read {config.logs_dir / name}.log"
        yield Check(name, "ok" if well else "warn", found, mend)


def _serving(config: Config, hub: RunningHub | None) -> Iterator[Check]:
    if hub is None and config.is_embedded:
        return
    try:
        psycopg.connect(config.app_dsn(), connect_timeout=3).close()
    except (psycopg.OperationalError, DomainError) as error:
        mend = f"Read {config.logs_dir / 'postgres.log'}" if config.is_embedded else "Mend DATABASE_URL."
        yield Check("database", "fail", f"It does not answer: {error}", mend)
    else:
        yield Check("database", "ok", "It answers.")
    if hub is not None:
        if answers(config.local_url, "/readyz", timeout_s=3.0):
            yield Check("web", "ok", f"{hub.url} answers.")
        else:
            mend = f"Read {config.logs_dir / 'web.log'}"
            yield Check("web", "fail", f"{config.local_url}/readyz does not answer with 200.", mend)
