"""Legs that come to the agent, without a Ray: a real session, its leg beside it, and others who come to the same port."""

import asyncio
import hmac
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S
from tests.site_agent.echo import ECHO, echoed
from tests.site_agent.lab import Lab, processes_that_name, until

from mosu.kernel.reaching import CROWDED, NotReached
from mosu.site_agent.engines.protocol import EngineRef
from mosu.site_agent.engines.ray import leg, legs, proof
from mosu.site_agent.engines.ray.leg import LEG_FILE, beside
from mosu.site_agent.engines.ray.legs import Legs
from mosu.site_agent.engines.ray.proof import SIGN
from mosu.site_agent.files import read_json, write_durably

PORT = 8000
HERE = "127.0.0.1"
ECHOES = f"python3 - <<'PY'\n{ECHO}\nPY"
KEY = b"k" * 32


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Legs:
    """How soon a leg comes is this machine's doing."""
    monkeypatch.setattr(legs, "PROVEN_S_MAX", PATIENCE_S)
    monkeypatch.setattr(legs, "TOLD_EVERY_S", 10 * PATIENCE_S)
    found = Legs(None)
    found.listen(HERE)
    return found


@contextmanager
def session(lab: Lab, agents: Legs) -> Iterator[EngineRef]:
    """One with its leg, which is gone afterwards, as is its file."""
    ref = lab.start(ECHOES, session=True)
    until(lambda: "up\n" in lab.log(ref), what="up")
    agents.invite(lab.attempt(ref))
    with beside(lab.attempt(ref)):
        yield ref
    assert not (lab.attempt(ref) / LEG_FILE).exists()
    until(lambda: not pids(ref), what="no leg")
    agents.end(lab.attempt(ref))
    lab.engine.cancel(ref)
    lab.wait(ref)


def pids(ref: EngineRef) -> list[int]:
    """Of the session's leg: its keeper first, then the worker."""
    return sorted(set(processes_that_name(ref)) & set(processes_that_name("engines/ray/leg.py")), key=_began)


def _began(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def connected(agents: Legs, folder: Path, port: int = PORT) -> socket.socket:
    joined = agents.connect(folder, port, patience_s=PATIENCE_S)
    joined.settimeout(PATIENCE_S)
    return joined


def stranger(agents: Legs) -> socket.socket:
    """One who came to the agent's port, and has read nothing."""
    return socket.create_connection(agents.listen(HERE), PATIENCE_S)


def exactly(door: socket.socket, count: int) -> bytes:
    came = b""
    while len(came) < count:
        part = door.recv(count - len(came))
        assert part, f"it ended after {came!r}"
        came += part
    return came


def is_cut(door: socket.socket) -> bool:
    try:
        return door.recv(1) == b""
    except ConnectionResetError:
        return True


def test_bytes_come_and_go_each_way_ended_on_its_own(lab: Lab, agents: Legs) -> None:
    with session(lab, agents) as ref:
        folder = lab.attempt(ref)
        data = os.urandom(5_000_000)
        assert echoed(connected(agents, folder), data) == data + b" end"
        parts = [os.urandom(200_000) for _ in range(20)]
        with ThreadPoolExecutor(20) as threads:
            came = threads.map(lambda part: echoed(connected(agents, folder), part), parts)
            assert list(came) == [part + b" end" for part in parts]
        with pytest.raises(NotReached, match="Nothing listens on its port 8001"):
            connected(agents, folder, 8001)
        assert (folder / LEG_FILE).stat().st_mode & 0o777 == 0o600


def test_a_killed_leg_comes_back_and_its_connections_are_broken(lab: Lab, agents: Legs) -> None:
    with session(lab, agents) as ref, connected(agents, lab.attempt(ref)) as joined:
        joined.sendall(b"x")
        assert joined.recv(1) == b"x"
        _, worker = pids(ref)
        os.kill(worker, signal.SIGKILL)
        assert is_cut(joined)
        assert echoed(connected(agents, lab.attempt(ref)), b"again") == b"again end"


def test_a_leg_ends_with_its_supervisor_even_if_its_keeper_was_killed(lab: Lab, agents: Legs) -> None:
    with session(lab, agents) as ref:
        assert echoed(connected(agents, lab.attempt(ref)), b"asked") == b"asked end"
        keeper, worker = pids(ref)
        os.kill(keeper, signal.SIGKILL)
        until(lambda: worker in pids(ref) and keeper not in pids(ref), what="the keeper is dead")
        assert echoed(connected(agents, lab.attempt(ref)), b"still") == b"still end"


def test_a_leg_comes_to_the_agent_that_was_started_again(lab: Lab, agents: Legs) -> None:
    """The first is a process of its own, killed: its port is nobody's then."""
    code = (
        "import sys, time; from pathlib import Path; from mosu.site_agent.engines.ray.legs import Legs\n"
        "legs, folder = Legs(None), Path(sys.argv[1])\n"
        f"legs.listen('{HERE}'); legs.invite(folder); print('invited', flush=True)\n"
        f"legs.connect(folder, {PORT}, patience_s={PATIENCE_S}); print('joined', flush=True); time.sleep(1000)"
    )
    ref = lab.start(ECHOES, session=True)
    until(lambda: "up\n" in lab.log(ref), what="up")
    folder = lab.attempt(ref)
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE) as first:
        assert first.stdout and first.stdout.readline() == b"invited\n"
        key = read_json(folder / LEG_FILE)["key"]
        with beside(folder):
            assert first.stdout.readline() == b"joined\n"
            first.kill()
            first.wait()
            Legs(None).welcome(
                folder
            )  # who does not listen, such as a check beside the agent, changes nothing
            assert tuple(read_json(folder / LEG_FILE)["at"]) != agents.listen(HERE)
            agents.welcome(folder)
            assert tuple(read_json(folder / LEG_FILE)["at"]) == agents.listen(HERE)
            assert echoed(connected(agents, folder), b"again") == b"again end"
            assert read_json(folder / LEG_FILE)["key"] == key
    lab.engine.cancel(ref)
    lab.wait(ref)


