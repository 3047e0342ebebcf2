"""The contract of an engine, held by the local one; the next engines join the parameters."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.site_agent.lab import MIB, WAITS, Lab, let_go, make_spec, sleeping, until

from mosu.kernel.refusals import Invalid
from mosu.sandbox import watch
from mosu.sandbox.environments import Environment
from mosu.sandbox.starter import SandboxUnavailable, find_bwrap
from mosu.site_agent import supervisor
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase


@pytest.fixture
def witness(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wrapper around the sandbox's starter that writes down each start."""
    starts = folder / "starts"
    starts.touch(mode=0o666)
    starts.chmod(0o666)
    wrapper = folder / "witness"
    real = find_bwrap(folder / "tools")
    wrapper.write_text(f'#!/bin/sh\n[ -n "$MOSU_JOB" ] && echo "$MOSU_JOB" >> {starts}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("MOSU_BWRAP", str(wrapper))
    return starts


def test_an_attempt_runs_and_tells_the_truth(lab: Lab) -> None:
    began = time.time()
    ended = lab.run("echo out; echo err >&2; pwd; exit 3")
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 3)
    assert ended.log == "out\nerr\n/work\n"
    assert ended.seen.log_bytes == len(ended.log)
    assert ended.seen.started_at is not None and ended.seen.ended_at is not None
    assert began <= ended.seen.started_at.timestamp() <= ended.seen.ended_at.timestamp() <= time.time()


def test_what_a_running_attempt_takes_is_seen_while_it_runs(lab: Lab) -> None:
    ref = lab.start(
        "python3 -c 'import time; held = bytearray(range(256)) * 200000\nwhile time.time(): held[0]' & sleep 150; kill %1"
    )
    # On a slow machine the interpreter alone takes half a second of a core, before any memory is held.
    until(
        lambda: (
            (sample := lab.engine.observe([ref])[ref].sample) is not None
            and sample.cpu_s > 0.5
            and sample.memory_bytes > 40 * MIB
        ),
        what="a sample of both",
    )
    lab.engine.cancel(ref)
    assert not lab.wait(ref).ok


def test_setup_runs_first_and_its_failure_ends_the_attempt(lab: Lab) -> None:
    good = lab.run("cat made; exit 0", setup="cat; echo prepared > made")
    assert good.ok and good.log == "prepared\n"
    bad = lab.run("echo ran", setup="exit 7")
    assert bad.seen.exit_code == 7
    assert bad.log == "mosu: setup ended with exit code 7\n"


