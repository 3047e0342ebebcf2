"""Asking again and again who may go on: whoever was let in stays by the database's word, not for long without it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

import structlog

RENEW_S: Final = 30.0
"""So often it is asked anew."""
UNSURE_S: Final = 75.0
"""Nobody stays for longer than this without the database's word."""
ASK_S_MAX: Final = 7.0
"""A database that says nothing for so long is away; it may happen once within `UNSURE_S`."""
UNSURE: Final = "the hub could not say whether you still may"
_LOG: Final = structlog.get_logger("relay")


class Stays(Protocol):
    """Somebody who was let in."""

    checked_at: float
    """By the loop's clock, when the database was last asked for what it then said of them."""


_Key = TypeVar("_Key")
_Stays = TypeVar("_Stays", bound=Stays)


async def again_for_ever(renew: Callable[[], Awaitable[None]]) -> None:
    """Renew every 30 s; whatever fails once is tried again: without it nobody is ever cut."""
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            await renew()
        except Exception:  # noqa: BLE001 - as it says above
            _LOG.exception(
                "who may go on could not be renewed", of=type(getattr(renew, "__self__", None)).__name__
            )


async def over(
    asked: Mapping[_Key, _Stays], ask: Callable[[], Awaitable[Mapping[_Key, str]]]
) -> dict[_Key, str]:
    """Of those, who may not go on, and why: by what `ask` says, else of whom nothing was said for too long."""
    clock = asyncio.get_running_loop().time
    asked_at = clock()
    try:
        async with asyncio.timeout(ASK_S_MAX):
            told = await ask()
    except Exception:  # noqa: BLE001 - the database is away: those who are sure until the next answer go on
        _LOG.exception("who may go on could not be asked for")
        sure_until = clock() + RENEW_S + ASK_S_MAX
        return {key: UNSURE for key, one in asked.items() if sure_until > one.checked_at + UNSURE_S}
    for one in asked.values():
        one.checked_at = asked_at
    return dict(told)
