"""Standard input and output joined to a session's ssh: what `ssh` calls as its ProxyCommand."""

import asyncio
import os
import socket
import sys
import threading
import time
from typing import Final

from mosu.cli.certified import kept_relay
from mosu.cli.stop import Stop, stop_of
from mosu.cli.text import language
from mosu.client.config import headers_of, load_profile
from mosu.client.errors import ProblemError
from mosu.client.relay import Relay, Traffic, may_be_told_the_token
from mosu.wire.ssh import SSH_PORT, SSHD

_CHUNK_BYTES: Final = 64 * 1024
_STARTS_S_MAX: Final = 30.0
"""So long after the session runs, its server may not listen yet, nor any way lead to its node."""
_NOT_JOINED: Final = "not_joined"
_AGAIN_S: Final = 0.2
_OPENED_AGAIN_S: Final = 1.0
"""Each that was opened is on record."""
_NO_SERVER: Final = f"Its log says why: mosu logs. What runs in an image has ssh only if that brings {SSHD}."


def carried(run_id: str) -> int | None:
    """The exit code of what `ssh` calls, by the way that `mosu ssh` noted a moment ago: without a question to the hub
    and all that asking takes, for which each `ssh` would wait. None if there is none, or it leads nowhere any more:
    then nothing was taken from standard input.
    """
    try:
        profile = load_profile()
        hub_url = profile.url.rstrip("/")
        url = kept_relay(run_id, hub_url=hub_url)
        if url is None or not may_be_told_the_token(url, hub_url=hub_url):
            return None
        piped(Relay(url, headers_of(profile.token, language())))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, ProblemError) and error.code != _NOT_JOINED:
            return None  # the hub knows more of it
        if (stop := stop_of(error)) is None:
            raise
        sys.stderr.write(stop.text())
        return stop.code
    return 0


def piped(relay: Relay) -> None:
    """Carry bytes until the session's server has ended the connection, or `ssh` is gone.

    Raises:
        ClientError: the connection was refused, or ended before its end.
        Stop: no server speaks there.
    """
    until = time.monotonic() + _STARTS_S_MAX
    while True:
        try:
            if asyncio.run(_joined(relay)):
                return
        except ProblemError as refused:
            if refused.code != _NOT_JOINED or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
        else:  # some ways open before it is known whether anybody listens
            if time.monotonic() > until:
                raise Stop("No ssh server answers in this session.", hint=_NO_SERVER)
            time.sleep(_OPENED_AGAIN_S)


async def _joined(relay: Relay) -> bool:
    """Whether anything came, once it is over."""
    ours, theirs = socket.socketpair()
    carrying = threading.Thread(target=_carry, args=(ours,), daemon=True)
    carrying.start()
    traffic = Traffic()
    await relay.join(SSH_PORT, theirs, traffic)
    await asyncio.to_thread(carrying.join)
    return traffic.bytes_out > 0


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
