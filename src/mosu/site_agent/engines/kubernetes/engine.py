"""Attempts as Jobs that Kueue admits. Kubernetes keeps them apart; a volume that pods and agent share carries files.

| in `attempts/ID` of the volume | by | what |
|---|---|---|
| `work`, `job`, `ranks` | | what the pods see: working folder, scripts, who claimed which rank, how a service fares |
| `job.json` | agent | where the Job is |
| `made` | agent | the Job was made: it is not made again |
| `cancel` | agent | the end is asked for |
| `unprovided.json` | agent | why its volumes are waited for no longer |
| `log`, `cursor.json` | agent | what the pods printed, and how far it was read |
| `end.json` | agent | the last word |
"""

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.sandbox.probing import SandboxReport
from mosu.sandbox.starter import RunAs, give_to_sandbox
from mosu.site_agent.engines.cards import devices_of
from mosu.site_agent.engines.kubernetes.access import access_of
from mosu.site_agent.engines.kubernetes.api import KubernetesApi, KubernetesAway, Object, Refused
from mosu.site_agent.engines.kubernetes.claims import Claims
from mosu.site_agent.engines.kubernetes.forwarding import Forwarding
from mosu.site_agent.engines.kubernetes.manifests import (
    EXTENDS,
    FORWARDS,
    SELECTOR,
    Item,
    Right,
    attempt_items,
    job_item,
    may,
    name_of,
    namespace_items,
    namespace_manifest,
    namespace_of,
    privileged_pod,
    users,
)
from mosu.site_agent.engines.kubernetes.mirror import Mirror
from mosu.site_agent.engines.kubernetes.options import NODE_LABEL, RESOURCES, KubernetesOptions
from mosu.site_agent.engines.kubernetes.printed import copy_log
from mosu.site_agent.engines.kubernetes.quantities import cores_of, number_of
from mosu.site_agent.engines.kubernetes.reading import instant, reading_of, stopped
from mosu.site_agent.engines.kubernetes.upkeep import upkeep_in
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, LogPart, Observation
from mosu.site_agent.engines.vendors import card_files_of
from mosu.site_agent.files import read_json_if_whole, remove_tree, write_durably
from mosu.site_agent.jobs import attempts_folder, check_task, log_part, size_of, working_folder
from mosu.wire.agent import AttemptPhase, AttemptSpec, DeviceInfo, Measures, NodeInfo
from mosu.wire.images import image_of
from mosu.wire.shares import kind_of

_ENTRY: Final = Path(__file__).with_name("entry.sh")
_SSHD_PACKAGE: Final = "openssh-server"
_LAST_LOG_S_MAX: Final = 20.0
CLAIM_PATIENCE_S: Final = 600.0
"""So long storage may take for a volume of a pod that is let in."""
_TAKEN: Final = "The volume is still used by another attempt. Try again once that has ended."
_NO_FORWARD: Final = (
    "No sessions are sold: the agent may not forward ports of pods. "
    "Give it get and create on pods/portforward (docs/reference/engines-kubernetes.md), and start it again."
)


class _JobFile(TypedDict):
    namespace: str
    collection: str
    nodes: int
    extras: list[str]
    """Addresses of what the attempt has beside its Job."""
    session: NotRequired[bool]
    """Whether people are joined to its ports; of a Job from before there were sessions nothing is said."""
    service: NotRequired[bool]
    """Whether it is kept up; of a Job from before that was measured nothing is said."""
    volumes: NotRequired[list[str]]
    """Addresses of the claims that it uses."""


