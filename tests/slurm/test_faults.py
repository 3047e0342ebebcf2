"""A hub, a bad link and a real Slurm whose parts die: the short version of `python -m benchmarks.slurm`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[2]


def test_what_dies_costs_nobody_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.slurm", "--runs", "12"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
