"""What only Slurm can get wrong: doubled submissions, cards, gangs, its books, its crashes, its refusals."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.protocol import EngineRef
from mosu.site_agent.engines.slurm import commands, payload
from mosu.site_agent.engines.slurm.engine import SlurmEngine
from mosu.wire.agent import AttemptPhase
from tests.images.registry import plain_image, registry
from tests.site_agent.contract import (
    end_of,
    keeps_a_volume,
    let_go,
    log_of,
    runs_an_image,
    seconds_of,
    seen,
    started,
    submitted,
    tells_of_an_image,
)
from tests.site_agent.lab import WAITS, any_process_tells, until
from tests.slurm.cluster import CARDS, CORES
from tests.slurm.fixtures import CARD, SlurmBench

pytestmark = pytest.mark.slurm


def accounts(bench: SlurmBench, name: str) -> list[list[str]]:
    """All that slurmdbd has of jobs of this name, one or more: id, state, start, seconds, TRES."""
    asked = ("sacct", "-X", "-P", "-n", "--duplicates", "--starttime=1970-01-01", "--endtime=now+1hour")
    found: list[list[str]] = []

    def come() -> bool:  # slurmdbd may have a job's end before its name
        text = bench.cluster.ask(*asked, "--format=JobName,JobIDRaw,State,Start,ElapsedRaw,AllocTRES")
        rows = [line.split("|") for line in text.splitlines()]
        found[:] = [row[1:] for row in rows if row[0] == name]
        return bool(found)

    until(come, what=f"{name} in slurmdbd", every_s=0.2)
    return found


def test_usage_is_what_slurm_has_in_its_books(bench: SlurmBench) -> None:
    spec = bench.spec("sleep 2", cores=2, accelerator=CARD, devices=((0, 1, 2),))
    ended = end_of(bench, submitted(bench, spec))
    assert ended.ok, ended
    [[_, state, _, elapsed, tres]] = accounts(bench, spec.attempt_id)
    assert state == "COMPLETED" and int(elapsed) >= 2
    assert "cpu=2" in tres and "gres/gpu=3" in tres
    assert seconds_of(ended.seen) == int(elapsed)
    assert ended.seen.units == {"core_second": 2, "card_second": 3}


def test_an_image_of_the_tasks_own_is_run_and_reached(
    bench: SlurmBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry().certificate))
    images = bench.with_images()
    runs_an_image(bench, images, plain_image())
    tells_of_an_image(bench, images, plain_image())


def test_a_volume_is_kept_from_job_to_job_and_one_writes(bench: SlurmBench) -> None:
    keeps_a_volume(bench, bench.volumes, nodes=("n1", "n2"))


def test_a_job_sees_its_own_cards_and_no_others(bench: SlurmBench) -> None:
    run = f"echo $ASCEND_RT_VISIBLE_DEVICES; ls {bench.cluster.folder}/dev | tr '\\n' ' '; {WAITS}"
    refs = [
        started(bench, bench.spec(run, accelerator=CARD, devices=((0, 1),)), says="npu") for _ in range(2)
    ]
    lines = [log_of(bench, ref).splitlines() for ref in refs]
    assert [line[0] for line in lines] == ["0,1", "0,1"]
    files = [set(line[1].split()) for line in lines]
    assert [len(found) for found in files] == [2, 2] and not files[0] & files[1]
    for ref in refs:
        let_go(bench, ref)
        assert end_of(bench, ref).ok


def test_two_nodes_know_their_ranks_and_reach_each_other(bench: SlurmBench) -> None:
    run = (
        'echo "rank $SKYPILOT_NODE_RANK of $SKYPILOT_NUM_NODES, $(echo "$SKYPILOT_NODE_IPS" | wc -l) addresses"\n'
        'touch "seen-$SKYPILOT_NODE_RANK"; until [ -e seen-0 ] && [ -e seen-1 ]; do sleep 0.05; done\n'
        'cat "$MOSU_SECRETS/KEY"\n'
        "python3 -c \"import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname()); print('connected')\""
    )
    spec = bench.spec(
        run, nodes=("n2", "n1"), secrets={"KEY": "s3cret\n"}, devices=((0,), (0,)), accelerator=CARD
    )
    ended = end_of(bench, submitted(bench, spec))
    assert ended.ok, ended
    lines = sorted(re.sub(r"^\d+: ", "", line) for line in ended.log.splitlines())
    assert lines == [
        "connected",
        "connected",
        "rank 0 of 2, 2 addresses",
        "rank 1 of 2, 2 addresses",
        "s3cret",
        "s3cret",
    ]
    assert ended.seen.units == {"core_second": 2, "card_second": 2}
    assert (bench.engine.workdir(spec.attempt_id) / "seen-1").exists()


def test_a_node_that_fails_ends_the_others(bench: SlurmBench) -> None:
    run = '[ "$SKYPILOT_NODE_RANK" = 1 ] && exit 9; while :; do sleep 0.1; done'
    ended = end_of(bench, submitted(bench, bench.spec(run, nodes=("n1", "n2"))))
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 9), ended


def test_several_nodes_need_the_suppliers_grant(bench: SlurmBench) -> None:
    bench.options = replace(bench.options, shared_network=False)
    with pytest.raises(Invalid, match="no network"):
        submitted_to(bench.restarted(), bench.spec(nodes=("n1", "n2")))


def submitted_to(engine: object, spec: object) -> None:
    engine.workdir(spec.attempt_id)  # type: ignore[attr-defined]
    engine.submit(spec)  # type: ignore[attr-defined]


def test_a_second_job_of_an_attempt_ends_without_working(bench: SlurmBench) -> None:
    """As after an `sbatch` whose answer was lost, or a slurmctld that forgot that it had started the job."""
    spec = bench.spec(f"echo once >> count; echo begun; {WAITS}; cat count")
    ref = started(bench, spec, says="begun")
    attempt = bench.attempt(ref)
    again = bench.cluster.ask(
        *("sbatch", "--parsable", f"--job-name={ref}", "--mem=100", f"--output={attempt}/slurm.out"),
        *("--wrap", f"{bench.options.python} -I -S {payload.__file__} {attempt}"),
    ).strip()
    until(lambda: any(row[0] == again and row[1] == "COMPLETED" for row in accounts(bench, ref)))
    assert seen(bench, ref).phase == AttemptPhase.RUNNING
    let_go(bench, ref)
    ended = end_of(bench, ref)
    assert ended.ok and ended.log == "begun\nonce\n"
    [first] = [row for row in accounts(bench, ref) if row[0] != again]
    assert seconds_of(ended.seen) == int(first[3])  # of the first alone


def test_a_submission_in_doubt_is_found_again(bench: SlurmBench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = commands.submit

    def taken_but_unheard(script: str, arguments: list[str]) -> int:
        real(script, arguments)
        raise commands.SlurmAway("sbatch: no answer in 60 s")

    spec = bench.spec("echo once >> count; cat count")
    monkeypatch.setattr(commands, "submit", taken_but_unheard)
    with pytest.raises(commands.SlurmAway):
        submitted(bench, spec)
    monkeypatch.setattr(commands, "submit", real)
    bench.engine = bench.restarted()
    ended = end_of(bench, bench.engine.submit(spec))
    assert ended.ok and ended.log == "once\n"
    assert len(accounts(bench, spec.attempt_id)) == 1


def test_cancelled_while_its_submission_is_in_doubt(
    bench: SlurmBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[str, list[str]], int] = commands.submit  # type: ignore[assignment]
    spec = bench.spec("echo ran > witness")

    def taken_but_unheard(script: str, arguments: list[str]) -> int:
        real(script, [*arguments, "--begin=now+1hour"])
        raise commands.SlurmAway("sbatch: no answer in 60 s")

    monkeypatch.setattr(commands, "submit", taken_but_unheard)
    with pytest.raises(commands.SlurmAway):
        submitted(bench, spec)
    monkeypatch.setattr(commands, "submit", real)
    ref = EngineRef(spec.attempt_id)
    bench.engine.cancel(ref)
    bench.engine.submit(spec)
    ended = end_of(bench, ref)
    assert (ended.seen.phase, ended.seen.started_at) == (AttemptPhase.CANCELLED, None)
    assert not (bench.engine.workdir(ref) / "witness").exists()


def test_cancelled_in_the_queue_it_is_not_metered(bench: SlurmBench) -> None:
    holder = started(bench, bench.spec(WAITS, cores=CORES))
    waiting = submitted(bench, bench.spec("echo ran > witness"))
    until(lambda: "PENDING" in bench.cluster.ask("squeue", "-h", f"--name={waiting}", "-o", "%T"))
    assert seen(bench, waiting).phase == AttemptPhase.PREPARING
    bench.engine.cancel(waiting)
    ended = end_of(bench, waiting)
    assert (ended.seen.phase, ended.seen.started_at) == (AttemptPhase.CANCELLED, None)
    let_go(bench, holder)
    assert end_of(bench, holder).ok


def test_cancelled_at_the_cluster_is_the_suppliers_failure(bench: SlurmBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    bench.cluster.ask("scancel", f"--name={ref}")
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and "cancelled at the cluster" in ended.seen.reason


def test_slurms_own_limit_ends_what_its_supervisor_does_not(bench: SlurmBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    job = json.loads((bench.attempt(ref) / "claim").read_text())
    bench.cluster.ask("scontrol", "update", f"jobid={job}", "endtime=now+2")  # a time limit is whole minutes
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.TIMED_OUT, ended
    [[_, _, _, elapsed, _]] = accounts(bench, ref)
    assert seconds_of(ended.seen) == int(elapsed)


def test_without_accounts_the_last_known_holds(bench: SlurmBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    with bench.cluster.without("slurmdbd"):
        let_go(bench, ref)
        until(lambda: json.loads((bench.attempt(ref) / "state.json").read_text())["phase"] == "succeeded")
        for engine in (bench.engine, bench.restarted()):
            assert engine.observe([ref])[ref].phase in {AttemptPhase.RUNNING, AttemptPhase.PREPARING}
    ended = end_of(bench, ref)
    [[_, _, _, elapsed, _]] = accounts(bench, ref)
    assert ended.ok and seconds_of(ended.seen) == int(elapsed)


def test_a_node_without_its_slurmd_keeps_its_jobs(bench: SlurmBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    with bench.cluster.without("n1"):
        assert seen(bench, ref).phase == AttemptPhase.RUNNING
    let_go(bench, ref)
    assert end_of(bench, ref).ok


def test_what_slurmctld_lost_ends_by_its_payloads_word(bench: SlurmBench) -> None:
    """A slurmctld killed before it wrote a job down: no daemon will ever say how it ended."""
    engine = bench.engine
    assert isinstance(engine, SlurmEngine)
    ref = started(bench, bench.spec(f"echo begun; {WAITS}; sleep 1"), says="begun")
    let_go(bench, ref)
    until(lambda: json.loads((bench.attempt(ref) / "state.json").read_text())["phase"] == "succeeded")
    (bench.attempt(ref) / "claim").write_text("999999")
    engine._forgotten_after_s = 1.0
    ended = end_of(bench, ref)
    assert ended.ok and ended.seen.units is None and seconds_of(ended.seen) >= 1


def test_a_payload_that_cannot_start_says_why(bench: SlurmBench) -> None:
    bench.options = replace(bench.options, python="/nowhere/python")
    bench.engine = bench.restarted()
    ended = end_of(bench, submitted(bench, bench.spec()))
    assert ended.seen.phase == AttemptPhase.LOST and "/nowhere/python" in ended.seen.reason


def test_what_slurm_refuses_is_refused_in_its_words(bench: SlurmBench) -> None:
    bench.options = replace(bench.options, partition="nowhere")
    with pytest.raises(commands.SlurmRefused, match="nvalid partition"):
        submitted_to(bench.restarted(), bench.spec())


def test_a_secret_is_in_no_script_argument_or_environment(bench: SlurmBench) -> None:
    secret = f"s3cret-{time.time_ns()}"
    ref = started(bench, bench.spec(f"echo begun; {WAITS}", secrets={"KEY": secret}), says="begun")
    job = json.loads((bench.attempt(ref) / "claim").read_text())
    script = bench.cluster.ask("scontrol", "write", "batch_script", str(job), "-")
    assert secret not in script and secret not in bench.cluster.ask("scontrol", "show", "job", str(job))
    assert not any_process_tells(secret.encode())
    left = subprocess.run(
        [
            "grep",
            "-rl",
            secret,
            str(bench.folder),
            str(bench.cluster.folder / "state"),
            str(bench.cluster.folder / "spool"),
        ],
        capture_output=True,
        text=True,
    )
    assert left.stdout == ""
    let_go(bench, ref)
    assert end_of(bench, ref).ok


def test_nodes_are_those_that_take_jobs(bench: SlurmBench) -> None:
    nodes = bench.engine.nodes()
    assert [(node.name, node.cores, len(node.devices)) for node in nodes] == [
        ("n1", CORES, CARDS),
        ("n2", CORES, CARDS),
    ]
    assert {device.accelerator for device in nodes[0].devices} == {CARD}
    bench.cluster.ask("scontrol", "update", "nodename=n2", "state=drain", "reason=fans")
    try:
        assert [node.name for node in bench.engine.nodes()] == ["n1"]
    finally:
        bench.cluster.ask("scontrol", "update", "nodename=n2", "state=resume")
    bench.cluster.remember()
    with bench.cluster.without("slurmctld"):
        assert [node.name for node in bench.restarted().nodes()] == ["n1"]  # as it last said


def test_while_it_runs_no_more_is_metered_than_slurm_has(bench: SlurmBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    until(lambda: _metered(bench, ref) >= timedelta(seconds=2))
    metered = _metered(bench, ref)
    let_go(bench, ref)
    assert timedelta(seconds=seconds_of(end_of(bench, ref).seen)) >= metered


def _metered(bench: SlurmBench, ref: EngineRef) -> timedelta:
    now = seen(bench, ref)
    assert now.started_at is not None and now.metered_until is not None
    return now.metered_until - now.started_at


def test_slurm_finds_the_shared_folder_not_its_own(bench: SlurmBench) -> None:
    """The sandbox shows neither Slurm's socket nor munge's: a job cannot submit jobs."""
    ended = end_of(
        bench,
        submitted(bench, bench.spec("ls /run/munge /etc/munge; command -v sbatch && sbatch --version; true")),
    )
    assert (
        ended.ok and "munge.key" not in ended.log and str(Path("/run/munge/munge.socket.2")) not in ended.log
    )
