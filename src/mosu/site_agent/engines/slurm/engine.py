"""The engine itself: folders, submissions, and what is true of each attempt."""

import fcntl
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.sandbox.dial_socket import DIAL_SOCKET
from mosu.sandbox.environments import Environment
from mosu.sandbox.probing import SandboxReport, probe
from mosu.sandbox.starter import check_reach, find_bwrap, give_to_sandbox, run_as
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, LogPart, Observation
from mosu.site_agent.engines.slurm import commands, payload
from mosu.site_agent.engines.slurm.books import Books
from mosu.site_agent.engines.slurm.commands import Account, QueuedJob, SlurmAway
from mosu.site_agent.engines.slurm.endings import end_of, units_of
from mosu.site_agent.engines.slurm.legs import Legs
from mosu.site_agent.engines.slurm.nodes import nodes_from
from mosu.site_agent.engines.slurm.options import SlurmOptions
from mosu.site_agent.engines.slurm.payload import SlurmJobFile
from mosu.site_agent.engines.slurm.trying import Trying
from mosu.site_agent.engines.vendors import card_files_of, device_patterns_of, variables_of
from mosu.site_agent.files import read_json_if_whole, remove_tree, write_durably
from mosu.site_agent.images import Images
from mosu.site_agent.job_files import StateFile
from mosu.site_agent.jobs import (
    attempts_folder,
    instant_of,
    job_of,
    log_part,
    size_of,
    working_folder,
)
from mosu.site_agent.logs import LOG_BYTES_MAX
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, AttemptSpec, Measures, MeterSample, NodeInfo
from mosu.wire.shares import kind_of

MARGIN_S: Final = 60
"""Slurm's limit comes so long after our own: it is for jobs whose supervisor is gone."""
_HARD_CANCEL_AFTER_S: Final = 30.0
FORGOTTEN_AFTER_S: Final = 120.0
"""What slurmctld, while both daemons answer, does not know of for so long, it has lost: after a crash, say."""


