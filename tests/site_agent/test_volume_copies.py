"""Snapshots on a real disk: whole or not there, whatever is in the volume, whoever is killed when."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.site_agent.lab import MIB, Lab, until
from tests.site_agent.test_volumes import deleted_whole, kept_in, mount, named, run

from mosu.kernel.ids import typeid, uuid7
from mosu.sandbox.environments import Environment
from mosu.sandbox.starter import run_as
from mosu.site_agent import tree_copy, volume_copies
from mosu.site_agent.tree_copy import BrokenOff, NotCopied, TreeCopy
from mosu.site_agent.volume_copies import VolumeCopies
from mosu.site_agent.volume_lock import held_lock
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, CopyFault, CopySpec, CopyStatus


@pytest.fixture
def volumes(folder: Path) -> Volumes:
    (folder / "volumes").mkdir()
    return kept_in(folder)


@pytest.fixture
def copies(volumes: Volumes) -> Iterator[VolumeCopies]:
    made = VolumeCopies(volumes, told=lambda: None)
    yield made
    made.take([])
    until(lambda: not made._works, what="at rest")


def spec_of(source: str, target: str, *, restores: bool = False, bytes_max: int = 64 * MIB) -> CopySpec:
    return CopySpec(
        copy_id=typeid("volumecopy", uuid7()),
        source=source,
        target=target,
        bytes_max=bytes_max,
        restores=restores,
    )


def ended(copies: VolumeCopies, spec: CopySpec) -> CopyStatus:
    """How the copy ended; asked for as the hub does, until it has."""

    def seen() -> CopyStatus | None:
        copies.take([spec])
        [status] = copies.statuses()
        return status if status.phase != "copying" else None

    until(lambda: seen() is not None, what="copied")
    return copies.statuses()[0]


def whole(copies: VolumeCopies, spec: CopySpec) -> CopyStatus:
    status = ended(copies, spec)
    assert status.phase == "whole", status
    return status


def fault(copies: VolumeCopies, spec: CopySpec) -> CopyFault | None:
    status = ended(copies, spec)
    assert status.phase == "failed"
    return status.fault


def filled(volumes: Volumes, **files: str) -> tuple[str, Path]:
    """A volume with these files: its id and its files' folder."""
    kept = named()
    data = volumes.laid(kept) / "data"
    for name, content in files.items():
        (data / name).write_text(content)
    return kept, data


def nothing_half(volumes: Volumes) -> bool:
    return not [
        *volumes.folder.glob(".making-*"),
        *volumes.folder.glob("*/.new"),
        *volumes.folder.glob("*/.old"),
    ]


def test_a_snapshot_stays_what_the_volume_was(volumes: Volumes, copies: VolumeCopies) -> None:
    kept, data = filled(volumes, a="before")
    (data / "d").mkdir()
    (data / "d" / "e").write_text("deep")
    (data / "a").chmod(0o640)
    os.utime(data / "a", (1_000_000, 2_000_000))
    spec = spec_of(kept, named())
    status = whole(copies, spec)
    snapshot = volumes.folder / spec.target / "data"
    (data / "a").write_text("after")
    assert (snapshot / "a").read_text() == "before"
    assert (snapshot / "d" / "e").read_text() == "deep"
    facts = (snapshot / "a").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime) == (0o640, 2_000_000)
    assert (facts.st_uid, facts.st_gid) == (run_as().uid, run_as().gid)
    assert status.bytes_done > 0 and status.took_s > 0
    assert nothing_half(volumes)


def test_it_is_restored_whole(volumes: Volumes, copies: VolumeCopies) -> None:
    kept, data = filled(volumes, a="before", b="stays")
    made = spec_of(kept, named())
    whole(copies, made)
    (data / "a").write_text("spoilt")
    (data / "b").unlink()
    (data / "c").write_text("new")
    again = spec_of(made.target, kept, restores=True)
    whole(copies, again)
    assert {path.name: path.read_text() for path in data.iterdir()} == {"a": "before", "b": "stays"}
    assert (volumes.folder / made.target / "data" / "a").read_text() == "before"
    assert nothing_half(volumes)
    (data / "a").write_text("written since")
    whole(VolumeCopies(volumes, told=lambda: None), again)  # a new agent is asked again
    assert (data / "a").read_text() == "written since"


