"""What `mosu ssh` makes ready and how it calls `ssh`; OpenSSH's own programs do the rest (tests/compute/test_ssh.py)."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.client.fake_hub import TOKEN, FakeHub
from tests.client.fake_relay import FakeRelay, running_relay
from tests.patience import PATIENCE_S
from tests.site_agent.lab import until

from mosu.cli import piping
from mosu.cli.certified import FRESH_S, KEPT_S
from mosu.cli.stop import Stop
from mosu.client.relay import Relay
from mosu.wire.ssh import SSH_PORT

URL = "ws://127.0.0.1:1/relay"


@pytest.fixture
def env(hub: FakeHub, tmp_path: Path) -> Mapping[str, str]:
    """A machine whose `ssh` prints what it was called with, and whose `ssh-keygen` writes two files."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (
        ("ssh", 'printf "%s\\n" "$@"; exit 9'),
        (
            "ssh-keygen",
            'for file; do :; done; umask 077; echo key > "$file"; echo ssh-ed25519 AAAA > "$file.pub"',
        ),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    hub.state, hub.kind, hub.connect_url = "running", "session", URL
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "MOSU_URL": hub.url,
        "MOSU_TOKEN": TOKEN,
        "MOSU_LANG": "en",
        "XDG_CONFIG_HOME": str(tmp_path / "100% mine"),
        "HOME": str(tmp_path),
    }


def mosu(env: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mosu.cli.main", "ssh", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert "Traceback" not in done.stderr and TOKEN not in done.stdout + done.stderr, done.stderr
    return done


def folder(env: Mapping[str, str]) -> Path:
    return Path(env["XDG_CONFIG_HOME"], "mosu", "ssh", "run_1")


def test_ssh_is_called_with_what_leads_there_and_its_code_is_ours(
    env: Mapping[str, str], hub: FakeHub
) -> None:
    done = mosu(env, "--lang", "en", "run_1", "-L", "8080:localhost:80", "-v", "--", "nvidia-smi", "--help")
    assert done.returncode == 9
    words = done.stdout.splitlines()
    assert words[-6:] == ["-L", "8080:localhost:80", "-v", "--", "nvidia-smi", "--help"]
    assert words[-7] == "run_1"
    options = dict(word.split("=", 1) for word in words[1:-7:2])
    assert set(words[:-7:2]) == {"-o"}
    key = str(folder(env) / "key").replace("%", "%%")
    assert options["IdentityFile"] == f'"{key}"'
    assert (options["StrictHostKeyChecking"], options["User"], options["IdentitiesOnly"]) == (
        "yes",
        "runner",
        "yes",
    )
    assert (options["ForwardAgent"], options["ForwardX11"]) == ("no", "no")
    assert options["ProxyCommand"].endswith(" -m mosu.cli.main ssh --proxy run_1")
    assert (folder(env) / "known_hosts").read_text() == "run_1 ssh-ed25519 BBBB\n"
    assert (folder(env) / "key-cert.pub").read_text() == "ssh-ed25519-cert-v01@openssh.com AAAA\n"
    assert (
        stat.S_IMODE(folder(env).stat().st_mode) == stat.S_IMODE(folder(env).parent.stat().st_mode) == 0o700
    )
    assert hub.certified == ["ssh-ed25519 AAAA\n"]


def test_a_certificate_is_asked_for_once_in_a_while(env: Mapping[str, str], hub: FakeHub) -> None:
    mosu(env, "run_1")
    mosu(env, "--certify", "run_1")
    assert len(hub.certified) == 1
    _age(folder(env) / "key-cert.pub", FRESH_S + 1)
    hub.certificate["certificate"] = "ssh-ed25519-cert-v01@openssh.com CCCC"
    assert mosu(env, "--certify", "run_1").stdout == ""
    assert len(hub.certified) == 2
    assert (folder(env) / "key-cert.pub").read_text().endswith(" CCCC\n")


def test_what_can_no_longer_be_used_is_removed(env: Mapping[str, str]) -> None:
    old, used = folder(env).with_name("run_0"), folder(env).with_name("run_2")
    for one in (old, used):
        one.mkdir(parents=True)
        (one / "key-cert.pub").touch()
    _age(old / "key-cert.pub", KEPT_S + 1)
    mosu(env, "run_1")
    assert (old.exists(), used.exists()) == (False, True)


def _age(file: Path, seconds: float) -> None:
    at = file.stat().st_mtime - seconds
    os.utime(file, (at, at))


def test_several_at_once_share_one_key(env: Mapping[str, str], hub: FakeHub) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(mosu(env, "run_1").stdout)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4
    assert [path.name for path in folder(env).parent.iterdir()] == ["run_1"]


def test_it_waits_until_the_session_runs(env: Mapping[str, str], hub: FakeHub) -> None:
    hub.state, hub.connect_url = "queued", None
    process = subprocess.Popen(
        [sys.executable, "-m", "mosu.cli.main", "ssh", "run_1"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline().startswith("run_1 is queued. It is waited for;")
    hub.connect_url, hub.state = URL, "running"
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 9, err
    assert len(hub.certified) == 1


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"kind": "batch", "connect_url": None}, 3, "run_1 is no session"),
        ({"state": "succeeded", "connect_url": None}, 3, "run_1 is succeeded: there is nothing left"),
        ({"faults": {"POST /runs/run_1/ssh-certificates": [409]}}, 3, "The hub stumbles."),
        (
            {"certificate": {"certificate": "a\nb", "host_key": "c", "valid_until": "2026-12-01T12:00:00Z"}},
            4,
            "no certificate",
        ),
        (
            {"certificate": {"certificate": "a", "host_key": "c\nd", "valid_until": "2026-12-01T12:00:00Z"}},
            4,
            "no certificate",
        ),
    ],
)
def test_refusals(
    env: Mapping[str, str], hub: FakeHub, changes: Mapping[str, object], code: int, said: str
) -> None:
    for name, value in changes.items():
        setattr(hub, name, value)
    done = mosu(env, "run_1")
    assert (done.returncode, done.stdout) == (code, "") and said in done.stderr, done.stderr


