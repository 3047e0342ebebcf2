"""`kill -9` to a part of a real hub while streams to a session are under load: relay, agent, web.

What breaks off is told to its client, by a reset and never as if it were the end; the session lives on, is billed once, and
leaves no process behind.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.hub import MOSU, Hub, running_hub
from tests.site_agent.lab import processes_that_name, until

from mosu.client import Client

STREAMS = 8
BLOCK = os.urandom(1 << 16)
BORN_BYTES = 16
ENDED = "an end in the middle"
WAITS_S = 300.0
"""For what never comes, not for what is slow."""
DEPOSIT, PER_CORE_HOUR = Decimal(100), Decimal(72)
APP = """
import os, socket, threading
born = os.urandom(16)
def serve(joined):
    joined.sendall(born)
    while data := joined.recv(65536):
        joined.sendall(data)
    joined.close()
server = socket.create_server(("127.0.0.1", 8000), backlog=200)
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
"""It says first which process it is, then gives back what it is sent."""


class Stream(threading.Thread):
    """A client that sends and reads without pause, and connects again whenever it is cut off."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.echoes = self.cuts = 0
        self.born = set[bytes]()
        self.faults: list[str] = []
        self.leaving = threading.Event()

    def run(self) -> None:
        while not self.leaving.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=WAITS_S) as joined:
                    self.born.add(self._read(joined, BORN_BYTES))
                    while not self.leaving.is_set():
                        joined.sendall(BLOCK)
                        if self._read(joined, len(BLOCK)) != BLOCK:
                            self.faults.append("other bytes than were sent")
                        self.echoes += 1
            except ConnectionError:
                self.cuts += 1
                self.leaving.wait(0.1)
            except TimeoutError:
                self.faults.append("cut off, and not told")

    def _read(self, joined: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = joined.recv(count - len(data))
            if not part:
                self.faults.append(ENDED)
                raise ConnectionError
            data += part
        return data


@dataclass
class Crowd:
    """People at a session, each with a stream under load."""

    hub: Hub
    client: Client
    run_id: str
    marker: str
    """In the arguments of the session's process."""
    forward: "subprocess.Popen[str]"
    bought_at: float
    streams: list[Stream] = field(default_factory=list)

    def pid_of(self, part: str) -> int:
        """0 while it is away."""
        pid: int = json.loads((self.hub.data_dir / "up.json").read_text())["parts"][part]["pid"] or 0
        return pid

    def kill(self, part: str) -> int:
        """The process that it hit, once there is one: a test that failed may have left it away."""
        pids: list[int] = []

        def is_there() -> bool:
            pids[:] = [self.pid_of(part)]
            return pids != [0]

        until(is_there, within_s=WAITS_S, what=part)
        os.kill(pids[0], signal.SIGKILL)
        return pids[0]

    def begin(self) -> None:
        """All talk, and what a test before found is its own."""
        self.until_all_talk()
        for stream in self.streams:
            stream.faults.clear()
            stream.born.clear()

    def until_again(self, part: str, killed: int) -> None:
        until(lambda: self.pid_of(part) not in (0, killed), within_s=WAITS_S, what=f"another {part}")

    def until_all_talk(self) -> None:
        before = [stream.echoes for stream in self.streams]
        until(
            lambda: all(one.echoes > n + 1 for one, n in zip(self.streams, before, strict=True)),
            within_s=WAITS_S,
            what="every stream goes on",
        )

    def last_words(self) -> str:
        return (
            f"cuts {self.cuts}, faults {[stream.faults for stream in self.streams]}\n{self.hub.last_words()}"
        )

    @property
    def cuts(self) -> list[int]:
        return [stream.cuts for stream in self.streams]


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with running_hub() as hub:
        token = rich_buyer(hub)
        with Client(hub.url, token) as client:
            marker = f"echo-{uuid4().hex}"
            bought_at = time.monotonic()
            run_id = bought(client, marker)
            until(lambda: "up" in client.log(run_id), within_s=WAITS_S, every_s=0.2, what="the app listens")
            # Its log comes on a way of its own, and may be here before the word that it runs.
            until(
                lambda: client.run(run_id).state == "running", within_s=WAITS_S, every_s=0.2, what="it runs"
            )
            with forwarded(hub, token, run_id) as (forward, port):
                crowd = Crowd(hub, client, run_id, marker, forward, bought_at)
                crowd.streams = [Stream(port) for _ in range(STREAMS)]
                for stream in crowd.streams:
                    stream.start()
                yield crowd
                for stream in crowd.streams:
                    stream.leaving.set()


