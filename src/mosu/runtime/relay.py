"""The hub's relay (`python -m mosu.runtime.relay`): joins people with the ports of their sessions."""

import argparse
import gc
import socket
from typing import Final

import django
import uvicorn

from mosu.kernel.descriptors import open_as_many_as_may_be
from mosu.kernel.memory import keep_freed_memory, nothing_collected
from mosu.runtime.relay_protocols import BoundedWebSocket
from mosu.wire.websocket import MESSAGE_BYTES_MAX

_PING_S: Final = 20.0
"""Keeps proxies from closing what is quiet. Nobody is cut for not answering: who waits for a slow reader cannot."""
_OF_EACH: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""What is accepted inherits it (tcp(7)). Small messages go at once: asyncio does not see that what uvicorn binds is
TCP, and else the kernel keeps one back until the last is acknowledged, up to 40 ms. Who vanished is noticed after a
minute where nothing was on its way to them. After a ping something is: there `BoundedWebSocket` looks when they last
acknowledged anything.
"""
_STOP_S_MAX: Final = 5


def main() -> None:
    """Serve until SIGTERM."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--host", required=True)
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--ssh-port", type=int)
    asked = words.parse_args()
    with nothing_collected():
        django.setup()
    keep_freed_memory()
    open_as_many_as_may_be()
    # Its models exist once Django is set up.
    from mosu.compute.relay.app import application
    from mosu.runtime.app_requests import AppRequest

    if asked.ssh_port is not None:
        application.state.ssh_at = asked.host, asked.ssh_port
    config = uvicorn.Config(
        application,
        host=asked.host,
        port=asked.port,
        http=AppRequest,
        ws=BoundedWebSocket,
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",  # at "info" it writes down addresses, and apps' carry tokens
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_S_MAX,
    )
    gc.collect()
    gc.freeze()  # what is here stays: to look it over for garbage takes 0.1 s, in which nobody is answered
    uvicorn.Server(config).run([bound(config)])


def bound(config: uvicorn.Config) -> socket.socket:
    """The socket at which the relay listens."""
    listener = config.bind_socket()
    for level, name, value in _OF_EACH:
        listener.setsockopt(level, name, value)
    return listener


if __name__ == "__main__":
    main()
