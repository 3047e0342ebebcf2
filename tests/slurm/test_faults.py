"""A hub, a bad link and a real Slurm whose parts die: the short version of `python -m benchmarks.slurm`."""

import pytest

from tests.programs import ran

pytestmark = pytest.mark.slurm


def test_what_dies_costs_nobody_anything() -> None:
    ran("benchmarks.slurm", "--runs", "12")
