"""What every engine promises, tested: each engine's own test module subclasses `EngineContract` with a `bench`.

```python
class TestRay(EngineContract):
    @pytest.fixture
    def bench(self) -> Iterator[Bench]: ...
```

Jobs speak bash and know their working folder, nothing else: so one test serves a laptop and a cluster.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.site_agent.lab import WAITS, Ended, processes_that_name, until

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.protocol import FINAL_PHASES, Engine, EngineRef, Observation, VolumeKeeper
from mosu.site_agent.images import Images
from mosu.site_agent.metering import UsageBook
from mosu.wire.agent import AttemptPhase, AttemptSpec, VolumeSpec

WITHIN_S = 180.0


class Bench(Protocol):
    """One engine at work, and what its test may do to it."""

    engine: Engine

    def spec(self, run: str = "true", **changes: Any) -> AttemptSpec:
        """An attempt that fits this engine's nodes and environment."""

    def restarted(self) -> Engine:
        """A new engine over the same state, as a new agent makes it."""

    def without_daemon(self) -> AbstractContextManager[None]:
        """The engine's daemon is dead meanwhile; where there is none, nothing happens."""

    def private_paths(self, ref: EngineRef) -> Sequence[Path]:
        """What on the machine belongs to an attempt or to the agent, and to no other attempt."""


def seen(bench: Bench, ref: EngineRef) -> Observation:
    return bench.engine.observe([ref])[ref]


def log_of(bench: Bench, ref: EngineRef) -> str:
    return bench.engine.read_log(ref, offset=0, bytes_max=1 << 30).data.decode()


def watched(bench: Bench, holds: Callable[[], bool], *, what: str) -> None:
    """Until it holds of what the engine says, asked five times as often as an agent asks: to ask costs it time."""
    until(holds, within_s=WITHIN_S, what=what, every_s=bench.engine.poll_s / 5)


def end_of(bench: Bench, ref: EngineRef) -> Ended:
    watched(bench, lambda: seen(bench, ref).phase in FINAL_PHASES, what=f"end of {ref}")
    return Ended(seen(bench, ref), log_of(bench, ref))


def submitted(bench: Bench, spec: AttemptSpec) -> EngineRef:
    bench.engine.workdir(spec.attempt_id)
    return bench.engine.submit(spec)


def started(bench: Bench, spec: AttemptSpec, *, says: str = "") -> EngineRef:
    """Submitted, and running; if it `says` something, that is in its log."""
    ref = submitted(bench, spec)
    watched(bench, lambda: seen(bench, ref).phase != AttemptPhase.PREPARING, what=f"start of {ref}")
    # Which has ended says nothing more: why it has is worth more than how long it was waited for.
    watched(bench, lambda: says in log_of(bench, ref) or seen(bench, ref).phase in FINAL_PHASES, what=says)
    assert seen(bench, ref).phase == AttemptPhase.RUNNING, (seen(bench, ref), log_of(bench, ref))
    return ref


def let_go(bench: Bench, ref: EngineRef) -> None:
    """A job that `WAITS` goes on."""
    (bench.engine.workdir(ref) / "go").touch()


def seconds_of(seen: Observation) -> float:
    assert seen.started_at is not None and seen.ended_at is not None
    return (seen.ended_at - seen.started_at).total_seconds()


