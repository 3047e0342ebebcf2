"""Standard input and output joined to a session's ssh: what `ssh` calls as its ProxyCommand."""

import asyncio
import os
import socket
import threading
import time
from typing import Final

from mosu.client.errors import ProblemError
from mosu.client.relay import Relay, Traffic
from mosu.wire.ssh import SSH_PORT

_CHUNK_BYTES: Final = 64 * 1024
_STARTS_S_MAX: Final = 30.0
"""So long after the session runs, its server may not listen yet, nor any way lead to its node."""
_AGAIN_S: Final = 0.2


def piped(relay: Relay) -> None:
    """Carry bytes until the session's server has ended the connection, or `ssh` is gone.

    Raises:
        ClientError: the connection was refused, or ended before its end.
    """
    until = time.monotonic() + _STARTS_S_MAX
    while True:
        try:
            return asyncio.run(_joined(relay))
        except ProblemError as refused:
            if refused.code != "not_joined" or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)


async def _joined(relay: Relay) -> None:
    ours, theirs = socket.socketpair()
    carrying = threading.Thread(target=_carry, args=(ours,), daemon=True)
    carrying.start()
    await relay.join(SSH_PORT, theirs, Traffic())
    await asyncio.to_thread(carrying.join)


def _carry(ours: socket.socket) -> None:
    """What comes, to standard output. Nothing is taken from standard input before the server has spoken, which it
    does first: a connection that is refused is tried again, and must have swallowed nothing."""
    is_first = True
    with ours:
        while data := _received(ours):
            if is_first:
                is_first = False
                threading.Thread(target=_send, args=(ours,), daemon=True).start()
            try:
                while data:
                    data = data[os.write(1, data) :]
            except BrokenPipeError:
                return


def _received(ours: socket.socket) -> bytes:
    try:
        return ours.recv(_CHUNK_BYTES)
    except ConnectionResetError:
        return b""


def _send(ours: socket.socket) -> None:
    try:
        while data := os.read(0, _CHUNK_BYTES):
            ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the one who receives learns of the end
