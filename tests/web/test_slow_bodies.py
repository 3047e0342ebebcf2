"""Slow senders hold no thread of Django's."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from mosu.platform.actors import Role
from mosu.web.bridge import environ_of
from mosu.web.uploads import IMPORTS_PATH
from tests.web.conftest import Hub


def test_a_body_that_does_not_come_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from mosu.web import asgi, bodies  # noqa: PLC0415 - sets Django up

    entered: list[bytes] = []
    sent: list[Any] = []

    async def threads(scope: Any, body: bytes, send: Any) -> None:
        entered.append(body)

    async def send(message: Any) -> None:
        sent.append(message)

    async def never() -> Any:
        await asyncio.Event().wait()

    parts = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": False},
    ]

    async def whole() -> Any:
        return parts.pop(0)

    chunked = {"type": "http", "http_version": "1.1", "headers": [(b"transfer-encoding", b"chunked")]}
    monkeypatch.setattr(asgi, "threads", threads)
    monkeypatch.setattr(bodies, "BODY_S_MAX", 0.05)
    asyncio.run(asgi.control_plane(chunked, never, send))
    assert (entered, sent[0]["status"]) == ([], 408)
    said = dict(sent[0]["headers"])
    assert (said[b"x-content-type-options"], said[b"cache-control"]) == (b"nosniff", b"no-store")
    assert b"default-src 'none'" in said[b"content-security-policy"]
    monkeypatch.setattr(bodies, "BODY_S_MAX", 60)
    asyncio.run(asgi.control_plane(chunked, whole, send))
    assert entered == [b"ab"]


def test_many_large_bodies_at_once_are_refused_and_small_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mosu.web import asgi, bodies  # noqa: PLC0415 - sets Django up

    entered: list[int] = []
    statuses: list[int] = []
    room = bodies.Room(250_000)
    monkeypatch.setattr(asgi, "_bodies", room)

    async def threads(scope: Any, body: bytes, send: Any) -> None:
        entered.append(len(body))
        while len(entered) + len(statuses) < 5:  # it is held until all have come
            await asyncio.sleep(0)

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def asked(size: int) -> None:
        parts = [{"body": b"a" * size, "more_body": True}, {"body": b"", "more_body": False}]
        scope = {"type": "http", "http_version": "1.1", "headers": [(b"transfer-encoding", b"chunked")]}

        async def receive() -> Any:
            return {"type": "http.request", **parts.pop(0)}

        await asgi.control_plane(scope, receive, send)

    async def together() -> None:
        await asyncio.gather(*[asked(100_000) for _ in range(4)], asked(1_000))

    monkeypatch.setattr(asgi, "threads", threads)
    asyncio.run(together())
    assert (sorted(entered), statuses) == ([1_000, 100_000, 100_000], [503, 503])
    assert room.used == 0


PARTS = [b"x" * 700_000] * 4


def upload(
    monkeypatch: pytest.MonkeyPatch, path: str, parts: list[bytes], *, entered: list[Any]
) -> list[int]:
    """The statuses of an answer; `entered` gets what Django would read the body from, and the body."""
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    statuses: list[int] = []
    left = list(parts)

    async def threads(scope: Any, body: Any, send: Any) -> None:
        given = environ_of({"method": "POST", "path": path, "query_string": b"", **scope}, body)
        entered.append((type(body), given["CONTENT_LENGTH"], given["wsgi.input"].read()))

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def receive() -> Any:
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    headers = [(b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "http_version": "1.1", "headers": headers, "path": path}
    monkeypatch.setattr(asgi, "threads", threads)
    monkeypatch.setattr(asgi, "is_signed_in", lambda scope: True)
    asyncio.run(asgi.control_plane(scope, receive, send))
    return statuses


def test_a_file_that_a_browser_sends_lies_on_disk(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    settings.DATA_DIR = tmp_path
    entered: list[Any] = []
    assert upload(monkeypatch, IMPORTS_PATH, PARTS, entered=entered) == []
    ((kind, length, body),) = entered
    assert kind is not bytes
    assert (length, body) == (str(len(b"".join(PARTS))), b"".join(PARTS))
    assert list((tmp_path / "blobs" / "tmp").iterdir()) == []
    assert asgi._uploads.used == 0


def test_files_are_taken_from_those_who_are_signed_in(hub: Hub, settings: Any, tmp_path: Path) -> None:
    """Anybody else could fill the room for files and sign in never."""
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up
    from mosu.web.sessions import is_signed_in  # noqa: PLC0415

    settings.DATA_DIR = tmp_path
    client = hub.client(hub.user(role=Role.OWNER))
    own = f"sessionid={client.cookies['sessionid'].value}".encode()
    scope = {"type": "http", "http_version": "1.1", "path": IMPORTS_PATH, "method": "POST"}
    asked = [{**scope, "headers": [(b"cookie", cookie)]} for cookie in (own, b"sessionid=guessed", b"")]
    assert [is_signed_in(one) for one in asked] == [True, False, False]
    client.logout()
    assert not is_signed_in(asked[0])

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    statuses: list[Any] = []
    scope |= {"headers": [(b"transfer-encoding", b"chunked"), (b"host", b"localhost")], "query_string": b""}
    asyncio.run(asgi.control_plane(scope, receive, send))
    assert 400 <= statuses[0] < 500
    assert not (tmp_path / "blobs").exists()


def test_a_body_that_breaks_off_is_refused() -> None:
    """A chunk that is none is told like one who went away: whoever still listens hears that it was wrong."""
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run(asgi.control_plane(scope, receive, send))
    assert sent[0]["status"] == 400


def test_it_is_cut_where_it_is_too_large_and_other_forms_keep_their_limit(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    settings.DATA_DIR = tmp_path
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
    monkeypatch.setattr(asgi, "BODY_BYTES_MAX", {IMPORTS_PATH: 1_500_000})
    entered: list[Any] = []
    for path, most in ((IMPORTS_PATH, 1_500_000), ("/organisation/", 1_000_000)):
        upload(monkeypatch, path, PARTS, entered=entered)
        assert most < int(entered[-1][1]) <= most + len(PARTS[0])


def test_a_disk_that_takes_no_more_is_said(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "blobs").write_text("no folder")
    settings.DATA_DIR = tmp_path
    assert upload(monkeypatch, IMPORTS_PATH, PARTS, entered=[]) == [507]


def test_a_file_of_a_form_is_on_the_disk_of_the_blobs(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    sent = SimpleUploadedFile("list.csv", b"y" * 3_000_000)
    request = RequestFactory().post("/my-offers/imports/", {"file": sent})
    taken: Any = request.FILES["file"]
    assert (taken.name, taken.size) == ("list.csv", 3_000_000)
    assert os.fstat(taken.file.fileno()).st_size == 3_000_000
    assert os.fstat(taken.file.fileno()).st_dev == (tmp_path / "blobs" / "tmp").stat().st_dev
    assert taken.read() == b"y" * 3_000_000
    request.close()  # as Django does once it has answered
    assert taken.closed
