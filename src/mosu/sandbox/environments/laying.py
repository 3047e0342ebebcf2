"""Laying an environment: the interpreter that every one of them has, whole or not at all, readable by all."""

import hashlib
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid

INSIDE: Final = "/opt/env"
"""Where an environment appears inside the sandbox."""
_LAYOUT: Final = 3
_FACTS: Final = "environment.json"
_LEFT_OUT: Final = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "ensurepip",
        "tkinter",
        "turtledemo",
        "site-packages",
        "pkgconfig",
    }
    | {"__pycache__", "include", "share"}
)
STATIC: Final = (".a", ".la", ".exe")


@dataclass(frozen=True, slots=True)
class Environment:
    """`root` is bound read-only at `/opt/env`; `python` is the interpreter's path as seen inside."""

    name: str
    root: Path
    python: str
    version: str
    packages: tuple[str, ...]
    """Each as `name==version`."""


def laid(
    dest: Path, *, name: str, of: Sequence[object], fill: Callable[[Path], Sequence[str]]
) -> Environment:
    """The environment below `dest` that follows from the running interpreter and from `of`: made once, then found.

    `fill` lays packages into the draft, which has its interpreter, and names them. Safe to repeat and to run twice at
    once: it is made aside and renamed into place, so it is whole wherever it is.
    """
    version = ".".join(str(number) for number in sys.version_info[:3])
    facts = json.dumps([_LAYOUT, version, sys.base_prefix, sysconfig.get_platform(), *of])
    folder = dest / f"{name}-{version}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    if not (folder / _FACTS).is_file():
        make_open_folder(dest)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=dest))
        try:
            _lay_interpreter(draft)
            packages = tuple(fill(draft))
            _seal(draft, Environment(name, folder, python_inside(), version, packages))
            draft.rename(folder)
        except OSError:
            if not (folder / _FACTS).is_file():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return load_environment(folder)


def load_environment(folder: Path) -> Environment:
    """The environment that lies in `folder`.

    Raises:
        Invalid: it was not built by mosu, or only in part.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text())
    except (OSError, ValueError) as error:
        raise Invalid(
            f"{folder} holds no environment: {error}.",
            hint="Build one: python -m mosu.sandbox.environments FOLDER [PACKAGE]...",
            field="environments",
            found=str(folder),
        ) from error
    return Environment(facts["name"], folder, facts["python"], facts["version"], tuple(facts["packages"]))


def python_inside() -> str:
    """The interpreter's path inside. One below /usr is used from there, since every sandbox sees /usr."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return f"{sys.base_prefix}/bin/{name}" if _system_interpreter() else f"{INSIDE}/bin/{name}"


def packages_below(root: Path) -> Path:
    """Where an environment has its packages."""
    return root / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def make_open_folder(folder: Path) -> None:
    """Make it, if it is not there, for the sandbox's user to pass through whatever our umask is."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)


def open_to_all(folder: Path) -> None:
    """Let everybody read it and all in it, and nobody else write."""
    folder.chmod(0o755)
    for inner, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(inner, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _system_interpreter() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")


def _lay_interpreter(draft: Path) -> None:
    (draft / "bin").mkdir()
    if not _system_interpreter():
        base, name = Path(sys.base_prefix), f"python{sys.version_info[0]}.{sys.version_info[1]}"
        shutil.copy2(base / "bin" / name, draft / "bin" / name)
        shutil.copytree(base / "lib" / name, draft / "lib" / name, symlinks=False, ignore=_ignored)
        for library in (base / "lib").glob("libpython*.so*"):
            shutil.copy2(library, draft / "lib" / library.name, follow_symlinks=False)
        _lay_compiled(base / "lib" / name, draft / "lib" / name)
    for alias in ("python", "python3"):
        (draft / "bin" / alias).symlink_to(python_inside())
    packages_below(draft).mkdir(mode=0o755, parents=True, exist_ok=True)


def _lay_compiled(source: Path, target: Path) -> None:
    """Take over the standard library's compiled files, of our version only; file times keep them valid."""
    for folder in [target, *(child for child in target.rglob("*") if child.is_dir())]:
        cache = source / folder.relative_to(target) / "__pycache__"
        if not cache.is_dir():
            continue
        (folder / "__pycache__").mkdir()
        for module in folder.glob("*.py"):
            compiled = cache / f"{module.stem}.{sys.implementation.cache_tag}.pyc"
            if compiled.is_file():
                shutil.copy2(compiled, folder / "__pycache__" / compiled.name)


def _ignored(_folder: str, names: list[str]) -> set[str]:
    return {
        name for name in names if name in _LEFT_OUT or name.startswith("config-") or name.endswith(STATIC)
    }


def _seal(draft: Path, environment: Environment) -> None:
    facts = {key: value for key, value in asdict(environment).items() if key != "root"}
    (draft / _FACTS).write_text(json.dumps(facts, indent=1))
    open_to_all(draft)
