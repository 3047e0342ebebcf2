"""A database that cannot serve is told as such, and a bug is still a bug."""

import errno
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from ninja import NinjaAPI

from mosu.platform.auth import public_auth
from mosu.platform.database import troubles
from mosu.platform.database.troubles import trouble_of
from mosu.platform.doors import door
from mosu.platform.problems import install
from mosu.web import urls as site
from mosu.web.failing import failed

api = NinjaAPI(urls_namespace="troubles", docs_url=None)
install(api)


@api.get("/fail/{sqlstate}", auth=public_auth)
@door("hub.look")
def fail(request: Any, sqlstate: str) -> dict[str, Any]:
    _fail(sqlstate)
    return {}


def _page(request: Any, sqlstate: str) -> None:
    _fail(sqlstate)


urlpatterns = [path("api/x/", api.urls), path("page/<str:sqlstate>", _page), *site.urlpatterns]
handler500 = failed


def _fail(sqlstate: str) -> None:
    """As PostgreSQL does it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"do $$ begin raise exception using errcode = '{sqlstate}'; end $$")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(troubles, "_full_at", -troubles.SPACE_NOTED_S)
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.mark.parametrize(
    ("sqlstate", "status", "code"),
    [
        ("53100", 507, "disk_full"),
        ("53200", 503, "unavailable"),
        ("53300", 503, "unavailable"),
        ("57P01", 503, "unavailable"),
        ("57P03", 503, "unavailable"),
        ("57014", 503, "unavailable"),
        ("58030", 503, "unavailable"),
        ("40P01", 503, "unavailable"),
        ("55P03", 503, "unavailable"),
        ("25006", 503, "unavailable"),
        ("23505", 500, "unexpected"),
        ("22012", 500, "unexpected"),
        ("XX000", 500, "unexpected"),
    ],
)
@pytest.mark.django_db
def test_the_api_and_the_pages_tell_the_machines_trouble_from_a_bug(
    sqlstate: str, status: int, code: str
) -> None:
    client = Client(raise_request_exception=False)
    answer = client.get(f"/api/x/fail/{sqlstate}")
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:mosu:{code}")
    assert answer["Content-Type"] == "application/problem+json"
    shown = client.get(f"/page/{sqlstate}", headers={"Accept-Language": "zh-hans"})
    assert shown.status_code == status
    assert ("磁盘已满" in shown.content.decode()) == (status == 507)
    assert (
        (answer.get("Retry-After") is not None) == (shown.get("Retry-After") is not None) == (status == 503)
    )


def test_a_connection_that_is_gone_is_no_bug() -> None:
    for gone in (psycopg.OperationalError("server closed the connection"), psycopg.errors.AdminShutdown("")):
        error = OperationalError("wrapped")
        error.__cause__ = gone
        found = trouble_of(error)
        assert found is not None
        assert (found.status, found.code) == (503, "unavailable")
    assert trouble_of(ZeroDivisionError()) is None
    assert trouble_of(FileNotFoundError(errno.ENOENT, "no")) is None


def test_a_hub_that_was_refused_space_remembers_it_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not troubles.was_full()
    found = trouble_of(OSError(errno.ENOSPC, "No space left on device"))
    assert found is not None
    assert found.status == 507
    assert troubles.was_full()
    later = troubles.time.monotonic() + troubles.SPACE_NOTED_S + 1
    monkeypatch.setattr(troubles.time, "monotonic", lambda: later)
    assert not troubles.was_full()


def test_the_page_of_a_failure_asks_no_database() -> None:
    """No fixture of a database here: a query would fail the test."""
    try:
        raise OperationalError("x") from psycopg.errors.DiskFull("full")
    except OperationalError:
        answer = failed(RequestFactory().get("/"))
    assert answer.status_code == 507


@pytest.mark.parametrize(("wrong", "named"), [(200, 50), (2000, 1)])
def test_a_body_that_is_wrong_everywhere_is_answered_shortly(wrong: int, named: int) -> None:
    """A quarter of a million unknown members fit in 4 MiB; naming each took fourteen seconds."""
    body = {f"k{number}": 1 for number in range(wrong)}
    answer = Client().post("/api/v1/tokens", body, content_type="application/json")
    assert (answer.status_code, len(answer.json()["errors"])) == (422, named)
