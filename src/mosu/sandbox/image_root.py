"""What a sandbox sees of an image of a container (OCI): its files at the root, and out of its way what we need.

The image may hold any libc or none, and no Python: our own first process is started by this machine's loader, with
this machine's libraries, which lie below `/run/mosu`. It reads nothing of the image on its way: what it loaded from
there could keep the meter from starting. Of the image's root only what we do not make ourselves is shown; its `etc`
is a real folder, with real files where ours are laid over them (`prepare` sees to it), so that no link of the
image leads bubblewrap, which follows them with our rights, anywhere.
"""

import os
import platform
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Final

from mosu.sandbox.starter import SandboxUnavailable

MACHINE: Final = "/run/mosu/machine"
"""Where this machine's programs and libraries are seen."""
ENVIRONMENT: Final = "/run/mosu/env"
"""Where the environment is seen whose interpreter runs our own processes."""
LAID_OVER: Final = ("passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "ld.so.preload")
"""Of `etc`: each is an ordinary file in every image that is shown."""
_DRIVERS: Final = "/run/mosu/drivers"
_OURS: Final = frozenset({"dev", "proc", "run", "sys", "tmp", "work"})
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOADERS: Final = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image: `root` is its file system, `envs` what its makers set."""

    root: Path
    envs: Mapping[str, str] = field(default_factory=dict)
    drivers: Sequence[str] = ()
    """Libraries of cards' drivers that come from this machine, as glob patterns; `{libraries}` stands for the folder
    where it keeps such."""


def prepare(root: str) -> str:
    """A script for bash that makes an unpacked image fit to be shown; it fails where it cannot.

    No program keeps rights of its owner's: whoever else has an account on the machine could start it from there.
    """
    files = " ".join(LAID_OVER)
    return rf"""
if [ -L {root}/etc ] || {{ [ -e {root}/etc ] && [ ! -d {root}/etc ]; }}; then
  echo "ERROR: its /etc is no folder"
  exit 1
fi
mkdir -p {root}/etc
for file in {files}; do
  if [ -L {root}/etc/$file ] || [ ! -f {root}/etc/$file ]; then
    rm -rf {root}/etc/$file
    : > {root}/etc/$file
  fi
done
find {root} -type d ! -perm -0500 -exec chmod u+rx {{}} \; -o -type f -perm /6000 -exec chmod ug-s {{}} +
chmod 0755 {root} {root}/etc
"""


def folders(image: Image, *, volumes: Sequence[str]) -> list[str]:
    """bubblewrap's options that show the image; what lies where volumes will be seen is left out.

    Raises:
        SandboxUnavailable: it is not there, or was not prepared.
    """
    hidden = _OURS | {path.split("/")[1] for path in volumes}
    options: list[str] = []
    try:
        for name in ("", "etc", *(f"etc/{name}" for name in LAID_OVER)):
            mode = (image.root / name).lstat().st_mode
            if not (stat.S_ISREG(mode) if "/" in name else stat.S_ISDIR(mode)):
                raise SandboxUnavailable(f"The image's /{name} is a link.", hint="Order again.")
        for path in sorted(image.root.iterdir()):
            mode = path.lstat().st_mode
            if path.name in hidden:
                continue
            if stat.S_ISLNK(mode):
                options += ["--symlink", str(path.readlink()), f"/{path.name}"]
            elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                options += ["--ro-bind", str(path), f"/{path.name}"]
    except OSError as error:
        raise SandboxUnavailable(
            f"The image is not here any more: {error.strerror}.", hint="Order again."
        ) from error
    return options


def python(path: str) -> list[str]:
    """How the interpreter that is at `path` in an ordinary sandbox is started beside an image."""
    loader = _loader()
    near = os.path.dirname(loader)  # noqa: PTH120 (of a path inside)
    own = path.removeprefix("/opt/env")
    # Some keep the loader in lib, and libraries in lib64.
    libraries = [f"{ENVIRONMENT}/lib", f"{MACHINE}{near}"]
    libraries += [f"{MACHINE}{path}" for path in (f"/usr{near}", "/lib64", "/usr/lib64") if path != near]
    inside = f"{MACHINE}{path}" if own == path else f"{ENVIRONMENT}{own}"
    return [f"{MACHINE}{loader}", "--inhibit-cache", "--library-path", ":".join(libraries), inside]


def own_variables() -> list[str]:
    """bubblewrap's options that keep our own processes from the image's locales and time zones."""
    known = {"LC_ALL": "C", "TZ": "UTC0", "TZDIR": MACHINE}
    return [word for name, value in known.items() for word in ("--setenv", name, value)]


def drivers(image: Image) -> list[str]:
    """bubblewrap's options that show the drivers' libraries of this machine, each by its name, in one folder."""
    libraries = os.path.dirname(_loader())  # noqa: PTH120
    found = {
        Path(path).name: path
        for pattern in image.drivers
        for path in sorted(glob(pattern.replace("{libraries}", libraries), recursive=True))  # noqa: PTH207
    }
    return [
        word
        for name, path in found.items()
        for word in ("--symlink", f"{MACHINE}{path}", f"{_DRIVERS}/{name}")
    ]


def variables(image: Image) -> dict[str, str]:
    """Those that no task may set."""
    found = {"PATH": image.envs.get("PATH") or _PATH}
    if image.drivers:
        own = image.envs.get("LD_LIBRARY_PATH")
        found["LD_LIBRARY_PATH"] = f"{own}:{_DRIVERS}" if own else _DRIVERS
    return found


def _loader() -> str:
    """This machine's loader of programs, where it really lies.

    Raises:
        SandboxUnavailable: it is not known where.
    """
    path = os.path.realpath(_LOADERS.get(platform.machine(), "/"))
    if not os.path.isfile(path):  # noqa: PTH113
        raise SandboxUnavailable(
            f"Where programs are loaded from on {platform.machine()} is not known.",
            hint="Leave out images_dir in the agent's settings.",
        )
    return path
