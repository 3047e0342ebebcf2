"""Following a run's log: server-sent events, taken up again where the line was lost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json import loads
from typing import Final

import httpx

from mosu.client.errors import BrokenAnswer, ProblemError, Unreachable
from mosu.client.transport import Transport, checked

LOST_MAX: Final = 30
"""After so many vain attempts in a row the hub is given up."""
_WAIT_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class LogText:
    """Text of the log; `offset` is the place of its first byte, `next_offset` that of the byte after it.

    The hub says both: where the log's bytes were no UTF-8, the text alone does not tell.
    """

    offset: int
    text: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class StateSeen:
    """The run's state changed."""

    state: str


LogEvent = LogText | StateSeen


def follow(transport: Transport, path: str, *, offset: int) -> Iterator[LogEvent]:
    """Events until the hub says that the log has ended; no byte comes twice, none is left out.

    Raises:
        ProblemError: the hub refused.
        Unreachable: the hub stayed away.
        BrokenAnswer: an event is not what the protocol says.
    """
    lost = 0
    while True:
        try:
            for name, data, event_id in _events(transport, path, offset):
                lost = 0
                if name == "end":
                    return
                event = _event(name, data, event_id, offset)
                if event is not None:
                    offset = event.next_offset if isinstance(event, LogText) else offset
                    yield event
            problem: Exception = EOFError("the stream ended early")
        except httpx.ReadTimeout:
            continue  # a silent run, not a lost hub
        except httpx.TransportError as error:
            problem = error
        except ProblemError as error:
            if error.status < 500:
                raise
            problem = error
        lost += 1
        if lost > LOST_MAX:
            raise Unreachable(
                f"The log of the run broke off: {problem}.",
                hint="The run goes on; follow again with mosu logs -f.",
            ) from problem
        transport.sleep(min(_WAIT_S_MAX, 0.1 * 2 ** min(lost, 10)))


def _event(name: str, data: str, event_id: str, offset: int) -> LogEvent | None:
    """What an event says that was not seen yet; None if it says nothing new."""
    try:
        if name == "state":
            return StateSeen(str(loads(data)["state"]))
        if name == "log":
            fields = loads(data)
            start, text = int(fields["offset"]), str(fields["text"])
            after = int(event_id) if event_id.isdecimal() else start + len(text.encode())
            fresh = _fresh(LogText(start, text, after), offset)
            return fresh if fresh.text else None
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenAnswer("The hub sent an event that cannot be read.", hint="Update mosu.") from error
    return None


def _fresh(chunk: LogText, offset: int) -> LogText:
    """The part of a chunk that was not seen yet: after a reconnection a hub may send some of it again."""
    if chunk.offset >= offset:
        return chunk
    unseen_bytes = chunk.next_offset - offset
    rest = chunk.text.encode()[-unseen_bytes:] if unseen_bytes > 0 else b""
    return LogText(offset, rest.decode(errors="replace"), max(offset, chunk.next_offset))


def _events(transport: Transport, path: str, offset: int) -> Iterator[tuple[str, str, str]]:
    with transport.stream("GET", path, params={"follow": "true", "offset": offset}) as response:
        if not response.is_success:
            response.read()
            checked(response)
        yield from parse_events(_lines(response.iter_bytes()))


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines at LF or CRLF only: `str.splitlines` would also cut at U+2028 inside the data."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")


def parse_events(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(event, data, id) of a `text/event-stream`; comments and retry hints are passed over.

    Source: WHATWG HTML, 9.2.6; but an event with a name counts without data too. One that was not finished by
    an empty line does not count.
    """
    name, data, event_id = "", list[str](), ""
    for line in lines:
        if not line:
            if name or data:
                yield name or "message", "\n".join(data), event_id
            name, data, event_id = "", [], ""
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data.append(value)
        elif key == "id":
            event_id = value
