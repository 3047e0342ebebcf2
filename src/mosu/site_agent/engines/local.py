"""The local engine: this machine's cores and cards, one sandbox and one supervisor process per attempt."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox import watch
from mosu.sandbox.cgroups import Delegation, delegated
from mosu.sandbox.dial_socket import DIAL_SOCKET
from mosu.sandbox.environments import Environment
from mosu.sandbox.probing import SandboxReport, probe
from mosu.sandbox.starter import check_reach, find_bwrap, give_to_sandbox, run_as
from mosu.site_agent import supervisor
from mosu.site_agent.engines.dialling import dialled
from mosu.site_agent.engines.local_cards import LocalOptions
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, LogPart, Observation
from mosu.site_agent.files import Garbled, read_json, read_json_if_whole, remove_tree, write_durably
from mosu.site_agent.images import Images
from mosu.site_agent.job_files import JobFile, StateFile, blank_state
from mosu.site_agent.jobs import (
    attempts_folder,
    extend_limit,
    job_of,
    log_part,
    observed,
    working_folder,
)
from mosu.site_agent.logs import LOG_BYTES_MAX
from mosu.site_agent.ranks import rank_variables
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, AttemptSpec, NodeInfo
from mosu.wire.ssh import SSHD


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What of this machine may be sold."""

    name: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    cards: LocalOptions = field(default_factory=LocalOptions)


class LocalEngine:
    """State lies in `folder/attempts/ID`; all truth about an attempt is there, none in this object.

    Raises (on creation):
        SandboxUnavailable: the sandbox's user cannot reach `folder` or an environment.
    """

    name = "local"
    poll_s = 0.05
    spans_nodes = False
    reaches = True
    extends = True
    unreached = ""

    @property
    def has_sshd(self) -> bool:
        """Looked at each time: it may be installed while the agent runs."""
        return os.access(SSHD, os.X_OK)

    def __init__(
        self,
        folder: Path,
        *,
        node: LocalNode,
        environments: Sequence[Environment],
        log_bytes_max: int = LOG_BYTES_MAX,
        volumes: Volumes | None = None,
        images: Images | None = None,
    ) -> None:
        self.volumes, self._images = volumes, images
        self._attempts = attempts_folder(folder)
        self._node, self._log_bytes_max = node, log_bytes_max
        self._environments = {environment.name: environment for environment in environments}
        self._who = run_as()
        for path in (self._attempts, *(environment.root for environment in environments)):
            check_reach(path, self._who)
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
                devices=node.cards.devices,
            ),
        )

    def card_files(self, accelerator: str) -> Sequence[str]:
        return self._node.cards.card_files(accelerator)

    def workdir(self, attempt_id: str) -> Path:
        """The attempt's working folder, made if it is not there."""
        return working_folder(self._attempts / attempt_id)

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
            give_to_sandbox(self.workdir(spec.attempt_id), self._who)
            if spec.secrets:
                write_durably(folder / "secrets.json", spec.secrets)
            write_durably(folder / "job.json", job)
            _start_supervisor(folder)
        return EngineRef(spec.attempt_id)

    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]:
        """What is true of each; `lost`: its supervisor is gone without a final word, and nothing is left."""
        return {ref: self._observed(self._attempts / ref) for ref in refs}

    def read_log(self, ref: EngineRef, *, offset: int, bytes_max: int) -> LogPart:
        return log_part(self._attempts / ref / "log", offset=offset, bytes_max=bytes_max)

    def cancel(self, ref: EngineRef) -> None:
        folder = self._attempts / ref
        if folder.is_dir():
            (folder / "cancel").touch()

    def extend(self, ref: EngineRef, wall_limit_s: int) -> None:
        extend_limit(self._attempts / ref, wall_limit_s)

    def connect(self, ref: EngineRef, port: int) -> socket.socket:
        """A TCP connection to the port on the own loopback of a session.

        Raises:
            NotReached: there is none; it says why within 5 seconds.
        """
        return dialled(self._attempts / ref, port)

    def clean(self, ref: EngineRef) -> None:
        remove_tree(self._attempts / ref / "work")

    def forget(self, ref: EngineRef) -> None:
        remove_tree(self._attempts / ref)

    def _job_of(self, spec: AttemptSpec) -> JobFile:
        self._starter = self._starter or find_bwrap(self._tools)
        cards = self._node.cards
        if {(index, spec.accelerator) for index in (spec.devices or ((),))[0]} - {
            (device.index, device.accelerator) for device in cards.devices
        }:
            raise Invalid(
                f"This machine has no such {spec.accelerator}.", hint="Order again.", field="accelerators"
            )
        job = job_of(
            spec,
            self._environments,
            starter=self._starter,
            who=self._who,
            log_bytes_max=self._log_bytes_max,
            envs=rank_variables(rank=0, addresses=["127.0.0.1"], cards=spec.cards) | cards.variables_of(spec),
            reaches=self.reaches,
            volumes=self.volumes,
            images=self._images,
            cpus=self._free_cpus(spec.cores),
            delegation=None if self._delegation is None else _as_json(self._delegation),
        )
        job["devices"] = cards.files_of(spec)
        return job

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

    def _observed(self, folder: Path) -> Observation:
        buried: StateFile | None = read_json_if_whole(folder / "buried.json")
        if buried is not None:
            return observed(folder, buried)
        owner, alive = _owner(folder)
        # In this order: a supervisor that ended after the look at it has left its final state before.
        state: StateFile | None = read_json_if_whole(folder / "state.json")
        if state is not None and (alive or state["phase"] in FINAL_PHASES):
            return observed(folder, state)
        if owner is None:
            known = (folder / "job.json").exists()
            return Observation(AttemptPhase.PREPARING if known else AttemptPhase.LOST)
        if alive:
            return Observation(AttemptPhase.PREPARING)
        return observed(folder, _bury(folder, state))


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
    state = state or blank_state("preparing")
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
    for name in ("secrets.json", DIAL_SOCKET):
        (folder / name).unlink(missing_ok=True)
    return state


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
