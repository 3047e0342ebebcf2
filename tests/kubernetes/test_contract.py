"""The Kubernetes engine keeps the contract of engines, on a cluster that is played. It has met no real one."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.kubernetes.cluster import FakeCluster, fake_cluster
from tests.site_agent.contract import EngineContract
from tests.site_agent.lab import make_spec, open_folder

from mosu.site_agent.engines.kubernetes.engine import KubernetesEngine
from mosu.site_agent.engines.kubernetes.options import options_of
from mosu.site_agent.engines.protocol import Engine, EngineRef
from mosu.wire.agent import AttemptSpec


class KubernetesBench:
    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.engine: Engine = self.restarted()

    def spec(self, run: str = "true", **changes: Any) -> AttemptSpec:
        return make_spec(run, **{"nodes": ("n1",), **changes})

    def restarted(self, **changes: Any) -> Engine:
        return KubernetesEngine(options_of(self.cluster.options(**changes)), log_bytes_max=1 << 20)

    def without_daemon(self) -> AbstractContextManager[None]:
        return self.cluster.away()

    def private_paths(self, ref: EngineRef) -> Sequence[Path]:
        attempt = self.cluster.volume / "attempts" / ref
        return [
            self.cluster.volume,
            attempt,
            attempt / "work" / "file",
            attempt / "log",
            attempt / "job.json",
        ]


@pytest.fixture
def bench() -> Iterator[KubernetesBench]:
    with open_folder() as folder, fake_cluster(folder) as cluster:
        yield KubernetesBench(cluster)


class TestKubernetes(EngineContract):
    @pytest.fixture
    def bench(self, bench):  # type: ignore[no-untyped-def, override]
        return bench
