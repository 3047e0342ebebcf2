"""How the C library keeps memory, and when Python looks it through."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 4 * 1024 * 1024
_MAPPED_BYTES: Final = 2 * 1024 * 1024
"""More than a tunnel reads at once: larger pieces are mapped, which is a page fault for each 4 KiB each time."""


def keep_freed_memory() -> None:
    """Keep some MB of what is freed for what is taken next, in this process (mallopt(3)).

    Who passes bytes on in pieces of a quarter of a MiB gives back and takes the same memory all the time, and else has
    the kernel map and clear it each time.
    """
    with suppress(OSError, AttributeError):  # another C library has other habits
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)


@contextmanager
def nothing_collected() -> Iterator[None]:
    """While modules are loaded: they stay, and to look them through for garbage again and again takes a fifth of a
    start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
