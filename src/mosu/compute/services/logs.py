"""Logs of attempts: taken in pieces, each byte once, and read back from any byte on."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Attempt, LogPiece, Run
from mosu.compute.moves import notify_run
from mosu.compute.queries import last_attempt_of, run_visible_to
from mosu.compute.services.identity import pool_of
from mosu.compute.services.reports import NotLeased
from mosu.compute.states import AttemptState, is_ended
from mosu.kernel.refusals import NotFound
from mosu.platform.actors import Actor
from mosu.wire.agent import LogAck, LogChunk

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one attempt; what comes after is acknowledged and thrown away."""
READ_BYTES_MAX: Final = 1024 * 1024
LATE: Final = timedelta(days=1)
"""So long after its end the log is taken of an attempt whose agent never said how long it is."""
AWAITED: Final = timedelta(seconds=10)
"""How long after its end the rest of a log is waited for."""

_CONTROLS: Final = bytes.maketrans(
    bytes([*range(9), *range(11, 13), *range(14, 32), 127, 13]), b"?" * 30 + b"\n"
)
_C1 = re.compile(rb"\xc2[\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Bytes `offset..next_offset` of a run's log. `is_complete`: the run has ended and there is no more."""

    data: bytes
    offset: int
    next_offset: int
    state: str
    is_complete: bool


def cleaned(text: str) -> bytes:
    """The UTF-8 of `text` with every control character replaced, at its length, so that no offset moves.

    The agent strips them already; what a terminal shows must not hang on that.
    """
    return _C1.sub(b"??", text.encode().translate(_CONTROLS))


@transaction.atomic(durable=True)
def append_log(*, actor: Actor, attempt_id: UUID, chunk: LogChunk, now: datetime) -> LogAck:
    """Take what of the chunk is new; the answer says from which byte on to go on. Repeating is harmless.

    Of an attempt that has ended the rest is taken, and what comes beyond is acknowledged and thrown away.

    Raises:
        NotFound: not an attempt of this pool.
        NotLeased: it was never handed out.
    """
    attempt = (
        Attempt.objects.select_for_update(no_key=True).filter(id=attempt_id, pool_id=pool_of(actor)).first()
    )
    if attempt is None:
        raise NotFound("There is no such attempt.", hint="An agent sees the attempts of its own pool.")
    if attempt.state == AttemptState.WAITING:
        raise NotLeased("This attempt was not leased.", hint="Ask for a lease.")
    start = attempt.log_next
    fresh = cleaned(chunk.text)[max(0, start - chunk.offset) :] if chunk.offset <= start else b""
    if fresh:
        kept = fresh[: max(0, _bytes_max(attempt, now=now) - start)]
        if kept:
            LogPiece.objects.create(attempt=attempt, start=start, data=kept)
        attempt.log_next += len(fresh)
        attempt.save(update_fields=["log_next"])
        notify_run(attempt.run_id)
    return LogAck(next_offset=attempt.log_next)


def _bytes_max(attempt: Attempt, *, now: datetime) -> int:
    """So much of its log is kept: nothing is added to what its agent said was all."""
    if attempt.log_bytes is not None:
        return min(LOG_BYTES_MAX, attempt.log_bytes)
    is_late = attempt.settled_at is not None and now > attempt.settled_at + LATE
    return 0 if is_late else LOG_BYTES_MAX


def read_log(*, actor: Actor, run_id: UUID, offset: int, now: datetime) -> LogSlice:
    """The log of the run's last attempt from byte `offset` on, up to a MiB.

    Raises:
        NotFound: no such run, or not of an organisation of the actor's.
    """
    return log_of(run_visible_to(actor, run_id), offset=offset, now=now)


def log_of(run: Run, *, offset: int, now: datetime) -> LogSlice:
    """As `read_log`, of a run that was read already for who may see it."""
    attempt = last_attempt_of(run)
    if attempt is None:
        return LogSlice(b"", offset, offset, run.state, is_ended(run.state))
    data = _bytes_of(attempt, offset)
    has_all = attempt.log_bytes is None or attempt.log_next >= min(attempt.log_bytes, LOG_BYTES_MAX)
    is_late = attempt.settled_at is not None and now > attempt.settled_at + AWAITED
    end = offset + len(data)
    # Of what came not all may be kept: less than could be read at once is the last of it.
    is_last = len(data) < READ_BYTES_MAX or end >= min(attempt.log_next, LOG_BYTES_MAX)
    is_complete = is_ended(run.state) and (has_all or is_late) and is_last
    return LogSlice(data, offset, end, run.state, is_complete)


def _bytes_of(attempt: Attempt, offset: int) -> bytes:
    pieces = LogPiece.objects.filter(attempt=attempt)
    first = pieces.filter(start__lte=offset).order_by("-start").values_list("start", flat=True).first()
    if first is None:
        return b""
    rows = pieces.filter(start__gte=first, start__lt=offset + READ_BYTES_MAX).order_by("start")
    whole = b"".join(bytes(data) for data in rows.values_list("data", flat=True))
    return whole[offset - first :][:READ_BYTES_MAX]
