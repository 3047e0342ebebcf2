"""CPU of the server's processes for one JSON answer: one row, asked for with a token."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.hub import Hub, free_port

from benchmarks.bars import Figure
from benchmarks.processes import cpu_s, descendants_of
from mosu.runtime.config import Config

WARM_UP = 50
START_S_MAX = 120.0


def json_answers(
    hub: Hub, config: Config, *, path: str, token: str, web_pid: int, requests: int
) -> list[Figure]:
    """Through the one port, through WSGI alone, and a bare Django view that asks no database."""
    bearer = {"Authorization": f"Bearer {token}"}
    one_port = _cpu_ms(hub.url, path, bearer, web_pid, requests)
    with _granian("mosu.web.wsgi:application", config.environment(app_dsn=config.app_dsn())) as (url, pid):
        alone = _cpu_ms(url, path, bearer, pid, requests)
    source = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    with _granian("benchmarks.bare:application", {**os.environ, "PYTHONPATH": source}) as (url, pid):
        bare = _cpu_ms(url, "/row", {}, pid, requests)
    note = f"GET {path.rpartition('/')[0]}/ID, {requests} requests"
    return [
        Figure("JSON of one row, one port, CPU", one_port, "ms", 4.5, note=note),
        Figure(
            "JSON of one row, WSGI alone, CPU", alone, "ms", 2.5, note=f"{alone / bare:.1f} x a bare view"
        ),
        Figure("bare Django view, CPU", bare, "ms", note="no database, no middleware"),
    ]


@contextmanager
def _granian(application: str, env: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """One process of granian that serves `application` as WSGI; its address and process id."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-access-log", "--no-ws"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", application]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def _cpu_ms(url: str, path: str, headers: Mapping[str, str], pid: int, requests: int) -> float:
    """Of all processes below `pid`, less what they take when nobody asks."""
    _ask(url, path, headers, WARM_UP)
    idle_from, idle_cpu = time.monotonic(), cpu_s(descendants_of(pid))
    time.sleep(3)
    idle_per_s = (cpu_s(descendants_of(pid)) - idle_cpu) / (time.monotonic() - idle_from)
    began, before = time.monotonic(), cpu_s(descendants_of(pid))
    _ask(url, path, headers, requests)
    used = cpu_s(descendants_of(pid)) - before - idle_per_s * (time.monotonic() - began)
    return used / requests * 1000


def _ask(url: str, path: str, headers: Mapping[str, str], times: int) -> None:
    """Over one kept connection; anything but 200 is an error. Waits for a server that is still starting."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START_S_MAX)
    until = time.monotonic() + START_S_MAX
    while True:
        try:
            connection.connect()
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    for _ in range(times):
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}{path}: {answer.status}")
    connection.close()
