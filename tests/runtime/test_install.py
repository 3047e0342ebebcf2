"""`tools/install.sh` in a checkout with any name; pip itself is left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PYTHON = """#!/bin/sh
case "$1" in -m) exit 0 ;; -c) dirname "$0" ;; *) exec {real} "$@" ;; esac
"""


def test_mosu_starts_from_a_folder_with_spaces_that_is_moved_later(folder: Path) -> None:
    checkout = folder / "my 项目"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "tools").mkdir()
    shutil.copy2(ROOT / "tools" / "install.sh", checkout / "tools")
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(PYTHON.format(real=sys.executable))
    python.chmod(0o755)
    subprocess.run([checkout / "tools" / "install.sh", "hub"], check=True)
    moved = checkout.rename(folder / "moved 移")
    done = subprocess.run(
        [moved / ".venv" / "bin" / "mosu", "--version"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("mosu ")
