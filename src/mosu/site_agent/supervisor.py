"""One process per attempt: its sandbox, its log, its limits, its measures. It outlives the agent.

Started as `python -I -S supervisor.py FOLDER` (no site packages: it must be up in a few hundredths of a
second), it speaks with the agent by files in FOLDER only:

| file | by | what |
|---|---|---|
| `job.json`, `secrets.json` | agent | what to run (`JobFile`); the secrets are deleted once they are read |
| `cancel` | agent | its existence asks for the end |
| `limit.json` | agent | a later wall limit than the job's own, in seconds; read when that one is over |
| `claim` | supervisor | pid, start and boot of the one supervisor that may start this attempt |
| `state.json` | supervisor | `StateFile`, replaced as a whole |
| `sample.json` | supervisor | `SampleFile`, what the job took at the last look; not kept over a crash |
| `buried.json` | agent | the last word on an attempt whose supervisor is gone |
| `log` | supervisor | what the job printed, cleaned |
| `dial.sock` | supervisor | where the dialler inside is asked for a port, while a session runs |

Quotas cannot be counted on, so the disk limit is two things: one file cannot pass it (the kernel refuses),
and a job whose files together pass it is killed at the next look, half a second or more later.
"""

import os
import sys

if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # so that the agent has no child left to wait for
    sys.path.insert(0, __file__.rpartition("/mosu/site_agent/")[0])

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from mosu.kernel.refusals import DomainError
from mosu.sandbox import bubblewrap, watch
from mosu.sandbox.cgroups import Cgroup, Delegation, make_cgroup
from mosu.sandbox.dial_socket import listening
from mosu.sandbox.image_root import Image
from mosu.sandbox.starter import RunAs
from mosu.site_agent.card_use import CardWatch
from mosu.site_agent.files import read_json, read_json_if_whole, sync_folder, write_durably
from mosu.site_agent.job_files import (
    JobFile,
    MeasuresFile,
    SampleFile,
    StateFile,
    blank_state,
    network_of,
)
from mosu.site_agent.logs import LogCleaner
from mosu.site_agent.volume_lock import held_lock

TICK_S: Final = 0.1
LIMIT: Final = "limit.json"
STOP_GRACE_S_MAX: Final = 10.0
_KILL_PATIENCE_S: Final = 2.0
FoundT = TypeVar("FoundT")
SAMPLE_EVERY_S: Final = 2.0
CARDS_EVERY_S: Final = 5.0
_WATCH_SHARE: Final = 20
"""Looking may take one part in twenty of the time: a slow look makes the next one later."""


def claim(folder: Path, by: Any) -> bool:
    """Take the attempt, durably, in the name of `by`; False if anybody ever took it.

    The claim appears with its content in one step, so that nobody reads half of it.
    """
    draft = folder / f".claim.{os.uname().nodename}.{os.getpid()}"
    try:
        # All of it or an error: a part of it, as on a full disk, would be a claim that nobody can read.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(json.dumps(by).encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, folder / "claim")
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(folder)
    return True


def cgroup_of(folder: Path, job: JobFile) -> Cgroup | None:
    """The attempt's cgroup, whether it exists or not; None where none is delegated."""
    if job["delegation"] is None:
        return None
    version, parts = job["delegation"]
    return Cgroup(version, tuple((name, Path(part) / f"mosu-{folder.name}") for name, part in parts))


def supervise(folder: Path) -> None:
    """Run the attempt in `folder` from claim to final state; at once back if it was claimed before."""
    me = os.getpid()
    if claim(folder, [me, watch.start_ticks(me), watch.boot_id()]):
        job: JobFile = read_json(folder / "job.json")
        run_job(folder, job, taken_secrets(folder))


def taken_secrets(folder: Path) -> dict[str, str]:
    """The attempt's secrets, which are on the disk no more."""
    secrets: dict[str, str] = read_json(folder / "secrets.json") or {}
    (folder / "secrets.json").unlink(missing_ok=True)
    return secrets


