"""Environments of what a lock says: downloaded here, checked against its hashes, unpacked inside the sandbox."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox import bubblewrap
from mosu.sandbox.environments.laying import (
    INSIDE,
    STATIC,
    Environment,
    laid,
    open_to_all,
    packages_below,
    python_inside,
)
from mosu.sandbox.starter import (
    SandboxUnavailable,
    find_bwrap,
    give_to_sandbox,
    make_sandbox_user,
    run_as,
    unreachable_part,
)

_HERE: Final = Path(__file__).parent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VERSION: Final = r"(?:\d+!)?\d+(?:\.\d+)*(?:\.?(?:a|b|rc|post|dev)\d+)*(?:\+[a-z0-9]+)?"
"""As the tools that make locks write it. A longer end (`1.0+x.zip`) could name a file, which pip would build."""
_PIN: Final = re.compile(
    rf"[A-Za-z0-9][\w.-]*(?:\[[\w.,-]+\])?=={_VERSION}(?: ?;[\w .,'\"()<>=!~*+-]+)?", re.ASCII
)
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_DOWNLOAD_S_MAX: Final = 3600
_UNPACK_S_MAX: Final = 1800
_GIB: Final = 1 << 30
_SAID_BYTES_MAX: Final = 4096
_OF_PREFIX: Final = ("bin", "etc", "share")
"""Of what packages bring, that which lies beside the interpreter's `lib`; headers are for building alone."""
_UNPACK: Final = f"""
set -e
PYTHONPATH=/work/pip {INSIDE}/bin/python3 -m pip install --quiet --no-input --no-index --no-deps --no-cache-dir \\
  --no-compile --no-warn-script-location --disable-pip-version-check --target /work/out /work/wheels/*.whl
# The folder is read-only inside, so what is not compiled now would be compiled at every start.
{INSIDE}/bin/python3 -m compileall -qq -j 0 -s /work/out -p "$SITE" /work/out || true
"""


def lock_of(name: str) -> Path:
    """The lock that mosu brings for the environment of this name.

    Raises:
        Invalid: it brings none.
    """
    brought = {path.stem: path for path in sorted(_HERE.glob("*.lock"))}
    if name not in brought:
        raise Invalid(
            f"mosu brings no lock for {name[:60]!r}.",
            hint=f"It brings {', '.join(brought)}; name another one's file with --lock FILE.",
            field="name",
            found=name[:60],
        )
    return brought[name]