def rich_buyer(hub: Hub) -> str:
    """The token of somebody with a deposit, on a hub whose own cores cost enough for a second to show on a receipt."""
    operator = hub.bootstrap(email="o@example.org", organisation="Hub", capabilities=("operator",))["token"]
    ada = hub.bootstrap(email="ada@example.org", organisation="Ada's lab")["token"]
    staff = hub.mosu("admin", "staff", "--email", "c@example.org", "--role", "checker", "--json")
    checker = json.loads(staff.stdout)["token"]

    def asked(method: str, path: str, token: str, body: Any = None) -> Any:
        answer = httpx.request(
            method,
            f"{hub.url}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        assert answer.is_success, answer.text
        return answer.json()

    paid = asked(
        "POST",
        "/deposits",
        operator,
        {
            "organisation_id": asked("GET", "/me", ada)["organisation"]["id"],
            "amount": f"{DEPOSIT}.00",
            "bank_reference": "B-1",
        },
    )
    asked("POST", f"/deposits/{paid['id']}/confirm", checker)
    until(
        lambda: asked("GET", "/offers?shelf=compute", operator)["items"],
        within_s=WAITS_S,
        every_s=0.2,
        what="an offer",
    )
    [offer] = asked("GET", "/offers?shelf=compute", operator)["items"]
    price = {"meter": "core_second", "unit": "core_hour", "unit_price": f"{PER_CORE_HOUR}", "confirmed": True}
    asked("PATCH", f"/offers/{offer['id']}/price", operator, price)
    return str(ada)


def bought(client: Client, marker: str) -> str:
    """The run of a session that echoes, as soon as the hub's own pool is on sale."""
    task = {
        "run": f"cat > {marker}.py <<'END'\n{APP}END\nexec python3 {marker}.py",
        "resources": {"cpus": 1, "memory": 1},
        "mosu": {"kind": "session", "wall_limit": "30m"},
    }
    quotes = list[Any]()

    def quoted() -> bool:
        quotes[:] = client.make_quotes(json.dumps(task)).quotes
        return bool(quotes)

    until(quoted, within_s=WAITS_S, every_s=0.5, what="a quote")
    run_id = client.accept(quotes[0].id).run_id
    assert run_id is not None
    return run_id


@contextmanager
def forwarded(hub: Hub, token: str, run_id: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    env = {**hub.env, "MOSU_URL": hub.url, "MOSU_TOKEN": token, "MOSU_LANG": "en"}
    words = [*MOSU, "port-forward", "--json", run_id, "0:8000"]
    with subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as forward:
        try:
            assert forward.stdout is not None
            yield forward, json.loads(forward.stdout.readline())["local_port"]
        finally:
            forward.terminate()


@pytest.mark.parametrize("part", ["relay", "agent"])
def test_what_carries_streams_is_killed(crowd: Crowd, part: str) -> None:
    """Each stream is told and comes back, to the same process of the same session."""
    crowd.begin()
    before = crowd.cuts
    killed = crowd.kill(part)
    crowd.until_again(part, killed)
    until(
        lambda: all(now > then for now, then in zip(crowd.cuts, before, strict=True)),
        within_s=WAITS_S,
        what="every client is told",
    )
    crowd.until_all_talk()
    assert len({born for stream in crowd.streams for born in stream.born}) == 1
    assert [stream.faults for stream in crowd.streams] == [[]] * STREAMS
    assert crowd.client.run(crowd.run_id).state == "running"


def test_streams_do_not_feel_the_web(crowd: Crowd) -> None:
    crowd.begin()
    before = crowd.cuts
    killed = crowd.kill("web")
    crowd.until_all_talk()
    crowd.until_again("web", killed)
    until(lambda: answers(crowd.hub), within_s=WAITS_S, what="the hub answers again")
    crowd.until_all_talk()
    assert crowd.cuts == before
    assert [stream.faults for stream in crowd.streams] == [[]] * STREAMS


def answers(hub: Hub) -> bool:
    try:
        return httpx.get(f"{hub.url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_it_is_cancelled_while_its_agent_and_the_relay_lie_dead(crowd: Crowd) -> None:
    """Who comes back ends it: no process stays, everybody is told, and what was used is paid once."""
    crowd.begin()
    assert processes_that_name(crowd.marker)
    for part in ("agent", "relay"):
        crowd.kill(part)
    crowd.client.cancel_run(crowd.run_id)
    until(lambda: crowd.client.run(crowd.run_id).is_over, within_s=WAITS_S, every_s=0.2, what="it is over")
    until(lambda: not processes_that_name(crowd.marker), within_s=WAITS_S, what="no process of it is left")
    said = crowd.forward.communicate(timeout=WAITS_S)[1]
    assert f"{crowd.run_id} is cancelled" in said, said
    # Who was back before the end reads what the kernel says for a process that was killed, which may be an end.
    assert {fault for stream in crowd.streams for fault in stream.faults} <= {ENDED}

    order_id = crowd.client.run(crowd.run_id).order_id
    assert order_id is not None
    until(
        lambda: crowd.client.order(order_id).receipt_id is not None,
        within_s=WAITS_S,
        every_s=0.2,
        what="a receipt",
    )
    order, balance = crowd.client.order(order_id), crowd.client.balance()
    assert order.state == "settled" and order.total is not None
    assert 0 < order.total <= PER_CORE_HOUR / 3600 * Decimal(time.monotonic() - crowd.bought_at)
    assert (balance.balance, balance.held) == (DEPOSIT - order.total, 0)
    assert [one.total for one in crowd.client.receipts().items] == [order.total]
