"""The Kubernetes engine keeps the contract of engines, on a cluster that is played. It has met no real one."""

from collections.abc import Iterator

import pytest
from tests.kubernetes.bench import KubernetesBench, kubernetes_bench
from tests.site_agent.contract import EngineContract


class TestKubernetes(EngineContract):
    @pytest.fixture
    def bench(self) -> Iterator[KubernetesBench]:  # type: ignore[override]
        with kubernetes_bench() as found:
            yield found
