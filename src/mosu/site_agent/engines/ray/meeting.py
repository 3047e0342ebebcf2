"""Whether people come to sessions on Ray's nodes: found out by a job on each that waits for the agent.

Ray starts nothing beside a job that runs. So the only way to a session is the socket in its folder, which joins
processes of one machine, whatever file system the folder lies on.
"""

import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from mosu.sandbox.dial_socket import DIAL_SOCKET, short_path
from mosu.site_agent.engines.ray.api import RayApi, RayAway, RayNode
from mosu.site_agent.engines.ray.payload import MET_BYTES, MET_S_MAX
from mosu.site_agent.files import remove_tree
from mosu.wire.ssh import SSHD

_COMES_S_MAX: Final = 30.0
"""So long a node may take to begin the job: where none is free now, nothing is found out."""
_LOOK_S: Final = 0.1
_ELSEWHERE: Final = (
    "No sessions are sold: node {node} is another machine than the agent's, or another user's, and Ray starts nothing "
    "beside a job that would lead to it ({why}). Run the agent on the only node, as Ray's user."
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


def met(api: RayApi, node: RayNode, folder: Path, *, command: Command, resources: dict[str, float]) -> Met:
    """Meet a job on the node, in a folder of its own below `folder`.

    Raises:
        RayAway: it could not be asked.
    """
    place = folder / uuid.uuid4().hex
    place.mkdir(mode=0o700, parents=True)
    job = f"{place.name}-meeting"
    try:
        api.submit(job, command("--meet", place, SSHD), entrypoint_resources=resources)
        return _met(node, place)
    finally:
        with suppress(RayAway):
            api.stop(job)
        remove_tree(place)


def _met(node: RayNode, place: Path) -> Met:
    until = time.monotonic() + _COMES_S_MAX
    while not (place / DIAL_SOCKET).exists():
        if time.monotonic() > until:
            return Met(_LATE.format(node=node.name, s=_COMES_S_MAX))
        time.sleep(_LOOK_S)
    until = time.monotonic() + MET_S_MAX
    while True:  # the file is there a moment before anybody listens
        try:
            with short_path(place) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
                asked.settimeout(MET_S_MAX)
                asked.connect(path)
                said = asked.recv(MET_BYTES)
        except OSError as error:
            if not isinstance(error, ConnectionRefusedError) or time.monotonic() > until:
                return Met(_ELSEWHERE.format(node=node.name, why=error.strerror or str(error)))
            time.sleep(_LOOK_S)
            continue
        return Met("", has_sshd=said == b"y")
