"""Attempts as Ray jobs. Ray says where a job runs and whether; the shared folder says what became of the attempt.

A job's process is mosu's supervisor, which claims the attempt and runs it in the sandbox. So nothing of a tenant
ever runs as Ray's user, and the wall limit, the log and the measures are those of every other engine.
"""

import math
import shlex
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox.dial_socket import DIAL_SOCKET
from mosu.sandbox.environments import Environment
from mosu.sandbox.probing import SandboxReport
from mosu.sandbox.starter import RunAs
from mosu.site_agent.engines.cards import devices_of
from mosu.site_agent.engines.dialling import dialled
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, LogPart, Observation
from mosu.site_agent.engines.ray.api import RayApi, RayAway, RayJob, RayNode
from mosu.site_agent.engines.ray.leg import LEG_FILE
from mosu.site_agent.engines.ray.legs import Legs
from mosu.site_agent.engines.ray.meeting import Met, met
from mosu.site_agent.engines.ray.options import RayOptions
from mosu.site_agent.engines.vendors import card_files_of, device_files, variables_of
from mosu.site_agent.files import read_json, read_json_if_whole, remove_tree, write_durably
from mosu.site_agent.images import Images
from mosu.site_agent.job_files import StateFile, blank_state
from mosu.site_agent.jobs import attempts_folder, extend_limit, job_of, log_part, observed, working_folder
from mosu.site_agent.laying import lay_tools
from mosu.site_agent.ranks import rank_variables
from mosu.site_agent.supervisor import claim, finish
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, AttemptSpec, DeviceInfo, NodeInfo
from mosu.wire.shares import card_at, kind_of

_PROBE_S_MAX: Final = 60.0
_SILENT_S: Final = 30.0
"""A supervisor writes every two seconds; so long may a shared folder keep that from us."""
_ASK_AFTER_S: Final = 6.0
CONNECT_S_MAX: Final = 9.0
"""Whoever asks waits no longer for a leg; the relay gives an agent ten seconds."""
_MEETINGS_MAX: Final = 16
"""At once."""


