"""A notebook from end to end: the tutorial, and what JupyterLab does in its sandbox."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from mosu.compute.session_apps import APPS, script_with, secrets_of
from mosu.kernel.reaching import NotReached
from mosu.sandbox.environments import Environment
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase
from tests.docs.test_tutorials import ROOT, follow
from tests.site_agent.lab import MIB, Lab, of_processes, open_folder, until

pytestmark = pytest.mark.environments
ENVIRONMENT = "jupyter"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("your-first-notebook*.md"))
APP = APPS["jupyter"]
HOST = "8888-run-1.apps.hub.example"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tutorial(page: Path, data_dir: Path, tmp_path: Path) -> None:
    follow(page, tmp_path, {}, data_dir=data_dir)


class Served:
    """JupyterLab as the hub starts it, in a session of the local engine."""

    def __init__(self, lab: Lab, attempt_id: str) -> None:
        secrets = secrets_of(["jupyter"], attempt_id)
        [self.token] = secrets.values()
        self.lab = lab
        self.ref: EngineRef = lab.start(
            script_with(["jupyter"], ""),
            session=True,
            environment="jupyter",
            memory_bytes=1024 * MIB,
            secrets=secrets,
        )
        until(self.answers, within_s=300, every_s=0.1, what="JupyterLab answers")

    def answers(self) -> bool:
        assert self.lab.seen(self.ref).phase == AttemptPhase.RUNNING, self.lab.log(self.ref)
        try:
            self.lab.engine.connect(self.ref, APP.port).close()
        except NotReached:
            return False
        return True

    def ask(self, method: str, path: str, *, key: bool = True, **headers: str) -> tuple[int, str]:
        """Status and answer, over a connection of its own."""
        sent = {"Host": HOST, "Connection": "close", "Content-Length": "0"} | headers
        sent |= {"Authorization": f"token {self.token}"} if key else {}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        with self.lab.engine.connect(self.ref, APP.port) as taken:
            taken.settimeout(120)
            taken.sendall("\r\n".join([*lines, "", ""]).encode())
            said = _read(taken, head_only="Upgrade" in sent).decode(errors="replace")
        return int(said.split()[1]), said


def _read(taken: socket.socket, *, head_only: bool) -> bytes:
    """All that it sends until it closes; of what stays open, the head."""
    data = b""
    while not (head_only and b"\r\n\r\n" in data) and (chunk := taken.recv(65_536)):
        data += chunk
    return data


@pytest.fixture(scope="module")
def served(jupyter: Environment) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch, open_folder() as folder:
        patch.setattr("django.conf.settings.MOSU_ENCRYPTION_KEY", Fernet.generate_key().decode())
        yield Served(Lab(folder / "state", jupyter), "attempt_1")


def test_who_has_no_token_comes_nowhere(served: Served) -> None:
    for path in ("/api/contents", "/api/kernels", "/api/terminals", f"/api/contents?token={'0' * 64}"):
        assert served.ask("GET", path, key=False)[0] == 403, path
    assert served.ask("POST", "/api/shutdown", key=False)[0] == 403
    assert served.ask("GET", "/lab", key=False)[0] == 302  # to where it asks for the token


def test_its_path_opens_it_under_every_name(served: Served) -> None:
    for host in (HOST, "127.0.0.1:40001"):
        status, said = served.ask("GET", f"/lab?token={served.token}", key=False, Host=host)
        assert status == 200 and "jupyter-config-data" in said


def test_a_foreign_page_joins_no_kernel(served: Served) -> None:
    """Though the browser would send the cookie along."""
    kernel = re.search(r'"id": ?"([0-9a-f-]{36})"', served.ask("POST", "/api/kernels")[1])
    assert kernel is not None
    path = f"/api/kernels/{kernel[1]}/channels"
    cookie = re.search(
        r"(?i)set-cookie: (username-[^;]+)", served.ask("GET", f"/lab?token={served.token}", key=False)[1]
    )
    assert cookie is not None
    how: dict[str, Any] = {**UPGRADE, "Cookie": cookie[1], "key": False}
    assert served.ask("GET", path, **how, Origin="https://evil.example")[0] == 403
    assert served.ask("GET", path, **how, Origin=f"https://{HOST}")[0] == 101


def test_its_own_files_stay_out_of_the_working_folder(served: Served) -> None:
    assert list((served.lab.attempt(served.ref) / "work").iterdir()) == []


def test_its_token_is_in_no_log_no_argument_and_no_variable(served: Served) -> None:
    served.ask("GET", f"/nothing?token={served.token}", key=False)
    # It writes both down, and is read, after it has answered.
    for line in ("/lab?token=...", "/nothing"):
        until(lambda: line in served.lab.log(served.ref), what=line)  # noqa: B023
    assert served.token not in served.lab.log(served.ref)
    for name in ("cmdline", "environ"):
        for pid, told in of_processes(name).items():
            assert served.token.encode() not in told, (pid, name)


def test_when_it_is_shut_down_the_session_ends(served: Served) -> None:
    assert served.ask("POST", "/api/shutdown")[0] == 200
    assert served.lab.wait(served.ref).seen.exit_code == 0