def test_links_are_copied_and_never_followed(volumes: Volumes, copies: VolumeCopies) -> None:
    outside = volumes.folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    kept, data = filled(volumes)
    (data / "file").symlink_to(outside / "secret")
    (data / "folder").symlink_to(outside)
    (data / "nowhere").symlink_to("../../../nowhere")
    spec = spec_of(kept, named())
    whole(copies, spec)
    snapshot = volumes.folder / spec.target / "data"
    assert (snapshot / "file").readlink() == outside / "secret"
    assert (snapshot / "folder").readlink() == outside
    assert (snapshot / "nowhere").readlink() == Path("../../../nowhere")
    whole(copies, spec_of(spec.target, kept, restores=True))
    assert (outside / "secret").read_text() == "secret"


def test_names_of_one_file_are_files_apart(volumes: Volumes, copies: VolumeCopies) -> None:
    """Neither is the snapshot changed by who writes the volume, nor one name by who writes the other."""
    kept, data = filled(volumes, a="one")
    (data / "b").hardlink_to(data / "a")
    spec = spec_of(kept, named())
    whole(copies, spec)
    snapshot = volumes.folder / spec.target / "data"
    inodes = {path.stat().st_ino for path in (data / "a", snapshot / "a", snapshot / "b")}
    assert len(inodes) == 3
    (data / "a").write_text("two")
    assert (snapshot / "a").read_text() == (snapshot / "b").read_text() == "one"


def test_hard_links_do_not_multiply_what_is_sold(volumes: Volumes, copies: VolumeCopies) -> None:
    kept, data = filled(volumes)
    (data / "a").write_bytes(b"x" * MIB)
    for number in range(9):
        (data / f"b{number}").hardlink_to(data / "a")
    assert fault(copies, spec_of(kept, named(), bytes_max=4 * MIB)) is CopyFault.TOO_LARGE
    assert nothing_half(volumes)


