"""Environments of what is known by its hash: of what a lock pins, of an archive, of both."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments.archived import Archive
from mosu.sandbox.environments.laying import INSIDE, STATIC, Environment, laid, packages_below
from mosu.sandbox.environments.unpacking import Unusable, first_error, take_over, unpack, unusable

_HERE: Final = Path(__file__).parent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VERSION: Final = r"(?:\d+!)?\d+(?:\.\d+)*(?:\.?(?:a|b|rc|post|dev)\d+)*(?:\+[a-z0-9]+)?"
"""As the tools that make locks write it. A longer end (`1.0+x.zip`) could name a file, which pip would build."""
_PIN: Final = re.compile(
    rf"[A-Za-z0-9][\w.-]*(?:\[[\w.,-]+\])?=={_VERSION}(?: ?;[\w .,'\"()<>=!~*+-]+)?", re.ASCII
)
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_DOWNLOAD_S_MAX: Final = 3600
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
    brought = _brought()
    if name not in brought:
        raise Invalid(
            f"mosu brings no lock for {name[:60]!r}.",
            hint=f"It brings {', '.join(brought)}; name another one's file with --lock FILE.",
            field="name",
            found=name[:60],
        )
    return brought[name]


def build_locked_environment(
    dest: Path, *, name: str, lock: Path | None = None, archive: Archive | None = None
) -> Environment:
    """The running interpreter with what the lock pins and what the archive holds, laid below `dest` once for each of
    them, world-readable. Without a lock and an archive: by the lock that mosu brings for `name`.

    No code of a package runs here: only wheels are taken, each is checked against its hash, and they are unpacked and
    compiled in the sandbox, without network; so is the archive.

    Raises:
        Invalid: the name is none, or the lock, a wheel or the archive cannot be used. Nothing is left then.
        SandboxUnavailable: there is no sandbox here.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:60]!r} names no environment.", hint="Use letters, digits and ._-", field="name"
        )
    if lock is None and not (archive and name not in _brought()):
        lock = lock_of(name)
    pins = _pins_of(lock) if lock else ""

    def fill(draft: Path) -> Sequence[str]:
        if lock is not None:
            _lay_wheels(lock, pins, draft)
        return sorted(
            [
                *(
                    f"{item.name.lower()}=={item.version}"
                    for item in distributions(path=[str(packages_below(draft))])
                ),
                *([archive.lay(draft)] if archive else []),
            ]
        )

    of = [
        *([hashlib.sha256(pins.encode()).hexdigest()] if lock else []),
        *([archive.sha256] if archive else []),
    ]
    return laid(dest, name=name, of=of, fill=fill)


def _lay_wheels(lock: Path, pins: str, draft: Path) -> None:
    """
    Raises:
        Invalid: one cannot be had or used.
        SandboxUnavailable: there is no sandbox here.
    """
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=draft.parent) as folder:
        scratch, pip = Path(folder), _pip()
        pinned = scratch / "pins.txt"
        pinned.write_text(pins, encoding="ascii")
        try:
            _download(pinned, scratch / "wheels")
            shutil.copytree(pip, scratch / "pip" / "pip")
            unpack(_UNPACK, draft, scratch, envs={"SITE": str(packages_below(Path(INSIDE)))})
            take_over(scratch / "out", lambda item: _place_of(item, draft), left_out=STATIC)
        except Unusable as found:
            hint = (
                "Make the lock anew, or where packages come through a mirror or a proxy: "
                "PIP_INDEX_URL=, HTTPS_PROXY=."
            )
            raise unusable(lock.name, found, hint=hint, field="lock") from found


def _brought() -> Mapping[str, Path]:
    return {path.stem: path for path in sorted(_HERE.glob("*.lock"))}


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


def _download(pinned: Path, wheels: Path) -> None:
    """
    Raises:
        Unusable: pip says why.
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
        raise Unusable(f"downloading took longer than {_DOWNLOAD_S_MAX} s") from late
    if done.returncode != 0:
        raise Unusable(first_error(done.stderr) or f"pip ended with {done.returncode}")
    if not any(wheels.iterdir()):
        raise Unusable("it names no package for this machine")


def _place_of(item: Path, draft: Path) -> Path:
    """Where what packages bring lies in an environment."""
    return (draft if item.parts[0] in _OF_PREFIX else packages_below(draft)) / item
