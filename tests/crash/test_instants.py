"""A crash at any instruction loses nothing that was acknowledged, and what is sent again happens once."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from benchmarks.chaos.counts import laws_that_always_hold
from cryptography.fernet import Fernet
from django.db import connections

from mosu.kernel.refusals import DomainError
from mosu.market import shelves
from mosu.runtime.databases import connected_to
from mosu.runtime.postgres import Cluster
from tests.crash.instants import at_exchange, killed, noted, noting, wait_for_the_server
from tests.crash.paths import PATHS, Request
from tests.crash.records import Records


class Stage:
    """A hub, and who looks at it from outside."""

    def __init__(self, observer: psycopg.Connection[Any], folder: Path, notes: Path) -> None:
        self.records, self.folder = Records(observer, folder), folder
        self._observer, self._notes = observer, notes

    def run(self, request: Request, arm: Any = lambda: None) -> bool:
        """Whether it was killed."""
        was_killed = killed(request, arm, notes=self._notes)
        wait_for_the_server(self._observer)
        return was_killed

    def broken_laws(self) -> list[str]:
        return [f"{law.what}: {law.broken}" for law in laws_that_always_hold(self._observer) if not law.holds]


@pytest.fixture(scope="module")
def observer(cluster: Cluster, django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """One database for all paths: to copy it takes longer than to kill in it."""
    name = f"mosu_{uuid4().hex}"
    cluster.clone_database("mosu_template", name)
    with (
        django_db_blocker.unblock(),
        connected_to(cluster.app_dsn(name)),
        psycopg.connect(cluster.superuser_dsn(name), autocommit=True) as observer,
    ):
        yield observer
    cluster.drop_database(name)


@pytest.fixture
def stage(observer: psycopg.Connection[Any], settings: Any, tmp_path: Path) -> Iterator[Stage]:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    stage, known = Stage(observer, settings.DATA_DIR, tmp_path / "notes"), dict(shelves._shelves)
    empty = stage.records.keep()
    yield stage
    stage.records.put_back(empty)
    shelves._shelves.clear()
    shelves._shelves.update(known)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_killed_at_every_instant(stage: Stage, path: Any, tmp_path: Path) -> None:
    """Afterwards the laws hold; sent again, the hub is where an undisturbed one is.

    Where a kill left rows and files exactly as they were, sending it again is the undisturbed run, and not repeated.
    """
    request = path()
    connections.close_all()

    def again() -> None:
        """A refusal of what was done already is an answer; whether it is right the hub's records say."""
        with suppress(DomainError):
            request()

    kept = stage.records.keep()
    instants = tmp_path / "instants"
    assert not stage.run(request, noting(stage.folder, instants))
    undisturbed = stage.records.alike(kept)
    assert stage.broken_laws() == []
    stage.records.put_back(kept)
    assert stage.records.exact() == kept.digests
    left_something = 0
    for instant in noted(instants):
        assert stage.run(request, at_exchange(instant)), instant
        if stage.records.exact() == kept.digests:
            continue
        left_something += 1
        assert stage.broken_laws() == [], instant
        assert not stage.run(again)
        assert stage.records.differences(kept, undisturbed) == [], instant
        assert stage.broken_laws() == [], instant
        stage.records.put_back(kept)
    assert left_something  # at least the last answer was lost after all was done
