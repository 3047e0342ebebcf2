"""The data plane under calls that nobody meant: no failure, and every refusal is a problem."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from mosu.compute.streams import listener, routes
from mosu.platform.problems import MEDIA_TYPE
from tests.api.world import make_personas

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for httpx2, which nothing else here needs
    from starlette.testclient import TestClient

EXAMPLES = int(os.environ.get("MOSU_FUZZ_EXAMPLES", "12"))
NOW = "2026-03-02T02:00:00Z"
SHA = "0" * 64
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
ODD = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "x",
        "\0",
        "é",
        "9" * 30,
        "../etc/passwd",
        SHA,
        SHA.upper(),
        "attempt_" + "z" * 26,
        "NaN",
        "\ud800",
    ]
)


def messages(ids: dict[str, str]) -> dict[str, dict[str, Any]]:
    """A good body for each call that takes one."""
    attempt = ids["attempt_id"]
    usage = {
        "attempt_id": attempt,
        "meter": "core_second",
        "sequence": 0,
        "quantity": 1,
        "start": NOW,
        "end": NOW,
    }
    report = {
        "epoch": 1,
        "phase": "succeeded",
        "exit_code": 0,
        "started_at": NOW,
        "ended_at": NOW,
        "measures": None,
    }
    return {
        "/agent/v1/register": {
            "agent_version": "1",
            "engine": "local",
            "clock_at": NOW,
            "nodes": [{"name": "n1", "cores": 4, "memory_bytes": 1, "disk_bytes": 1}],
            "sandbox": "bubblewrap",
            "sandbox_ok": True,
        },
        "/agent/v1/lease": {"epoch_seen": 0, "running": [attempt]},
        "/agent/v1/heartbeat": {
            "clock_at": NOW,
            "attempts": [{"attempt_id": attempt, "epoch": 1, "phase": "running"}],
        },
        "/agent/v1/usage": {"records": [usage]},
        "/agent/v1/health": {"node": "n1", "measures": [{"name": "cores", "value": 4}], "took_s": 1},
        "/agent/v1/attempts/{attempt_id}/log": {"offset": 0, "text": "hello\n"},
        "/agent/v1/attempts/{attempt_id}/report": {**report, "log_bytes": 0, "outputs": []},
        "/api/v1/blobs/missing": {"sha256": [SHA]},
    }


def mended(good: Any, data: st.DataObject) -> Any:
    """`good` with one value, somewhere in it, replaced by another."""
    if isinstance(good, dict) and good and data.draw(st.integers(0, 9)):
        name = data.draw(st.sampled_from(sorted(good)))
        return {**good, name: mended(good[name], data)}
    if isinstance(good, list) and good and data.draw(st.integers(0, 4)):
        return [mended(good[0], data), *good[1:]]
    return data.draw(ODD | SCALARS | JSON)


@pytest.fixture
def client(fresh_db: Any, settings: Any, tmp_path: Any) -> Iterator[TestClient]:
    settings.DATA_DIR = tmp_path

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        async with listener:
            yield

    with TestClient(Starlette(routes=routes, lifespan=lifespan), raise_server_exceptions=False) as client:
        yield client


def test_no_call_fails(client: TestClient) -> None:
    personas = make_personas()
    good = messages(dict(personas.ids))
    known = {**personas.ids, "sha256": SHA, "path": "a/b.txt"}
    seen: Counter[int] = Counter()
    for route in routes:
        assert isinstance(route, Route)
        _fuzz(
            client,
            route,
            good=good.get(route.path),
            known=known,
            headers=list(personas.headers.values()),
            seen=seen,
        )
    assert seen[200] > 5, seen
    assert seen[422] > 20, seen


def _fuzz(
    client: TestClient,
    route: Route,
    *,
    good: dict[str, Any] | None,
    known: dict[str, str],
    headers: list[dict[str, str]],
    seen: Counter[int],
) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(data=st.data())
    def call(data: st.DataObject) -> None:
        path, is_known = route.path, data.draw(st.integers(0, 3)) > 0
        for name in route.param_convertors:
            value = known[name] if is_known else data.draw(ODD)
            path = path.replace("{" + name + ":path}", "{" + name + "}")
            path = path.replace("{" + name + "}", quote(value, safe="/", errors="replace") or "-")
        body = data.draw(st.binary(max_size=64)) if good is None else json.dumps(mended(good, data)).encode()
        # Large numbers would make a lease wait, and following a run that goes on has no end.
        query = {name: data.draw(ODD.filter(lambda text: text != "9" * 30)) for name in ("wait_s", "offset")}
        for persona in headers:
            response = client.request(
                next(iter(route.methods - {"HEAD"})),
                path,
                content=body,
                params={name: value.encode(errors="replace").decode() for name, value in query.items()},
                headers=persona,
            )
            assert response.status_code < 500, f"{path} {query} {body!r}: {response.text}"
            if response.status_code >= 400 and response.status_code not in (404, 405):
                assert response.headers["Content-Type"].startswith(MEDIA_TYPE), response.text
            seen[response.status_code] += 1

    call()
