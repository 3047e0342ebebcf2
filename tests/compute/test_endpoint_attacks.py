"""Who may not ask at an endpoint, and what is refused before any replica sees it."""

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost
from mosu.compute.models import Endpoint, EndpointKey, EndpointRequest, Run, Ticket
from mosu.compute.relay import app as relay_app
from mosu.compute.relay import endpoint_entries, endpoints, renewing
from mosu.compute.relay.app_headers import cookie_name
from mosu.compute.services import endpoint_entry
from mosu.compute.stream_doors import in_thread
from mosu.kernel.ids import uuid7
from mosu.platform.actors import SYSTEM
from mosu.platform.models import Organisation, User
from mosu.platform.services import record_audit
from mosu.runtime import app_requests
from tests.compute.asking import (
    Asker,
    all_well,
    anybody,
    asking,
    end_endpoint,
    host_of,
    make_endpoint,
    make_key,
    once,
    program,
)
from tests.compute.browsing import Relay, answers, asgi_at, asked, asked_at_once, joined_to
from tests.compute.test_endpoint_relay import all_of, in_relay
from tests.compute.test_relay_http_attacks import SMUGGLED, smuggling, status_of
from tests.patience import PATIENCE_S
from tests.platform.factories import make_user

STREAMING = b"HTTP/1.1 200 OK\r\n\r\nbegun"


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with asking(settings, monkeypatch) as relay:
        settings.MOSU_URL = "http://hub.localhost"
        settings.ALLOWED_HOSTS = ["*"]
        yield relay


def signed_in() -> tuple[Client, User]:
    """Somebody of no organisation, on the hub's pages."""
    user = make_user()
    client = Client()
    client.force_login(user)
    return client, user


def led_back(client: Client, endpoint: Endpoint, path: str = "/") -> str:
    """The address to which the hub leads the browser."""
    answer = client.get(f"/endpoints/{endpoint.public_id}/open", {"path": path})
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def redeemed(relay: Relay, url: str) -> httpx.Response:
    parts = urlsplit(url)
    with asked_at_once() as client:
        address = f"http://127.0.0.1:{relay.port}{parts.path}?{parts.query}"
        return client.get(address, headers={"Host": parts.netloc})


def browser(relay: Relay, endpoint: Endpoint, client: Client) -> Asker:
    opened = redeemed(relay, led_back(client, endpoint))
    assert opened.status_code == 303, opened.text
    cookie = SimpleCookie(opened.headers["set-cookie"])[cookie_name()].value
    return Asker(relay, host_of(endpoint), {"Cookie": f"{cookie_name()}={cookie}"})


async def is_cut(relay: Relay, asker: Asker, over: Any) -> bool:
    """Whether a stream under way breaks off once it is `over`."""
    async with joined_to(relay, answers(STREAMING, hold=True)), asked() as client:
        url, headers = f"http://127.0.0.1:{relay.port}/", {"Host": asker.host.netloc} | asker.headers
        with pytest.raises(httpx.TransportError):
            async with client.stream("GET", url, headers=headers) as answer:
                parts = answer.aiter_raw()
                assert await anext(parts) == b"begun"
                await over()
                async with asyncio.timeout(PATIENCE_S):
                    await anext(parts)
        return True


# Keys


@pytest.mark.parametrize(
    "where", ["none", "wrong", "another's", "revoked", "query", "cookie", "twice", "hub's", "basic"]
)
def test_without_a_key_of_its_own_nobody_asks(relay: Relay, where: str) -> None:
    endpoint = make_endpoint(relay)
    host = host_of(endpoint)
    key, secret = make_key(endpoint)
    _, anothers = make_key(make_endpoint(relay))
    path, headers = "/", dict[str, str]()
    if where == "wrong":
        headers = {"Authorization": "Bearer sk-mosu-" + "0" * 43}
    elif where == "another's":
        headers = {"Authorization": f"Bearer {anothers}"}
    elif where == "revoked":
        EndpointKey.objects.filter(id=key.id).update(revoked_at=timezone.now())
        headers = {"Authorization": f"Bearer {secret}"}
    elif where == "query":
        path = f"/?api_key={secret}&key={secret}"
    elif where == "cookie":
        headers = {"Cookie": f"{cookie_name()}={secret}"}
    elif where == "twice":
        headers = {"Authorization": f"Bearer {secret}, Bearer {secret}"}
    elif where == "hub's":
        headers = {"Authorization": f"Bearer mosu_{'0' * 40}"}
    elif where == "basic":
        headers = {"Authorization": f"Basic {secret}"}

    heads = list[bytes]()

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))  # whether it is well is asked without one

    async def tried() -> None:
        async with joined_to(relay, app):
            refused = await Asker(relay, host, headers).ask("POST", path, content=b"x")
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="mosu"')
            assert refused.json()["title"] == "This endpoint needs a key of its own."
            await in_relay(relay, relay_app.endpoints._notes.write)
            row = await in_thread(Endpoint.objects.get, id=endpoint.id)
            assert (row.asked_at, row.in_flight) == (None, 0)
            assert not await in_thread(EndpointRequest.objects.exists)
        assert heads == []

    asyncio.run(tried())


