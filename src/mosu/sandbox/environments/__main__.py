"""`python -m mosu.sandbox.environments FOLDER [PACKAGE]... [--lock FILE] [--archive FILE --sha256 HASH] [--name NAME]`:
build one, print its folder.

With packages: those that are installed beside this interpreter. With a lock, or the name of one that mosu brings:
what the lock says, downloaded and checked against its hashes. With an archive: the program that it holds, alone or
beside what the lock says.
"""

import argparse
import sys
from pathlib import Path

from mosu.kernel.refusals import DomainError
from mosu.sandbox.environments import Archive, build_locked_environment, build_python_environment


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mosu.sandbox.environments", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE")
    parser.add_argument("--lock", type=Path, help="a file of pinned, hashed requirements")
    parser.add_argument("--archive", type=Path, help="a program's archive, as its makers publish it")
    parser.add_argument("--sha256", default="", help="of the archive")
    parser.add_argument("--name", default="", help="what tasks call it; jupyter and smollm2 need no lock")
    asked = parser.parse_args()
    try:
        if asked.packages or not (asked.lock or asked.archive or asked.name):
            made = build_python_environment(
                asked.folder, packages=asked.packages, name=asked.name or "python"
            )
        else:
            archive = Archive.of(asked.archive, asked.sha256)
            name = asked.name or (asked.lock or asked.archive).stem
            made = build_locked_environment(
                asked.folder.absolute(), name=name, lock=asked.lock, archive=archive
            )
    except DomainError as refused:
        sys.stderr.write(f"error: {refused.message}\n  {refused.hint}\n")
        return 1
    print(made.root)  # noqa: T201 - a command that prints
    return 0


if __name__ == "__main__":
    sys.exit(main())
