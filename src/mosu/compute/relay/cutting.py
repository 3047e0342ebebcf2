"""What ends with something else: a request with the right that let it in, with what answers it, with its address."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cut(asyncio.Event):
    """Set when what hangs on it must end, with why; the first why stays."""

    why = ""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[Callable[[], None]] = set()

    def now(self, why: str) -> None:
        """Waits for nobody."""
        self.why = self.why or why
        self.set()
        for stop in tuple(self._told):
            stop()

    @contextmanager
    def telling(self, stop: Callable[[], None]) -> Iterator[None]:
        """While somebody waits for something else, they are called when it is set."""
        self._told.add(stop)
        try:
            yield
        finally:
            self._told.discard(stop)


class Hold:
    """What others hang on: when it ends, all of them are cut."""

    def __init__(self) -> None:
        self._hanging: set[Cut] = set()
        self._why = ""

    def __len__(self) -> int:
        return len(self._hanging)

    @property
    def has_ended(self) -> bool:
        return bool(self._why)

    @contextmanager
    def carrying(self, cut: Cut) -> Iterator[None]:
        """While it hangs on this; at once cut where this has ended."""
        if self._why:
            cut.now(self._why)
        self._hanging.add(cut)
        try:
            yield
        finally:
            self._hanging.discard(cut)

    def end(self, why: str) -> None:
        """Now, for all that hang on it and whatever comes later."""
        self._why = self._why or why
        for cut in tuple(self._hanging):
            cut.now(why)
