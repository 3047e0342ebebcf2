"""Idempotency: the same request sent again is answered, not done again."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.refusals import DomainError
from mosu.platform.models import FailureCount, IdempotencyRecord

KEPT_FOR: Final = timedelta(days=30)


class KeyReused(DomainError):
    """The idempotency key was used with another request."""

    code = "key_reused"


def claim_key(*, scope: str, key: str, digest: str, result_id: UUID) -> UUID | None:
    """None the first time, when the caller goes on to make `result_id`; afterwards the id that was made then.

    In the caller's transaction: others with this key wait for its end, and a refusal leaves the key unused.
    `scope` says whose key it is and for what; `digest` is the sha256 of the request.

    Raises:
        KeyReused: the key was used with another digest.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into platform_idempotencyrecord (scope, key, digest, result_id, created_at) "
            "values (%s, %s, %s, %s, now()) on conflict (scope, key) do nothing",
            [scope, key, digest, result_id],
        )
        if cursor.rowcount == 1:
            return None
        cursor.execute(
            "select digest, result_id from platform_idempotencyrecord where scope = %s and key = %s for update",
            [scope, key],
        )
        seen, made = cursor.fetchone()
    if seen != digest:
        raise KeyReused(
            f"The idempotency key {key[:40]!r} was used with another request.",
            hint="Send the same request again, or use a new key.",
            key=key[:40],
        )
    return UUID(str(made))


@transaction.atomic(durable=True)
def purge_keys(*, now: datetime) -> int:
    """How many idempotency records and failure counts were forgotten, being older than `KEPT_FOR`."""
    keys, _ = IdempotencyRecord.objects.filter(created_at__lt=now - KEPT_FOR).delete()
    counts, _ = FailureCount.objects.filter(window_start_at__lt=now - KEPT_FOR).delete()
    return keys + counts