def test_a_key_that_is_revoked_ends_what_is_under_way(relay: Relay) -> None:
    endpoint = make_endpoint(relay)
    asker = program(relay, endpoint)

    async def over() -> None:
        await in_thread(EndpointKey.objects.update, revoked_at=timezone.now())
        await in_relay(relay, relay_app.endpoints.entries.renew)

    async def tried() -> None:
        assert await is_cut(relay, asker, over)
        assert (await asker.ask()).status_code == 401

    asyncio.run(tried())


def test_a_silent_database_cuts_everybody_in_the_end(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = program(relay, make_endpoint(relay))

    def away(**_: Any) -> None:
        raise RuntimeError("the database is away")

    async def over() -> None:
        monkeypatch.setattr(services, "renew_entries", away)
        await in_relay(relay, relay_app.endpoints.entries.renew)
        assert len(relay_app.endpoints.entries._held) == 1
        monkeypatch.setattr(renewing, "UNSURE_S", renewing.RENEW_S)
        await in_relay(relay, relay_app.endpoints.entries.renew)

    async def tried() -> None:
        assert await is_cut(relay, asker, over)

    asyncio.run(tried())


def test_an_endpoint_of_which_the_database_says_nothing_ends_too(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = anybody(relay, make_endpoint(relay, auth="public"))

    def away(**_: Any) -> None:
        raise RuntimeError("the database is away")

    async def over() -> None:
        monkeypatch.setattr(services, "endpoint_routes", away)
        monkeypatch.setattr(endpoints, "UNSURE_S", 0.0)
        await in_relay(relay, relay_app.endpoints.refresh)

    async def tried() -> None:
        assert await is_cut(relay, asker, over)

    asyncio.run(tried())


# Whose address it is


def test_an_endpoint_that_ended_is_gone_and_cuts_what_is_under_way(relay: Relay) -> None:
    endpoint = make_endpoint(relay)
    asker = program(relay, endpoint)

    async def over() -> None:
        await in_thread(end_endpoint, endpoint=endpoint)
        await in_relay(relay, relay_app.endpoints.refresh)

    async def tried() -> None:
        assert await is_cut(relay, asker, over)
        gone = await asker.ask()
        assert (gone.status_code, gone.json()["type"]) == (410, "urn:mosu:endpoint_gone")
        other = Asker(relay, EndpointHost("nobody-0123456789"), asker.headers)
        assert (await other.ask()).status_code == 404

    asyncio.run(tried())


def test_the_key_of_an_ended_endpoint_opens_none_that_takes_its_address(relay: Relay) -> None:
    ended = make_endpoint(relay, replicas=0)
    _, secret = make_key(ended)
    end_endpoint(ended)
    made_again = make_endpoint(relay, name=ended.name)
    assert host_of(made_again) == host_of(ended)
    asker = Asker(relay, host_of(made_again), {"Authorization": f"Bearer {secret}"})

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await asker.ask()).status_code == 401
            assert (await program_of_it.ask()).status_code == 200

    program_of_it = program(relay, made_again)
    asyncio.run(tried())


def test_an_endpoint_of_an_organisation_that_is_no_longer_active_is_gone(relay: Relay) -> None:
    endpoint = make_endpoint(relay, auth="public")
    now = timezone.now()

    def suspend() -> None:
        with transaction.atomic():
            record_audit(
                actor=SYSTEM, action="test", subject_id=endpoint.organisation_id, before="active",
                after="suspended", now=now,
            )  # fmt: skip
            Organisation.objects.filter(id=endpoint.organisation_id).update(state="suspended")

    async def over() -> None:
        await in_thread(suspend)
        await in_relay(relay, relay_app.endpoints.refresh)

    async def tried() -> None:
        asker = anybody(relay, endpoint)
        assert await is_cut(relay, asker, over)
        assert (await asker.ask()).status_code == 410

    asyncio.run(tried())


def test_when_who_may_ask_is_changed_what_was_let_in_ends(relay: Relay) -> None:
    endpoint = make_endpoint(relay, auth="public")
    asker = anybody(relay, endpoint)

    async def over() -> None:
        await in_thread(Endpoint.objects.update, auth="key")
        await in_relay(relay, relay_app.endpoints.refresh)

    async def tried() -> None:
        assert await is_cut(relay, asker, over)
        assert (await asker.ask()).status_code == 401

    asyncio.run(tried())


def test_a_key_opens_no_endpoint_that_asks_who_is_signed_in_now(relay: Relay) -> None:
    """It was in use when the endpoint's word was changed, and comes again in the place of a browser's cookie."""
    endpoint = make_endpoint(relay)
    _, secret = make_key(endpoint)
    asker = Asker(relay, host_of(endpoint), {"Authorization": f"Bearer {secret}"})
    again = Asker(relay, host_of(endpoint), {"Cookie": f"{cookie_name()}={secret}"})

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await asker.ask()).status_code == 200
            await in_thread(Endpoint.objects.update, auth="hub")
            await in_relay(relay, relay_app.endpoints.refresh)
            assert (await again.ask()).status_code == 401

    asyncio.run(tried())


