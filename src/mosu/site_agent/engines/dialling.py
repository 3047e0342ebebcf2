"""A person's way to a port of a sandbox: asked of the dialler inside, believed of nobody. Standard library only."""

import ipaddress
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from mosu.kernel.reaching import CROWDED, NotReached
from mosu.sandbox.dial_socket import short_path

PATIENCE_S: Final = 5.0
_NUMBER_BYTES: Final = struct.calcsize("i")
_NOT_LINGERING: Final = struct.pack("ii", 0, 0)


def dialled(folder: Path, port: int) -> socket.socket:
    """A TCP connection to the port on the own loopback of the sandbox whose `dial.sock` lies in `folder`.

    It blocks, and no child inherits it. What answers may be the task itself, which can pass anything: all but one
    such connection is closed and refused.

    Raises:
        NotReached: there is none; it says why within `PATIENCE_S`.
    """
    try:
        with (
            short_path(folder) as path,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dialler,
        ):
            dialler.settimeout(PATIENCE_S)
            dialler.connect(path)
            dialler.sendall(port.to_bytes(2, "big"))
            answer, given, whole = _answer_of(dialler)
    except FileNotFoundError:
        raise NotReached("It is not running, or it is no session.") from None
    except BlockingIOError:
        raise NotReached(CROWDED) from None
    except TimeoutError:
        raise NotReached(f"Its port {port} did not answer in time.") from None
    except ConnectionError:
        raise NotReached(
            "What joins people to its ports has ended: the task killed it, or is ending."
        ) from None
    except OSError as error:
        raise NotReached(f"Its machine cannot open a way to it: {error.strerror}.") from error
    if answer == b"0" and len(given) == 1 and whole:
        return _checked(given[0], port)
    for fd in given:
        _let_go(fd)
    if answer == b"1" and not given:
        raise NotReached(f"Nothing listens on its port {port}.")
    if not answer:
        raise NotReached(f"Its port {port} did not answer in time.")
    raise NotReached(f"What answers for its port {port} is no connection.")


def _answer_of(dialler: socket.socket) -> tuple[bytes, list[int], bool]:
    """The answer's bytes, what descriptors came with it, and whether that was all."""
    # There is room for two: one too many is seen, the rest the kernel closes.
    room = socket.CMSG_SPACE(2 * _NUMBER_BYTES)
    answer, extras, flags, _ = dialler.recvmsg(2, room, socket.MSG_CMSG_CLOEXEC)
    given: list[int] = []
    for level, kind, data in extras:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            count = len(data) // _NUMBER_BYTES
            given += struct.unpack(f"{count}i", data[: count * _NUMBER_BYTES])
    return answer, given, not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)


def _checked(fd: int, port: int) -> socket.socket:
    """The descriptor as a TCP connection to the port of a loopback; anything else is closed.

    Raises:
        NotReached: it is anything else.
    """
    try:
        found = socket.socket(fileno=fd)  # refuses what is no socket
    except OSError:
        os.close(fd)
        raise NotReached(f"What answers for its port {port} is no connection.") from None
    if _joins(found, port):
        # These are the file's own, so of everybody who holds it.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_LINGERING)
        found.setblocking(True)
        return found
    _let_go(found.detach())
    raise NotReached(f"What answers for its port {port} is no connection.")


def _joins(found: socket.socket, port: int) -> bool:
    if (
        found.family not in {socket.AF_INET, socket.AF_INET6}
        or found.type != socket.SOCK_STREAM
        or found.proto != socket.IPPROTO_TCP
    ):
        return False
    try:
        here, there = found.getsockname(), found.getpeername()
    except OSError:  # it listens, or is not connected
        return False
    # TCP connects a port to itself where the kernel picks it for our side and nobody listens there.
    return ipaddress.ip_address(there[0]).is_loopback and there[1] == port and here != there


def _let_go(fd: int) -> None:
    """Close it at once: whoever passed a socket may have set it to linger, for hours."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:  # no socket
        os.close(fd)
        return
    with found, suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_LINGERING)
