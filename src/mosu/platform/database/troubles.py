"""What the caller is told when the database cannot serve: a full disk, a restart, too many at once. No bug of ours."""

import errno
import time
from collections.abc import Iterator
from typing import Final

import psycopg

from mosu.kernel.refusals import DomainError

SPACE_NOTED_S: Final = 60.0
"""How long a hub that was refused space counts as full, if nobody can see its disk."""
_DEPTH_MAX: Final = 8
_FULL: Final = "53100"
_BUSY: Final = frozenset({"40001", "40P01", "55P03", "57014"})
"""Serialisation failure, deadlock, lock timeout, statement timeout (PostgreSQL's appendix A)."""
_AWAY: Final = ("08", "53", "57P", "58", "25006")
"""Connection, resources, shutdown and start, the system under it, read-only."""

_full_at = -SPACE_NOTED_S


class DiskFull(DomainError):
    """The hub has no room left on its disk: nothing was changed."""

    code = "disk_full"
    status = 507


class Unavailable(DomainError):
    """The database does not answer now; what was asked happened wholly or not at all."""

    code = "unavailable"
    status = 503


def trouble_of(error: BaseException) -> DomainError | None:
    """The refusal for an error that is the machine's; None for one that is a bug."""
    global _full_at  # noqa: PLW0603 - one fact per process, and only its newest value counts
    for cause in _causes(error):
        if _is_full(cause):
            _full_at = time.monotonic()
            return DiskFull(
                "The hub's disk is full; nothing was changed.",
                hint="Its operator frees space (mosu doctor says where); then send it again.",
            )
        if isinstance(cause, psycopg.Error) and (refusal := _unavailable(cause)):
            return refusal
    return None


def was_full() -> bool:
    """Whether this process was refused space a short while ago."""
    return time.monotonic() - _full_at < SPACE_NOTED_S


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_DEPTH_MAX):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_full(error: BaseException) -> bool:
    if isinstance(error, psycopg.Error):
        return error.sqlstate == _FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def _unavailable(error: psycopg.Error) -> Unavailable | None:
    state = error.sqlstate or ""
    if state in _BUSY:
        return Unavailable(
            "The hub's database is busy; nothing was changed.", hint="Send it again.", retry_after_s=1
        )
    # Without a state the server said nothing: it is gone, or the pool had no connection for us.
    if state.startswith(_AWAY) or (not state and isinstance(error, psycopg.OperationalError)):
        return Unavailable(
            "The hub's database does not answer now.",
            hint="It happened wholly or not at all: look, or send it again with the same Idempotency-Key.",
            retry_after_s=5,
        )
    return None
