"""Who may not come to an app in the browser, and what is refused before any app sees it."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute import services
from mosu.compute.app_hosts import AppHost, app_at, is_apps_host
from mosu.compute.models import Connection, Ticket
from mosu.compute.relay import app as relay_app
from mosu.compute.relay import grants as granting
from mosu.compute.relay import proxy, renewing
from mosu.compute.services import connections, make_ticket, tickets
from mosu.compute.stream_doors import in_thread
from mosu.kernel.ids import uuid7
from mosu.platform.actors import Role
from mosu.platform.models import ApiToken, Membership, User
from mosu.platform.queries import actor_for_user
from mosu.runtime import app_requests
from tests.compute.browsing import Browser, Relay, answers, asgi_at, asked, asked_at_once, browsing, joined_to
from tests.compute.sessions import make_session, with_token
from tests.compute.world import make_organisation, report
from tests.patience import PATIENCE_S
from tests.platform.factories import make_member

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with browsing(settings, monkeypatch) as relay:
        yield relay


def opened(relay: Relay, app: AppHost, ticket: str, **headers: str) -> httpx.Response:
    with asked_at_once() as client:
        url = f"http://127.0.0.1:{relay.port}/.mosu/open?ticket={ticket}"
        return client.get(url, headers={"Host": app.netloc} | headers)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


async def noted(**wanted: Any) -> Connection:
    patience = time.monotonic() + PATIENCE_S
    while (row := await in_thread(Connection.objects.filter(**wanted).first)) is None:
        assert time.monotonic() < patience, "no row is so"
        await asyncio.sleep(0.01)
    return row


# Names


def test_names_of_apps(settings: Any) -> None:
    settings.MOSU_RELAY_URL, settings.MOSU_APPS_HOST = "https://hub.example", "apps.hub.example"
    app = AppHost(uuid7(), 8888)
    assert app_at(app.netloc) == app_at(app.name.upper()) == app_at(f"{app.name}:443") == app
    assert app.origin == f"https://{app.name}"
    run = app.name.removeprefix("8888-").partition(".")[0]
    strange = (
        *(
            f"0-{run}",
            f"65536-{run}",
            f"08888-{run}",
            f"8888-{run}x",
            f"8888-8{run[1:]}",
            f"8888_{run}",
            run,
            "x",
        ),
        *(f"a.8888-{run}", f"8888-{run}.", "", f"٨-{run}", f"8888-{run}.x"),
    )
    for label in strange:
        assert app_at(f"{label}.apps.hub.example") is None, label
    assert app_at(f"{app.name}.") is None and is_apps_host(f"{app.name}.")
    for host in ("hub.example", "apps.hub.example.evil.example", "xapps.hub.example", "", "[::1]:80"):
        assert app_at(host) is None and not is_apps_host(host), host


def test_without_an_apps_host_nothing_is_an_app(settings: Any) -> None:
    settings.MOSU_RELAY_URL, settings.MOSU_APPS_HOST = "https://hub.example", ""
    assert not is_apps_host("8888-x.apps.localhost") and not is_apps_host("")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("apps.localhost", 421),
        ("x.apps.localhost", 421),
        ("8888-{run}.apps.localhost.", 421),
        ("evil.example", 400),
    ],
)
def test_other_hosts_are_no_apps(relay: Relay, host: str, status: int) -> None:
    name = host.format(run=relay.app.name[5:31])
    assert (
        status_of(relay.raw(f"GET /healthz HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()))
        == status
    )


def test_the_relays_own_doors_are_not_at_an_apps_host_nor_an_apps_at_its(relay: Relay) -> None:
    head = f"Host: {relay.app.netloc}\r\nConnection: close\r\n\r\n".encode()
    at_app = relay.raw(b"GET /healthz HTTP/1.1\r\n" + head)
    assert status_of(at_app) == 401
    own = relay.raw(b"GET /.mosu/open?ticket=x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert status_of(own) == 404


# Tickets and cookies


def test_a_ticket_is_redeemed_once_for_a_cookie_of_that_host(relay: Relay) -> None:
    ticket = relay.ticket(relay.app)
    first = opened(relay, relay.app, ticket)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert cookie.startswith("mosu=") and "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert "domain" not in cookie.lower() and "Max-Age=" in cookie
    assert first.headers["referrer-policy"] == "no-referrer" and first.headers["cache-control"] == "no-store"
    again = opened(relay, relay.app, ticket, Accept="text/html", **{"Accept-Language": "zh"})
    assert again.status_code == 403 and "set-cookie" not in again.headers
    assert "text/html" in again.headers["content-type"] and 'lang="zh-Hans"' in again.text
    row = Ticket.objects.get()
    assert ticket not in str(row.__dict__) and cookie.split("=")[1].split(";")[0] not in str(row.__dict__)


def test_over_tls_the_cookie_is_the_hosts_alone(relay: Relay, settings: Any) -> None:
    ticket = relay.ticket(relay.app)
    settings.MOSU_RELAY_URL = settings.MOSU_RELAY_URL.replace("http:", "https:")
    cookie = opened(relay, relay.app, ticket).headers["set-cookie"]
    assert cookie.startswith("__Host-mosu=") and "Secure" in cookie and "Path=/" in cookie


def test_a_ticket_that_is_late_or_of_another_app_lets_nobody_in(relay: Relay) -> None:
    other = AppHost(relay.session.run.id, 9999)
    assert opened(relay, other, relay.ticket(relay.app)).status_code == 403
    assert opened(relay, AppHost(uuid7(), 8888), relay.ticket(relay.app)).status_code == 403
    late = make_ticket(
        actor=relay.session.person,
        run_id=relay.app.run_id,
        port=8888,
        sign_in="",
        now=timezone.now() - timedelta(seconds=61),
    )
    assert opened(relay, relay.app, late.url.rpartition("=")[2]).status_code == 403
    assert opened(relay, relay.app, "guessed" * 40).status_code == 403
    assert opened(relay, relay.app, "").status_code == 403
    assert not Ticket.objects.filter(redeemed_at__isnull=False).exists()


@pytest.mark.parametrize("where", ["another port", "another run", "nowhere"])
def test_a_cookie_opens_nothing_but_its_own_app(relay: Relay, where: str) -> None:
    cookie = relay.entered().cookie
    app = AppHost(
        uuid7() if where == "another run" else relay.app.run_id, 9999 if where == "another port" else 8888
    )
    browser = Browser(relay, app, "guessed" if where == "nowhere" else cookie)

    async def tried() -> None:
        async with joined_to(relay, asgi_at) as agent:
            page = await browser.ask(headers={"Accept": "text/html"})
            assert page.status_code == 401 and "from the page of its run" in page.text
            assert agent.targets == []
        assert await in_thread(Connection.objects.count) == 0

    asyncio.run(tried())


def test_another_organisation_that_knows_the_name_gets_nothing(relay: Relay) -> None:
    stranger, _ = with_token(make_member(make_organisation("Stranger"), Role.OWNER), now=timezone.now())
    with pytest.raises(Exception, match="There is no such run"):
        make_ticket(actor=stranger, run_id=relay.app.run_id, port=8888, sign_in="", now=timezone.now())
    assert Ticket.objects.count() == 0


def test_a_cookie_ends_with_its_time(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "COOKIE_AT_MOST", timedelta(minutes=1))
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await browser.ask()).status_code == 200
            then = timezone.now() + timedelta(minutes=1)
            monkeypatch.setattr(timezone, "now", lambda: then)
            await relay.renews()
            await noted(why="its time in the browser is over")
            assert (await browser.ask()).status_code == 401

    asyncio.run(tried())


def revoked(relay: Relay) -> None:
    ApiToken.objects.update(revoked_at=timezone.now())


def disabled(relay: Relay) -> None:
    User.objects.filter(id=relay.session.person.id).update(is_active=False)


def left(relay: Relay) -> None:
    Membership.objects.filter(user_id=relay.session.person.id).delete()


def ended(relay: Relay) -> None:
    report(relay.session.world, relay.session.attempt, now=timezone.now())


@pytest.mark.parametrize(
    ("end", "status"),
    [(revoked, 401), (disabled, 401), (left, 404), (ended, 409)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_right_that_ends_cuts_what_is_under_way_and_lets_nobody_back_in(
    relay: Relay, end: Any, status: int
) -> None:
    browser = relay.entered()

    async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegun")
        await reader.read()

    async def tried() -> None:
        async with joined_to(relay, streams), asked() as client:
            url = f"http://127.0.0.1:{relay.port}/"
            with pytest.raises(httpx.TransportError):
                async with client.stream("GET", url, headers=browser.headers) as answer:
                    parts = answer.aiter_raw()
                    assert await anext(parts) == b"begun"
                    await in_thread(end, relay=relay)
                    await relay.renews()
                    await anext(parts)
            row = await noted(closed_at__isnull=False)
            assert row.why and row.bytes_out >= 5
            assert (await browser.ask()).status_code == status

    asyncio.run(tried())


@pytest.mark.parametrize("how", ["signed out", "new password"])
def test_a_browser_ends_with_the_sign_in_that_opened_it(relay: Relay, how: str) -> None:
    user = User.objects.get(id=relay.session.person.id)
    user.set_password("a first password")
    user.save()
    client = Client()
    client.force_login(user)
    key = client.session.session_key or ""
    now = timezone.now()
    made = make_ticket(actor=actor_for_user(user), run_id=relay.app.run_id, port=8888, sign_in=key, now=now)
    cookie = opened(relay, relay.app, made.url.rpartition("=")[2]).headers["set-cookie"]
    browser = Browser(relay, relay.app, cookie.split("=", 1)[1].split(";")[0])

    def over() -> None:
        if how == "signed out":
            client.logout()
        else:
            user.set_password("a second password")
            user.save()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await browser.ask()).status_code == 200
            await relay.renews()
            assert (await browser.ask()).status_code == 200
            await in_thread(over)
            await relay.renews()
            await noted(why="the sign-in that opened it has ended")
            assert (await browser.ask()).status_code == 401

    asyncio.run(tried())


def test_a_silent_database_cuts_everybody_in_the_end(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = relay.entered()

    def away(**_: Any) -> None:
        raise RuntimeError("the database is away")

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await browser.ask()).status_code == 200
            monkeypatch.setattr(granting.services, "renew_connections", away)
            await relay.renews()
            assert len(relay_app.grants) == 1
            monkeypatch.setattr(renewing, "UNSURE_S", renewing.RENEW_S)
            await relay.renews()
            await noted(why="the hub could not say whether you still may")
            assert len(relay_app.grants) == 0

    asyncio.run(tried())


# What an app is told


def test_neither_the_hubs_cookies_nor_its_tokens_reach_an_app(relay: Relay) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at) as agent:
            cookies = f"sessionid=hubs; {browser.headers['Cookie']}; theirs=1; csrftoken=hubs"
            headers = {
                "Cookie": cookies,
                "Authorization": "token theirs",
                "X-Forwarded-For": "1.2.3.4",
                "X_Real": "1",
            }
            hop = {
                "Connection": "keep-alive, x-hop",
                "X-Hop": "1",
                "TE": "trailers",
                "Proxy-Authorization": "x",
            }
            seen = (await browser.ask(headers=headers | hop)).json()
            told = {name.lower(): value for name, value in seen["headers"]}
            assert (told["cookie"], told["authorization"]) == ("theirs=1", "token theirs")
            hops = {"connection", "x-forwarded-for", "x_real", "x-hop", "te", "proxy-authorization"}
            assert not told.keys() & hops
            assert "hubs" not in json.dumps(seen) and browser.cookie not in json.dumps(seen)
            agent.targets.clear()
            for scheme in ("Bearer", "bearer", "BEARER  "):
                refused = await browser.ask(headers={"Authorization": f"{scheme} mosu_{'0' * 40}"})
                assert refused.status_code == 400
            assert agent.targets == []

    asyncio.run(tried())


def test_an_app_speaks_for_its_own_host_alone(relay: Relay) -> None:
    name = relay.app.name
    said = (
        'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nClear-Site-Data: "cookies"\r\nAlt-Svc: h2="evil:443"\r\n'
        f"Set-Cookie: own=1; Domain={name}\r\nSet-Cookie: plain=1\r\nSet-Cookie: above=1; domain=.apps.localhost\r\n"
        f"Set-Cookie: twice=1; Domain={name}; Domain=localhost\r\nSet-Cookie: mosu=fixed\r\n\r\n"
    )
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, answers(said.encode())):
            answer = await browser.ask()
            kept = answer.headers.get_list("set-cookie")
            assert [cookie.partition("=")[0] for cookie in kept] == ["own", "plain"]
            assert not answer.headers.keys() & {"clear-site-data", "alt-svc"}

    asyncio.run(tried())


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"Origin": "OWN"}, 200),
        ("POST", {"Origin": "null"}, 403),
        ("DELETE", {"Origin": "http://127.0.0.1:8000"}, 403),
        ("PUT", {"Origin": "http://9999-x.apps.localhost"}, 403),
        ("GET", {"Origin": "http://evil.example"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 200),
    ],
)  # fmt: skip
def test_another_sites_page_does_nothing_in_the_persons_name(
    relay: Relay, method: str, headers: dict[str, str], status: int
) -> None:
    browser = relay.entered()
    headers = {name: relay.app.origin if value == "OWN" else value for name, value in headers.items()}

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await browser.ask(method, headers=headers)).status_code == status

    asyncio.run(tried())


# Smuggling


def smuggling() -> dict[str, bytes]:
    """Requests that two readers could read in two ways; HEAD stands for a good host and cookie."""
    return {
        "length and chunks": b"POST / HTTP/1.1\r\nHEADContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunks and length": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "two lengths": b"POST / HTTP/1.1\r\nHEADContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "the same length twice": b"POST / HTTP/1.1\r\nHEADContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        "a list of lengths": b"POST / HTTP/1.1\r\nHEADContent-Length: 4, 4\r\n\r\nabcd",
        "a length with a sign": b"POST / HTTP/1.1\r\nHEADContent-Length: +4\r\n\r\nabcd",
        "a length in hex": b"POST / HTTP/1.1\r\nHEADContent-Length: 0x4\r\n\r\nabcd",
        "a negative length": b"POST / HTTP/1.1\r\nHEADContent-Length: -1\r\n\r\n",
        "chunked twice": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunked, chunked": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "chunked is not last": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "xchunked": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "gzip, chunked": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "a space before the colon": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "a folded line": b"POST / HTTP/1.1\r\nHEADX: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a folded coding": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "a bare LF": b"POST / HTTP/1.1\r\nHEADX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "an end of bare LFs": b"POST / HTTP/1.1\r\nHEADX: a\n\nGET /smuggled HTTP/1.1\r\n\r\n",
        "a bare CR": b"POST / HTTP/1.1\r\nHEADX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a NUL": b"POST / HTTP/1.1\r\nHEADX: a\0b\r\n\r\n",
        "a chunk that is no number": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "a chunk with a bare LF": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
        "a chunk longer than it says": b"POST / HTTP/1.1\r\nHEADTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        "an absolute target": b"GET http://evil.example/ HTTP/1.1\r\nHEAD\r\n",
        "an absolute target of its own": b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHEAD\r\n",
        "no path": b"OPTIONS * HTTP/1.1\r\nHEAD\r\n",
        "a tunnel": b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHEAD\r\n",
        "two hosts": b"GET / HTTP/1.1\r\nHEADHost: evil.example\r\n\r\n",
        "two hosts, ours last": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHEAD\r\n",
        "an older version": b"GET / HTTP/1.0\r\nHEAD\r\n",
        "no version": b"GET /\r\nHEAD\r\n",
        "a space in the target": b"GET /a b HTTP/1.1\r\nHEAD\r\n",
        "a target beyond ASCII": b"GET /\xff HTTP/1.1\r\nHEAD\r\n",
        "pipelined": b"GET / HTTP/1.1\r\nHEAD\r\nGET /smuggled HTTP/1.1\r\nHEAD\r\n",
        "a handshake with a body": b"GET / HTTP/1.1\r\nHEADUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nContent-Length: 40\r\n\r\n",
    }  # fmt: skip


def test_what_could_be_read_in_two_ways_reaches_no_app(relay: Relay) -> None:
    browser, lines = relay.entered(), list[str]()

    async def tried() -> None:

        async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1").partition("\r\n")[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        async with joined_to(relay, app):
            for name, data in smuggling().items():
                lines.clear()
                answer = await asyncio.to_thread(relay.raw, data.replace(b"HEAD", browser.head) + SMUGGLED)
                # Who is reset may lose the refusal; of a handshake the app was asked before it.
                lost = answer == b"" and (not lines or name == "a handshake with a body")
                assert 400 <= status_of(answer) < 600 or lost, (name, answer)
                assert not any("smuggled" in line for line in lines), (name, lines)
                assert b"200 OK" not in answer, name

    asyncio.run(tried())


def test_what_comes_after_the_body_is_no_part_of_the_head(relay: Relay) -> None:
    browser = relay.entered()
    trailers = b"Cookie: forged=1\r\nX-Trailer: 1\r\nAuthorization: token forged\r\n\r\n"
    data = (
        b"POST / HTTP/1.1\r\n"
        + browser.head
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        + trailers
    )

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            answer = await asyncio.to_thread(relay.raw, data)
        assert status_of(answer) == 200 and b'"bytes": 1' in answer
        assert b"forged" not in answer and b"X-Trailer" not in answer

    asyncio.run(tried())


# Bounds


def test_heads_are_short_and_come_soon(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"GET / HTTP/1.1\r\nHost: " + relay.app.netloc.encode() + b"\r\nX: " + b"y" * 70_000
    assert b"200" not in relay.raw(long + b"\r\n\r\n")[:20]
    assert relay.raw(long) == b""  # not even at its end
    monkeypatch.setattr(app_requests, "REQUEST_S_MAX", 0.2)
    for half in (b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: " + relay.app.netloc.encode()):
        assert relay.raw(half) == b""


def test_a_body_may_take_its_time_and_a_head_after_it_may_not(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_requests, "REQUEST_S_MAX", 1.0)
    browser = relay.entered()
    asks = b"POST / HTTP/1.1\r\n" + browser.head + b"Content-Length: 4\r\n\r\n"

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            way = socket.create_connection(("127.0.0.1", relay.port))
            way.sendall(asks)  # with nothing between, whatever else the machine does
            reader, writer = await asyncio.open_connection(sock=way)
            for is_first in (True, False):
                if not is_first:
                    writer.write(asks)
                for _ in range(4):
                    await asyncio.sleep(0.3)
                    writer.write(b"x")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            writer.write(b"GET / HTTP")
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
            writer.transport.abort()
            await asyncio.sleep(0)

    asyncio.run(tried())


def test_half_open_requests_are_bounded_and_others_are_served(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_requests, "HALF_OPEN_MAX", 50)
    browser, half = relay.entered(), list[socket.socket]()
    before = len(app_requests.AppRequest._waiting)

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for _ in range(300):
                half.append(socket.create_connection(("127.0.0.1", relay.port)))
                half[-1].sendall(b"GET / HTTP/1.1\r\nX: ")
            assert (await browser.ask()).status_code == 200
            assert len(app_requests.AppRequest._waiting) <= before + 51

    try:
        asyncio.run(tried())
    finally:
        for one in half:
            one.close()


def test_grants_and_streams_are_bounded(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, other = relay.entered(), relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            monkeypatch.setattr(granting, "GRANTS_MAX", 1)
            assert (await browser.ask()).status_code == 200
            assert (await other.ask()).status_code == 503
            for name in ("STREAMS_MAX", "STREAMS_PER_RUN_MAX", "STREAMS_PER_ORGANISATION_MAX"):
                with monkeypatch.context() as limited:
                    limited.setattr(granting, name, 0)
                    refused = await browser.ask()
                    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10"), name
            assert (await browser.ask()).status_code == 200

    asyncio.run(tried())


def test_a_database_that_hangs_keeps_nobody_from_being_cut(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = threading.Event()
    monkeypatch.setattr(granting, "IDLE_S_MAX", 0.0)
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await browser.ask()).status_code == 200
            with monkeypatch.context() as broken:
                broken.setattr(services, "close_connection", lambda **_: hung.wait(2 * PATIENCE_S))
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await relay.renews()
                        await relay.renews()
                finally:
                    hung.set()

    asyncio.run(tried())


class _AtOnce:
    """A stream that has all of it there: reading never waits."""

    is_quiet = False

    def __init__(self, data: bytes) -> None:
        self._parts = [data, b""]

    async def read(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    async def write(self, data: bytes) -> None: ...


def test_crumbs_of_an_app_leave_others_their_turns(settings: Any) -> None:
    settings.MOSU_RELAY_URL, settings.MOSU_APPS_HOST = "http://127.0.0.1:8001", "apps.localhost"
    chunks = 40_000
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"
    parts, turns = list[bytes](), 0

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))

    async def receive() -> Any:
        return (
            {"type": "http.request", "body": b"", "more_body": False} if not turns else await asyncio.Future()
        )

    async def counts() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def tried() -> None:
        others = asyncio.create_task(counts())
        app = AppHost(uuid4(), 8000)
        asked = proxy.Asked(app, "GET", b"/", [(b"host", b"x")])
        await proxy._Exchange(asked, _AtOnce(said), receive, proxy.Answer(send)).run()  # type: ignore[arg-type]
        others.cancel()

    asyncio.run(tried())
    assert b"".join(parts) == b"x" * chunks and len(parts) < chunks / 100
    assert turns > len(said) // proxy.PIECE_BYTES


def test_the_sessions_limit_of_connections_holds_for_browsers_too(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_PER_RUN_MAX", 1)
    browser, other = relay.entered(), relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await browser.ask()).status_code == 200
            assert (await other.ask()).json()["type"] == "urn:mosu:too_many_connections"

    asyncio.run(tried())


def test_a_hub_without_an_apps_host_says_what_to_set(fresh_db: None, settings: Any) -> None:
    settings.MOSU_RELAY_URL, settings.MOSU_APPS_HOST = "http://127.0.0.1:8001", ""
    session = make_session(now=timezone.now())
    person, _ = with_token(session.person, now=timezone.now())
    with pytest.raises(Exception, match="opens no app") as refused:
        make_ticket(actor=person, run_id=session.run.id, port=8888, sign_in="", now=timezone.now())
    assert "MOSU_APPS_HOST" in getattr(refused.value, "hint", "")
