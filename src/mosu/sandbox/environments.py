"""Prebuilt software environments: an interpreter and packages that the sandbox's user can read."""

import compileall
import hashlib
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid

INSIDE: Final = "/opt/env"
"""Where an environment appears inside the sandbox."""
_LAYOUT: Final = 2
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
_STATIC: Final = (".a", ".la", ".exe")


@dataclass(frozen=True, slots=True)
class Environment:
    """`root` is bound read-only at `/opt/env`; `python` is the interpreter's path as seen inside."""

    name: str
    root: Path
    python: str
    version: str
    packages: tuple[str, ...]
    """Each as `name==version`."""


def build_python_environment(dest: Path, *, packages: Sequence[str] = ("numpy",)) -> Environment:
    """The running interpreter with these installed distributions, laid below `dest` once, world-readable.

    An interpreter below /usr is used from there, since every sandbox sees /usr; any other is copied. Safe to
    repeat and to run twice at once: it is built aside and renamed into place.

    Raises:
        Invalid: a package is not installed beside the running interpreter.
    """
    found = [_installed(name) for name in packages]
    names = tuple(f"{item.name.lower()}=={item.version}" for item in found)
    version = ".".join(str(number) for number in sys.version_info[:3])
    facts = json.dumps([_LAYOUT, version, sys.base_prefix, sysconfig.get_platform(), names])
    folder = dest / f"python-{version}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    if not (folder / "environment.json").is_file():
        fresh = not dest.is_dir()
        dest.mkdir(parents=True, exist_ok=True)
        if fresh:
            dest.chmod(0o755)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=dest))
        try:
            _lay(draft, found, Environment("python", folder, _python_inside(), version, names))
            draft.chmod(0o755)
            draft.rename(folder)
        except OSError:
            if not (folder / "environment.json").is_file():
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
        facts = json.loads((folder / "environment.json").read_text())
    except (OSError, ValueError) as error:
        raise Invalid(
            f"{folder} holds no environment: {error}.",
            hint="Build one: python -m mosu.sandbox.environments FOLDER [PACKAGE]...",
            field="environments",
            found=str(folder),
        ) from error
    return Environment(facts["name"], folder, facts["python"], facts["version"], tuple(facts["packages"]))


def _system_interpreter() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")


def _python_inside() -> str:
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return f"{sys.base_prefix}/bin/{name}" if _system_interpreter() else f"{INSIDE}/bin/{name}"


def _site_packages(root: Path) -> Path:
    return root / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise Invalid(
            f"The package {name} is not installed beside {sys.executable}.",
            hint=f"Install it: {sys.executable} -m pip install {name}",
            field="packages",
            found=name,
        ) from error


def _lay(draft: Path, found: Sequence[Distribution], environment: Environment) -> None:
    site = _site_packages(draft)
    (draft / "bin").mkdir()
    if not _system_interpreter():
        _lay_interpreter(draft)
    for alias in ("python", "python3"):
        (draft / "bin" / alias).symlink_to(environment.python)
    site.mkdir(mode=0o755, parents=True, exist_ok=True)
    for item in found:
        _lay_distribution(item, site)
    # The folder is read-only inside, so what is not compiled now would be compiled at every start.
    compileall.compile_dir(site, quiet=2, stripdir=str(draft), prependdir=INSIDE)
    _open_to_all(draft)
    facts = {key: value for key, value in asdict(environment).items() if key != "root"}
    (draft / "environment.json").write_text(json.dumps(facts, indent=1))
    (draft / "environment.json").chmod(0o644)


def _lay_interpreter(draft: Path) -> None:
    base, name = Path(sys.base_prefix), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    shutil.copy2(base / "bin" / name, draft / "bin" / name)
    shutil.copytree(base / "lib" / name, draft / "lib" / name, symlinks=False, ignore=_ignored)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(library, draft / "lib" / library.name, follow_symlinks=False)
    _lay_compiled(base / "lib" / name, draft / "lib" / name)


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
        name for name in names if name in _LEFT_OUT or name.startswith("config-") or name.endswith(_STATIC)
    }


def _lay_distribution(item: Distribution, site: Path) -> None:
    """Copy a distribution's own files (`*.libs` among them), without tests, compiled files and scripts."""
    for entry in item.files or ():
        if ".." in entry.parts or entry.is_absolute() or {"tests", "__pycache__"} & set(entry.parts[:-1]):
            continue
        source = Path(str(item.locate_file(entry)))
        if source.is_file() and not entry.name.endswith(_STATIC):
            target = site / entry
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _open_to_all(draft: Path) -> None:
    for folder, folders, files in os.walk(draft):
        for name in folders + files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


if __name__ == "__main__":
    print(build_python_environment(Path(sys.argv[1]), packages=sys.argv[2:]).root)  # noqa: T201
