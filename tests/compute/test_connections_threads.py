"""Connections with real transactions: limits hold whatever comes at once, and nobody waits for another in a circle."""

from collections import Counter
from typing import Any

import pytest

from mosu.compute.models import Connection
from mosu.compute.services import Traffic, close_connection, open_connection, renew_connections
from mosu.compute.services import connections as module
from tests.compute.sessions import SESSION, Session, let_in, make_session
from tests.compute.world import at, started
from tests.conftest import NOW
from tests.market.test_threads import at_once


@pytest.fixture
def session(fresh_db: Any) -> Session:
    return make_session()


def test_of_those_that_come_at_once_as_many_are_joined_as_may_be(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_PER_RUN_MAX", 3)
    answers = at_once(8, lambda index: session.join(port=1 + index).connection_id)
    assert Counter(map(str, answers))["too_many_connections"] == 5
    assert Connection.objects.filter(closed_at=None).count() == 3


def test_so_it_is_for_all_runs_of_an_organisation(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_PER_ORGANISATION_MAX", 3)
    second, _ = started(session.world, text=SESSION)
    let_in(session.person, second)
    runs = [session.run.id, second.id]
    answers = at_once(
        8,
        lambda index: (
            open_connection(actor=session.person, run_id=runs[index % 2], port=80, now=NOW).connection_id
        ),
    )
    assert Counter(map(str, answers))["too_many_connections"] == 5
    assert Connection.objects.filter(closed_at=None).count() == 3


def test_noting_and_closing_at_once_lose_no_byte(session: Session) -> None:
    ids = [session.join().connection_id for _ in range(6)]

    def note(index: int) -> None:
        order = ids if index % 2 else ids[::-1]
        for step in range(1, 11):
            traffic = {key: Traffic(step * (index + 1), step) for key in order}
            assert renew_connections(traffic=traffic, now=at(step)) == {}

    assert at_once(4, note) == [None] * 4
    found = Connection.objects.values_list("bytes_in", "bytes_out", "seen_at")
    assert list(found) == [(40, 10, at(10))] * 6
    at_once(
        6,
        lambda index: close_connection(
            connection_id=ids[0], traffic=Traffic(100 + index, 100), why=f"by {index}", now=at(20)
        ),
    )
    last = Connection.objects.get(id=ids[0])
    assert last.why == f"by {last.bytes_in - 100}"  # one of them, whole
