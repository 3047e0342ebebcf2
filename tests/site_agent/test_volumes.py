"""Volumes on a real machine: kept from run to run, one writer, a size that holds, nothing beside them reached."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.site_agent.lab import MIB, WAITS, Lab, let_go, make_spec, until

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Environment
from mosu.site_agent.config import AgentConfig
from mosu.site_agent.engines.choice import volumes_of
from mosu.site_agent.files import read_json
from mosu.site_agent.volume_lock import held_lock
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, AttemptSpec, VolumeSpec


def named() -> str:
    return typeid("volume", uuid7())


def mount(
    volume_id: str, *, path: str = "/data", size_bytes: int = 8 * MIB, writes: bool = True
) -> VolumeSpec:
    return VolumeSpec(volume_id=volume_id, path=path, size_bytes=size_bytes, writes=writes)


def kept_in(folder: Path) -> Volumes:
    return Volumes(folder / "volumes", room_gb=1, memory=folder / "volumes.json")


@pytest.fixture
def volumes(folder: Path) -> Volumes:
    (folder / "volumes").mkdir()
    return kept_in(folder)


@pytest.fixture
def lab(folder: Path, environment: Environment, volumes: Volumes) -> Lab:
    return Lab(folder / "state", environment, volumes=volumes)


def run(lab: Lab, script: str, *mounts: VolumeSpec, **changes: Any) -> tuple[AttemptPhase, str, str]:
    ended = lab.run(script, volumes=mounts, **changes)
    return ended.seen.phase, ended.log, ended.seen.reason


@contextmanager
def used_by_another(lab: Lab, one: VolumeSpec) -> Iterator[AttemptSpec]:
    spec = make_spec(f"echo begun; {WAITS}", volumes=(one,))
    ref = lab.engine.submit(spec)
    attempt = lab.folder / "attempts" / spec.attempt_id
    until(lambda: b"begun" in lab.engine.read_log(ref, offset=0, bytes_max=100).data, what="begun")
    try:
        yield spec
    finally:
        let_go(attempt)
        lab.wait(ref)


def test_what_is_written_is_there_for_the_next_run(lab: Lab) -> None:
    kept = named()
    assert run(lab, "mkdir -p /data/a && echo kept > /data/a/b", mount(kept))[0] == AttemptPhase.SUCCEEDED
    phase, log, _ = run(lab, "cat /mnt/x/a/b; ls -A /mnt/x /work", mount(kept, path="/mnt/x"))
    assert (phase, log) == (AttemptPhase.SUCCEEDED, "kept\n/mnt/x:\na\n\n/work:\n")


def test_read_only_it_cannot_be_written(lab: Lab) -> None:
    kept = named()
    run(lab, "echo kept > /data/b", mount(kept))
    script = "cat /data/b; echo more > /data/b; rm -f /data/b; touch /data/c; ls /data"
    assert run(lab, script, mount(kept, writes=False))[1].splitlines()[-1] == "b"


def test_a_run_sees_its_own_volumes_alone(lab: Lab, volumes: Volumes) -> None:
    theirs, ours = named(), named()
    run(lab, "echo secret-of-a > /data/f", mount(theirs))
    look = (
        f"ls /data/.. ; ls {volumes.folder} ; cat {volumes.folder}/{theirs}/data/f ; cat /data/../{theirs}/data/f ; "
        "grep -c volume_ /proc/self/mountinfo"
    )
    _, log, _ = run(lab, look, mount(ours))
    assert "secret-of-a" not in log
    assert theirs not in "\n".join(line for line in log.splitlines() if not line.startswith(("ls:", "cat:")))


def test_links_out_of_it_lead_nowhere(lab: Lab, volumes: Volumes) -> None:
    """A link is read where it is followed: in the next sandbox, never by the agent."""
    kept = named()
    script = (
        "ln -s /etc/shadow /data/shadow; ln -s ../../../.. /data/up; ln -s /proc/1/root /data/first; "
        "mknod /data/dev b 8 0; mkfifo /data/pipe; cp /bin/true /data/true; chmod 6755 /data/true; ls /data"
    )
    _, log, _ = run(lab, script, mount(kept))
    assert "dev" not in log.split()  # no device files are made
    _, log, _ = run(lab, "cat /data/shadow; ls /data/up/; ls /data/first/", mount(kept))
    assert "root:" not in log and "home" not in log.split()
    outside = volumes.folder.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    run(lab, f"ln -s {outside} /data/out", mount(kept))
    deleted_whole(volumes, kept)
    assert (outside / "precious").read_text() == "stays"


def test_its_files_have_no_rights_of_their_own(lab: Lab, volumes: Volumes) -> None:
    kept = named()
    run(lab, "true", mount(kept))
    data = volumes.folder / kept / "data"
    if os.geteuid() == 0:
        (data / "own").write_bytes(Path("/bin/id").read_bytes())
        (data / "own").chmod(0o6755)
        os.mknod(data / "null", 0o666 | 0o020000, os.makedev(1, 3))
    _, log, _ = run(lab, "/data/own -u; cat /data/null; grep ' /data ' /proc/self/mountinfo", mount(kept))
    assert "0" not in log.splitlines()
    assert "nosuid" in log and "nodev" in log


def test_more_than_its_size_ends_the_run(lab: Lab) -> None:
    kept = named()
    script = "for i in 1 2 3 4 5; do head -c 4M /dev/zero > /data/$i; done; sleep 100"
    phase, _, reason = run(lab, script, mount(kept))
    assert phase == AttemptPhase.FAILED
    assert reason.startswith("volume: /data took ") and reason.endswith(f"more than its {8 * MIB}.")
    # Whose volume it is may put it in order, and may not let it grow.
    phase, _, reason = run(lab, "rm /data/*; sleep 1.5; ls /data", mount(kept, size_bytes=12 * MIB))
    assert (phase, reason) == (AttemptPhase.SUCCEEDED, "")


def test_a_volume_that_is_over_may_not_grow(lab: Lab) -> None:
    kept = named()
    run(lab, "head -c 6M /dev/zero > /data/a", mount(kept))
    script = "sleep 1.5; echo alive; head -c 3M /dev/zero > /data/b; sleep 100"
    phase, log, reason = run(lab, script, mount(kept, size_bytes=4 * MIB))
    assert (phase, log) == (AttemptPhase.FAILED, "alive\n") and "more than its" in reason
    phase, log, reason = run(lab, "sleep 100", mount(kept, size_bytes=2 * MIB))
    assert phase == AttemptPhase.FAILED and "more than its" in reason


def test_one_file_may_be_as_large_as_the_volume(lab: Lab) -> None:
    script = "head -c 70M /dev/zero > /data/a && ls /data"
    assert run(lab, script, mount(named(), size_bytes=100 * MIB))[1] == "a\n"


def test_what_cannot_be_measured_ends_the_run(lab: Lab) -> None:
    script = "for i in $(seq 3000); do mkdir dddddddddd && cd dddddddddd || exit; done; sleep 100"
    phase, _, reason = run(lab, f"cd /data; {script}", mount(named()))
    assert phase == AttemptPhase.FAILED and reason.startswith("volume: /data ")


def test_one_writes_or_several_read(lab: Lab) -> None:
    kept = named()
    run(lab, "echo kept > /data/f", mount(kept))
    with used_by_another(lab, mount(kept)):
        for writes in (True, False):
            phase, _, reason = run(lab, "echo ran", mount(kept, writes=writes))
            assert phase == AttemptPhase.FAILED and "still used by another attempt" in reason
    with used_by_another(lab, mount(kept, writes=False)):
        assert run(lab, "cat /data/f", mount(kept, writes=False))[1] == "kept\n"
        assert run(lab, "echo ran", mount(kept))[0] == AttemptPhase.FAILED
    assert run(lab, "cat /data/f", mount(kept))[1] == "kept\n"


def deleted_whole(volumes: Volumes, volume_id: str) -> None:
    until(lambda: volumes.delete([volume_id]) == (volume_id,), what="deleted")
    assert not list(volumes.folder.glob(f"*{volume_id}*"))


def test_a_volume_in_use_is_deleted_only_afterwards(lab: Lab, volumes: Volumes) -> None:
    kept = named()
    with used_by_another(lab, mount(kept)):
        assert volumes.delete([kept]) == ()
        until(lambda: not volumes._deleting, what="tried")
        assert (volumes.folder / kept / "data").is_dir()
    deleted_whole(volumes, kept)
    assert volumes.delete([kept, unknown := named()]) == (kept, unknown)


def test_a_deletion_that_was_broken_off_goes_on(lab: Lab, volumes: Volumes) -> None:
    kept = named()
    run(lab, "mkdir -p /data/a/b; chmod 0 /data/a", mount(kept))
    (volumes.folder / kept).rename(volumes.folder / f".gone-{kept}")
    deleted_whole(kept_in(volumes.folder.parent), kept)


def test_what_was_half_made_on_a_full_disk_can_be_deleted(lab: Lab, volumes: Volumes) -> None:
    kept = named()
    (volumes.folder / kept / "data").mkdir(parents=True)
    deleted_whole(volumes, kept)


def test_a_disk_that_fails_ends_no_heartbeat_and_gives_nothing_up(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, unknown = named(), named()
    (volumes.folder / kept).mkdir()
    with monkeypatch.context() as failing:
        failing.setattr(Path, "lstat", _fails)
        assert volumes.delete([kept, unknown]) == ()
        until(lambda: not volumes._deleting, what="tried")
    deleted_whole(volumes, kept)
    deleted_whole(volumes, unknown)


def test_a_deletion_that_fails_holds_nothing(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = named()
    (volumes.folder / kept / "data").mkdir(parents=True)
    (volumes.folder / kept / "lock").touch()
    with monkeypatch.context() as failing:
        failing.setattr(Path, "rename", _fails)
        assert volumes.delete([kept]) == ()
        until(lambda: not volumes._deleting, what="tried")
    lock = held_lock(volumes.folder / kept, writes=True)
    assert lock is not None
    os.close(lock)
    deleted_whole(volumes, kept)


def test_nothing_is_said_to_be_gone_before_the_disk_has_it(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = named()
    (volumes.folder / kept).mkdir()
    reached, go_on = threading.Event(), threading.Event()

    def synced(_folder: Path) -> None:
        reached.set()
        go_on.wait(30)

    monkeypatch.setattr("mosu.site_agent.volumes.sync_folder", synced)
    volumes.delete([kept])
    assert reached.wait(30)
    try:
        assert not (volumes.folder / f".gone-{kept}").exists()
        assert volumes.delete([kept]) == ()
    finally:
        go_on.set()
    deleted_whole(volumes, kept)


def test_a_disk_that_is_not_mounted_is_no_empty_one(lab: Lab, volumes: Volumes) -> None:
    kept, away = named(), volumes.folder.with_name("away")
    run(lab, "echo kept > /data/b", mount(kept))
    volumes.folder.rename(away)
    volumes.folder.mkdir(mode=0o711)
    assert volumes.delete([kept]) == ()
    with pytest.raises(OSError, match="not the folder"):
        lab.engine.submit(make_spec("true", volumes=(mount(kept),)))
    with pytest.raises(Invalid, match="were kept"):
        kept_in(volumes.folder.parent)
    until(lambda: not volumes._deleting, what="tried")
    assert not list(volumes.folder.iterdir())
    volumes.folder.rmdir()
    away.rename(volumes.folder)
    assert run(lab, "cat /data/b", mount(kept))[1] == "kept\n"
    deleted_whole(kept_in(volumes.folder.parent), kept)


def _fails(*_given: object, **_named: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_without_room_there_are_none(folder: Path, environment: Environment) -> None:
    with pytest.raises(Invalid, match="keeps no volumes"):
        Lab(folder / "state", environment).engine.submit(make_spec(volumes=(mount(named()),)))
    config = AgentConfig(hub_url="", token="", state_dir=folder, environments=(), volumes_gb=1)
    assert volumes_of(config) is None
    for changes in (
        {"engine": "kubernetes", "volumes_dir": folder},
        {"volumes_dir": folder / "none"},
        {"volumes_dir": folder, "volumes_gb": 1 << 40},
        {"volumes_dir": folder, "volumes_gb": 0},
    ):
        facts: dict[str, Any] = {
            "hub_url": "",
            "token": "",
            "state_dir": folder,
            "environments": (),
            "volumes_gb": 1,
        }
        with pytest.raises(Invalid):
            volumes_of(AgentConfig(**facts | changes))


@pytest.mark.parametrize("name", ["../x", "volume_", "volume_" + "a" * 25 + "/", "/etc"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(ValueError, match="volume_id"):
        mount(name)


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/data/../etc", "/usr/x", "data", "/data/", "/data//x", "/datax"]
)
def test_no_path_leads_into_the_sandboxs_own(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        mount(named(), path=path)


def test_several_have_their_own_places(lab: Lab) -> None:
    first, second = mount(named(), path="/data/a"), mount(named(), path="/data/b", writes=False)
    phase, log, _ = run(lab, "touch /data/a/x; touch /data/b/y; touch /data/z; ls /data/a", first, second)
    assert (phase, log.splitlines()[-1]) == (AttemptPhase.SUCCEEDED, "x")


def test_a_killed_supervisor_lets_go_with_all_that_it_ran(lab: Lab) -> None:
    kept = named()
    ref = lab.start("sleep 1000", volumes=(mount(kept),))
    os.kill(read_json(lab.attempt(ref) / "claim")[0], signal.SIGKILL)
    assert lab.wait(ref).seen.phase == AttemptPhase.LOST
    assert run(lab, "true", mount(kept))[0] == AttemptPhase.SUCCEEDED
