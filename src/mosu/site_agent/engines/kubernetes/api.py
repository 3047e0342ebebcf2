"""The Kubernetes API over HTTP, as much of it as an engine needs."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from mosu.site_agent.engines.kubernetes.access import Access

Object = Mapping[str, Any]
WATCH_S: Final = 300
_SAID_MAX: Final = 500
_LINE_BYTES_MAX: Final = 4 << 20
"""More than an object can have."""


class KubernetesAway(Exception):
    """The server does not answer, or answers that it cannot: what is true now is not known."""


class Refused(Exception):
    """The server does not do it; `status` is HTTP's."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status} {said}")
        self.status, self.said = status, said


class Gone(Exception):
    """The server no longer knows what happened since then: list again."""


class KubernetesApi:
    """One server. Safe to call from several threads."""

    def __init__(self, access: Access, *, timeout_s: float = 20.0) -> None:
        self._access = access
        # A watch holds its connection; the other calls are few, so none is kept for the next.
        self._client = httpx.Client(
            base_url=access.server,
            verify=access.tls or False,  # False: only ever plain HTTP on this machine (access.py)
            timeout=httpx.Timeout(timeout_s),
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )

    def get(self, path: str, **params: str) -> Object | None:
        """The object at `path`, or None.

        Raises:
            KubernetesAway: it could not be asked.
            Refused: we may not.
        """
        try:
            return self._call("GET", path, params=params)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def create(self, path: str, manifest: Object, *, dry_run: bool = False) -> bool:
        """Whether it was made; False if one of this name was there before, and then nothing changed.

        Raises:
            KubernetesAway: it may have been made or not.
            Refused: it was not made.
        """
        try:
            self._call("POST", path, params={"dryRun": "All"} if dry_run else {}, json=manifest)
        except Refused as refusal:
            if refusal.status != 409:
                raise
            return False
        return True

    def answer(self, path: str, question: Object) -> Object:
        """What the server says to an object that it answers and does not keep.

        Raises:
            KubernetesAway: it could not be asked.
            Refused: it does not say.
        """
        return self._call("POST", path, json=question)

    def merge(self, path: str, changes: Object) -> None:
        """Change the fields of an object that `changes` names, and no others (RFC 7386).

        Raises:
            KubernetesAway: it may have been changed or not.
            Refused: it was not changed.
        """
        self._call("PATCH", path, kind="application/merge-patch+json", json=changes)

    def delete(self, path: str, *, propagation: str = "Background", uid: str = "") -> None:
        """`uid`: not if another object has come to this name.

        Raises:
            KubernetesAway: it may have been deleted or not.
            Refused: we may not.
        """
        body: dict[str, Any] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": propagation,
        }
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._call("DELETE", path, json=body)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def watch(self, path: str, *, since: str, selector: str) -> Iterator[tuple[str, Object]]:
        """Each change after the resource version `since`, as it happens, until the server ends the stream.

        Raises:
            Gone: the server no longer knows `since`.
            KubernetesAway: the stream broke.
        """
        params = {
            "watch": "1",
            "labelSelector": selector,
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        with self._stream(path, params, timeout=httpx.Timeout(20.0, read=WATCH_S + 30.0)) as lines:
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    if event["object"].get("code") == 410:
                        raise Gone
                    raise KubernetesAway(str(event["object"].get("message", "")))
                yield event["type"], event["object"]

    def log_lines(self, pod_path: str, *, since: str) -> "_Lines":
        """What the pod's container printed, each line after its instant, from the second `since` on.

        Raises (where they are read):
            KubernetesAway: the stream broke.
            Refused: there is no log.
        """
        params = {"timestamps": "true"} | ({"sinceTime": since} if since else {})
        return self._stream(f"{pod_path}/log", params, timeout=httpx.Timeout(20.0))

    def _stream(self, path: str, params: Mapping[str, str], *, timeout: httpx.Timeout) -> "_Lines":
        request = self._client.build_request(
            "GET", path, params=params, headers=self._access.headers(), timeout=timeout
        )
        return _Lines(self._client, request)

    def _call(self, method: str, path: str, *, kind: str = "application/json", **content: Any) -> Object:
        headers = {**self._access.headers(), "Content-Type": kind}
        try:
            answer = self._client.request(method, path, headers=headers, **content)
        except (httpx.HTTPError, OSError) as error:
            raise KubernetesAway(f"{self._access.server}: {error or type(error).__name__}") from error
        _check(answer)
        try:
            found: Object = answer.json()
        except ValueError as error:  # somebody between us and the server
            raise KubernetesAway(f"{self._access.server}: what answers is no API server") from error
        return found


class _Lines:
    """An answer read line by line; closed when left, however much was read."""

    def __init__(self, client: httpx.Client, request: httpx.Request) -> None:
        self._client, self._request = client, request
        self._answer: httpx.Response | None = None

    def __enter__(self) -> Iterator[bytes]:
        try:
            self._answer = self._client.send(self._request, stream=True)
            if not self._answer.is_success:
                self._answer.read()
        except httpx.HTTPError as error:
            raise KubernetesAway(str(error) or type(error).__name__) from error
        try:
            _check(self._answer)
        except Refused as refusal:
            self._answer.close()
            if refusal.status == 410:
                raise Gone from refusal
            raise
        return self._lines(self._answer)

    def __exit__(self, *_: object) -> None:
        if self._answer is not None:
            self._answer.close()

    def _lines(self, answer: httpx.Response) -> Iterator[bytes]:
        """Of a line that is too long its beginning: what a pod prints, and whether a line ends, is the pod's own."""
        rest, is_cut = b"", False
        try:
            for part in answer.iter_bytes():
                first, *lines = part.split(b"\n")
                rest += b"" if is_cut else first
                if len(rest) > _LINE_BYTES_MAX:
                    yield rest[:_LINE_BYTES_MAX]
                    rest, is_cut = b"", True
                if lines:
                    if not is_cut:
                        yield rest
                    *whole, rest = lines
                    is_cut = False
                    yield from whole
        except httpx.HTTPError as error:
            raise KubernetesAway(str(error) or type(error).__name__) from error
        if rest:
            yield rest


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        said = str(answer.json().get("message", ""))
    except ValueError:
        said = answer.text
    # Too many requests, and what a server says that is on its way up or down, pass.
    if answer.status_code == 429 or answer.status_code >= 500:
        raise KubernetesAway(f"{answer.status_code} {said[:_SAID_MAX]}")
    raise Refused(answer.status_code, said[:_SAID_MAX])
