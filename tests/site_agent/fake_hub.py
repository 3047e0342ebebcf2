"""A hub that speaks the agent's messages and nothing else, in this process, with switches to make it fail."""

import hashlib
import json
import queue
import select
import socket
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mosu.wire import agent as wire

TOKEN = "mosu_pool_test"


class FakeHub:
    """Keeps what the agent said; refuses what the real hub would refuse."""

    def __init__(self) -> None:
        self.leases: queue.Queue[wire.Lease] = queue.Queue()
        self.commands: list[wire.Command] = []
        self.registrations: list[wire.Registration] = []
        self.heartbeats: list[wire.Heartbeat] = []
        self.logs: dict[str, bytes] = defaultdict(bytes)
        self.log_at: dict[str, float] = {}
        self.usage: dict[tuple[str, str, int], wire.Usage] = {}
        self.usage_calls = 0
        self.reports: dict[str, list[wire.Report]] = defaultdict(list)
        self.blobs: dict[str, bytes] = {}
        self.lease_requests: list[wire.LeaseRequest] = []
        self.down = False
        self.drop_answers = 0
        """So many calls are carried out and then answered by a broken connection."""
        self.refuses_outputs = False
        self.token = TOKEN
        self.clock_off_s = 0.0
        self.checks: tuple[str, ...] = ()
        self.volumes_to_delete: tuple[str, ...] = ()
        self.volume_copies: tuple[wire.CopySpec, ...] = ()
        self.health: list[wire.HealthReport] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.down = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def lease(self, spec: wire.AttemptSpec) -> str:
        self.leases.put(wire.Lease(spec=spec, lease_s=30))
        return spec.attempt_id

    def tell(self, attempt_id: str, action: str, *, epoch: int = 1, **more: Any) -> None:
        """With the next heartbeat's answer."""
        command = wire.Command.model_validate(
            {"attempt_id": attempt_id, "epoch": epoch, "action": action, **more}
        )
        with self.lock:  # a list that an answer has taken already goes out no more
            self.commands.append(command)

    def phase_of(self, attempt_id: str) -> wire.AttemptPhase | None:
        """As the last heartbeat has it; None while none has come, and where it names another attempt."""
        named = self.heartbeats[-1].attempts if self.heartbeats else ()
        return next((one.phase for one in named if one.attempt_id == attempt_id), None)

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        return sha256

    def text(self, attempt_id: str) -> str:
        return self.logs[attempt_id].decode()

    def quantity(self, attempt_id: str) -> int:
        return sum(item.quantity for item in self.usage.values() if item.attempt_id == attempt_id)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed agent breaks its connections: nothing to say of that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, work: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.hub.down:
            return self._send(503, {"title": "down"})
        if self.headers["Authorization"] != f"Bearer {self.hub.token}":
            return self._send(401, {"title": "This token is unknown."})
        status, answer = work(urlsplit(self.path), body)
        with self.hub.lock:
            broken, self.hub.drop_answers = self.hub.drop_answers > 0, max(0, self.hub.drop_answers - 1)
        if self.hub.down or broken:
            self.close_connection = True
            return None
        return self._send(status, answer)

    def _send(self, status: int, answer: Any) -> None:
        raw = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if status != 204:
            self.wfile.write(raw)

    def _get(self, url: Any, _body: bytes) -> tuple[int, Any]:
        if url.path == "/agent/v1/pool":
            at = datetime.now(UTC) + timedelta(seconds=self.hub.clock_off_s)
            return 200, {"pool_id": "pool_x", "pool_name": "Test", "clock_at": at.isoformat()}
        found = self.hub.blobs.get(url.path.rpartition("/")[2])
        return (404, {"title": "no such blob"}) if found is None else (200, found)

    def _put(self, url: Any, body: bytes) -> tuple[int, Any]:
        sha256 = url.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != sha256:
            return 422, {"title": "other bytes"}
        self.hub.blobs[sha256] = body
        return 201, None

    def _post(self, url: Any, body: bytes) -> tuple[int, Any]:
        parts = url.path.split("/")[3:]
        if parts == ["register"]:
            self.hub.registrations.append(wire.Registration.model_validate_json(body))
            return 200, {
                "pool_id": "pool_x",
                "pool_name": "Test",
                "heartbeat_s": 1,
                "clock_skew_s": 0.0,
                "organisation_id": "org_x",
            }
        if parts == ["lease"]:
            return self._lease(body, float(parse_qs(url.query)["wait_s"][0]))
        if parts == ["heartbeat"]:
            heartbeat = wire.Heartbeat.model_validate_json(body)
            self.hub.heartbeats.append(heartbeat)
            known = {attempt.attempt_id for attempt in heartbeat.attempts}
            with self.hub.lock:
                told = self.hub.commands
                # As the real one: what is to be forgotten is said until it is no longer named.
                self.hub.commands = [
                    each for each in told if each.action == "forget" and each.attempt_id in known
                ]
                tests, self.hub.checks = self.hub.checks, ()
            told_so = [command.model_dump(mode="json") for command in told]
            return 200, {
                "commands": told_so,
                "checks": tests,
                "volumes_to_delete": self.hub.volumes_to_delete,
                "volume_copies": [spec.model_dump(mode="json") for spec in self.hub.volume_copies],
            }
        if parts == ["health"]:
            self.hub.health.append(wire.HealthReport.model_validate_json(body))
            return 200, {"fit": True}
        if parts == ["usage"]:
            return self._usage(wire.UsageBatch.model_validate_json(body))
        return self._attempt(parts[1], parts[2], body)

    def _check_caller(self) -> None:
        """A killed agent's poll takes no lease from the one that follows it."""
        if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError

    def _lease(self, body: bytes, wait_s: float) -> tuple[int, Any]:
        self.hub.lease_requests.append(wire.LeaseRequest.model_validate_json(body))
        until = time.monotonic() + wait_s
        while time.monotonic() < until and not self.hub.down:
            try:
                lease = self.hub.leases.get(timeout=0.05)
            except queue.Empty:
                self._check_caller()
                continue
            try:
                self._check_caller()
            except ConnectionResetError:
                self.hub.leases.put(lease)
                raise
            return 200, lease.model_dump(mode="json")
        return 204, None

    def _usage(self, batch: wire.UsageBatch) -> tuple[int, Any]:
        with self.hub.lock:
            self.hub.usage_calls += 1
            repeated = 0
            for item in batch.records:
                key = (item.attempt_id, item.meter, item.sequence)
                repeated += key in self.hub.usage
                assert self.hub.usage.setdefault(key, item) == item
        return 200, {"accepted": len(batch.records) - repeated, "repeated": repeated, "quarantined": 0}

    def _attempt(self, attempt_id: str, what: str, body: bytes) -> tuple[int, Any]:
        if what == "report":
            report = wire.Report.model_validate_json(body)
            if report.outputs and self.hub.refuses_outputs:
                return 422, {"title": "these outputs cannot be taken"}
            self.hub.reports[attempt_id].append(report)
            return 200, {"settled": True, "settled_at": None}
        chunk = wire.LogChunk.model_validate_json(body)
        with self.hub.lock:
            kept, data = self.hub.logs[attempt_id], chunk.text.encode()
            if chunk.offset <= len(kept):
                assert kept[chunk.offset :] == data[: len(kept) - chunk.offset]
                self.hub.logs[attempt_id] = kept + data[len(kept) - chunk.offset :]
                self.hub.log_at.setdefault(attempt_id, time.time())
            return 200, {"next_offset": len(self.hub.logs[attempt_id])}
