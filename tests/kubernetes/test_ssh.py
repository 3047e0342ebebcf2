"""A real ssh into a session on the fake cluster: OpenSSH's own programs on both ends, joined by `portforward`."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from tests.kubernetes.bench import KubernetesBench, kubernetes_bench
from tests.kubernetes.cluster import IMAGE
from tests.kubernetes.test_sessions import over
from tests.patience import PATIENCE_S
from tests.site_agent.contract import end_of, log_of, started, submitted
from tests.site_agent.lab import WAITS, until

from mosu.compute.services.certificates import certificate_for
from mosu.compute.session_apps import script_with, secrets_of
from mosu.compute.session_apps.ssh import host_key_of
from mosu.kernel.ids import typeid, uuid7
from mosu.site_agent.config import AgentConfig
from mosu.site_agent.engines.choice import environments_of
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase
from mosu.wire.ssh import SSH_PORT, SSHD

needs_openssh = pytest.mark.skipif(
    shutil.which("ssh") is None or not os.access(SSHD, os.X_OK),
    reason="needs: apt-get install openssh-client openssh-server",
)


@pytest.fixture
def bench(settings: Any) -> Iterator[KubernetesBench]:
    settings.MOSU_ENCRYPTION_KEY = "the hub's own"
    with kubernetes_bench() as found:
        yield found


def with_ssh(bench: KubernetesBench, run: str = "") -> EngineRef:
    """A session as the hub would order it."""
    attempt_id = typeid("attempt", uuid7())
    return submitted(
        bench,
        bench.spec(
            script_with(("ssh",), run),
            attempt_id=attempt_id,
            session=True,
            secrets=secrets_of(("ssh",), attempt_id),
            envs={"GREETING": "say hi"},
        ),
    )


@dataclass(frozen=True)
class Person:
    """Who has a key, the hub's certificate for it, and a way to the session's port."""

    folder: Path

    def ssh(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return self.called("ssh", "lab", *words, given=given)

    def called(self, program: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [program, "-F", str(self.folder / "config"), *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=PATIENCE_S)


@contextmanager
def person(
    bench: KubernetesBench, ref: EngineRef, folder: Path, principals: Sequence[str]
) -> Iterator[Person]:
    key = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = load_ssh_public_key((folder / "id.pub").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    now, hour = datetime.now(UTC), timedelta(hours=1)
    certificate = certificate_for(
        public, principals=principals, key_id="user_1", since=now - hour, until=now + hour
    )
    (folder / "id-cert.pub").write_text(certificate + "\n")
    (folder / "known").write_text(f"lab {host_key_of(ref)}\n")
    with socket.create_server(("127.0.0.1", 0)) as door:
        (folder / "config").write_text(
            f"Host lab\n HostName 127.0.0.1\n Port {door.getsockname()[1]}\n User runner\n HostKeyAlias lab\n"
            f" IdentityFile {key}\n IdentitiesOnly yes\n UserKnownHostsFile {folder / 'known'}\n"
            " StrictHostKeyChecking yes\n BatchMode yes\n"
        )
        leading = threading.Thread(target=_lead, args=(door, bench, ref))
        leading.start()
        try:
            yield Person(folder)
        finally:
            door.shutdown(socket.SHUT_RDWR)
            leading.join()


def _lead(door: socket.socket, bench: KubernetesBench, ref: EngineRef) -> None:
    """Each who comes to the door is joined to the session's port."""
    with ThreadPoolExecutor(8) as joining:
        while True:
            try:
                taken, _ = door.accept()
            except OSError:
                return
            joining.submit(_join, taken, bench.engine.connect(ref, SSH_PORT))


def _join(taken: socket.socket, inside: socket.socket) -> None:
    with taken, inside, ThreadPoolExecutor(2) as copying:
        copying.submit(_copy, taken, inside)
        copying.submit(_copy, inside, taken)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until either side is over; then both are."""
    with suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def listens(bench: KubernetesBench, ref: EngineRef) -> None:
    until(lambda: "Server listening on 127.0.0.1 port 2222" in log_of(bench, ref), what="sshd listens")


@needs_openssh
def test_a_person_comes_in_and_is_runner(bench: KubernetesBench, tmp_path: Path) -> None:
    ref = with_ssh(bench)
    listens(bench, ref)
    with person(bench, ref, tmp_path, [ref]) as ada:
        done = ada.ssh("cat; id -un; id -gn; pwd; echo ~; echo $GREETING; exit 7", given="through\n")
        assert (done.returncode, done.stdout) == (
            7,
            "through\nrunner\nrunner\n/work\n/work\nsay hi\n",
        ), done.stderr
        terminal = ada.ssh("-tt", "tty; id -u")
        assert terminal.stdout.startswith("/dev/pts/"), terminal.stderr
        assert ada.ssh("echo x >> /etc/passwd").returncode != 0
        (tmp_path / "there").write_bytes(os.urandom(1_000_000))
        for source, target in ((tmp_path / "there", "lab:kept"), ("lab:kept", tmp_path / "back")):
            copied = ada.called("scp", "-q", str(source), str(target))
            assert copied.returncode == 0, copied.stderr
        assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    over(bench, ref)


@needs_openssh
def test_who_has_another_sessions_certificate_stays_out(bench: KubernetesBench, tmp_path: Path) -> None:
    ref = with_ssh(bench)
    listens(bench, ref)
    with person(bench, ref, tmp_path, [typeid("attempt", uuid7())]) as eve:
        done = eve.ssh("echo in")
        assert (done.returncode, done.stdout) == (255, "") and "Permission denied (publickey)" in done.stderr
    over(bench, ref)


def test_an_image_without_a_server_says_so(bench: KubernetesBench) -> None:
    """A session that has nothing else ends; one with a command of its own goes on."""
    bench.cluster.controllers.hidden = [SSHD]
    said = f"mosu: this session has no ssh: there is no OpenSSH server here ({SSHD})\n"
    alone, beside = with_ssh(bench), with_ssh(bench, f"echo up; {WAITS}")
    ended = end_of(bench, alone)
    assert (ended.seen.phase, ended.seen.exit_code, ended.log) == (AttemptPhase.FAILED, 127, said)
    until(
        lambda: {"up\n", said} == set(log_of(bench, beside).splitlines(keepends=True)), what="both are said"
    )
    over(bench, beside)


def test_other_runs_see_the_users_of_their_image(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo $(wc -l < /etc/passwd); {WAITS}", session=True), says="3\n")
    over(bench, ref)
    ended = end_of(bench, submitted(bench, bench.spec("[ -e /etc/passwd ] || echo none")))
    assert ended.log == "none\n"


def test_ssh_is_sold_where_every_image_says_that_it_has_it(bench: KubernetesBench) -> None:
    has, lacks = (
        {"image": IMAGE, "packages": ["openssh-server==9.6"]},
        {"image": IMAGE, "packages": ["openssh==9"]},
    )
    for images, sold in (({"a": has}, True), ({"a": has, "b": lacks}, False), ({"b": lacks}, False)):
        assert bench.restarted(images=images).has_sshd is sold
        options = {"folder": "/f", "volume": {"nfs": {}}, "cluster_queue": "q", "images": images}
        config = AgentConfig("http://hub", "", Path("/s"), (), engine="kubernetes", options=options)
        told = {one.name: one.has_sshd for one in environments_of(config, ())}
        assert told == {name: image is has for name, image in images.items()}
