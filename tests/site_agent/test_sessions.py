"""A session's ports are reached from outside, nothing else is, and from inside nothing outside is."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S
from tests.site_agent.lab import WAITS, Lab, let_go, make_spec, until

from mosu.kernel.reaching import NotReached
from mosu.sandbox import dialler, watch
from mosu.sandbox.dial_socket import DIAL_SOCKET, short_path
from mosu.sandbox.environments import Environment
from mosu.site_agent.engines import dialling
from mosu.site_agent.engines.protocol import EngineRef

OURS_S = dialling.PATIENCE_S
"""An agent's own patience."""
SO_NETNS_COOKIE = 71
"""Which network a socket is of (linux/socket.h)."""
ENDS_BOTH = """
import socket, sys, threading
def serve(host, port, said):
    server = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    def answer():
        while True:
            joined, _ = server.accept()
            joined.sendall(said + joined.recv(100)); joined.close()
    threading.Thread(target=answer).start()
serve("127.0.0.1", 8000, b"four ")
serve("::1", 8001, b"six ")
"""
SERVER = f"python3 - <<'PY'\n{ENDS_BOTH}\nprint('up', flush=True)\nPY"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How quickly a dialler that is not held up answers is another matter than whether it does."""
    monkeypatch.setattr(dialling, "PATIENCE_S", PATIENCE_S)


def served(lab: Lab, run: str = SERVER, *, says: str = "up", **changes: object) -> EngineRef:
    """A session that runs, and says that it is ready."""
    ref = lab.start(run, session=True, **changes)
    until(lambda: f"{says}\n" in lab.log(ref), what=says)
    return ref


def said_by(lab: Lab, ref: EngineRef, port: int = 8000) -> bytes:
    with lab.engine.connect(ref, port) as joined:
        joined.sendall(b"asked")
        joined.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: joined.recv(1000), b""))


def ended(lab: Lab, ref: EngineRef) -> None:
    lab.engine.cancel(ref)
    lab.wait(ref)


def dialler_of(lab: Lab, ref: EngineRef) -> int:
    """The dialler's number, as the host counts."""
    first = json.loads((lab.attempt(ref) / "state.json").read_text())["pids"][0][0]
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    # The payload, until it is one, has the reaper's words, which name the file too, but not as a word of its own.
    (found,) = (int(pid) for pid in children if b"dialler.py\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def test_a_web_server_in_a_session_is_reached(lab: Lab) -> None:
    serves = "python3 -m http.server --bind {} {} 2>&1 & "
    ref = lab.start(
        f"echo page > page; {serves.format('127.0.0.1', 8000)}{serves.format('::1', 8001)}wait", session=True
    )
    until(lambda: lab.log(ref).count("Serving HTTP") == 2)
    for port in (8000, 8001):
        with lab.engine.connect(ref, port) as joined:
            joined.sendall(b"GET /page HTTP/1.0\r\n\r\n")
            assert b"".join(iter(lambda: joined.recv(1000), b"")).endswith(b"\r\n\r\npage\n")
    ended(lab, ref)


def test_both_loopbacks_are_reached_and_what_comes_is_of_the_sessions_network(lab: Lab) -> None:
    ref = served(lab)
    assert said_by(lab, ref, 8000) == b"four asked"
    assert said_by(lab, ref, 8001) == b"six asked"
    with lab.engine.connect(ref, 8000) as joined, socket.socket() as ours:
        assert joined.gettimeout() is None and not os.get_inheritable(joined.fileno())
        assert _network_of(joined) != _network_of(ours)
    for port in (8002, 0):
        with pytest.raises(NotReached, match=f"Nothing listens on its port {port}"):
            lab.engine.connect(ref, port)
    ended(lab, ref)


def _network_of(found: socket.socket) -> bytes:
    return found.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)


def test_names_of_the_loopback_are_known_and_no_others(lab: Lab) -> None:
    code = """
import socket
print(socket.getaddrinfo("localhost", 80)[0][4][0] in ("127.0.0.1", "::1"), socket.gethostbyname(socket.gethostname()))
try:
    socket.getaddrinfo("example.org", 80)
except socket.gaierror:
    print("unknown")
"""
    assert lab.python(code, session=True).log == "True 127.0.0.1\nunknown\n"


