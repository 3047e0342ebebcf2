"""From an attempt to the job that a supervisor runs in the sandbox: the same for a laptop and for a cluster."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Environment
from mosu.sandbox.starter import RunAs
from mosu.site_agent.engines.protocol import LogPart, Observation
from mosu.site_agent.engines.vendors import drivers_of
from mosu.site_agent.files import read_json_if_whole, write_durably
from mosu.site_agent.images import Images
from mosu.site_agent.job_files import JobFile, ServiceFile, StateFile
from mosu.site_agent.logs import whole_characters
from mosu.site_agent.supervisor import LIMIT, STOP_GRACE_S_MAX
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, AttemptSpec, Measures, MeterSample
from mosu.wire.images import image_of

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SCRIPT_CHARACTERS_MAX: Final = 1 << 20


def check_task(
    spec: AttemptSpec, environments: Collection[str], *, reaches: bool, keeps_volumes: bool = False
) -> None:
    """
    Raises:
        Invalid: the environment, a variable's name or the script cannot be run here, or it is a session and nobody
            could be joined to it, or it has volumes and none are kept here.
    """
    if spec.volumes and (not keeps_volumes or len(spec.nodes) > 1):
        raise Invalid(
            "A volume is seen on one node alone." if keeps_volumes else "This pool keeps no volumes.",
            hint="Leave out volumes, or ask for one node.",
            field="volumes",
        )
    if spec.session and not reaches:
        raise Invalid(
            "Nobody can be joined to what runs on this engine.",
            hint="Run sessions and services on another pool.",
            field="kind",
            found="session" if spec.service is None else "service",
        )
    if spec.environment not in environments:
        raise Invalid(
            f"There is no environment {spec.environment!r} here.",
            hint=f"Available: {', '.join(sorted(environments)) or 'none'}.",
            field="environment",
            found=spec.environment,
        )
    for name in (*spec.envs, *spec.secrets):
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name[:60]!r} cannot name a variable.",
                hint="Use letters, digits and _.",
                found=name[:60],
            )
    if any("\0" in value for value in spec.envs.values()):
        raise Invalid("A variable's value holds a NUL character.", hint="Remove it.", field="envs")
    if len(spec.setup) + len(spec.run) > _SCRIPT_CHARACTERS_MAX:
        raise Invalid(
            "The script is longer than a million characters.",
            hint="Put it in a file of the working folder.",
            field="run",
        )


def job_of(
    spec: AttemptSpec,
    environments: Mapping[str, Environment],
    *,
    starter: Path,
    who: RunAs,
    log_bytes_max: int,
    envs: Mapping[str, str],
    reaches: bool = False,
    volumes: Volumes | None = None,
    images: Images | None = None,
    cpus: Sequence[int] = (),
    delegation: tuple[int, list[tuple[str, str]]] | None = None,
) -> JobFile:
    """What a supervisor needs to know of the attempt. `envs` come beside its own, and win.

    Raises:
        Invalid: as `check_task` says.
    """
    named = image_of(spec.environment) if images is not None else ""
    known = {spec.environment: next(iter(environments.values()))} if named else environments
    check_task(spec, known, reaches=reaches, keeps_volumes=volumes is not None)
    environment, image = known[spec.environment], None
    if images is not None and named:
        image = images.of(named, drivers=drivers_of(spec.accelerator) if spec.cards else ())
    return JobFile(
        attempt_id=spec.attempt_id,
        setup=spec.setup.strip(),
        script=spec.run,
        environment=str(environment.root),
        python=environment.python,
        cores=spec.cores,
        cpus=list(cpus),
        memory_bytes=spec.memory_bytes,
        disk_bytes=spec.disk_bytes,
        wall_limit_s=spec.wall_limit_s,
        stop_grace_s=min(spec.grace_s, STOP_GRACE_S_MAX),
        log_bytes_max=log_bytes_max,
        envs={**spec.envs, **envs},
        starter=str(starter),
        uid=who.uid,
        gid=who.gid,
        devices=[],
        network="loopback" if spec.session else "none",
        service=None
        if spec.service is None
        else ServiceFile(port=spec.service.port, health=spec.service.health),
        volumes=volumes.laid_for(spec) if volumes is not None else [],
        image=image,
        delegation=delegation,
    )


def attempts_folder(folder: Path) -> Path:
    """Where attempts lie below the state folder: the sandbox's user passes through, and can list nothing."""
    attempts = folder / "attempts"
    for part in (folder, attempts):
        if not part.is_dir():
            part.mkdir(mode=0o711, parents=True)
            part.chmod(0o711)
    return attempts


def working_folder(attempt: Path) -> Path:
    """The attempt's working folder, made if it is not there."""
    work = attempt / "work"
    if not work.is_dir():
        work.mkdir(mode=0o700, parents=True)
        work.parent.chmod(0o711)
    return work


def extend_limit(attempt: Path, wall_limit_s: int) -> None:
    """Leave its supervisor word of a later limit.

    Raises:
        OSError: it could not be written down.
    """
    if attempt.is_dir():
        write_durably(attempt / LIMIT, wall_limit_s)


def log_part(path: Path, *, offset: int, bytes_max: int) -> LogPart:
    """Whole characters of a cleaned log from `offset` on."""
    try:
        with path.open("rb") as log:
            log.seek(offset)
            return LogPart(offset, whole_characters(log.read(bytes_max)))
    except FileNotFoundError:
        return LogPart(offset, b"")


def size_of(path: Path) -> int:
    """0 where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def instant_of(text: str | None) -> datetime | None:
    """A moment as a supervisor writes it."""
    return None if text is None else datetime.fromisoformat(text)


def observed(folder: Path, state: StateFile) -> Observation:
    """The attempt in `folder` as its supervisor left word of it."""
    measures, sample = state["measures"], read_json_if_whole(folder / "sample.json")
    return Observation(
        phase=AttemptPhase(state["phase"]),
        started_at=instant_of(state["started_at"]),
        ended_at=instant_of(state["ended_at"]),
        exit_code=state["exit_code"],
        reason=state["reason"],
        measures=None if measures is None else Measures(**measures),
        log_bytes=size_of(folder / "log"),
        sample=None if sample is None else MeterSample(**sample),
    )
