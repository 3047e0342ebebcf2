"""Starting one sandbox: what the payload sees, what it may not do, and the handle to end it.

Only the standard library and our own small modules are imported here: a supervisor loads this at the start
of every attempt.
"""

import json
import os
import platform
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

from mosu.sandbox import image_root
from mosu.sandbox.cgroups import Cgroup
from mosu.sandbox.image_root import Image
from mosu.sandbox.starter import RunAs, SandboxUnavailable

Network = Literal["none", "loopback", "machine"]
"""No sockets of IP at all; a loopback of its own, and nothing beside it; all that the machine reaches."""
WORK: Final = "/work"
SECRETS: Final = "/run/secrets"
_INSIDE_ID: Final = "1000"
_REAPER: Final = "/run/mosu/reaper.py"
_DIALLER: Final = "/run/mosu/dialler.py"
_VARIABLES: Final = "/run/mosu/variables"
_SETUP: Final = "/run/mosu/setup.sh"
_SCRIPT: Final = "/run/mosu/job.sh"
_SETUP_FIRST: Final = (
    f"/bin/bash {_SETUP}; code=$?; [ $code -eq 0 ] && exec /bin/bash {_SCRIPT}; "
    'echo "mosu: setup ended with exit code $code"; exit $code'
)
_HERE: Final = Path(__file__).parent
_MIB: Final = 1 << 20
_PASSWD: Final = b"runner:x:1000:1000::/work:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
_GROUP: Final = b"runner:x:1000:\nnogroup:x:65534:\n"
_HOSTS: Final = b"127.0.0.1 localhost sandbox\n::1 localhost\n"
_NAMES_FROM: Final = b"hosts: files\n"
_LIBRARIES: Final = "/opt/env/lib"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may take at most. `memory_bytes` counts the whole job, `file_bytes` one file."""

    cores: int
    memory_bytes: int
    file_bytes: int
    processes_max: int = 512
    tmp_bytes: int = 256 * _MIB
    files_max: int = 4096


@dataclass(frozen=True, slots=True)
class Service:
    """Kept up on a port of the job's own loopback."""

    port: int
    health: str = ""
    """The path that answers while it is well; empty: it is while its script runs."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of ours that is seen at `path`; never as device files or programs with rights of their own."""

    folder: Path
    path: str
    writes: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A script for bash, run in `workdir` (inside: /work) with the interpreter of `environment`, or with what `image`
    brings."""

    label: str
    setup: str
    """Run first, in a bash of its own; if it fails, the script does not run. Empty: none."""
    script: str
    workdir: Path
    environment: Path
    python: str
    limits: Limits
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Become 0600 files in the folder that `MOSU_SECRETS` names."""
    cpus: Sequence[int] = ()
    """Which cores it is held to; empty: all."""
    devices: Sequence[Path] = ()
    """Device files that it sees beside /dev/null and the like; those that are not there are passed over."""
    volumes: Sequence[Volume] = ()
    """No path within another's, nor within the sandbox's own folders."""
    network: Network = "none"
    dial: socket.socket | None = None
    """Listens outside; the dialler inside answers on it with connections to ports of the job's own loopback."""
    service: Service | None = None
    """Where given, the script is started again whenever it ends or is no longer well, until the job is stopped."""
    image: Image | None = None
    """Where given, its files are seen instead of this machine's and the environment's."""


@dataclass(slots=True)
class Sandbox:
    """A started sandbox. Read `log` and `status` until their ends, then `wait`."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    status: IO[bytes]
    first_pid: int
    """The sandbox's first process, as the host numbers it."""

    def ask_to_stop(self) -> None:
        """Pass SIGTERM to every process inside."""
        self._signal_first(signal.SIGTERM)

    def kill_inside(self) -> None:
        """Kill every process inside but the first, which then tells what they used."""
        self._signal_first(signal.SIGUSR1)

    def kill(self) -> None:
        """Kill all at once: when the first process dies, the kernel kills the rest."""
        self._signal_first(signal.SIGKILL)
        self.process.kill()

    def _signal_first(self, number: int) -> None:
        if self.process.poll() is None:
            try:
                os.kill(self.first_pid, number)
            except ProcessLookupError:
                return


