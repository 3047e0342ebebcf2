"""Whether people come to sessions on Ray's nodes, and how: found out by a job on each that waits for the agent.

Ray starts nothing beside a job that runs. So a session is met by the socket in its folder, which joins processes of one
machine, whatever file system the folder lies on; or its leg comes to the agent.
"""

import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.reaching import NotReached
from mosu.sandbox.dial_socket import short_path
from mosu.site_agent.engines.ray.api import RayApi, RayAway, RayNode
from mosu.site_agent.engines.ray.legs import Legs
from mosu.site_agent.engines.ray.payload import MET_BYTES, READY_FILE
from mosu.site_agent.files import remove_tree
from mosu.wire.ssh import SSH_PORT, SSHD

_COMES_S_MAX: Final = 30.0
"""So long a node may take to begin the job: where none is free now, nothing is found out."""
MET_S_MAX: Final = 20.0
"""So long its leg may take: a shared folder tells it late that it is wanted."""
_LOOK_S: Final = 0.1
_AT_ONCE_MAX: Final = 16
AGAIN_S_MIN: Final = 60.0
"""After what did not work; twice as long after each further time, since each is a process on the node meanwhile."""
AGAIN_S_MAX: Final = 3600.0
_ELSEWHERE: Final = (
    "No sessions are sold on node {node}: the socket in the folder of a session does not lead there "
    "({socket}), and no leg comes from there to {at} ({leg}). Let the node open TCP connections to {at}: it is tried "
    "again. Or say with [ray] legs_at where it may, and start the agent again."
)
_NOWHERE: Final = (
    "No sessions are sold on node {node}: the socket in the folder of a session does not lead there ({socket}), and "
    "there is no port to which its leg could come ({leg}). Say with [ray] legs_at where this machine may listen; then "
    "start the agent again."
)
_LATE: Final = (
    "No sessions are sold on node {node}: it began no job within {s:.0f} s to try it with. It is tried again."
)


class Command(Protocol):
    def __call__(self, *words: str | Path) -> str: ...


@dataclass(frozen=True, slots=True)
class Met:
    """What was found of one node."""

    why_not: str
    """Empty if the agent and a job there came together."""
    has_sshd: bool = False
    by_leg: bool = False
    """Its sessions need one."""


class Meetings:
    """What is found of each node. One that was met stays so; one that was not is tried again, ever less often, while
    people are joined to the others."""

    def __init__(self, meet: Callable[[RayNode], Met]) -> None:
        self._meet = meet
        self._guard = threading.Lock()
        self._met: dict[str, Met] = {}
        self._wait_s: dict[str, float] = {}
        self._again_at: dict[str, float] = {}
        """Of those that were not met."""

    def of(self, name: str) -> Met | None:
        """What is found of the node; None if it was not tried yet."""
        return self._met.get(name)

    def found(self, nodes: Sequence[RayNode]) -> Mapping[str, Met]:
        """Of these nodes, by name. Who asks of one that is new waits until it was tried.

        Raises:
            RayAway: it could not be asked.
            OSError: the shared folder cannot be used.
        """
        with self._guard:
            if unknown := [node for node in nodes if node.name not in self._met]:
                with ThreadPoolExecutor(_AT_ONCE_MAX, "meet") as threads:
                    for node, found in zip(unknown, threads.map(self._meet, unknown), strict=True):
                        self._note(node, found)
            due = [node for node in nodes if time.monotonic() > self._again_at.get(node.name, math.inf)]
            for node in due[:_AT_ONCE_MAX]:
                self._again_at[node.name] = math.inf
                threading.Thread(target=self._try_again, args=(node,), name="meet", daemon=True).start()
            return {node.name: self._met[node.name] for node in nodes}

    def _try_again(self, node: RayNode) -> None:
        try:
            found = self._meet(node)
        except (RayAway, OSError):
            found = self._met[node.name]
        with self._guard:
            self._note(node, found)

    def _note(self, node: RayNode, found: Met) -> None:
        self._met[node.name] = found
        if found.why_not:
            wait_s = self._wait_s.get(node.name, AGAIN_S_MIN)
            self._wait_s[node.name] = min(2 * wait_s, AGAIN_S_MAX)
            self._again_at[node.name] = time.monotonic() + wait_s


def met(
    api: RayApi, node: RayNode, folder: Path, *, legs: Legs, command: Command, resources: dict[str, float]
) -> Met:
    """Meet a job on the node, in a folder of its own below `folder`.

    Raises:
        RayAway: it could not be asked.
        OSError: the folder cannot be used.
    """
    place = folder / typeid("attempt", uuid7())
    place.mkdir(mode=0o700, parents=True)
    job = f"{place.name}-meeting"
    try:
        api.submit(job, command("--meet", place, SSHD), entrypoint_resources=resources)
        return _met(api, node, place, job, legs)
    finally:
        legs.end(place)
        with suppress(RayAway):
            api.stop(job)
        remove_tree(place)


def _met(api: RayApi, node: RayNode, place: Path, job: str, legs: Legs) -> Met:
    until = time.monotonic() + _COMES_S_MAX
    while not (place / READY_FILE).exists():
        if time.monotonic() > until:
            return Met(_LATE.format(node=node.name, s=_COMES_S_MAX))
        time.sleep(_LOOK_S)
    try:
        return Met("", has_sshd=_said_at(place) == b"y")
    except OSError as error:
        why = error.strerror or str(error)
    try:
        at = "{}:{}".format(*legs.listen(node.ip))
        legs.invite(place)
    except OSError as error:
        return Met(_NOWHERE.format(node=node.name, socket=why, leg=error.strerror or error))
    try:
        with legs.connect(place, SSH_PORT, patience_s=MET_S_MAX) as asked:
            asked.settimeout(MET_S_MAX)
            if said := asked.recv(MET_BYTES):
                return Met("", has_sshd=said == b"y", by_leg=True)
            raise ConnectionResetError("it ended before it said anything")
    except (NotReached, OSError) as error:
        with suppress(RayAway):  # what the node has to say of it is nearer to the truth
            error = NotReached(api.output(job).rpartition("\n")[2] or error)
        return Met(_ELSEWHERE.format(node=node.name, socket=why, at=at, leg=error))


def _said_at(place: Path) -> bytes:
    """
    Raises:
        OSError: the socket does not lead to who listens at it.
    """
    with short_path(place) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(MET_S_MAX)
        asked.connect(path)
        return asked.recv(MET_BYTES)