def test_holes_stay_holes(volumes: Volumes, copies: VolumeCopies) -> None:
    kept, data = filled(volumes)
    with (data / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    with (data / "hole").open("wb") as file:
        file.truncate(1 << 30)
    spec = spec_of(kept, named())
    assert whole(copies, spec).bytes_done < MIB
    copied = volumes.folder / spec.target / "data" / "sparse"
    assert copied.stat().st_size == 1 << 40
    with copied.open("rb") as file:
        file.seek(1 << 39)
        assert file.read(8) == b"middle\0\0"
    assert (copied.parent / "hole").stat().st_size == 1 << 30


def test_what_is_no_file_is_left_out_and_nothing_has_rights_of_its_own(
    volumes: Volumes, copies: VolumeCopies
) -> None:
    kept, data = filled(volumes, own="x", plain="x")
    (data / "own").chmod(0o6755)
    os.mkfifo(data / "pipe")
    if os.geteuid() == 0:
        os.mknod(data / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    spec = spec_of(kept, named())
    whole(copies, spec)
    snapshot = volumes.folder / spec.target / "data"
    assert sorted(path.name for path in snapshot.iterdir()) == ["own", "plain"]
    assert stat.S_IMODE((snapshot / "own").stat().st_mode) == 0o755


def test_the_bytes_are_the_same_where_blocks_are_not_shared(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_copy, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(tree_copy.os, "copy_file_range", _refused)
    kept, data = filled(volumes)
    content = os.urandom(12_345)
    (data / "a").write_bytes(content)
    spec = spec_of(kept, named())
    whole(copies, spec)
    assert (volumes.folder / spec.target / "data" / "a").read_bytes() == content


def _refused(*_: object) -> int:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_where_blocks_can_be_shared_they_are(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def clone(target: int, request: int, source: int) -> int:
        asked.append(request)
        os.write(target, os.pread(source, 100, 0))
        return 0

    monkeypatch.setattr(tree_copy.fcntl, "ioctl", clone)
    monkeypatch.setattr(tree_copy.os, "copy_file_range", None)
    _, data = filled(volumes, a="one", b="two")
    copied_to(data, volumes.folder / "copy")
    assert asked == [0x40049409] * 2
    assert (volumes.folder / "copy" / "b").read_text() == "two"


def copied_to(source: Path, target: Path, *, bytes_max: int = 64 * MIB) -> TreeCopy:
    tree = TreeCopy(bytes_max=bytes_max, who=run_as(), broken_off=threading.Event())
    tree.copy(source, target)
    return tree


def test_a_file_that_changes_meanwhile_spoils_it(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, data = filled(volumes, a="before")
    copied = tree_copy._copied_piece

    def changed(source: int, target: int, count: int) -> int:
        (data / "a").write_text("changed meanwhile")
        return copied(source, target, count)

    monkeypatch.setattr(tree_copy, "_copied_piece", changed)
    assert fault(copies, spec_of(kept, named())) is CopyFault.CHANGED
    assert nothing_half(volumes)


def test_a_file_that_becomes_a_link_or_a_pipe_meanwhile_is_not_opened(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = filled(volumes, a="before")
    outside = volumes.folder.parent / "secret"
    outside.write_text("secret")
    looked = tree_copy.TreeCopy._copy_file

    def swapped(self: TreeCopy, name: str, pair: Any) -> None:
        (data / "a").unlink()
        swap()
        looked(self, name, pair)

    monkeypatch.setattr(tree_copy.TreeCopy, "_copy_file", swapped)
    swaps: list[Callable[[], object]] = [
        lambda: (data / "a").symlink_to(outside),
        lambda: os.mkfifo(data / "a"),
        lambda: None,
    ]
    for number, swap in enumerate(swaps):  # noqa: B007
        with pytest.raises(NotCopied, match="changed"):
            copied_to(data, volumes.folder / f"copy{number}")
        (data / "a").unlink(missing_ok=True)
        (data / "a").write_text("again")


def test_what_is_too_deep_is_refused(volumes: Volumes, copies: VolumeCopies) -> None:
    kept, data = filled(volumes)
    deep = data
    for _ in range(140):
        deep /= "d"
    deep.mkdir(parents=True)
    assert fault(copies, spec_of(kept, named())) is CopyFault.CLOSED
    assert nothing_half(volumes)


def test_a_full_disk_in_the_middle_leaves_nothing(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, data = filled(volumes, a="one", b="two")
    made = spec_of(kept, named())
    whole(copies, made)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tree_copy, "_copied_piece", full)
    assert fault(copies, spec_of(kept, named())) is CopyFault.FULL
    assert fault(copies, spec_of(made.target, kept, restores=True)) is CopyFault.FULL
    assert nothing_half(volumes)
    assert (data / "a").read_text() == "one"


def test_a_disk_that_is_not_mounted_makes_and_restores_nothing(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = filled(volumes, a="one")
    made = spec_of(kept, named())
    whole(copies, made)
    away = volumes.folder.with_name("away")
    volumes.folder.rename(away)
    volumes.folder.mkdir(mode=0o711)
    assert fault(copies, spec_of(kept, named())) is CopyFault.DISK
    back = spec_of(made.target, kept, restores=True)
    copies.take([back])  # it may have been decided: it waits for its disk
    volumes.folder.rmdir()
    away.rename(volumes.folder)
    whole(copies, back)


def test_one_that_is_no_longer_wanted_is_broken_off(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = filled(volumes, a="one")
    reached, go_on = threading.Event(), threading.Event()
    copied = tree_copy._copied_piece

    def slowly(source: int, target: int, count: int) -> int:
        reached.set()
        go_on.wait(60)
        return copied(source, target, count)

    monkeypatch.setattr(tree_copy, "_copied_piece", slowly)
    spec = spec_of(kept, named())
    copies.take([spec])
    assert reached.wait(60)
    copies.take([])
    assert volumes.delete([spec.target]) == ()  # it is still being made
    assert held_lock(volumes.folder / kept, writes=True) is None
    go_on.set()
    deleted_whole(volumes, spec.target)
    lock = held_lock(volumes.folder / kept, writes=True)
    assert lock is not None
    os.close(lock)


def test_it_rests_as_long_as_it_worked(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = filled(volumes, a="one")
    rests: list[float] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0)
            return False

    tree = TreeCopy(bytes_max=MIB, who=run_as(), broken_off=Watched())
    tree._worked_from -= 5
    tree.copy(data, volumes.folder / "copy")
    assert rests and rests[0] >= 5


def test_who_uses_it_keeps_it_from_being_copied(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a run that the hub thinks lost."""
    monkeypatch.setattr(volume_copies, "_LOCK_S", 0.0)
    kept, _ = filled(volumes, a="one")
    made = spec_of(kept, named())
    whole(copies, made)
    lock = held_lock(volumes.folder / kept, writes=True)
    assert lock is not None
    assert fault(copies, spec_of(kept, named())) is CopyFault.IN_USE
    assert fault(copies, spec_of(made.target, kept, restores=True)) is CopyFault.IN_USE
    os.close(lock)
    reading = held_lock(volumes.folder / kept, writes=False)
    assert reading is not None
    whole(copies, spec_of(kept, named()))  # who only reads does not disturb it
    assert fault(copies, spec_of(made.target, kept, restores=True)) is CopyFault.IN_USE
    os.close(reading)


_STEPS = ("mkdir", "_copied_piece", "sync_file_system", "write_durably", "rename", "sync_folder", "after")


@pytest.mark.parametrize("restores", [False, True])
@pytest.mark.parametrize("step", _STEPS)
def test_killed_at_any_step_it_is_whole_or_not_there(
    volumes: Volumes, copies: VolumeCopies, step: str, restores: bool
) -> None:
    kept, data = filled(volumes, a="one", b="two")
    spec = spec_of(kept, named())
    if restores:
        whole(copies, spec)
        (data / "a").write_text("spoilt")
        spec = spec_of(spec.target, kept, restores=True)
    killed_at(volumes, spec, step)
    if restores and data.exists():  # the volume is either the old or the new
        assert (data / "a").read_text() in {"spoilt", "one"}
    if not restores and (volumes.folder / spec.target).exists():
        assert (volumes.folder / spec.target / "data" / "b").read_text() == "two"
    whole(VolumeCopies(volumes, told=lambda: None), spec)
    found = volumes.folder / spec.target / "data"
    assert {path.name: path.read_text() for path in found.iterdir()} == {"a": "one", "b": "two"}
    assert nothing_half(volumes)
    assert not (volumes.folder / spec.target / "swap").exists()


_KILLED = """
import os, signal, sys, threading
from pathlib import Path
from mosu.site_agent import tree_copy, volume_copies
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import CopySpec

folder, step, spec = Path(sys.argv[1]), sys.argv[2], CopySpec.model_validate_json(sys.argv[3])
volumes = Volumes(folder / "volumes", room_gb=1, memory=folder / "volumes.json")

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

ended = threading.Event()
if step == "mkdir":
    tree_copy.os.mkdir = die
    Path.mkdir = die
elif step == "rename":
    Path.rename = die
elif step in ("_copied_piece", "sync_file_system"):
    setattr(tree_copy, step, die)
elif step != "after":
    setattr(volume_copies, step, die)
copies = volume_copies.VolumeCopies(volumes, told=ended.set)
copies.take([spec])
ended.wait(60)
die()
"""


def killed_at(volumes: Volumes, spec: CopySpec, step: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", _KILLED, str(volumes.folder.parent), step, spec.model_dump_json()],
        check=False,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL


def test_killed_between_the_two_names_it_is_put_right(volumes: Volumes, copies: VolumeCopies) -> None:
    kept, data = filled(volumes, a="one")
    made = spec_of(kept, named())
    whole(copies, made)
    back = spec_of(made.target, kept, restores=True)
    (data.parent / ".new").mkdir()
    (data.parent / ".new" / "a").write_text("one")
    data.rename(data.parent / ".old")
    (data.parent / "swap").write_text(f'{{"copy": "{back.copy_id}", "bytes": 5, "took_s": 1.5}}')
    status = whole(copies, back)
    assert (status.bytes_done, status.took_s) == (5, 1.5)
    assert (data / "a").read_text() == "one"
    assert nothing_half(volumes)


def test_what_a_disk_does_not_give_up_is_not_said_to_be_gone(
    volumes: Volumes, copies: VolumeCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, data = filled(volumes, a="one")
    made = spec_of(kept, named())
    whole(copies, made)
    back = spec_of(made.target, kept, restores=True, bytes_max=64 * MIB)
    tried = threading.Event()

    def stays(folder: Path) -> None:
        tried.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(volume_copies, "_clear", stays)
        copies.take([back])
        assert tried.wait(60)
        assert copies.statuses()[0].phase == "copying"
    assert ended(copies, back).phase == "whole"
    assert nothing_half(volumes) and (data / "a").read_text() == "one"


def test_broken_off_it_says_so() -> None:
    broken = threading.Event()
    broken.set()
    tree = TreeCopy(bytes_max=MIB, who=run_as(), broken_off=broken)
    with pytest.raises(BrokenOff):
        tree._count(0)


def test_a_run_reads_a_snapshot_of_what_a_run_wrote(
    folder: Path, environment: Environment, volumes: Volumes, copies: VolumeCopies
) -> None:
    lab = Lab(folder / "state", environment, volumes=volumes)
    kept = named()
    assert run(lab, "echo kept > /data/f", mount(kept))[0] == AttemptPhase.SUCCEEDED
    made = spec_of(kept, named())
    whole(copies, made)
    run(lab, "echo spoilt > /data/f", mount(kept))
    script = "cat /data/f; echo more > /data/f; ls -A /data"
    assert run(lab, script, mount(made.target, writes=False))[1].splitlines()[0::2] == ["kept", "f"]
    whole(copies, spec_of(made.target, kept, restores=True))
    assert run(lab, "cat /data/f && echo more >> /data/f", mount(kept))[1] == "kept\n"
    deleted_whole(volumes, made.target)
    deleted_whole(volumes, kept)
