"""`mosu notebook` as a process of its own, against a relay that joins real WebSockets to real ports."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.client.fake_hub import TOKEN, FakeHub
from tests.client.fake_relay import FakeRelay, running_relay
from tests.patience import PATIENCE_S
from tests.site_agent.lab import until

from mosu.cli import main
from mosu.wire.task import parse_task

SECRET = "0123456789abcdef"
APP = {"app": "jupyter", "port": 8888, "path": f"/lab?token={SECRET}"}


class _Lab(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"lab")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[int]:
    """A port at which something answers HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Lab) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def relay(hub: FakeHub) -> Iterator[FakeRelay]:
    """A session that runs, with a JupyterLab that answers."""
    with running_relay() as relay, serving() as port:
        hub.state, hub.kind, hub.connect_url, hub.apps = "running", "session", relay.url, [APP]
        relay.ports[8888] = port
        yield relay


@pytest.fixture
def environment(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    own = {"MOSU_URL": hub.url, "MOSU_TOKEN": TOKEN, "XDG_CONFIG_HOME": str(tmp_path), "MOSU_LANG": "en"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return {**os.environ, **own}


def opened(environment: Mapping[str, str], *options: str, **how: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "mosu.cli.main", "notebook", *options]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # Who runs these tests in the background may ignore what a terminal's Ctrl-C sends, and a child inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(words, env=environment, text=True, **(pipes | how))
    finally:
        signal.signal(signal.SIGINT, before)


def line_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    found: dict[str, Any] = json.loads(line) if line else pytest.fail(process.communicate()[1])
    assert seen_at(found["url"]) == b"lab"
    return found


def seen_at(url: str) -> bytes:
    """What a browser would show; so it forwards, and hears signals."""
    with urlopen(url, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err and TOKEN not in out + err and SECRET not in err, err
    return process.returncode, out, err


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main.run(["notebook", *words])
    return code, capsys.readouterr().err


JSON = ("--yes", "--json", "--no-browser", "--port", "0")


def test_it_buys_waits_opens_and_ends_with_the_session(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    hub.state, hub.connect_url = "queued", None
    process = opened(environment, *JSON, "--cpus", "2", "--wall-limit", "1h")
    until(lambda: ("GET", "/runs/run_1") in hub.calls)
    assert ("GET", "/runs/run_1/apps") not in hub.calls
    hub.state, hub.connect_url = "running", relay.url
    facts = line_of(process)
    assert (facts["run_id"], facts["port"]) == ("run_1", 8888)
    assert facts["url"] == f"http://127.0.0.1:{facts['local_port']}/lab?token={SECRET}"
    hub.state = "succeeded"
    relay.close_all(1000, "")
    code, out, err = ended(process)
    assert code == 0
    assert json.loads(out)["receipt"]["number"] == "R-2026-000001"
    assert "run_1 is queued. It is waited for" in err and "JupyterLab is starting." in err
    sent = parse_task(hub.tasks[0]["task"])
    assert (sent.kind, sent.apps, sent.run, sent.wall_limit_s) == ("session", ("jupyter",), "", 3600)
    assert (sent.outputs, sent.resources.cpus, sent.workdir) == (("**/*.ipynb",), 2, None)


def test_a_task_file_becomes_such_a_session(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "train.yaml").write_text(
        "run: python train.py\nsetup: pip install -e .\nresources: {cpus: 4}\nmosu: {outputs: [out/*]}\n"
    )
    process = opened(environment, "train.yaml", *JSON, "--memory", "8")
    line_of(process)
    process.send_signal(signal.SIGTERM)
    assert "The command of train.yaml is left out" in ended(process)[2]
    sent = parse_task(hub.tasks[0]["task"])
    assert (sent.kind, sent.apps, sent.run, sent.setup) == ("session", ("jupyter",), "", "pip install -e .")
    assert (sent.outputs, sent.resources.cpus, sent.resources.memory_gb) == (("out/*",), 4, 8)


def test_the_command_of_a_session_stays(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "board.yaml").write_text("run: tensorboard\nmosu: {kind: session, apps: [ssh]}\n")
    process = opened(environment, "board.yaml", *JSON)
    line_of(process)
    process.send_signal(signal.SIGTERM)
    ended(process)
    sent = parse_task(hub.tasks[0]["task"])
    assert (sent.apps, sent.run) == (("ssh", "jupyter"), "tensorboard")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_terminal_it_goes_on_when_its_person_leaves(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str], number: int
) -> None:
    process = opened(environment, "--run", "run_1", "--json", "--no-browser", "--port", "0")
    line_of(process)
    process.send_signal(number)
    code, out, err = ended(process)
    assert (code, out) == (0, "")
    assert "run_1 goes on, and costs until it ends." in err and "mosu notebook --run run_1" in err
    assert not [call for call in hub.calls if call[0] == "POST"]


@pytest.mark.parametrize(("typed", "cancelled"), [("y\n", True), ("n\n", False), ("\x04", False)])
def test_at_a_terminal_it_asks(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str], typed: str, cancelled: bool
) -> None:
    ours, theirs = os.openpty()
    process = opened(environment, "--run", "run_1", "--no-browser", "--port", "0", stdin=theirs)
    os.close(theirs)
    assert process.stdout is not None
    assert seen_at(process.stdout.readline()) == b"lab"
    process.send_signal(signal.SIGINT)
    os.write(ours, typed.encode())
    if cancelled:
        until(lambda: ("POST", "/runs/run_1/cancel") in hub.calls)
        hub.state = "cancelled"
    code, out, err = ended(process)
    os.close(ours)
    assert code == 0 and "End the session?" in err
    assert (("POST", "/runs/run_1/cancel") in hub.calls) is cancelled
    assert ("R-2026-000001" in out) is cancelled


def test_the_browser_is_led_by_a_page_of_ours_and_its_arguments_tell_nothing(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str], tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\npage="${{1#file://}}"\ncp -p "$page" {tmp_path}/page\necho "$1" > {tmp_path}/arguments\n'
    )
    browser.chmod(0o755)
    process = opened({**environment, "BROWSER": f"{browser} %s"}, "--run", "run_1", "--port", "0")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    until(lambda: (tmp_path / "arguments").exists() and (tmp_path / "arguments").read_text())
    page = Path((tmp_path / "arguments").read_text().strip().removeprefix("file://"))
    assert SECRET not in str(page) and stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o600
    assert f'url={url}"' in (tmp_path / "page").read_text() and SECRET in url
    assert seen_at(url) == b"lab"
    process.send_signal(signal.SIGTERM)
    ended(process)
    assert not page.exists()


def test_8888_is_taken_if_it_is_free_and_else_another_one(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    with suppress(OSError), socket.create_server(("127.0.0.1", 8888)):
        pass
    processes = [opened(environment, "--run", "run_1", "--json", "--no-browser") for _ in range(2)]
    ports = [line_of(process)["local_port"] for process in processes]
    assert len(set(ports)) == 2
    for process in processes:
        process.send_signal(signal.SIGTERM)
        ended(process)


def test_it_waits_until_jupyterlab_answers(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    real = relay.ports[8888]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        relay.ports[8888] = nobody.getsockname()[1]
        process = opened(environment, "--run", "run_1", "--json", "--no-browser", "--port", "0")
        until(lambda: len(relay.closed) > 1)
        relay.ports[8888] = real
        line_of(process)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[2].count("JupyterLab is starting.") == 1


def test_it_does_not_wait_for_what_ends_before(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        relay.ports[8888] = nobody.getsockname()[1]
        process = opened(environment, "--run", "run_1", "--json", "--no-browser", "--port", "0")
        until(lambda: relay.closed)
        hub.state = "failed"
        code, out, err = ended(process)
    assert (code, out) == (3, "")
    assert "run_1 is failed (exit code 7): there is nothing left to connect to." in err
    assert "mosu logs run_1" in err


def test_interrupted_while_it_waits_it_says_how_to_come_back(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    hub.state, hub.connect_url = "queued", None
    process = opened(environment, "--run", "run_1", "--no-browser")
    until(lambda: ("GET", "/runs/run_1") in hub.calls)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130
    assert "Stopped waiting; run_1 goes on." in err and "mosu cancel run_1" in err


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ({"apps": []}, 3, "run_1 has no JupyterLab"),
        ({"apps": [APP | {"path": "@evil.example"}]}, 4, "names no path that opens JupyterLab"),
        ({"state": "succeeded", "connect_url": None}, 3, "there is nothing left to connect to"),
        ({"kind": "batch", "connect_url": None}, 3, "run_1 is no session or service"),
    ],
)
def test_what_is_no_notebook_is_refused(
    hub: FakeHub,
    relay: FakeRelay,
    environment: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
    how: dict[str, Any],
    code: int,
    says: str,
) -> None:
    for name, value in how.items():
        setattr(hub, name, value)
    found = told(capsys, "--run", "run_1", "--no-browser", "--port", "0")
    assert found[0] == code and says in found[1]


def test_who_may_not_connect_does_not_wait(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    relay.refusals[8888] = (403, {"title": "You may not do this."})
    code, err = told(capsys, "--run", "run_1", "--no-browser", "--port", "0")
    assert code == 3 and "You may not do this." in err


def test_a_session_that_runs_is_as_it_was_bought(
    environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = told(capsys, "--run", "run_1", "--cpus", "4")
    assert code == 2 and "as it was bought" in err


def test_what_fits_nowhere_is_not_bought(
    hub: FakeHub, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.no_quotes = True
    code, err = told(capsys, "--yes")
    assert code == 3 and "No offer fits this task; nothing was bought." in err
    assert not hub.orders
