"""Environments of what is installed beside the running interpreter."""

import compileall
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments.laying import INSIDE, STATIC, Environment, laid, packages_below


def build_python_environment(
    dest: Path, *, packages: Sequence[str] = ("numpy",), name: str = "python"
) -> Environment:
    """The running interpreter with these installed distributions, laid below `dest` once, world-readable.

    Raises:
        Invalid: a package is not installed beside the running interpreter.
    """
    found = [_installed(package) for package in packages]
    names = [f"{item.name.lower()}=={item.version}" for item in found]

    def fill(draft: Path) -> Sequence[str]:
        site = packages_below(draft)
        for item in found:
            _lay_distribution(item, site)
        # The folder is read-only inside, so what is not compiled now would be compiled at every start.
        compileall.compile_dir(site, quiet=2, stripdir=str(draft), prependdir=INSIDE)
        return names

    return laid(dest, name=name, of=[names], fill=fill)


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


def _lay_distribution(item: Distribution, site: Path) -> None:
    """Copy a distribution's own files (`*.libs` among them), without tests, compiled files and scripts."""
    for entry in item.files or ():
        if ".." in entry.parts or entry.is_absolute() or {"tests", "__pycache__"} & set(entry.parts[:-1]):
            continue
        source = Path(str(item.locate_file(entry)))
        if source.is_file() and not entry.name.endswith(STATIC):
            target = site / entry
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
