"""Calls to addresses that a user gave: what is refused, and that what was checked is what is called."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest
from tests.patience import PATIENCE_S

from mosu.platform import outbound
from mosu.platform.outbound import Fetched, NotPublic, Redirected, TooLarge, TooSlow, Unreachable, is_public


class Site(BaseHTTPRequestHandler):
    """A site on the internet, as far as the tests are concerned."""

    hosts: list[str] = []

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        getattr(self, self.path.strip("/").partition("?")[0])()

    do_POST = do_GET  # noqa: N815 -- http.server's name

    def hello(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self._answer(200, b"hello " + self.rfile.read(size))

    def missing(self) -> None:
        self._answer(404, b"no")

    def moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://169.254.169.254/latest/meta-data")
        self.end_headers()

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x" * 1000)

    def drops(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(50):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def slow_head(self) -> None:
        for letter in b"HTTP/1.1 200 OK\r\n" * 3:
            self.wfile.write(bytes([letter]))
            self.wfile.flush()
            time.sleep(0.05)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("X-Kind", "Test")
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def finish(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Site.hosts = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def call(url: str, method: str = "GET", **changed: Any) -> Fetched:
    """A call of a site whose name resolves to this machine, which counts as public."""
    facts: dict[str, Any] = {
        "headers": {},
        "body": b"",
        "size_bytes_max": 10_000,
        "time_s_max": PATIENCE_S,
        "resolve": lambda host, port: ["127.0.0.1"],
        "allowed": lambda address: True,
        **changed,
    }
    return outbound.call(method, url, **facts)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
    ],
)
def test_what_lies_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "223.5.5.5", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_what_lies_on_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1"]
)
def test_this_machine_is_not_called_however_it_is_written(port: int, host: str) -> None:
    with pytest.raises((NotPublic, Unreachable)):
        outbound.fetch("GET", f"http://{host}:{port}/hello")
    assert Site.hosts == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "//x",
        "http://u:p@example.org/",
        "http://[::1",
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(NotPublic):
        outbound.fetch("GET", url)


def test_one_inner_address_among_public_ones_spoils_the_name(port: int) -> None:
    with pytest.raises(NotPublic):
        call(
            f"http://mixed.example:{port}/hello",
            resolve=lambda host, port: ["1.1.1.1", "127.0.0.1"],
            allowed=is_public,
        )
    assert Site.hosts == []


def test_the_name_is_asked_once_and_the_checked_address_is_called(port: int) -> None:
    """DNS rebinding: public at the first question, inside at every later one."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    answer = call(f"http://rebinds.example:{port}/hello", resolve=rebinding)
    assert (answer.status, answer.body, answer.address) == (200, b"hello ", "127.0.0.1")
    assert asked == ["rebinds.example"]
    assert Site.hosts == [f"rebinds.example:{port}"]


def test_an_answer_comes_whole(port: int) -> None:
    answer = call(f"http://a.example:{port}/hello", "POST", body=b"world", headers={"Host": "evil.example"})
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (200, b"hello world", "Test")
    assert Site.hosts == [f"a.example:{port}"]
    assert call(f"http://a.example:{port}/missing").status == 404


def test_a_redirect_is_not_followed(port: int) -> None:
    with pytest.raises(Redirected):
        call(f"http://a.example:{port}/moved")
    assert len(Site.hosts) == 1


def test_an_answer_that_is_too_long_is_cut_off(port: int) -> None:
    with pytest.raises(TooLarge):
        call(f"http://a.example:{port}/endless")
    assert len(call(f"http://a.example:{port}/endless", size_bytes_max=100_000).body) == 100_000


@pytest.mark.parametrize("path", ["drops", "slow_head"])
def test_a_drop_at_a_time_gains_no_time(port: int, path: str) -> None:
    with pytest.raises(TooSlow):  # each drop comes in time, all of them take 2.5 s
        call(f"http://a.example:{port}/{path}", time_s_max=0.3)


def test_proxies_of_the_environment_are_not_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert call(f"http://a.example:{port}/hello").status == 200


def test_nobody_there_is_said_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(Unreachable):  # taken, and nobody listens
            call(f"http://a.example:{port}/hello")
    with pytest.raises(Unreachable):
        call("http://a.example/", resolve=lambda host, port: [])


def test_tls_is_checked_against_the_name(port: int) -> None:
    with pytest.raises(Unreachable):
        call(f"https://a.example:{port}/hello")
    assert Site.hosts == []
