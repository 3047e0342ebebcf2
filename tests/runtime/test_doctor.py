"""What doctor finds, and what it tells to do."""

import ast
import json
import os
import re
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.hub import free_port

from mosu.runtime import doctor
from mosu.runtime.config import ConfigRefused, load_config
from mosu.runtime.doctor import Check, examine, is_well
from mosu.runtime.running import facts_of

SANDBOX = doctor._sandbox


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "PG_BIN", "MOSU_ZONE", "MOSU_PORT", "MOSU_CURRENCY", "MOSU_URL"):
        monkeypatch.delenv(name, raising=False)
    # Probing builds a real sandbox; that is tested with the sandbox.
    monkeypatch.setattr(doctor, "_sandbox", lambda: Check("sandbox", "ok", "not looked at"))


def found(data_dir: Path, port: int = 8000) -> dict[str, Check]:
    return {check.name: check for check in examine(load_config(data_dir=data_dir, port=port))}


def test_an_empty_machine_is_well_and_left_alone(folder: Path) -> None:
    checks = examine(load_config(data_dir=folder / "hub", port=free_port()))
    assert is_well(checks), checks
    assert list(folder.iterdir()) == []


def test_a_taken_port_fails(folder: Path) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        check = found(folder / "hub", door.getsockname()[1])["port"]
    assert (check.outcome, check.mend) == ("fail", "Choose another: mosu up --port 8001")


def test_a_hub_is_asked_on_the_port_it_runs_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says the port again: the hub wrote it down."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    asked: list[str] = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    config = load_config(data_dir=folder / "hub")
    config.ensure()
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started = replace(config, port=server.server_port)
        up = {"pid": os.getpid(), **facts_of(started), "parts": {}}
        config.status_file.write_text(json.dumps(up))
        checks = found(config.data_dir)
        server.shutdown()
    assert (checks["web"].outcome, checks["web"].found) == ("ok", f"{started.url} answers.")
    assert checks["port"].found == f"127.0.0.1:{started.port} is taken, and a hub is up."
    assert asked == ["/readyz"]
    assert found(config.data_dir)["web"].outcome == "fail"

    config.status_file.write_text(json.dumps(up | {"pid": 2**22 + 1}))
    assert found(config.data_dir)["hub"].found == "Not up."


def test_open_keys_fail(folder: Path) -> None:
    config = load_config(data_dir=folder / "hub")
    config.ensure()
    assert found(config.data_dir)["secrets"].outcome == "ok"
    (config.secrets_dir / "secret_key").chmod(0o644)
    check = found(config.data_dir)["secrets"]
    assert check.outcome == "fail"
    assert check.mend == f"Run: chmod -R go-rwx {config.secrets_dir}"


def test_a_database_of_another_major_names_the_command(folder: Path) -> None:
    written = folder / "hub" / "postgres" / "data" / "PG_VERSION"
    written.parent.mkdir(parents=True)
    written.write_text("13\n")
    check = found(folder / "hub")["postgresql"]
    assert (check.outcome, check.mend) == ("fail", "Run: mosu upgrade-db")


def test_missing_programs_and_zone_fail(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_BIN", str(folder))
    monkeypatch.setenv("MOSU_ZONE", "Moon/Base")
    checks = found(folder / "hub")
    assert checks["postgresql"].outcome == checks["zone"].outcome == "fail"


def checks_that_can_fail() -> set[str]:
    """As the code has them: `Check(name, "fail", ...)`."""
    tree = ast.parse(Path(doctor.__file__).read_text(encoding="utf-8"))
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {found[1] for call in calls if (found := re.match(r"Check\('([\w ]+)', 'fail'", call))}


def test_whatever_fails_says_what_mends_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check of the code is made to fail, and none without its mend."""
    config = load_config(data_dir=folder / "hub", port=free_port())
    config.ensure()
    (config.secrets_dir / "secret_key").chmod(0o644)
    up = {"pid": os.getpid(), **facts_of(config), "parts": {}}
    config.status_file.write_text(json.dumps(up))
    with monkeypatch.context() as broken:
        broken.setenv("PG_BIN", str(folder))
        broken.setenv("MOSU_BWRAP", "/nowhere/bwrap")
        broken.setattr(doctor, "_sandbox", SANDBOX)
        broken.setattr(doctor, "DISK_BYTES_MIN", 1 << 62)
        checks = found(config.data_dir)
    with socket.socket() as door, monkeypatch.context() as broken:
        door.bind(("127.0.0.1", 0))
        door.listen()
        broken.setenv("MOSU_ZONE", "Moon/Base")
        broken.setattr(os, "access", lambda _path, _mode: False)
        not_up = found(folder / "other", door.getsockname()[1])
    failing = {check.name: check for check in (*checks.values(), *not_up.values()) if check.outcome == "fail"}
    assert set(failing) == checks_that_can_fail() and len(failing) >= 9
    assert [name for name, check in failing.items() if not check.mend.strip()] == []


def test_the_zone_and_currency_stay_for_the_hubs_life(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(data_dir=folder / "hub")
    config.ensure()
    monkeypatch.setenv("MOSU_CURRENCY", "EUR")
    with pytest.raises(ConfigRefused, match="MOSU_CURRENCY=CNY"):
        config.ensure()
    assert config.choices() == {"MOSU_ZONE": "Asia/Shanghai", "MOSU_CURRENCY": "CNY"}


def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSU_PORT", "80000")
    with pytest.raises(ConfigRefused, match="80000"):
        load_config()


def test_the_hubs_processes_never_see_the_owners_role(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_OWNER_URL", "postgresql://owner:secret@db/mosu")
    monkeypatch.setenv("MOSU_MIGRATE", "1")
    environment = load_config(data_dir=folder).environment(app_dsn="postgresql://app@db/mosu")
    assert environment["DATABASE_URL"] == "postgresql://app@db/mosu"
    assert "DATABASE_OWNER_URL" not in environment
    assert "MOSU_MIGRATE" not in environment
