"""Slowing down who guesses: failures are counted in the database, so that all processes count together."""

import hashlib
from datetime import datetime, timedelta

from django.db import connection, transaction

from mosu.kernel.refusals import DomainError


class TooMany(DomainError):
    """Too many failures; `retry_after_s` says how long to wait."""

    code = "too_many"
    status = 429


@transaction.atomic(durable=True)
def count_failure(*, key: str, limit: int, window: timedelta, now: datetime) -> None:
    """Count one failure under `key`, before it is known whether it is one: `forgive_failure` takes it back.

    Counting first lets no burst of parallel guesses through.

    Raises:
        TooMany: more than `limit` in the window that began with the first of them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into platform_failurecount as f (key, window_start_at, count) values (%(key)s, %(now)s, 1) "
            "on conflict (key) do update set "
            "window_start_at = case when f.window_start_at <= %(old)s then %(now)s else f.window_start_at end, "
            "count = case when f.window_start_at <= %(old)s then 1 else least(f.count + 1, %(limit)s + 1) end "
            "returning count, window_start_at",
            {"key": _hashed(key), "now": now, "old": now - window, "limit": limit},
        )
        count, start_at = cursor.fetchone()
    if count > limit:
        wait_s = max(1, int((start_at + window - now).total_seconds()) + 1)
        raise TooMany(
            "Too many failed attempts.", hint=f"Wait {wait_s} s, then try again.", retry_after_s=wait_s
        )


def forgive_failure(*, key: str) -> None:
    """Take back the last count under `key`: it was no failure."""
    with connection.cursor() as cursor:
        cursor.execute(
            "update platform_failurecount set count = greatest(count - 1, 0) where key = %s", [_hashed(key)]
        )


def _hashed(key: str) -> str:
    """Keys hold e-mail and network addresses, which the table need not know."""
    return hashlib.sha256(key.encode()).hexdigest()
