"""`mosu up` with the real PostgreSQL and toy parts behind it: what kills and a second start do."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest
from tests.hub import free_port
from tests.runtime.waiting import eventually

from mosu.runtime import hub
from mosu.runtime.children import is_running
from mosu.runtime.config import DATABASE, ConfigRefused, await_port, load_config
from mosu.runtime.hub import answers, is_prepared, mark_prepared
from mosu.runtime.postgres import write_secret
from mosu.runtime.running import running_hub

# Everything is real but the programs of prepare, web, worker and agent.
PROGRAM = '''
import sys
from dataclasses import replace
from mosu.cli.main import run
from mosu.runtime import commands, hub

PREPARE = """
import sys
from pathlib import Path
for name in ("secrets/local_pool_token", "environments/local"):
    file = Path(sys.argv[1], name)
    file.parent.mkdir(exist_ok=True)
    file.touch()
"""

def parts_of(config):
    for part in hub.parts_of(config):
        if part.name == "prepare":
            yield replace(part, argv=[sys.executable, "-c", PREPARE, str(config.data_dir)])
        elif part.name != "postgres":
            yield replace(part, argv=["sleep", "600"], ready=None, before_start=lambda: None)
        else:
            yield part

commands.parts_of = lambda config: list(parts_of(config))
sys.exit(run(["up", "--data-dir", *sys.argv[1:]]))
'''


@contextmanager
def started(data_dir: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MOSU_", "DATABASE_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data_dir), "--port", str(port), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)
        assert process.stdout is not None
        process.stdout.close()


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} did not come:\n{seen}")


@pytest.fixture
def data_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return folder / "hub"


def test_it_survives_kills_and_runs_once(data_dir: Path) -> None:
    port = free_port()  # checked before each start; the toy parts do not take it
    with started(data_dir, port) as first:
        seen = wait_for(first, f"mosu is up: http://127.0.0.1:{port}")
        assert seen.index("prepare   done") < seen.index("web       starting")
        cluster = load_config(data_dir=data_dir).cluster()
        with psycopg.connect(cluster.owner_dsn(DATABASE)) as owner:
            owner.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server = cluster.postmaster_pid()
        assert server is not None
        told = running_hub(load_config(data_dir=data_dir, port=8000))
        assert told is not None
        assert (told.pid, told.port, told.url) == (first.pid, port, f"http://127.0.0.1:{port}")

        with started(data_dir, port) as second:
            refused = second.communicate(timeout=120)[0]
        assert f"process {first.pid}" in refused
        assert second.returncode != 0
        assert cluster.postmaster_pid() == server

        os.kill(server, signal.SIGKILL)
        assert eventually(lambda: cluster.postmaster_pid() not in (None, server) and cluster.answers())

        server = cluster.postmaster_pid()
        assert server is not None
        first.kill()
        first.wait()
        assert eventually(lambda: not is_running(server))

    with started(data_dir, port, "--json") as again:
        seen = wait_for(again, f'"url": "http://127.0.0.1:{port}"')
        assert "prepare" not in seen
        with psycopg.connect(cluster.app_dsn(DATABASE)) as app:
            assert app.execute("SELECT number FROM kept").fetchall() == [(7,)]
        again.terminate()
        seen += again.communicate(timeout=120)[0]
        assert again.returncode == 0
    assert not cluster.is_alive()
    assert not (data_dir / "up.json").exists()
    lines = [json.loads(line) for line in seen.splitlines()]  # and nothing else
    assert all(line.keys() == {"url", "parts"} for line in lines)
    states = [{name: part["state"] for name, part in line["parts"].items()} for line in lines]
    up = next(index for index, line in enumerate(lines) if line["url"])
    assert set(states[up].values()) == {"ready"}
    assert states[0]["web"] == "waiting" and set(states[-1].values()) == {"stopped"}


def test_a_database_is_prepared_once_for_each_code(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(data_dir=data_dir)
    config.ensure()
    (data_dir / "environments").mkdir()
    for file in (config.secrets_dir / "local_pool_token", data_dir / "environments" / "local"):
        write_secret(file, "x")
    assert not is_prepared(config, owner_dsn="postgresql://one")
    mark_prepared(config, owner_dsn="postgresql://one")
    assert is_prepared(config, owner_dsn="postgresql://one")
    assert not is_prepared(config, owner_dsn="postgresql://another")
    monkeypatch.setattr(hub, "version", lambda package: "99")
    assert not is_prepared(config, owner_dsn="postgresql://one")
    monkeypatch.undo()
    assert is_prepared(config, owner_dsn="postgresql://one")


def test_a_data_folder_that_was_moved_is_prepared_with_its_own_database_alone(data_dir: Path) -> None:
    inside, outside = (
        load_config(data_dir=data_dir),
        replace(load_config(data_dir=data_dir), database_url="postgresql://app:secret@db/mosu"),
    )
    inside.ensure()
    (data_dir / "environments").mkdir()
    for file in (inside.secrets_dir / "local_pool_token", data_dir / "environments" / "local"):
        write_secret(file, "x")
    for config, moved, another in (
        (inside, "postgresql://owner:mine@/mosu?host=/there", "postgresql://owner:other@/mosu?host=/here"),
        (outside, "postgresql://owner:mine@/mosu?host=here", "postgresql://owner:mine@/mosu?host=there"),
    ):
        mark_prepared(config, owner_dsn="postgresql://owner:mine@/mosu?host=/here")
        assert is_prepared(config, owner_dsn=moved) is (config is inside)
        assert not is_prepared(config, owner_dsn=another)


def test_the_agent_gets_no_secret_of_the_hub(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSU_SMTP_PASSWORD", "secret")
    config = replace(load_config(data_dir=data_dir), database_url="postgresql://app:secret@db/mosu")
    config.ensure()
    parts = {part.name: part for part in hub.parts_of(config)}
    assert "postgres" not in parts
    assert "secret" not in str(parts["agent"].env)
    assert "secret" not in str([part.argv for part in parts.values()])
    assert parts["web"].env["DATABASE_URL"] == "postgresql://app:secret@db/mosu"


def test_nobody_there_does_not_answer() -> None:
    assert not answers("http://127.0.0.1:9", "/readyz")


def test_a_second_hub_is_refused_a_port_that_another_listens_on(data_dir: Path) -> None:
    # As the web server listens: without this flag of both the kernel itself would refuse the second.
    port = free_port()  # and the relay's, beside it: a port of the kernel's own may have any neighbour
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", port))
        first.listen()
        config = load_config(data_dir=data_dir, port=port)
        with pytest.raises(ConfigRefused, match="is in use"):
            await_port(config, within_s=0.3)
    await_port(config, within_s=0.3)


def test_a_relays_port_that_another_listens_on_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MOSU_RELAY_PORT", str(taken.getsockname()[1]))
        config = load_config(data_dir=data_dir, port=free_port())
        with pytest.raises(ConfigRefused, match="is in use") as refused:
            await_port(config, within_s=0.3)
    assert "MOSU_RELAY_PORT" in refused.value.hint


@pytest.mark.parametrize(
    ("host", "environment", "told"),
    [
        ("127.0.0.1", {}, "http://127.0.0.1:8001"),
        ("::1", {}, "http://[::1]:8001"),
        ("0.0.0.0", {"MOSU_URL": "http://hub.lan:8000"}, "http://hub.lan:8001"),
        ("127.0.0.1", {"MOSU_URL": "https://hub.example.org"}, ""),
        ("127.0.0.1", {"MOSU_URL": "http://hub.example.org"}, ""),
        ("127.0.0.1", {"MOSU_URL": "https://h.org", "MOSU_RELAY_URL": "https://r.org"}, "https://r.org"),
    ],
    ids=["local", "IPv6", "by its own port", "behind TLS", "behind a proxy", "named"],
)
def test_where_the_relay_is_reached(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, host: str, environment: dict[str, str], told: str
) -> None:
    for name in ("MOSU_URL", "MOSU_RELAY_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_config(data_dir=data_dir, host=host, port=8000).relay_url(8001) == told


@pytest.mark.parametrize(
    ("relay", "named", "told"),
    [
        ("http://127.0.0.1:8001", None, "apps.localhost"),
        ("http://[::1]:8001", None, "apps.localhost"),
        ("http://hub.lan:8001", None, ""),
        ("https://127.0.0.1", None, ""),
        ("", None, ""),
        ("https://hub.example", "apps.hub.example", "apps.hub.example"),
        ("http://127.0.0.1:8001", "", ""),
    ],
)
def test_where_apps_have_their_hosts(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, relay: str, named: str | None, told: str
) -> None:
    monkeypatch.delenv("MOSU_APPS_HOST", raising=False)
    if named is not None:
        monkeypatch.setenv("MOSU_APPS_HOST", named)
    assert load_config(data_dir=data_dir, host="127.0.0.1", port=8000).apps_host(relay) == told


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("hub.example", "the hub itself"),
        ("example", "no name of a host"),
        ("x.example", "the hub itself"),
        ("apps_.example", "no name"),
        ("a.b:80", "no name"),
    ],
)
def test_an_apps_host_that_is_none_is_refused_at_the_start(host: str, said: str) -> None:
    environment = {**os.environ, "MOSU_APPS_HOST": host, "MOSU_HOSTS": "hub.example,a.x.example"}
    command = [sys.executable, "-c", "import mosu.web.settings"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "MOSU_APPS_HOST" in refused.stderr and said in refused.stderr


def test_over_tls_no_app_can_set_the_hubs_cookies() -> None:
    environment = {**os.environ, "MOSU_URL": "https://hub.example"}
    show = "import mosu.web.settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME)"
    shown = subprocess.run(
        [sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["__Host-sessionid", "__Host-csrftoken"]


# The first process that starts is ready at once; another is not before a file named `go` stands beside this one.
SLOW_TO_START = """
import asyncio, os
from pathlib import Path

HERE = Path(__file__).parent

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        try:
            (HERE / "first").touch(exist_ok=False)
        except FileExistsError:
            (HERE / "second").touch()
            while not (HERE / "go").exists():
                await asyncio.sleep(0.02)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


def test_nobody_meets_a_web_process_that_is_not_ready(folder: Path) -> None:
    """`/readyz` speaks for one of the web processes; another that still reads the offers takes nobody's request."""
    config = load_config(data_dir=folder / "hub", port=free_port())
    (folder / "slow_to_start.py").write_text(SLOW_TO_START)
    command = [*hub._web(config, {}).argv[:-1], "slow_to_start:application"]
    answered = set()

    def ask() -> bool:
        with suppress(OSError), urlopen(config.local_url, timeout=10) as answer:
            answered.add(answer.read())
            return True
        return False

    with subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}) as process:
        try:
            assert eventually((folder / "second").exists) and eventually(ask)
            assert all(ask() for _ in range(40))
            assert len(answered) == 1
            (folder / "go").touch()
            assert eventually(lambda: ask() and len(answered) == hub.WEB_WORKERS)
        finally:
            process.terminate()