def test_who_has_many_keys_keeps_nobody_out(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_entries, "PASSES_MAX", 2)
    endpoint = make_endpoint(relay)
    askers = [program(relay, endpoint) for _ in range(4)]

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for asker in (*askers, *askers):
                assert (await asker.ask()).status_code == 200
            assert len(relay_app.endpoints.entries._held) == 2

    asyncio.run(tried())


# Who is signed in


def test_a_browser_is_led_to_the_hub_and_comes_back(relay: Relay) -> None:
    endpoint = make_endpoint(relay, auth="hub")
    client, user = signed_in()
    stranger = anybody(relay, endpoint)

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await stranger.ask()).status_code == 401
            assert (await stranger.ask("POST", headers={"Accept": "text/html"})).status_code == 401
            framed = {"Accept": "text/html", "Sec-Fetch-Dest": "iframe"}
            assert (await stranger.ask(headers=framed)).status_code == 401
            led = await stranger.ask(path="/a?x=1", headers={"Accept": "text/html,*/*"})
            assert led.status_code == 303
            assert led.headers["location"] == (
                f"http://hub.localhost/endpoints/{endpoint.public_id}/open?path=%2Fa%3Fx%3D1"
            )
            assert not await in_thread(Ticket.objects.exists)
            back = await in_thread(lambda: led_back(client, endpoint, "/a?x=1"))
            opened = await asyncio.to_thread(redeemed, relay, back)
            assert (opened.status_code, opened.headers["location"]) == (303, "/a?x=1")
            cookie = opened.headers["set-cookie"]
            assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "domain" not in cookie.lower()
            again = await asyncio.to_thread(redeemed, relay, back)
            assert again.status_code == 403 and "set-cookie" not in again.headers
            secret = SimpleCookie(cookie)[cookie_name()].value
            headers = {"Cookie": f"{cookie_name()}={secret}; sessionid=hubs; theirs=1"}
            seen = (await Asker(relay, host_of(endpoint), headers).ask()).json()
            told = {name.lower(): value for name, value in seen["headers"]}
            assert told["cookie"] == "theirs=1" and secret not in json.dumps(seen)
            (row,) = await once(all_of(EndpointRequest))
            assert (row.user_id, row.key_id) == (user.id, None)

    asyncio.run(tried())


def test_only_who_is_signed_in_gets_a_ticket_and_only_where_that_is_asked(relay: Relay) -> None:
    endpoint, keyed = make_endpoint(relay, auth="hub", replicas=0), make_endpoint(relay, replicas=0)
    strange = Client().get(f"/endpoints/{endpoint.public_id}/open", {"path": "/a"})
    assert (
        strange.status_code == 302
        and "/endpoints/" in parse_qs(urlsplit(strange["Location"]).query)["next"][0]
    )
    client, _ = signed_in()
    assert client.post(f"/endpoints/{endpoint.public_id}/open").status_code == 405
    assert client.get(f"/endpoints/{keyed.public_id}/open").status_code == 409
    end_endpoint(endpoint)
    assert client.get(f"/endpoints/{endpoint.public_id}/open").status_code == 404
    assert Ticket.objects.count() == 0


