"""A PostgreSQL cluster of mosu's own: made, started, stopped, its roles and databases. No Django here.

Below the data folder: `postgres/` (the cluster), `postgres-bin/` (its programs), `secrets/postgres.json`
(the three passwords), `run/` (the socket). Started as root, the server runs as the user `mosu`.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from mosu.kernel.refusals import DomainError
from mosu.runtime.binaries import Binaries, find_binaries
from mosu.runtime.children import die_with_parent, process_state
from mosu.runtime.folders import DataFolderRefused, check_reach, make_folder, service_user

SUPERUSER: Final = "postgres"
OWNER: Final = "mosu_owner"
APP: Final = "mosu_app"

SOCKET_PORT: Final = 5432
"""Only names the socket file unless a TCP port is asked for."""

ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
"""The server inherits nothing of the operator's."""

_SOCKET_PATH_MAX: Final = 100  # the kernel's limit is 107 bytes, for the whole path
_START_S_MAX: Final = 60.0
_STOP_S_MAX: Final = 30.0


class WrongMajor(DomainError):
    """The data folder was written by another major version of PostgreSQL."""

    code = "wrong_major"


class DidNotStart(DomainError):
    """PostgreSQL ended, or did not answer in time."""

    code = "did_not_start"


class Cluster:
    """One PostgreSQL server and its data.

    `port` opens TCP on 127.0.0.1 beside the socket. `testing` gives up durability for speed.

    Raises:
        DataFolderRefused: the server's user cannot reach `data_dir`.
        BinariesMissing: no PostgreSQL to run.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        testing: bool = False,
        binaries: Binaries | None = None,
        folder: str = "postgres",
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.testing = testing
        self._port = port
        self.user = service_user()
        check_reach(self.data_dir, self.user)
        make_folder(self.data_dir, mode=0o755)
        self.binaries = binaries or find_binaries(keep_in=self.data_dir / "postgres-bin", user=self.user)
        self.home = self.data_dir / folder
        self.pg_data = self.home / "data"
        self.socket_dir = self._socket_dir()
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords: dict[str, str] | None = None

    # Life

    @property
    def is_initialised(self) -> bool:
        return (self.pg_data / "PG_VERSION").is_file()

    def init(self) -> None:
        """Make the cluster if it is not there; whole or not at all.

        Raises:
            WrongMajor: it is there, of another major version.
        """
        if self.is_initialised:
            self.check_major()
            return
        make_folder(self.home, mode=0o700, owner=self.user)
        fresh = self.home / "data.new"
        if fresh.exists():  # an init that was killed
            shutil.rmtree(fresh)
        password_file = self._written_for_server(self._password(SUPERUSER))
        try:
            self._run(
                "initdb",
                f"--pgdata={fresh}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                *(["--no-sync"] if self.testing else []),
            )
        finally:
            password_file.unlink(missing_ok=True)
        fresh.rename(self.pg_data)

    def check_major(self) -> None:
        """Pass if the programs are of the major version that wrote the data.

        Raises:
            WrongMajor: they are not.
        """
        written_by = int((self.pg_data / "PG_VERSION").read_text().strip())
        if written_by != self.binaries.major:
            raise WrongMajor(
                f"The database was written by PostgreSQL {written_by}; "
                f"the programs here are {self.binaries.version}.",
                hint="Run: mosu upgrade-db",
                found=written_by,
                allowed=self.binaries.major,
            )

    def start(self, *, with_parent: bool = False) -> subprocess.Popen[bytes]:
        """The server as a foreground child, already answering; one left over from a crash is stopped first.

        What it prints goes to `postgres/server.log`. `with_parent` ends it when this process dies.

        Raises:
            DidNotStart: with the last lines that the server printed.
        """
        self.before_start()
        with (self.home / "server.log").open("ab") as log:
            process = self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user.uid if self.user else None,
                group=self.user.gid if self.user else None,
                extra_groups=[] if self.user else None,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,  # the terminal's Ctrl-C is for whoever started this
                preexec_fn=die_with_parent(signal.SIGQUIT) if with_parent else None,  # noqa: PLW1509 - one call
            )
        deadline = time.monotonic() + _START_S_MAX
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DidNotStart(
                    f"PostgreSQL did not start (exit code {process.poll()}). {self._last_words()}",
                    hint="Run: mosu doctor",
                )
            time.sleep(0.03)
        return process

    def before_start(self) -> None:
        """What has to be so before `command` is run, by `start` or by a supervisor.

        Raises:
            WrongMajor: the data is of another major version.
            DidNotStart: a server left over from a crash does not stop.
        """
        self.check_major()
        self.stop_leftover()
        make_folder(self.socket_dir, mode=0o755, owner=self.user)
        self._check_socket_dir()
        # What `mosu upgrade-db` reads this data with, when the programs in use are newer.
        write_secret(self.home / "binaries", str(self.binaries.folder))

    def command(self) -> list[str]:
        """The server in the foreground, to be run as `user` with `ENVIRONMENT`."""
        options = {
            "unix_socket_directories": '"' + str(self.socket_dir).replace('"', '""') + '"',
            "listen_addresses": "127.0.0.1" if self._port else "",
            "port": str(self._port or SOCKET_PORT),
            "password_encryption": "scram-sha-256",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
        }
        if self.testing:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        return [self.binaries.path("postgres"), "-D", str(self.pg_data), *settings]

    def stop(self) -> None:
        """End the server, this process's child or another's: fast, then at once, then by force."""
        pid = self._process.pid if self._process else self.postmaster_pid()
        if pid is not None:
            for number, limit_s in (
                (signal.SIGINT, _STOP_S_MAX),
                (signal.SIGQUIT, 5.0),
                (signal.SIGKILL, 5.0),
            ):
                if not self.is_alive():
                    break
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                _wait_until(lambda: not self.is_alive(), limit_s)
        self._process = None

    def is_alive(self) -> bool:
        """Whether the server's process runs; a zombie is dead."""
        if self._process is not None:
            return self._process.poll() is None
        return self.postmaster_pid() is not None

    def answers(self) -> bool:
        """Whether the server lets the superuser in."""
        try:
            psycopg.connect(self.superuser_dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def postmaster_pid(self) -> int | None:
        """The running server's process id, whoever started it.

        The file may be stale and its number taken by another process since: the server's working folder
        is its data folder, so that tells.
        """
        try:
            pid = int((self.pg_data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def stop_leftover(self) -> None:
        """Clear what a killed supervisor or server left: a server still running, backends, a stale lock file.

        PostgreSQL itself takes a zombie, or a stranger that got the same process id, for a running server.
        """
        self._process = None
        self.stop()
        if self.postmaster_pid() is not None:
            raise DidNotStart("An earlier PostgreSQL does not stop.", hint="Run: mosu doctor")
        if not _wait_until(lambda: not self._server_processes(), 5.0):
            for pid in self._server_processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
            _wait_until(lambda: not self._server_processes(), 5.0)
        (self.pg_data / "postmaster.pid").unlink(missing_ok=True)
        for stale in self.socket_dir.glob(".s.PGSQL.*"):
            stale.unlink(missing_ok=True)

    def _server_processes(self) -> list[int]:
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._is_ours(int(entry.name))
        ]

    def _is_ours(self, pid: int) -> bool:
        if process_state(pid) in (None, "Z", "X"):
            return False
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.pg_data)
        except OSError:
            return False

    # Connections

    def superuser_dsn(self, name: str = "postgres") -> str:
        return self._dsn(SUPERUSER, name)

    def owner_dsn(self, name: str) -> str:
        """For migrations: the role that owns the database and its tables."""
        return self._dsn(OWNER, name)

    def app_dsn(self, name: str) -> str:
        """For the running hub: a role that owns nothing, so that triggers bind it."""
        return self._dsn(APP, name)

    def _dsn(self, role: str, name: str) -> str:
        host = quote(str(self.socket_dir), safe="")
        who = f"{role}:{self._password(role)}"
        return f"postgresql://{who}@/{quote(name)}?host={host}&port={self._port or SOCKET_PORT}"

    @contextmanager
    def _superuser(self, name: str = "postgres") -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.superuser_dsn(name), autocommit=True) as connection:
            yield connection

    # Databases

    def prepare_database(self, name: str) -> None:
        """The two roles and the database `name`, owned by one and used by the other. Safe to repeat."""
        with self._superuser() as connection:
            for role in (OWNER, APP):
                self._ensure_role(connection, role)
            if not self.has_database(name):
                connection.execute(
                    sql.SQL(
                        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
                    ).format(sql.Identifier(name), sql.Identifier(OWNER))
                )
        with self._superuser(name) as connection, connection.transaction():
            for statement in _DATABASE_SETUP:
                connection.execute(
                    sql.SQL(statement).format(
                        database=sql.Identifier(name), owner=sql.Identifier(OWNER), app=sql.Identifier(APP)
                    )
                )

    def has_database(self, name: str) -> bool:
        with self._superuser() as connection:
            return (
                connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
                is not None
            )

    def clone_database(self, template: str, name: str) -> None:
        """`name` as a copy of `template`, to which nobody may be connected.

        Its files are copied, which takes half as long as writing each of their pages to the log.
        """
        with self._superuser() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
                )
            )
            # Grants on the database itself are not copied.
            for statement in _DATABASE_GRANTS:
                connection.execute(
                    sql.SQL(statement).format(database=sql.Identifier(name), app=sql.Identifier(APP))
                )

    def drop_database(self, name: str) -> None:
        """Remove `name`, throwing out who is connected."""
        with self._superuser() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def _ensure_role(self, connection: psycopg.Connection, role: str) -> None:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        connection.execute(
            sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                sql.SQL("ALTER" if known else "CREATE"),
                sql.Identifier(role),
                sql.Literal(self._password(role)),
            )
        )

    # Details

    def _password(self, role: str) -> str:
        if self._passwords is None:
            self._passwords = self._read_passwords()
        return self._passwords[role]

    def _read_passwords(self) -> dict[str, str]:
        path = self.data_dir / "secrets" / "postgres.json"
        if not path.exists():
            if self.is_initialised:
                raise DataFolderRefused(
                    f"{path} is missing: the passwords of the database are lost.",
                    hint="Restore it from a backup (mosu restore).",
                )
            make_folder(path.parent, mode=0o700)
            made = {role: secrets.token_hex(24) for role in (SUPERUSER, OWNER, APP)}
            write_secret(path, json.dumps(made))
        loaded: dict[str, str] = json.loads(path.read_text())
        return loaded

    def _written_for_server(self, text: str) -> Path:
        """A file that only the server's user can read; removed by the caller."""
        handle, name = tempfile.mkstemp(dir=self.home)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        if self.user is not None:
            os.chown(name, self.user.uid, self.user.gid)
        return Path(name)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries.path(program), *arguments],
            user=self.user.uid if self.user else None,
            group=self.user.gid if self.user else None,
            extra_groups=[] if self.user else None,
            cwd="/",
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DidNotStart(
                f"PostgreSQL's {program} failed: {(done.stderr or done.stdout).strip()[-2000:]}",
                hint="Run: mosu doctor",
            )

    def _socket_dir(self) -> Path:
        """`run/` of the data folder; where that is too long for a socket, a short one made for it."""
        beside = self.data_dir / ("run" if self.home.name == "postgres" else f"{self.home.name}.run")
        if len(os.fsencode(beside / f".s.PGSQL.{self._port or SOCKET_PORT}")) <= _SOCKET_PATH_MAX:
            return beside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        base = (
            Path("/run")
            if os.geteuid() == 0
            else Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        )
        return base / f"mosu-{os.geteuid()}-{digest}"

    def _check_socket_dir(self) -> None:
        """In a shared folder someone else could have made it first, to catch the passwords."""
        owner = self.socket_dir.lstat().st_uid
        expected = self.user.uid if self.user else os.geteuid()
        if owner != expected or self.socket_dir.is_symlink():
            raise DataFolderRefused(
                f"The socket's folder {self.socket_dir} belongs to uid {owner}, not {expected}.",
                hint=f"Remove {self.socket_dir} and start again.",
            )

    def _last_words(self) -> str:
        with suppress(OSError):
            return (self.home / "server.log").read_text(errors="replace")[-1500:].strip()
        return ""


_DATABASE_GRANTS: Final = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {app}",
)

# Devices use btree_gist's exclusion constraint. Grants follow whatever the owner creates later.
_DATABASE_SETUP: Final = (
    *_DATABASE_GRANTS,
    "CREATE EXTENSION IF NOT EXISTS btree_gist",
    "GRANT USAGE ON SCHEMA public TO {app}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {app}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT EXECUTE ON FUNCTIONS TO {app}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SCHEMAS TO {app}",
)


def write_secret(path: Path, text: str) -> None:
    """`text` at `path`, readable by its owner alone, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _wait_until(condition: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
