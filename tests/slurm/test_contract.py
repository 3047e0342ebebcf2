"""The Slurm engine keeps the contract of engines, on a real Slurm of two nodes."""

import pytest

from tests.site_agent.contract import EngineContract

pytestmark = pytest.mark.slurm


class TestSlurm(EngineContract):
    @pytest.fixture
    def bench(self, bench):  # type: ignore[no-untyped-def, override]
        return bench
