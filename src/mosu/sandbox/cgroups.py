"""A cgroup per job, where one is delegated to us: version 2, else version 1. None otherwise."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_V1_CONTROLLERS: Final = ("memory", "pids", "cpu")
_CPU_PERIOD_US: Final = 100_000


@dataclass(frozen=True, slots=True)
class Delegation:
    """Folders below which we may make cgroups: one for version 2, one per controller for version 1."""

    version: int
    folders: tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The cgroup of one job. Written to disk as its folders, so that a successor can still end it."""

    version: int
    folders: tuple[tuple[str, Path], ...]

    def join(self) -> None:
        """Move the calling process, and so all that it starts, into the cgroup."""
        for _, folder in self.folders:
            (folder / "cgroup.procs").write_text("0")

    def memory_peak_bytes(self) -> int | None:
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return _number(self._folder("memory") / name)

    def killed_for_memory(self) -> bool:
        """Whether the kernel killed something in it for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            lines = (self._folder("memory") / name).read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def pids(self) -> set[int]:
        found: set[int] = set()
        for _, folder in self.folders:
            try:
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
            except OSError:
                continue
        return found

    def remove(self, *, patience_s: float = 2.0) -> None:
        """Kill what is left inside and delete the cgroup."""
        until = time.monotonic() + patience_s
        while (left := self.pids()) and time.monotonic() < until:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
        for _, folder in self.folders:
            try:
                folder.rmdir()
            except OSError:
                continue

    def _folder(self, controller: str) -> Path:
        return dict(self.folders).get(controller, self.folders[0][1])


def delegated() -> Delegation | None:
    """Where we may make cgroups with memory and process limits; tried by making and joining one."""
    mounts, own = _mounts(), _own_groups()
    for found in (_version_2(mounts, own), _version_1(mounts, own)):
        if found is not None and _usable(found):
            return found
    return None


def make_cgroup(
    delegation: Delegation, name: str, *, memory_bytes: int, processes_max: int, cores: int
) -> Cgroup | None:
    """A new cgroup with these limits; None if the kernel refused, and then nothing is left behind."""
    group = Cgroup(delegation.version, tuple((key, folder / name) for key, folder in delegation.folders))
    quota = cores * _CPU_PERIOD_US
    if group.version == 2:
        limits = {"memory.max": memory_bytes, "memory.swap.max": 0, "pids.max": processes_max}
        cpu: dict[str, int | str] = {"cpu.max": f"{quota} {_CPU_PERIOD_US}"}
    else:
        limits = {"memory.limit_in_bytes": memory_bytes, "pids.max": processes_max}
        cpu = {"cpu.cfs_period_us": _CPU_PERIOD_US, "cpu.cfs_quota_us": quota}
    try:
        for _, folder in group.folders:
            folder.mkdir(exist_ok=True)
        for key, value in limits.items():
            target = group._folder(key.partition(".")[0]) / key
            if target.exists():
                target.write_text(str(value))
        for key, text in cpu.items():
            if (target := group._folder("cpu") / key).exists():
                target.write_text(str(text))
    except OSError:
        group.remove()
        return None
    return group


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _mounts() -> list[tuple[str, set[str], Path, str]]:
    """Each cgroup mount: kind, options, mount point, and which part of the tree is mounted there."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            fields = head.split()
            found.append((kind, set(options.split(",")), Path(fields[4]), fields[3]))
    return found


def _own_groups() -> dict[str, str]:
    """Our own cgroup by controller; the empty name is version 2."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _folder_of(point: Path, root: str, own: str) -> Path:
    return point / os.path.relpath(own, root) if own.startswith(root) else point


def _version_2(mounts: list[tuple[str, set[str], Path, str]], own: dict[str, str]) -> Delegation | None:
    for kind, _, point, root in mounts:
        if kind != "cgroup2" or "" not in own:
            continue
        folder = _folder_of(point, root, own[""])
        try:
            offered = set((folder / "cgroup.controllers").read_text().split())
            enabled = set((folder / "cgroup.subtree_control").read_text().split())
            wanted = {"memory", "pids", "cpu"} & offered
            if not {"memory", "pids"} <= wanted:
                continue
            if not wanted <= enabled:
                # Refused by the kernel while processes sit in this very group, the root excepted.
                (folder / "cgroup.subtree_control").write_text(
                    " ".join(f"+{name}" for name in sorted(wanted))
                )
        except OSError:
            continue
        return Delegation(2, (("unified", folder),))
    return None


def _version_1(mounts: list[tuple[str, set[str], Path, str]], own: dict[str, str]) -> Delegation | None:
    folders: dict[str, Path] = {}
    for kind, options, point, root in mounts:
        for controller in _V1_CONTROLLERS:
            if kind == "cgroup" and controller in options and controller in own:
                folders[controller] = _folder_of(point, root, own[controller])
    return Delegation(1, tuple(folders.items())) if {"memory", "pids"} <= folders.keys() else None


def _usable(delegation: Delegation) -> bool:
    if not all(os.access(folder, os.W_OK | os.X_OK) for _, folder in delegation.folders):
        return False
    tried = make_cgroup(
        delegation, f"mosu-probe-{os.getpid()}", memory_bytes=1 << 28, processes_max=16, cores=1
    )
    if tried is None:
        return False
    try:
        procs = [str(folder / "cgroup.procs") for _, folder in tried.folders]
        script = 'for file; do echo 0 > "$file" || exit 1; done'
        return (
            subprocess.run(
                ["/bin/sh", "-c", script, "sh", *procs], capture_output=True, check=False
            ).returncode
            == 0
        )
    finally:
        tried.remove()
