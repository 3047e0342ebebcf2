"""What heartbeats do not wait for: disks and engines may take minutes to answer."""

import threading
from collections.abc import Callable

from structlog.stdlib import BoundLogger


class Errands:
    """Done one after the other, in the order in which they were first asked for, in a thread that lasts as long as
    there is one.

    Whoever asks asks again until it is done: of two with one name that wait the newer is done, and what fails is told
    and waits to be asked again.
    """

    def __init__(self, name: str, *, log: BoundLogger) -> None:
        self._name, self._log = name, log
        self._asked: dict[str, Callable[[], None]] = {}
        self._guard = threading.Lock()
        self._works = False

    def ask(self, what: str, work: Callable[[], None]) -> None:
        """Returns at once."""
        with self._guard:
            self._asked[what] = work
            if not self._works:
                threading.Thread(target=self._work_off, name=self._name, daemon=True).start()
                self._works = True

    def _work_off(self) -> None:
        while True:
            with self._guard:
                if not self._asked:
                    self._works = False
                    return
                what = next(iter(self._asked))
                work = self._asked.pop(what)
            try:
                work()
            except Exception:  # noqa: BLE001 (each engine and disk has its own ways to fail)
                self._log.exception("not done; it is when the hub asks again", errand=what)
