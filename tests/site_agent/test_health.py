"""A health test that something breaks off says nothing of its node: it is made again."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from tests.site_agent.lab import Lab, until

from mosu.kernel.ids import typeid, uuid7
from mosu.sandbox.environments import Environment
from mosu.site_agent.engines.local import LocalEngine
from mosu.site_agent.engines.protocol import Engine, EngineRef, Observation
from mosu.site_agent.engines.vendors import card_files_of
from mosu.site_agent.health import JOB, TRIES_MAX, NodeTests, glob_of
from mosu.site_agent.hub import Hub
from mosu.wire.agent import AttemptPhase, AttemptSpec, HealthReport, NodeInfo


class Ears:
    """What of a hub a health test needs."""

    instance = "here"

    def __init__(self) -> None:
        self.heard: list[HealthReport] = []

    def health(self, report: HealthReport) -> None:
        self.heard.append(report)


class Disturbed:
    """The local engine, of which so many tests are broken off: its daemon away, its node not listed yet, or the job's
    own process killed."""

    def __init__(
        self, engine: LocalEngine, folder: Path, *, away: int = 0, unlisted: int = 0, killed: int = 0
    ) -> None:
        self._engine, self._folder = engine, folder
        self._away, self._unlisted, self._killed = away, unlisted, killed
        self.submitted: list[str] = []
        self.poll_s = engine.poll_s

    def nodes(self) -> tuple[NodeInfo, ...]:
        if self._away:
            self._away -= 1
            raise OSError("slurmctld does not answer")
        if self._unlisted:
            self._unlisted -= 1
            return ()
        return self._engine.nodes()

    def submit(self, spec: AttemptSpec) -> EngineRef:
        self.submitted.append(spec.attempt_id)
        ref = self._engine.submit(spec)
        if self._killed:
            self._killed -= 1
            claim = self._folder / "attempts" / ref / "claim"
            until(claim.exists, what="claim")
            os.kill(json.loads(claim.read_text())[0], signal.SIGKILL)
        return ref

    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]:
        return self._engine.observe(refs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def reported(lab: Lab, environment: Environment, engine: Disturbed) -> HealthReport:
    """What the hub hears of the node, when it asked for a test once."""
    ears, stopping = Ears(), threading.Event()
    tests = NodeTests(
        lab.folder,
        engine=cast(Engine, engine),
        hub=cast(Hub, ears),
        environment=environment.name,
        stopping=stopping,
        log=structlog.get_logger(),
        retry_after_s=0.01,
    )
    tests.organisation_id = typeid("org", uuid7())
    tests.ask(("local",))
    thread = threading.Thread(target=tests.work)
    thread.start()
    try:
        until(lambda: ears.heard, what="report")
    finally:
        stopping.set()
        thread.join()
    [report] = ears.heard
    return report


def test_what_is_broken_off_is_made_again(lab: Lab, environment: Environment) -> None:
    engine = Disturbed(lab.engine, lab.folder, away=1, unlisted=1, killed=1)
    report = reported(lab, environment, engine)
    assert (report.node, report.fault) == ("local", "")
    assert {one.name for one in report.measures} >= {"cores", "memory_bytes", "cards"}
    assert len(set(engine.submitted)) == 2
    first = lab.seen(EngineRef(engine.submitted[0]))
    assert first.phase is AttemptPhase.LOST  # and nothing of it is left
    assert not list((lab.folder / "checks").iterdir())


@pytest.mark.parametrize("accelerator", ["ascend-910b2", "iluvatar-bi-v150", "biren-br104", "none-such"])
def test_a_card_is_there_where_its_vendors_file_is(tmp_path: Path, accelerator: str) -> None:
    """With Python and without: what matters is that no vendor's cards are counted as missing."""
    files = [name.replace("/dev", str(tmp_path), 1) for name in card_files_of(accelerator)]
    for index in (0, 1, 12):
        for name in files:
            path = Path(name.replace("{index}", str(index)).replace("{render}", str(128 + index)))
            path.parent.mkdir(exist_ok=True)
            path.touch()
    (tmp_path / "davinci_manager").touch()
    env = {"PATH": "/usr/bin:/bin", "CARD_FILES": glob_of(files)}
    for command in (
        [sys.executable, JOB[1]],
        ["bash", "-c", f"command() {{ return 1; }}\n{JOB[0].read_text().partition('exec python3')[0]}"],
    ):
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        measures = json.loads(done.stdout.splitlines()[-1].removeprefix("mosu-health "))
        assert measures["cards"] == (3 if files else 0)


def test_what_is_broken_off_again_and_again_is_told(lab: Lab, environment: Environment) -> None:
    report = reported(lab, environment, Disturbed(lab.engine, lab.folder, away=TRIES_MAX))
    assert report.fault == "Its health test could not start: slurmctld does not answer"
    assert not report.measures
