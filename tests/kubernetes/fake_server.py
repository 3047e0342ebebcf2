"""An API server of one's own, honest in what an engine leans on: names taken once, resource versions, watches that
break and histories that are forgotten, admission of pods, graceful deletion. It is no Kubernetes: who passes here
has met none.
"""

import copy
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

CLUSTER_WIDE = {"namespaces", "nodes", "persistentvolumes", "clusterqueues", "storageclasses"}
CLAIMS = "/api/v1/persistentvolumeclaims"
TOKEN = "agent-token"
Object = dict[str, Any]
Key = tuple[str, str, str]
"""Collection without its namespace, namespace, name."""


class ApiError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def now_text() -> str:
    """As Kubernetes writes moments: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """All objects, and what happened to them. Callers hold `changed` to do several things at once."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.objects: dict[Key, Object] = {}
        self.logs: dict[str, list[tuple[str, bytes]]] = {}
        self.events: list[tuple[int, str, Key, Object]] = []
        self.created: list[Key] = []
        self._version = 100
        self._forgotten = 100
        self.breaks = 0
        self.away = False
        self.forward_verbs = {"get", "create"}
        """What the agent may do with pods' `portforward`."""
        self.job_verbs = {"patch"}
        """What it may do with Jobs beside what it always may."""
        self.claim_verbs = {"create", "get", "list", "delete"}
        self.claims_refused = ""
        """What a quota says to a claim on a storage class."""
        self.patches: list[Object] = []
        self.dial: Callable[[str, int], socket.socket] = _dials_nothing
        """What a node does: connect to a port inside a pod."""
        self.forwarded = 0

    def create(self, key: Key, manifest: Object, *, dry_run: bool = False) -> Object:
        with self.changed:
            kind, namespace, name = key
            if namespace and ("/api/v1/namespaces", "", namespace) not in self.objects:
                raise ApiError(404, f'namespaces "{namespace}" not found')
            if manifest["metadata"].get("namespace", "") != namespace:
                raise ApiError(400, "the namespace of the object does not match the namespace of the request")
            if kind == "/api/v1/pods" and (found := self.violations(namespace, manifest["spec"])):
                raise ApiError(
                    403, f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": {found}'
                )
            if kind == CLAIMS and self.claims_refused and manifest["spec"]["storageClassName"]:
                raise ApiError(403, f'persistentvolumeclaims "{name}" is forbidden: {self.claims_refused}')
            if key in self.objects:
                raise ApiError(409, f'"{name}" already exists')
            made = copy.deepcopy(manifest)
            made["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now_text()}
            made.setdefault("status", {})
            if dry_run:
                return made
            self.created.append(key)
            return self._put("ADDED", key, made)

    def update(self, key: Key, item: Object) -> Object:
        with self.changed:
            return self._put("MODIFIED", key, item)

    def remove(self, key: Key) -> None:
        with self.changed:
            if (item := self.objects.pop(key, None)) is not None:
                self._tell("DELETED", key, item)

    def delete(self, key: Key, propagation: str, uid: str = "") -> Object:
        with self.changed:
            if key not in self.objects:
                raise ApiError(404, f'"{key[2]}" not found')
            item = self.objects[key]
            if uid and uid != item["metadata"]["uid"]:
                raise ApiError(409, "the UID in the precondition does not match the UID in record")
            if (
                key[0] == CLAIMS
                or key[0] == "/api/v1/pods"
                or (key[0] == "/apis/batch/v1/jobs" and propagation == "Foreground")
            ):
                item["metadata"].setdefault("deletionTimestamp", now_text())
                return self._put("MODIFIED", key, item)
            self.remove(key)
            return item

    def listed(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        with self.changed:
            return [
                copy.deepcopy(item)
                for key, item in self.objects.items()
                if key[0] == kind and namespace in {"", key[1]} and matches(item, selector)
            ]

    @property
    def version(self) -> int:
        return self._version

    def since(self, version: int, kind: str, namespace: str, selector: str) -> list[tuple[str, Object]]:
        with self.changed:
            if version < self._forgotten:
                raise ApiError(410, "too old resource version")
            return [
                (what, item)
                for at, what, key, item in self.events
                if at > version and key[0] == kind and namespace in {"", key[1]} and matches(item, selector)
            ]

    def compact(self) -> None:
        """Forget what happened, and end all watches."""
        with self.changed:
            self._version += 1
            self._forgotten, self.events = self._version, []
            self.break_watches()

    def break_watches(self) -> None:
        with self.changed:
            self.breaks += 1
            self.changed.notify_all()

    def violations(self, namespace: str, pod: Object) -> str:
        """What of a pod the namespace's Pod Security level forbids."""
        labels = self.objects[("/api/v1/namespaces", "", namespace)]["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            return ""
        found = [name for name in ("hostPID", "hostNetwork", "hostIPC") if pod.get(name)]
        allowed = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        found += [
            f"volume {key}"
            for item in pod.get("volumes", ())
            for key in item
            if key != "name" and key not in allowed
        ]
        whole = pod.get("securityContext", {})
        for container in pod["containers"]:
            context = {**whole, **container.get("securityContext", {})}
            if context.get("privileged"):
                found.append("privileged")
            if context.get("allowPrivilegeEscalation") is not False:
                found.append("allowPrivilegeEscalation != false")
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                found.append("unrestricted capabilities")
            if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
                found.append("runAsNonRoot != true")
            if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
                found.append("seccompProfile")
        return ", ".join(found)

    def _put(self, what: str, key: Key, item: Object) -> Object:
        self.objects[key] = item
        self._tell(what, key, item)
        return item

    def _tell(self, what: str, key: Key, item: Object) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self.events.append((self._version, what, key, copy.deepcopy(item)))
        self.changed.notify_all()


def matches(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels", {})
    for part in re.findall(r"(?:[^,(]|\([^)]*\))+", selector):
        name, among, values = part.partition(" in ")
        if among:
            if labels.get(name) not in values.strip("()").split(","):
                return False
        elif "=" not in part:
            if part not in labels:
                return False
        elif labels.get(part.partition("=")[0]) != part.partition("=")[2]:
            return False
    return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.store.away:
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise ApiError(401, "Unauthorized")
            self._handle(body)
        except ApiError as error:
            self._send(error.status, {"kind": "Status", "code": error.status, "message": error.message})

    def _handle(self, body: Object) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/apis/kueue.x-k8s.io":
            self._send(200, {"kind": "APIGroup", "preferredVersion": {"version": "v1beta2"}})
            return
        if address.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            asked = body["spec"]["resourceAttributes"]
            verbs = {
                ("", "pods", "portforward"): self.store.forward_verbs,
                ("batch", "jobs", ""): self.store.job_verbs,
                ("", "persistentvolumeclaims", ""): self.store.claim_verbs,
                ("", "namespaces", ""): {"create", "get"},
                ("storage.k8s.io", "storageclasses", ""): {"get"},
            }[asked["group"], asked["resource"], asked["subresource"]]
            self._send(201, {**body, "status": {"allowed": asked["verb"] in verbs}})
            return
        kind, namespace, name, sub = parsed(address.path)
        key = (kind, namespace, name)
        if kind == CLAIMS:
            verb = {"POST": "create", "DELETE": "delete"}.get(self.command, "get" if name else "list")
            if verb not in self.store.claim_verbs:
                raise ApiError(403, f'cannot {verb} resource "persistentvolumeclaims"')
        if self.command == "POST":
            key = (kind, namespace, body["metadata"]["name"])
            self._send(201, self.store.create(key, body, dry_run=query.get("dryRun") == "All"))
        elif self.command == "PATCH":
            self._send(200, self._patched(key, body))
        elif self.command == "DELETE":
            uid = body.get("preconditions", {}).get("uid", "")
            self._send(200, self.store.delete(key, body.get("propagationPolicy", "Background"), uid))
        elif sub == "log":
            self._log(key, query)
        elif sub == "portforward":
            self._forward(key, query)
        elif name:
            with self.store.changed:
                if key not in self.store.objects:
                    raise ApiError(404, f'"{name}" not found')
                found = copy.deepcopy(self.store.objects[key])
            self._send(200, found)
        elif query.get("watch"):
            self._watch(kind, namespace, query)
        else:
            with self.store.changed:
                items = self.store.listed(kind, namespace, query.get("labelSelector", ""))
                version = self.store.version
            self._send(200, {"kind": "List", "metadata": {"resourceVersion": str(version)}, "items": items})

    def _patched(self, key: Key, changes: Object) -> Object:
        """As `ValidateJobSpecUpdate` has it, of what may change while a Job runs only its deadline."""
        if key[0] != "/apis/batch/v1/jobs" or "patch" not in self.store.job_verbs:
            raise ApiError(403, f'jobs.batch "{key[2]}" is forbidden: cannot patch resource "jobs"')
        if self.headers["Content-Type"] != "application/merge-patch+json":
            raise ApiError(415, "the body of the request was in an unknown format")
        with self.store.changed:
            if key not in self.store.objects:
                raise ApiError(404, f'jobs.batch "{key[2]}" not found')
            if set(changes) != {"spec"} or set(changes["spec"]) != {"activeDeadlineSeconds"}:
                raise ApiError(422, f'Job.batch "{key[2]}" is invalid: field is immutable')
            job = self.store.objects[key]
            job["spec"] |= changes["spec"]
            self.store.patches.append(changes)
            return copy.deepcopy(self.store.update(key, job))

    def _send(self, status: int, content: Mapping[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _watch(self, kind: str, namespace: str, query: Mapping[str, str]) -> None:
        self._begin_stream()
        at, breaks = int(query["resourceVersion"]), self.store.breaks
        with suppress(OSError):
            while not self.store.away and self.store.breaks == breaks:
                try:
                    with self.store.changed:
                        events = self.store.since(at, kind, namespace, query.get("labelSelector", ""))
                        newest = self.store.version
                        if not events:
                            self.store.changed.wait(1.0)
                except ApiError as error:
                    gone = {"kind": "Status", "code": error.status, "message": error.message}
                    self._chunk({"type": "ERROR", "object": gone})
                    break
                for what, item in events:
                    self._chunk({"type": what, "object": item})
                if not events and newest > at:  # others' news: a bookmark saves a list later
                    self._chunk(
                        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(newest)}}}
                    )
                at = newest
            self.wfile.write(b"0\r\n\r\n")

    def _log(self, key: Key, query: Mapping[str, str]) -> None:
        with self.store.changed:
            pod = self.store.objects.get(key)
            if pod is None:
                raise ApiError(404, f'pods "{key[2]}" not found')
            if key[2] not in self.store.logs:
                raise ApiError(
                    400, f'container "task" in pod "{key[2]}" is waiting to start: ContainerCreating'
                )
            lines = list(self.store.logs[key[2]])
        self._begin_stream("text/plain")
        since = query.get("sinceTime", "")
        data = b"".join(at.encode() + b" " + line + b"\n" for at, line in lines if at[:19] >= since[:19])
        with suppress(OSError):
            for start in range(0, len(data), 7000):
                self._raw(data[start : start + 7000])
            self.wfile.write(b"0\r\n\r\n")

    def _forward(self, key: Key, query: Mapping[str, str]) -> None:
        """As a kubelet does it (pkg/kubelet's streaming, `v4.channel.k8s.io`), for one port."""
        if self.store.forward_verbs != {"get", "create"}:
            raise ApiError(403, f'pods "{key[2]}" is forbidden: cannot get resource "pods/portforward"')
        with self.store.changed:
            pod = self.store.objects.get(key)
            if pod is None or pod["status"]["phase"] != "Running":
                raise ApiError(404, f'pods "{key[2]}" not found')
        if self.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError(400, "unable to upgrade: missing upgrade headers in request")
        if not query.get("ports", "").isdecimal():
            raise ApiError(400, 'query parameter "ports" is required')
        port, self.close_connection = int(query["ports"]), True
        protocol = ServerProtocol(subprotocols=[Subprotocol("v4.channel.k8s.io")])
        protocol.receive_data(f"{self.requestline}\n{self.headers}".replace("\n", "\r\n").encode())
        [request] = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        self.store.forwarded += 1
        _Forwarded(self.connection, protocol, port).carry(lambda: self.store.dial(key[2], port))

    def _begin_stream(self, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, event: Object) -> None:
        self._raw(json.dumps(event).encode() + b"\n")

    def _raw(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _dials_nothing(pod: str, port: int) -> socket.socket:
    raise OSError(f"there is no {pod}")


class _Forwarded:
    """One WebSocket joined with one port of a pod."""

    def __init__(self, person: socket.socket, protocol: ServerProtocol, port: int) -> None:
        self._person, self._protocol = person, protocol
        self._number = port.to_bytes(2, "little")
        self._guard = threading.Lock()

    def carry(self, dial: Callable[[], socket.socket]) -> None:
        with suppress(OSError):
            self._say(b"\0" + self._number)
            self._say(b"\1" + self._number)
            try:
                inside = dial()
            except OSError as error:
                self._say(f"\1error forwarding port: {error}".encode())
                self._end()
                return
            with inside:
                reader = threading.Thread(target=self._to_the_pod, args=(inside,), daemon=True)
                reader.start()
                while part := inside.recv(32 << 10):
                    self._say(b"\0" + part)
                self._end()
                self._person.shutdown(socket.SHUT_RDWR)
                reader.join()

    def _to_the_pod(self, inside: socket.socket) -> None:
        with suppress(OSError):
            while self._protocol.state is State.OPEN and (data := self._person.recv(64 << 10)):
                with self._guard:
                    self._protocol.receive_data(data)
                    events = self._protocol.events_received()
                    self._flush()
                for event in events:
                    if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                        assert event.fin and event.data[:1] == b"\0"
                        inside.sendall(event.data[1:])
        with suppress(OSError):
            inside.shutdown(socket.SHUT_RDWR)

    def _say(self, message: bytes) -> None:
        with self._guard:
            self._protocol.send_binary(message)
            self._flush()

    def _end(self) -> None:
        with self._guard, suppress(Exception):
            self._protocol.send_close(1000)
            self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._person.sendall(data)


def parsed(path: str) -> tuple[str, str, str, str]:
    """Collection without its namespace, namespace, name, subresource."""
    parts = path.strip("/").split("/")
    head, rest = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    plural, name, sub = [*rest, "", "", ""][:3]
    if not namespace and name and plural not in CLUSTER_WIDE:
        raise ApiError(404, "the server could not find the requested resource")
    return "/" + "/".join([*head, plural]), namespace, name, sub


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """The address at which the store is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"store": store}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        store.away = True
        store.break_watches()
        server.shutdown()
        time.sleep(0)
        server.server_close()