def test_submitting_twice_starts_once(lab: Lab, witness: Path) -> None:
    spec = make_spec("echo once >> count; cat count; sleep 0.3")
    threads = [threading.Thread(target=lab.engine.submit, args=(spec,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lab.restarted().submit(spec)
    ended = lab.wait(EngineRef(spec.attempt_id))
    lab.engine.submit(spec)
    assert ended.ok and ended.log == "once\n"
    assert witness.read_text() == f"{spec.attempt_id}\n"


def test_a_second_supervisor_exits_without_starting(lab: Lab, witness: Path) -> None:
    ref = lab.start(WAITS)
    state = (lab.attempt(ref) / "state.json").read_bytes()
    subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, lab.attempt(ref)], check=True)
    assert (lab.attempt(ref) / "state.json").read_bytes() == state
    let_go(lab.attempt(ref))
    assert lab.wait(ref).ok
    assert witness.read_text().count("\n") == 1


def test_a_killed_agent_is_no_end_and_its_successor_adopts(
    lab: Lab, environment: Environment, witness: Path
) -> None:
    spec = make_spec("sleep 1; echo survived")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mosu.sandbox.environments import load_environment\n"
        "from mosu.wire.agent import AttemptSpec\n"
        "from tests.site_agent.lab import Lab\n"
        f"lab = Lab(Path({str(lab.folder)!r}), load_environment(Path({str(environment.root)!r})))\n"
        f"lab.engine.submit(AttemptSpec.model_validate_json({spec.model_dump_json()!r}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    lab.engine = lab.restarted()
    ref = lab.engine.submit(spec)
    ended = lab.wait(ref)
    assert ended.ok and ended.log == "survived\n"
    assert witness.read_text().count("\n") == 1


def test_a_killed_supervisor_is_lost_and_leaves_nothing(lab: Lab, witness: Path) -> None:
    numbers = (f"4323.{os.getpid()}", f"4324.{os.getpid()}")
    ref = lab.start(f"(setsid sleep {numbers[0]} &); sleep {numbers[1]}")
    pids = json.loads((lab.attempt(ref) / "state.json").read_text())["pids"]
    assert len(pids) == 2
    os.kill(json.loads((lab.attempt(ref) / "claim").read_text())[0], signal.SIGKILL)
    ended = lab.wait(ref)
    assert ended.seen.phase == AttemptPhase.LOST
    until(lambda: not any(watch.start_ticks(pid) == ticks for pid, ticks in pids))
    for number in numbers:
        until(lambda number=number: not sleeping(number))
    lab.engine.submit(make_spec(attempt_id=ref))
    assert lab.wait(ref).seen.phase == AttemptPhase.LOST
    assert witness.read_text().count("\n") == 1


def test_cancel_asks_first_and_then_kills(lab: Lab) -> None:
    polite = lab.start("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done", grace_s=120)
    stubborn = lab.start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: "ready" in lab.log(polite) and "ready" in lab.log(stubborn))
    lab.engine.cancel(polite)
    lab.engine.cancel(stubborn)
    ended = lab.wait(polite)
    assert ended.seen.phase == AttemptPhase.CANCELLED and "bye" in ended.log
    ended = lab.wait(stubborn)
    assert ended.seen.phase == AttemptPhase.CANCELLED
    assert ended.seen.measures is not None and ended.seen.measures.wall_s >= 1  # its grace


def test_cancelled_before_its_start_never_starts(lab: Lab, witness: Path) -> None:
    spec = make_spec("echo ran", secrets={"KEY": "s3cret"})
    lab.engine.workdir(spec.attempt_id)
    lab.engine.cancel(EngineRef(spec.attempt_id))
    ended = lab.wait(lab.engine.submit(spec))
    assert (ended.seen.phase, ended.seen.started_at, ended.log) == (AttemptPhase.CANCELLED, None, "")
    assert not (lab.attempt(EngineRef(spec.attempt_id)) / "secrets.json").exists()
    assert witness.read_text() == ""


def test_the_wall_limit_ends_it(lab: Lab) -> None:
    ended = lab.run("trap '' TERM; echo begun; while :; do sleep 0.05; done", wall_limit_s=2, grace_s=0)
    assert ended.seen.phase == AttemptPhase.TIMED_OUT
    assert ended.seen.measures is not None and 2.0 <= ended.seen.measures.wall_s < 60
    assert ended.log == "begun\n"


def test_an_earlier_limit_shortens_nothing(lab: Lab) -> None:
    spec = make_spec("while :; do sleep 0.05; done", wall_limit_s=3, grace_s=0)
    lab.engine.workdir(spec.attempt_id)
    lab.engine.extend(EngineRef(spec.attempt_id), 1)
    lab.engine.submit(spec)
    ended = lab.wait(EngineRef(spec.attempt_id))
    assert ended.seen.measures is not None and ended.seen.measures.wall_s >= 3.0


def test_the_log_is_clean_and_capped(lab: Lab) -> None:
    lab.engine = lab.restarted(log_bytes_max=40_000)
    ended = lab.python(
        "print('\\x1b[31mred\\x1b[0m \\x07bell'); print('x' * 100_000)\nfor n in range(9000): print(n)"
    )
    lines = ended.log.splitlines()
    assert ended.ok
    assert lines[0] == "red bell"
    assert len(lines[1]) < 17_000 and lines[1].endswith("[mosu: line cut]")
    assert lines[-1] == "[mosu: the log reached 40000 bytes; the rest is not kept]"
    assert len(ended.log.encode()) < 40_200


