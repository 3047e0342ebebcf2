"""A process killed at its k-th instant, for each k at which a kill may leave something else.

The driver takes every exchange with the database through `Connection.wait`: an instant comes before each, and one
more where its mere sending makes something last (a COMMIT, or a statement outside a transaction): it was sent, and
nothing of the answer was read. Any other statement a kill takes back, answered or not. Whatever a process does
between two exchanges, to files above all, lies between two of these instants.
"""

import gc
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections
from psycopg.pq import TransactionStatus

from tests.patience import PATIENCE_S


def killed(work: Callable[[], Any], arm: Callable[[], None], *, notes: Path) -> bool:
    """Whether `arm` killed the process of its own in which `work` ran; False: the work ended before.

    A fork, no new interpreter. An error of the work is raised here, with its traceback.
    """
    connections.close_all()  # nobody shares a connection
    gc.freeze()  # nor copies what both only read
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 on threads: the child waits for none
        pid = os.fork()
    if pid == 0:
        try:
            arm()
            work()
            connections.close_all()
        except BaseException:  # noqa: BLE001 - whatever it is, it must not run on as a second pytest
            notes.write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, notes.read_text()
    return False


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_exchange(instant: int) -> Callable[[], None]:
    """What arms a process to die at that instant, counted from 1."""

    return lambda: _watched(lambda number: number == instant)


def noting(folder: Path, notes: Path) -> Callable[[], None]:
    """What arms a process to write down each instant, and what a kill would find then, and to die nowhere.

    What it would find: the transactions that have ended and wrote, since the server takes back what is open, and the
    files below `folder`. The server counts what wrote for all its databases, and others work in theirs: while one
    transaction is open here, nothing of ours ends.
    """

    def arm() -> None:
        beside = connections["default"].copy()
        beside.ensure_connection()
        ended, before = "", None

        def came(_number: int) -> bool:
            nonlocal ended, before
            wrote, now_open = beside.connection.execute(
                "select pg_snapshot_xmax(pg_current_snapshot())::text, (select array_agg(xact_start order by pid) "
                "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid())"
            ).fetchone()
            if not any(now_open) or now_open != before:
                ended = wrote
            before = now_open
            with notes.open("a") as file:
                file.write(f"{ended} {_listed(folder)}\n")
            return False

        _watched(came, passed=beside.connection)

    return arm


def noted(notes: Path) -> list[int]:
    """Where a kill can leave something else than just before.

    Of instants that are alike the first and the last, with the one before: when what made it last had not been sent.
    """
    found = notes.read_text().splitlines()
    new = [n for n in range(2, len(found) + 1) if found[n - 1] != found[n - 2]]
    near = {n - back for n in [1, *new, len(found) + 1] for back in range(3)}
    return sorted(n for n in near if 1 <= n <= len(found))


def _listed(folder: Path) -> list[tuple[str, int, int, int]]:
    stats = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(str(path), one.st_ino, one.st_size, one.st_mtime_ns) for path, one in stats]


def _watched(came: Callable[[int], bool], *, passed: Any = None) -> None:
    """From now on `came` is told of each instant, and says whether to die there; what is asked by `passed` is none."""
    wait, commit = psycopg.Connection.wait, psycopg.Connection.commit
    seen, committing = 0, False

    def counted_wait(self: Any, gen: Any, *how: Any, **more: Any) -> Any:
        nonlocal seen
        if self is passed:
            return wait(self, gen, *how, **more)
        seen += 1
        if came(seen):
            die()
        if committing or self.pgconn.transaction_status == TransactionStatus.IDLE:
            seen += 1
            if came(seen):
                next(gen, None)  # it yields when it has sent, to wait for the answer
                die()
        return wait(self, gen, *how, **more)

    def noted_commit(self: Any) -> None:
        nonlocal committing
        committing = True
        commit(self)
        committing = False

    psycopg.Connection.wait = counted_wait  # type: ignore[method-assign]
    psycopg.Connection.commit = noted_commit  # type: ignore[method-assign]


def wait_for_the_server(observer: psycopg.Connection[Any]) -> None:
    """Return when the server has taken note that its clients are gone."""
    until = time.monotonic() + PATIENCE_S
    while observer.execute(
        "select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
        "and backend_type = 'client backend'"
    ).fetchone():
        assert time.monotonic() < until, "somebody else is connected to this database"
        time.sleep(0.001)