class SlurmEngine:
    """State lies in `folder/attempts/ID`, on the file system that all nodes share; Slurm has the rest.

    | file | what |
    |---|---|
    | `asked` | `sbatch` was called, whatever became of it |
    | `job_id` | what it answered |
    | `ended.json` | the final observation: nothing asks Slurm again |

    Beside them `sessions.json` says that people came to a node of this cluster, and whether by `ssh`: what
    worked is not tried again.

    Raises (on creation):
        SandboxUnavailable: the sandbox's user cannot reach `folder` or an environment.
    """

    name = "slurm"
    extends = False
    poll_s = 0.25

    def __init__(
        self,
        folder: Path,
        *,
        options: SlurmOptions,
        environments: Sequence[Environment],
        disk_bytes: int,
        log_bytes_max: int = LOG_BYTES_MAX,
        forgotten_after_s: float = FORGOTTEN_AFTER_S,
        volumes: Volumes | None = None,
        images: Images | None = None,
    ) -> None:
        self.volumes, self._images = volumes, images
        self._forgotten_after_s = forgotten_after_s
        self._options, self._disk_bytes, self._log_bytes_max = options, disk_bytes, log_bytes_max
        self._attempts = attempts_folder(folder)
        self._environments = {environment.name: environment for environment in environments}
        self._who = run_as()
        for path in (self._attempts, *(environment.root for environment in environments)):
            check_reach(path, self._who)
        self._tools, self._known_nodes = folder / "tools", folder / "nodes.json"
        self._starter: Path | None = None
        self._books = Books()
        self._unknown_since: dict[str, float] = {}
        self._cancelled_at: dict[str, float] = {}
        self._guard = threading.Lock()
        self._legs = Legs(options.python)
        self._trying = Trying(self._legs, options, self._attempts, kept=folder / "sessions.json")

    @property
    def spans_nodes(self) -> bool:
        return self._options.shared_network

    @property
    def reaches(self) -> bool:
        return not self.unreached

    @property
    def unreached(self) -> str:
        """As set; else found out."""
        if self._options.sessions is not None:
            return "" if self._options.sessions else "No sessions are sold: [slurm] sessions = false."
        return self._trying.found().why_not

    @property
    def has_sshd(self) -> bool:
        """Found out, also where it is set that people are joined."""
        return self._options.sessions is not False and self._trying.found().has_sshd

    def isolation(self) -> SandboxReport:
        """The sandbox's, where also Slurm keeps books: without them nothing could be billed."""
        try:
            books = commands.setting("AccountingStorageType")
        except SlurmAway as away:
            mend = "Set SLURM_CONF, or start slurmctld."
            return SandboxReport(False, "", "", f"Slurm does not answer: {away}", mend, away=True)
        if not books.endswith("slurmdbd"):
            return SandboxReport(
                False,
                "",
                "",
                f"Slurm keeps no accounts (AccountingStorageType={books}), so nothing could be metered.",
                "Run slurmdbd and set AccountingStorageType=accounting_storage/slurmdbd.",
            )
        return probe(self._tools)

    def nodes(self) -> tuple[NodeInfo, ...]:
        """As Slurm shows them; where it does not answer, as it last did."""
        try:
            shown = commands.shown_nodes(partition=self._options.partition)
        except SlurmAway:
            return tuple(NodeInfo(**node) for node in read_json_if_whole(self._known_nodes) or ())
        found = nodes_from(shown, accelerators=self._options.accelerators, disk_bytes=self._disk_bytes)
        write_durably(self._known_nodes, [node.model_dump(mode="json") for node in found])
        return found

    def card_files(self, accelerator: str) -> Sequence[str]:
        return self._options.devices.get(accelerator) or card_files_of(accelerator)

    def workdir(self, attempt_id: str) -> Path:
        """The attempt's working folder, made if it is not there: the same on all nodes."""
        return working_folder(self._attempts / attempt_id)

    def submit(self, spec: AttemptSpec) -> EngineRef:
        """Hand the attempt to Slurm, unless it ever had it.

        Raises:
            Invalid: it cannot be run here; nothing was submitted.
            SlurmRefused: Slurm does not take it.
            SlurmAway: Slurm does not answer; the next call first looks whether it has taken it.
        """
        folder, ref = self._attempts / spec.attempt_id, EngineRef(spec.attempt_id)
        job = self._job_of(spec)
        self.workdir(spec.attempt_id)
        with _alone(folder):
            if any((folder / name).exists() for name in ("job_id", "claim", "ended.json")):
                return ref
            if (folder / "cancel").exists() and not (folder / "asked").exists():
                _write_end(folder, Observation(AttemptPhase.CANCELLED, reason="Cancelled before it started."))
                return ref
            give_to_sandbox(folder / "work", self._who)
            if spec.secrets:
                write_durably(folder / "secrets.json", spec.secrets)
            write_durably(folder / "job.json", job)
            write_durably(folder / "job_id", self._asked(folder, spec))
        return ref

    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]:
        """What is true of each: Slurm says whether and since when it runs, the payload how it ended."""
        return {ref: self._observed(self._attempts / ref) for ref in refs}

    def read_log(self, ref: EngineRef, *, offset: int, bytes_max: int) -> LogPart:
        return log_part(self._attempts / ref / "log", offset=offset, bytes_max=bytes_max)

    def cancel(self, ref: EngineRef) -> None:
        """Leave word for the payload, and take from the queue what has not begun, also where we never heard of it."""
        folder = self._attempts / ref
        if folder.is_dir() and not (folder / "ended.json").exists():
            (folder / "cancel").touch()
            self._press_cancel(ref, only_waiting=True)

    def extend(self, ref: EngineRef, wall_limit_s: int) -> None:
        raise OSError("Only Slurm's operators raise the time limit of a job.")

    def connect(self, ref: EngineRef, port: int) -> socket.socket:
        """A connection to the port on the own loopback of a session, by a leg on its node.

        Raises:
            NotReached: there is none; it says why within 9 seconds.
        """
        if self.unreached:
            raise NotReached(self.unreached)
        folder = self._attempts / ref
        claimed = _claimed(folder)
        if claimed is None or not _is_open_session(folder):
            raise NotReached("It is not running, or it is no session.")
        return self._legs.connect(folder, job_id=claimed, port=port)

    def clean(self, ref: EngineRef) -> None:
        remove_tree(self._attempts / ref / "work")

    def forget(self, ref: EngineRef) -> None:
        self._legs.end(ref)
        remove_tree(self._attempts / ref)
        self._books.forget(ref)
        self._unknown_since.pop(ref, None)
        self._cancelled_at.pop(ref, None)

    def _job_of(self, spec: AttemptSpec) -> SlurmJobFile:
        if len(spec.nodes) > 1 and spec.session:
            raise Invalid(
                "A session has one node.", hint="Ask for one.", field="num_nodes", found=len(spec.nodes)
            )
        if len(spec.nodes) > 1 and not self._options.shared_network:
            raise Invalid(
                "This cluster has no network for a task of several nodes.",
                hint="Its supplier may grant it: [slurm] shared_network = true.",
                field="num_nodes",
                found=len(spec.nodes),
            )
        if spec.cards and spec.accelerator not in self._options.accelerators:
            raise Invalid(
                f"This cluster has no {spec.accelerator}.",
                hint="Its supplier names its GRES: [slurm] accelerators.",
                field="accelerators",
                found=spec.accelerator,
            )
        self._starter = self._starter or find_bwrap(self._tools)
        job = job_of(
            spec,
            self._environments,
            starter=self._starter,
            who=self._who,
            log_bytes_max=self._log_bytes_max,
            envs={},
            # Not asked for what is no session: it may have to be found out.
            reaches=spec.session and self.reaches,
            volumes=self.volumes,
            images=self._images,
        )
        if len(spec.nodes) > 1:
            job["network"] = "machine"
        patterns = self._options.devices.get(spec.accelerator) or device_patterns_of(spec.accelerator)
        return SlurmJobFile(
            **job,
            nodes=list(spec.nodes),
            cards=spec.cards,
            units=dict(spec.units),
            gres=self._options.accelerators.get(spec.accelerator, "") if spec.cards else "",
            own_share=kind_of(spec.accelerator).shares > 1 and not kind_of(spec.accelerator).shared,
            device_variables=list(variables_of(spec.accelerator)),
            device_patterns=list(patterns),
            slurm_python=self._options.python,
        )

    def _asked(self, folder: Path, spec: AttemptSpec) -> int:
        """The id of the attempt's job: of the one that Slurm took though we never heard so, else of a new one."""
        asked = folder / "asked"
        if asked.exists():
            found = [job.job_id for job in commands.queue() if job.name == spec.attempt_id]
            if found:
                return min(found)
        write_durably(asked, datetime.now(UTC).isoformat())
        command = f"{self._options.python} -I -S {payload.__file__} {folder}"
        return commands.submit(f"#!/bin/sh\nexec {command}\n", self._arguments(folder, spec))

    def _arguments(self, folder: Path, spec: AttemptSpec) -> list[str]:
        options = self._options
        limit_s = spec.wall_limit_s + spec.grace_s + MARGIN_S
        wanted = {
            "job-name": spec.attempt_id,
            "comment": f"mosu {spec.organisation_id}",
            "time": str(math.ceil(limit_s / 60)),
            "nodes": str(len(spec.nodes)),
            "nodelist": ",".join(spec.nodes),
            "ntasks-per-node": "1",
            "cpus-per-task": str(spec.cores),
            "mem": f"{math.ceil(spec.memory_bytes / (1 << 20))}M",
            "gres": f"{options.accelerators[spec.accelerator]}:{spec.cards}" if spec.cards else "",
            "output": str(folder / "slurm.out"),
            "chdir": "/",
            "open-mode": "append",
            **options.of_every_job,
        }
        return commands.arguments_of(wanted)

    def _observed(self, folder: Path) -> Observation:
        ended = _read_end(folder)
        if ended is not None:
            return ended
        if not (folder / "job.json").exists():
            return Observation(AttemptPhase.LOST)
        state: StateFile | None = read_json_if_whole(folder / "state.json")
        over = state is not None and state["phase"] in FINAL_PHASES
        job = self._books.job_of(folder.name, claimed=_claimed(folder), within_s=0.3 if over else 1.0)
        if job is None or not (job.waits or job.runs):
            return self._after_the_queue(folder, state, job)
        self._unknown_since.pop(folder.name, None)
        if (folder / "cancel").exists():
            self._cancel_again(folder, job)
        if job.waits or job.started_at is None:
            return Observation(AttemptPhase.PREPARING)
        return _running(folder, started_at=job.started_at, metered_until=job.started_at + job.elapsed)

    def _after_the_queue(self, folder: Path, state: StateFile | None, job: QueuedJob | None) -> Observation:
        """What slurmctld does not call waiting or running: slurmdbd has the last word, when it has it."""
        job_id = job.job_id if job is not None else _claimed(folder) or read_json_if_whole(folder / "job_id")
        if job_id is None:
            return Observation(AttemptPhase.PREPARING)  # in doubt: it will be submitted again
        account = self._books.account_of(job_id)
        if account is not None and account.is_final:
            return self._ended(folder, state, account)
        if job is None and self._is_forgotten(folder.name):
            return self._ended(folder, state, None)
        last = self._books.last_known(folder.name)
        if last is not None and last.started_at is not None:
            return _running(folder, started_at=last.started_at, metered_until=last.started_at + last.elapsed)
        if account is not None and account.started_at is not None:
            return _running(folder, started_at=account.started_at, metered_until=account.started_at)
        return Observation(AttemptPhase.PREPARING)

    def _is_forgotten(self, name: str) -> bool:
        """Whether both daemons have long answered without knowing of it."""
        if not self._books.answer:
            self._unknown_since.pop(name, None)
            return False
        since = self._unknown_since.setdefault(name, time.monotonic())
        return time.monotonic() > since + self._forgotten_after_s

    def _ended(self, folder: Path, state: StateFile | None, account: Account | None) -> Observation:
        job: SlurmJobFile = read_json_if_whole(folder / "job.json")
        asked = (folder / "cancel").exists() and account is not None
        end = end_of(state, account, cancelled=asked, said=_said(folder))
        if end.phase is AttemptPhase.LOST:
            (folder / "cancel").touch()  # should it run on some node all the same
        measures = state and state["measures"]
        started_at = account.started_at if account else instant_of(state["started_at"]) if state else None
        if (state is None and account and not account.elapsed_s) or (state and not state["started_at"]):
            started_at = None  # nothing of the task ran, so nobody pays
        ended = Observation(
            phase=end.phase,
            started_at=started_at,
            ended_at=account.ended_at if account else instant_of(state["ended_at"]) if state else None,
            exit_code=end.exit_code,
            reason=end.reason,
            measures=None if not measures else Measures(**measures),
            log_bytes=size_of(folder / "log"),
            units=None if account is None else units_of(account.tres, asked=job["units"], gres=job["gres"]),
        )
        for name in ("secrets.json", DIAL_SOCKET):  # of a supervisor that was killed
            (folder / name).unlink(missing_ok=True)
        _write_end(folder, ended)
        self._legs.end(folder.name)
        return ended

    def _cancel_again(self, folder: Path, job: QueuedJob) -> None:
        """Ask Slurm to end what waits, and what runs on long after it was asked to end by itself."""
        asked_s = time.time() - (folder / "cancel").stat().st_mtime
        if job.waits or asked_s > _HARD_CANCEL_AFTER_S:
            self._press_cancel(folder.name, only_waiting=job.waits)

    def _press_cancel(self, name: str, *, only_waiting: bool) -> None:
        with self._guard:
            now = time.monotonic()
            if now < self._cancelled_at.get(name, -math.inf) + 2:
                return
            self._cancelled_at[name] = now
        try:
            commands.cancel(name, only_waiting=only_waiting)
        except SlurmAway:
            return  # the word that was left for the payload stays, and the next look asks again


