"""Small state on disk is the old or the new, at whichever call a process dies or the disk refuses."""

import errno
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mosu.site_agent.files import read_json, write_durably
from tests.crash.instants import die, killed

OLD, NEW = {"attempts": ["a"]}, {"attempts": ["a", "b"]}
CALLS = ("open", "fsync", "rename")


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
