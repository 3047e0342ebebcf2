"""Whether people come to sessions on this cluster, by `ssh` too: found out with a job that waits for that alone."""

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import DomainError
from mosu.site_agent.engines.slurm import commands
from mosu.site_agent.engines.slurm.commands import RUNNING, SlurmAway
from mosu.site_agent.engines.slurm.legs import Legs
from mosu.site_agent.engines.slurm.options import SlurmOptions
from mosu.site_agent.files import read_json_if_whole, write_durably
from mosu.wire.ssh import SSHD

NODE_S_MAX: Final = 20.0
"""So long it waits for a node: where none is free now, nothing is found out."""
COMMENT: Final = "mosu try"
_LOOK_S: Final = 0.25
_SCRIPT: Final = "#!/bin/sh\nexec sleep 100\n"
AGAIN_S_MIN: Final = 60.0
"""After what did not work; twice as long after each further time, since each takes a core for a while."""
AGAIN_S_MAX: Final = 3600.0
_WITHOUT_IT: Final = "The agent tries it again; or set [slurm] sessions = true or false."


@dataclass(frozen=True, slots=True)
class Tried:
    """What was found on one node, and is taken for all."""

    why_not: str
    """Why no leg comes there, and what mends that; empty if one did."""
    has_sshd: bool = False


class Trying:
    """What one agent knows of it: what worked is kept in the file `kept`, what did not is tried again."""

    def __init__(self, legs: Legs, options: SlurmOptions, attempts: Path, *, kept: Path) -> None:
        self._legs, self._options, self._attempts, self._kept = legs, options, attempts, kept
        self._guard = threading.Lock()
        self._last: Tried | None = None
        self._wait_s, self._again_at = AGAIN_S_MIN, math.inf

    def found(self) -> Tried:
        """Who asks first waits until it was tried; all others hear what was found last."""
        with self._guard:
            if self._last is None and (known := read_json_if_whole(self._kept)):
                self._last = Tried("", has_sshd=known["has_sshd"])
            if self._last is None:
                self._note(self._tried())
            elif time.monotonic() > self._again_at:
                self._again_at = math.inf
                threading.Thread(target=self._try_again, name="sessions", daemon=True).start()
            assert self._last is not None  # noqa: S101 - noted above
            return self._last

    def _try_again(self) -> None:
        found = self._tried()
        with self._guard:
            self._note(found)

    def _tried(self) -> Tried:
        return tried(self._legs, self._options, self._attempts)

    def _note(self, found: Tried) -> None:
        self._last = found
        if not found.why_not:
            write_durably(self._kept, {"has_sshd": found.has_sshd})
            return
        self._again_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, AGAIN_S_MAX)


def tried(legs: Legs, options: SlurmOptions, attempts: Path) -> Tried:
    """Begin a leg on a node of this cluster, and look for OpenSSH's server there.

    The job has one core for as long as that takes, two minutes at most, in the agent's own name.
    """
    try:
        job_id = commands.submit(_SCRIPT, _arguments(options))
        try:
            if not _runs(job_id):
                return Tried(
                    f"No sessions are sold: no node was free within {NODE_S_MAX:.0f} s to try it on. {_WITHOUT_IT}"
                )
            legs.open(attempts, job_id=job_id)
            return Tried("", has_sshd=commands.holds_in(job_id, "test", "-x", SSHD))
        finally:
            with suppress(SlurmAway):
                commands.end(job_id)
            legs.end(attempts.name)
    except (DomainError, SlurmAway, NotReached, OSError) as why:  # a busy machine may start no process now
        return Tried(f"No sessions are sold, since a step beside a job does not begin: {why} {_WITHOUT_IT}")


def _runs(job_id: int) -> bool:
    patience = time.monotonic() + NODE_S_MAX
    while time.monotonic() < patience:
        if commands.state_of(job_id) in RUNNING:
            return True
        time.sleep(_LOOK_S)
    return False


def _arguments(options: SlurmOptions) -> list[str]:
    wanted = {
        "job-name": typeid("attempt", uuid7()),  # as all of our jobs are called, a node's test too
        "comment": COMMENT,
        "time": "2",
        "nodes": "1",
        "ntasks": "1",
        "mem": "256M",
        "output": "/dev/null",
        "chdir": "/",
        **options.of_every_job,
    }
    return commands.arguments_of(wanted)