def test_neither_the_machine_nor_what_it_reaches_is_reached_from_inside_or_through(lab: Lab) -> None:
    with ExitStack() as open_here:
        here = [
            open_here.enter_context(socket.create_server((host, 0), family=family))
            for host, family in (("0.0.0.0", socket.AF_INET), ("::1", socket.AF_INET6))
        ]
        unnamed = open_here.enter_context(socket.socket(socket.AF_UNIX))
        unnamed.bind("\0mosu-test-" + str(os.getpid()))
        unnamed.listen()
        ports = [server.getsockname()[1] for server in here]
        tries = [
            *(("127.0.0.1", ports[0]), ("::1", ports[1]), ("169.254.169.254", 80), ("fd00:ec2::254", 80)),
            *(("192.0.2.1", 80), (_own_address(), ports[0])),
        ]
        code = f"""
import errno, socket
for host, port in {tries!r}:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.settimeout(5)
        print(errno.errorcode.get(tried.connect_ex((host, port)), "REACHED"))
with socket.socket(socket.AF_UNIX) as tried:
    print(errno.errorcode.get(tried.connect_ex("\\0mosu-test-{os.getpid()}"), "REACHED"))
print(sorted(name for _, name in socket.if_nameindex()))
"""
        ref = served(lab, f"python3 - <<'PY'\n{code}\nPY\necho up; sleep 150")
        assert lab.log(ref).splitlines() == [
            *["ECONNREFUSED"] * 2,
            *["ENETUNREACH"] * 4,
            "ECONNREFUSED",
            "['lo']",
            "up",
        ]
        for port in ports:
            with pytest.raises(NotReached, match="Nothing listens"):
                lab.engine.connect(ref, port)
        ended(lab, ref)


def _own_address() -> str:
    """An address of this machine that is none of its loopback's, or one that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return asked.getsockname()[0] if asked.connect_ex(("192.0.2.1", 9)) == 0 else "192.0.2.2"


def test_what_is_no_session_has_no_ports(lab: Lab) -> None:
    ref = lab.start("echo up; sleep 150")
    assert not (lab.attempt(ref) / DIAL_SOCKET).exists()
    with pytest.raises(NotReached, match="no session"):
        lab.engine.connect(ref, 8000)
    ended(lab, ref)


def test_the_socket_is_the_agents_alone_and_goes_with_the_session(lab: Lab) -> None:
    ref = served(lab)
    facts = (lab.attempt(ref) / DIAL_SOCKET).stat()
    assert (facts.st_uid, facts.st_mode & 0o777) == (os.geteuid(), 0o600)
    ended(lab, ref)
    assert not (lab.attempt(ref) / DIAL_SOCKET).exists()
    with pytest.raises(NotReached, match="not running"):
        lab.engine.connect(ref, 8000)


def test_a_killed_supervisors_session_is_reached_no_more(lab: Lab) -> None:
    ref = served(lab)
    dialler = dialler_of(lab, ref)
    os.kill(json.loads((lab.attempt(ref) / "claim").read_text())[0], signal.SIGKILL)
    until(lambda: watch.start_ticks(dialler) is None)
    with pytest.raises(NotReached, match="has ended"):
        lab.engine.connect(ref, 8000)
    lab.wait(ref)
    assert not (lab.attempt(ref) / DIAL_SOCKET).exists()


def test_a_killed_agents_session_is_reached_by_its_successor(lab: Lab, environment: Environment) -> None:
    spec = make_spec(SERVER, session=True)
    code = (
        "import os, signal; from pathlib import Path\n"
        "from mosu.sandbox.environments import load_environment\n"
        "from mosu.wire.agent import AttemptSpec\n"
        "from tests.site_agent.lab import Lab\n"
        f"lab = Lab(Path({str(lab.folder)!r}), load_environment(Path({str(environment.root)!r})))\n"
        f"lab.engine.submit(AttemptSpec.model_validate_json({spec.model_dump_json()!r}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    lab.engine = lab.restarted()
    ref = lab.engine.submit(spec)
    until(lambda: lab.log(ref) == "up\n")
    assert said_by(lab, ref) == b"four asked"
    ended(lab, ref)


def test_a_long_way_to_the_state_folder_is_no_hindrance(folder: Path, environment: Environment) -> None:
    deep = folder / ("d" * 100) / ("e" * 100)
    deep.parent.mkdir(mode=0o755)
    lab = Lab(deep, environment)
    ref = served(lab)
    assert said_by(lab, ref) == b"four asked"
    ended(lab, ref)


def test_many_connections_one_after_the_other_leave_nothing_open(lab: Lab) -> None:
    ref = served(lab)
    dialler = dialler_of(lab, ref)
    said_by(lab, ref)
    before = _descriptors("self"), _descriptors(dialler)
    for _ in range(100):
        assert said_by(lab, ref) == b"four asked"
        with pytest.raises(NotReached):
            lab.engine.connect(ref, 8002)
    # No more than before: the last of the calls before may still have been open when they were counted.
    until(lambda: _descriptors("self") <= before[0] and _descriptors(dialler) <= before[1])
    ended(lab, ref)


def _descriptors(pid: int | str) -> int:
    """How many are open; of another process only root may know, and others see that it is alive."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except PermissionError:
        return 0