class RayEngine:
    """State lies in `FOLDER/attempts/ID`, which agent and nodes share."""

    name = "ray"
    poll_s = 0.5
    spans_nodes = False
    extends = True

    def __init__(
        self,
        options: RayOptions,
        *,
        environments: Sequence[Environment],
        disk_bytes: int,
        log_bytes_max: int,
        silent_s: float = _SILENT_S,
        volumes: Volumes | None = None,
        images: Images | None = None,
    ) -> None:
        self.volumes, self._images = volumes, images
        self._options, self._disk_bytes, self._log_bytes_max = options, disk_bytes, log_bytes_max
        self._environments = {environment.name: environment for environment in environments}
        self._api = RayApi(options.address, token_file=options.token_file)
        self._attempts = attempts_folder(options.folder)
        self._tools = lay_tools(options.folder / "tools")
        self._signs = _SignsOfLife(silent_s)
        self._last_nodes: tuple[NodeInfo, ...] = ()
        self._choosing, self._meeting = threading.Lock(), threading.Lock()
        self._met: dict[str, Met] = {}
        """By node, those that were tried."""
        self._legs = Legs(options.legs_address)

    @property
    def reaches(self) -> bool:
        return not self.unreached

    @property
    def unreached(self) -> str:
        """Found out, by a job on each node: a session may come to any."""
        try:
            return next((found.why_not for found in self._all_met() if found.why_not), "")
        except RayAway as away:
            return f"No sessions are sold: Ray does not answer: {away}"
        except OSError as error:
            return f"No sessions are sold: the shared folder cannot be used: {error}"

    @property
    def has_sshd(self) -> bool:
        """Where people are joined at all, on every node."""
        try:
            return all(not found.why_not and found.has_sshd for found in self._all_met())
        except (RayAway, OSError):
            return False

    def _all_met(self) -> list[Met]:
        """What is found of the nodes that are alive; each is tried once.

        Raises:
            RayAway: it could not be asked.
            OSError: the shared folder cannot be used.
        """
        with self._meeting:
            nodes = self._api.nodes()
            if unknown := [node for node in nodes if node.name not in self._met]:
                with ThreadPoolExecutor(_MEETINGS_MAX, "meet") as threads:
                    for node, found in zip(unknown, threads.map(self._meet, unknown), strict=True):
                        self._met[node.name] = found
            return [self._met[node.name] for node in nodes] or [Met("No sessions are sold: Ray has no node.")]

    def _way_to(self, name: str) -> Met:
        """What is found of the node, which is alive.

        Raises:
            OSError: it cannot be found out now.
        """
        if name not in self._met:
            try:
                self._all_met()
            except RayAway as away:
                raise OSError(f"Ray does not answer: {away}") from away
        return self._met[name]

    def _meet(self, node: RayNode) -> Met:
        place = self._options.folder / "meetings"
        return met(self._api, node, place, legs=self._legs, command=self._command, resources=_only(node))

    def isolation(self) -> SandboxReport:
        """Asked of every node that is alive: each builds a sandbox, or none is leased for."""
        folder = self._options.folder / "probes" / uuid.uuid4().hex
        folder.mkdir(mode=0o700, parents=True)
        try:
            nodes = self._api.nodes()
            for number, node in enumerate(nodes):
                command = self._command("--probe", folder / str(number))
                self._api.submit(f"{folder.name}-{number}", command, entrypoint_resources=_only(node))
            return self._probed(folder, nodes)
        except RayAway as away:
            return _no(f"Ray does not answer ({away}).", "Start its head, or correct [ray] address.")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Those that are alive; while Ray does not answer, those that were."""
        try:
            found = self._api.nodes()
        except RayAway:
            return self._last_nodes
        self._last_nodes = tuple(
            NodeInfo(
                name=node.name,
                cores=int(node.resources.get("CPU", 0)),
                memory_bytes=int(node.resources.get("memory", 0)),
                disk_bytes=self._disk_bytes // len(found),
                devices=self._devices_of(node),
            )
            for node in found
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
        """
        ref, folder = EngineRef(spec.attempt_id), self._attempts / spec.attempt_id
        with self._choosing:
            if (folder / "claim").exists():
                return ref
            wanted = self._wanted(spec)
            job = job_of(
                spec,
                self._environments,
                starter=self._tools,  # the node's own choice, as is who runs it
                who=RunAs(0, 0),
                log_bytes_max=self._log_bytes_max,
                envs=rank_variables(rank=0, addresses=["127.0.0.1"], cards=spec.cards),
                reaches=spec.session and not self._way_to(spec.nodes[0]).why_not,
                volumes=self.volumes,
                images=self._images,
            )
            if spec.cards:  # no others are in the sandbox, so a runtime counts them from 0
                cards = list(dict.fromkeys(map(card_at, spec.devices[0])))
                job["devices"] = device_files(spec.accelerator, cards)
                seen = ",".join(str(number) for number in range(len(cards)))
                job["envs"] |= dict.fromkeys(variables_of(spec.accelerator), seen)
            self.workdir(spec.attempt_id)
            if (folder / "cancel").exists():
                self._end_unstarted(folder, "cancelled", "Cancelled before it started.")
                return ref
            if spec.secrets:
                write_durably(folder / "secrets.json", spec.secrets)
            if spec.session and self._way_to(spec.nodes[0]).by_leg:
                self._legs.invite(folder)
            write_durably(folder / "job.json", job)
        with suppress(RayAway):  # the courier submits again while nothing starts
            self._api.submit(ref, self._command(folder), metadata={"run": spec.run_id}, **wanted)
        return ref

    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]:
        """`lost`: Ray runs it no more and its supervisor is silent, without a last word."""
        return {ref: self._observed(ref) for ref in refs}

    def read_log(self, ref: EngineRef, *, offset: int, bytes_max: int) -> LogPart:
        return log_part(self._attempts / ref / "log", offset=offset, bytes_max=bytes_max)

    def cancel(self, ref: EngineRef) -> None:
        """Its supervisor sees the file and stops it gently; one that Ray has not yet started never starts."""
        folder = self._attempts / ref
        if not folder.is_dir():
            return
        (folder / "cancel").touch()
        if (folder / "job.json").exists():
            self._end_unstarted(folder, "cancelled", "Cancelled before it started.")

    def extend(self, ref: EngineRef, wall_limit_s: int) -> None:
        """A supervisor writes beside the file every two seconds, so a shared folder shows it in time."""
        extend_limit(self._attempts / ref, wall_limit_s)

    def connect(self, ref: EngineRef, port: int) -> socket.socket:
        """By its leg, where its node is another machine."""
        folder = self._attempts / ref
        if (folder / LEG_FILE).exists():
            return self._legs.connect(folder, port, patience_s=CONNECT_S_MAX)
        return dialled(folder, port)

    def clean(self, ref: EngineRef) -> None:
        remove_tree(self._attempts / ref / "work")

    def forget(self, ref: EngineRef) -> None:
        self._legs.end(self._attempts / ref)
        remove_tree(self._attempts / ref)
        with suppress(RayAway):
            self._api.delete(ref)

    def _command(self, *words: str | Path) -> str:
        payload = self._tools / "mosu" / "site_agent" / "engines" / "ray" / "payload.py"
        return shlex.join([self._options.python, "-I", "-S", "-B", str(payload), *map(str, words)])

    def _probed(self, folder: Path, nodes: Sequence[RayNode]) -> SandboxReport:
        until = time.monotonic() + _PROBE_S_MAX
        reports: list[SandboxReport] = []
        for number, node in enumerate(nodes):
            job = f"{folder.name}-{number}"
            while (said := read_json(folder / str(number))) is None and time.monotonic() < until:
                if (found := self._api.job(job)) is not None and found.ended:
                    said = read_json(folder / str(number))
                    break
                time.sleep(0.2)
            if said is None:
                why = self._api.output(job) or "it did not answer in time"
                return _no(
                    f"Node {node.name} could not be asked: {why}", "See docs/reference/engines-ray.md."
                )
            report = SandboxReport(**said)
            if not report.ok:
                return _no(f"Node {node.name}: {report.why_not}", report.mend)
            reports.append(report)
            with suppress(RayAway):
                self._api.delete(job)
        if not reports:
            return _no("Ray has no node.", "Start one.")
        return min(reports, key=lambda report: len(report.features))

    def _wanted(self, spec: AttemptSpec) -> dict[str, object]:
        """What Ray reserves for the job, on the node that the hub chose."""
        if len(spec.nodes) > 1:
            raise Invalid(
                "This pool runs attempts of one node.",
                hint="Take one node, or a pool on Slurm or Kubernetes.",
                field="num_nodes",
                found=len(spec.nodes),
                allowed=1,
            )
        try:
            node = {node.name: node for node in self._api.nodes()}.get(spec.nodes[0])
        except RayAway as away:
            raise OSError(f"Ray does not answer: {away}") from away
        if node is None:
            raise Invalid(
                f"Ray has no node {spec.nodes[0]!r}.", hint="Order again.", field="nodes", found=spec.nodes[0]
            )
        resources = _only(node)
        wanted: dict[str, object] = {
            "entrypoint_num_cpus": spec.cores,
            "entrypoint_memory": spec.memory_bytes,
            "entrypoint_resources": resources,
        }
        if spec.cards:
            resource = self._options.accelerators.get(spec.accelerator, "").partition(":")[0]
            if not resource:
                raise Invalid(
                    f"This pool has no {spec.accelerator}.", hint="Order again.", field="accelerators"
                )
            amount = _amount_of(spec)
            if resource == "GPU":
                wanted["entrypoint_num_gpus"] = amount
            else:
                resources[resource] = amount
        return wanted

    def _devices_of(self, node: RayNode) -> tuple[DeviceInfo, ...]:
        counts: dict[str, int] = {}
        for accelerator, resource in self._options.accelerators.items():
            name, _, kind = resource.partition(":")
            if kind and kind not in {node.labels.get("ray.io/accelerator-type"), *_types_of(node)}:
                continue
            share = kind_of(accelerator)
            counts[accelerator] = int(node.resources.get(name, 0)) * (share.shares if share.shared else 1)
        return devices_of(counts)

    def _observed(self, ref: EngineRef) -> Observation:
        folder = self._attempts / ref
        buried: StateFile | None = read_json_if_whole(folder / "buried.json")
        state = buried or read_json_if_whole(folder / "state.json")
        if state is not None and state["phase"] in FINAL_PHASES:
            return _observation(folder, state)
        self._legs.welcome(folder)
        if not (folder / "job.json").exists():
            return Observation(AttemptPhase.LOST)
        if not self._signs.is_due(ref, folder):
            return _observation(folder, state)
        try:
            job = self._api.job(ref)
        except RayAway:
            return _observation(folder, state)
        if job is not None and not job.ended:
            return _observation(folder, state)
        return self._settled(ref, folder, job)

    def _settled(self, ref: EngineRef, folder: Path, job: RayJob | None) -> Observation:
        """Ray does not run it: what is said of it now? Read after Ray was asked: a last word is there by now."""
        state: StateFile | None = read_json_if_whole(folder / "state.json")
        if state is not None and state["phase"] in FINAL_PHASES:
            return _observation(folder, state)
        if not (folder / "claim").exists():
            if job is None:  # never taken, or forgotten with the head: the courier submits it again
                return _observation(folder, state)
            self._end_unstarted(folder, "lost", f"Ray could not start it. {job.message}".strip())
        elif self._signs.is_silent(ref, folder):
            _bury(folder, state, "Ray runs it no more." if job is None else job.message)
        return _observation(folder, read_json(folder / "buried.json") or read_json(folder / "state.json"))

    def _end_unstarted(self, folder: Path, phase: str, reason: str) -> None:
        """Write the end of what nobody started, unless somebody just does: whoever claims has the last word."""
        if not claim(folder, ["agent"]):
            return
        for name in ("secrets.json", LEG_FILE):
            (folder / name).unlink(missing_ok=True)
        finish(folder, blank_state(phase), reason=reason)
        with suppress(RayAway):
            self._api.stop(folder.name)


