"""Checks of the tree that no linter knows: no address in a lock and no pin without its hash, no path of a machine, no
file past its size.

Prints each finding as `file:line: what`, and exits 1 if there is one.
"""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_LINES_MAX = 700
"""A file longer than this has more than one subject."""

ADDRESS = re.compile(r"https?://|--index-url|--find-links|file://")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?!\S)")
MACHINE_PATH = re.compile(r"(?<![\w.*])/(?:root/\w|home/\w+|work/main|work/steering|farm)\b")


def tracked() -> list[Path]:
    """The files that git tracks."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def unhashed(lines: list[str]) -> list[int]:
    """The lines of a lock on which a requirement starts that has no hash; of a lock without any, its first."""
    starts = [i for i, line in enumerate(lines, 1) if line.strip() and not line.startswith((" ", "#"))]
    if not starts:
        return [1]
    return [
        start
        for start, end in pairwise([*starts, len(lines) + 1])
        if not any(HASH.search(line) for line in lines[start - 1 : end - 1])
    ]


def findings(path: Path) -> list[str]:
    """What is wrong with one file."""
    name = path.relative_to(ROOT)
    if path.name == "uv.lock":
        return [f"{name}:1: a uv.lock names the index's hosts; requirements/*.lock are the locks"]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    found = []
    if path.suffix == ".lock":
        found += [
            f"{name}:{i}: an address in a lock" for i, line in enumerate(lines, 1) if ADDRESS.search(line)
        ]
        found += [f"{name}:{i}: a requirement without its hash" for i in unhashed(lines)]
    if path != Path(__file__):
        found += [
            f"{name}:{i}: a path of a machine" for i, line in enumerate(lines, 1) if MACHINE_PATH.search(line)
        ]
    is_ours = path.suffix == ".py" and "src" in name.parts and "migrations" not in name.parts
    if is_ours and len(lines) > PYTHON_LINES_MAX:
        found.append(
            f"{name}:{len(lines)}: longer than {PYTHON_LINES_MAX} lines: does it still have one subject?"
        )
    return found


def main() -> int:
    found = [line for path in tracked() if path.is_file() for line in findings(path)]
    print("\n".join(found) if found else "tree: locks hashed, no addresses, machine paths, overlong files")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
