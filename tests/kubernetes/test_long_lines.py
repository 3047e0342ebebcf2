"""A pod that ends no line: the agent keeps the beginning of it, and reads on behind it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mosu.site_agent.engines.kubernetes.access import Access
from mosu.site_agent.engines.kubernetes.api import KubernetesApi

_MIB = 1 << 20


class _Log(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"first\n\nsecond ")
        for _ in range(12):
            self.wfile.write(b"x" * _MIB)
        self.wfile.write(b" its end\nthird\nlast")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with HTTPServer(("127.0.0.1", 0), _Log) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield KubernetesApi(Access(f"http://127.0.0.1:{server.server_port}", tls=None))
        finally:
            server.shutdown()


def test_a_line_that_does_not_end_is_cut(api: KubernetesApi) -> None:
    with api.log_lines("/api/v1/namespaces/n/pods/p", since="") as lines:
        found = list(lines)
    assert [len(line) for line in found] == [5, 0, 4 * _MIB, 5, 4]
    assert found[2].startswith(b"second x")
    assert found[3:] == [b"third", b"last"]