def run_job(
    folder: Path,
    job: JobFile,
    secrets: dict[str, str],
    *,
    own: Path | None = None,
    log: IO[bytes] | None = None,
) -> StateFile:
    """Run what is claimed to its final state, which is on the disk then.

    `own`: where this node's part of the attempt keeps its state; `log`: where its output goes, if not into
    the attempt's.
    """
    own = own or folder
    if (folder / "cancel").exists():
        return finish(own, blank_state("cancelled"), reason="Cancelled before it started.")
    write_durably(own / "state.json", blank_state("preparing"))
    cgroup = _made_cgroup(folder, job)
    try:
        with (
            _volumes_held(job),
            nullcontext(log) if log else (folder / "log").open("ab", buffering=0) as out,
            listening(own) if job["network"] == "loopback" else nullcontext() as dial,
        ):
            sandbox = bubblewrap.start(
                _job_of(folder, job, secrets, dial),
                starter=Path(job["starter"]),
                who=RunAs(job["uid"], job["gid"]),
                cgroup=cgroup,
            )
            if dial is not None:
                dial.close()
            state = _Watch(folder, job, sandbox, own=own, cgroup=cgroup, log=out).until_end()
    except (DomainError, OSError) as error:
        state = blank_state("failed")
        state["reason"] = f"The sandbox could not be started: {error}"
    finally:
        if cgroup is not None:
            cgroup.remove()
    return finish(own, state, reason=state["reason"])


class VolumeTaken(DomainError):
    """Somebody else uses the volume, or nothing is left of it."""

    code = "volume_taken"


@contextmanager
def _volumes_held(job: JobFile) -> Iterator[None]:
    """The locks of the job's volumes are ours as long as we live: the hub lets one write at a time, and this holds
    it also where the hub was told that an attempt is lost, and it is not.

    Raises:
        VolumeTaken: another attempt on this pool has one of them.
    """
    with ExitStack() as held:
        for volume in job.get("volumes", ()):
            try:
                lock = held_lock(Path(volume["folder"]), writes=volume["writes"])
            except FileNotFoundError:
                raise VolumeTaken("The volume was deleted.", hint="Choose another.") from None
            if lock is None:
                raise VolumeTaken(
                    "The volume is still used by another attempt.", hint="Try again once that has ended."
                )
            held.callback(os.close, lock)
        yield


def finish(folder: Path, state: StateFile, *, reason: str) -> StateFile:
    """Write the last word."""
    state["reason"] = reason
    state["ended_at"] = state["ended_at"] or datetime.now(UTC).isoformat()
    write_durably(folder / "state.json", state)
    return state


def _made_cgroup(folder: Path, job: JobFile) -> Cgroup | None:
    if job["delegation"] is None:
        return None
    version, parts = job["delegation"]
    return make_cgroup(
        Delegation(version, tuple((name, Path(part)) for name, part in parts)),
        f"mosu-{folder.name}",
        memory_bytes=job["memory_bytes"],
        processes_max=_processes_max(job),
        cores=job["cores"],
    )


def _processes_max(job: JobFile) -> int:
    ours = (job["network"] == "loopback") + (
        job.get("service") is not None
    )  # the dialler, the child that asks
    return 256 + 64 * job["cores"] + ours


