"""A real ssh into a real session: hub, relay, agent and sandbox of `mosu up`, OpenSSH's own programs on both ends."""

import fcntl
import json
import os
import pty
import select
import shutil
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from mosu.compute.services.certificates import certificate_for
from mosu.kernel.ids import typeid, uuid7
from mosu.wire.ssh import SSH_PORT, SSHD
from tests.hub import MOSU, Hub, free_port, running_hub

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None or not os.access(SSHD, os.X_OK),
    reason="needs: apt-get install openssh-client openssh-server",
)

TASK = """
name: Lab 1
resources: {cpus: 1, memory: 1}
envs: {GREETING: 'say "hi" \\ $HOME', LD_LIBRARY_PATH: /nowhere, LINES_OF: "two\\nlines"}
mosu: {kind: session, apps: [ssh], wall_limit: 20m}
"""
WAITS_S = 60.0


@dataclass(frozen=True)
class Way:
    """A person with a session that runs, and what `ssh` needs to come there."""

    hub: Hub
    env: Mapping[str, str]
    run_id: str
    others_token: str

    def ssh(self, *words: str, given: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return self.called([*MOSU, "ssh", self.run_id, *words], given=given, **env)

    def called(
        self, words: Sequence[str | Path], *, given: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env={**self.env, **env}, input=given, capture_output=True, text=True, timeout=WAITS_S
        )

    @property
    def folder(self) -> Path:
        return Path(self.env["HOME"], ".config", "mosu", "ssh", self.run_id)

    @property
    def config(self) -> Path:
        return self.folder.parent / "config"


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    with running_hub(env={"MOSU_SSH_PORT": str(free_port())}) as hub:
        tokens = {
            name: hub.bootstrap(email=f"{name}@example.org", organisation=name, capabilities=capabilities)
            for name, capabilities in (("operator", ("operator",)), ("ada", ()), ("eve", ()))
        }
        checker = json.loads(
            hub.mosu("admin", "staff", "--email", "c@example.org", "--role", "checker", "--json").stdout
        )
        ada = tokens["ada"]["token"]
        organisation = hub.mosu("api", "get", "/me", "--get", "organisation.id", token=ada).stdout.strip()
        deposit = hub.mosu(
            *("api", "post", "/deposits", f"organisation_id={organisation}", "amount=100.00"),
            *("bank_reference=B-1", "--get", "id"),
            token=tokens["operator"]["token"],
        ).stdout.strip()
        done = hub.mosu("api", "post", f"/deposits/{deposit}/confirm", token=checker["token"])
        assert done.returncode == 0, done.stderr
        way = Way(
            hub,
            {
                **hub.env,
                "MOSU_URL": hub.url,
                "MOSU_TOKEN": ada,
                "MOSU_LANG": "en",
                "TERM": "xterm",
            },
            _session(hub, ada, TASK),
            tokens["eve"]["token"],
        )
        block = way.called([*MOSU, "ssh", "--config", way.run_id])
        assert block.returncode == 0, block.stderr
        way.config.write_text(block.stdout)
        yield way


def _session(hub: Hub, token: str, task: str) -> str:
    """Bought as soon as the hub's own pool is on sale."""
    until = time.monotonic() + WAITS_S
    file = hub.data_dir.parent / "task.yaml"
    file.write_text(task)
    while True:
        done = hub.mosu("run", "--yes", "--detach", str(file), token=token)
        if done.returncode == 0:
            return done.stdout.strip()
        assert time.monotonic() < until, done.stderr


def until(condition: Any, *, what: str) -> None:
    ends = time.monotonic() + WAITS_S
    while not condition():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


def test_a_command_its_exit_code_and_its_streams(way: Way) -> None:
    done = way.ssh("cat; echo aside >&2; exit 7", given="through and back\n")
    assert (done.returncode, done.stdout) == (7, "through and back\n"), done.stderr
    assert done.stderr.splitlines()[-1] == "aside"
    assert way.ssh("-v", "true").stderr.count("Server host key: ssh-ed25519") == 1


def test_a_shell_has_what_the_task_gave(way: Way) -> None:
    said = way.ssh("env; which python3; id -un; umask; pwd; hostname; stat -c %a $MOSU_SECRETS/*").stdout
    for line in (
        'GREETING=say "hi" \\ $HOME',
        "LD_LIBRARY_PATH=/opt/env/lib",
        "PATH=/opt/env/bin:/usr/local/bin:/usr/bin:/bin",
        "/opt/env/bin/python3",
        "runner",
        "0022",
        "/work",
        "sandbox",
        "600",
    ):
        assert f"\n{line}\n" in f"\n{said}", said
    assert "LINES_OF" not in said, "a line break cannot be handed on"
    assert "MOSU_TOKEN" not in said


class Terminal:
    """`ssh -t` with a terminal of its own, as a person has it."""

    def __init__(self, way: Way, *words: str) -> None:
        self.screen = ""
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execve(MOSU[0], [*MOSU, "ssh", way.run_id, *words], dict(way.env))
        self.pid = pid

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def see(self, text: str) -> None:
        ends = time.monotonic() + WAITS_S
        while text not in self.screen:
            assert select.select([self.fd], [], [], ends - time.monotonic())[0], self.screen
            self.screen += os.read(self.fd, 65_536).decode()
        self.screen = self.screen.partition(text)[2]

    def end(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_a_terminal_its_size_and_ctrl_c(way: Way) -> None:
    terminal = Terminal(way)
    terminal.resize(40, 100)
    terminal.type("tty; stty size; echo $TERM; echo rea''dy\n")
    terminal.see("/dev/pts/")
    terminal.see("40 100")
    terminal.see("xterm")
    terminal.see("ready")
    terminal.resize(50, 132)
    # Who says so is the one that Ctrl-C ends: between `echo` and `sleep` of the shell itself it may end neither.
    resized = 'sh -c \'until [ "$(stty size)" = "50 132" ]; do :; done; echo resi""zed; exec sleep 300\''
    terminal.type(f"{resized}\n")
    terminal.see("resized")
    terminal.type("\x03")
    terminal.see("^C")
    terminal.see("$ ")  # what is typed before the shell reads again may be lost
    terminal.type("echo ended with $?\n")
    terminal.see("ended with 130")
    terminal.type("exit 3\n")
    assert terminal.end() == 3


def test_scp_sftp_and_rsync_by_name(way: Way, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(data)
    config = str(way.config)
    there, back = tmp_path / "there", tmp_path / "back"
    for words in ((there, "mosu-lab-1:kept"), ("-O", "mosu-lab-1:kept", back)):  # over sftp, and as of old
        done = way.called(["scp", "-q", "-F", config, *words])
        assert done.returncode == 0, done.stderr
    assert back.read_bytes() == data
    back.unlink()
    done = way.called(
        ["sftp", "-q", "-F", config, "mosu-lab-1"], given=f"rename kept moved\nget moved {tmp_path}/back\n"
    )
    assert done.returncode == 0 and (tmp_path / "back").read_bytes() == data, done.stderr
    if shutil.which("rsync"):
        done = way.called(["rsync", "-a", "-e", f"ssh -F {config}", f"{tmp_path}/there", "mosu-lab-1:synced"])
        assert done.returncode == 0, done.stderr
        assert way.ssh("cmp moved synced").returncode == 0


def test_ports_are_forwarded_and_lead_nowhere_but_into_the_session(way: Way) -> None:
    port, proxy = free_port(), free_port()
    server = way.ssh(
        "python3 -m http.server 8123 --bind 127.0.0.1 > web.log 2>&1 & echo $! > web.pid; echo page > page"
    )
    assert server.returncode == 0, server.stderr
    forward = subprocess.Popen(
        [
            *(*MOSU, "ssh", way.run_id, "-N", "-o", "ExitOnForwardFailure=yes"),
            *("-L", f"{port}:127.0.0.1:8123", "-D", f"127.0.0.1:{proxy}"),
        ],
        env=way.env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: _listens(port) and _listens(proxy), what="the forwards listen")
        assert _page(f"http://127.0.0.1:{port}/page") == "page\n"
        through = ("--socks5-hostname", f"127.0.0.1:{proxy}")
        assert _page("http://127.0.0.1:8123/page", *through) == "page\n"
        assert _page(f"{way.hub.url}/healthz") != ""
        for beside in (f"{way.hub.url}/healthz", "http://169.254.169.254/", "http://192.0.2.1/"):
            assert _page(beside, *through) == ""
    finally:
        forward.terminate()
        forward.communicate()
    back = way.ssh("-o", "ExitOnForwardFailure=yes", "-R", "9999:127.0.0.1:22", "true")
    assert back.returncode == 255 and "remote port forwarding failed" in back.stderr
    assert way.ssh("kill $(cat web.pid)").returncode == 0


def _page(url: str, *options: str) -> str:
    words = ["curl", "-s", "--max-time", "20", *options, url]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_key_and_certificate_are_for_their_owner_alone(way: Way) -> None:
    assert way.ssh("true").returncode == 0
    assert way.folder.stat().st_mode & 0o777 == way.folder.parent.stat().st_mode & 0o777 == 0o700
    for name in ("key", "key-cert.pub", "known_hosts"):
        assert (way.folder / name).stat().st_mode & 0o077 == 0
    assert not list(way.folder.parent.glob(".new-*"))


def test_who_comes_and_says_nothing_keeps_nobody_out(way: Way) -> None:
    forward = subprocess.Popen(
        [*MOSU, "port-forward", "--json", way.run_id, f"0:{SSH_PORT}"],
        env=way.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    silent: list[socket.socket] = []
    try:
        assert forward.stdout is not None
        port = json.loads(forward.stdout.readline())["local_port"]
        for _ in range(60):
            silent.append(socket.create_connection(("127.0.0.1", port), timeout=WAITS_S))
        for one in silent:
            assert one.recv(4) == b"SSH-"
        for _ in range(3):
            assert way.ssh("true").returncode == 0
    finally:
        for one in silent:
            one.close()
        forward.terminate()
        forward.communicate()


# The hub's own port, without the command line.


@dataclass(frozen=True)
class Plain:
    """OpenSSH's own programs and what the API gave: no `mosu` on the way."""

    config: Path
    key: Path
    jump: Mapping[str, Any]

    def called(self, way: Way, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return way.called([words[0], "-F", self.config, *words[1:]], given=given, PATH="/usr/bin:/bin")


def plain(way: Way, folder: Path) -> Plain:
    key, config, known = folder / "id", folder / "config", folder / "known"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = (folder / "id.pub").read_text()
    path = f"/runs/{way.run_id}/ssh-certificates"
    said = way.hub.mosu(*("api", "post", path, f"public_key={public}"), token=way.env["MOSU_TOKEN"])
    assert said.returncode == 0, said.stderr
    made = json.loads(said.stdout)
    (folder / "id-cert.pub").write_text(made["certificate"] + "\n")
    jump = made["jump"]
    known.write_text(f"{way.run_id} {made['host_key']}\nthe-hub {jump['host_key']}\n")
    config.write_text(
        f"Host the-hub\n HostName {jump['host']}\n Port {jump['port']}\n User {jump['user']}\n"
        " HostKeyAlias the-hub\n"
        f"Host lab\n HostName {way.run_id}\n Port {SSH_PORT}\n User runner\n ProxyJump the-hub\n"
        f" HostKeyAlias {way.run_id}\n"
        f"Host *\n IdentityFile {key}\n IdentitiesOnly yes\n UserKnownHostsFile {known}\n"
        " StrictHostKeyChecking yes\n BatchMode yes\n"
    )
    return Plain(config, key, jump)


def test_plain_ssh_comes_in_by_the_hubs_own_port(way: Way, tmp_path: Path) -> None:
    ssh = plain(way, tmp_path)
    done = ssh.called(way, "ssh", "lab", "cat; exit 7", given="through and back\n")
    assert (done.returncode, done.stdout) == (7, "through and back\n"), done.stderr
    data = os.urandom(3_000_000)
    (tmp_path / "there").write_bytes(data)
    for source, target in ((tmp_path / "there", "lab:plain"), ("lab:plain", tmp_path / "back")):
        done = ssh.called(way, "scp", "-q", str(source), str(target))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == data
    listed = json.loads(way.called([*MOSU, "connections", "--json", way.run_id]).stdout)
    assert any(one["port"] == SSH_PORT and one["bytes_in"] > len(data) for one in listed["items"])


def test_the_hubs_own_port_leads_nowhere_else(way: Way, tmp_path: Path) -> None:
    ssh = plain(way, tmp_path)
    shell = ssh.called(way, "ssh", "the-hub", "id")
    assert shell.returncode == 255 and shell.stdout == ""
    for target in (
        f"{way.run_id}:8123",
        "127.0.0.1:22",
        "169.254.169.254:80",
        f"run_{'0' * 26}:2222",
        "x:2222",
    ):
        done = ssh.called(way, "ssh", "-W", target, "the-hub")
        assert (done.returncode, done.stdout) == (255, ""), target
        assert "open failed" in done.stderr, done.stderr
    for words in (("-R", "0:127.0.0.1:22"), ("-L", f"{free_port()}:/tmp/x", "-s", "sftp")):
        done = ssh.called(way, "ssh", "-o", "ExitOnForwardFailure=yes", *words, "the-hub")
        assert done.returncode == 255, done.stderr


def test_who_has_no_certificate_of_the_hub_is_refused_at_its_port(way: Way, tmp_path: Path) -> None:
    ssh = plain(way, tmp_path)
    assert ssh.called(way, "ssh", "lab", "true").returncode == 0
    for words in (("-o", "User=root"), ("-o", f"User={typeid('user', uuid7())}")):
        assert (
            "Permission denied"
            in ssh.called(way, "ssh", *words, "-W", f"{way.run_id}:2222", "the-hub").stderr
        )
    (tmp_path / "id-cert.pub").unlink()
    assert "Permission denied" in ssh.called(way, "ssh", "-W", f"{way.run_id}:2222", "the-hub").stderr
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own], check=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", own, "-I", "me", "-n", ssh.jump["user"], tmp_path / "id.pub"], check=True
    )
    assert "Permission denied" in ssh.called(way, "ssh", "-W", f"{way.run_id}:2222", "the-hub").stderr


def test_who_says_nothing_there_keeps_nobody_out(way: Way, tmp_path: Path) -> None:
    ssh = plain(way, tmp_path)
    silent = [
        socket.create_connection((ssh.jump["host"], ssh.jump["port"]), timeout=WAITS_S) for _ in range(60)
    ]
    try:
        assert ssh.called(way, "ssh", "lab", "echo in").stdout == "in\n"
    finally:
        for one in silent:
            one.close()


# Who is refused.


def bare(config: Path, way: Way, *options: str) -> subprocess.CompletedProcess[str]:
    return way.called(["ssh", "-F", config, "-o", "BatchMode=yes", *options, "mosu-lab-1", "echo in"])


def test_what_is_no_certificate_of_this_session_is_refused(way: Way, tmp_path: Path, settings: Any) -> None:
    """With our own key, and certificates as the hub itself would sign them."""
    assert bare(way.config, way).stdout == "in\n"
    key, signed, config = tmp_path / "key", tmp_path / "key-cert.pub", tmp_path / "config"
    shutil.copy(way.folder / "key", key)
    config.write_text(way.config.read_text().replace(str(way.folder / "key"), str(key)))
    plain = bare(config, way)
    assert plain.returncode == 255 and "Permission denied (publickey)" in plain.stderr
    settings.MOSU_ENCRYPTION_KEY = (way.hub.data_dir / "secrets" / "encryption_key").read_text().strip()
    public = load_ssh_public_key((way.folder / "key.pub").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    said = way.called(["ssh-keygen", "-L", "-f", way.folder / "key-cert.pub"]).stdout
    ours = said.partition("Principals:")[2].split()[0]
    other = typeid("attempt", uuid7())
    now, hour = datetime.now(UTC), timedelta(hours=1)
    for principal, since, ends, comes_in in (
        (ours, now - hour, now + hour, True),
        (other, now - hour, now + hour, False),
        (ours, now - hour, now - hour / 60, False),
        (ours, now + hour / 60, now + hour, False),
    ):
        signed.write_text(
            certificate_for(public, principals=[principal], key_id="user_1", since=since, until=ends)
        )
        done = bare(config, way)
        assert (done.stdout == "in\n") is comes_in, done.stderr
        assert comes_in or "Permission denied (publickey)" in done.stderr
    log = way.called([*MOSU, "logs", way.run_id]).stdout
    assert "Certificate invalid: expired" in log and "Certificate invalid: not yet valid" in log
    assert "Certificate does not contain an authorized principal" in log


def test_another_host_key_is_refused_without_a_question(way: Way, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "false"], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"{way.run_id} {(tmp_path / 'false.pub').read_text()}")
    done = bare(way.config, way, "-o", f"UserKnownHostsFile={known}")
    assert done.returncode == 255 and "Host key verification failed" in done.stderr
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_another_organisation_is_refused_with_our_certificate_too(way: Way) -> None:
    assert way.ssh("true").returncode == 0  # the certificate lies there, fresh
    for words in ((), ("--certify",), ("--config",), ("--proxy",)):
        done = way.called([*MOSU, "ssh", *words, way.run_id], MOSU_TOKEN=way.others_token)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert "There is no such run." in done.stderr


def test_what_is_no_session_with_ssh(way: Way, tmp_path: Path) -> None:
    assert "is not the id of a run" in way.called([*MOSU, "ssh", "run_1"]).stderr
    done = way.called([*MOSU, "ssh", way.run_id], PATH=str(tmp_path))
    assert (done.returncode, "There is no ssh on this machine." in done.stderr) == (2, True)


def test_the_end_of_the_session_ends_it_all(way: Way) -> None:
    """The last one here: nothing of it is left afterwards."""
    held = subprocess.Popen(
        [*MOSU, "ssh", way.run_id, "echo held; sleep 300"],
        env=way.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None and held.stdout.readline() == "held\n"
    servers = _servers(way)
    assert len(servers) >= 3
    assert way.called([*MOSU, "cancel", way.run_id]).returncode == 0
    held.communicate(timeout=WAITS_S)
    assert held.returncode == 255
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in servers), what="no server is left")
    done = way.ssh("true")
    assert (done.returncode, "there is nothing left to connect to" in done.stderr) == (3, True)


def _servers(way: Way) -> list[int]:
    """Processes of sshd in the session's sandbox."""
    (state,) = way.hub.data_dir.rglob("attempts/*/state.json")
    found, todo = [], [json.loads(state.read_text())["pids"][0][0]]
    while todo:
        pid = todo.pop()
        todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
            found.append(pid)
    return found
