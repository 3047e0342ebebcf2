"""Ray's HTTP API (the head's dashboard port), as much of it as an engine needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_SAID_MAX: Final = 500


class RayAway(Exception):
    """The head does not answer, or answers that it cannot: what is true now is not known."""


@dataclass(frozen=True, slots=True)
class RayNode:
    name: str
    ip: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RayJob:
    status: str
    message: str

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class RayApi:
    """One cluster. Safe to call from several threads."""

    def __init__(self, address: str, *, token_file: Path | None = None, timeout_s: float = 20.0) -> None:
        # Calls are few: no connection is kept for the next one, and none is left open.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=address, timeout=timeout_s, limits=limits, trust_env=False)
        self._token_file = token_file

    def nodes(self) -> tuple[RayNode, ...]:
        """Those that are alive, by name.

        Raises:
            RayAway: it could not be asked.
        """
        answer = self._call("GET", "/api/v0/nodes", params={"detail": "1", "limit": "10000"}).json()
        found = answer["data"]["result"]["result"]
        return tuple(
            sorted(
                (
                    RayNode(
                        name=node["node_name"] or node["node_ip"],
                        ip=node["node_ip"],
                        resources=node["resources_total"],
                        labels=node.get("labels") or {},
                    )
                    for node in found
                    if node["state"] == "ALIVE"
                ),
                key=lambda node: node.name,
            )
        )

    def submit(self, submission_id: str, entrypoint: str, **wanted: Any) -> None:
        """Start a job, unless Ray ever knew this id.

        Raises:
            RayAway: it may have started or not.
        """
        body = {"submission_id": submission_id, "entrypoint": entrypoint, **wanted}
        try:
            self._call("POST", "/api/jobs/", json=body)
        except RayAway:
            if self.job(submission_id) is None:
                raise

    def job(self, submission_id: str) -> RayJob | None:
        """What Ray says of it; None if it knows no such job.

        Raises:
            RayAway: it could not be asked.
        """
        answer = self._call("GET", f"/api/jobs/{submission_id}", missing_ok=True)
        if answer.status_code == 404:
            return None
        found = answer.json()
        return RayJob(found["status"], (found.get("message") or "")[:_SAID_MAX])

    def output(self, submission_id: str) -> str:
        """The end of what the job's own process printed.

        Raises:
            RayAway: it could not be asked.
        """
        answer = self._call("GET", f"/api/jobs/{submission_id}/logs", missing_ok=True)
        return "" if answer.status_code == 404 else str(answer.json().get("logs", ""))[-_SAID_MAX:].strip()

    def stop(self, submission_id: str) -> None:
        """
        Raises:
            RayAway: it may have been stopped or not.
        """
        self._call("POST", f"/api/jobs/{submission_id}/stop", missing_ok=True)

    def delete(self, submission_id: str) -> None:
        """Let Ray forget an ended job.

        Raises:
            RayAway: it may have been deleted or not.
        """
        self._call("DELETE", f"/api/jobs/{submission_id}", missing_ok=True)

    def _call(self, method: str, path: str, *, missing_ok: bool = False, **content: Any) -> httpx.Response:
        headers = {}
        if self._token_file is not None:  # read each time: tokens are renewed in place
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        try:
            answer = self._client.request(method, path, headers=headers, **content)
        except httpx.HTTPError as error:
            raise RayAway(f"{self._client.base_url}: {error or type(error).__name__}") from error
        if answer.is_success or (missing_ok and answer.status_code == 404):
            return answer
        raise RayAway(f"{method} {path}: {answer.status_code} {answer.text[-_SAID_MAX:].strip()}")
