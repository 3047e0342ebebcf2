"""`python -m mosu.sandbox.environments FOLDER [PACKAGE]... [--lock FILE] [--name NAME]`: build one, print its folder.

With packages: those that are installed beside this interpreter. With a lock, or the name of one that mosu brings:
what the lock says, downloaded and checked against its hashes.
"""

import argparse
import sys
from pathlib import Path

from mosu.kernel.refusals import DomainError
from mosu.sandbox.environments import build_locked_environment, build_python_environment, lock_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mosu.sandbox.environments", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE")
    parser.add_argument("--lock", type=Path, help="a file of pinned, hashed requirements")
    parser.add_argument("--name", default="", help="what tasks call it; jupyter and smollm2 need no lock")
    asked = parser.parse_args()
    try:
        if asked.packages or not (asked.lock or asked.name):
            made = build_python_environment(
                asked.folder, packages=asked.packages, name=asked.name or "python"
            )
        else:
            lock = asked.lock or lock_of(asked.name)
            made = build_locked_environment(asked.folder.absolute(), name=asked.name or lock.stem, lock=lock)
    except DomainError as refused:
        sys.stderr.write(f"error: {refused.message}\n  {refused.hint}\n")
        return 1
    print(made.root)  # noqa: T201 - a command that prints
    return 0


if __name__ == "__main__":
    sys.exit(main())