def build_locked_environment(dest: Path, *, name: str, lock: Path) -> Environment:
    """The running interpreter with what the lock pins, laid below `dest` once for each lock, world-readable.

    No code of a package runs here: only wheels are taken, each is checked against its hash, and they are unpacked and
    compiled in the sandbox, without network.

    Raises:
        Invalid: the name is none, or the lock or a wheel cannot be used. Nothing is left then.
        SandboxUnavailable: there is no sandbox here.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:60]!r} names no environment.", hint="Use letters, digits and ._-", field="name"
        )
    pins = _pins_of(lock)

    def fill(draft: Path) -> Sequence[str]:
        with tempfile.TemporaryDirectory(prefix=".wheels-", dir=dest) as scratch:
            pip = _pip()
            pinned = Path(scratch, "pins.txt")
            pinned.write_text(pins, encoding="ascii")
            _download(lock, pinned, Path(scratch, "wheels"))
            shutil.copytree(pip, Path(scratch, "pip", "pip"))
            _unpack(lock, draft, Path(scratch))
            _take_over(lock, Path(scratch, "out"), draft)
        return sorted(
            f"{item.name.lower()}=={item.version}"
            for item in distributions(path=[str(packages_below(draft))])
        )

    return laid(dest, name=name, of=[hashlib.sha256(pins.encode()).hexdigest()], fill=fill)


def _pins_of(lock: Path) -> str:
    """The packages that a lock pins and their hashes, written anew, a line for each.

    pip takes options and addresses from a file as well, and of those builds what is no wheel; and a comment can say
    in which encoding it is to read the rest. So pip is given nothing of a lock but what was understood here.

    Raises:
        Invalid: there is none, or a line says something else.
    """
    try:
        text = lock.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise Invalid(
            f"{lock} cannot be read: {why}.", hint="Name a lock that is there.", field="lock"
        ) from error
    pins = list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        said = re.sub(r"(^|\s)#.*", "", line).strip()
        words = said.removesuffix("\\").split()
        hashes = [word for word in words if _HASH.fullmatch(word)]
        rest = [word for word in words if not _HASH.fullmatch(word)]
        if rest and _PIN.fullmatch(" ".join(rest)) and not any(word.startswith("-") for word in rest):
            pins.append(" ".join([*rest, *hashes]))
        elif hashes and not rest and pins:
            pins[-1] = " ".join([pins[-1], *hashes])
        elif said:
            raise Invalid(
                f"{lock.name}:{number}: {said[:60]!r} is no NAME==VERSION with its --hash=sha256:...",
                hint="Make the lock with: uv pip compile --generate-hashes --no-emit-index-url",
                field="lock",
                found=said[:60],
            )
    return "".join(f"{pin}\n" for pin in pins)


def _pip() -> Path:
    """The folder of the pip beside this interpreter.

    Raises:
        Invalid: there is none.
    """
    pip = find_spec("pip")
    if pip is None or pip.origin is None:
        raise Invalid(
            f"There is no pip beside {sys.executable}.",
            hint=f"Run: {sys.executable} -m ensurepip",
            field="lock",
        )
    return Path(pip.origin).parent


def _download(lock: Path, pinned: Path, wheels: Path) -> None:
    """
    Raises:
        Invalid: pip says why.
    """
    wheels.mkdir()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "--no-deps"),
                *("--dest", str(wheels), "--requirement", str(pinned)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOWNLOAD_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise _unusable(lock.name, f"downloading took longer than {_DOWNLOAD_S_MAX} s") from late
    if done.returncode != 0:
        raise _unusable(lock.name, _why(done.stderr) or f"pip ended with {done.returncode}")
    if not any(wheels.iterdir()):
        raise _unusable(lock.name, "it names no package for this machine")


def _unpack(lock: Path, draft: Path, scratch: Path) -> None:
    """Wheels to files in `out`, in a sandbox that sees the draft's interpreter, pip, the wheels and nothing else.

    Raises:
        Invalid: one is broken.
        SandboxUnavailable: there is no sandbox here.
    """
    make_sandbox_user()
    who = run_as()
    closed = unreachable_part(draft.parent, who)
    if closed is not None:
        raise SandboxUnavailable(
            f"The sandbox's user (uid {who.uid}) cannot pass through {closed} to {draft.parent}.",
            hint=f"Choose a folder outside it, or: chmod o+x {closed}",
            path=str(draft.parent),
        )
    tools = draft.parent / ".tools"
    starter = find_bwrap(tools)
    open_to_all(draft)
    open_to_all(scratch)
    give_to_sandbox(scratch, who)
    job = bubblewrap.Job(
        label="environment",
        setup="",
        script=_UNPACK,
        workdir=scratch,
        environment=draft,
        python=python_inside(),
        limits=bubblewrap.Limits(cores=os.cpu_count() or 1, memory_bytes=2 * _GIB, file_bytes=4 * _GIB),
        envs={"SITE": str(packages_below(Path(INSIDE)))},
    )
    said, code = _ended(bubblewrap.start(job, starter=starter, who=who))
    if code != 0:
        raise _unusable(lock.name, _why(said) or f"unpacking ended with {code}")


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


def _take_over(lock: Path, out: Path, draft: Path) -> None:
    """Copies of what was unpacked, each file ours. Wheels hold no links: whatever else lies there is not believed.

    Nothing takes the place of what is laid already: `bin/python3` may be a link to this machine's interpreter.

    Raises:
        Invalid: something is neither a file nor a folder, or is laid already.
    """
    if out.is_symlink() or not out.is_dir():
        raise _unusable(lock.name, "what was unpacked is no folder")
    for folder, folders, files in os.walk(out):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _unusable(lock.name, f"{name} is neither a file nor a folder")
            item = path.relative_to(out)
            target = _place_of(item, draft)
            joins = stat.S_ISDIR(mode) and target.is_dir() and not target.is_symlink()
            if os.path.lexists(target) and not joins:
                raise _unusable(
                    lock.name, f"{item} is in every environment, and a package brings another one"
                )
    left_out = shutil.ignore_patterns(*(f"*{ending}" for ending in STATIC))
    for item in sorted(out.iterdir()):
        target = _place_of(item.relative_to(out), draft)
        if item.is_dir():
            shutil.copytree(item, target, dirs_exist_ok=True, ignore=left_out)
        else:
            shutil.copy2(item, target)


def _place_of(item: Path, draft: Path) -> Path:
    """Where what packages bring lies in an environment."""
    return (draft if item.parts[0] in _OF_PREFIX else packages_below(draft)) / item


def _why(said: str) -> str:
    """What pip says went wrong: its first error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or [""])[0][:300]


def _unusable(lock: str, why: str) -> Invalid:
    return Invalid(
        f"No environment can be made of {lock}: {why}",
        hint="Make the lock anew, or where packages come through a mirror or a proxy: PIP_INDEX_URL=, HTTPS_PROXY=.",
        field="lock",
    )
