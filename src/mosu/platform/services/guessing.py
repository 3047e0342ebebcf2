"""Passwords and codes that are guessed: counted alike for pages and for the API, by all processes together."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mosu.platform.services.throttle import TooMany, count_failure, forgive_failure

_WINDOW: Final = timedelta(minutes=15)
_PASSWORDS_MAX: Final = {"address": 100, "pair": 10, "email": 50}
"""Per network address, per e-mail and network address together, per e-mail. The pair's is the lowest, so that one who
guesses elsewhere cannot lock the owner out soon. The address comes first: past its limit nothing else is written."""
_CODES_MAX: Final = 10
"""Per account: only who knows its password comes so far."""
_CODE_LIVES: Final = timedelta(minutes=2)


class CodeUsed(Exception):
    """Somebody signed in with this very code before."""


def count_password(*, email: str, address: str, now: datetime) -> None:
    """Count a password as wrong, before it is known whether it is: `forgive_password` takes it back.

    Raises:
        TooMany: too many were, for this e-mail address or from this network address.
    """
    for which, key in _keys(email, address).items():
        count_failure(key=key, limit=_PASSWORDS_MAX[which], window=_WINDOW, now=now)


def forgive_password(*, email: str, address: str) -> None:
    """It was the right one."""
    for key in _keys(email, address).values():
        forgive_failure(key=key)


@contextmanager
def code_counted(*, user_id: UUID, code: str, now: datetime) -> Iterator[None]:
    """Around the check of a second factor's code: raising in it says that it is wrong, else it is used up.

    Raises:
        TooMany: too many codes of this account were wrong.
        CodeUsed: it is right, and was used before.
    """
    key = f"code of {user_id}"
    count_failure(key=key, limit=_CODES_MAX, window=_WINDOW, now=now)
    yield
    plain = "".join(filter(str.isalnum, code)).lower()
    try:
        count_failure(key=f"code {plain} of {user_id}", limit=1, window=_CODE_LIVES, now=now)
    except TooMany:
        raise CodeUsed from None
    forgive_failure(key=key)


def _keys(email: str, address: str) -> dict[str, str]:
    email = email.strip().lower()
    return {
        "address": f"sign-in from {address}",
        "pair": f"sign-in {email} {address}",
        "email": f"sign-in {email}",
    }
