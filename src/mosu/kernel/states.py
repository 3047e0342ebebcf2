"""One table of moves, one check."""

from collections.abc import Mapping, Set
from enum import StrEnum
from typing import TypeVar

from mosu.kernel.refusals import DomainError

StateT = TypeVar("StateT", bound=StrEnum)


class IllegalMove(DomainError):
    """The thing is in a state from which this move does not exist."""

    code = "illegal_move"


def check_move(moves: Mapping[StateT, Set[StateT]], *, what: str, now: StateT, to: StateT) -> None:
    """Pass if `moves` allows `now` -> `to`.

    Raises:
        IllegalMove: it does not; the hint lists what is allowed from `now`.
    """
    allowed = moves.get(now, frozenset())
    if to not in allowed:
        nexts = ", ".join(sorted(allowed)) or "nothing: this state is final"
        raise IllegalMove(
            f"{what} is {now.value} and cannot become {to.value}.",
            hint=f"Allowed from {now.value}: {nexts}.",
            now=now.value,
            to=to.value,
        )