def test_a_session_whose_leg_does_not_come_says_so(lab: Lab, agents: Legs) -> None:
    with pytest.raises(NotReached, match=r"No leg has come from its node to 127\.0\.0\.1:\d+"):
        agents.connect(lab.folder, PORT, patience_s=0.1)
    with pytest.raises(NotReached, match="not open yet"):
        Legs(None).connect(lab.folder, PORT, patience_s=0.1)


def test_a_leg_that_was_ended_is_wanted_no_more(lab: Lab, agents: Legs) -> None:
    with session(lab, agents) as ref:
        assert echoed(connected(agents, lab.attempt(ref)), b"asked") == b"asked end"
        agents.end(lab.attempt(ref))
        until(lambda: not pids(ref), what="no leg")


def test_as_many_connections_as_may_be(tmp_path: Path, agents: Legs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leg, "JOINED_MAX", 3)
    agents.invite(tmp_path)

    def joined(port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        open_here.enter_context(theirs)
        return ours

    with ExitStack() as open_here, leg_in_thread(tmp_path, joined):
        for _ in range(3):
            open_here.enter_context(connected(agents, tmp_path))
        with pytest.raises(NotReached) as refused:
            connected(agents, tmp_path)
        assert str(refused.value) == CROWDED
        open_here.close()
        until(lambda: is_joined(agents, tmp_path), what="room again")
        agents.end(tmp_path)


def test_who_left_makes_room_though_the_app_says_nothing(
    tmp_path: Path, agents: Legs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything lost of what they said, or answered to who has only ended their own way."""
    monkeypatch.setattr(leg, "JOINED_MAX", 3)
    agents.invite(tmp_path)
    data = os.urandom(3_000_000)
    with ExitStack() as open_here, socket.create_server((HERE, 0)) as app:
        app.settimeout(PATIENCE_S)
        open_here.enter_context(
            leg_in_thread(tmp_path, lambda port: socket.create_connection(app.getsockname()))
        )
        open_here.callback(agents.end, tmp_path)

        def come() -> tuple[socket.socket, socket.socket]:
            """Person and app, joined as soon as there is room."""
            found: list[socket.socket] = []

            def has_come() -> bool:
                with suppress(NotReached):
                    found.append(connected(agents, tmp_path))
                return bool(found)

            until(has_come, what="room")
            asked, _ = app.accept()
            asked.settimeout(PATIENCE_S)
            return found[0], open_here.enter_context(asked)

        for _ in range(10):
            come()[0].close()  # and the app neither reads nor ends
        left, asked = come()
        left.sendall(data)
        left.close()
        assert exactly(asked, len(data)) == data
        person, asked = come()
        with person:
            person.sendall(data)
            person.shutdown(socket.SHUT_WR)
            assert exactly(asked, len(data)) == data and asked.recv(1) == b""
            asked.sendall(b"late")
            asked.close()
            assert exactly(person, 4) == b"late" and person.recv(1) == b""


def is_joined(agents: Legs, folder: Path) -> bool:
    try:
        connected(agents, folder).close()
    except NotReached:
        return False
    return True


@contextmanager
def leg_in_thread(folder: Path, join: Callable[[int], socket.socket]) -> Iterator[None]:
    """It ends once its file is gone."""
    thread = threading.Thread(target=lambda: asyncio.run(leg.come(folder, join)))
    thread.start()
    yield
    thread.join()


def test_what_broke_is_reset_so_that_it_does_not_look_whole(tmp_path: Path, agents: Legs) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    agents.invite(tmp_path)
    with leg_in_thread(tmp_path, lambda port: ours):
        with connected(agents, tmp_path) as joined:
            joined.sendall(b"unread")
            assert theirs.recv(3) == b"unr"
            theirs.sendall(b"part")
            assert exactly(joined, 4) == b"part"
            theirs.close()  # with bytes that nobody read: the kernel resets
            with pytest.raises(ConnectionResetError):
                joined.recv(1)
        agents.end(tmp_path)


# Who else comes.


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        b"\0",
        b"\xff" + bytes(400),
        b"\x05hello" + bytes(64),
        bytes([64]) + bytes(200),
    ],
)
def test_a_stranger_is_cut_and_told_nothing(
    agents: Legs, tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legs, "PROVEN_S_MAX", 0.2)
    agents.invite(tmp_path)
    with stranger(agents) as door:
        assert exactly(door, len(SIGN) + 32).startswith(SIGN)
        with suppress(ConnectionError):
            door.sendall(said)
        assert is_cut(door)


def test_strangers_who_say_nothing_keep_no_leg_out(lab: Lab, agents: Legs) -> None:
    with session(lab, agents) as ref, ExitStack() as strangers:
        first = strangers.enter_context(stranger(agents))
        for _ in range(legs.STRANGERS_MAX + 20):
            strangers.enter_context(stranger(agents))
        assert echoed(connected(agents, lab.attempt(ref)), b"asked") == b"asked end"
        exactly(first, len(SIGN) + 32)
        assert is_cut(first)


def proven(door: socket.socket, name: bytes, key: bytes, *, who: bytes = b"leg") -> bytes:
    """What a leg says to the nonce that comes, as proof.py writes it down."""
    nonce, mine = exactly(door, len(SIGN) + 32)[len(SIGN) :], b"m" * 32
    said = hmac.digest(key, SIGN + who + bytes([len(name)]) + name + nonce + mine, "sha256")
    return bytes([len(name)]) + name + mine + said


def key_in(folder: Path) -> bytes:
    told = read_json(folder / LEG_FILE)
    return proof.bound(bytes.fromhex(told["key"]), tuple(told["at"]))


def test_only_who_knows_the_key_stands_and_that_is_told_once(
    agents: Legs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents.invite(tmp_path)
    name, key = tmp_path.name.encode()[:64], key_in(tmp_path)
    for called, wrong, who in (
        (name, KEY, b"leg"),
        (b"another", key, b"leg"),
        (name, key, b"agent"),
        (name, b"", b"leg"),
    ):
        with stranger(agents) as door:
            door.sendall(proven(door, called, wrong, who=who))
            assert is_cut(door)
    with stranger(agents) as door:
        heard = proven(door, name, key)
        door.sendall(heard)
        assert len(exactly(door, 32)) == 32
        with stranger(agents) as again:  # what was heard proves nothing to another nonce
            exactly(again, len(SIGN) + 32)
            again.sendall(heard)
            assert is_cut(again)
    told = capsys.readouterr()
    assert (told.out + told.err).count("no leg of ours") == 1
    assert key.hex() not in told.out + told.err


def test_a_leg_that_speaks_unasked_is_let_go_and_the_newest_is_asked_first(
    agents: Legs, tmp_path: Path
) -> None:
    agents.invite(tmp_path)
    name, key = tmp_path.name.encode(), key_in(tmp_path)
    with ExitStack() as doors:

        def standing() -> socket.socket:
            door = doors.enter_context(stranger(agents))
            door.sendall(proven(door, name, key))
            exactly(door, 32)
            return door

        first = standing()
        later = [standing() for _ in range(legs.WAITING_MAX)]
        assert is_cut(first)
        later[-1].sendall(b"x")
        assert is_cut(later[-1])
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(connected, agents, tmp_path)
            assert exactly(later[-2], 2) == PORT.to_bytes(2, "big")
            later[-2].close()  # it dies: the next is asked
            assert exactly(later[-3], 2) == PORT.to_bytes(2, "big")
            later[-3].sendall(b"\x04no\x1b!")
            with pytest.raises(NotReached, match=r"^no !$"):
                asked.result(PATIENCE_S)
        agents.end(tmp_path)
        assert is_cut(later[0])


def test_a_leg_says_nothing_that_opens_anything_to_who_listens_at_a_stolen_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leg, "AGAIN_S", (0.05, 0.1))
    asked: list[int] = []

    def joined(port: int) -> socket.socket:
        asked.append(port)
        raise NotReached("never")

    with socket.create_server((HERE, 0)) as thief:
        thief.settimeout(PATIENCE_S)
        write_durably(tmp_path / LEG_FILE, {"at": thief.getsockname(), "key": KEY.hex()})
        with leg_in_thread(tmp_path, joined):
            for answer in (b"x" * 100, SIGN + bytes(32) + bytes(32), b"", SIGN + bytes(200)):
                door, _ = thief.accept()
                with door:
                    door.settimeout(PATIENCE_S)
                    said = b""
                    with suppress(OSError):  # the leg hangs up as soon as it has read enough to refuse
                        door.sendall(answer + PORT.to_bytes(2, "big"))
                        door.shutdown(socket.SHUT_WR)
                    with suppress(ConnectionResetError):
                        while part := door.recv(1000):
                            said += part
                    assert KEY not in said and KEY.hex().encode() not in said
            (tmp_path / LEG_FILE).unlink()
    assert asked == []


def test_proofs_that_are_passed_on_from_another_address_prove_nothing(tmp_path: Path, agents: Legs) -> None:
    """Who got the port of the agent before holds the leg that comes, and asks the agent of today for its proof."""
    at = agents.listen(HERE)
    asked: list[int] = []

    def joined(port: int) -> socket.socket:
        asked.append(port)
        raise NotReached("never")

    with socket.create_server((HERE, 0)) as thief:
        thief.settimeout(PATIENCE_S)
        write_durably(tmp_path / LEG_FILE, {"at": thief.getsockname(), "key": KEY.hex()})
        with leg_in_thread(tmp_path, joined):
            door, _ = thief.accept()
            agents.welcome(tmp_path)
            with door, socket.create_connection(at, PATIENCE_S) as agent:
                door.settimeout(PATIENCE_S)
                door.sendall(exactly(agent, len(SIGN) + 32))
                length = exactly(door, 1)
                agent.sendall(length + exactly(door, length[0] + 64))
                assert is_cut(agent)
            agents.end(tmp_path)
    assert asked == []


@pytest.mark.parametrize("told", [{}, {"at": 3, "key": "00"}, {"at": ["a", 1], "key": "no"}, [1]])
def test_a_file_of_another_shape_is_written_anew(agents: Legs, tmp_path: Path, told: object) -> None:
    write_durably(tmp_path / LEG_FILE, told)
    agents.welcome(tmp_path)
    assert tuple(read_json(tmp_path / LEG_FILE)["at"]) == agents.listen(HERE)


def test_the_agent_proves_itself_to_the_leg(tmp_path: Path) -> None:
    """Another agent's proof is as good as none."""

    async def heard_by_leg(answer: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(answer)
            await proof.prove_to_agent(ours, "name", KEY)

    for answer, why in (
        (SIGN + bytes(64), "another agent"),
        (b"HTTP/1.1 400 Bad Request\r\n" * 9, "no agent"),
    ):
        with pytest.raises(proof.Unproven, match=why):
            asyncio.run(heard_by_leg(answer))


def test_the_address_is_the_settings_or_the_networks_own() -> None:
    found = Legs(("localhost", 0))
    host, port = found.listen("192.0.2.1")
    assert host == "localhost" and port
    assert found.listen(HERE) == (host, port)
    with pytest.raises(OSError, match="in use"):
        Legs((host, port)).listen(HERE)