def test_the_way_back_leads_to_no_other_host(relay: Relay) -> None:
    client, _ = signed_in()
    endpoint = make_endpoint(relay, auth="hub", replicas=0)
    for path in ("//evil.example/", "/\\evil.example", "https://evil.example/", "/a\r\nX: 1", "/a\\b", ""):
        opened = redeemed(relay, led_back(client, endpoint, path))
        assert (opened.status_code, opened.headers["location"]) == (303, "/"), path


@pytest.mark.parametrize("how", ["signed out", "disabled", "cookie's time"])
def test_a_browser_ends_with_its_sign_in(relay: Relay, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "cookie's time":
        monkeypatch.setattr(endpoint_entry, "COOKIE_AT_MOST", timedelta(minutes=1))
    endpoint = make_endpoint(relay, auth="hub")
    client, user = signed_in()
    asker = browser(relay, endpoint, client)

    async def over() -> None:
        if how == "signed out":
            await in_thread(client.logout)
        elif how == "disabled":
            await in_thread(User.objects.filter(id=user.id).update, is_active=False)
        else:
            then = timezone.now() + timedelta(minutes=1)
            monkeypatch.setattr(timezone, "now", lambda: then)
        await in_relay(relay, relay_app.endpoints.entries.renew)

    async def tried() -> None:
        assert await is_cut(relay, asker, over)
        assert (await asker.ask()).status_code == 401

    asyncio.run(tried())


def test_cookies_and_tickets_of_one_host_open_no_other(relay: Relay) -> None:
    endpoint, other = (make_endpoint(relay, auth="hub") for _ in range(2))
    client, _ = signed_in()
    asker = browser(relay, endpoint, client)
    of_app = relay.entered()
    url = led_back(client, endpoint)
    there = urlsplit(url)._replace(netloc=host_of(other).netloc).geturl()
    assert redeemed(relay, there).status_code == 403
    assert redeemed(relay, urlsplit(url)._replace(netloc=relay.app.netloc).geturl()).status_code == 403
    app_ticket = f"{host_of(endpoint).origin}/.mosu/open?ticket={relay.ticket(relay.app)}"
    assert redeemed(relay, app_ticket).status_code == 403

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            assert (await asker.ask()).status_code == 200
            assert (await Asker(relay, host_of(other), asker.headers).ask()).status_code == 401
            crossed = Asker(relay, host_of(endpoint), {"Cookie": of_app.headers["Cookie"]})
            assert (await crossed.ask()).status_code == 401
            assert (await of_app.ask(headers={"Cookie": asker.headers["Cookie"]})).status_code == 401

    asyncio.run(tried())


def test_the_database_gives_a_ticket_one_host(relay: Relay) -> None:
    endpoint, (run, *_) = make_endpoint(relay, replicas=0), Run.objects.all()
    facts: dict[str, Any] = {
        "user_id": endpoint.owner_id, "sign_in": "x", "made_at": timezone.now(), "expires_at": timezone.now()
    }  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {},
        {"run": run},
        {"port": 80},
        {"endpoint": endpoint, "run": run},
        {"endpoint": endpoint, "port": 80},
        {"endpoint": endpoint, "run": run, "port": 80},
    ]
    for number, one in enumerate(wrong):
        with pytest.raises(IntegrityError, match="ticket_is_for_one_host"), transaction.atomic():
            Ticket.objects.create(secret_sha256=f"{number}", **one, **facts)


# Other sites' pages


@pytest.mark.parametrize("auth", ["hub", "key", "public"])
def test_another_sites_page_speaks_for_nobody(relay: Relay, auth: str) -> None:
    """Who comes with a cookie is protected from other pages; where no cookie lets in, that is the replica's affair."""
    endpoint = make_endpoint(relay, auth=auth)
    client, _ = signed_in()
    asker = {"hub": lambda: browser(relay, endpoint, client), "key": lambda: program(relay, endpoint)}.get(
        auth, lambda: anybody(relay, endpoint)
    )()
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    said = b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n"

    async def tried() -> None:
        async with joined_to(relay, answers(said)):
            answer = await asker.ask("POST", headers=foreign)
            if auth == "hub":
                assert (answer.status_code, answer.json()["type"]) == (403, "urn:mosu:foreign_origin")
            else:
                assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
            preflight = await anybody(relay, endpoint).ask(
                "OPTIONS", headers=foreign | {"Access-Control-Request-Method": "POST"}
            )
            assert preflight.status_code == {"hub": 403, "key": 401, "public": 200}[auth]

    asyncio.run(tried())


