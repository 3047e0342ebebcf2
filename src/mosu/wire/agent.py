"""The messages between a hub and a site agent (`/agent/v1`, JSON over HTTPS, always called by the agent).

| call | body | answer |
|---|---|---|
| `GET  /agent/v1/pool` | | `PoolSeen`: whose token this is, and what time it is there |
| `POST /agent/v1/register` | `Registration` | `Registered` |
| `POST /agent/v1/lease?wait_s=25` | `LeaseRequest` | `Lease`, or 204 when nothing came in time |
| `POST /agent/v1/heartbeat` | `Heartbeat` | `HeartbeatAnswer` |
| `POST /agent/v1/attempts/{id}/log` | `LogChunk` | `LogAck` |
| `POST /agent/v1/usage` | `UsageBatch` | `UsageAck` |
| `GET  /agent/v1/blobs/{sha256}` | | bytes of an input of a leased attempt |
| `PUT  /agent/v1/attempts/{id}/blobs/{sha256}` | bytes | 201 once durable and checked, 200 if already there |
| `POST /agent/v1/attempts/{id}/report` | `Report` | `ReportAck` |
| `POST /agent/v1/health` | `HealthReport` | `HealthAck` |

The agent authenticates with its pool's token (`Authorization: Bearer`). The epoch fences commands, never
observations: a report of an old epoch is still taken as an observation.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mosu.wire.images import PREFIX
from mosu.wire.shares import INDEX_MAX
from mosu.wire.times import Moment

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AttemptId = Annotated[str, StringConstraints(pattern=r"^attempt_[0-9a-z]{26}$")]
VolumeId = Annotated[str, StringConstraints(pattern=r"^volume_[0-9a-z]{26}$")]
CopyId = Annotated[str, StringConstraints(pattern=r"^volumecopy_[0-9a-z]{26}$")]
_COUNT_MAX: Final = (1 << 53) - 1
Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
"""As far as every JSON reader counts exactly."""
Small = Annotated[int, Field(ge=-(1 << 31), le=(1 << 31) - 1)]
Meter = Literal["core_second", "card_second"]
NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Instance = Annotated[str, StringConstraints(max_length=64)]
"""Which agent speaks: the same over restarts on one machine and state folder, another for any other agent."""
LOG_CHUNK_BYTES_MAX = 262_144
COPIED_BYTES_MIN: Final = 1 << 20
"""Of smaller files the bytes say nothing of the way."""
VOLUMES_MAX: Final = 100
"""That are named in one message."""
ATTEMPTS_MAX = 20_000
"""That one agent has at once."""


class Message(BaseModel):
    """Strict and closed: an unknown key is an error. So that versions may differ, what is at its default is not sent:
    an older side understands all but what is asked of it by name, and that it is asked only if it said it can."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def as_sent(self) -> dict[str, object]:
        """For JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)


class DeviceInfo(Message):
    """One accelerator card, or one share of it. `accelerator` is the id in the accelerator data file, such as
    `ascend-910b2`; with a share's kind and index as `mosu.wire.shares` writes them."""

    index: Annotated[int, Field(ge=0, le=INDEX_MAX)]
    accelerator: str


class NodeInfo(Message):
    """One machine as the engine sees it."""

    name: NodeName
    cores: Annotated[int, Field(ge=0, le=4096)]
    memory_bytes: Count
    disk_bytes: Count
    devices: tuple[DeviceInfo, ...] = ()
    reached: bool = True
    """Whether people come to sessions that run here, if they come to any of the pool's."""


class EnvironmentInfo(Message):
    """A prebuilt software environment that a task may name (`mosu: {environment: NAME}`)."""

    name: str
    python: str
    packages: Annotated[tuple[str, ...], Field(max_length=2000)] = ()
    has_sshd: bool = False
    """Whether it brings OpenSSH's server, whatever the machines have."""


class PoolSeen(Message):
    """The pool of a token, as the hub knows it."""

    pool_id: str
    pool_name: str
    clock_at: Moment


class Registration(Message):
    """What the agent has, at its start and whenever it changes."""

    agent_version: str
    instance: Instance = ""
    host: Annotated[str, StringConstraints(max_length=100)] = ""
    engine: str
    clock_at: Moment
    nodes: Annotated[tuple[NodeInfo, ...], Field(max_length=4096)]
    environments: Annotated[tuple[EnvironmentInfo, ...], Field(max_length=256)] = ()
    sandbox: str
    """`bubblewrap+seccomp+cgroup`, `bubblewrap+seccomp` or why there is none (then no attempt is leased)."""
    sandbox_ok: bool
    spans_nodes: bool = True
    """Whether one attempt may have several nodes, which reach each other."""
    reaches: bool = False
    """Whether it joins people to the ports of sessions that run here (`mosu.wire.tunnel`)."""
    has_sshd: bool = False
    """Whether those sessions find OpenSSH's server in every environment: on their machine, or in their image."""
    images: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=PREFIX)], ...], Field(max_length=64)
    ] = ()
    """Registries, or parts of them, whose images tasks may name (`resources: {image_id: ...}`)."""
    extends: bool = False
    """Whether what runs can be given more time."""
    volumes_gb: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """How much room it keeps for volumes, in GiB; none where it keeps no volumes."""
    copies_volumes: bool = False
    """Whether it makes snapshots of them, and puts them back."""


