"""What an agent believes of what answers for a session's ports: the task may be what answers."""

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.site_agent.lab import until

from mosu.kernel.reaching import NotReached
from mosu.sandbox.dial_socket import DIAL_SOCKET, listening
from mosu.site_agent.engines import dialling
from mosu.site_agent.engines.dialling import dialled

Answers = Callable[[socket.socket, ExitStack, int], None]
"""What an imitator does with its caller; what it opens it gives to the stack, which closes it in the end."""


@contextmanager
def imitated(folder: Path, answers: Answers, port: int) -> Iterator[None]:
    """Something else than the dialler answers one caller meanwhile."""

    def serve() -> None:
        with ExitStack() as opened:
            caller = opened.enter_context(listener.accept()[0])
            assert caller.recv(2) == port.to_bytes(2, "big")
            answers(caller, opened, port)

    with listening(folder) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    """Of this machine's own loopback, where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def passes(*opening: Callable[[ExitStack, int], int], says: bytes = b"0") -> Answers:
    """An answer with these descriptors."""

    def answers(caller: socket.socket, opened: ExitStack, port: int) -> None:
        socket.send_fds(caller, [says], [way(opened, port) for way in opening])

    return answers


def says(words: bytes) -> Answers:
    def answers(caller: socket.socket, _opened: ExitStack, _port: int) -> None:
        caller.sendall(words)

    return answers


def a_file(opened: ExitStack, _port: int) -> int:
    return opened.enter_context(Path(__file__).open("rb")).fileno()


def a_device(opened: ExitStack, _port: int) -> int:
    return opened.enter_context(Path("/dev/null").open("rb")).fileno()


def a_folder(opened: ExitStack, _port: int) -> int:
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    opened.callback(os.close, fd)
    return fd


def a_pipe(opened: ExitStack, _port: int) -> int:
    pipe = os.pipe()
    for fd in pipe:
        opened.callback(os.close, fd)
    return pipe[0]


def a_unix_socket(opened: ExitStack, _port: int) -> int:
    left, right = socket.socketpair()
    opened.enter_context(right)
    return opened.enter_context(left).fileno()


def a_unix_listener(opened: ExitStack, _port: int) -> int:
    made = opened.enter_context(socket.socket(socket.AF_UNIX))
    made.bind("")
    made.listen()
    return made.fileno()


def a_listener(opened: ExitStack, _port: int) -> int:
    return opened.enter_context(socket.create_server(("127.0.0.1", 0))).fileno()


def an_unconnected_socket(opened: ExitStack, _port: int) -> int:
    return opened.enter_context(socket.socket()).fileno()


def a_datagram_socket(opened: ExitStack, port: int) -> int:
    made = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.connect(("127.0.0.1", port))
    return made.fileno()


def a_connection(opened: ExitStack, port: int) -> int:
    return opened.enter_context(socket.create_connection(("127.0.0.1", port))).fileno()


def a_connection_to_another_port(opened: ExitStack, _port: int) -> int:
    other = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    return a_connection(opened, other.getsockname()[1])


def fifty(caller: socket.socket, opened: ExitStack, port: int) -> None:
    """The right one, and 49 more."""
    fds = [a_connection(opened, port), *(a_file(opened, port) for _ in range(49))]
    socket.send_fds(caller, [b"0"], fds)


def descriptors() -> set[str]:
    """What this process holds open; threads that a test before left may close some of it meanwhile."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(
    "answers",
    [
        *(
            pytest.param(passes(way), id=way.__name__)
            for way in (
                *(a_file, a_device, a_folder, a_pipe, a_unix_socket, a_unix_listener, a_listener),
                *(an_unconnected_socket, a_datagram_socket, a_connection_to_another_port),
            )
        ),
        pytest.param(passes(a_connection, a_connection), id="two connections"),
        pytest.param(passes(a_connection, says=b"1"), id="a connection with a refusal"),
        pytest.param(passes(a_connection, says=b"00"), id="a connection with more words"),
        pytest.param(fifty, id="fifty"),
        pytest.param(says(b"0"), id="no connection"),
        pytest.param(says(b"GET / HTTP/1.0"), id="garbage"),
    ],
)
def test_anything_but_a_connection_to_that_port_is_refused_and_closed(
    folder: Path, port: int, answers: Answers
) -> None:
    before = descriptors()
    with imitated(folder, answers, port), pytest.raises(NotReached, match="is no connection"):
        dialled(folder, port)
    until(lambda: descriptors() <= before, what="no more than before is open")