@pytest.mark.parametrize("auth", ["hub", "public"])
def test_no_token_and_no_key_reaches_a_replica_that_asks_for_none(relay: Relay, auth: str) -> None:
    endpoint = make_endpoint(relay, auth=auth)
    client, _ = signed_in()
    asker = browser(relay, endpoint, client) if auth == "hub" else anybody(relay, endpoint)

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for secret in (f"mosu_{'0' * 40}", f"sk-mosu-{'0' * 40}"):
                for scheme in ("Bearer", "bearer", "BEARER  "):
                    refused = await asker.ask(headers={"Authorization": f"{scheme} {secret}"})
                    assert refused.status_code == 400
            own = {"Authorization": "Bearer theirs"}
            told = dict((await asker.ask(headers=own)).json()["headers"])
            assert {name.lower(): value for name, value in told.items()}["authorization"] == "Bearer theirs"

    asyncio.run(tried())


# Smuggling and bounds


def test_what_could_be_read_in_two_ways_reaches_no_replica(relay: Relay) -> None:
    asker = anybody(relay, make_endpoint(relay, auth="public"))

    async def tried() -> None:
        lines = list[str]()

        async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1").partition("\r\n")[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        requests = {name: data.replace(b"HEAD", asker.head) for name, data in smuggling().items()}
        async with joined_to(relay, app):
            said = await asyncio.gather(
                *(asyncio.to_thread(relay.raw, data + SMUGGLED) for data in requests.values())
            )
        for name, answer in zip(requests, said, strict=True):
            assert 400 <= status_of(answer) < 600 or answer == b"", (name, answer)
            assert b"200 OK" not in answer, name
        assert not any("smuggled" in line for line in lines), lines

    asyncio.run(tried())


def test_blanks_behind_a_value_make_no_replica_ill(relay: Relay) -> None:
    """They are no part of it (RFC 9110 section 5.5), and are written by whoever likes."""
    asker, heads = anybody(relay, make_endpoint(relay, auth="public")), list[bytes]()

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def tried() -> None:
        async with joined_to(relay, answered):
            assert (await asker.ask()).status_code == 200
            for method in (b"GET", b"POST"):
                end = b"Connection: close\r\n\r\n"
                request = method + b" / HTTP/1.1\r\n" + asker.head + b"X-Told: it \t \r\n" + end
                assert status_of(await asyncio.to_thread(relay.raw, request)) == 200
                assert b"x-told: it\r\n" in heads[-1].lower()
                assert all_well(relay_app.endpoints)

    asyncio.run(tried())


def test_a_thousand_half_open_requests_keep_nobody_from_being_answered(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_requests, "HALF_OPEN_MAX", 100)
    asker, half = program(relay, make_endpoint(relay)), list[socket.socket]()
    before = len(app_requests.AppRequest._waiting)

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for _ in range(1_000):
                half.append(socket.create_connection(("127.0.0.1", relay.port)))
                half[-1].sendall(b"POST / HTTP/1.1\r\nHost: ")
            assert (await asker.ask()).status_code == 200
            assert len(app_requests.AppRequest._waiting) <= before + 101

    try:
        asyncio.run(tried())
    finally:
        for one in half:
            one.close()


def test_a_slow_reader_holds_up_its_own_answer_alone(relay: Relay) -> None:
    asker, sent = program(relay, make_endpoint(relay)), [0]

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = 100 << 20 if head.startswith(b"GET /flood") else 2
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent[0] += 1
        writer.write(bytes(size % (1 << 20)))

    async def tried() -> None:
        async with joined_to(relay, floods):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=1024)
            writer.write(b"GET /flood HTTP/1.1\r\n" + asker.head + b"\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            while sent[0] < 1:
                await asyncio.sleep(0.01)
            assert [(await asker.ask()).status_code for _ in range(5)] == [200] * 5
            assert sent[0] < 40
            writer.transport.abort()
            await asyncio.sleep(0)

    asyncio.run(tried())


def test_a_newer_pass_is_not_taken_for_the_one_that_was_asked_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have taken its place while the database was asked."""

    async def tried() -> None:
        with ThreadPoolExecutor(1) as executor:
            entries, entry = endpoint_entries.Entries(executor), services.Entry(key_id=uuid7())
            key = uuid7(), "key", "digest"
            asked, newer = (endpoint_entries.Pass(entry, "key") for _ in range(2))
            entries._held[key] = asked

            def says(**_: Any) -> dict[services.Entry, str]:
                entries._held[key] = newer
                return {entry: "its key was revoked"}

            monkeypatch.setattr(services, "renew_entries", says)
            await entries.renew()
            assert asked.hold.has_ended and not newer.hold.has_ended
            assert entries._held[key] is newer

    asyncio.run(tried())
