"""The local engine: this machine's cores, one sandbox and one supervisor process per attempt."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox import watch
from mosu.sandbox.cgroups import Delegation, delegated
from mosu.sandbox.environments import Environment
from mosu.sandbox.probing import SandboxReport, probe
from mosu.sandbox.starter import SandboxUnavailable, find_bwrap, run_as, unreachable_part
from mosu.site_agent import supervisor
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, LogPart, Observation
from mosu.site_agent.files import Garbled, read_json, read_json_if_whole, remove_tree, write_durably
from mosu.site_agent.logs import LOG_BYTES_MAX, whole_characters
from mosu.site_agent.ranks import rank_variables
from mosu.site_agent.supervisor import STOP_GRACE_S_MAX, JobFile, StateFile
from mosu.wire.agent import AttemptPhase, AttemptSpec, Measures, MeterSample, NodeInfo

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SCRIPT_CHARACTERS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What of this machine may be sold."""

    name: str
    cores: int
    memory_bytes: int
    disk_bytes: int


class LocalEngine:
    """State lies in `folder/attempts/ID`; all truth about an attempt is there, none in this object.

    Raises (on creation):
        SandboxUnavailable: the sandbox's user cannot reach `folder` or an environment.
    """

    name = "local"
    poll_s = 0.05

    def __init__(
        self,
        folder: Path,
        *,
        node: LocalNode,
        environments: Sequence[Environment],
        log_bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        self._attempts = folder / "attempts"
        self._node, self._log_bytes_max = node, log_bytes_max
        self._environments = {environment.name: environment for environment in environments}
        self._who = run_as()
        # The sandbox's user passes through these folders on its way to a working folder, and can list none.
        for part in (folder, self._attempts):
            if not part.is_dir():
                part.mkdir(mode=0o711, parents=True)
                part.chmod(0o711)
        self._check_reach(folder, environments)
        self._tools = folder / "tools"
        self._starter: Path | None = None
        self._delegation = delegated()
        self._choosing = threading.Lock()
        self._cpus = sorted(os.sched_getaffinity(0))

    def isolation(self) -> SandboxReport:
        return probe(self._tools)

    def nodes(self) -> tuple[NodeInfo, ...]:
        node = self._node
        return (
            NodeInfo(
                name=node.name,
                cores=node.cores,
                memory_bytes=node.memory_bytes,
                disk_bytes=node.disk_bytes,
            ),
        )

    def workdir(self, attempt_id: str) -> Path:
        """The attempt's working folder, made if it is not there."""
        work = self._attempts / attempt_id / "work"
        if not work.is_dir():
            work.mkdir(mode=0o700, parents=True)
            work.parent.chmod(0o711)
        return work

    def submit(self, spec: AttemptSpec) -> EngineRef:
        """Start the attempt under a supervisor of its own, unless one ever took it.

        Raises:
            Invalid: the environment, a variable's name or the script cannot be run here; nothing was started.
            SandboxUnavailable: there is no bubblewrap.
        """
        folder = self._attempts / spec.attempt_id
        with self._choosing:
            if (folder / "claim").exists():
                return EngineRef(spec.attempt_id)
            job = self._job_of(spec)
            self._give_to_sandbox(self.workdir(spec.attempt_id))
            if spec.secrets:
                write_durably(folder / "secrets.json", spec.secrets)
            write_durably(folder / "job.json", job)
            _start_supervisor(folder)
        return EngineRef(spec.attempt_id)

    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]:
        """What is true of each; `lost`: its supervisor is gone without a final word, and nothing is left."""
        return {ref: self._observed(self._attempts / ref) for ref in refs}

    def read_log(self, ref: EngineRef, *, offset: int, bytes_max: int) -> LogPart:
        try:
            with (self._attempts / ref / "log").open("rb") as log:
                log.seek(offset)
                return LogPart(offset, whole_characters(log.read(bytes_max)))
        except FileNotFoundError:
            return LogPart(offset, b"")

    def cancel(self, ref: EngineRef) -> None:
        folder = self._attempts / ref
        if folder.is_dir():
            (folder / "cancel").touch()

    def clean(self, ref: EngineRef) -> None:
        remove_tree(self._attempts / ref / "work")

    def forget(self, ref: EngineRef) -> None:
        remove_tree(self._attempts / ref)

    def _check_reach(self, folder: Path, environments: Sequence[Environment]) -> None:
        for path in (self._attempts, *(environment.root for environment in environments)):
            closed = unreachable_part(path, self._who)
            if closed is not None:
                raise SandboxUnavailable(
                    f"The sandbox's user (uid {self._who.uid}) cannot pass through {closed} to {path}.",
                    hint=f"Choose a state folder outside it, or: chmod o+x {closed}",
                    path=str(path),
                )

    def _job_of(self, spec: AttemptSpec) -> JobFile:
        environment = self._environments.get(spec.environment)
        if environment is None:
            raise Invalid(
                f"There is no environment {spec.environment!r} here.",
                hint=f"Available: {', '.join(sorted(self._environments)) or 'none'}.",
                field="environment",
                found=spec.environment,
            )
        for name in (*spec.envs, *spec.secrets):
            if not _NAME.fullmatch(name):
                raise Invalid(
                    f"{name[:60]!r} cannot name a variable.",
                    hint="Use letters, digits and _.",
                    found=name[:60],
                )
        if any("\0" in value for value in spec.envs.values()):
            raise Invalid("A variable's value holds a NUL character.", hint="Remove it.", field="envs")
        if len(spec.setup) + len(spec.run) > _SCRIPT_CHARACTERS_MAX:
            raise Invalid(
                "The script is longer than a million characters.",
                hint="Put it in a file of the working folder.",
                field="run",
            )
        self._starter = self._starter or find_bwrap(self._tools)
        return JobFile(
            attempt_id=spec.attempt_id,
            setup=spec.setup.strip(),
            script=spec.run,
            environment=str(environment.root),
            python=environment.python,
            cores=spec.cores,
            cpus=self._free_cpus(spec.cores),
            memory_bytes=spec.memory_bytes,
            disk_bytes=spec.disk_bytes,
            wall_limit_s=spec.wall_limit_s,
            stop_grace_s=min(spec.grace_s, STOP_GRACE_S_MAX),
            log_bytes_max=self._log_bytes_max,
            envs=spec.envs | rank_variables(spec, rank=0, addresses=["127.0.0.1"]),
            starter=str(self._starter),
            uid=self._who.uid,
            gid=self._who.gid,
            delegation=None if self._delegation is None else _as_json(self._delegation),
        )

    def _free_cpus(self, cores: int) -> list[int]:
        """The cores that the fewest running attempts are held to."""
        taken = dict.fromkeys(self._cpus, 0)
        for folder in self._attempts.iterdir():
            try:
                state, job = read_json(folder / "state.json"), read_json(folder / "job.json")
            except Garbled:  # its own courier says so; others start all the same
                continue
            if (
                job is None
                or (folder / "buried.json").exists()
                or (state is not None and state["phase"] in FINAL_PHASES)
            ):
                continue
            for cpu in job["cpus"]:
                taken[cpu] = taken.get(cpu, 0) + 1
        return sorted(self._cpus, key=lambda cpu: (taken[cpu], cpu))[:cores]

    def _give_to_sandbox(self, work: Path) -> None:
        if not self._who.switches:
            return
        for folder, _, files in os.walk(work):
            for path in (folder, *(os.path.join(folder, name) for name in files)):  # noqa: PTH118
                os.chown(path, self._who.uid, self._who.gid, follow_symlinks=False)

    def _observed(self, folder: Path) -> Observation:
        buried: StateFile | None = read_json_if_whole(folder / "buried.json")
        if buried is not None:
            return _observation(folder, buried)
        owner, alive = _owner(folder)
        # In this order: a supervisor that ended after the look at it has left its final state before.
        state: StateFile | None = read_json_if_whole(folder / "state.json")
        if state is not None and (alive or state["phase"] in FINAL_PHASES):
            return _observation(folder, state)
        if owner is None:
            known = (folder / "job.json").exists()
            return Observation(AttemptPhase.PREPARING if known else AttemptPhase.LOST)
        if alive:
            return Observation(AttemptPhase.PREPARING)
        return _observation(folder, _bury(folder, state))