def start(job: Job, *, starter: Path, who: RunAs, cgroup: Cgroup | None = None) -> Sandbox:
    """Start the job and return once its namespaces stand; bubblewrap dies with the calling process.

    Raises:
        SandboxUnavailable: bubblewrap could not build the sandbox; the message is its own.
    """
    pipes = {name: os.pipe() for name in ("log", "status", "info")}
    writers = [pipe[1] for pipe in pipes.values()]
    given, dial = _Given(), [] if job.dial is None else [job.dial.fileno()]
    try:
        command = _reaper_command(job, status=pipes["status"][1], dial=dial)
        options = [*_options(job, given), "--info-fd", str(pipes["info"][1])]
        listed = given.add(_nul_separated(options))
        process = subprocess.Popen(
            [str(starter), "--args", str(listed), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=pipes["log"][1],
            stderr=pipes["log"][1],
            pass_fds=[*given.fds, pipes["status"][1], pipes["info"][1], *dial],
            env={"PATH": "/usr/bin:/bin", "MOSU_JOB": job.label},
            cwd="/",
            # Joins the cgroup with our rights, then drops them; the supervisor has but one thread.
            preexec_fn=lambda: _become(who, cgroup=cgroup, cpus=job.cpus),  # noqa: PLW1509
        )
    except (OSError, subprocess.SubprocessError, SandboxUnavailable) as error:
        for pipe in pipes.values():
            os.close(pipe[0])
        raise SandboxUnavailable(
            f"{starter} could not be started: {error}", hint="python -m mosu.sandbox.probing says why."
        ) from error
    finally:
        given.close()
        for fd in writers:
            os.close(fd)
    log, status = os.fdopen(pipes["log"][0], "rb", 0), os.fdopen(pipes["status"][0], "rb", 0)
    with os.fdopen(pipes["info"][0], "rb") as info:
        said = info.read()
    try:
        return Sandbox(process, log, status, int(json.loads(said)["child-pid"]))
    except (ValueError, KeyError) as error:
        message = log.read(4096).decode(errors="replace").strip()
        process.kill()
        process.wait()
        log.close()
        status.close()
        raise SandboxUnavailable(
            f"bubblewrap could not build the sandbox: {message or 'it said nothing'}",
            hint="python -m mosu.sandbox.probing names the command that mends it.",
        ) from error


def filter_path(*, network: bool = False) -> Path:
    """The seccomp filter of this machine's architecture, without or with sockets of IP.

    Raises:
        SandboxUnavailable: none is shipped for it.
    """
    path = _HERE / "filters" / f"{platform.machine()}{'-network' if network else ''}.bpf"
    if not path.is_file():
        raise SandboxUnavailable(
            f"There is no system-call filter for {platform.machine()}.",
            hint="Add the architecture to tools/make_filters.py and run it.",
        )
    return path


def _nul_separated(options: Sequence[str]) -> bytes:
    """bubblewrap's own form; a NUL inside an option would smuggle in further options.

    Raises:
        SandboxUnavailable: there is one.
    """
    if any("\0" in option for option in options):
        raise SandboxUnavailable("A variable or path holds a NUL character.", hint="Remove it from the task.")
    return os.fsencode("\0".join(options)) + b"\0"


class _Given:
    """Bytes handed to bubblewrap in memory, so that nothing private shows on a command line or a disk."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def add(self, content: bytes) -> int:
        fd = os.memfd_create("mosu")
        self.fds.append(fd)
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


def _become(who: RunAs, *, cgroup: Cgroup | None, cpus: Sequence[int]) -> None:
    """In the child: join the cgroup and take the cores as ourselves, then drop all rights."""
    if cgroup is not None:
        cgroup.join()
    if cpus:
        os.sched_setaffinity(0, cpus)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)
    if who.switches:
        os.setgroups([])
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)


def _reaper_command(job: Job, *, status: int, dial: Sequence[int]) -> list[str]:
    limits = {
        "NPROC": job.limits.processes_max,
        "FSIZE": job.limits.file_bytes,
        # A coarse stop between two looks of the watcher; libraries reserve far more than they touch.
        "AS": 4 * job.limits.memory_bytes + 4096 * _MIB,
        "NOFILE": job.limits.files_max,
        "CORE": 0,
    }
    listed = ",".join(f"{name}={value}" for name, value in limits.items())
    command = ["/bin/bash", "-c", _SETUP_FIRST] if job.setup else ["/bin/bash", _SCRIPT]
    python = [job.python] if job.image is None else image_root.python(job.python)
    dialler = ",".join((*map(str, dial), *python, "-I", "-S", "-B", _DIALLER)) if dial else ""
    kept = f"{job.service.port}{job.service.health}" if job.service is not None else ""
    return [*python, "-I", "-S", "-B", _REAPER, str(status), listed, _VARIABLES, dialler, kept, *command]


def _options(job: Job, given: _Given) -> list[str]:
    """bubblewrap's options, in the order in which it obeys them."""
    return [
        *(
            "--unshare-all",
            *(("--share-net",) if job.network == "machine" else ()),
            "--unshare-user",
            "--disable-userns",
            "--uid",
            _INSIDE_ID,
            "--gid",
            _INSIDE_ID,
        ),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1", "--hostname", "sandbox"),
        *("--seccomp", str(given.add(filter_path(network=job.network != "none").read_bytes()))),
        *_programs(job),
        *_small_files(job, given),
        *("--proc", "/proc", "--dev", "/dev", "--size", str(64 * _MIB), "--tmpfs", "/dev/shm"),  # noqa: S108
        *(word for path in job.devices for word in ("--dev-bind-try", str(path), str(path))),
        *("--remount-ro", "/dev", "--perms", "1777", "--size", str(job.limits.tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108
        *_secret_files(job.secrets, given),
        *("--bind", str(job.workdir), WORK, "--chdir", WORK),
        *(
            word
            for one in job.volumes
            for word in ("--bind" if one.writes else "--ro-bind", str(one.folder), one.path)
        ),
        # Last: the root is memory that the payload would own.
        *("--remount-ro", "/", "--clearenv"),
        # The reaper and the dialler see nothing of the task's: a library to load first, say.
        *(("--setenv", "LD_LIBRARY_PATH", _LIBRARIES) if job.image is None else image_root.own_variables()),
    ]


def _programs(job: Job) -> list[str]:
    """Where programs and their libraries come from; of /etc only what they need to start."""
    etc = ["hosts", "resolv.conf", "nsswitch.conf"] if job.network == "machine" else []
    if job.image is None:
        options = [*_system_folders(""), "--ro-bind", str(job.environment), "/opt/env"]
        etc += ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime"]
    else:
        options = [
            *image_root.folders(job.image, volumes=[one.path for one in job.volumes]),
            *_system_folders(image_root.MACHINE),
            *("--ro-bind", str(job.environment), image_root.ENVIRONMENT),
            *image_root.drivers(job.image),
        ]
    return [*options, *(word for name in etc for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}"))]


def _system_folders(below: str) -> list[str]:
    """/usr and what stands for it at the root, as here."""
    options = ["--ro-bind", "/usr", f"{below}/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        folder = Path("/", name)
        if folder.is_symlink():
            options += ["--symlink", str(folder.readlink()), f"{below}{folder}"]
        elif folder.is_dir():
            options += ["--ro-bind", str(folder), f"{below}{folder}"]
    return options


def _small_files(job: Job, given: _Given) -> list[str]:
    files = {
        "/etc/passwd": _PASSWD,
        "/etc/group": _GROUP,
        _REAPER: (_HERE / "reaper.py").read_bytes(),
        _SETUP: job.setup.encode(),
        _SCRIPT: job.script.encode(),
        _VARIABLES: _nul_separated([f"{name}={value}" for name, value in _environment(job).items()]),
    }
    if job.image is not None:
        files["/etc/ld.so.preload"] = b""  # the loader obeys it in every program: ours too
    if job.dial is not None:
        files[_DIALLER] = (_HERE / "dialler.py").read_bytes()
    if job.network == "loopback":
        files |= {"/etc/hosts": _HOSTS, "/etc/nsswitch.conf": _NAMES_FROM}
    return [
        word
        for path, content in files.items()
        for word in ("--perms", "0444", "--ro-bind-data", str(given.add(content)), path)
    ]


def _secret_files(secrets: Mapping[str, str], given: _Given) -> list[str]:
    options = ["--perms", "0700", "--size", str(_MIB), "--tmpfs", SECRETS]
    for name, value in secrets.items():
        options += ["--perms", "0600", "--file", str(given.add(value.encode())), f"{SECRETS}/{name}"]
    return [*options, "--remount-ro", SECRETS]


def _environment(job: Job) -> dict[str, str]:
    """The payload's variables: the task's own may not replace those that make the sandbox work."""
    version = Path(job.python).name
    return {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(job.limits.cores),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TERM": "dumb",
        **(job.image.envs if job.image is not None else {}),
        **job.envs,
        "HOME": WORK,
        "TMPDIR": "/tmp",  # noqa: S108 (the sandbox's own)
        "USER": "runner",
        "MOSU_SECRETS": SECRETS,
        **(
            image_root.variables(job.image)
            if job.image is not None
            else {
                "PATH": "/opt/env/bin:/usr/local/bin:/usr/bin:/bin",
                "LD_LIBRARY_PATH": _LIBRARIES,
                "PYTHONPATH": f"/opt/env/lib/{version}/site-packages",
            }
        ),
    }


def wait(sandbox: Sandbox, *, patience_s: float) -> int | None:
    """bubblewrap's exit code; None if it has not ended in time."""
    until = time.monotonic() + patience_s
    while sandbox.process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    return sandbox.process.returncode