class EngineContract:
    """The tests. Where an engine's clock counts whole seconds, a run may seem up to one second shorter."""

    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    def test_it_keeps_organisations_apart_or_says_why_not(self, bench: Bench) -> None:
        report = bench.engine.isolation()
        assert report.ok and report.features, report

    def test_it_has_nodes(self, bench: Bench) -> None:
        nodes = {node.name: node for node in bench.engine.nodes()}
        spec = bench.spec()
        assert set(spec.nodes) <= set(nodes)
        assert all(nodes[name].cores >= spec.cores and nodes[name].memory_bytes > 0 for name in spec.nodes)

    def test_a_run_tells_the_truth(self, bench: Bench) -> None:
        before = datetime.now(UTC)
        ended = end_of(
            bench, submitted(bench, bench.spec("echo out; echo err >&2; echo kept > file; sleep 1; exit 3"))
        )
        assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 3), ended
        assert sorted(ended.log.splitlines()) == ["err", "out"]
        assert ended.seen.log_bytes == len(ended.log)
        assert ended.seen.started_at is not None and ended.seen.ended_at is not None
        # A scheduler counts whole seconds, and dates a start by when its round began: some seconds before the job where
        # it has to wait for the processor.
        assert (ended.seen.started_at - before).total_seconds() > -10
        assert ended.seen.ended_at <= datetime.now(UTC)
        assert seconds_of(ended.seen) >= 0

    def test_outputs_lie_in_the_working_folder(self, bench: Bench) -> None:
        spec = bench.spec("mkdir -p out; cat given > out/copy")
        work = bench.engine.workdir(spec.attempt_id)
        (work / "given").write_text("bytes\n")
        assert end_of(bench, bench.engine.submit(spec)).ok
        assert (work / "out" / "copy").read_text() == "bytes\n"

    def test_setup_comes_first_and_its_failure_ends_it(self, bench: Bench) -> None:
        assert end_of(bench, submitted(bench, bench.spec("cat made", setup="echo prepared > made"))).ok
        failed = end_of(bench, submitted(bench, bench.spec("echo ran", setup="exit 7")))
        assert (failed.seen.phase, failed.seen.exit_code) == (AttemptPhase.FAILED, 7)
        assert "ran" not in failed.log.splitlines()

    def test_the_task_sees_its_variables_and_its_rank(self, bench: Bench) -> None:
        names = " ".join(
            f"${name}"
            for name in (
                "GIVEN",
                "SKYPILOT_NODE_RANK",
                "SKYPILOT_NUM_NODES",
                "SKYPILOT_NUM_GPUS_PER_NODE",
            )
        )
        run = f'echo {names} "$(echo "$SKYPILOT_NODE_IPS" | grep -c .)"'
        assert (
            end_of(bench, submitted(bench, bench.spec(run, envs={"GIVEN": "模速"}))).log == "模速 0 1 0 1\n"
        )

    def test_submitting_twice_starts_once(self, bench: Bench) -> None:
        spec = bench.spec("echo once >> count; cat count; sleep 0.5")
        bench.engine.workdir(spec.attempt_id)
        threads = [threading.Thread(target=bench.engine.submit, args=(spec,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bench.restarted().submit(spec)
        ref = EngineRef(spec.attempt_id)
        ended = end_of(bench, ref)
        assert bench.engine.submit(spec) == ref
        assert ended.ok and ended.log == "once\n"
        assert end_of(bench, ref) == ended

    def test_a_new_agent_adopts_at_any_step(self, bench: Bench) -> None:
        spec = bench.spec(f"echo begun; {WAITS}; echo survived")
        bench.restarted().workdir(spec.attempt_id)
        ref = bench.restarted().submit(spec)
        bench.engine = bench.restarted()
        until(lambda: log_of(bench, ref) == "begun\n", within_s=WITHIN_S, what="begun")
        bench.engine = bench.restarted()
        let_go(bench, ref)
        ended = end_of(bench, ref)
        assert ended.ok and ended.log == "begun\nsurvived\n"
        bench.engine = bench.restarted()
        assert end_of(bench, ref) == ended

    def test_while_the_daemon_is_away_the_last_known_holds(self, bench: Bench) -> None:
        ref = started(bench, bench.spec(f"echo begun; {WAITS}; echo end"), says="begun")
        with bench.without_daemon():
            for engine in (bench.engine, bench.restarted()):
                assert engine.observe([ref])[ref].phase not in FINAL_PHASES
            let_go(bench, ref)
        ended = end_of(bench, ref)
        assert ended.ok and ended.log == "begun\nend\n"

    def test_what_nobody_knows_is_lost(self, bench: Bench) -> None:
        ref = EngineRef(bench.spec().attempt_id)
        assert seen(bench, ref).phase == AttemptPhase.LOST

    def test_cancelling_ends_it(self, bench: Bench) -> None:
        ref = started(bench, bench.spec("echo ready; while :; do sleep 0.1; done"), says="ready")
        bench.engine.cancel(ref)
        ended = end_of(bench, ref)
        assert ended.seen.phase == AttemptPhase.CANCELLED, ended
        bench.engine.cancel(ref)
        assert end_of(bench, ref) == ended

    def test_cancelled_before_it_is_submitted_it_never_runs(self, bench: Bench) -> None:
        spec = bench.spec("echo ran > witness; echo ran")
        work = bench.engine.workdir(spec.attempt_id)
        bench.engine.cancel(EngineRef(spec.attempt_id))
        ended = end_of(bench, bench.engine.submit(spec))
        assert (ended.seen.phase, ended.log) == (AttemptPhase.CANCELLED, ""), ended
        assert not (work / "witness").exists()

    def test_the_wall_limit_ends_it(self, bench: Bench) -> None:
        spec = bench.spec("echo begun; while :; do sleep 0.1; done", wall_limit_s=3, grace_s=1)
        ended = end_of(bench, submitted(bench, spec))
        assert ended.seen.phase == AttemptPhase.TIMED_OUT, ended
        assert seconds_of(ended.seen) >= 2

    def test_more_time_is_given_or_refused(self, bench: Bench) -> None:
        spec = bench.spec("echo begun; while :; do sleep 0.1; done", wall_limit_s=2, grace_s=1)
        bench.engine.workdir(spec.attempt_id)
        if not bench.engine.extends:
            with pytest.raises(OSError):
                bench.engine.extend(EngineRef(spec.attempt_id), 5)
            return
        # Before it starts: nothing here depends on how quick this machine is.
        bench.engine.extend(EngineRef(spec.attempt_id), 5)
        ended = end_of(bench, submitted(bench, spec))
        assert (ended.seen.phase, ended.seen.reason) == (
            AttemptPhase.TIMED_OUT,
            "Stopped at its wall limit of 5 s.",
        )
        assert seconds_of(ended.seen) >= 4.9

    def test_the_log_is_clean_and_read_from_any_offset(self, bench: Bench) -> None:
        ref = submitted(bench, bench.spec(r"printf '\033[31mred\033[0m \007bell\n模速空间\n'"))
        text = end_of(bench, ref).log
        parts, offset = [], 0
        while (part := bench.engine.read_log(ref, offset=offset, bytes_max=4)).data:
            assert part.offset == offset
            parts.append(part.data.decode())
            offset += len(part.data)
        assert "".join(parts) == text == "red bell\n模速空间\n"

    def test_what_is_metered_never_goes_back(self, bench: Bench) -> None:
        spec = bench.spec(f"echo begun; {WAITS}")
        ref = started(bench, spec, says="begun")
        watched(bench, lambda: _metered_s(seen(bench, ref)) > 0, what="metered")
        running = seen(bench, ref)
        metered_s = _metered_s(running)
        let_go(bench, ref)
        ended = end_of(bench, ref)
        assert ended.ok
        assert ended.seen.started_at == running.started_at
        assert seconds_of(ended.seen) >= metered_s
        units: Mapping[Any, int] = spec.units if ended.seen.units is None else ended.seen.units
        assert units == spec.units

    def test_the_bill_follows_its_last_word(self, bench: Bench) -> None:
        """What was claimed while it ran, even too much, ends as what the engine finally has in its books."""
        spec = bench.spec(f"echo begun; {WAITS}")
        ref = started(bench, spec, says="begun")
        book = UsageBook(bench.engine.workdir(ref).parent / "usage.json", spec)
        running = seen(bench, ref)
        assert running.started_at is not None
        book.advance(started_at=running.started_at, now=datetime.now(UTC) + timedelta(seconds=100))
        let_go(bench, ref)
        ended = end_of(bench, ref).seen
        assert ended.started_at is not None and ended.ended_at is not None
        book.advance(started_at=ended.started_at, now=ended.ended_at, units=ended.units, final=True)
        claimed = sum(record.quantity for record in book.unsent if record.meter == "core_second")
        assert claimed == int(seconds_of(ended)) and len(book.unsent) == 2

    def test_a_secret_is_a_file_of_its_own_organisation(self, bench: Bench) -> None:
        spec = bench.spec(
            'cat "$MOSU_SECRETS/KEY"; stat -c %a "$MOSU_SECRETS/KEY"; env | grep -c s3cret',
            secrets={"KEY": "s3cret\n"},
        )
        assert end_of(bench, submitted(bench, spec)).log == "s3cret\n600\n0\n"

    def test_organisations_do_not_see_each_other(self, bench: Bench) -> None:
        first = bench.spec(f"echo mine > file; echo begun; {WAITS}", secrets={"KEY": "s3cret"})
        ref = started(bench, first, says="begun")
        paths = bench.private_paths(ref)
        assert paths
        tries = "\n".join(
            [
                f"ls {path} && echo SEEN; cat {path} && echo SEEN; echo x >> {path} && echo SEEN"
                for path in paths
            ]
            + [
                f"kill -0 {pid} && echo SEEN; ls /proc/{pid}/cwd/ && echo SEEN"
                for pid in processes_that_name(first.attempt_id)
            ]
        )
        other = bench.spec(
            f"{tries}\ncat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep '[a]{first.attempt_id[1:]}' && echo SEEN\n"
            f"cat /proc/[0-9]*/environ | grep -a '[s]3cret' && echo SEEN\ntrue"
        )
        ended = end_of(bench, submitted(bench, other))
        assert ended.ok and "SEEN" not in ended.log.splitlines(), ended.log
        assert (bench.engine.workdir(ref) / "file").read_text() == "mine\n"
        let_go(bench, ref)
        assert end_of(bench, ref).ok

    def test_what_cannot_run_here_is_refused_and_nothing_starts(self, bench: Bench) -> None:
        for changes in ({"environment": "none"}, {"envs": {"A B": "1"}}, {"run": "x" * 2_000_000}):
            spec = bench.spec(**{"run": "true", **changes})
            with pytest.raises(Invalid):
                submitted(bench, spec)
            assert seen(bench, EngineRef(spec.attempt_id)).phase == AttemptPhase.LOST

    def test_many_are_observed_at_once(self, bench: Bench) -> None:
        refs = [submitted(bench, bench.spec(f"echo {number}")) for number in range(3)]
        for number, ref in enumerate(refs):
            assert end_of(bench, ref).log == f"{number}\n"
        assert {found.phase for found in bench.engine.observe(refs).values()} == {AttemptPhase.SUCCEEDED}

    def test_it_joins_people_to_a_session_and_to_nothing_else(self, bench: Bench) -> None:
        assert bench.engine.reaches, bench.engine.unreached
        code = "import socket; s = socket.create_server(('127.0.0.1', 8000)); print('up', flush=True); c = s.accept()[0]; c.send(b'hello'); c.recv(1)"
        ref = started(bench, bench.spec(f'python3 -c "{code}"', session=True), says="up")
        with bench.engine.connect(ref, 8000) as joined:
            assert joined.recv(100) == b"hello"
        assert end_of(bench, ref).ok
        batch = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
        for nobody in (ref, batch, EngineRef(bench.spec().attempt_id)):
            with pytest.raises(NotReached, match="not running, or it is no session"):
                bench.engine.connect(nobody, 8000)
        let_go(bench, batch)
        assert end_of(bench, batch).ok

    def test_forgetting_deletes_all(self, bench: Bench) -> None:
        ref = submitted(bench, bench.spec("echo mine > file"))
        end_of(bench, ref)
        bench.engine.clean(ref)
        bench.engine.forget(ref)
        assert not any(path.exists() for path in bench.private_paths(ref) if ref in str(path))


def _metered_s(seen: Observation) -> float:
    """How long the engine's accounting has it running."""
    if seen.started_at is None:
        return 0
    return ((seen.metered_until or datetime.now(UTC)) - seen.started_at).total_seconds()


def keeps_a_volume(
    bench: Bench, volumes: VolumeKeeper, *, nodes: tuple[str, ...], watches_size: bool = True
) -> None:
    """From job to job, for one that writes at a time. `watches_size`: what runs in our sandbox is ended by us when it
    grows beyond its size; elsewhere it is the storage's to hold."""
    whose = typeid("org", uuid7())
    kept = VolumeSpec(volume_id=typeid("volume", uuid7()), path="/data", size_bytes=1 << 20, writes=True)
    ref = started(
        bench,
        bench.spec(f"echo kept > /data/f; echo begun; {WAITS}", volumes=(kept,), organisation_id=whose),
        says="begun",
    )
    other = end_of(bench, submitted(bench, bench.spec("echo ran", volumes=(kept,), organisation_id=whose)))
    assert (other.log, other.seen.phase) == ("", AttemptPhase.FAILED)
    assert "still used by another attempt" in other.seen.reason
    let_go(bench, ref)
    assert end_of(bench, ref).ok
    assert (
        end_of(bench, submitted(bench, bench.spec("cat /data/f", volumes=(kept,), organisation_id=whose))).log
        == "kept\n"
    )
    if watches_size:
        over = end_of(
            bench,
            submitted(
                bench,
                bench.spec(
                    f"head -c 2M /dev/zero > /data/g; {WAITS}", volumes=(kept,), organisation_id=whose
                ),
            ),
        )
        assert (over.seen.phase, over.seen.reason[:19]) == (AttemptPhase.FAILED, "volume: /data took ")
    with pytest.raises(Invalid, match="one node"):
        bench.engine.submit(bench.spec(nodes=nodes, volumes=(kept,), organisation_id=whose))
    volumes.delete([kept.volume_id])
    until(lambda: volumes.delete([kept.volume_id]) == (kept.volume_id,), what="deleted")


def runs_an_image(bench: Bench, images: Images, image: str) -> None:
    """Of an engine whose attempts run in our sandbox: the image's files, its variables, and nothing beside."""
    spec = bench.spec(
        "cat /etc/motd; echo $MADE_BY $GREETING $HOME; ls / | tr '\\n' ' '; ls /usr/bin | wc -l; "
        "id -un; echo kept > file; echo no > /etc/motd; echo it ended with $?; exit 4",
        environment=f"docker:{image}",
        envs={"GREETING": "hello"},
    )
    images.lay_for(spec.attempt_id, image, wanted=lambda: True)
    ended = end_of(bench, submitted(bench, spec))
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 4), ended
    said = ended.log.splitlines()
    assert said[:2] == ["of the image", "its makers hello /work"], ended.log
    assert "runner" in said and "it ended with 1" in said, ended.log
    assert (bench.engine.workdir(spec.attempt_id) / "file").read_text() == "kept\n"
    assert ended.seen.measures is not None and ended.seen.measures.wall_s > 0
    with pytest.raises(Invalid, match="not here"):
        bench.engine.submit(bench.spec(environment=f"docker:{image[:-64]}{'0' * 64}"))


def tells_of_an_image(bench: Bench, images: Images, image: str) -> None:
    """People are joined to what runs in it: here nothing listens, which is said at once by what is inside."""
    # A shell alone: the smallest images have no program that sleeps.
    waits = "while [ ! -e go ]; do read -t 0.02 <> <(:) || :; done"
    spec = bench.spec(f"echo begun; {waits}", environment=f"docker:{image}", session=True)
    images.lay_for(spec.attempt_id, image, wanted=lambda: True)
    ref = started(bench, spec, says="begun")
    with pytest.raises(NotReached, match="Nothing listens"):
        bench.engine.connect(ref, 4321)
    let_go(bench, ref)
    assert end_of(bench, ref).ok
