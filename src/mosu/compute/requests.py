"""What a run asks for, frozen: made from a task file at the quote, read back when it is reserved and leased."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from mosu.compute.placement import GIB, Need
from mosu.kernel.time import Period
from mosu.wire.task import App, TaskFile

if TYPE_CHECKING:
    from mosu.compute.models import Attempt

SHELF: Final = "compute"
"""On which runs, more time for them and blocks are sold."""
WALL_LIMIT_S: Final = 3600
"""Where a task names none."""
ENGINE_GRACE_S: Final = 30
"""Between the engine's polite and its hard stop."""
PERIOD_GRACE_S: Final = 120
"""What an allocation lasts beyond the wall limit: laying the files, starting, the engine's grace, reporting."""
MEMORY_GIB_PER_CORE: Final = 1
DISK_GIB: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSeen:
    """A volume that the run sees at `path`."""

    id: str
    name: str
    path: str
    writes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """All that placement and the engine need. Secrets are sealed; everything else is plain JSON without floats."""

    pool_id: str
    name: str
    run: str
    setup: str
    envs: dict[str, str]
    sealed_secrets: str
    outputs: tuple[str, ...]
    environment: str
    workdir_manifest: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    accelerator: str | None
    cards: int
    wall_limit_s: int
    task: str
    """The task file again, without secrets, for people."""
    nodes: int = 1
    """How many; cores, memory, disk and cards are of each."""
    not_before_s: int = 0
    """It must not start earlier: seconds since 1970; 0 where it may start whenever there is room."""
    priority: int = 0
    """Among the runs of its project that wait, the higher goes first."""
    interruptible: bool = False
    """Bought cheaper: it gives way to who pays in full."""
    recovers: bool = False
    """When it gave way it is begun again, with the files that it had written, for what is left of its wall limit."""
    block: str = ""
    """The id of the block inside which it is placed; empty: it is placed in the pool."""
    kind: str = "batch"
    """`batch`; or `session` or `service`: people are joined to its ports while it runs."""
    apps: tuple[App, ...] = ()
    """What the hub starts in a session."""
    port: int = 0
    """On which a service answers; 0: it is none."""
    health: str = ""
    """Where a service says that it is well."""
    volumes: tuple[VolumeSeen, ...] = ()
    idle_stop_s: int | None = None
    """After how long without use its task wants it stopped; None: by the organisation's rule."""
    endpoint: str = ""
    """The id of the endpoint whose replica it is to be; empty: it is none's."""
    replica: int = 0
    """How many the endpoint had before it: another that was ordered meanwhile takes its place."""
    version: int = 0
    """Of the endpoint's task."""

    @property
    def is_reached(self) -> bool:
        """Whether people are joined to its ports."""
        return self.kind != "batch"

    @property
    def within(self) -> UUID | None:
        """The block inside which it is placed."""
        return UUID(self.block) if self.block else None

    @property
    def meter(self) -> str:
        """What the run is sold by: cards where it has any (their cores come with them), else cores."""
        return "card_second" if self.cards else "core_second"

    @property
    def units(self) -> int:
        """How many of the meter's units it takes at once."""
        return self.need.units

    @property
    def duration(self) -> timedelta:
        """For how long its capacity is promised."""
        return timedelta(seconds=self.wall_limit_s + PERIOD_GRACE_S)

    @property
    def need(self) -> Need:
        return Need(
            cores=self.cores,
            memory_bytes=self.memory_bytes,
            disk_bytes=self.disk_bytes,
            accelerator=self.accelerator,
            cards=self.cards,
            nodes=self.nodes,
            joined=self.is_reached,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outputs": list(self.outputs),
            "apps": list(self.apps),
            "volumes": [asdict(one) for one in self.volumes],
        }

    @classmethod
    def of_json(cls, frozen: Mapping[str, Any]) -> "RunRequest":
        lists = {key: tuple(frozen.get(key, ())) for key in ("outputs", "apps")}
        volumes = tuple(VolumeSeen(**one) for one in frozen.get("volumes", ()))
        return cls(**{**frozen, **lists, "volumes": volumes})


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRequest:
    """A block as it was asked for: what of each of how many nodes, from when to when."""

    pool_id: str
    nodes: int
    cores: int
    memory_bytes: int
    accelerator: str | None
    cards: int
    start_s: int
    """Since 1970, as the end."""
    end_s: int
    kind: str = "block"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def period(self) -> Period:
        return Period(datetime.fromtimestamp(self.start_s, UTC), datetime.fromtimestamp(self.end_s, UTC))

    @property
    def need(self) -> Need:
        return Need(
            cores=self.cores,
            memory_bytes=self.memory_bytes,
            disk_bytes=0,
            accelerator=self.accelerator,
            cards=self.cards,
            nodes=self.nodes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRequest:
    """Room for a volume, or a snapshot, as it was asked for; with `volume_id` more time for one that is there."""

    pool_id: str
    name: str
    size_gb: int
    days: int
    volume_id: str = ""
    start_s: int = 0
    """Of more time: where the time that is paid for ends, since 1970."""
    snapshot_of: str = ""
    """The id of the volume that it is a snapshot of."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionRequest:
    """More time for a run, as it was asked for: so long from `from_s` after its attempt started."""

    pool_id: str
    run_id: str
    attempt_id: str
    from_s: int
    seconds: int
    kind: str = "extension"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def is_of_extension(frozen: Mapping[str, Any]) -> bool:
    """Whether a frozen request asks for more time for a run."""
    return frozen.get("kind") == "extension"


def is_of_block(frozen: Mapping[str, Any]) -> bool:
    """Whether a frozen request asks for a block rather than a run."""
    return frozen.get("kind") == "block"


def request_of(attempt: "Attempt") -> RunRequest:
    """What the attempt, read with its run, is to do: all that the run asked for, less what earlier attempts did.

    Its limit is what it may take by now, with what was bought while it ran.
    """
    own = attempt.run.request["wall_limit_s"] if attempt.wall_limit_s is None else attempt.wall_limit_s
    return RunRequest.of_json({**attempt.run.request, "wall_limit_s": own + attempt.extended_s})


def need_of(task: TaskFile, *, accelerator: str | None, cards: int) -> Need:
    """What the task takes, with the hub's defaults where it says nothing."""
    asked = task.resources
    cores = asked.cpus or 1
    return Need(
        cores=cores,
        memory_bytes=(asked.memory_gb or MEMORY_GIB_PER_CORE * cores) * GIB,
        disk_bytes=(asked.disk_gb or DISK_GIB) * GIB,
        accelerator=accelerator,
        cards=cards,
        nodes=task.num_nodes,
        joined=task.kind != "batch",
    )