def _as_json(delegation: Delegation) -> tuple[int, list[tuple[str, str]]]:
    return delegation.version, [(name, str(folder)) for name, folder in delegation.folders]


def _start_supervisor(folder: Path) -> None:
    """Start it detached: it forks at once, and the process that we wait for is only the one that forked."""
    with (folder / "supervisor.err").open("ab") as errors:
        subprocess.run(
            [sys.executable, "-I", "-S", supervisor.__file__, folder],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            check=True,
        )


_NOBODY: Final = (0, 0, "")
"""Who claimed an attempt when the disk no longer says it: such an attempt is not started again."""


def _owner(folder: Path) -> tuple[tuple[int, int, str] | None, bool]:
    """Who claimed the attempt, and whether that process lives."""
    try:
        owner = read_json(folder / "claim")
    except Garbled:
        owner = _NOBODY
    if owner is None:
        return None, False
    pid, ticks, boot = owner
    return owner, boot == watch.boot_id() and watch.start_ticks(pid) == ticks


def _bury(folder: Path, state: StateFile | None) -> StateFile:
    """Write down that the attempt is lost, and kill what a dead supervisor left.

    The word is final: one that lives after all, since nobody could read whose the attempt is, cannot unsay it.
    """
    state = state or supervisor.blank_state("preparing")
    state["phase"], state["reason"] = "lost", "Its supervisor died."
    write_durably(folder / "buried.json", state)
    owner, _ = _owner(folder)
    if owner == _NOBODY or (owner is not None and owner[2] == watch.boot_id()):
        for pid, ticks in state["pids"]:
            if watch.start_ticks(pid) == ticks:
                _kill(pid)
    job: JobFile | None = read_json_if_whole(folder / "job.json")
    cgroup = None if job is None else supervisor.cgroup_of(folder, job)
    if cgroup is not None:
        cgroup.remove()
    (folder / "secrets.json").unlink(missing_ok=True)
    return state


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _observation(folder: Path, state: StateFile) -> Observation:
    measures, sample = state["measures"], read_json(folder / "sample.json")
    return Observation(
        phase=AttemptPhase(state["phase"]),
        started_at=_instant(state["started_at"]),
        ended_at=_instant(state["ended_at"]),
        exit_code=state["exit_code"],
        reason=state["reason"],
        measures=None if measures is None else Measures(**measures),
        log_bytes=_size(folder / "log"),
        sample=None if sample is None else MeterSample(**sample),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
