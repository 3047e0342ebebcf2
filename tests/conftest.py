"""One throw-away PostgreSQL per test session; Django connects as the application's role, so grants are tested.

- `@pytest.mark.django_db` (or the fixture `db`): a database of this worker, rolled back after each test.
- `fresh_db`: a database of this test alone, for threads, commits and other processes.
- `now`: a fixed instant.

The first use migrates a template database as the owner's role; every other database is a clone of it.
`django_db(transaction=True)` is refused: append-only tables refuse the TRUNCATE by which it cleans up.
"""

import fcntl
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from django.conf import settings
from django.db import connection

from mosu.kernel.memory import nothing_collected
from mosu.ledger.models import AccountKind
from mosu.runtime.databases import connected_to
from mosu.runtime.migrating import migrate
from mosu.runtime.postgres import Cluster
from mosu.runtime.testing import testing_cluster as running_cluster
from tests.hub import LAID
from tests.patience import PATIENCE_S

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)

_SHARED = "MOSU_TEST_CLUSTER"
_TEMPLATE = "mosu_template"


@dataclass(frozen=True, slots=True)
class FreshDatabase:
    """A test's own database, for other processes: also in the environment as DATABASE_URL."""

    name: str
    app_dsn: str
    owner_dsn: str


def pytest_configure(config: pytest.Config) -> None:
    """With xdist the controller runs the one cluster for all workers, and outlives them.

    Hypothesis tries the same examples each time, so that no landing depends on luck; `MOSU_FUZZ_EXAMPLES` looks further.
    """
    settings.PASSWORD_HASHERS = ["tests.passwords.QuickScrypt"]
    # A busy machine is no fault of a strategy's, nor of an example's: 200 ms each are the library's own limit.
    patient: dict[str, Any] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    hypothesis.settings.register_profile("patient", **patient)
    hypothesis.settings.register_profile("same", derandomize=True, **patient)
    hypothesis.settings.load_profile("patient" if "MOSU_FUZZ_EXAMPLES" in os.environ else "same")
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        stack = ExitStack()
        config.add_cleanup(stack.close)
        os.environ[_SHARED] = str(stack.enter_context(running_cluster()).data_dir)
        stack.callback(os.environ.pop, _SHARED)
        os.environ[LAID] = stack.enter_context(TemporaryDirectory(prefix="mosu-laid-"))
        Path(os.environ[LAID]).chmod(0o755)
        stack.callback(os.environ.pop, LAID)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that set up a whole hub come first: at the end, the other workers would wait for them."""
    items.sort(
        key=lambda item: not item.path.match("*/runtime/test_demo.py") and not item.path.match("*/docs/*")
    )
    for item in items:
        marker = item.get_closest_marker("django_db")
        flushes = marker is not None and (marker.kwargs.get("transaction") or True in marker.args)
        if flushes or {"transactional_db", "live_server"} & set(getattr(item, "fixturenames", ())):
            raise pytest.UsageError(
                f"{item.nodeid}: use the fixture fresh_db instead of django_db(transaction=True): "
                "append-only tables refuse the TRUNCATE by which it cleans up."
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Beside what failed stands what the processes said that it used (`last_words`): they and their folders do not
    outlive it."""
    report = yield
    for name, used in getattr(item, "funcargs", {}).items() if report.failed else ():
        if callable(tell := getattr(used, "last_words", None)):
            try:
                said = tell()
            except Exception as error:  # noqa: BLE001 - what it asks may be gone, and a failure here would end all tests
                said = repr(error)
            report.sections.append((f"last words of {name}", said))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    with nothing_collected():
        return (yield)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The session's PostgreSQL."""
    shared = os.environ.get(_SHARED)
    if shared:
        yield Cluster(Path(shared), testing=True)
    else:
        with running_cluster() as own:
            yield own


@pytest.fixture(scope="session")
def django_db_setup(cluster: Cluster, django_db_blocker: Any) -> Iterator[None]:
    """This worker's clone of the migrated template; Django's default connection goes there."""
    name = f"mosu_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with django_db_blocker.unblock():
        _migrate_template(cluster)
        with _cloned(cluster, name) as dsn, connected_to(dsn):
            yield


@pytest.fixture
def fresh_db(
    cluster: Cluster, django_db_setup: None, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FreshDatabase]:
    name = f"mosu_{uuid4().hex}"
    with django_db_blocker.unblock(), _cloned(cluster, name) as dsn, connected_to(dsn):
        monkeypatch.setenv("DATABASE_URL", dsn)
        yield FreshDatabase(name, app_dsn=dsn, owner_dsn=cluster.owner_dsn(name))


def _migrate_template(cluster: Cluster) -> None:
    """Once per session, whichever worker comes first."""
    with (cluster.data_dir / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if cluster.has_database(_TEMPLATE):
            return
        building = f"{_TEMPLATE}_building"
        cluster.drop_database(building)
        cluster.prepare_database(building)
        with connected_to(cluster.owner_dsn(building)):
            migrate()
            _let_tests_move_money()
        once_alone(lambda: cluster.clone_database(building, _TEMPLATE))
        once_alone(lambda: cluster.drop_database(building))


def _let_tests_move_money() -> None:
    """Tests of what accounts and entries are need kinds of entries that join any accounts; no hub has these rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into ledger_entryrule (kind, door, source, destination) "
            "select rule.kind, rule.door, source, destination from unnest(%s::text[]) as source, "
            "unnest(%s::text[]) as destination, (values ('test', 'post'), ('test', 'capture'), "
            "('reversal', 'reverse')) as rule(kind, door) on conflict do nothing",
            [list(AccountKind.values)] * 2,
        )


@contextmanager
def _cloned(cluster: Cluster, name: str) -> Iterator[str]:
    cluster.drop_database(name)
    once_alone(lambda: cluster.clone_database(_TEMPLATE, name))
    try:
        yield cluster.app_dsn(name)
    finally:
        once_alone(lambda: cluster.drop_database(name))


def once_alone(work: Callable[[], None]) -> None:
    """Do it as soon as nobody is connected to the database: the server waits five seconds for who leaves, or vacuums,
    and a machine that does much else takes longer."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return work()
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > until:
                raise
