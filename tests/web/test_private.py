"""What is somebody's own is kept by no cache, the hub answers to its own names, and a body has a limit."""

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from django.test import Client
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mosu.compute.stream_doors import stream_door
from mosu.platform.actors import Role
from tests.market.test_api import token_of
from tests.web.conftest import Hub

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for httpx2, which nothing else here needs
    from starlette.testclient import TestClient

WRONG = "evil.example"


@pytest.fixture
def stream() -> Iterator[TestClient]:
    @stream_door("hub.look")
    async def seen(request: Any) -> PlainTextResponse:
        return PlainTextResponse("seen")

    @stream_door("run.read")
    async def read(request: Any) -> PlainTextResponse:
        return PlainTextResponse("read")

    with TestClient(Starlette(routes=[Route("/seen", seen), Route("/read", read)])) as client:
        yield client


def test_no_cache_keeps_what_is_somebodys_own(hub: Hub, owner: Client) -> None:
    token = token_of(hub.world.buyer, Role.VIEWER)
    for path in ("/", "/orders/", "/you/", "/orders/nothing/"):
        assert "no-store" in owner.get(path)["Cache-Control"], path
    for path in ("/api/v1/orders", "/api/v1/offers", "/api/v1/orders/nothing"):
        assert Client().get(path, headers=token)["Cache-Control"] == "no-store", path
    given = Client().post("/api/v1/tokens", data={}, content_type="application/json")
    assert given["Cache-Control"] == "no-store"


def test_what_anyone_may_have_can_be_kept(hub: Hub) -> None:
    for path in ("/", "/api/v1/offers", "/api/v1/openapi.json", "/static/mosu/tokens.css"):
        answer = Client().get(path)
        assert answer.status_code == 200
        assert "no-store" not in answer.get("Cache-Control", ""), path
        assert b"".join(answer)


def test_no_cache_keeps_what_the_data_plane_answers_to_somebody(stream: TestClient) -> None:
    assert stream.get("/read").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in stream.get("/seen").headers


@pytest.mark.django_db
def test_what_programs_read_is_no_page_in_a_browser(stream: TestClient) -> None:
    for path in ("/api/v1/offers", "/api/v1/orders", "/api/v1/nothing"):
        assert "frame-ancestors 'none'" in Client().get(path)["Content-Security-Policy"], path
    assert "default-src 'none'" in Client().get("/api/v1/orders")["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in Client().get("/api/v1/docs")["Content-Security-Policy"]
    for path in ("/seen", "/read"):
        headers = stream.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert headers["X-Content-Type-Options"] == "nosniff", path


UNKNOWN = ("/api/v1/nothing", "/api/v1/orders/a/b/c", "/api/v2/", "/agent/v1/nothing")


@pytest.mark.django_db
@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_programs_learn_of_an_unknown_address_as_of_any_refusal(path: str, method: str) -> None:
    answer = getattr(Client(), method)(path, headers={"Accept-Language": "zh"})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["title"] == "此地址没有内容。"
    assert not answer.cookies
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.django_db
def test_programs_learn_which_methods_an_address_takes() -> None:
    answer = Client().delete("/api/v1/offers")
    assert (answer.status_code, answer["Content-Type"]) == (405, "application/problem+json")
    assert answer["Allow"] == answer.json()["allowed"] == "GET, POST"
    assert answer.json()["type"] == "urn:mosu:wrong_method"
    assert not answer.cookies
    page = Client().get("/account/logout/nothing/")
    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_so_they_do_of_the_data_planes_addresses() -> None:
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    client = TestClient(asgi.application)  # entered by nobody: no catalogue is read
    for method, path in (("POST", "/api/v1/runs/a/log"), ("GET", "/agent/v1/lease"), ("POST", "/healthz")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (405, "application/problem+json"), path
        assert answer.headers["Allow"] == answer.json()["allowed"] != ""
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.django_db
def test_another_hubs_name_is_refused_by_pages_and_api(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["hub.example"]
    for path in ("/", "/api/v1/offers"):
        assert Client().get(path, headers={"Host": "hub.example:8000"}).status_code == 200
        assert Client().get(path, headers={"Host": WRONG}).status_code == 400
    refused = Client().get("/api/v1/offers", headers={"Host": WRONG}).json()
    assert (refused["type"], refused["found"]) == ("urn:mosu:wrong_host", WRONG)


def test_another_hubs_name_is_refused_by_the_data_plane(stream: TestClient, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["hub.example", ".wild.example"]
    for name in ("hub.example", "hub.example:8000", "any.wild.example"):
        assert stream.get("/seen", headers={"Host": name}).text == "seen"
    for name in (WRONG, "hub.example.evil.example", "hub.example@evil.example", ""):
        refused = stream.get("/seen", headers={"Host": name})
        assert (refused.status_code, refused.json()["type"]) == (400, "urn:mosu:wrong_host"), name


@pytest.mark.parametrize(("size_bytes", "status"), [(5 * 1024 * 1024, 413), (100_000, 422)])
def test_a_body_in_chunks_has_the_same_limit(db: None, size_bytes: int, status: int) -> None:
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"email": "'
        for _ in range(size_bytes // 50_000):
            yield b"a" * 50_000
        yield b'"}'

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(asgi.control_plane)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/api/v1/tokens", content=chunks())

    answer = asyncio.run(asked())
    assert answer.status_code == status
    if status == 422:  # it was read: the one field that came is named as too long
        assert "email" in json.dumps(answer.json())


@pytest.mark.parametrize(
    ("language", "said"), [("en", "larger than 4194304 bytes"), ("zh-hans", "超过 4194304 字节")]
)
def test_a_form_that_is_too_large_is_told_so(hub: Hub, language: str, said: str) -> None:
    client = hub.client(hub.user(role=Role.OWNER), language=language, strict=True)
    token = client.get("/you/tokens/").context["csrf_token"]
    answer = client.post(
        "/you/tokens/",
        data=f"csrfmiddlewaretoken={token}&name=" + "x" * (5 << 20),
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 413
    assert said in answer.content.decode()


def test_browsers_and_robots_find_what_they_ask_for_at_the_top(client: Client) -> None:
    icon, robots = (b"".join(client.get(path)) for path in ("/favicon.ico", "/robots.txt"))
    assert icon[:4] == b"\0\0\1\0"
    for path in ("/you/", "/orders/", "/receipts/", "/account/", "/api/"):
        assert f"Disallow: {path}\n".encode() in robots
