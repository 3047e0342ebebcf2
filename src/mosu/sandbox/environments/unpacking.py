"""What comes from outside is unpacked in the sandbox, without network, and what lies there then is not believed."""

import os
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox import bubblewrap
from mosu.sandbox.environments.laying import open_to_all, python_inside
from mosu.sandbox.starter import (
    check_reach,
    find_bwrap,
    give_to_sandbox,
    make_sandbox_user,
    run_as,
)

_UNPACK_S_MAX: Final = 1800
_GIB: Final = 1 << 30
_SAID_BYTES_MAX: Final = 4096
_BYTES_MAX: Final = 16 * _GIB
_FILES_MAX: Final = 500_000
DEPTH_MAX: Final = 100
"""Of what is believed at all: holes in files and names of one file count as what they are when they are copied."""


class Unusable(Exception):
    """No environment can be made of it; the message says why."""


def unpack(script: str, draft: Path, scratch: Path, *, envs: Mapping[str, str] | None = None) -> None:
    """Run `script` in a sandbox that sees the draft's interpreter, `scratch` as `/work`, and nothing else.

    Raises:
        Unusable: it ended otherwise than with 0.
        SandboxUnavailable: there is no sandbox here.
    """
    make_sandbox_user()
    who = run_as()
    check_reach(draft.parent, who)
    starter = find_bwrap(draft.parent / ".tools")
    open_to_all(draft)
    open_to_all(scratch)
    give_to_sandbox(scratch, who)
    job = bubblewrap.Job(
        label="environment",
        setup="",
        script=script,
        workdir=scratch,
        environment=draft,
        python=python_inside(),
        limits=bubblewrap.Limits(cores=os.cpu_count() or 1, memory_bytes=2 * _GIB, file_bytes=4 * _GIB),
        envs=envs or {},
    )
    said, code = _ended(bubblewrap.start(job, starter=starter, who=who))
    if code != 0:
        raise Unusable(first_error(said) or f"unpacking ended with {code}")


def take_over(out: Path, place_of: Callable[[Path], Path], *, left_out: Collection[str] = ()) -> None:
    """Copies of what was unpacked, each file ours, where `place_of` says by its path below `out`; without those whose
    names end as `left_out` says.

    Nothing takes the place of what is laid already: `bin/python3` may be a link to this machine's interpreter.

    Raises:
        Unusable: something is neither a file nor a folder (a link could lead to a file of this machine), or is laid
            already; or it is too much, or too deep.
    """
    if out.is_symlink() or not out.is_dir():
        raise Unusable("what was unpacked is no folder")
    size = count = 0
    for folder, folders, files in os.walk(out):
        for name in (*folders, *files):
            path = Path(folder, name)
            facts, item = path.lstat(), path.relative_to(out)
            mode, size, count = facts.st_mode, size + facts.st_size, count + 1
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise Unusable(f"{name!r} is neither a file nor a folder")
            if size > _BYTES_MAX or count > _FILES_MAX or len(item.parts) > DEPTH_MAX:
                raise Unusable(
                    f"it has more than {_BYTES_MAX // _GIB} GiB, {_FILES_MAX} files "
                    f"or {DEPTH_MAX} folders in each other"
                )
            target = place_of(item)
            joins = stat.S_ISDIR(mode) and target.is_dir() and not target.is_symlink()
            if os.path.lexists(target) and not joins:
                raise Unusable(f"{str(item)!r} is in every environment, and a package brings another one")
    ignored = shutil.ignore_patterns(*(f"*{ending}" for ending in left_out))
    for item in sorted(out.iterdir()):
        target = place_of(item.relative_to(out))
        if item.is_dir():
            shutil.copytree(item, target, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy2(item, target)


def first_error(said: str) -> str:
    """What a tool says went wrong: its first error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or [""])[0][:300]


def unusable(what: str, why: Unusable | str, *, hint: str, field: str) -> Invalid:
    """For whoever named `what`."""
    return Invalid(f"No environment can be made of {what}: {why}", hint=hint, field=field)


def _ended(sandbox: bubblewrap.Sandbox) -> tuple[str, int]:
    """The last of what it said, and its exit code; killed after `_UNPACK_S_MAX`."""
    late = threading.Timer(_UNPACK_S_MAX, sandbox.kill)
    late.start()
    said = b""
    try:
        while chunk := sandbox.log.read(_SAID_BYTES_MAX):
            said = (said + chunk)[-_SAID_BYTES_MAX:]
        return said.decode(errors="replace"), sandbox.process.wait()
    finally:
        late.cancel()
        sandbox.kill()
        sandbox.process.wait()
        sandbox.log.close()
        sandbox.status.close()