class _SignsOfLife:
    """Since when what a supervisor writes has stood still, by our own clock alone."""

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._seen: dict[EngineRef, tuple[int, float]] = {}

    def is_due(self, ref: EngineRef, folder: Path) -> bool:
        """Whether Ray should be asked: nothing was written lately, or nothing ever was."""
        return not (folder / "state.json").exists() or self._still_s(ref, folder) >= min(
            _ASK_AFTER_S, self._silent_s
        )

    def is_silent(self, ref: EngineRef, folder: Path) -> bool:
        return self._still_s(ref, folder) >= self._silent_s

    def _still_s(self, ref: EngineRef, folder: Path) -> float:
        written = max(_written_ns(folder / name) for name in ("claim", "state.json", "sample.json"))
        before = self._seen.get(ref)
        if before is None or before[0] != written:
            before = self._seen[ref] = (written, time.monotonic())
        return time.monotonic() - before[1]


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _bury(folder: Path, state: StateFile | None, reason: str) -> None:
    """The last word on what its supervisor left; one that lives after all stops by the cancel beside it."""
    (folder / "cancel").touch()
    state = state or blank_state("preparing")
    state["phase"], state["reason"] = "lost", f"Its supervisor is gone. {reason}".strip()
    write_durably(folder / "buried.json", state)
    for name in ("secrets.json", DIAL_SOCKET, LEG_FILE):
        (folder / name).unlink(missing_ok=True)


def _observation(folder: Path, state: StateFile | None) -> Observation:
    return Observation(AttemptPhase.PREPARING) if state is None else observed(folder, state)


def _only(node: RayNode) -> dict[str, float]:
    """A share of the resource that only this node has."""
    return {f"node:{node.ip}": 0.001}


def _amount_of(spec: AttemptSpec) -> int | float:
    """What Ray is asked for: cards, or the part of one that a share is; rounded down as Ray counts, so that all fit."""
    kind = kind_of(spec.accelerator)
    return math.floor(10_000 * spec.cards / kind.shares) / 10_000 if kind.shared else spec.cards


def _types_of(node: RayNode) -> list[str]:
    return [
        name.removeprefix("accelerator_type:")
        for name in node.resources
        if name.startswith("accelerator_type:")
    ]


def _no(why: str, mend: str) -> SandboxReport:
    return SandboxReport(False, "", "", why, mend)
