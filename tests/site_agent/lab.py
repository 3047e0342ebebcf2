"""A place where real sandboxes run: below /tmp, since pytest's own folders are closed to the sandbox's user."""

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mosu.kernel.ids import typeid, uuid7
from mosu.sandbox.environments import Environment, build_python_environment
from mosu.site_agent.engines.local import LocalEngine, LocalNode
from mosu.site_agent.engines.protocol import FINAL_PHASES, EngineRef, Observation
from mosu.wire.agent import AttemptPhase, AttemptSpec

MIB = 1 << 20


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through, deleted afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mosu-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def shared_folder() -> Path:
    """One for the whole session, whichever folder of tests asks: environments take seconds to build."""
    folder = Path(tempfile.mkdtemp(prefix="mosu-test-", dir="/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def environment_in(folder: Path) -> Environment:
    return build_python_environment(folder / "environments", packages=["numpy"])


def make_spec(run: str = "true", **changes: Any) -> AttemptSpec:
    facts: dict[str, Any] = {
        "attempt_id": typeid("attempt", uuid7()),
        "run_id": typeid("run", uuid7()),
        "organisation_id": typeid("org", uuid7()),
        "epoch": 1,
        "nodes": ("local",),
        "cores": 1,
        "memory_bytes": 256 * MIB,
        "disk_bytes": 64 * MIB,
        "wall_limit_s": 200,
        "grace_s": 1,
        "environment": "python",
        "run": run,
    }
    return AttemptSpec(**{**facts, **changes})


WAITS = "while [ ! -e go ]; do sleep 0.02; done"
"""A job waits here until the test lets it go on: no test guesses how long the other side takes."""


def let_go(attempt: Path) -> None:
    """The job of this attempt's folder goes on."""
    (attempt / "work" / "go").touch()


def until(
    holds: Callable[[], object], *, within_s: float = 120.0, what: str = "", every_s: float = 0.01
) -> None:
    """Returns when it holds; the limit is for what never comes, not for what is slow.

    `every_s`: slower where looking takes the processor from what is waited for.
    """
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s} s: {what or holds}"
        time.sleep(every_s)


def sleeping(seconds: str) -> bool:
    """Whether any process of the machine is this `sleep`."""
    return f"sleep\0{seconds}\0".encode() in of_processes("cmdline").values()


def any_process_tells(words: bytes) -> bool:
    """Whether they stand in the arguments or the environment of any process that this user may read."""
    return any(words in text for name in ("cmdline", "environ") for text in of_processes(name).values())


def processes_that_name(words: str) -> list[int]:
    """The machine's processes that have the words among their arguments."""
    return [pid for pid, text in of_processes("cmdline").items() if words.encode() in text]


def of_processes(name: str) -> dict[int, bytes]:
    """This file of every process of the machine, without `ps`, which a small one may lack, and without `glob`, which
    fails over a process that ends while it looks."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # ended meanwhile, or of another user
                found[int(folder.name)] = (folder / name).read_bytes()
    return found


def last_words_of(attempts: Path) -> str:
    """Of each attempt in the folder: how far it came, what its supervisor complained of, and how its log ends."""
    said = []
    for file in sorted(attempts.glob("*/*")):
        if file.name in {"state.json", "buried.json", "supervisor.err", "log"}:
            with suppress(OSError):
                said.append(
                    f"{file.parent.name}/{file.name}: {file.read_text(errors='replace')[-1000:].strip()}"
                )
    return "\n".join(said)


@dataclass
class Ended:
    seen: Observation
    log: str

    @property
    def ok(self) -> bool:
        return self.seen.phase == AttemptPhase.SUCCEEDED


class Lab:
    """A local engine over one state folder."""

    def __init__(self, folder: Path, environment: Environment, **settings: Any) -> None:
        self.folder = folder
        self.environment = environment
        self.always: dict[str, Any] = {}
        """What every attempt has that it starts or runs, if nothing else is said."""
        self.engine = self.restarted(**settings)

    def restarted(self, **settings: Any) -> LocalEngine:
        node = LocalNode("local", 2, 1024 * MIB, 1024 * MIB)
        return LocalEngine(self.folder, node=node, environments=[self.environment], **settings)

    def attempt(self, ref: EngineRef) -> Path:
        return self.folder / "attempts" / ref

    def last_words(self) -> str:
        return last_words_of(self.folder / "attempts")

    def seen(self, ref: EngineRef) -> Observation:
        return self.engine.observe([ref])[ref]

    def log(self, ref: EngineRef) -> str:
        return self.engine.read_log(ref, offset=0, bytes_max=1 << 30).data.decode()

    def start(self, run: str, **changes: Any) -> EngineRef:
        """Submit and wait until it runs."""
        ref = self.engine.submit(make_spec(run, **{**self.always, **changes}))
        until(lambda: self.seen(ref).phase != AttemptPhase.PREPARING, what="running")
        return ref

    def wait(self, ref: EngineRef, *, within_s: float = 120.0) -> Ended:
        until(lambda: self.seen(ref).phase in FINAL_PHASES, within_s=within_s, what="ended")
        return Ended(self.seen(ref), self.log(ref))

    def run(self, run: str, **changes: Any) -> Ended:
        return self.wait(self.engine.submit(make_spec(run, **{**self.always, **changes})))

    def python(self, code: str, **changes: Any) -> Ended:
        return self.run(f"python3 - <<'PY'\n{code}\nPY", **changes)
