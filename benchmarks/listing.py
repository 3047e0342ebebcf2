"""The first page of runs as JSON, whole and by each state, on a hub of two residents and 50,000 runs."""

# ruff: noqa: PLC0415 - Django is set up before these are called
import http.client
import json
import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from tests.hub import Hub

from benchmarks.bars import Figure
from benchmarks.idling import settled
from benchmarks.seeded.hub import seed

P95_MS: Final = 50.0
_WARM_UP: Final = 10


def listed(hub: Hub, *, owner_dsn: str, runs: int, times: int) -> list[Figure]:
    """For who sees every run of the hub, and for who sees those of its organisation, a half of them."""
    made = seed(
        owner_dsn, now=datetime.now(UTC), organisations=0, orders=runs, offers=1_000, usage_parts=(1,)
    )
    settled(hub)
    return [
        *_figures(hub, "auditor", _token_of(made.people.auditor_id), runs=runs, times=times),
        *_figures(
            hub, "resident", _token_of(made.resident.owner_id, made.resident.id), runs=runs, times=times
        ),
    ]


def _figures(hub: Hub, who: str, token: str, *, runs: int, times: int) -> list[Figure]:
    took = {state: _asked(hub.url, token, state, times) for state in ("", *_states())}
    slow = max(took, key=lambda state: _p95(took[state]))
    found = ", ".join(f"{state or 'all'} {_p95(ms):.0f}" for state, ms in took.items())
    every = [ms for one in took.values() for ms in one]
    note = f"{runs:,} runs; the slowest filter, {slow or 'all'}; p95 of each: {found}"
    return [
        Figure(f"runs listed by state, first page, as {who}, p95", _p95(took[slow]), "ms", P95_MS, note=note),
        Figure(f"runs listed, as {who}, median", statistics.median(every), "ms"),
    ]


def _states() -> Iterable[str]:
    from mosu.compute.states import RunState

    return (state.value for state in RunState)


def _token_of(user_id: UUID, organisation_id: UUID | None = None) -> str:
    from mosu.platform.actors import Scope
    from mosu.platform.models import User
    from mosu.platform.queries import actor_for_user
    from mosu.platform.services import make_token

    _, secret = make_token(
        actor=actor_for_user(User.objects.get(id=user_id)), name="reads", scopes=[Scope.READ],
        organisation_id=organisation_id, now=datetime.now(UTC),
    )  # fmt: skip
    return secret


def _asked(url: str, token: str, state: str, times: int) -> list[float]:
    """Milliseconds of each answer, over one kept connection; anything but a page of that state is an error."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=180)
    path = "/api/v1/runs" + (f"?state={state}" if state else "")
    took = []
    for _ in range(_WARM_UP + times):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != 200 or any(one["state"] != state for one in json.loads(text)["items"] if state):
            raise RuntimeError(f"{path}: {answer.status} {text[:300]!r}")
    connection.close()
    return took[_WARM_UP:]


def _p95(took: list[float]) -> float:
    return statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0]
