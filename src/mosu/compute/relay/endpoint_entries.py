"""Who is at which endpoint: one pass for each key and each cookie in use, asked for anew every 30 s."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from django.utils import timezone

from mosu.compute import services
from mosu.compute.relay.app_headers import Headers, cookie_of, key_of
from mosu.compute.relay.cutting import Hold
from mosu.compute.relay.joining import Full
from mosu.compute.relay.renewing import over
from mosu.compute.services import EndpointRoute, Entry, sha256_of
from mosu.compute.stream_doors import in_thread
from mosu.platform.policy import Unauthenticated

PASSES_MAX: Final = 5_000
LOOKUPS_MAX: Final = 200
"""At once: who guesses keys asks the database no faster than others."""
LOOKUPS_PER_ENDPOINT_MAX: Final = 50
"""Who guesses at one endpoint keeps new callers of others out only together with as many."""
REQUESTS_MAX: Final = {"key": 500, "hub": 64, "public": 1_000}
"""Of one pass at once: of a program, of a browser, of everybody."""
IDLE_S_MAX: Final = 300.0
_Key = tuple[UUID, str, str]
"""The endpoint, what it asks for, and the sha256 of what came: a key that came as one is none that comes as a cookie,
when the endpoint's word is changed."""
_CROWDED: Final = "too many others ask"


class Pass:
    """One who may ask at one endpoint, while they do."""

    def __init__(self, entry: Entry, auth: str) -> None:
        self.entry, self.hold = entry, Hold()
        self.is_known = auth != "public"
        """Whether it is one person's or program's, and not everybody's."""
        self.checked_at = self.used_at = asyncio.get_running_loop().time()
        self.asked_at: datetime | None = None
        """When it was last used; None: not since that was written down."""
        self._requests_max = REQUESTS_MAX[auth]
        self._requests = 0

    @property
    def is_unused(self) -> bool:
        return not self._requests

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request of theirs is answered.

        Raises:
            Full: as many as may be are under way.
        """
        if self._requests >= self._requests_max:
            raise Full(f"{self._requests_max} of your requests are under way.", hint="Send fewer at once.")
        self._requests += 1
        self.asked_at = timezone.now()
        try:
            yield
        finally:
            self._requests -= 1
            self.used_at = asyncio.get_running_loop().time()


class Entries:
    """All of this relay."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._held: dict[_Key, Pass] = {}
        """That of whoever asked longest ago first."""
        self._opening: dict[_Key, asyncio.Task[Pass | None]] = {}
        self._log = structlog.get_logger("relay")

    async def of(self, route: EndpointRoute, headers: Headers) -> Pass:
        """The pass of who sends these at the endpoint, by what it asks for.

        Raises:
            Unauthenticated: no key of this endpoint comes along, or no cookie of somebody who is signed in.
            Full: too many are being looked for.
        """
        secret = {"key": key_of, "hub": cookie_of, "public": _nothing}[route.auth](headers)
        digest = sha256_of(secret) if secret else ""
        if not digest and route.auth != "public":
            raise not_entered(route.auth)
        key = route.id, route.auth, digest
        if (held := self._held.get(key)) is not None:
            self._held[key] = self._held.pop(key)
            return held
        if (opening := self._opening.get(key)) is None:
            at_it = sum(endpoint_id == route.id for endpoint_id, _, _ in self._opening)
            is_full = len(self._opening) >= LOOKUPS_MAX or at_it >= LOOKUPS_PER_ENDPOINT_MAX
            if is_full or not self._has_room():
                raise Full("The relay is full.", hint="Try again in a while.", retry_after_s=10)
            opening = self._opening[key] = asyncio.create_task(self._opened(route, digest))
            opening.add_done_callback(partial(self._forget_opening, key))
        found = await asyncio.shield(opening)
        if found is None:
            raise not_entered(route.auth)
        return found

    async def renew(self) -> None:
        """Once: end whose right is over, of whom the database says nothing for too long, and forget who has left."""
        asked, clock = dict(self._held), asyncio.get_running_loop().time
        if not asked:
            return

        async def ask() -> Mapping[_Key, str]:
            used = {
                one.entry.key_id: one.asked_at
                for one in asked.values()
                if one.entry.key_id is not None and one.asked_at is not None
            }
            told = await in_thread(
                services.renew_entries,
                executor=self._executor,
                entries=[one.entry for one in asked.values()],
                used=used,
                now=timezone.now(),
            )
            for one in asked.values():
                if one.entry.key_id in used and one.asked_at == used[one.entry.key_id]:
                    one.asked_at = None
            return {key: told[one.entry] for key, one in asked.items() if one.entry in told}

        ended = await over(asked, ask)
        for key, one in asked.items():
            if key in ended:
                one.hold.end(ended[key])
            elif not one.is_unused or clock() - one.used_at <= IDLE_S_MAX:
                continue
            if self._held.get(key) is one:
                del self._held[key]

    def end(self, why: str) -> None:
        """All of them."""
        for one in self._held.values():
            one.hold.end(why)
        self._held.clear()

    def _has_room(self) -> bool:
        """Whoever has many keys or cookies keeps nobody out: of too many the one that was used longest ago goes."""
        if len(self._held) < PASSES_MAX:
            return True
        left = next((key for key, one in self._held.items() if one.is_unused), None)
        if left is None:
            return False
        self._held.pop(left).hold.end(_CROWDED)  # for who was about to ask with it
        return True

    def _forget_opening(self, key: _Key, done: asyncio.Task[Pass | None]) -> None:
        del self._opening[key]
        if not done.cancelled():
            done.exception()  # heard here too: all who waited for it may have left

    async def _opened(self, route: EndpointRoute, digest: str) -> Pass | None:
        entry: Entry | None = Entry()
        if route.auth == "key":
            entry = await in_thread(services.entry_by_key, secret_sha256=digest, endpoint_id=route.id)
        elif route.auth == "hub":
            entry = await in_thread(
                services.entry_by_cookie, cookie_sha256=digest, endpoint_id=route.id, now=timezone.now()
            )
        if entry is None:
            return None
        found = self._held[route.id, route.auth, digest] = Pass(entry, route.auth)
        return found


def not_entered(auth: str) -> Unauthenticated:
    """The same for everybody who may not: whether a key is another's, was revoked, or is none."""
    if auth == "key":
        return Unauthenticated(
            "This endpoint needs a key of its own.", hint="Send it as Authorization: Bearer sk-mosu-..."
        )
    return Unauthenticated("This endpoint is for who is signed in.", hint="Open its address in a browser.")


def _nothing(headers: Headers) -> str:
    return ""