def test_the_task_cannot_see_what_the_dialler_holds_and_asking_it_to_end_does_not_end_it(lab: Lab) -> None:
    script = "kill -TERM 2; kill -INT 2; kill -HUP 2; ls /proc/2/fd || echo closed; tr '\\0' ' ' < /proc/2/cmdline; echo"
    ref = served(lab, f"{script}; {SERVER}")
    assert "closed\n" in lab.log(ref) and "dialler.py" in lab.log(ref)
    assert said_by(lab, ref) == b"four asked"
    ended(lab, ref)


def test_a_task_that_kills_or_stops_its_dialler_is_reached_no_more_and_runs_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, why, left in (("STOP", "did not answer in time", "T"), ("KILL", "has ended", "")):
        ref = lab.start(f"{WAITS}; kill -{number} 2; echo done; sleep 150", session=True)
        with pytest.raises(NotReached, match="Nothing listens"):
            lab.engine.connect(ref, 8000)
        dialler = dialler_of(lab, ref)
        let_go(lab.attempt(ref))
        until(lambda dialler=dialler, left=left: _state_of(dialler) == left)
        with monkeypatch.context() as hurried, pytest.raises(NotReached, match=why):
            hurried.setattr(dialling, "PATIENCE_S", 0.5)
            lab.engine.connect(ref, 8000)
        until(lambda ref=ref: lab.log(ref) == "done\n")
        lab.engine.cancel(ref)
        assert lab.wait(ref).seen.reason == "Cancelled."


def _state_of(pid: int) -> str:
    """Its letter in proc(5); empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1].replace("Z", "")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_task_that_takes_all_its_processes_is_reached_all_the_same(lab: Lab) -> None:
    code = f"""
import os, time
{ENDS_BOTH}
made = 0
try:
    while made < 2000:
        if os.fork() == 0:
            time.sleep(150); os._exit(0)
        made += 1
except OSError:
    print("full", made, flush=True)
print("up", flush=True)
time.sleep(150)
"""
    ref = served(lab, f"python3 - <<'PY'\n{code}\nPY")
    assert 300 <= int(lab.log(ref).split()[1]) <= 320
    assert said_by(lab, ref) == b"four asked"
    ended(lab, ref)


def test_callers_that_say_nothing_hold_nobody_up_for_long(lab: Lab) -> None:
    """As many as the dialler takes at once: it lets them go after four seconds, an agent waits for five."""
    assert dialler._PATIENCE_S + 1 <= OURS_S
    ref = served(lab)
    began = (
        time.monotonic()
    )  # before they come: a machine that is slow to call them is let go of by the first
    with ExitStack() as silent:
        with short_path(lab.attempt(ref)) as path:
            for _ in range(70):
                caller = silent.enter_context(socket.socket(socket.AF_UNIX))
                caller.connect(path)
        assert said_by(lab, ref) == b"four asked"
        assert time.monotonic() - began > 1  # they did fill it
        assert said_by(lab, ref) == b"four asked"
    ended(lab, ref)


def test_a_port_that_takes_no_more_connections_is_not_waited_for_for_ever(lab: Lab) -> None:
    code = "import socket, time\ns = socket.socket(); s.bind(('127.0.0.1', 8000)); s.listen(0); print('up', flush=True); time.sleep(150)"
    ref = served(lab, f'python3 - <<"PY"\n{code}\nPY')
    with ExitStack() as taken, pytest.raises(NotReached, match="did not answer in time"):
        for _ in range(10):
            taken.enter_context(lab.engine.connect(ref, 8000))
    ended(lab, ref)


def test_descriptors_that_the_task_keeps_on_their_way_do_not_stop_the_dialler(lab: Lab) -> None:
    """The kernel counts them by user, and sends no more of a process whose own limit they pass."""
    code = f"""
import os, socket
kept = []
sent = 0
try:
    while sent < 100_000:
        left, right = socket.socketpair()
        kept += (left, right)
        for _ in range(10):
            socket.send_fds(left, [b"x"], [0] * 250); sent += 250
except OSError as error:
    print(error.strerror, sent, flush=True)
{ENDS_BOTH}
print("up", flush=True)
"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # as most machines start their services
    try:
        ref = served(lab, f"python3 - <<'PY'\n{code}\nPY")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert lab.log(ref).startswith("Too many references")
    assert said_by(lab, ref) == b"four asked"
    ended(lab, ref)
