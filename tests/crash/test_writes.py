"""Small state on disk is the old or the new, at whichever call a process dies or the disk refuses."""

import errno
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from mosu.site_agent import supervisor
from mosu.site_agent.engines import local
from mosu.site_agent.files import read_json, write_durably
from tests.crash.instants import die, killed

OLD, NEW = {"attempts": ["a"]}, {"attempts": ["a", "b"]}
CALLS = ("open", "fsync", "rename", "link", "unlink")

BY: Final = [1, 2, "boot"]
"""Who claims: a process, its start, its boot."""


def at_call(number: int, then: Callable[[], None], patch: Callable[[str, Any], None]) -> None:
    """`then` comes before the `number`-th call of the operating system; each call's end is the next one's before."""
    seen = 0

    def stopped(name: str) -> Callable[..., Any]:
        plain = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            nonlocal seen
            for _ in range(2):
                seen += 1
                if seen == number:
                    then()
                if seen % 2:
                    done = plain(*given, **named)
            return done

        return call

    for name in CALLS:
        patch(name, stopped(name))


def test_killed_at_every_call_the_state_is_old_or_new(tmp_path: Path) -> None:
    """Before each call and after it; a later write goes through."""
    state, seen = tmp_path / "state.json", []
    for number in count(1):
        write_durably(state, OLD)
        died = killed(
            lambda: write_durably(state, NEW),
            lambda n=number: at_call(n, die, lambda name, call: setattr(os, name, call)),  # type: ignore[misc]
            notes=tmp_path / "notes",
        )
        found = read_json(state)
        assert found in (OLD, NEW)
        seen.append(found)
        if not died:
            break
    assert number == 2 * 5 + 1  # the draft opened, synced, renamed; its folder opened and synced
    assert seen == [OLD] * 5 + [NEW] * 6


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_refuses_is_told_and_leaves_old_or_new(tmp_path: Path, code: int) -> None:
    state = tmp_path / "state.json"

    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    for number in range(1, 11):
        write_durably(state, OLD)
        with pytest.MonkeyPatch.context() as patched:
            at_call(number, refuse, lambda name, call: patched.setattr(os, name, call))
            with pytest.raises(OSError, match=os.strerror(code)):
                write_durably(state, NEW)
        assert read_json(state) in (OLD, NEW)
        write_durably(state, NEW)
        assert read_json(state) == NEW


def claimed_whole_or_not(folder: Path) -> bool:
    """Whether somebody had claimed the attempt; afterwards somebody has, and nobody else can."""
    before = read_json(folder / "claim")
    assert before is None or len(before) == 3
    assert supervisor.claim(folder, BY) is (before is None)
    assert not supervisor.claim(folder, BY)
    return before is not None


def test_a_supervisor_killed_at_every_call_has_claimed_or_not(tmp_path: Path) -> None:
    """Whoever comes next starts the attempt if it was not claimed, and never if it was."""
    seen = []
    for number in count(1):
        folder = tmp_path / f"attempt{number}"
        folder.mkdir()
        died = killed(
            lambda of=folder: supervisor.claim(of, BY),  # type: ignore[misc]
            lambda n=number: at_call(n, die, lambda name, call: setattr(os, name, call)),  # type: ignore[misc]
            notes=tmp_path / "notes",
        )
        seen.append(claimed_whole_or_not(folder))
        if not died:
            break
    assert seen == sorted(seen)
    assert set(seen) == {False, True}
    assert number == 2 * 6 + 1  # the draft opened, synced, linked, removed; its folder opened and synced


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_refuses_a_claim_leaves_it_whole_or_none(tmp_path: Path, code: int) -> None:
    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    for number in range(1, 13):
        folder = tmp_path / f"attempt{number}"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patched:
            at_call(number, refuse, lambda name, call: patched.setattr(os, name, call))
            with pytest.raises(OSError, match=os.strerror(code)):
                supervisor.claim(folder, BY)
        claimed_whole_or_not(folder)


def test_a_disk_that_takes_a_part_of_a_claim_takes_none_or_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: plain(fd, data[:5]))
    assert supervisor.claim(tmp_path, BY)
    assert len(read_json(tmp_path / "claim")) == 3


def test_an_agent_killed_at_every_call_while_it_buries_has_buried_or_not(tmp_path: Path) -> None:
    """Its successor buries again, and the word is the same."""
    state = supervisor.blank_state("running")
    for number in count(1):
        folder = tmp_path / f"attempt{number}"
        folder.mkdir()
        write_durably(folder / "secrets.json", {"KEY": "x"})
        write_durably(folder / "claim", [0, 0, "another boot"])
        died = killed(
            lambda of=folder: local._bury(of, state),  # type: ignore[misc]
            lambda n=number: at_call(n, die, lambda name, call: setattr(os, name, call)),  # type: ignore[misc]
            notes=tmp_path / "notes",
        )
        found = read_json(folder / "buried.json")
        assert found is None or found["phase"] == "lost"
        again = local._bury(folder, found or state)
        assert (again["phase"], again["reason"]) == ("lost", "Its supervisor died.")
        assert not (folder / "secrets.json").exists()
        if not died:
            break
    assert number > 2 * 5
