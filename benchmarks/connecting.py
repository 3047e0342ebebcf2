"""What a tunnel adds: to a request, to a stream of bytes, to a hub that holds idle connections open; how long a service
is away whose process was killed.

The app runs in a session's sandbox, and once more on this machine without any of it; the same client asks both, through
`mosu port-forward` and directly.
"""

import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.hub import MOSU, Hub, free_port
from websockets.asyncio.client import connect

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from benchmarks.processes import cpu_s, pss_bytes
from mosu.client import Client

IN_FLIGHT: Final = 50
STREAMS: Final = 20
THINKS_S: Final = 0.05
"""What the app takes for an answer, as a small model would."""
_RUN_S_MAX: Final = 300.0
"""For a quote, for what starts and for what ends: long enough for a machine that does much else."""
_PORT: Final = 8000
_CONNECTIONS_OF_A_RUN: Final = 250

APP: Final = """
import asyncio, os, signal, sys

async def serve(reader, writer):
    try:
        while line := await reader.readline():
            path = line.split()[1].decode()
            while (await reader.readline()).strip():
                pass
            if path == "/idle":
                await reader.read()
            elif path == "/die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif path.startswith("/bytes/"):
                left = int(path[7:])
                writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % left)
                chunk = bytes(1 << 16)
                while left > 0:
                    writer.write(chunk[:left])
                    left -= len(chunk)
                    await writer.drain()
            else:
                await asyncio.sleep(float(path[1:] or 0))
                writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
                await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def connected(hub: Hub, buyer: Buyer, *, requests: int, megabytes: int, idle: int) -> list[Figure]:
    """All figures of the tunnel."""
    with Client(hub.url, buyer.token) as client:
        run_id = _session(client)
        with app_here() as direct, _forwarded(hub, buyer, run_id) as tunnelled:
            figures = [
                *_added(direct, tunnelled, requests=requests),
                *_carried(direct, tunnelled, megabytes=megabytes),
            ]
        runs = [run_id, *(_session(client) for _ in range((idle - 1) // _CONNECTIONS_OF_A_RUN))]
        figures += _held(hub, buyer, [_connect_url(client, one) for one in runs], count=idle)
        for one in runs:
            client.cancel_run(one)
    return figures


def replaced(hub: Hub, buyer: Buyer, *, services: int) -> list[Figure]:
    """Seconds from `kill -9` of a service's process to the next answer, as a client sees them; a new service each time,
    since one that keeps ending is started again less and less often."""
    took = []
    with Client(hub.url, buyer.token) as client:
        for _ in range(services):
            run_id = _session(client, kind="service", port=_PORT, health="/0")
            with _forwarded(hub, buyer, run_id) as port:
                took.append(_away_s(port))
            client.cancel_run(run_id)
            wait_for_end(client, run_id)
    note = f"median of {services}; slowest {max(took):.2f} s; by its own /die, answers asked for through the tunnel"
    return [
        Figure("service, replaced after kill -9 of its process", statistics.median(took), "s", 5.0, note=note)
    ]


def wait_for_end(client: Client, run_id: str) -> None:
    """So that the next one has the machine for itself."""
    until = time.monotonic() + _RUN_S_MAX
    while not (run := client.run(run_id)).is_over:
        if time.monotonic() > until:
            raise RuntimeError(f"it did not end: {run}")
        time.sleep(0.1)


def _away_s(port: int) -> float:
    if not _answers(port, "/0"):
        raise RuntimeError("the service does not answer")
    began = time.perf_counter()
    if _answers(port, "/die"):
        raise RuntimeError("the service survived its end")
    while not _answers(port, "/0"):
        if time.perf_counter() - began > _RUN_S_MAX:
            raise RuntimeError("the service did not come back")
        time.sleep(0.01)
    return time.perf_counter() - began


def _answers(port: int, path: str) -> bool:
    way = http.client.HTTPConnection("127.0.0.1", port, timeout=_RUN_S_MAX)
    try:
        way.request("GET", path)
        return way.getresponse().read() == b"ok"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        way.close()


def _session(client: Client, *, kind: str = "session", **more: object) -> str:
    """A session or a service whose app listens, and of which the hub knows."""
    task = json.dumps(
        {
            "run": f"cat > app.py <<'END'\n{APP}END\nexec python3 app.py {_PORT}",
            "resources": {"cpus": 1, "memory": 1},
            "mosu": {"kind": kind, "wall_limit": "30m", **more},
        }
    )
    until = time.monotonic() + _RUN_S_MAX
    while not (quotes := client.make_quotes(task, vouchers="none").quotes):
        if time.monotonic() > until:
            raise RuntimeError("no quote for a session")
        time.sleep(0.5)
    order = client.accept(quotes[0].id)
    assert order.run_id is not None  # noqa: S101 - the compute shelf always makes one
    # Its log and its state come on different ways, and only who runs is connected to.
    while "ready" not in client.log(order.run_id) or client.run(order.run_id).state != "running":
        if time.monotonic() > until:
            raise RuntimeError(f"the app did not start: {client.run(order.run_id)}")
        time.sleep(0.2)
    return order.run_id


def _connect_url(client: Client, run_id: str) -> str:
    url = client.run(run_id).connect_url
    if url is None:
        raise RuntimeError(f"{run_id} cannot be connected to")
    return url


@contextmanager
def app_here() -> Iterator[int]:
    """The same app without a sandbox; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "app.py")
        file.write_text(APP)
        process = subprocess.Popen([sys.executable, file, str(port)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"  # noqa: S101 - it starts
            yield port
        finally:
            process.kill()
            process.wait()


@contextmanager
def _forwarded(hub: Hub, buyer: Buyer, run_id: str) -> Iterator[int]:
    """`mosu port-forward`; the local port."""
    port = free_port()
    process = subprocess.Popen(
        [*MOSU, "port-forward", run_id, f"{port}:{_PORT}", "--json"],
        env={**hub.env, "MOSU_URL": hub.url, "MOSU_TOKEN": buyer.token},
        stdout=subprocess.PIPE,
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("mosu port-forward ended")
        yield port
    finally:
        process.terminate()
        process.wait()


def _added(direct: int, tunnelled: int, *, requests: int) -> list[Figure]:
    """Milliseconds that a request takes longer, one connection each."""
    figures = []
    for thinks, bars, what in (
        (THINKS_S, (5.0, 30.0), f"{THINKS_S * 1000:.0f} ms app"),
        (0.0, (None, None), "instant app"),
    ):
        took = {
            port: asked(port, f"/{thinks}", requests=requests, at_once=IN_FLIGHT)
            for port in (direct, tunnelled)
        }
        for name, share, bar in (("median", 0.5, bars[0]), ("p99", 0.99, bars[1])):
            plain, through = (quantile(took[port], share) for port in (direct, tunnelled))
            note = f"{IN_FLIGHT} in flight, {requests} requests, {what}: {plain:.1f} ms without, {through:.1f} ms with"
            figures.append(
                Figure(f"tunnel, added to a request, {what}, {name}", through - plain, "ms", bar, note=note)
            )
    return figures


def quantile(took: Sequence[float], share: float) -> float:
    """Of all, so many took no longer."""
    return sorted(took)[min(len(took) - 1, int(len(took) * share))]


def asked(port: int, path: str, *, requests: int, at_once: int, head: str = "Host: app") -> list[float]:
    """Milliseconds of each request, so many at once, a kept connection each."""
    return asyncio.run(_asked(port, path, head, requests=requests, at_once=at_once))


async def _asked(port: int, path: str, head: str, *, requests: int, at_once: int) -> list[float]:
    took: list[float] = []
    opened = asyncio.Barrier(at_once)

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in range(requests // at_once + 3):
            if turn == 3:
                await opened.wait()
            began = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n\r\n".encode())
            said = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(2)
            if not said.startswith(b"HTTP/1.1 200") or body != b"ok":
                raise RuntimeError(f"answered {said!r}")
            if turn >= 3:  # the first ones open connections, which is no part of a request
                took.append((time.perf_counter() - began) * 1000)
        writer.close()

    await asyncio.gather(*(one() for _ in range(at_once)))
    return took


def _carried(direct: int, tunnelled: int, *, megabytes: int) -> list[Figure]:
    """Bytes a second of one stream, and how evenly twenty share."""
    plain, through = (
        statistics.median(asyncio.run(_loaded(port, megabytes << 20)) for _ in range(3))
        for port in (direct, tunnelled)
    )
    parts = asyncio.run(_shared(tunnelled, seconds=4.0 if megabytes > 16 else 0.5))
    slowest = min(parts) / statistics.mean(parts) if any(parts) else 0.0
    return [
        Figure(
            "tunnel, one stream's share of its rate without", through / plain, "", 0.4, better="more",
            note=f"{through:.0f} of {plain:.0f} MB/s, {megabytes} MiB, median of 3",
        ),
        Figure(
            f"tunnel, slowest of {STREAMS} streams to their mean", slowest, "", 0.5, better="more",
            note=f"{sum(parts):.0f} MB/s in all",
        ),
    ]  # fmt: skip


async def _loaded(port: int, count: int) -> float:
    """MB/s of a download."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 << 20)
    began = time.perf_counter()
    writer.write(f"GET /bytes/{count} HTTP/1.1\r\nHost: app\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    left = count
    while left:
        part = await reader.read(4 << 20)
        if not part:
            raise RuntimeError(f"{left} bytes are missing")
        left -= len(part)
    took = time.perf_counter() - began
    writer.close()
    return count / took / 1e6


async def _shared(port: int, *, seconds: float) -> list[float]:
    """MB/s of each of twenty downloads that go on at once."""
    got = [0] * STREAMS

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 << 20)
        writer.write(f"GET /bytes/{1 << 40} HTTP/1.1\r\nHost: app\r\n\r\n".encode())
        try:
            while part := await reader.read(1 << 20):
                got[number] += len(part)
        finally:
            writer.close()

    tasks = [asyncio.create_task(one(number)) for number in range(STREAMS)]
    async with asyncio.timeout(_RUN_S_MAX):
        while not all(got):  # all are under way
            await asyncio.sleep(0.1)
    before = list(got)
    await asyncio.sleep(seconds)
    after = list(got)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [(late - early) / seconds / 1e6 for early, late in zip(before, after, strict=True)]


def _held(hub: Hub, buyer: Buyer, urls: Sequence[str], *, count: int) -> list[Figure]:
    """What idle connections cost the hub: memory of its relay beside before, processor time of all of it."""
    pid = relay_pid(hub)
    empty = pss_bytes([pid])

    async def held() -> tuple[float, float]:
        async with AsyncExitStack() as stack:
            for number in range(count):
                way = await stack.enter_async_context(
                    connect(
                        f"{urls[number % len(urls)]}?port={_PORT}",
                        additional_headers={"Authorization": f"Bearer {buyer.token}"},
                        compression=None,
                        ping_interval=None,
                        open_timeout=_RUN_S_MAX,
                    )
                )
                await way.send(b"GET /idle HTTP/1.1\r\nHost: app\r\n\r\n")
            await asyncio.sleep(5)
            before = cpu_s([pid])
            seconds = 35.0 if count >= 100 else 2.0  # one renewal at least
            await asyncio.sleep(seconds)
            return (cpu_s([pid]) - before) / seconds * 100, pss_bytes([pid])

    share, full = asyncio.run(held())
    note = f"{count} idle connections to {len(urls)} sessions; the relay held {empty / 1e6:.0f} MB before"
    return [
        Figure("relay, memory with idle connections", full / 1e6, "MB", 300, note=note),
        Figure("relay, CPU with idle connections", share, "% of a core", 5, note=note),
    ]


def relay_pid(hub: Hub) -> int:
    """The process of its relay."""
    pid: int = json.loads((hub.data_dir / "up.json").read_text())["parts"]["relay"]["pid"]
    return pid
