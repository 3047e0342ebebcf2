"""The Kubernetes engine on the fake cluster."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster import FakeCluster, fake_cluster
from tests.kubernetes.fake_controllers import PODS
from tests.site_agent.lab import last_words_of, make_spec, open_folder

from mosu.site_agent.engines.kubernetes.engine import KubernetesEngine
from mosu.site_agent.engines.kubernetes.options import options_of
from mosu.site_agent.engines.protocol import Engine, EngineRef
from mosu.wire.agent import AttemptSpec

VOLUMES_GB = 40


class KubernetesBench:
    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self._made: list[KubernetesEngine] = []
        self.engine: Engine = self.restarted()

    def spec(self, run: str = "true", **changes: Any) -> AttemptSpec:
        return make_spec(run, **{"nodes": ("n1",), **changes})

    def restarted(self, **changes: Any) -> KubernetesEngine:
        options = options_of(self.cluster.options(**changes))
        made = KubernetesEngine(options, log_bytes_max=1 << 20, volumes_gb=VOLUMES_GB)
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            made.close()

    def last_words(self) -> str:
        store = self.cluster.store
        pods = [f"{pod['metadata']['name']}: {pod['status']}" for pod in store.listed(PODS)]
        return "\n".join([*pods, last_words_of(self.cluster.volume / "attempts")])

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


@contextmanager
def kubernetes_bench() -> Iterator[KubernetesBench]:
    with open_folder() as folder, fake_cluster(folder) as cluster:
        bench = KubernetesBench(cluster)
        try:
            yield bench
        finally:
            bench.close()
