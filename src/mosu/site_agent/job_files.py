"""The files through which an agent and a supervisor speak of one attempt. Standard library only."""

from typing import Literal, NotRequired, TypedDict

from mosu.sandbox.bubblewrap import Network


class ServiceFile(TypedDict):
    port: int
    health: str


class VolumeFile(TypedDict):
    name: str
    folder: str
    """Its own folder; what is seen inside is `data` in it."""
    path: str
    size_bytes: int
    writes: bool


class ImageFile(TypedDict):
    root: str
    envs: dict[str, str]
    """What its makers set."""
    drivers: list[str]
    """Libraries of cards' drivers that it gets from its node, as patterns."""


class JobFile(TypedDict):
    attempt_id: str
    setup: str
    script: str
    environment: str
    python: str
    cores: int
    cpus: list[int]
    memory_bytes: int
    disk_bytes: int
    wall_limit_s: float
    stop_grace_s: float
    log_bytes_max: int
    envs: dict[str, str]
    starter: str
    uid: int
    gid: int
    devices: list[str]
    """Device files that the sandbox shows."""
    network: Network
    """With a loopback of its own, the agent is joined to it by `dial.sock`."""
    service: NotRequired[ServiceFile | None]
    """What is kept up on its port; a job that waits since before there were services says nothing of it."""
    volumes: NotRequired[list[VolumeFile]]
    """A job that waits since before there were volumes has none."""
    image: NotRequired[ImageFile | None]
    """Whose files it sees instead of its node's and the environment's."""
    delegation: tuple[int, list[tuple[str, str]]] | None
    """Version and folders below which a cgroup is made; None: memory is sampled."""


def network_of(job: JobFile) -> Network:
    """The job's network. One that waits since before there were sessions says whether it is the machine's."""
    said: Network | bool = job["network"]
    if isinstance(said, bool):
        return "machine" if said else "none"
    return said


class MeasuresFile(TypedDict):
    cpu_s: float
    wall_s: float
    memory_peak_bytes: int
    memory_source: Literal["cgroup", "sampled"]
    uptime_s: NotRequired[float]
    restarts: NotRequired[int]
    """These two of a service alone."""


class SampleFile(TypedDict):
    at: str
    cpu_s: float
    memory_bytes: int
    accelerator_util: float | None
    accelerator_memory_bytes: int | None


class StateFile(TypedDict):
    phase: str
    pids: list[tuple[int, int]]
    """Each process to kill if the supervisor is gone, with its start in clock ticks."""
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    reason: str
    measures: MeasuresFile | None


def blank_state(phase: str) -> StateFile:
    """A state in which nothing has started."""
    return StateFile(
        phase=phase, pids=[], started_at=None, ended_at=None, exit_code=None, reason="", measures=None
    )