class KubernetesEngine:
    name = "kubernetes"
    poll_s = 1.0
    spans_nodes = True

    def __init__(self, options: KubernetesOptions, *, log_bytes_max: int, volumes_gb: int = 0) -> None:
        self._options, self._log_bytes_max = options, log_bytes_max
        access = access_of(options.kubeconfig, options.context)
        self._api, self._forwarding = KubernetesApi(access), Forwarding(access)
        self._rights: dict[Right, bool] = {}
        """As far as the server has said it: each is asked for once."""
        self._attempts = attempts_folder(options.folder)
        if os.geteuid() != 0:  # who cannot give files away has the containers run as itself
            self._options = options.model_copy(update={"user_id": os.geteuid()})
        self._who = RunAs(self._options.user_id, self._options.user_id)
        self.volumes = (
            Claims(
                self._api,
                self._options,
                room_gb=volumes_gb,
                may=self._has,
                memory=options.folder / "cluster.json",
            )
            if options.volumes_storage_class
            else None
        )
        self._waits: dict[EngineRef, float] = {}
        """Since when its pods wait for their volumes."""
        self._jobs = Mirror(self._api, "/apis/batch/v1/jobs", selector=SELECTOR)
        self._pods = Mirror(self._api, "/api/v1/pods", selector=SELECTOR)
        self._ready: set[str] = set()
        self._last_nodes: tuple[NodeInfo, ...] = ()
        self._last: dict[EngineRef, Observation] = {}
        self._guard = threading.Lock()
        self._reading: dict[EngineRef, threading.Lock] = {}

    @property
    def reaches(self) -> bool:
        return not self.unreached

    @property
    def unreached(self) -> str:
        try:
            return "" if self._has(FORWARDS) else _NO_FORWARD
        except (KubernetesAway, Refused) as away:
            return f"No sessions are sold: Kubernetes does not answer: {away}"

    @property
    def has_sshd(self) -> bool:
        """Whether all images of its settings have it, by their lists of packages: nobody looks into an image before it
        runs."""
        return all(
            any(package.partition("==")[0] == _SSHD_PACKAGE for package in image.packages)
            for image in self._options.images.values()
        )

    @property
    def extends(self) -> bool:
        """Whether the agent may change a Job's deadline; not while the server does not say."""
        try:
            return self._has(EXTENDS)
        except (KubernetesAway, Refused):
            return False

    def _has(self, rights: Sequence[Right]) -> bool:
        """
        Raises:
            KubernetesAway: it could not be asked.
        """
        for right in rights:
            if right not in self._rights:
                question = may(right)
                said = self._api.answer(question.collection, question.manifest)
                self._rights[right] = bool(said["status"]["allowed"])
        return all(self._rights[right] for right in rights)

    def isolation(self) -> SandboxReport:
        """Asked by doing: the server must refuse a privileged pod in a namespace like those of organisations."""
        try:
            return self._tried()
        except KubernetesAway as away:
            return _no(f"Kubernetes does not answer: {away}", "Check [kubernetes] kubeconfig.")
        except Refused as refusal:
            return _no(
                f"The server refuses the agent: {refusal.said}", "Give it the role in engines-kubernetes.md."
            )

    def _tried(self) -> SandboxReport:
        if not self._kueue_version():
            return _no("Kueue is not installed in the cluster.", "Install Kueue, and make a ClusterQueue.")
        queue = self._options.cluster_queue
        path = f"/apis/kueue.x-k8s.io/{self._kueue_version()}/clusterqueues/{queue}"
        if self._api.get(path) is None:
            return _no(f"There is no ClusterQueue {queue!r}.", "Make it, or correct [kubernetes].")
        namespace = f"{self._options.namespace_prefix}probe"
        self._api.create("/api/v1/namespaces", namespace_manifest(namespace))
        try:
            pods = f"/api/v1/namespaces/{namespace}/pods"
            self._api.create(pods, privileged_pod(namespace), dry_run=True)
        except Refused as refusal:
            if refusal.status != 403 or "PodSecurity" not in refusal.said:
                raise
            return SandboxReport(True, "kubernetes+restricted-pods+network-policy", "cgroup")
        return _no(
            "The cluster lets a privileged pod into a restricted namespace.",
            "Enable its PodSecurity admission.",
        )

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Those that take pods; while the server does not answer, those that did."""
        try:
            found = self._api.get("/api/v1/nodes") or {"items": ()}
        except (KubernetesAway, Refused):
            return self._last_nodes
        self._last_nodes = tuple(
            NodeInfo(
                name=node["metadata"]["labels"]["kubernetes.io/hostname"],
                cores=int(cores_of(node["status"]["allocatable"]["cpu"])),
                memory_bytes=int(number_of(node["status"]["allocatable"]["memory"])),
                disk_bytes=int(number_of(node["status"]["allocatable"].get("ephemeral-storage", "0"))),
                devices=self._devices_of(node),
            )
            for node in found["items"]
            if _takes_pods(node)
        )
        return self._last_nodes

    def card_files(self, accelerator: str) -> Sequence[str]:
        return card_files_of(accelerator)

    def workdir(self, attempt_id: str) -> Path:
        return working_folder(self._attempts / attempt_id)

    def submit(self, spec: AttemptSpec) -> EngineRef:
        """
        Raises:
            Invalid: it cannot run here; nothing was started.
            OSError: the server does not answer; submitting again is safe.
        """
        ref, folder = EngineRef(spec.attempt_id), self._attempts / spec.attempt_id
        with self._guard:
            if (folder / "made").exists() or (folder / "end.json").exists():
                return ref
            self._check(spec)
            self._lay(spec, folder)
            job, extras = job_item(spec, self._options), attempt_items(spec, self._options)
            where = _JobFile(
                namespace=job.manifest["metadata"]["namespace"],
                collection=job.collection,
                nodes=len(spec.nodes),
                extras=[item.path for item in extras],
                session=spec.session,
                service=spec.service is not None,
                volumes=[item.path for item in self._claims_of(spec)],
            )
            write_durably(folder / "job.json", where)
            if (folder / "cancel").exists():
                self._end(
                    ref, folder, Observation(AttemptPhase.CANCELLED, reason="Cancelled before it started.")
                )
                return ref
            try:
                self._make_ready(where["namespace"])
                if self.volumes is not None and spec.volumes:
                    if self.volumes.are_used(spec, where["namespace"]):
                        self._end(ref, folder, Observation(AttemptPhase.FAILED, reason=_TAKEN))
                        return ref
                    self.volumes.lay(spec, where["namespace"])
                for item in (*extras, job):
                    self._api.create(item.collection, item.manifest)
            except KubernetesAway as away:
                raise OSError(f"Kubernetes does not answer: {away}") from away
            except Refused as refusal:
                self._end(
                    ref,
                    folder,
                    Observation(AttemptPhase.LOST, reason=f"Refused by the cluster: {refusal.said}"),
                )
                return ref
            (folder / "made").touch()
        return ref

    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]:
        """`lost`: somebody deleted its Job, or its node went."""
        return {ref: self._observed(ref) for ref in refs}

    def read_log(self, ref: EngineRef, *, offset: int, bytes_max: int) -> LogPart:
        folder = self._attempts / ref
        if not (folder / "end.json").exists() and (where := _where(folder)) is not None:
            self._copy_log(ref, folder, where)
        return log_part(folder / "log", offset=offset, bytes_max=bytes_max)

    def cancel(self, ref: EngineRef) -> None:
        folder = self._attempts / ref
        if not folder.is_dir():
            return
        (folder / "cancel").touch()
        if (where := _where(folder)) is not None and not (folder / "end.json").exists():
            self._delete_job(ref, where)

    def extend(self, ref: EngineRef, wall_limit_s: int) -> None:
        """The Job's own deadline is put off: its controller looks at it again whenever it changes."""
        where = _where(self._attempts / ref)
        if where is None:
            raise OSError("It has no Job yet.")
        path = f"{where['collection']}/{name_of(ref)}"
        try:
            job = self._api.get(path)
            if job is None:
                raise OSError("Its Job is gone.")
            if job["spec"].get("activeDeadlineSeconds", 0) < wall_limit_s:
                self._api.merge(path, {"spec": {"activeDeadlineSeconds": wall_limit_s}})
        except KubernetesAway as away:
            raise OSError(f"Kubernetes does not answer: {away}") from away
        except Refused as refusal:
            raise OSError(f"The server refuses a later deadline: {refusal.said}") from refusal

    def connect(self, ref: EngineRef, port: int) -> socket.socket:
        """A connection to the port on the own loopback of a session's pod.

        Raises:
            NotReached: there is none; it says why within 9 seconds.
        """
        folder = self._attempts / ref
        where = _where(folder)
        if where is None or not where.get("session") or (folder / "end.json").exists():
            raise NotReached("It is not running, or it is no session.")
        for pod in self._working(folder, where, self._pods.of_job(where["namespace"], name_of(ref))):
            if pod.get("status", {}).get("phase") == "Running":
                return self._forwarding.connect(_path_of(where, pod), port)
        raise NotReached("It is not running, or it is no session.")

    def clean(self, ref: EngineRef) -> None:
        """Its Job goes too: what it had to say is on the disk."""
        folder = self._attempts / ref
        if (where := _where(folder)) is not None:
            self._delete_job(ref, where)
        remove_tree(folder / "work")

    def forget(self, ref: EngineRef) -> None:
        folder = self._attempts / ref
        if (where := _where(folder)) is not None:
            self._delete_job(ref, where)
            for mirror in (self._jobs, self._pods):
                mirror.drop(where["namespace"], name_of(ref))
        remove_tree(folder)
        self._last.pop(ref, None)
        self._waits.pop(ref, None)
        self._reading.pop(ref, None)

    def close(self) -> None:
        """Watch no longer."""
        self._jobs.close()
        self._pods.close()

    def _check(self, spec: AttemptSpec) -> None:
        try:
            reaches = spec.session and self._has(FORWARDS)
        except KubernetesAway as away:
            raise OSError(f"Kubernetes does not answer: {away}") from away
        named = image_of(spec.environment)
        if named and not self._options.image_of(spec.environment):
            raise Invalid(
                "Images from there are not run here.",
                hint="Its supplier may allow it: [kubernetes] allowed_images.",
                field="image_id",
                found=spec.environment,
            )
        check_task(
            spec,
            [spec.environment] if named else self._options.images,
            reaches=reaches,
            keeps_volumes=self.volumes is not None,
        )
        if spec.session and len(spec.nodes) > 1:
            raise Invalid(
                "A session has one node.", hint="Ask for one.", field="num_nodes", found=len(spec.nodes)
            )
        if spec.cards and not self._options.resource_of(spec.accelerator):
            raise Invalid(
                f"No resource is known for {spec.accelerator}.",
                hint="Name it in [kubernetes] accelerators.",
                field="accelerators",
                found=spec.accelerator,
            )

    def _lay(self, spec: AttemptSpec, folder: Path) -> None:
        """The folders that the pods see: what they read is ours, what they write is theirs."""
        give_to_sandbox(self.workdir(spec.attempt_id), self._who)
        for name in ("ranks", "job"):
            (folder / name).mkdir(mode=0o755, exist_ok=True)
            (folder / name).chmod(0o755)
        give_to_sandbox(folder / "ranks", self._who)
        for name, text in (
            ("entry.sh", _ENTRY.read_text()),
            ("setup.sh", spec.setup.strip()),
            ("job.sh", spec.run),
            *users(self._options.user_id).items(),
            ("service", "" if spec.service is None else f"{spec.service.port} {spec.service.health}\n"),
        ):
            (folder / "job" / name).write_text(text)
            (folder / "job" / name).chmod(0o644)

    def _make_ready(self, namespace: str) -> None:
        if namespace in self._ready:
            return
        for item in namespace_items(namespace, self._options, kueue_version=self._kueue_version()):
            self._api.create(item.collection, item.manifest)
        self._ready.add(namespace)

    def _kueue_version(self) -> str:
        """As this cluster's Kueue prefers it; empty where there is none."""
        found = self._api.get("/apis/kueue.x-k8s.io")
        return "" if found is None else str(found["preferredVersion"]["version"])

    def _observed(self, ref: EngineRef) -> Observation:
        folder = self._attempts / ref
        if (end := read_json_if_whole(folder / "end.json")) is not None:
            return _observation(end)
        if (where := _where(folder)) is None:
            return Observation(AttemptPhase.LOST)
        try:
            seen = self._read(ref, folder, where)
        except KubernetesAway:
            return self._last.get(ref, Observation(AttemptPhase.PREPARING))
        if seen.phase in FINAL_PHASES:
            return self._end(ref, folder, seen)
        if seen.started_at is not None:  # its end will be a whole second: no more is metered until then
            seen = replace(seen, metered_until=max(seen.started_at, _now().replace(microsecond=0)))
        self._last[ref] = seen = _with_log(seen, folder)
        return seen

    def _read(self, ref: EngineRef, folder: Path, where: _JobFile) -> Observation:
        namespace, name = where["namespace"], name_of(ref)
        job = self._jobs.get(namespace, name) or self._api.get(f"{where['collection']}/{name}")
        pods = self._working(folder, where, self._pods.of_job(namespace, name))
        cancelled = (folder / "cancel").exists()
        if job is None:
            last = replace(self._last.get(ref, Observation(AttemptPhase.PREPARING)), metered_until=None)
            if cancelled:
                return stopped(last, pods, phase=AttemptPhase.CANCELLED, reason="Cancelled.", now=_now())
            if (folder / "made").exists():
                why = read_json_if_whole(folder / "unprovided.json") or "Somebody deleted its Job."
                return stopped(last, pods, phase=AttemptPhase.LOST, reason=why, now=_now())
            return last
        seen = reading_of(job, pods)
        if seen.phase in FINAL_PHASES:
            # The Job is ahead of what we were told of its pods: how they ended is asked for.
            seen = reading_of(job, pods := self._working(folder, where, self._pods_now(namespace, name)))
        elif seen.started_at is not None and job["spec"].get("suspend") and self._is_suspended(ref, where):
            self._delete_job(ref, where)
            why = "Kueue took its nodes for another."
            return stopped(seen, pods, phase=AttemptPhase.LOST, reason=why, now=_now())
        elif (cancelled or self._is_unprovided(ref, folder, where, seen, pods)) and (
            "deletionTimestamp" not in job["metadata"]
        ):
            self._delete_job(ref, where)
        if cancelled and seen.phase in {AttemptPhase.FAILED, AttemptPhase.LOST}:  # by our stopping it
            return stopped(seen, pods, phase=AttemptPhase.CANCELLED, reason="Cancelled.", now=_now())
        return seen

    def _is_unprovided(
        self, ref: EngineRef, folder: Path, where: _JobFile, seen: Observation, pods: Sequence[Object]
    ) -> bool:
        """Whether its pods wait for volumes no longer: once that is written down its Job goes, and then it is over."""
        if self.volumes is None or not where.get("volumes"):
            return False
        if (folder / "unprovided.json").exists():
            return True
        if seen.started_at is not None or not pods:
            self._waits.pop(ref, None)
            return False
        now = time.monotonic()
        if now - self._waits.setdefault(ref, now) < CLAIM_PATIENCE_S:
            return False
        self._waits[ref] = now
        with suppress(Refused):
            if why := self.volumes.unbound(where["volumes"]):
                write_durably(folder / "unprovided.json", f"{why} {seen.reason}".strip())
                return True
        return False

    def _claims_of(self, spec: AttemptSpec) -> list[Item]:
        namespace = namespace_of(spec.organisation_id, self._options)
        return self.volumes.items(spec, namespace) if self.volumes is not None else []

    def _is_suspended(self, ref: EngineRef, where: _JobFile) -> bool:
        """Whether it is now: of its Job we hear on another way than of its pods, and may hear later that it begins."""
        job = self._api.get(f"{where['collection']}/{name_of(ref)}")
        return job is not None and bool(job["spec"].get("suspend"))

    def _pods_now(self, namespace: str, name: str) -> list[Object]:
        """The Job's pods, as they are; those that are gone as they were last seen."""
        found = self._api.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"job-name={name}")
        self._pods.note((found or {"items": ()})["items"])
        return self._pods.of_job(namespace, name)

    def _working(self, folder: Path, where: _JobFile, found: Sequence[Object]) -> list[Object]:
        """The pods that claimed a rank, by rank; of a rank that nobody claimed, its newest."""
        by_rank = {_rank_of(pod): pod for pod in found}
        by_name = {pod["metadata"]["name"]: pod for pod in found}
        for rank in range(where["nodes"]):
            with suppress(OSError):
                claimant = by_name.get(os.readlink(folder / "ranks" / f"claim-{rank}"))  # noqa: PTH115
                if claimant is not None and _rank_of(claimant) == rank:
                    by_rank[rank] = claimant
        return [by_rank[rank] for rank in sorted(by_rank)]

    def _end(self, ref: EngineRef, folder: Path, seen: Observation) -> Observation:
        """Write the last word, once the log has all; then nothing is asked of the server any more."""
        where = _where(folder)
        if where is not None:
            until = time.monotonic() + _LAST_LOG_S_MAX
            while self._copy_log(ref, folder, where) and time.monotonic() < until:
                continue
            for pod in self._pods.of_job(where["namespace"], name_of(ref)):
                self._forwarding.end(_path_of(where, pod))
            for path in where["extras"]:
                with suppress(KubernetesAway, Refused):
                    self._api.delete(path)
        ended = _with_log(seen, folder)
        if where is not None and where.get("service") and seen.started_at is not None:
            said, ended_at = folder / "ranks" / "upkeep", seen.ended_at or _now()
            measures = upkeep_in(said, started_at=seen.started_at, ended_at=ended_at)
            ended = replace(ended, measures=measures)
        write_durably(folder / "end.json", _as_json(ended))
        return ended

    def _copy_log(self, ref: EngineRef, folder: Path, where: _JobFile) -> bool:
        pods = self._working(folder, where, self._pods.of_job(where["namespace"], name_of(ref)))
        paths = [(_rank_of(pod), _path_of(where, pod)) for pod in pods]
        with self._reading.setdefault(ref, threading.Lock()):
            return copy_log(self._api, folder, paths, bytes_max=self._log_bytes_max)

    def _delete_job(self, ref: EngineRef, where: _JobFile) -> None:
        """With its pods, and gone only when they are: until then it is not over."""
        with suppress(KubernetesAway, Refused):
            self._api.delete(f"{where['collection']}/{name_of(ref)}", propagation="Foreground")

    def _devices_of(self, node: Object) -> tuple[DeviceInfo, ...]:
        amounts, label = node["status"]["allocatable"], node["metadata"]["labels"].get(NODE_LABEL, "")
        kinds = {**RESOURCES, **self._options.accelerators}
        if label:
            own = self._options.accelerators
            cut = {kind: own[kind] for kind in own if kind_of(kind).accelerator == label != kind}
            kinds = {**cut, label: self._options.resource_of(label)}
        return devices_of(
            {kind: int(number_of(amounts.get(resource, "0"))) for kind, resource in kinds.items()}
        )