def test_a_connection_to_itself_is_none(folder: Path) -> None:
    """TCP joins a socket to itself where our side's port happens to be the one asked for."""
    with socket.socket() as alone:
        alone.bind(("127.0.0.1", 0))
        port = alone.getsockname()[1]
        alone.connect(("127.0.0.1", port))
        answers = passes(lambda _opened, _port: alone.fileno())
        with imitated(folder, answers, port), pytest.raises(NotReached, match="is no connection"):
            dialled(folder, port)


def test_what_came_from_outside_the_loopback_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    """No test can count on a second network: the connection tells another peer than it has."""

    before = descriptors()
    monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("169.254.169.254", port))
    with imitated(folder, passes(a_connection), port), pytest.raises(NotReached, match="is no connection"):
        dialled(folder, port)
    until(lambda: descriptors() <= before, what="no more than before is open")


def test_silence_ends_in_time_and_so_does_a_closed_door(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "PATIENCE_S", 0.2)
    heard = threading.Event()

    def keeps_silent(*_: object) -> None:
        heard.wait(60)

    with imitated(folder, keeps_silent, port):
        with pytest.raises(NotReached, match="did not answer in time"):
            dialled(folder, port)
        heard.set()
    with imitated(folder, says(b""), port), pytest.raises(NotReached, match="did not answer in time"):
        dialled(folder, port)
    with listening(folder) as listener:
        listener.close()
        with pytest.raises(NotReached, match="has ended"):
            dialled(folder, port)
    assert not (folder / DIAL_SOCKET).exists()
    with pytest.raises(NotReached, match="not running"):
        dialled(folder, port)
    with pytest.raises(NotReached, match="not running"):
        dialled(folder / "none", port)


def test_an_agent_without_descriptors_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with listening(folder):
        monkeypatch.setattr(os, "open", refuses)
        with pytest.raises(NotReached, match="cannot open a way to it: Too many open files"):
            dialled(folder, 8000)
        monkeypatch.undo()


def test_a_connection_is_handed_on_as_one_that_nobody_inherits_and_that_does_not_linger(
    folder: Path, port: int
) -> None:
    def lingers(opened: ExitStack, port: int) -> int:
        made = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        made.setblocking(False)
        return made.fileno()

    with imitated(folder, passes(lingers), port):
        joined = dialled(folder, port)
    with joined:
        assert not os.get_inheritable(joined.fileno())
        assert os.get_blocking(joined.fileno()) and joined.getblocking()
        assert struct.unpack("ii", joined.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))[0] == 0


def test_what_is_refused_cannot_make_us_wait_while_it_closes(folder: Path, port: int) -> None:
    """It is set to linger for an hour over bytes that nobody takes, and ours is the last hand that holds it."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def lingers(opened: ExitStack, _port: int) -> int:
            made = opened.enter_context(socket.create_connection(other.getsockname()))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
            made.setblocking(False)
            try:
                while made.send(b"x" * 65536):
                    pass
            except BlockingIOError:
                return made.fileno()
            raise AssertionError("it takes all")

        began = time.monotonic()
        with imitated(folder, passes(lingers), port), pytest.raises(NotReached, match="is no connection"):
            dialled(folder, port)
        assert time.monotonic() - began < 60
