"""What the agent asks of an engine."""

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NewType, Protocol

from mosu.sandbox.probing import SandboxReport
from mosu.wire.agent import AttemptPhase, AttemptSpec, Measures, Meter, MeterSample, NodeInfo

EngineRef = NewType("EngineRef", str)
"""The engine's own name for an attempt; the local engine uses the attempt's id."""

FINAL_PHASES = frozenset(AttemptPhase) - {AttemptPhase.PREPARING, AttemptPhase.RUNNING}


@dataclass(frozen=True, slots=True)
class Observation:
    """What the engine says of an attempt now."""

    phase: AttemptPhase
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    measures: Measures | None = None
    log_bytes: int = 0
    metered_until: datetime | None = None
    """As far as the engine's own accounting has it while it runs; None: until now."""
    units: Mapping[Meter, int] | None = None
    """Cores and cards that the engine's own accounting has for it; None: those that were asked for."""
    sample: MeterSample | None = None
    """What it took when it was last looked at; None where the engine cannot say."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """Whole characters of the log from `offset` on; empty if there is nothing more yet."""

    offset: int
    data: bytes


class VolumeKeeper(Protocol):
    """Keeps the volumes of a pool's buyers."""

    @property
    def room_gb(self) -> int:
        """How much may be sold."""

    @property
    def unkept(self) -> str:
        """Why none is sold now, for the supplier's eyes; empty where it is."""

    def delete(self, volume_ids: Collection[str]) -> tuple[str, ...]:
        """Set about deleting these, without waiting; those of which nothing is left. The others are asked for again."""


class Engine(Protocol):
    """Runs attempts somewhere. Submitting one attempt id twice starts it once."""

    name: str
    poll_s: float
    """How long to wait between two looks at an attempt that runs."""

    @property
    def volumes(self) -> VolumeKeeper | None:
        """Where buyers' volumes are kept; None where the settings name no place."""

    @property
    def spans_nodes(self) -> bool:
        """Whether an attempt may have several nodes, which reach each other."""

    @property
    def reaches(self) -> bool:
        """Whether people can be joined to ports of sessions that run here."""

    @property
    def unreached(self) -> str:
        """Why they cannot, for the supplier's eyes; empty where they can."""

    @property
    def has_sshd(self) -> bool:
        """Whether those sessions find OpenSSH's server on their machine, or in their image."""

    @property
    def extends(self) -> bool:
        """Whether what runs here can be given more time."""

    def isolation(self) -> SandboxReport:
        """Whether and how one organisation's attempts are kept from another's; without it nothing is leased."""

    def nodes(self) -> tuple[NodeInfo, ...]: ...
    def card_files(self, accelerator: str) -> Sequence[str]:
        """How the files of one card are named where an attempt finds them, `{index}` and `{render}` for its number."""

    def workdir(self, attempt_id: str) -> Path:
        """The folder in which the agent lays the inputs before it submits, and finds the outputs."""

    def submit(self, spec: AttemptSpec) -> EngineRef: ...
    def observe(self, refs: Sequence[EngineRef]) -> Mapping[EngineRef, Observation]: ...
    def read_log(self, ref: EngineRef, *, offset: int, bytes_max: int) -> LogPart: ...
    def cancel(self, ref: EngineRef) -> None: ...
    def extend(self, ref: EngineRef, wall_limit_s: int) -> None:
        """Let what runs go on until so long after it started; an earlier limit than it has changes nothing.

        Raises:
            OSError: it could not be written down or told; asking again is safe.
        """

    def connect(self, ref: EngineRef, port: int) -> socket.socket:
        """A connection to the port on the own loopback of a session: it blocks, and no child inherits it.

        It is the TCP socket itself, or a socket whose other end is carried to one on another machine.

        Raises:
            NotReached: there is none; it says why within 9 seconds (the relay waits for 10).
        """

    def clean(self, ref: EngineRef) -> None:
        """Delete the working folder of an ended attempt, once its outputs are safe elsewhere."""

    def forget(self, ref: EngineRef) -> None:
        """Delete all that is known of an ended attempt."""
