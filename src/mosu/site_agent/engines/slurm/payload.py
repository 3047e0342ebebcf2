"""What Slurm starts of an attempt: it takes the attempt for its job, then runs it in the sandbox.

`python -I -S payload.py FOLDER` is the batch script's only command. A job that finds the attempt taken by another
ends at once: of two submissions one works. On several nodes it starts `payload.py FOLDER --rank` on each with
`srun`, gathers what they print into the attempt's one log, and writes the attempt's final state from theirs.

| file | by | what |
|---|---|---|
| `job.json`, `secrets.json`, `cancel` | agent | as for a supervisor of the local engine |
| `claim` | payload | the Slurm job that has the attempt |
| `state.json`, `sample.json`, `log` | payload | as for a supervisor |
| `rank/N/` | payload | state and sample of each node, where there are several |
| `dial.sock` | payload | where a session's dialler is asked, by a leg on the same node |
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/mosu/site_agent/")[0])

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO, Final, Literal, cast

from mosu.site_agent.files import read_json, write_durably
from mosu.site_agent.job_files import JobFile, MeasuresFile, StateFile, blank_state
from mosu.site_agent.ranks import rank_variables
from mosu.site_agent.supervisor import claim, finish, run_job, taken_secrets

_ENDS: Final = ("cancelled", "timed_out", "failed", "succeeded")
"""The attempt ends as the first of these that any of its nodes says."""


class SlurmJobFile(JobFile):
    """What the job needs to know beside that."""

    nodes: list[str]
    """By rank."""
    cards: int
    units: dict[Literal["core_second", "card_second"], int]
    """As asked, by meter."""
    gres: str
    own_share: bool
    """Whether its cards are shares that nobody else reaches into."""
    device_variables: list[str]
    device_patterns: list[str]
    slurm_python: str


def main(folder: Path) -> int:
    """The batch script's exit code: the task's own."""
    if not claim(folder, int(os.environ["SLURM_JOB_ID"])):
        return 0
    job: SlurmJobFile = read_json(folder / "job.json")
    secrets = taken_secrets(folder)
    if len(job["nodes"]) == 1:
        job["envs"] |= rank_variables(rank=0, addresses=["127.0.0.1"], cards=job["cards"])
        state = run_job(folder, _with_cards(job), secrets)
    elif (folder / "cancel").exists():
        state = finish(folder, blank_state("cancelled"), reason="Cancelled before it started.")
    else:
        state = _run_on_all(folder, job, secrets)
    return _exit_code(state)


def run_rank(folder: Path) -> int:
    """One node of several: its output goes to `srun`, its secrets come from there."""
    given = json.load(sys.stdin)
    job: SlurmJobFile = read_json(folder / "job.json")
    rank = job["nodes"].index(os.environ["SLURMD_NODENAME"])
    job["envs"] |= rank_variables(rank=rank, addresses=given["addresses"], cards=job["cards"])
    own = folder / "rank" / str(rank)
    with os.fdopen(os.dup(1), "wb", buffering=0) as log:
        state = run_job(folder, _with_cards(job), given["secrets"], own=own, log=cast(IO[bytes], log))
    return _exit_code(state)


def _run_on_all(folder: Path, job: SlurmJobFile, secrets: dict[str, str]) -> StateFile:
    for rank in range(len(job["nodes"])):
        (folder / "rank" / str(rank)).mkdir(parents=True, exist_ok=True)
    write_durably(folder / "state.json", blank_state("preparing"))
    given = {"addresses": [_address_of(name) for name in job["nodes"]], "secrets": secrets}
    started = subprocess.Popen(
        [
            *("srun", f"--nodes={len(job['nodes'])}", f"--ntasks={len(job['nodes'])}", "--ntasks-per-node=1"),
            *(
                "--export=ALL",
                "--label",
                "--kill-on-bad-exit=1",
                f"--cpus-per-task={job['cores']}",
            ),
            *(job["slurm_python"], "-I", "-S", __file__, str(folder), "--rank"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # Slurm asks all of us to stop; the ranks have heard it too, and their last words are to be kept.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert started.stdin is not None and started.stdout is not None  # noqa: S101 - pipes, as asked
    started.stdin.write(json.dumps(given).encode())
    started.stdin.close()
    left = job["log_bytes_max"]
    with (folder / "log").open("ab", buffering=0) as log:
        while part := os.read(started.stdout.fileno(), 65536):
            log.write(part[:left])
            left = max(0, left - len(part))
    code = started.wait()
    states = [read_json(folder / "rank" / str(rank) / "state.json") for rank in range(len(job["nodes"]))]
    return finish(folder, state := _summed(states, srun_code=code), reason=state["reason"])


def _summed(states: list[StateFile | None], *, srun_code: int) -> StateFile:
    """The attempt's state from those of its nodes; one that has none was ended from outside."""
    sum_of = blank_state("failed")
    known = [state for state in states if state is not None and state["phase"] in _ENDS]
    phases = {state["phase"] for state in known}
    if len(known) < len(states):
        phases.add("failed")
        phases.discard("succeeded")
    sum_of["phase"] = next((phase for phase in _ENDS if phase in phases), "failed")
    told = [state for state in known if state["phase"] == sum_of["phase"]]
    first = next(
        (state for state in told if state["exit_code"] not in {None, 137, 143}), told[0] if told else None
    )
    sum_of["exit_code"] = srun_code if first is None else first["exit_code"]
    sum_of["reason"] = "A node ended without a word." if first is None else first["reason"]
    begun = [state["started_at"] for state in known if state["started_at"]]
    sum_of["started_at"] = min(begun, default=None)
    measured = [state["measures"] for state in known if state["measures"]]
    if len(measured) == 1:
        sum_of["measures"] = measured[0]
    elif measured:
        sum_of["measures"] = MeasuresFile(
            cpu_s=sum(one["cpu_s"] for one in measured),
            wall_s=max(one["wall_s"] for one in measured),
            memory_peak_bytes=max(one["memory_peak_bytes"] for one in measured),
            memory_source=measured[0]["memory_source"],
        )
    return sum_of


