"""Health tests of nodes: run by the engine as a job is, in the supplier's own name, and reported to the hub."""

import json
import queue
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from structlog.stdlib import BoundLogger

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import DomainError
from mosu.site_agent.engines.protocol import FINAL_PHASES, Engine, EngineRef
from mosu.site_agent.files import read_json_if_whole, write_durably
from mosu.site_agent.hub import Hub, Refusal, Stopping
from mosu.wire.agent import AttemptPhase, AttemptSpec, HealthMeasure, HealthReport, NodeInfo
from mosu.wire.shares import kind_of

JOB: Final = (Path(__file__).with_name("health_job.sh"), Path(__file__).with_name("health_job.py"))
WALL_LIMIT_S: Final = 300
PATIENCE_S: Final = 900.0
"""With the time that a cluster's scheduler lets it wait."""
TRIES_MAX: Final = 4
RETRY_AFTER_S: Final = 15.0
"""A test that something else broke off (a daemon that died, an engine that was away) says nothing of its node."""
_SIGN: Final = "mosu-health "
_MEMORY_BYTES: Final = 2 << 30
_DISK_BYTES: Final = 256 << 20
_LOG_BYTES_MAX: Final = 1 << 16


class _BrokenOff(Exception):
    """The test did not come to an end of its own."""


