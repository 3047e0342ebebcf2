"""Prebuilt software environments: an interpreter and packages that the sandbox's user can read.

They are made of what is installed here, or of what is known by its hash (a lock, an archive); each lies in a folder
that says what it holds.
"""

from mosu.sandbox.environments.archived import Archive
from mosu.sandbox.environments.installed import build_python_environment
from mosu.sandbox.environments.laying import INSIDE, Environment, load_environment
from mosu.sandbox.environments.locked import build_locked_environment, lock_of

__all__ = [
    "INSIDE",
    "Archive",
    "Environment",
    "build_locked_environment",
    "build_python_environment",
    "load_environment",
    "lock_of",
]
