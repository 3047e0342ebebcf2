"""Whether people come to sessions on Ray's nodes, and how: found out by a job on each that waits for the agent.

Ray starts nothing beside a job that runs. So a session is met by the socket in its folder, which joins processes of one
machine, whatever file system the folder lies on; or its leg comes to the agent.
"""

import socket
import time
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
_ELSEWHERE: Final = (
    "No sessions are sold: on node {node} nobody can be joined to one. The socket in its folder does not lead there "
    "({socket}), and no leg comes from there to {at} ({leg}). Let the node open TCP connections to {at}, or say with "
    "[ray] legs_at where it may; then start the agent again."
)
_NOWHERE: Final = (
    "No sessions are sold: the socket in the folder of a session does not lead to node {node} ({socket}), and there is "
    "no port to which its leg could come ({leg}). Say with [ray] legs_at where this machine may listen; then start the "
    "agent again."
)
_LATE: Final = (
    "No sessions are sold: node {node} began no job within {s:.0f} s to try it with. It is tried again when the agent "
    "starts."
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
