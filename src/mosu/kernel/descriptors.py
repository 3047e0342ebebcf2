"""How many files and sockets this process may hold open."""

import resource
from contextlib import suppress


def open_as_many_as_may_be() -> None:
    """Services start with 1,024 on most machines, for the sake of select(2), which nothing here calls."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # a limit that is none cannot be had everywhere
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
