"""One connection per process that hears of news from PostgreSQL, and wakes who waits for it here."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final

import psycopg
from django.db import connections

from mosu.compute.moves import CHANNEL

RETRY_S: Final = 0.5

_log = logging.getLogger(__name__)


class Listener:
    """`async with listener:` around the process's life; `async with listener.watching(key) as woken:` to wait.

    Who waits looks first and waits then: an event that came between is not lost, since the watch stands already.
    After a break of the connection everybody is woken, because something may have been missed.
    """

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Listener":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @asynccontextmanager
    async def watching(self, key: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever there is news of `key`, such as `run:<hex>`; the waiter clears it."""
        woken = asyncio.Event()
        self._watches[key].add(woken)
        try:
            yield woken
        finally:
            self._watches[key].discard(woken)
            if not self._watches[key]:
                del self._watches[key]

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                _log.warning("listening broke off: %s", error)
            self._wake_all()
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        settings = connections["default"].get_connection_params()
        params = {
            key: settings[key] for key in ("dbname", "user", "password", "host", "port") if key in settings
        }
        async with await psycopg.AsyncConnection.connect(**params, autocommit=True) as connection:
            await connection.execute(f"listen {CHANNEL}")
            self._wake_all()
            async for notice in connection.notifies():
                for woken in self._watches.get(notice.payload, ()):
                    woken.set()

    def _wake_all(self) -> None:
        for watches in self._watches.values():
            for woken in watches:
                woken.set()


listener = Listener()
