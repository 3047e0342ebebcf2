"""Speaking with the hub: every call is made by us, may be repeated, and is repeated until it is answered."""

import random
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
from structlog.stdlib import BoundLogger

from mosu.site_agent.outputs import read_chunks
from mosu.wire import agent as wire

AnswerT = TypeVar("AnswerT", bound=wire.Message)
LEASE_WAIT_S: Final = 25
_BACKOFF_S: Final = (0.2, 15.0)
_RETRIED: Final = frozenset({408, 425, 429})


class Refusal(Exception):
    """The hub understood and said no: to repeat the same would not help."""

    def __init__(self, status: int, said: str, facts: dict[str, Any]) -> None:
        super().__init__(f"{status}: {said}")
        self.status, self.said, self.facts = status, said, facts


class HubRefused(Refusal):
    """It refused this call."""


class TokenRefused(Refusal):
    """It refused us: the pool's token is unknown, expired or revoked. Says nothing of the call."""


class HubAway(Exception):
    """The hub answered that it cannot answer now."""


class Stopping(Exception):
    """The agent is shutting down while the hub does not answer."""


class Hub:
    """One client for all threads. A call ends with the hub's answer, its refusal, or the agent's end."""

    def __init__(
        self, url: str, token: str, *, stopping: threading.Event, log: BoundLogger, instance: str = ""
    ) -> None:
        self.instance = instance
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}", "User-Agent": "mosu-site-agent"},
            timeout=httpx.Timeout(15.0, connect=5.0),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )
        self._stopping, self._log = stopping, log

    def close(self) -> None:
        self._client.close()

    def pool(self) -> wire.PoolSeen:
        """Whose token this is, asked once.

        Raises:
            HubAway: the hub is away.
        """
        try:
            answer = self._client.get("/agent/v1/pool")
        except httpx.HTTPError as error:
            raise HubAway(str(error) or type(error).__name__) from error
        return wire.PoolSeen.model_validate_json(_checked(answer).content)

    def register(self, registration: wire.Registration) -> wire.Registered:
        return self._post("register", registration, wire.Registered)

    def lease(self, request: wire.LeaseRequest, *, wait_s: int = LEASE_WAIT_S) -> wire.Lease | None:
        """The next attempt for this pool; None if none came in time."""
        answer = self._call(
            "POST",
            f"/agent/v1/lease?wait_s={wait_s}",
            json=request.as_sent(),
            timeout=httpx.Timeout(wait_s + 15.0, connect=5.0),
        )
        return None if answer.status_code == 204 else wire.Lease.model_validate_json(answer.content)

    def heartbeat(
        self,
        attempts: tuple[wire.AttemptStatus, ...],
        *,
        volumes_deleted: tuple[str, ...] = (),
        volume_copies: tuple[wire.CopyStatus, ...] = (),
    ) -> wire.HeartbeatAnswer:
        """Sent once, since a later one says more.

        Raises:
            HubAway: the hub is away.
        """
        body = wire.Heartbeat(
            instance=self.instance,
            clock_at=datetime.now(UTC),
            attempts=attempts,
            volumes_deleted=volumes_deleted,
            volume_copies=volume_copies,
        )
        try:
            answer = self._client.post("/agent/v1/heartbeat", json=body.as_sent())
        except httpx.TransportError as error:
            raise HubAway(str(error) or type(error).__name__) from error
        return wire.HeartbeatAnswer.model_validate_json(_checked(answer).content)

    def log(self, attempt_id: str, chunk: wire.LogChunk) -> wire.LogAck:
        return self._post(f"attempts/{attempt_id}/log", chunk, wire.LogAck)

    def usage(self, batch: wire.UsageBatch) -> wire.UsageAck:
        return self._post("usage", batch, wire.UsageAck)

    def report(self, attempt_id: str, report: wire.Report) -> wire.ReportAck:
        return self._post(f"attempts/{attempt_id}/report", report, wire.ReportAck)

    def health(self, report: wire.HealthReport) -> wire.HealthAck:
        return self._post("health", report, wire.HealthAck)

    def fetch_blob(self, sha256: str, target: Path) -> None:
        """Write an input to `target`, from the start again if the hub goes away on the way."""
        attempt = 0
        while True:
            try:
                with self._client.stream("GET", f"/agent/v1/blobs/{sha256}") as answer:
                    if not answer.is_success:
                        answer.read()
                        _checked(answer)
                    with target.open("wb") as file:
                        for chunk in answer.iter_bytes():
                            file.write(chunk)
            except (httpx.TransportError, HubAway) as error:
                attempt += 1
                self._back_off(attempt, "blob", error)
            else:
                return

    def put_blob(self, attempt_id: str, sha256: str, path: Path, *, size_bytes: int) -> None:
        """Send an output; returns once the hub has it on its disk."""
        self._call(
            "PUT",
            f"/agent/v1/attempts/{attempt_id}/blobs/{sha256}",
            file=path,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)},
            timeout=httpx.Timeout(120.0, connect=5.0),
        )

    def _post(self, path: str, body: wire.Message, answer: type[AnswerT]) -> AnswerT:
        found = self._call("POST", f"/agent/v1/{path}", json=body.as_sent())
        return answer.model_validate_json(found.content)

    def _call(self, method: str, path: str, *, file: Path | None = None, **options: Any) -> httpx.Response:
        attempt = 0
        while True:
            try:
                if file is not None:
                    options["content"] = read_chunks(file)
                return _checked(self._client.request(method, path, **options))
            except (httpx.TransportError, HubAway) as error:
                attempt += 1
                self._back_off(attempt, path, error)

    def _back_off(self, attempt: int, what: str, error: Exception) -> None:
        """Wait before the next try: twice as long each time, with chance, never long.

        Raises:
            Stopping: the agent is told to stop meanwhile.
        """
        least, most = _BACKOFF_S
        wait = min(most, least * 2 ** min(attempt - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 (jitter)
        self._log.warning(
            "hub away", call=what, error=str(error) or type(error).__name__, retry_in_s=round(wait, 2)
        )
        if self._stopping.wait(wait):
            raise Stopping


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    status, facts = answer.status_code, _facts(answer)
    if status >= 500 or status in _RETRIED:
        raise HubAway(f"status {status}")
    said = str(facts.get("title") or facts.get("detail") or answer.reason_phrase)
    raise (TokenRefused if status == 401 else HubRefused)(status, said, facts)


def _facts(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
