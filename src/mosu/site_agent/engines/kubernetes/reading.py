"""What a Job and its pods say of an attempt. Pure: from objects to an observation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from mosu.site_agent.engines.kubernetes.api import Object
from mosu.site_agent.engines.kubernetes.manifests import CARD_NOTE
from mosu.site_agent.engines.protocol import Observation
from mosu.wire.agent import AttemptPhase, Meter

_REASON_MAX: Final = 500
_CLUSTERS_FAULT: Final = frozenset(
    {"NodeLost", "NodeShutdown", "Terminated", "Preempting", "UnexpectedAdmissionError"}
)


def reading_of(job: Object, pods: Sequence[Object]) -> Observation:
    """What is true of the attempt whose Job this is; `pods` are those that work for it, by rank."""
    started = _earliest([_started(pod) for pod in pods])
    seen = Observation(
        phase=AttemptPhase.PREPARING if started is None else AttemptPhase.RUNNING,
        started_at=started,
        reason=_why_waiting(job, pods) if started is None else "",
        units=units_of(job),
    )
    conditions = {item["type"]: item for item in job.get("status", {}).get("conditions") or ()}
    if _holds(conditions.get("Complete")):
        return _ended(seen, conditions["Complete"], pods, phase=AttemptPhase.SUCCEEDED, exit_code=0)
    if _holds(conditions.get("Failed")):
        phase, exit_code, reason = _why_failed(conditions["Failed"], pods)
        if started is None:
            phase, exit_code = AttemptPhase.LOST, None
        return _ended(seen, conditions["Failed"], pods, phase=phase, exit_code=exit_code, reason=reason)
    return seen


def stopped(
    seen: Observation, pods: Sequence[Object], *, phase: AttemptPhase, reason: str, now: datetime
) -> Observation:
    """The end of one whose Job is gone."""
    return replace(seen, phase=phase, ended_at=_latest_end(pods) or now, reason=reason)


def units_of(job: Object) -> Mapping[Meter, int]:
    """Cores and cards that Kubernetes holds for the Job's pods together; what stands beside a share is no card."""
    card = job["metadata"].get("annotations", {}).get(CARD_NOTE)
    found: dict[Meter, int] = {"core_second": 0}
    pods = int(job["spec"]["parallelism"])
    for container in job["spec"]["template"]["spec"]["containers"]:
        for name, amount in container["resources"]["requests"].items():
            if name == "cpu":
                found["core_second"] += pods * int(amount)
            elif name == card or (card is None and "/" in name):
                found["card_second"] = found.get("card_second", 0) + pods * int(amount)
    return found


def instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _holds(condition: Object | None) -> bool:
    return condition is not None and condition["status"] == "True"


def _ended(
    seen: Observation,
    condition: Object,
    pods: Sequence[Object],
    *,
    phase: AttemptPhase,
    exit_code: int | None,
    reason: str = "",
) -> Observation:
    ended_at = _latest_end(pods) or instant(condition.get("lastTransitionTime"))
    return replace(seen, phase=phase, ended_at=ended_at, exit_code=exit_code, reason=reason[:_REASON_MAX])


def _why_failed(condition: Object, pods: Sequence[Object]) -> tuple[AttemptPhase, int | None, str]:
    if condition.get("reason") == "DeadlineExceeded":
        waited = next((why for why in map(_waiting, pods) if why), "")
        return AttemptPhase.TIMED_OUT, None, f"Stopped at its wall limit. {waited}".strip()
    if why := next(filter(None, map(_fault_of_the_cluster, pods)), ""):
        return AttemptPhase.LOST, None, why
    for pod in pods:
        status = pod.get("status", {})
        if status.get("reason") == "Evicted":  # and by nobody else's need: it took more than its own
            return AttemptPhase.FAILED, None, f"disk: {status.get('message', '')}"
    # Who was stopped because another failed is no reason; moments are whole seconds, and tell them apart badly.
    failed = sorted(
        (pod for pod in pods if (_termination(pod) or {"exitCode": 0})["exitCode"] != 0),
        key=lambda pod: (
            "deletionTimestamp" in pod["metadata"],
            str(_state(pod)["terminated"].get("finishedAt")),
        ),
    )
    ends = [_state(pod)["terminated"] for pod in failed]
    if not ends:
        return AttemptPhase.LOST, None, f"Kubernetes ended it: {condition.get('message', '')}"
    return AttemptPhase.FAILED, int(ends[0]["exitCode"]), _why_exited(ends[0])


def _why_exited(end: Mapping[str, Any]) -> str:
    if end.get("reason") == "OOMKilled":
        return "memory: killed by the kernel at its limit."
    if end.get("reason") in {"StartError", "ContainerCannotRun"}:
        return f"Its container could not start: {end.get('message', '')}"
    return f"Ended with exit code {end['exitCode']}."


def _fault_of_the_cluster(pod: Object) -> str:
    """Why a pod ended by no doing of its own; empty if it did not."""
    status = pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionTarget" and _holds(condition):
            return f"Taken from its node: {condition.get('message') or condition.get('reason', '')}"
    if status.get("reason") in _CLUSTERS_FAULT:
        return f"Taken from its node: {status.get('message') or status['reason']}"
    return ""


def _why_waiting(job: Object, pods: Sequence[Object]) -> str:
    if job["spec"].get("suspend"):
        return "Kueue has not admitted it yet."
    return next((why for why in map(_waiting, pods) if why), "")


def _waiting(pod: Object) -> str:
    state = _state(pod)
    if waiting := state.get("waiting"):
        return f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    return ""


def _state(pod: Object) -> Mapping[str, Any]:
    found = pod.get("status", {}).get("containerStatuses") or ()
    return next((item["state"] for item in found if item["name"] == "task"), {})


def _termination(pod: Object) -> Mapping[str, Any] | None:
    return _state(pod).get("terminated")


def _started(pod: Object) -> datetime | None:
    state = _state(pod)
    found = state.get("running") or state.get("terminated") or {}
    return instant(found.get("startedAt"))


def _latest_end(pods: Sequence[Object]) -> datetime | None:
    ends = [instant(end.get("finishedAt")) for end in map(_termination, pods) if end is not None]
    return max((end for end in ends if end is not None), default=None)


def _earliest(moments: Sequence[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
