"""Connections to apps and replicas that wait for the next request of the one for whom they were opened.

What is kept has carried a whole request and its whole answer, and nothing else came: a byte, an end or a break while it
waits is the end of it. Nobody is ever given another's.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from mosu.wire.streams import Stream
from mosu.wire.waited import WaitedStream
from mosu.wire.websocket import Bytes

IDLE_S_MAX: Final = 2.0
"""Servers close what is idle after two seconds or more; each that waits may hold a thread of its server."""
UNREPEATED_S_MAX: Final = 1.0
"""The same for what may not be asked twice: a request that meets its server's closing is lost."""
KEPT_MAX: Final = 512
KEPT_AT_MAX: Final = 32
"""At one app or replica."""
KEPT_OF_ONE_MAX: Final = 16
"""There, for one person or program."""
AT_MAX: Final = 96
"""Those that wait there and those that are used. Some engines carry no more than 128 into a run, and refuse the next:
where more are used none waits, and one that ends takes a moment to be gone."""
BEHIND_S: Final = 1.0
"""Who dialled and has heard nothing for so long may wait for a thread that a kept connection holds."""
_NEXT: Final = "it is not used again"


@dataclass(slots=True, eq=False)
class Lent:
    """A connection for one request."""

    stream: WaitedStream
    was_kept: bool
    at: Hashable
    """The app or replica, whoever asks there."""
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    is_free: bool = False
    """Whether its request and the answer are over, and the next one may follow."""


class Kept:
    """All of one kind of host."""

    def __init__(self) -> None:
        self._of: dict[tuple[Hashable, Hashable], list[_Idle]] = {}
        """By for whom and at what; the one that was given back last is the last."""
        self._all: dict[_Idle, None] = {}
        """The one that has waited longest first."""
        self._at: dict[Hashable, dict[_Idle, None]] = {}
        """The same by where."""
        self._used = Counter[Hashable]()
        """How many are dialled or lent, by where."""
        self._behind: dict[Hashable, dict[Lent, None]] = {}
        """Who dialled there and had heard nothing when it was looked at last, the longest waiting first."""

    def __len__(self) -> int:
        return len(self._all)

    async def lent(
        self, whose: Hashable, at: Hashable, dialled: Callable[[], Awaitable[Stream]], *, idle_s_max: float
    ) -> Lent:
        """One that has waited for less than that; else a new one. `take_back` is called for it.

        Raises:
            what `dialled` raises.
        """
        if (stream := self._taken(whose, at, idle_s_max)) is not None:
            self._used[at] += 1
            return Lent(WaitedStream(stream), was_kept=True, at=at)
        if (waiting := self._at.get(at)) and len(waiting) + self._used[at] >= AT_MAX:
            next(iter(waiting)).end()
        self._used[at] += 1
        try:
            lent = Lent(WaitedStream(await dialled()), was_kept=False, at=at)
        except BaseException:
            self._used_less(at)
            raise
        self._behind.setdefault(at, {})[lent] = None
        return lent

    def take_back(self, whose: Hashable, lent: Lent) -> None:
        """Its request is over: it waits for the next one, or ends."""
        self._used_less(lent.at)
        if (behind := self._behind.get(lent.at)) is not None:
            behind.pop(lent, None)
            if not behind:
                del self._behind[lent.at]
        # Not before: an end that comes while its last request is wound up is told once, and not to who waits next.
        if not (lent.is_free and lent.stream.is_quiet and self._may_wait(whose, lent.at)):
            lent.stream.reset("the other side is gone")
            return
        for waiting, most in ((self._at.get(lent.at, {}), KEPT_AT_MAX), (self._all, KEPT_MAX)):
            if len(waiting) >= most:
                next(iter(waiting)).end()
        idle = _Idle(self, (whose, lent.at), lent.stream.stream)
        self._all[idle] = None
        self._at.setdefault(lent.at, {})[idle] = None
        self._of.setdefault(idle.key, []).append(idle)
        idle.begin()

    def forget(self, idle: "_Idle") -> None:
        """It waits no longer."""
        del self._all[idle]
        _, at = idle.key
        del self._at[at][idle]
        if not self._at[at]:
            del self._at[at]
        of = self._of[idle.key]
        of.remove(idle)
        if not of:
            del self._of[idle.key]

    def _taken(self, whose: Hashable, at: Hashable, idle_s_max: float) -> Stream | None:
        of = self._of.get((whose, at))
        if not of or asyncio.get_running_loop().time() - of[-1].since >= idle_s_max:
            return None
        return of[-1].taken()

    def _used_less(self, at: Hashable) -> None:
        self._used[at] -= 1
        if not self._used[at]:
            del self._used[at]

    def _may_wait(self, whose: Hashable, at: Hashable) -> bool:
        """Whether one more may of this one, and nobody is kept out by it."""
        if len(self._of.get((whose, at), ())) >= KEPT_OF_ONE_MAX:
            return False
        return len(self._at.get(at, ())) + self._used[at] < AT_MAX and not self._is_crowded(at)

    def _is_crowded(self, at: Hashable) -> bool:
        behind, now = self._behind.get(at, {}), asyncio.get_running_loop().time()
        while behind:
            lent = next(iter(behind))
            if not lent.stream.bytes_in:
                return now - lent.since > BEHIND_S
            del behind[lent]
        return False


class _Idle:
    """The end of a stream that nobody uses: whatever comes of it ends it."""

    is_full = False

    def __init__(self, kept: Kept, key: tuple[Hashable, Hashable], stream: Stream) -> None:
        self.key, self._kept, self._stream = key, kept, stream
        loop = asyncio.get_running_loop()
        self.since, self._is_over = loop.time(), False
        self._late = loop.call_later(IDLE_S_MAX, self.end)

    def begin(self) -> None:
        """What came unasked meanwhile ends it at once."""
        self._stream.join(self)

    def taken(self) -> Stream:
        """For the next request."""
        self._forget()
        return self._stream

    def end(self) -> None:
        """Now."""
        if not self._is_over:
            self._forget()
            self._stream.reset(_NEXT)

    def _forget(self) -> None:
        self._is_over = True
        self._late.cancel()
        self._kept.forget(self)

    # What the stream says.

    def give(self, data: Bytes) -> None:
        self.end()

    def give_end(self) -> None:
        self.end()

    def hold(self) -> None:
        """Nothing is sent."""

    def go_on(self) -> None:
        """Nothing waits."""

    def ended(self) -> None:
        """It was told as both ends."""

    def broken(self, why: str) -> None:
        self.end()