def _takes_pods(node: Object) -> bool:
    ready = any(
        item["type"] == "Ready" and item["status"] == "True" for item in node["status"].get("conditions", ())
    )
    closed = any(
        taint["effect"] in {"NoSchedule", "NoExecute"} for taint in node.get("spec", {}).get("taints", ())
    )
    return ready and not closed and not node.get("spec", {}).get("unschedulable")


def _rank_of(pod: Object) -> int:
    return int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])


def _path_of(where: _JobFile, pod: Object) -> str:
    return f"/api/v1/namespaces/{where['namespace']}/pods/{pod['metadata']['name']}"


def _where(folder: Path) -> _JobFile | None:
    found: _JobFile | None = read_json_if_whole(folder / "job.json")
    return found


def _with_log(seen: Observation, folder: Path) -> Observation:
    return replace(seen, log_bytes=size_of(folder / "log"))


def _as_json(seen: Observation) -> dict[str, Any]:
    found = asdict(seen)
    for key in ("started_at", "ended_at"):
        found[key] = found[key].isoformat() if found[key] else None
    found["measures"] = seen.measures and seen.measures.model_dump()
    return {**found, "ended_at": found["ended_at"] or _now().isoformat()}


def _observation(end: dict[str, Any]) -> Observation:
    return Observation(
        **{
            **end,
            "phase": AttemptPhase(end["phase"]),
            "started_at": instant(end["started_at"]),
            "ended_at": instant(end["ended_at"]),
            "measures": None if end["measures"] is None else Measures(**end["measures"]),
        }
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _no(why: str, mend: str) -> SandboxReport:
    return SandboxReport(False, "", "", why, mend)