def _running(folder: Path, *, started_at: datetime, metered_until: datetime) -> Observation:
    sample = read_json_if_whole(folder / "sample.json") or read_json_if_whole(
        folder / "rank" / "0" / "sample.json"
    )
    return Observation(
        AttemptPhase.RUNNING,
        started_at=started_at,
        metered_until=metered_until,
        log_bytes=size_of(folder / "log"),
        sample=None if sample is None else MeterSample(**sample),
    )


def _is_open_session(folder: Path) -> bool:
    """Whether it serves ports of its own and has not ended, by its own word."""
    job: SlurmJobFile | None = read_json_if_whole(folder / "job.json")
    state: StateFile | None = read_json_if_whole(folder / "state.json")
    is_over = state is not None and state["phase"] in FINAL_PHASES
    return job is not None and job["network"] == "loopback" and not is_over


def _claimed(folder: Path) -> int | None:
    """The job that has the attempt."""
    job_id: int | None = read_json_if_whole(folder / "claim")
    return job_id


def _said(folder: Path) -> str:
    """The last line that the batch script itself printed: why the payload could not start."""
    lines = (
        log_part(folder / "slurm.out", offset=0, bytes_max=65536).data.decode(errors="replace").splitlines()
    )
    return lines[-1][:300] if lines else ""


def _write_end(folder: Path, ended: Observation) -> None:
    facts = {
        "phase": ended.phase.value,
        "started_at": ended.started_at and ended.started_at.isoformat(),
        "ended_at": ended.ended_at and ended.ended_at.isoformat(),
        "exit_code": ended.exit_code,
        "reason": ended.reason,
        "measures": ended.measures and ended.measures.model_dump(),
        "log_bytes": ended.log_bytes,
        "units": ended.units and dict(ended.units),
    }
    write_durably(folder / "ended.json", facts)


def _read_end(folder: Path) -> Observation | None:
    facts = read_json_if_whole(folder / "ended.json")
    if facts is None:
        return None
    return Observation(
        phase=AttemptPhase(facts["phase"]),
        started_at=instant_of(facts["started_at"]),
        ended_at=instant_of(facts["ended_at"]),
        exit_code=facts["exit_code"],
        reason=facts["reason"],
        measures=None if facts["measures"] is None else Measures(**facts["measures"]),
        log_bytes=facts["log_bytes"],
        units=facts["units"],
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other thread or process submits this attempt meanwhile."""
    fd = os.open(folder / "submitting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
