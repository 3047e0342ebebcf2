"""A program that no index of packages has: the archive of its makers, known by its hash."""

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments.laying import INSIDE
from mosu.sandbox.environments.unpacking import DEPTH_MAX, Unusable, take_over, unpack, unusable

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_VERSION: Final = re.compile(r"[0-9][0-9A-Za-z.+-]{0,60}")
_FACTS_BYTES_MAX: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 20
# Links are for those who build it; what needs one inside says so when it is started.
# This machine's tools, not what a lock beside the archive may have brought under their names.
_UNPACK: Final = f"""
set -e
PATH=/usr/bin:/bin
mkdir /work/out
tar -xf /work/archive -C /work/out --strip-components=1 --no-same-owner --no-same-permissions
if [ -n "$(find /work/out -mindepth {DEPTH_MAX} -print -quit)" ]; then
  rm -rf /work/out
  echo "ERROR: its folders are more than {DEPTH_MAX} deep"
  exit 1
fi
find /work/out -type l -delete
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that `tar` unpacks: one folder with `package.json`, which says name and version, and `bin/NAME`."""

    file: Path
    sha256: str

    @classmethod
    def of(cls, file: Path | None, sha256: str) -> "Archive | None":
        """What a command line named; None where it named none.

        Raises:
            Invalid: the hash is none, or of nothing.
        """
        if file is None:
            if sha256:
                raise Invalid("A SHA-256 without its archive.", hint="Name both.", field="sha256")
            return None
        if not _SHA256.fullmatch(sha256):
            raise Invalid(
                f"{sha256[:80]!r} is no SHA-256: 64 letters and digits.",
                hint="Its makers publish it beside the archive; sha256sum FILE says what yours has.",
                field="sha256",
            )
        return cls(file, sha256)

    def lay(self, draft: Path) -> str:
        """Into the draft of an environment, below `share/NAME`, started as `bin/NAME`; it as `name==version`.

        Raises:
            Invalid: it is not what its hash says, or holds something else.
            SandboxUnavailable: there is no sandbox here.
        """
        with tempfile.TemporaryDirectory(prefix=".archive-", dir=draft.parent) as folder:
            scratch = Path(folder)
            try:
                self._copy(scratch / "archive")
                unpack(_UNPACK, draft, scratch)
                name, version = _named(scratch / "out")
                top = draft / "share" / name
                top.mkdir(parents=True)
                take_over(scratch / "out", lambda item: top / item)
                _lay_start(draft, name)
            except (OSError, Unusable) as found:
                why = found.strerror if isinstance(found, OSError) and found.strerror else str(found)
                hint = "Take the archive for this machine that its makers publish, and its SHA-256."
                raise unusable(self.file.name, why, hint=hint, field="archive") from found
        return f"{name}=={version}"

    def _copy(self, to: Path) -> None:
        """What is unpacked is what was looked at, whatever becomes of the file meanwhile."""
        known = hashlib.sha256()
        with self.file.open("rb") as taken, to.open("wb") as given:
            while piece := taken.read(_PIECE_BYTES):
                known.update(piece)
                given.write(piece)
        if known.hexdigest() != self.sha256:
            raise Unusable(f"its SHA-256 is {known.hexdigest()}")


def _named(out: Path) -> tuple[str, str]:
    """Its name and version, as it says of itself."""
    path = out / "package.json"
    if path.is_symlink() or not path.is_file():
        raise Unusable("it holds no package.json in its one folder")
    with path.open("rb") as file:
        said = file.read(_FACTS_BYTES_MAX)
    try:
        facts: Any = json.loads(said)
        name, version = str(facts["name"]), str(facts["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable("its package.json says no name and version") from error
    if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version)):
        raise Unusable(
            f"its package.json says {name[:60]!r} and {version[:60]!r}, which is no name and version"
        )
    return name, version


def _lay_start(draft: Path, name: str) -> None:
    begins = Path("share", name, "bin", name)
    if not (draft / begins).is_file() or not (draft / begins).stat().st_mode & 0o100:
        raise Unusable(f"it holds no program bin/{name}")
    start = draft / "bin" / name
    with start.open("x") as file:
        file.write(f'#!/bin/sh\nexec {INSIDE}/{begins} "$@"\n')
    start.chmod(0o755)