def test_log_is_read_from_any_offset_in_whole_characters(lab: Lab) -> None:
    ref = lab.engine.submit(make_spec("echo 模速空间"))
    text = lab.wait(ref).log
    parts, offset = [], 0
    while (part := lab.engine.read_log(ref, offset=offset, bytes_max=4)).data:
        parts.append(part.data.decode())
        offset += len(part.data)
    assert "".join(parts) == text == "模速空间\n"


def test_a_line_is_readable_at_once(lab: Lab) -> None:
    """Not when a buffer is full or the job ends: this one waits for its reader. `make bench` holds the time."""
    waits = "while not os.path.exists('go'): time.sleep(0.02)"
    ref = lab.start(f"python3 -c \"import os, time\nprint('here')\n{waits}\"")
    until(lambda: lab.log(ref) == "here\n")
    let_go(lab.attempt(ref))
    assert lab.wait(ref).ok


def test_what_cannot_run_here_is_refused_and_nothing_starts(lab: Lab) -> None:
    for changes in ({"environment": "none"}, {"envs": {"A B": "1"}}, {"run": "x" * 2_000_000}):
        with pytest.raises(Invalid):
            lab.engine.submit(make_spec(**{"run": "true", **changes}))
    assert not list((lab.folder / "attempts").glob("*/job.json"))


def test_two_attempts_get_different_cores(lab: Lab) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    first = lab.start("sleep 150")
    second = lab.start("sleep 150")
    cpus = [json.loads((lab.attempt(ref) / "job.json").read_text())["cpus"] for ref in (first, second)]
    assert cpus[0] != cpus[1]
    for ref in (first, second):
        lab.engine.cancel(ref)
        lab.wait(ref)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the sandbox")
def test_a_folder_that_the_sandboxs_user_cannot_reach_is_refused(
    folder: Path, environment: Environment
) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SandboxUnavailable, match="cannot pass through"):
        Lab(closed / "state", environment)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_forgetting_deletes_all(lab: Lab) -> None:
    ref = lab.engine.submit(make_spec("head -c 1000 /dev/zero > file"))
    lab.wait(ref)
    lab.engine.clean(ref)
    assert not (lab.attempt(ref) / "work").exists()
    lab.engine.forget(ref)
    assert not lab.attempt(ref).exists()
    assert lab.seen(ref).phase == AttemptPhase.LOST


def test_the_start_is_prompt(lab: Lab) -> None:
    waits = []
    for _ in range(30):  # the best of many: the machine may be busy
        began = time.time()
        seen = lab.run("true", memory_bytes=64 * MIB).seen
        assert seen.started_at is not None
        waits.append(seen.started_at.timestamp() - began)
        if waits[-1] <= 1:
            return
    pytest.fail(f"never prompt: {waits}")


def test_a_starter_that_fails_is_a_failed_attempt_with_its_reason(
    lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for script, said in (
        ("echo 'bwrap: denied' >&2; exit 1", "bwrap: denied"),
        (None, "could not be started"),
    ):
        starter = folder / "starter"
        starter.unlink(missing_ok=True)
        if script:
            starter.write_text(f"#!/bin/sh\n{script}\n")
            starter.chmod(0o755)
        monkeypatch.setenv("MOSU_BWRAP", str(starter))
        lab.engine = lab.restarted()
        ended = lab.run("echo ran", secrets={"KEY": "s3cret"})
        assert ended.seen.phase == AttemptPhase.FAILED and said in ended.seen.reason, ended
        assert ended.seen.started_at is None and ended.log == ""
        assert not list((lab.folder / "attempts").glob("*/secrets.json"))
    ours = {f"mosu-{attempt.name}" for attempt in (lab.folder / "attempts").iterdir()}
    assert ours
    # Others beside us make cgroups and remove them while we look: `walk` passes over those, `glob` may not.
    left = {name for _, folders, _ in os.walk("/sys/fs/cgroup") for name in folders}
    assert not ours & left