class Registered(Message):
    pool_id: str
    pool_name: str
    heartbeat_s: int
    clock_skew_s: float
    organisation_id: str = ""
    """The supplier's own: in its name the agent tests its nodes."""
    tunnel_url: str = ""
    """Where the agent opens its tunnel (`ws:` or `wss:`); empty where the hub joins nobody to anything."""


class LeaseRequest(Message):
    instance: Instance = ""
    epoch_seen: Count = 0
    running: Annotated[tuple[AttemptId, ...], Field(max_length=ATTEMPTS_MAX)] = ()


class InputFile(Message):
    """A file that the agent lays under the working folder before it starts. `path` is relative, normalised."""

    path: str
    sha256: Sha256
    size_bytes: Count
    executable: bool = False


class ServiceSpec(Message):
    """What is kept up: started again whenever it ends, or no longer answers at `health` on its own `port`."""

    port: Annotated[int, Field(ge=1, le=65_535)]
    health: str = ""


class VolumeSpec(Message):
    """A volume of the buyer's, seen at `path` inside the sandbox."""

    volume_id: VolumeId
    path: Annotated[str, StringConstraints(pattern=r"^/(data|mnt)(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){0,4}$")]
    size_bytes: Annotated[int, Field(ge=1)]
    writes: bool


class AttemptSpec(Message):
    """All that an engine needs to start one attempt. Secrets reach the run as 0600 files, never by argv.

    It runs once on each of `nodes`, whose first is rank 0; cores, memory and disk are of each node.
    """

    attempt_id: AttemptId
    run_id: str
    organisation_id: str
    epoch: Annotated[int, Field(ge=1)]
    nodes: Annotated[tuple[str, ...], Field(min_length=1)]
    cores: Annotated[int, Field(ge=1)]
    accelerator: str = ""
    """The id of its cards' type in the accelerator data file, or the kind of its share; empty where it has none."""
    devices: tuple[tuple[int, ...], ...] = ()
    """By node, in their order: the indices of its cards or shares, as many on each; empty where it has none."""
    memory_bytes: Annotated[int, Field(ge=1)]
    disk_bytes: Annotated[int, Field(ge=1)]
    wall_limit_s: Annotated[int, Field(ge=1)]
    grace_s: Count
    environment: str
    setup: str = ""
    run: str
    envs: dict[str, str] = {}
    secrets: dict[str, str] = {}
    workdir: tuple[InputFile, ...] = ()
    outputs: tuple[str, ...] = ()
    """Globs, relative to the working folder, of the files that come back."""
    session: bool = False
    """Whether people are joined to ports of its own loopback while it runs; it is on one node then."""
    service: ServiceSpec | None = None
    volumes: tuple[VolumeSpec, ...] = ()
    """Each once, no path within another's; the attempt is on one node then."""

    @property
    def cards(self) -> int:
        """On each node."""
        return len(self.devices[0]) if self.devices else 0

    @property
    def units(self) -> Mapping[Meter, int]:
        """What is metered of it, in cores and cards of all its nodes."""
        units: dict[Meter, int] = {"core_second": self.cores * len(self.nodes)}
        if self.devices:
            units["card_second"] = sum(len(indices) for indices in self.devices)
        return units


class Lease(Message):
    spec: AttemptSpec
    lease_s: int


class AttemptPhase(StrEnum):
    """What the engine says of an attempt; `lost` means that the engine knows nothing of it."""

    PREPARING = "preparing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"


class MeterSample(Message):
    """What an attempt has taken up to an instant: for its curves, never for its bill."""

    at: Moment
    cpu_s: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
    """CPU seconds since it started."""
    memory_bytes: Count
    accelerator_util: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """How busy its cards are, from 0 to 1, the mean over all; None where the engine cannot say."""
    accelerator_memory_bytes: Count | None = None
    """Of all its cards together; None where the engine cannot say."""


class AttemptStatus(Message):
    attempt_id: AttemptId
    epoch: Small
    phase: AttemptPhase
    started_at: Moment | None = None
    sample: MeterSample | None = None


class CopySpec(Message):
    """What `source` holds goes to `target`: a new volume that nobody writes, or in the place of what that holds."""

    copy_id: CopyId
    source: VolumeId
    target: VolumeId
    bytes_max: Annotated[int, Field(ge=1)]
    restores: bool = False


class CopyFault(StrEnum):
    """Why a copy failed. Nothing is left of it then, and its target holds what it held."""

    FULL = "full"
    """The pool's disk is full."""
    TOO_LARGE = "too_large"
    """There is more than `bytes_max`."""
    CHANGED = "changed"
    """Something changed while it was copied."""
    CLOSED = "closed"
    """Parts are too deep, or closed to their own user."""
    IN_USE = "in_use"
    """Somebody else uses the source or the target."""
    DISK = "disk"
    """The disk fails, or is not there."""


