"""Sessions and services on the fake cluster, whose ports are joined by `portforward` as a kubelet carries it."""

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from tests.kubernetes.bench import KubernetesBench, kubernetes_bench
from tests.kubernetes.cluster import kubeconfig_for
from tests.kubernetes.fake_controllers import PODS
from tests.patience import PATIENCE_S
from tests.site_agent.contract import end_of, log_of, seen, started, submitted
from tests.site_agent.echo import ECHO
from tests.site_agent.lab import WAITS, until

from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.kubernetes import forwarding
from mosu.site_agent.engines.kubernetes.access import access_of
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase, Measures, ServiceSpec

PORT = 8000
HEALTH = """
import os, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 500 if os.path.exists("ill") else 200
        if self.path == "/health" and code == 200: print("well", flush=True)
        self.send_response(code); self.end_headers(); self.wfile.write(b"%d" % os.getpid())
    log_message = lambda *_: None
print("up", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""


@pytest.fixture
def bench() -> Iterator[KubernetesBench]:
    with kubernetes_bench() as found:
        yield found


def served(bench: KubernetesBench, code: str = ECHO, **changes: Any) -> EngineRef:
    """A session that runs, and listens."""
    return started(bench, bench.spec(f"exec python3 -c '{code}'", session=True, **changes), says="up")


def connected(bench: KubernetesBench, ref: EngineRef, port: int = PORT) -> socket.socket:
    joined = bench.engine.connect(ref, port)
    joined.settimeout(PATIENCE_S)
    return joined


def exactly(joined: socket.socket, count: int) -> bytes:
    came = b""
    while len(came) < count and (part := joined.recv(1 << 16)):
        came += part
    return came


def echoed(joined: socket.socket, data: bytes) -> bytes:
    with joined, ThreadPoolExecutor(1) as sending:
        sent = sending.submit(joined.sendall, data)
        came = exactly(joined, len(data))
        sent.result(PATIENCE_S)
        return came


def over(bench: KubernetesBench, ref: EngineRef) -> Measures | None:
    bench.engine.cancel(ref)
    ended = end_of(bench, ref).seen
    assert ended.phase == AttemptPhase.CANCELLED
    bench.engine = bench.restarted()
    assert seen(bench, ref) == ended
    return ended.measures


def test_bytes_reach_a_pod_and_come_back_also_through_a_new_agent(bench: KubernetesBench) -> None:
    ref = served(bench)
    data = os.urandom(5_000_000)
    assert echoed(connected(bench, ref), data) == data
    parts = [os.urandom(50_000) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(lambda part: echoed(connected(bench, ref), part), parts)) == parts
    bench.engine = bench.restarted()
    assert echoed(connected(bench, ref), b"again") == b"again"
    with connected(bench, ref, 8001) as nobody:  # the server says so only after it has opened
        assert nobody.recv(10) == b""
    stays = connected(bench, ref)
    assert over(bench, ref) is None
    with stays:
        assert stays.recv(10) == b""
    with pytest.raises(NotReached, match="not running"):
        bench.engine.connect(ref, PORT)


def test_what_a_pod_says_last_comes_whole(bench: KubernetesBench) -> None:
    """Also to whoever has ended already, which the pod cannot be told."""
    code = (
        'import socket; s = socket.create_server(("127.0.0.1", 8000)); print("up", flush=True); '
        'c = s.accept()[0]; c.recv(10); c.sendall(b"x" * 3000000)'
    )
    ref = served(bench, code)
    with connected(bench, ref) as joined:
        joined.sendall(b"all of it")
        joined.shutdown(socket.SHUT_WR)
        assert exactly(joined, 4_000_000) == b"x" * 3_000_000
    assert end_of(bench, ref).ok


def test_who_leaves_is_gone_at_once(bench: KubernetesBench) -> None:
    code = (
        'import socket; s = socket.create_server(("127.0.0.1", 8000)); print("up", flush=True); '
        'c = s.accept()[0]; c.sendall(b"hello"); print(len(c.recv(10)), flush=True)'
    )
    ref = served(bench, code)
    with connected(bench, ref) as joined:
        assert exactly(joined, 5) == b"hello"
    assert end_of(bench, ref).log == "up\n0\n"


def test_what_a_person_sends_last_comes_whole(bench: KubernetesBench) -> None:
    code = (
        'import socket; s = socket.create_server(("127.0.0.1", 8000)); print("up", flush=True); c = s.accept()[0]; '
        'print(sum(map(len, iter(lambda: c.recv(1 << 16), b""))), flush=True)'
    )
    ref = served(bench, code)
    with connected(bench, ref) as joined:
        joined.sendall(b"x" * 3_000_000)
    assert end_of(bench, ref).log == "up\n3000000\n"


def test_only_sessions_are_reached(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo up; {WAITS}"), says="up")
    for name in (ref, EngineRef(bench.spec().attempt_id)):
        with pytest.raises(NotReached, match="no session"):
            bench.engine.connect(name, PORT)
    assert bench.cluster.store.forwarded == 0
    with pytest.raises(Invalid, match="one node"):
        submitted(bench, bench.spec(session=True, nodes=("n1", "n2")))


@pytest.mark.parametrize("verbs", [set(), {"get"}])
def test_without_the_right_no_sessions_are_sold(bench: KubernetesBench, verbs: set[str]) -> None:
    ref = served(bench)
    bench.cluster.store.forward_verbs = verbs
    with pytest.raises(NotReached, match="is forbidden"):
        bench.engine.connect(ref, PORT)
    bench.engine = bench.restarted()
    assert not bench.engine.reaches and "pods/portforward" in bench.engine.unreached
    spec = bench.spec(session=True)
    with pytest.raises(Invalid, match="Nobody can be joined"):
        submitted(bench, spec)
    assert seen(bench, EngineRef(spec.attempt_id)).phase == AttemptPhase.LOST


def test_while_the_server_is_away_nobody_is_joined_and_nothing_is_refused_for_good(
    bench: KubernetesBench,
) -> None:
    ref = served(bench)
    bench.engine = bench.restarted()
    spec = bench.spec("echo ran", session=True)
    with bench.without_daemon():
        with pytest.raises(NotReached):
            bench.engine.connect(ref, PORT)
        assert "does not answer" in bench.engine.unreached
        with pytest.raises(OSError, match="does not answer"):
            submitted(bench, spec)
    assert echoed(connected(bench, ref), b"back") == b"back"
    assert end_of(bench, submitted(bench, spec)).log == "ran\n"


def test_connections_have_a_bound(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "CONNECTIONS_MAX", 2)
    ref = served(bench)
    first, second = connected(bench, ref), connected(bench, ref)
    with first, second, pytest.raises(NotReached, match="as many connections"):
        bench.engine.connect(ref, PORT)

    def has_room() -> bool:
        try:
            return echoed(connected(bench, ref), b"x") == b"x"
        except NotReached:
            return False

    until(has_room, what="who left makes room")


def test_a_token_follows_no_redirect(bench: KubernetesBench) -> None:
    """Nor does a server that opens and then breaks the protocol keep anybody."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = f"http://127.0.0.1:{other.getsockname()[1]}/"

        def answer() -> None:
            with server.accept()[0] as asked:
                asked.recv(1 << 16)
                asked.sendall(
                    f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
                )

        thread = threading.Thread(target=answer)
        thread.start()
        config = bench.cluster.volume.parent / "redirecting"
        config.write_text(kubeconfig_for(f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(NotReached, match="302"):
            forwarding.Forwarding(access_of(config)).connect("/api/v1/namespaces/a/pods/b", PORT)
        thread.join()
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_service_is_kept_up(bench: KubernetesBench) -> None:
    """Started again whenever it ends or no longer answers, what it left behind ended with it, until it is cancelled."""
    spec = bench.spec(
        f"(trap '' TERM; while :; do sleep 0.1; done) & exec python3 -c '{HEALTH}'",
        session=True,
        service=ServiceSpec(port=PORT, health="/health"),
    )
    ref = started(bench, spec, says="up")
    pids: set[bytes] = set()

    def answers() -> bool:
        # While nobody listens, the way is opened and then closed: at once, or over what was not read of the question.
        said = b""
        with suppress(NotReached, OSError), connected(bench, ref) as joined:
            joined.sendall(b"GET / HTTP/1.0\r\n\r\n")
            said = exactly(joined, 1 << 16)
        if said.startswith(b"HTTP/1.0 200"):
            pids.add(said.rpartition(b"\r\n\r\n")[2])
            return True
        return False

    until(answers, what="it answers")
    until(lambda: "well" in log_of(bench, ref), what="it was well: only then it falls ill")
    work = bench.engine.workdir(ref)
    (work / "ill").touch()
    until(lambda: "no answer at /health, 3 times" in log_of(bench, ref), what="it is deaf")
    (work / "ill").unlink()
    until(lambda: answers() and len(pids) >= 2, what="another answers")
    assert "Traceback" not in log_of(bench, ref)  # who asks leaves no server in the middle of its answer
    assert seen(bench, ref).phase == AttemptPhase.RUNNING
    measures = over(bench, ref)
    assert measures is not None and measures.restarts >= 1
    assert measures.uptime_s is not None and 1 <= measures.uptime_s <= measures.wall_s


def test_what_ends_at_once_is_started_less_and_less_often(bench: KubernetesBench) -> None:
    spec = bench.spec(
        "echo begun with $port$task; exit 3",
        session=True,
        service=ServiceSpec(port=PORT),
        envs={"port": "9", "task": "4", "stopping": "1", "code": "5"},  # as our own script might call its own
    )
    ref = submitted(bench, spec)
    until(lambda: log_of(bench, ref).count("begun with 94\n") >= 3, what="it began again")
    assert "mosu: the service ended with exit code 3" in log_of(bench, ref)
    assert seen(bench, ref).phase == AttemptPhase.RUNNING
    measures = over(bench, ref)
    assert measures is not None and measures.restarts >= 2


def test_how_long_it_was_well_is_the_tasks_word_and_believed_as_far_as_it_is_possible(
    bench: KubernetesBench,
) -> None:
    """Also of a pod that is killed, whose first process says nothing last."""
    lie = "until [ -e /run/mosu/ranks/upkeep ]; do sleep 0.1; done; echo 9999999 9999999 0 > /run/mosu/ranks/upkeep"
    spec = bench.spec(f"{lie}; echo lied; {WAITS}", session=True, service=ServiceSpec(port=PORT, health=""))
    ref = started(bench, spec, says="lied")
    [pod] = [name for kind, _, name in bench.cluster.store.created if kind == PODS]
    bench.cluster.controllers.container_of(pod).kill()
    ended = end_of(bench, ref).seen
    assert ended.phase == AttemptPhase.FAILED and ended.measures is not None
    assert ended.measures.uptime_s == ended.measures.wall_s
    assert ended.measures.restarts <= 5 * (ended.measures.wall_s + 1)