def test_a_hub_that_names_another_run_writes_nowhere_else(
    env: Mapping[str, str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = hub.run() | {"id": "../../run_1"}
    monkeypatch.setattr(hub, "run", lambda: answer)
    done = mosu(env, "run_1")
    assert (done.returncode, "is not the id of a run" in done.stderr) == (2, True)


def test_without_ssh(env: Mapping[str, str], tmp_path: Path) -> None:
    done = mosu({**env, "PATH": str(tmp_path)}, "run_1")
    assert done.returncode == 2 and "apt-get install openssh-client" in done.stderr


def test_options_that_do_not_go_together(env: Mapping[str, str]) -> None:
    for words in (("--config", "--proxy", "run_1"), ("--config", "run_1", "ls")):
        assert mosu(env, *words).returncode == 2


def test_the_block_for_the_configuration(env: Mapping[str, str], hub: FakeHub) -> None:
    lines = mosu(env, "--config", "run_1").stdout.splitlines()
    assert lines[0] == "Host mosu-char-lm"
    assert lines[-1].startswith("Match originalhost mosu-char-lm exec ") and "--certify run_1" in lines[-1]


def test_the_proxy_says_why_nothing_comes(env: Mapping[str, str]) -> None:
    done = mosu(env, "--proxy", "run_1")
    assert (done.returncode, done.stdout) == (4, "") and "The relay does not answer" in done.stderr


def test_ssh_keygen_may_fail(env: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "ssh-keygen").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    done = mosu(env, "run_1")
    assert (done.returncode, "ssh-keygen made no key: no room" in done.stderr) == (3, True)
    assert not list(folder(env).parent.iterdir())


# What ssh calls.


@pytest.fixture
def proxy(env: Mapping[str, str], hub: FakeHub) -> Iterator["Proxy"]:
    with running_relay() as relay, socket.create_server(("127.0.0.1", 0)) as server:
        hub.connect_url = relay.url
        relay.ports[SSH_PORT] = server.getsockname()[1]
        server.settimeout(PATIENCE_S)
        yield Proxy(env, relay, server)


class Proxy:
    """`mosu ssh --proxy` and the server to which it leads."""

    def __init__(self, env: Mapping[str, str], relay: FakeRelay, server: socket.socket) -> None:
        self.env, self.relay, self.server = env, relay, server

    def started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mosu.cli.main", "ssh", "--proxy", "run_1"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.env, **pipes)

    def accepted(self) -> socket.socket:
        taken, _ = self.server.accept()
        taken.settimeout(PATIENCE_S)
        return taken


def read_all(taken: socket.socket) -> bytes:
    return b"".join(iter(lambda: taken.recv(1 << 20), b""))


def test_bytes_go_both_ways_to_the_end_of_each(proxy: Proxy) -> None:
    data = os.urandom(3_000_000)
    process = proxy.started()
    with ThreadPoolExecutor(2) as threads, proxy.accepted() as taken:
        written = threads.submit(process.communicate, data, PATIENCE_S)
        sent = threads.submit(taken.sendall, b"SSH-2.0-server\r\n" + data)
        assert read_all(taken) == data
        sent.result(PATIENCE_S)
        taken.shutdown(socket.SHUT_WR)
        assert written.result(PATIENCE_S) == (b"SSH-2.0-server\r\n" + data, b"")
    assert process.returncode == 0


def test_a_server_that_does_not_listen_yet_is_waited_for_and_nothing_is_lost(proxy: Proxy) -> None:
    refusal = {"type": "urn:mosu:not_joined", "title": "Nothing listens at port 2222."}
    proxy.relay.refusals[SSH_PORT] = (502, refusal)
    process = proxy.started()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"SSH-2.0-client\r\n")
    process.stdin.flush()
    until(lambda: len(proxy.relay.asked) >= 2, what="it tries again")
    del proxy.relay.refusals[SSH_PORT]
    with proxy.accepted() as taken:
        taken.sendall(b"SSH-2.0-server\r\n")
        assert taken.recv(100) == b"SSH-2.0-client\r\n"
    assert process.communicate(timeout=PATIENCE_S) == (b"SSH-2.0-server\r\n", b"")


def test_a_way_that_opens_before_anybody_listens_is_tried_again_too(proxy: Proxy) -> None:
    """As on Kubernetes, whose nodes say so only after they have opened it."""
    process = proxy.started()
    assert process.stdin is not None
    process.stdin.write(b"SSH-2.0-client\r\n")
    process.stdin.flush()
    for _ in range(2):
        proxy.accepted().close()
    with proxy.accepted() as taken:
        taken.sendall(b"SSH-2.0-server\r\n")
        assert taken.recv(100) == b"SSH-2.0-client\r\n"
    assert process.communicate(timeout=PATIENCE_S) == (b"SSH-2.0-server\r\n", b"")


def test_who_is_never_answered_is_told_where_it_says_why(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piping, "_STARTS_S_MAX", 0.0)
    with ThreadPoolExecutor(1) as threads, pytest.raises(Stop) as stop:
        threads.submit(lambda: proxy.accepted().close())
        piping.piped(Relay(proxy.relay.url, {"Authorization": f"Bearer {TOKEN}"}))
    assert "No ssh server answers in this session." in stop.value.text()
    assert "mosu logs" in stop.value.text()


def test_whatever_else_is_refused_is_told_at_once(proxy: Proxy) -> None:
    proxy.relay.refusals[SSH_PORT] = (
        403,
        {"title": "You may not do this.", "detail": "Ask the run's owner."},
    )
    done = mosu(proxy.env, "--proxy", "run_1")
    assert (done.returncode, done.stdout, len(proxy.relay.asked)) == (3, "", 1)
    assert "You may not do this." in done.stderr


def test_who_is_cut_off_is_told_why(proxy: Proxy) -> None:
    process = proxy.started()
    with proxy.accepted() as taken:
        taken.sendall(b"SSH-2.0-server\r\n")
        assert process.stdout is not None and process.stdout.readline() == b"SSH-2.0-server\r\n"
        proxy.relay.close_all(4403, "this person may no longer connect")
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3 and b"this person may no longer connect" in err


def note_relay(proxy: Proxy, **changes: str) -> None:
    """As `mosu ssh` does before it becomes `ssh`."""
    assert mosu(proxy.env, "--certify", "run_1").returncode == 0
    file = folder(proxy.env) / "relay.json"
    noted = json.loads(file.read_text())
    assert noted == {"hub": proxy.env["MOSU_URL"], "relay": proxy.relay.url}
    file.write_text(json.dumps(noted | changes))


def asked_for_the_run(hub: FakeHub) -> int:
    return hub.calls.count(("GET", "/runs/run_1"))


def greeted(proxy: Proxy) -> None:
    process = proxy.started()
    with proxy.accepted() as taken:
        taken.sendall(b"SSH-2.0-server\r\n")
    assert process.communicate(timeout=PATIENCE_S)[0] == b"SSH-2.0-server\r\n"


def test_where_the_session_is_reached_is_not_asked_twice(proxy: Proxy, hub: FakeHub) -> None:
    note_relay(proxy)
    before = asked_for_the_run(hub)
    greeted(proxy)
    assert asked_for_the_run(hub) == before


@pytest.mark.parametrize(
    "changes", [{"hub": "http://another.example"}, {"relay": "http://127.0.0.1:1"}, {"relay": "ws:///"}]
)
def test_the_token_goes_nowhere_but_where_this_hub_said(
    proxy: Proxy, hub: FakeHub, changes: dict[str, str]
) -> None:
    note_relay(proxy, **changes)
    before = asked_for_the_run(hub)
    greeted(proxy)
    assert asked_for_the_run(hub) == before + 1


def test_the_hub_is_asked_why_a_way_leads_nowhere_any_more(proxy: Proxy, hub: FakeHub) -> None:
    note_relay(proxy)
    proxy.relay.refusals[SSH_PORT] = (404, {"type": "urn:mosu:not_found", "title": "No such run."})
    hub.state, hub.connect_url = "succeeded", None
    done = mosu(proxy.env, "--proxy", "run_1")
    assert (done.returncode, "run_1 is succeeded: there is nothing left" in done.stderr) == (3, True)


def test_what_ssh_waits_for_loads_no_http_no_models_and_no_options(proxy: Proxy) -> None:
    note_relay(proxy)
    program = (
        "import sys\nfrom mosu.cli.main import run\n"
        "code = run(['ssh', '--proxy', 'run_1'])\nprint(code, *sys.modules, file=sys.stderr)"
    )
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], env=proxy.env, text=True, **pipes)
    with proxy.accepted() as taken:
        taken.sendall(b"SSH-2.0-server\r\n")
    code, *loaded = process.communicate(timeout=PATIENCE_S)[1].split()
    assert code == "0"
    assert {"httpx", "pydantic", "typer", "rich", "yaml", "pathspec"}.isdisjoint(loaded)
