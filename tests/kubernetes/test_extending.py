"""More time on the fake cluster: a Job's deadline is put off while it runs, by an agent that has the right."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kubernetes.bench import KubernetesBench, kubernetes_bench
from tests.kubernetes.fake_controllers import JOBS
from tests.site_agent.contract import end_of, started
from tests.site_agent.lab import WAITS, until

from mosu.site_agent.engines.kubernetes.manifests import name_of
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase


@pytest.fixture
def bench() -> Iterator[KubernetesBench]:
    with kubernetes_bench() as found:
        yield found


def deadline_of(bench: KubernetesBench, ref: EngineRef) -> int:
    [job] = jobs_of(bench, ref)
    return int(job["spec"]["activeDeadlineSeconds"])


def jobs_of(bench: KubernetesBench, ref: EngineRef) -> list[Any]:
    return [job for job in bench.cluster.store.listed(JOBS) if job["metadata"]["name"] == name_of(ref)]


def test_a_deadline_is_put_off_once_and_never_brought_forward(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}", wall_limit_s=200), says="begun")
    for told, known in ((500, 500), (500, 500), (300, 500)):
        bench.engine.extend(ref, told)
        assert deadline_of(bench, ref) == known
    bench.engine = bench.restarted()
    for told in (500, 700):
        bench.engine.extend(ref, told)
    assert [changes["spec"] for changes in bench.cluster.store.patches] == [
        {"activeDeadlineSeconds": 500},
        {"activeDeadlineSeconds": 700},
    ]
    bench.engine.cancel(ref)
    assert end_of(bench, ref).seen.phase == AttemptPhase.CANCELLED
    bench.engine.clean(ref)
    until(lambda: not jobs_of(bench, ref), what="its Job is gone")
    with pytest.raises(OSError, match="gone"):
        bench.engine.extend(ref, 900)


def test_without_the_right_no_more_time_is_sold(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}", wall_limit_s=200), says="begun")
    assert bench.engine.extends
    bench.cluster.store.job_verbs = set()
    with pytest.raises(OSError, match="refuses a later deadline"):
        bench.engine.extend(ref, 500)
    assert deadline_of(bench, ref) == 200
    assert not bench.restarted().extends


def test_while_the_server_is_away_it_is_told_later(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}", wall_limit_s=200), says="begun")
    bench.engine = bench.restarted()
    with bench.without_daemon():
        assert not bench.engine.extends
        with pytest.raises(OSError, match="does not answer"):
            bench.engine.extend(ref, 500)
    assert bench.engine.extends
    bench.engine.extend(ref, 500)
    assert deadline_of(bench, ref) == 500


def test_what_has_no_job_is_given_no_time(bench: KubernetesBench) -> None:
    with pytest.raises(OSError, match="no Job"):
        bench.engine.extend(EngineRef(bench.spec().attempt_id), 500)