class CopyStatus(Message):
    copy_id: CopyId
    phase: Literal["copying", "whole", "failed"]
    bytes_done: Count = 0
    bytes_total: Count = 0
    """What the source takes; 0 until it has been looked at. Of one that is whole, what the target takes."""
    took_s: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0
    fault: CopyFault | None = None


class Heartbeat(Message):
    instance: Instance = ""
    clock_at: Moment
    attempts: Annotated[tuple[AttemptStatus, ...], Field(max_length=ATTEMPTS_MAX)] = ()
    volumes_deleted: Annotated[tuple[VolumeId, ...], Field(max_length=VOLUMES_MAX)] = ()
    """Of those that the hub wanted deleted: nothing of them is there."""
    volume_copies: Annotated[tuple[CopyStatus, ...], Field(max_length=VOLUMES_MAX)] = ()
    """Of those that the hub wanted made: how they stand."""


class Command(Message):
    """What the hub wants done to a leased attempt. An agent obeys only the highest epoch it has seen."""

    attempt_id: AttemptId
    epoch: Small
    action: Literal["cancel", "forget", "extend"]
    """`forget`: the hub has settled it; the agent may delete its state. `extend`: its wall limit is `wall_limit_s` now;
    said with every answer, since the first may be lost."""
    wall_limit_s: Annotated[int, Field(ge=1)] | None = None


class HeartbeatAnswer(Message):
    commands: tuple[Command, ...] = ()
    checks: tuple[NodeName, ...] = ()
    """Nodes whose health the hub asks for; named again until it is reported."""
    volumes_to_delete: Annotated[tuple[VolumeId, ...], Field(max_length=VOLUMES_MAX)] = ()
    """Named again until the agent says that nothing of them is there."""
    volume_copies: Annotated[tuple[CopySpec, ...], Field(max_length=VOLUMES_MAX)] = ()
    """Named again until the agent says how they ended; one that is no longer named is to be broken off."""


class LogChunk(Message):
    """Bytes `offset..` of the attempt's log (stdout and stderr as one), control sequences already stripped."""

    offset: Count
    text: Annotated[str, StringConstraints(max_length=LOG_CHUNK_BYTES_MAX)]
    """UTF-8; `offset` counts the bytes of its encoding."""


class LogAck(Message):
    next_offset: int


class Usage(Message):
    """What was used since the last report: a claim, which the hub bounds by what it observed itself.

    A negative quantity takes back what was claimed too much: an engine's final books are the last word.
    """

    attempt_id: AttemptId
    meter: Meter
    sequence: Count
    quantity: Annotated[int, Field(ge=-_COUNT_MAX, le=_COUNT_MAX)]
    """In the meter's unit: allocated cores (or cards) x seconds."""
    start: Moment
    end: Moment


class UsageBatch(Message):
    records: Annotated[tuple[Usage, ...], Field(max_length=1000)]


class UsageAck(Message):
    accepted: int
    repeated: int
    quarantined: int


class Measures(Message):
    """What the attempt really consumed, measured around the sandbox; None where the engine cannot say."""

    cpu_s: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None = None
    wall_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    memory_peak_bytes: Count | None = None
    memory_source: Literal["cgroup", "sampled"] | None = None
    uptime_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Of a service: how long it was well."""
    restarts: Count = 0


class Copied(Message):
    """Files of at least `COPIED_BYTES_MIN` that the agent carried, and how long that took."""

    size_bytes: Annotated[int, Field(ge=1, le=_COUNT_MAX)]
    took_ms: Annotated[int, Field(ge=1, le=_COUNT_MAX)]


class OutputFile(Message):
    path: str
    sha256: Sha256
    size_bytes: Count


class Report(Message):
    """How an attempt ended. May be sent again; may come late; counts once."""

    epoch: Small
    phase: Literal["succeeded", "failed", "cancelled", "timed_out", "lost"]
    exit_code: Small | None
    reason: str = ""
    started_at: Moment | None
    ended_at: Moment
    measures: Measures | None
    log_bytes: Count
    outputs: tuple[OutputFile, ...] = ()
    copied_in: Copied | None = None
    copied_out: Copied | None = None
    """From the hub and back to it; None where nothing large was carried."""


class ReportAck(Message):
    settled: bool
    settled_at: datetime | None = None


class HealthMeasure(Message):
    """One figure of a health test, such as `write_bytes_per_s`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class HealthReport(Message):
    """What a health test of a node measured, or why there was none. The hub judges it."""

    instance: Instance = ""
    node: NodeName
    measures: Annotated[tuple[HealthMeasure, ...], Field(max_length=100)] = ()
    fault: Annotated[str, StringConstraints(max_length=300)] = ""
    """Why the test itself did not end well; empty if it did."""
    took_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class HealthAck(Message):
    fit: bool
    why: str = ""