def _job_of(
    folder: Path, job: JobFile, secrets: dict[str, str], dial: socket.socket | None
) -> bubblewrap.Job:
    service, volumes, image = job.get("service"), job.get("volumes", []), job.get("image")
    return bubblewrap.Job(
        label=job["attempt_id"],
        setup=job["setup"],
        script=job["script"],
        workdir=folder / "work",
        environment=Path(job["environment"]),
        python=job["python"],
        limits=bubblewrap.Limits(
            cores=job["cores"],
            memory_bytes=job["memory_bytes"],
            file_bytes=max([job["disk_bytes"], *(one["size_bytes"] for one in volumes if one["writes"])]),
            processes_max=_processes_max(job),
            tmp_bytes=max(16 << 20, job["memory_bytes"] // 4),
        ),
        envs=job["envs"],
        secrets=secrets,
        cpus=job["cpus"],
        devices=[Path(path) for path in job["devices"]],
        network=network_of(job),
        dial=dial,
        service=None if service is None else bubblewrap.Service(**service),
        volumes=[
            bubblewrap.Volume(Path(one["folder"], "data"), one["path"], one["writes"]) for one in volumes
        ],
        image=None if image is None else Image(Path(image["root"]), image["envs"], image["drivers"]),
    )


class _Watch:
    """The running attempt: one thread, one loop, everything that may end it."""

    def __init__(
        self,
        folder: Path,
        job: JobFile,
        sandbox: bubblewrap.Sandbox,
        *,
        own: Path,
        cgroup: Cgroup | None,
        log: IO[bytes],
    ) -> None:
        self._folder, self._own = folder, own
        self._job, self._sandbox, self._cgroup, self._log = job, sandbox, cgroup, log
        self._cleaner = LogCleaner(bytes_max=job["log_bytes_max"])
        self._state = blank_state("preparing")
        self._state["pids"] = [
            (pid, watch.start_ticks(pid) or 0) for pid in (sandbox.first_pid, sandbox.process.pid)
        ]
        self._said = self._last = b""
        service = job.get("service")
        self._upkeep = None if service is None else _Upkeep(b"well" if service["health"] else b"started")
        self._began = time.monotonic()
        self._limit_s = job["wall_limit_s"]
        self._memory_peak = 0
        self._next_look = {"memory": 0.0, "disk": 0.0, "sample": 0.0, "cards": 0.0, "volumes": 0.0}
        self._volume_limits: dict[str, int] = {}
        self._cards = CardWatch(job["devices"])
        self._ended_by: tuple[str, str] | None = None
        self._stop_at = 0.0
        self._stops_made = 0

    def until_end(self) -> StateFile:
        with selectors.DefaultSelector() as selector:
            selector.register(self._sandbox.log, selectors.EVENT_READ, self._take_log)
            selector.register(self._sandbox.status, selectors.EVENT_READ, self._take_status)
            ended = os.pidfd_open(self._sandbox.process.pid)
            selector.register(ended, selectors.EVENT_READ, lambda: False)  # wakes the loop, nothing to read
            while self._sandbox.process.poll() is None:
                for key, _ in selector.select(TICK_S):
                    if not key.data():
                        selector.unregister(key.fileobj)
                self._look()
            while selector.get_map() and (ready := selector.select(0)):
                for key, _ in ready:
                    if not key.data():
                        selector.unregister(key.fileobj)
        os.close(ended)
        self._cards.close()
        self._log.write(self._cleaner.feed(b"", last=True))
        self._sandbox.log.close()
        self._sandbox.status.close()
        return self._final_state(time.monotonic())

    def _take_log(self) -> bool:
        raw = os.read(self._sandbox.log.fileno(), 65536)
        if raw:
            self._log.write(self._cleaner.feed(raw))
        return bool(raw)

    def _take_status(self) -> bool:
        """The sandbox's first process speaks in lines; the last is kept."""
        said = os.read(self._sandbox.status.fileno(), 4096)
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            if self._upkeep is not None:
                self._upkeep.hear(line, time.monotonic())
            if line == b"started" and self._state["phase"] == "preparing":
                self._began = time.monotonic()
                self._state["phase"], self._state["started_at"] = "running", datetime.now(UTC).isoformat()
                write_durably(self._own / "state.json", self._state)
            elif line.startswith(b"stopped "):
                told = f"mosu: the service ended with exit code {line[8:].decode()}\n".encode()
                self._log.write(self._cleaner.feed(told))
            elif line.startswith(b"ended "):
                self._last = line
        return bool(said)

    def _look(self) -> None:
        now = time.monotonic()
        if self._state["phase"] == "running":
            self._cards.hear(now)
            if not self._cards.is_asking and self._due("cards", now, every_s=CARDS_EVERY_S):
                self._cards.ask(now)
            if self._due("sample", now, every_s=SAMPLE_EVERY_S):
                self._timed("sample", self._sample)
        if self._ended_by is None:
            self._ended_by = self._why_end(now)
        if self._ended_by is not None and now >= self._stop_at and self._stops_made < 3:
            self._stop(now, gently=self._ended_by[0] in {"cancelled", "timed_out"})

    def _why_end(self, now: float) -> tuple[str, str] | None:
        """The phase and the reason for ending it now; None to let it run."""
        job = self._job
        if (self._folder / "cancel").exists():
            return "cancelled", "Cancelled."
        if now - self._began > self._limit_s:
            self._limit_s = max(self._limit_s, read_json_if_whole(self._folder / LIMIT) or 0)
        if now - self._began > self._limit_s:
            return "timed_out", f"Stopped at its wall limit of {self._limit_s:g} s."
        if self._cgroup is None and self._due("memory", now, every_s=TICK_S):
            used = self._timed("memory", self._memory_bytes)
            self._memory_peak = max(self._memory_peak, used)
            if used > job["memory_bytes"]:
                return "failed", f"memory: used {used} bytes, more than its {job['memory_bytes']}."
        if self._due("disk", now, every_s=0.5):
            found = self._timed("disk", self._why_end_for_disk)
            if found is not None:
                return found
        if job.get("volumes") and self._due("volumes", now, every_s=0.5):
            return self._timed("volumes", self._why_end_for_volumes)
        return None

    def _why_end_for_disk(self) -> tuple[str, str] | None:
        work = self._folder / "work"
        named = watch.folder_bytes(work)
        if named is None:
            return (
                "failed",
                "disk: its working folder has parts that are too deep or too closed to be measured.",
            )
        # A file that was deleted takes its room until whoever holds it open lets go.
        used = named + watch.unlinked_bytes(self._sandbox.first_pid, device=work.stat().st_dev)
        if used > self._job["disk_bytes"]:
            return "failed", f"disk: its files took {used} bytes, more than its {self._job['disk_bytes']}."
        return None

    def _why_end_for_volumes(self) -> tuple[str, str] | None:
        """A volume that was over its size before may be put in order, and may not grow: up to twice its size."""
        own = (self._folder / "work").stat().st_dev
        for volume in self._job.get("volumes", ()):
            data, size = Path(volume["folder"], "data"), volume["size_bytes"]
            if not volume["writes"]:
                continue
            used = watch.folder_bytes(data)
            if used is None:
                return (
                    "failed",
                    f"volume: {volume['path']} has parts that are too deep or too closed to be measured.",
                )
            if (device := data.stat().st_dev) != own:
                used += watch.unlinked_bytes(self._sandbox.first_pid, device=device)
            limit = self._volume_limits.setdefault(volume["name"], max(size, min(used, 2 * size)))
            if used > limit:
                return "failed", f"volume: {volume['path']} took {used} bytes, more than its {size}."
        return None

    def _sample(self) -> None:
        cards = self._cards.use
        sample = SampleFile(
            at=datetime.now(UTC).isoformat(),
            cpu_s=round(watch.tree_cpu_s(self._sandbox.first_pid), 2),
            memory_bytes=self._memory_bytes(),
            accelerator_util=None if cards is None else cards.util,
            accelerator_memory_bytes=None if cards is None else cards.memory_bytes,
        )
        with suppress(OSError):  # a full disk, say: nobody's run ends because it could not be watched
            write_durably(self._own / "sample.json", sample, to_disk=False)

    def _memory_bytes(self) -> int:
        return watch.tree_memory_bytes(self._sandbox.first_pid, exact_above=self._job["memory_bytes"])

    def _due(self, what: str, now: float, *, every_s: float) -> bool:
        if now < self._next_look[what]:
            return False
        self._next_look[what] = now + every_s
        return True

    def _timed(self, what: str, look: Callable[[], FoundT]) -> FoundT:
        before = time.monotonic()
        found = look()
        took = time.monotonic() - before
        self._next_look[what] = max(self._next_look[what], before + _WATCH_SHARE * took)
        return found

    def _stop(self, now: float, *, gently: bool) -> None:
        """The next harder way to stop it: ask, kill all but the first process (which measures), kill all."""
        if self._stops_made == 0 and gently:
            self._sandbox.ask_to_stop()
            self._stop_at = now + self._job["stop_grace_s"]
            self._stops_made = 1
        elif self._stops_made <= 1:
            self._sandbox.kill_inside()
            self._stop_at = now + _KILL_PATIENCE_S
            self._stops_made = 2
        else:
            self._sandbox.kill()
            self._stops_made = 3

    def _final_state(self, ended: float) -> StateFile:
        exit_code, cpu_s = _told(self._last)
        state = self._state
        if self._ended_by is not None:
            state["phase"], state["reason"] = self._ended_by
        else:
            state["phase"] = "succeeded" if exit_code == 0 else "failed"
            state["reason"] = self._why_failed(exit_code)
        if state["started_at"] is None:
            state["phase"] = "failed" if self._ended_by is None else state["phase"]
        state["exit_code"] = exit_code
        state["ended_at"] = datetime.now(UTC).isoformat()
        state["measures"] = self._measures(ended, cpu_s)
        return state

    def _why_failed(self, exit_code: int | None) -> str:
        if exit_code == 0:
            return ""
        if self._cgroup is not None and self._cgroup.killed_for_memory():
            return f"memory: killed by the kernel at its {self._job['memory_bytes']} bytes."
        if exit_code is None:
            return "The sandbox was killed from outside."
        return f"Ended with exit code {exit_code}."

    def _measures(self, ended: float, cpu_s: float) -> MeasuresFile | None:
        if self._state["started_at"] is None:
            return None
        measured = None if self._cgroup is None else self._cgroup.memory_peak_bytes()
        found = MeasuresFile(
            cpu_s=cpu_s,
            wall_s=round(ended - self._began, 3),
            memory_peak_bytes=self._memory_peak if measured is None else measured,
            memory_source="sampled" if measured is None else "cgroup",
        )
        if self._upkeep is not None:
            found["uptime_s"], found["restarts"] = self._upkeep.uptime_s(ended), self._upkeep.restarts
        return found


class _Upkeep:
    """How long a service was well, and how often it was started again."""

    def __init__(self, well: bytes) -> None:
        self._well = well
        """The line that says so."""
        self._starts = 0
        self._up_s = 0.0
        self._up_since: float | None = None

    @property
    def restarts(self) -> int:
        return max(0, self._starts - 1)

    def uptime_s(self, now: float) -> float:
        return round(self._up_s + (0.0 if self._up_since is None else now - self._up_since), 3)

    def hear(self, line: bytes, now: float) -> None:
        """What the sandbox's first process says of it."""
        self._starts += line == b"started"
        if line == self._well:
            self._up_since = now
        elif line.startswith(b"stopped ") and self._up_since is not None:
            self._up_s, self._up_since = self._up_s + now - self._up_since, None


def _told(said: bytes) -> tuple[int | None, float]:
    """Exit code and CPU seconds as the sandbox's first process wrote them; None and 0 if it was killed."""
    if not said:
        return None, 0.0
    _, code, cpu_micros = map(bytes.decode, said.split())
    return (int(code) if int(code) >= 0 else 128 - int(code)), int(cpu_micros) / 1_000_000


if __name__ == "__main__":
    os.umask(0o077)
    supervise(Path(sys.argv[1]))
