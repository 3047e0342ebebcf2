"""Slurm's own commands: what they are asked, what their answers mean. No state."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from mosu.kernel.refusals import DomainError
from mosu.sandbox.starter import SandboxUnavailable

PATIENCE_S: Final = 60.0
_QUEUE_FIELDS: Final = ("JobID", "Name", "State", "StartTime", "TimeUsed")
_ACCOUNT_FIELDS: Final = ("JobIDRaw", "State", "Start", "ElapsedRaw", "AllocTRES", "ExitCode", "End")
_JOB_NAME: Final = "attempt_"
_IDS_MAX: Final = 1000
"""So many job ids in one question."""
_AWAY: Final = re.compile(
    r"unable to contact|unable to connect|socket timed out|connection refused|zero bytes were transmitted|"
    r"transport endpoint|standby mode|communications? (shutdown|connection) failure|timed out|try again|"
    r"temporarily unable|dbd .*(down|refused)|slurm_persist|could not establish|unable to resolve",
    re.IGNORECASE,
)


class SlurmAway(Exception):
    """A daemon of Slurm does not answer. What it was asked may have been done, or not."""


class SlurmRefused(DomainError):
    """Slurm does not take the job: its words."""

    code = "slurm_refused"


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job as slurmctld remembers it, some minutes after its end too."""

    job_id: int
    name: str
    state: str
    started_at: datetime | None
    elapsed: timedelta

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def runs(self) -> bool:
        return self.state in RUNNING


@dataclass(frozen=True, slots=True)
class Account:
    """A job as slurmdbd has it: what is billed."""

    state: str
    started_at: datetime | None
    elapsed_s: int
    tres: Mapping[str, int]
    exit_code: int
    """Of the batch script; 128 and more: by a signal."""
    is_closed: bool
    """Whether it has its end; until then its elapsed time goes on with the clock, whatever its state says.

    After an absence slurmdbd hears how a job began, by then with the state in which it ended, and later when it ended.
    """

    @property
    def is_final(self) -> bool:
        return self.is_closed and self.state not in WAITING | RUNNING

    @property
    def ended_at(self) -> datetime | None:
        """So that from start to end it is what is billed, also where it was suspended meanwhile."""
        return self.started_at and self.started_at + timedelta(seconds=self.elapsed_s)


