"""Work on many things of which one may fail."""

from collections.abc import Callable, Iterable
from typing import TypeVar

ItemT = TypeVar("ItemT")


def on_each(act: Callable[[ItemT], object], items: Iterable[ItemT]) -> None:
    """`act` on every item, each in a transaction of its own: one that fails holds up none of the others.

    Raises:
        ExceptionGroup: what failed, once all were tried.
    """
    failed: list[Exception] = []
    for item in items:
        try:
            act(item)
        except Exception as error:  # noqa: BLE001 - whatever it was, the others are still due; it is raised below
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} could not be worked on", failed)
