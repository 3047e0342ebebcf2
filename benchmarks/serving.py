"""What an endpoint adds to a request, how many it carries, and how long the first one waits for a replica.

The same small app as in `connecting` is a service's replica, asked by key, and is on this machine without any of it.
"""

import http.client
import json
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from tests.hub import Hub

from benchmarks.bars import Figure
from benchmarks.connecting import APP, IN_FLIGHT, THINKS_S, app_here, asked, quantile, relay_pid
from benchmarks.hubs import Buyer
from benchmarks.processes import cpu_s
from mosu.client import Client

_PORT: Final = 8000
_HELD_S_MAX: Final = 150


def served(hub: Hub, buyer: Buyer, *, requests: int) -> list[Figure]:
    """All figures of an endpoint that begins with no replica."""
    task = json.dumps(
        {
            "run": f"cat > app.py <<'END'\n{APP}END\nexec python3 app.py {_PORT}",
            "resources": {"cpus": 1, "memory": 1},
            "mosu": {
                "kind": "service",
                "port": _PORT,
                "health": "/0",
                "auth": "key",
                "replicas": {"min": 0, "max": 1},
                "wall_limit": "30m",
            },
        }
    )
    with Client(hub.url, buyer.token) as client:
        endpoint = client.make_endpoint("bench", task)
        secret = client.make_endpoint_key(endpoint.id, "bench").secret
        where = urlsplit(endpoint.url)
        head = f"Host: {where.netloc}\r\nAuthorization: Bearer {secret}"
        port = where.port or 80
        figures = [_first(port, where.netloc, secret)]
        with app_here() as direct:
            figures += [
                *_added(direct, port, head, requests=requests),
                *_carried(hub, direct, port, head, requests=requests),
            ]
        client.end_endpoint(endpoint.id)
    return figures


def _first(port: int, host: str, secret: str) -> Figure:
    """Seconds from the first request ever to its answer."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_HELD_S_MAX)
    connection.request("GET", "/0", headers={"Host": host, "Authorization": f"Bearer {secret}"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"the first request: {answer.status} {answer.read()!r}")
    answer.read()
    connection.close()
    note = "from no replica: ordered, placed, started, well"
    return Figure("endpoint, first request held until answered", time.monotonic() - began, "s", note=note)


def _added(direct: int, port: int, head: str, *, requests: int) -> list[Figure]:
    path, figures = f"/{THINKS_S}", list[Figure]()
    plain = asked(direct, path, requests=requests, at_once=IN_FLIGHT)
    through = asked(port, path, requests=requests, at_once=IN_FLIGHT, head=head)
    for name, share, bar in (("median", 0.5, 5.0), ("p99", 0.99, 30.0)):
        less, more = quantile(plain, share), quantile(through, share)
        note = (
            f"{IN_FLIGHT} in flight, {requests} requests, {THINKS_S * 1000:.0f} ms app, by key: "
            f"{less:.1f} ms without, {more:.1f} ms with"
        )
        figures.append(Figure(f"endpoint, added to a request, {name}", more - less, "ms", bar, note=note))
    return figures


def _carried(hub: Hub, direct: int, port: int, head: str, *, requests: int) -> list[Figure]:
    plain = asked(direct, "/0", requests=requests, at_once=IN_FLIGHT)
    relay = [relay_pid(hub)]
    before = cpu_s(relay)
    through = asked(port, "/0", requests=requests, at_once=IN_FLIGHT, head=head)
    used_ms = (cpu_s(relay) - before) / len(through) * 1000
    note = f"{IN_FLIGHT} in flight, an app that takes no time: {_rate(plain):.0f}/s without"
    return [
        Figure("endpoint, requests a second", _rate(through), "/s", better="more", note=note),
        Figure("endpoint, the relay's CPU for a request", used_ms, "ms", note=note),
    ]


def _rate(took: Sequence[float]) -> float:
    return IN_FLIGHT / (sum(took) / len(took) / 1000)