class NodeTests:
    """Tests one node after the other, those that the hub asked for. What is under way is not begun again."""

    def __init__(
        self,
        state_dir: Path,
        *,
        engine: Engine,
        hub: Hub,
        environment: str,
        stopping: threading.Event,
        log: BoundLogger,
        retry_after_s: float = RETRY_AFTER_S,
    ) -> None:
        self._folder, self._engine, self._hub = state_dir / "checks", engine, hub
        self._retry_after_s = retry_after_s
        self._environment, self._stopping, self._log = environment, stopping, log
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._under_way: set[str] = set()
        self.organisation_id = ""

    def ask(self, names: tuple[str, ...]) -> None:
        """Test these nodes, when it is their turn."""
        for name in names:
            if name not in self._under_way:
                self._under_way.add(name)
                self._asked.put(name)

    def work(self) -> None:
        """Until the agent stops. A test that an agent before this one left is ended first."""
        for left in sorted(self._folder.iterdir()):
            self._end(left)
        while not self._stopping.is_set():
            try:
                name = self._asked.get(timeout=0.2)
            except queue.Empty:
                continue
            self._hub.health(self._report_of(name))
            self._under_way.discard(name)

    def _report_of(self, name: str) -> HealthReport:
        """How the node's test ended; one that was broken off is made again."""
        started = time.monotonic()
        measures: dict[str, float] = {}
        fault = ""
        for tries in range(1, TRIES_MAX + 1):
            try:
                measures, fault = self._tested_by_name(name)
                break
            except _BrokenOff as why:
                fault = str(why)
                self._log.warning("health test broken off", node=name, fault=fault, tries=tries)
                if tries < TRIES_MAX and self._stopping.wait(self._retry_after_s):
                    raise Stopping from None
        self._log.info("health test", node=name, fault=fault, **measures)
        return HealthReport(
            instance=self._hub.instance,
            node=name,
            measures=tuple(HealthMeasure(name=key, value=max(0.0, value)) for key, value in measures.items()),
            fault=fault[:300],
            took_s=time.monotonic() - started,
        )

    def _tested_by_name(self, name: str) -> tuple[dict[str, float], str]:
        try:
            node = next((one for one in self._engine.nodes() if one.name == name), None)
            if node is None:  # as for some seconds after its daemon has come back
                raise _BrokenOff("The engine does not list it.")
            return self._tested(node)
        except (Stopping, Refusal, _BrokenOff):
            raise
        except DomainError as refusal:
            return {}, f"Its health test could not start: {refusal}"
        except OSError as error:
            raise _BrokenOff(f"Its health test could not start: {error}") from error
        except Exception as error:  # each engine has its own ways to be away
            self._log.exception("health test failed", node=name)
            raise _BrokenOff(f"Its health test could not start: {type(error).__name__}") from error

    def _tested(self, node: NodeInfo) -> tuple[dict[str, float], str]:
        """What was measured, and why the test did not end well: one job for each kind of its cards."""
        kinds = dict.fromkeys(device.accelerator for device in node.devices) or {"": None}
        all_measures: dict[str, float] = {}
        cards = 0.0
        for kind in kinds:
            measures, fault = self._job(node, kind)
            if fault:
                return all_measures, fault
            cards += measures.get("cards", 0.0)
            all_measures |= measures
        return all_measures | {"cards": cards}, ""

    def _job(self, node: NodeInfo, accelerator: str) -> tuple[dict[str, float], str]:
        spec = self._spec(node, accelerator)
        note = self._folder / spec.attempt_id
        write_durably(note, spec.attempt_id)
        self._engine.workdir(spec.attempt_id)
        ref = self._engine.submit(spec)
        end, patience = None, time.monotonic() + PATIENCE_S
        while end is None and time.monotonic() < patience:
            seen = self._engine.observe([ref])[ref]
            if seen.phase in FINAL_PHASES:
                end = seen
            elif self._stopping.wait(max(self._engine.poll_s, 0.2)):
                self._engine.cancel(ref)
                raise Stopping
        if end is None:
            self._engine.cancel(ref)
            return {}, f"Its health test did not end in {PATIENCE_S:.0f} s."
        said = self._engine.read_log(ref, offset=0, bytes_max=_LOG_BYTES_MAX).data.decode(errors="replace")
        self._end(note)
        if end.phase in {AttemptPhase.LOST, AttemptPhase.CANCELLED}:
            raise _BrokenOff(f"Its health test failed: {end.reason or end.phase.value}")
        if end.phase is not AttemptPhase.SUCCEEDED:
            return {}, f"Its health test failed: {end.reason or end.phase.value}"
        return _measures_in(said)

    def _spec(self, node: NodeInfo, accelerator: str) -> AttemptSpec:
        indices = tuple(one.index for one in node.devices if one.accelerator == accelerator)
        return AttemptSpec(
            attempt_id=typeid("attempt", uuid7()),
            run_id=typeid("run", uuid7()),
            organisation_id=self.organisation_id,
            epoch=1,
            nodes=(node.name,),
            cores=1,
            accelerator=accelerator,
            devices=(indices,) if indices else (),
            memory_bytes=max(1, min(node.memory_bytes, _MEMORY_BYTES)),
            disk_bytes=max(1, min(node.disk_bytes or _DISK_BYTES, _DISK_BYTES)),
            wall_limit_s=WALL_LIMIT_S,
            grace_s=5,
            environment=self._environment,
            envs={
                "CARD_FILES": glob_of(self._engine.card_files(accelerator)),
                "CARDS_CUT": "1" if kind_of(accelerator).shares > 1 else "",
            },
            run=_script(),
        )

    def _end(self, note: Path) -> None:
        """Leave nothing of a test: its job is ended, its folders are gone. What still runs is left to the next time."""
        ref = EngineRef(str(read_json_if_whole(note) or note.name))
        if self._engine.observe([ref])[ref].phase not in FINAL_PHASES:
            self._engine.cancel(ref)
            return
        self._engine.clean(ref)
        self._engine.forget(ref)
        note.unlink(missing_ok=True)


def glob_of(card_files: Sequence[str]) -> str:
    """What matches one file of each card, by a pattern or each by its name; empty where nothing is known of them."""
    own = next((name for name in card_files if "{" in name), ":".join(card_files))
    return re.sub(r"\{\w+\}", "[0-9]*", own)


def _script() -> str:
    return "".join(part.read_text(encoding="utf-8") for part in JOB) + "\nTHE_END_OF_IT\n"


def _measures_in(said: str) -> tuple[dict[str, float], str]:
    line = next((line for line in reversed(said.splitlines()) if line.startswith(_SIGN)), "")
    try:
        found: Mapping[str, float] = json.loads(line.removeprefix(_SIGN))
    except ValueError:
        return {}, "Its health test said nothing."
    return dict(found), ""
