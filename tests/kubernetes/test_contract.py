"""The Kubernetes engine keeps the contract of engines, on a cluster that is played. It has met no real one."""

from collections.abc import Iterator

import pytest
from tests.kubernetes.bench import KubernetesBench, kubernetes_bench
from tests.kubernetes.cluster import CLASS, NODES
from tests.site_agent.contract import EngineContract, end_of, keeps_a_volume, seconds_of, submitted

from mosu.wire.agent import AttemptPhase


class TestKubernetes(EngineContract):
    @pytest.fixture
    def bench(self) -> Iterator[KubernetesBench]:  # type: ignore[override]
        with kubernetes_bench() as found:
            yield found

    def test_a_volume_is_kept(self, bench: KubernetesBench) -> None:
        bench.engine = bench.restarted(volumes_storage_class=CLASS)
        assert bench.engine.volumes is not None
        keeps_a_volume(bench, bench.engine.volumes, nodes=NODES, watches_size=False)

    def test_more_time_is_given_or_refused(self, bench: KubernetesBench) -> None:  # type: ignore[override]
        """Before Kueue lets it begin, as others before they submit: nothing here depends on how quick this machine is."""
        bench.cluster.controllers.cores = 0
        ref = submitted(
            bench, bench.spec("echo begun; while :; do sleep 0.1; done", wall_limit_s=2, grace_s=1)
        )
        bench.engine.extend(ref, 5)
        bench.cluster.controllers.cores = 64
        ended = end_of(bench, ref)
        assert (ended.seen.phase, ended.seen.reason) == (AttemptPhase.TIMED_OUT, "Stopped at its wall limit.")
        assert seconds_of(ended.seen) >= 3.9
