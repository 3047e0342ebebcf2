"""`mosu port-forward` as a process of its own, against a relay that joins real WebSockets to real ports."""

import asyncio
import hashlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast

import pytest
from tests.client.fake_hub import TOKEN, FakeHub
from tests.client.fake_relay import FakeRelay, running_relay
from tests.hub import free_port
from tests.patience import PATIENCE_S
from tests.site_agent.lab import until

from mosu.cli import forwarding, main
from mosu.cli.commands import connect
from mosu.cli.commands.connect import size_text
from mosu.client import BrokenAnswer, Client, Unreachable
from mosu.client.models import Run
from mosu.client.relay import Relay, Traffic

MEGABYTE = bytes(range(256)) * 4096
PORT = 7


@pytest.fixture
def relay(hub: FakeHub) -> Iterator[FakeRelay]:
    with running_relay() as relay:
        hub.state, hub.kind, hub.connect_url = "running", "session", relay.url
        yield relay


@pytest.fixture
def environment(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    own = {"MOSU_URL": hub.url, "MOSU_TOKEN": TOKEN, "XDG_CONFIG_HOME": str(tmp_path), "MOSU_LANG": "en"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **own}


class Forwarded:
    """A `mosu port-forward --json` that listens."""

    def __init__(self, environment: Mapping[str, str], *ports: str) -> None:
        command = [sys.executable, "-m", "mosu.cli.main", "port-forward", "--json", "run_1"]
        self.process = subprocess.Popen(
            [*command, *(ports or (f"0:{PORT}",))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = [self.process.stdout.readline() for _ in ports or (PORT,)]
        assert all(said), self.process.communicate()[1]
        self.lines = [json.loads(line) for line in said]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def connect(self, which: int = 0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.lines[which]["local_port"]), timeout=PATIENCE_S)

    def is_reset(self) -> None:
        """One connects and is reset, be it before `connect` has returned."""
        with pytest.raises(ConnectionResetError), self.connect() as mine:
            mine.recv(1)

    def ended(self, number: int | None = None) -> tuple[int, str]:
        """Exit code and messages, after a signal or by itself."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert out == "", "one line for each port and nothing else"
        assert "Traceback" not in err and TOKEN not in err, err
        return self.process.returncode, err


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of the run, each of whose connections is served by a thread."""

    def one(taken: socket.socket) -> None:
        with taken:
            taken.settimeout(PATIENCE_S)
            serve(taken)

    def accept() -> None:
        with suppress(OSError):  # the door is shut
            while True:
                served.append(threads.submit(one, door.accept()[0]))

    served: list[Future[None]] = []
    with ThreadPoolExecutor(64) as threads:
        with socket.create_server(("127.0.0.1", 0), backlog=200) as door:
            accepting = threads.submit(accept)
            try:
                yield door.getsockname()[1]
            finally:
                door.shutdown(socket.SHUT_RDWR)
                accepting.result(PATIENCE_S)
        for future in served:
            future.result(PATIENCE_S)


def read_all(taken: socket.socket) -> bytes:
    data = bytearray()
    while chunk := taken.recv(65_536):
        data += chunk
    return bytes(data)


def echo(taken: socket.socket) -> None:
    while data := taken.recv(65_536):
        taken.sendall(data)


def test_a_megabyte_each_way_and_the_end_of_each(relay: FakeRelay, environment: Mapping[str, str]) -> None:
    def answer(taken: socket.socket) -> None:
        taken.sendall(hashlib.sha256(read_all(taken)).digest() + MEGABYTE)

    with server(answer) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        assert forwarded.lines == [
            {
                "run_id": "run_1",
                "host": "127.0.0.1",
                "local_port": forwarded.lines[0]["local_port"],
                "port": PORT,
            }
        ]
        with forwarded.connect() as mine:
            mine.sendall(MEGABYTE)
            mine.shutdown(socket.SHUT_WR)
            assert read_all(mine) == hashlib.sha256(MEGABYTE).digest() + MEGABYTE
        until(lambda: relay.closed, what="the relay sees its end")
        code, err = forwarded.ended(signal.SIGINT)
    assert code == 0
    assert err.splitlines()[-1] == "1 connection, 1.0 MB to the run, 1.0 MB from it."
    assert relay.asked == [(f"/api/v1/runs/run_1/connect?port={PORT}", f"Bearer {TOKEN}")]
    assert relay.closed == [(1000, "")]


def test_the_run_may_end_first(relay: FakeRelay, environment: Mapping[str, str]) -> None:
    found: list[bytes] = []

    def speak(taken: socket.socket) -> None:
        taken.sendall(b"that is all")
        taken.shutdown(socket.SHUT_WR)
        found.append(read_all(taken))

    with Forwarded(environment) as forwarded:
        with server(speak) as port:
            relay.ports[PORT] = port
            with forwarded.connect() as mine:
                assert read_all(mine) == b"that is all"
                mine.sendall(MEGABYTE)
        assert found == [MEGABYTE]
        assert forwarded.ended(signal.SIGTERM)[0] == 0


def test_several_ports_and_many_connections_at_a_time(
    relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    with (
        server(echo) as port,
        server(lambda taken: taken.sendall(b"other")) as other,
        Forwarded(environment, "0:7", "0:8") as forwarded,
    ):
        relay.ports |= {7: port, 8: other}
        many = [forwarded.connect() for _ in range(40)]
        for number, mine in enumerate(many):
            mine.sendall(b"%d" % number)
        assert [mine.recv(100) for mine in many] == [b"%d" % number for number in range(40)]
        with forwarded.connect(1) as mine:
            assert read_all(mine) == b"other"
        for mine in many:
            mine.close()
        until(lambda: len(relay.closed) == 41, what="all connections end")
        assert "41 connections" in forwarded.ended(signal.SIGINT)[1]


def test_who_does_not_read_stops_who_sends(relay: FakeRelay, environment: Mapping[str, str]) -> None:
    total = 96 * len(MEGABYTE)
    stopped = threading.Event()
    sent_when_stopped: list[int] = []

    def pour(taken: socket.socket) -> None:
        sent = 0
        with selectors.DefaultSelector() as ready:
            ready.register(taken, selectors.EVENT_WRITE)
            taken.setblocking(False)
            while sent < total:
                if not ready.select(None if stopped.is_set() else 1.5):
                    sent_when_stopped.append(sent)
                    stopped.set()
                    continue
                sent += taken.send(MEGABYTE[sent % len(MEGABYTE) :])

    with server(pour) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        with forwarded.connect() as mine:
            assert stopped.wait(PATIENCE_S), "it was never stopped"
            assert sent_when_stopped[0] < total / 2
            data = read_all(mine)
            assert (len(data), data[: len(MEGABYTE)]) == (total, MEGABYTE)
        assert forwarded.ended(signal.SIGINT)[0] == 0


def test_a_refused_connection_is_told_and_the_next_one_tried(
    relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    relay.refusals[PORT] = (502, {"title": "Nothing listens at port 7.", "detail": "Start it in the run."})
    with server(echo) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        for _ in range(3):
            forwarded.is_reset()
        del relay.refusals[PORT]
        with forwarded.connect() as mine:
            mine.sendall(b"now")
            assert mine.recv(10) == b"now"
        code, err = forwarded.ended(signal.SIGINT)
    assert code == 0
    assert err.count("A connection to port 7 failed: Nothing listens at port 7.\nStart it in the run.\n") == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_may_no_longer_is_told_and_it_ends(
    relay: FakeRelay, environment: Mapping[str, str], status: int
) -> None:
    relay.refusals[PORT] = (status, {"title": "You may not do this.", "detail": "Ask the run's owner."})
    with Forwarded(environment) as forwarded:
        forwarded.is_reset()
        code, err = forwarded.ended()
    assert code == 3
    assert err.endswith("error: You may not do this.\n  Ask the run's owner.\n")


def test_the_runs_end_resets_what_is_open_and_ends_it(
    relay: FakeRelay, hub: FakeHub, environment: Mapping[str, str]
) -> None:
    with server(echo) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        with forwarded.connect() as mine:
            mine.sendall(b"half a file")
            assert mine.recv(100) == b"half a file"
            hub.state = "cancelled"
            relay.close_all(4409, "The run ended.")
            with pytest.raises(ConnectionResetError):
                mine.recv(1)
        code, err = forwarded.ended()
    assert code == 0
    assert "A connection to port 7 failed: The run ended.\n" in err
    assert err.endswith("run_1 is cancelled: there is nothing left to connect to.\n")


def test_who_is_cut_off_midway_and_may_not_come_back(
    relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    with server(echo) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        with forwarded.connect() as mine:
            mine.sendall(b"x")
            assert mine.recv(1) == b"x"
            relay.close_all(4403, "You are no longer a member.")
            with pytest.raises(ConnectionResetError):
                mine.recv(1)
        relay.refusals[PORT] = (
            403,
            {"title": "You may not do this (run.connect).", "detail": "Who may: owner."},
        )
        forwarded.is_reset()
        code, err = forwarded.ended()
    assert code == 3
    assert "A connection to port 7 failed: You are no longer a member.\n" in err
    assert err.endswith("error: You may not do this (run.connect).\n  Who may: owner.\n")


class CountingRelay:
    """Joins nothing, but counts who is in it at one time; `leave` lets one go."""

    def __init__(self) -> None:
        self.counts = {"inside": 0, "most": 0, "left": 0}
        self.leave = asyncio.Semaphore(0)

    async def join(self, port: int, taken: socket.socket, traffic: Traffic) -> None:
        self.counts["inside"] += 1
        self.counts["most"] = max(self.counts["most"], self.counts["inside"])
        await self.leave.acquire()
        taken.close()
        self.counts["inside"] -= 1
        self.counts["left"] += 1


def test_small_messages_of_the_local_side_go_at_once() -> None:
    """asyncio sees to it where it knows that a socket is TCP."""

    async def tried() -> None:
        (door,) = forwarding.listening(forwarding.forwards_of(["0:7"]))
        with door, socket.create_connection(door.getsockname()):
            loop = asyncio.get_running_loop()
            taken, _ = await loop.sock_accept(door)
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, taken)
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.close()
            await asyncio.sleep(0)

    asyncio.run(tried())


def test_no_more_at_a_time_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(forwarding.Forwarding, "_look", lambda self, loop: None)

    async def scenario() -> dict[str, int]:
        relay = CountingRelay()
        (door,) = forwarding.listening(forwarding.forwards_of(["0:7"]))
        port = forwarding.port_of(door)
        one = forwarding.Forwarding("run_1", cast(Relay, relay), [(door, 7)])
        ending = asyncio.ensure_future(one.until_end())
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for left in range(4):
            async with asyncio.timeout(PATIENCE_S):
                while relay.counts["left"] < left or (left < 3 and relay.counts["inside"] < min(2, 3 - left)):
                    await asyncio.sleep(0)
            relay.leave.release()
        one._end_with(None)
        assert await ending is None
        for mine in [*clients, door]:
            mine.close()
        return relay.counts

    assert asyncio.run(scenario()) == {"inside": 0, "most": 2, "left": 3}


def test_the_end_is_seen_without_any_connection(
    relay: FakeRelay,
    hub: FakeHub,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running, states = hub.run, iter(["running", "running", "timed_out"])
    monkeypatch.setattr(hub, "run", lambda: running() | {"state": next(states, "timed_out")})
    monkeypatch.setattr(forwarding, "_LOOK_S", 0.01)
    monkeypatch.setattr(forwarding, "_LOOK_AGAIN_S", 0.01)
    assert main.run(["port-forward", "run_1", "0:7"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("127.0.0.1:") and out.endswith(" -> run_1:7\n")
    assert "0 connections, 0 B to the run, 0 B from it.\nrun_1 is timed_out: there" in err


def test_a_relay_that_went_away_may_come_back(hub: FakeHub, environment: Mapping[str, str]) -> None:
    hub.state, hub.kind = "running", "session"
    with running_relay(free_port()) as gone:  # one that no connection of others' gets meanwhile
        hub.connect_url = gone.url
    with server(echo) as port, Forwarded(environment) as forwarded:
        forwarded.is_reset()
        with running_relay(gone.port) as relay:
            relay.ports[PORT] = port
            with forwarded.connect() as mine:
                mine.sendall(b"back")
                assert mine.recv(10) == b"back"
                mine.shutdown(socket.SHUT_WR)
                assert mine.recv(10) == b""
        code, err = forwarded.ended(signal.SIGINT)
    assert code == 0
    assert "A connection to port 7 failed: The relay does not answer" in err


def test_leaving_leaves_open_connections_reset(relay: FakeRelay, environment: Mapping[str, str]) -> None:
    with server(echo) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        with forwarded.connect() as mine:
            mine.sendall(b"x")
            assert mine.recv(1) == b"x"
            assert forwarded.ended(signal.SIGINT)[0] == 0
            with pytest.raises(ConnectionResetError):
                mine.recv(1)
        until(lambda: bool(relay.closed), what="the relay sees it leave")
    assert relay.closed == [(1001, "")]


def test_who_is_dropped_before_they_are_joined_reads_no_end() -> None:
    """As where the command line ends in the moment in which somebody comes."""

    class Gone:
        async def join(self, port: int, taken: socket.socket, traffic: Traffic) -> None:
            raise Unreachable("The relay is gone.", hint="")

    async def tried() -> None:
        (door,) = forwarding.listening([forwarding.Forward(0, PORT)])
        with door:
            here = forwarding.Forwarding("run_1", cast(Relay, Gone()), [(door, PORT)])
            here._end = asyncio.get_running_loop().create_future()
            accepting = asyncio.ensure_future(here._accept(door, PORT))
            with pytest.raises(ConnectionResetError):  # be it before `open_connection` has returned
                reader, writer = await asyncio.open_connection("127.0.0.1", forwarding.port_of(door))
                try:
                    await asyncio.wait_for(reader.read(1), PATIENCE_S)
                finally:
                    writer.close()
            accepting.cancel()

    asyncio.run(tried())


def test_a_local_program_that_breaks_off_is_no_failure(
    relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    def reset_me(taken: socket.socket) -> None:
        taken.sendall(b"x")
        with pytest.raises(OSError):
            taken.sendall(read_all(taken) or MEGABYTE * 64)

    with server(reset_me) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        mine = forwarded.connect()
        assert mine.recv(1) == b"x"
        mine.close()
        until(lambda: bool(relay.closed), what="the connection ends")
        code, err = forwarded.ended(signal.SIGINT)
    assert (code, relay.closed[0][0]) == (0, 1001)
    assert "failed" not in err


def test_no_redirect_gets_the_token(relay: FakeRelay, environment: Mapping[str, str]) -> None:
    with running_relay() as other, Forwarded(environment) as forwarded:
        relay.redirect = other.url
        forwarded.is_reset()
        code, err = forwarded.ended(signal.SIGINT)
        assert (code, other.asked, len(relay.asked)) == (0, [], 1)
    assert "The hub answered 302." in err


def test_a_relay_that_speaks_text(relay: FakeRelay, environment: Mapping[str, str]) -> None:
    relay.text = True
    with server(lambda taken: None) as port, Forwarded(environment) as forwarded:
        relay.ports[PORT] = port
        forwarded.is_reset()
        assert "sent text where bytes belong" in forwarded.ended(signal.SIGINT)[1]


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.run(list(arguments))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and TOKEN not in printed.err + printed.out
    return code, printed.out, printed.err


def test_a_port_that_is_taken(
    relay: FakeRelay, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = outcome(capsys, "port-forward", "run_1", "0:9", str(port))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: The local port {port} cannot be used: Address already in use.\n")
    assert f"LOCAL:{port}" in err and f"0:{port}" in err
    assert relay.asked == []


@pytest.mark.parametrize(
    "words",
    [
        ["0"],
        ["65536"],
        ["70000:80"],
        ["http"],
        ["-1"],
        ["1:2:3"],
        [":80"],
        ["80:"],
        ["٣"],
        ["9000:1", "9000:2"],
    ],
)
def test_what_is_no_port(
    hub: FakeHub, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, out, _ = outcome(capsys, "port-forward", "run_1", "--", *words)
    assert (code, out, hub.calls) == (2, "", [])


def test_local_and_remote_ports() -> None:
    assert [(one.local, one.port) for one in forwarding.forwards_of(["8888", "9000:8888", "0:1", "0:1"])] == [
        (8888, 8888),
        (9000, 8888),
        (0, 1),
        (0, 1),
    ]


@pytest.mark.parametrize(
    ("kind", "state", "part"),
    [
        ("session", "succeeded", "run_1 is succeeded: there is nothing left to connect to."),
        ("batch", "running", "Set `mosu: {kind: session}`"),
        ("session", "running", "MOSU_RELAY_URL"),
    ],
)
def test_why_a_run_cannot_be_reached(
    hub: FakeHub,
    environment: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    state: str,
    part: str,
) -> None:
    monkeypatch.setattr(connect, "AWAY_S_MAX", 0)
    hub.kind, hub.state = kind, state
    code, out, err = outcome(capsys, "port-forward", "run_1", "8888")
    assert (code, out) == (3, "")
    assert part in err


def test_a_run_that_waits_is_waited_for(
    hub: FakeHub, relay: FakeRelay, environment: Mapping[str, str]
) -> None:
    hub.state, hub.connect_url = "queued", None
    command = [sys.executable, "-m", "mosu.cli.main", "port-forward", "--json", "run_1", f"0:{PORT}"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stderr.readline() == "run_1 is queued. It is waited for; Ctrl-C leaves it as it is.\n"
        hub.state, hub.connect_url = "running", relay.url
        assert json.loads(process.stdout.readline())["port"] == PORT
        process.kill()


def test_a_link_to_a_port_is_printed(
    relay: FakeRelay, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = outcome(capsys, "open", "run_1", "6006")
    url = "http://6006-1.apps.localhost:8001/.mosu/open?ticket=once"
    assert (code, out) == (0, f"{url}\n")
    assert "within a minute" in err
    assert json.loads(outcome(capsys, "open", "--json", "run_1", "6006")[1])["url"] == url
    assert outcome(capsys, "open", "run_1", "65536")[0] == 2
    assert outcome(capsys, "open", "run_none", "80")[0] == 3


def test_a_run_that_is_not_there(environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys, "port-forward", "run_none", "8888")
    assert (code, out) == (3, "")
    assert "There is no /runs/run_none." in err
    assert outcome(capsys, "connections", "run_none")[0] == 3


@pytest.mark.parametrize(
    ("hub_url", "connect_url"),
    [
        ("https://hub.example", "ws://hub.example/x"),
        ("http://hub.example", "http://hub.example/x"),
        ("http://hub.example", "ws://hub.example/x?port=1"),
        ("http://hub.example", "ws:///x"),
    ],
)
def test_the_token_goes_to_no_odd_address(hub_url: str, connect_url: str) -> None:
    with Client(hub_url, TOKEN) as client, pytest.raises(BrokenAnswer, match="no usable address") as refused:
        Relay.of(client, Run(id="run_1", state="running", connect_url=connect_url))
    assert TOKEN not in str(refused.value) + repr(refused.value)


def test_the_token_is_in_no_picture_of_a_relay() -> None:
    with Client("https://hub.example", TOKEN) as client:
        relay = Relay.of(client, Run(id="run_1", state="running", connect_url="wss://relay.example/x"))
    assert relay.headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in repr(relay)


def test_who_was_joined(
    hub: FakeHub, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Nobody was joined to run_1." in outcome(capsys, "connections", "run_1")[2]
    hub.kind = "session"
    headings, *rows = (
        re.split("  +", row.strip()) for row in outcome(capsys, "connections", "run_1")[1].splitlines()
    )
    assert headings == ["PORT", "WHO", "FROM", "UNTIL", "TO THE RUN", "FROM THE RUN", "WHY IT ENDED"]
    assert rows == [
        ["8888", "ada@startup.example", "2026-12-01 18:02 +0800", "-", "12 B", "3.4 MB"],
        [
            "80",
            "ada@startup.example",
            "2026-12-01 18:01 +0800",
            "2026-12-01 18:01 +0800",
            "1.5 kB",
            "0 B",
            "they left",
        ],
    ]
    assert "来自作业" in outcome(capsys, "connections", "run_1", "--lang", "zh")[1]
    answer: dict[str, Any] = json.loads(outcome(capsys, "connections", "run_1", "--json")[1])
    assert [one["bytes_in"] for one in answer["items"]] == [12, 1500]


def test_a_session_says_how_it_is_reached(
    hub: FakeHub, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = ("run", "--no-workdir", "-y", "--", "true")
    assert "port-forward" not in outcome(capsys, *run)[2]
    hub.kind, hub.connect_url = "session", "ws://127.0.0.1:1/x"
    code, out, err = outcome(capsys, *run)
    assert code == 0
    assert err.count("Reach its port PORT from another terminal: mosu port-forward run_1 PORT\n") == 1
    assert hub.log.decode() in out
    shown = outcome(capsys, "runs", "run_1")[1]
    assert "session" in shown and "mosu port-forward run_1 PORT" in shown


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_048_576, "1.0 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text
