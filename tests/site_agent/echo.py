"""A port of a session that sends back what it is sent, and a client that compares."""

import socket
from concurrent.futures import ThreadPoolExecutor

ECHO = """
import os, socket, threading
def serve(joined):
    while data := joined.recv(65536):
        joined.sendall(data)
    joined.sendall(b" end"); joined.close()
server = socket.create_server(("127.0.0.1", 8000), backlog=200)
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
"""It says ` end` after the other side has ended."""


def echoed(joined: socket.socket, data: bytes) -> bytes:
    """What comes back of it, to its end."""
    with joined, ThreadPoolExecutor(1) as sending:

        def send() -> None:
            joined.sendall(data)
            joined.shutdown(socket.SHUT_WR)

        sent = sending.submit(send)
        came = b"".join(iter(lambda: joined.recv(1 << 16), b""))
        sent.result(120)
        return came
