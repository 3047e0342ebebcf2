"""How a leg and its agent prove to each other who they are. Standard library only.

Both know the session's key, which no connection ever carries: what is said is an HMAC of it over a nonce of each side,
so neither who listens at a stolen address nor who heard an earlier proof learns what opens anything. The key that
proves is `bound` to where the agent listens: who stands at an address of before can pass no proof on to that of today.

| by | bytes | what |
|---|---|---|
| agent | `SIGN`, 32 | what it is, and a nonce |
| leg | 1, so many, 32, 32 | the length of the session's name, the name, a nonce, its proof |
| agent | 32 | its proof |
"""

import asyncio
import hmac
import os
import socket
from collections.abc import Callable
from typing import Final

SIGN: Final = b"mosu leg 1\n"
NAME_BYTES_MAX: Final = 64
_BYTES: Final = 32
"""Of a nonce, of a proof (SHA-256), and of a key."""


class Unproven(Exception):
    """Who is there is not who they should be; nothing was told to them."""


def new_key() -> bytes:
    return os.urandom(_BYTES)


def bound(key: bytes, at: tuple[str, int]) -> bytes:
    """The session's key as it proves at that address alone."""
    return hmac.digest(key, f"{at[0]}:{at[1]}".encode(), "sha256")


async def prove_to_agent(door: socket.socket, name: str, key: bytes) -> None:
    """The leg's side.

    Raises:
        Unproven: it is not the agent that made the key, or it does not know this session.
        OSError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    said = await exactly(door, len(SIGN) + _BYTES)
    if said[: len(SIGN)] != SIGN:
        raise Unproven("what answers there is no agent")
    agents, legs = said[len(SIGN) :], os.urandom(_BYTES)
    called = name.encode()
    ours = _proof(key, b"leg", called, agents, legs)
    await loop.sock_sendall(door, bytes([len(called)]) + called + legs + ours)
    if not hmac.compare_digest(await exactly(door, _BYTES), _proof(key, b"agent", called, agents, legs)):
        raise Unproven("what answers there is another agent")


async def prove_to_leg(door: socket.socket, key_of: Callable[[str], bytes | None]) -> str:
    """The agent's side: the session's name.

    Raises:
        Unproven: it is nobody's leg.
        OSError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    agents = os.urandom(_BYTES)
    await loop.sock_sendall(door, SIGN + agents)
    length = (await exactly(door, 1))[0]
    if not 0 < length <= NAME_BYTES_MAX:
        raise Unproven("it speaks something else")
    said = await exactly(door, length + 2 * _BYTES)
    called, legs, theirs = said[:length], said[length:-_BYTES], said[-_BYTES:]
    name = called.decode("ascii", "replace")
    key = key_of(name)
    # As much is reckoned for a session that is none, so nobody finds out by the time which there are.
    if not hmac.compare_digest(theirs, _proof(key or agents, b"leg", called, agents, legs)) or key is None:
        raise Unproven("its proof is wrong")
    await loop.sock_sendall(door, _proof(key, b"agent", called, agents, legs))
    return name


async def exactly(door: socket.socket, count: int) -> bytes:
    """
    Raises:
        ConnectionError: the other side ended before.
    """
    loop = asyncio.get_running_loop()
    came = b""
    while len(came) < count:
        part = await loop.sock_recv(door, count - len(came))
        if not part:
            raise ConnectionResetError("the other side closed the connection")
        came += part
    return came


def _proof(key: bytes, who: bytes, name: bytes, agents: bytes, legs: bytes) -> bytes:
    return hmac.digest(key, SIGN + who + bytes([len(name)]) + name + agents + legs, "sha256")