def _with_cards(job: SlurmJobFile) -> SlurmJobFile:
    """The job with the cards that Slurm gave this node: no others are in the sandbox, so they count from 0."""
    if not job["cards"]:
        return job
    said = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS") or ""
    indices = [int(number) for number in said.split(",") if number.isdecimal()]
    seen = ",".join(str(number) for number in range(len(indices) or job["cards"]))
    # A share with memory of its own is named by what Slurm says of it, such as a MIG device's UUID.
    given = {
        name: os.environ[name] for name in job["device_variables"] if name in os.environ and job["own_share"]
    }
    job["envs"] |= dict.fromkeys(job["device_variables"], seen) | given
    job["devices"] = list(
        dict.fromkeys(
            pattern.replace("{index}", str(index)).replace("{render}", str(128 + index))
            for pattern in job["device_patterns"]
            for index in indices
        )
    )
    return job


def _address_of(node: str) -> str:
    """The node's address as Slurm reaches it, as a number where it has a name."""
    shown = subprocess.run(
        ["scontrol", "--oneliner", "show", "node", node], capture_output=True, text=True, check=False
    )
    words = dict(word.partition("=")[::2] for word in shown.stdout.split())
    name = words.get("NodeAddr", node)
    try:
        return cast(str, socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return name


def _exit_code(state: StateFile) -> int:
    """What Slurm's own books say of it: 0 only where it succeeded."""
    return 0 if state["phase"] == "succeeded" else (state["exit_code"] or 1) & 255 or 1


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(run_rank(Path(sys.argv[1])) if sys.argv[2:] == ["--rank"] else main(Path(sys.argv[1])))
