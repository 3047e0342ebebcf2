"""Cgroups as the kernel offers them here; version 2 by its files alone, since this may not be such a machine."""

import os
from pathlib import Path

import pytest

from mosu.sandbox import cgroups
from mosu.sandbox.cgroups import Cgroup, Delegation, delegated, make_cgroup


def test_what_is_delegated_can_be_limited_and_removed() -> None:
    found = delegated()
    if found is None:
        pytest.skip("no cgroup is delegated here")
    name = f"mosu-test-{os.getpid()}"  # others may test here too
    made = make_cgroup(found, name, memory_bytes=1 << 27, processes_max=10, cores=1)
    assert made is not None
    assert made.pids() == set() and not made.killed_for_memory()
    made.remove()
    assert not any(folder.exists() for _, folder in made.folders)


def test_where_nothing_can_be_written_nothing_is_delegated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = ("cgroup2", set[str](), folder, "/")
    monkeypatch.setattr(cgroups, "_mounts", lambda: [mount])
    monkeypatch.setattr(cgroups, "_own_groups", lambda: {"": "/"})
    assert delegated() is None
    (folder / "cgroup.controllers").write_text("hugetlb\n")
    (folder / "cgroup.subtree_control").write_text("")
    assert delegated() is None


def test_version_2_writes_its_own_names(folder: Path) -> None:
    group = folder / "job"
    group.mkdir()
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "memory.peak", "memory.events"):
        (group / name).write_text("")
    made = make_cgroup(
        Delegation(2, (("unified", folder),)), "job", memory_bytes=1000, processes_max=7, cores=3
    )
    assert made == Cgroup(2, (("unified", group),))
    written = {
        name: (group / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")
    }
    assert written == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "pids.max": "7",
        "cpu.max": "300000 100000",
    }
    (group / "memory.peak").write_text("4096\n")
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert made.memory_peak_bytes() == 4096 and made.killed_for_memory()