WAITING: Final = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"}
)
RUNNING: Final = frozenset(
    {"RUNNING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}
)


def arguments_of(wanted: Mapping[str, str]) -> list[str]:
    """Those for `submit`: what is wanted, without what is empty, of a job that is begun once."""
    return ["--no-requeue", *(f"--{name}={value}" for name, value in wanted.items() if value)]


def submit(script: str, arguments: Sequence[str]) -> int:
    """The id of the new job. The script is given by standard input, nothing by the environment.

    Raises:
        SlurmAway: no answer; the job may have been taken.
        SlurmRefused: it was not.
    """
    answer = _ask("sbatch", "--parsable", *arguments, given=script)
    return int(answer.strip().splitlines()[-1].partition(";")[0])


def queue() -> list[QueuedJob]:
    """Our user's jobs of attempts.

    Raises:
        SlurmAway: slurmctld does not answer.
    """
    form = ",".join(f"{name}:|" for name in _QUEUE_FIELDS)
    answer = _ask("squeue", "--noheader", "--states=all", f"--user={os.geteuid()}", "-O", form)
    rows = (line.split("|") for line in answer.splitlines() if line.strip())
    return [
        QueuedJob(int(row[0]), row[1], row[2], _instant(row[3]), _duration(row[4]))
        for row in rows
        if row[1].startswith(_JOB_NAME)
    ]


def accounts(job_ids: Sequence[int]) -> dict[int, Account]:
    """What slurmdbd has of these jobs. Of one that it has more than once the last, with the time of all that ended.

    A slurmctld that forgot that it had started a job starts it again, under its id.

    Raises:
        SlurmAway: it does not answer.
    """
    found: dict[int, Account] = {}
    for part in (job_ids[begin : begin + _IDS_MAX] for begin in range(0, len(job_ids), _IDS_MAX)):
        answer = _ask(
            *("sacct", "-X", "-P", "-n", "--duplicates", "--starttime=1970-01-01"),
            f"--jobs={','.join(map(str, part))}",
            f"--format={','.join(_ACCOUNT_FIELDS)}",
        )
        for line in answer.splitlines():
            row = line.split("|")
            account = Account(
                state=row[1].partition(" ")[0],
                started_at=_instant(row[2]),
                elapsed_s=int(row[3] or 0),
                tres=_tres(row[4]),
                exit_code=_exit_code(row[5]),
                is_closed=_instant(row[6]) is not None,
            )
            found[int(row[0])] = _with_time_of(found.get(int(row[0])), account)
    return found


def _with_time_of(before: Account | None, account: Account) -> Account:
    if before is None or not before.is_final:
        return account
    started = [at for at in (before.started_at, account.started_at) if at is not None]
    return replace(
        account,
        started_at=min(started, default=None),
        elapsed_s=before.elapsed_s + account.elapsed_s,
        tres=account.tres or before.tres,
    )


def cancel(name: str, *, only_waiting: bool) -> None:
    """End our user's jobs of this name; no word about whether there was any.

    Raises:
        SlurmAway: slurmctld does not answer.
    """
    state = ["--state=PENDING"] if only_waiting else []
    _ask("scancel", f"--name={name}", f"--user={os.geteuid()}", *state)


def state_of(job_id: int) -> str:
    """Slurm's word for how the job is; empty if slurmctld has it no more.

    Raises:
        SlurmAway: it does not answer.
    """
    for line in _ask("squeue", "--noheader", f"--user={os.geteuid()}", "-O", "JobID:|,State:|").splitlines():
        row = line.split("|")
        if row[0] == str(job_id):
            return row[1]
    return ""


def end(job_id: int) -> None:
    """End one job; no word about whether there was any.

    Raises:
        SlurmAway: slurmctld does not answer.
    """
    _ask("scancel", str(job_id))


def shown_nodes(*, partition: str) -> list[dict[str, str]]:
    """Each node of the partition (empty: of all) by Slurm's words for its properties.

    Raises:
        SlurmAway: slurmctld does not answer.
    """
    rows = [
        _properties(line)
        for line in _ask("scontrol", "--oneliner", "show", "node").splitlines()
        if line.strip()
    ]
    return [row for row in rows if not partition or partition in row.get("Partitions", "").split(",")]


def setting(name: str) -> str:
    """A setting of slurm.conf as slurmctld has it; empty if it has none.

    Raises:
        SlurmAway: slurmctld does not answer.
    """
    for line in _ask("scontrol", "show", "config").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""


def holds_in(job_id: int, *test: str) -> bool:
    """Whether the command ends well, run as a step beside the job, on its first node.

    Raises:
        SlurmAway: it could not be run.
    """
    said = _ask("srun", *step_of(job_id), "sh", "-c", '"$@" && echo yes || echo no', "sh", *test)
    return said.split()[-1:] == ["yes"]  # a prolog may have its say before


def step_of(job_id: int) -> Sequence[str]:
    """What `srun` is told for a step beside the job's own processes: it has their memory, and none of its cards."""
    return (
        *(f"--jobid={job_id}", "--overlap", "--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=0"),
        *("--gres=none", "--mpi=none", "--chdir=/"),
    )


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """All that Slurm's commands, and so jobs, see of ours: where Slurm is, no more."""
    kept = {name: inherited[name] for name in ("PATH", "SLURM_CONF", "LD_LIBRARY_PATH") if name in inherited}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **kept}


def _ask(*command: str, given: str = "") -> str:
    try:
        done = subprocess.run(
            command,
            input=given,
            env={**environment(os.environ), "SLURM_TIME_FORMAT": "%s"},
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise SandboxUnavailable(
            f"There is no {command[0]} here.",
            hint="Run the agent where Slurm's commands are, on a login node.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmAway(f"{command[0]}: no answer in {PATIENCE_S:g} s") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip()
    if command[0] != "sbatch" or _AWAY.search(said):
        raise SlurmAway(f"{command[0]}: {said}")
    raise SlurmRefused(
        f"Slurm does not take it: {said[:500]}", hint="The supplier mends partition or limits."
    )


def _properties(line: str) -> dict[str, str]:
    """`Key=value` pairs; a value may hold spaces, as a reason or a system's name does."""
    found: dict[str, str] = {}
    key = ""
    for word in line.split():
        name, sign, value = word.partition("=")
        if sign and name.isidentifier():
            found[key := name] = value
        elif key:
            found[key] += f" {word}"
    return found


def _instant(text: str) -> datetime | None:
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() and text != "0" else None


def _duration(text: str) -> timedelta:
    """`[days-][hours:]minutes:seconds`."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in parts):
        return timedelta()
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return timedelta(days=int(days or 0), seconds=seconds)


def _tres(text: str) -> dict[str, int]:
    """Counts of what is counted (`cpu=4`, `gres/gpu:x=2`); sizes such as `mem=4G` are left out."""
    pairs: Iterable[tuple[str, str, str]] = (part.partition("=") for part in text.split(","))
    return {name: int(count) for name, _, count in pairs if count.isdecimal()}


def _exit_code(text: str) -> int:
    code, _, number = text.partition(":")
    signal = int(number or 0)
    return 128 + signal if signal else int(code or 0)
