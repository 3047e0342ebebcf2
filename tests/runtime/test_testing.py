"""Where the tests' own PostgreSQL lies, and what is told of a hub with which something went wrong."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.hub import LOG_CHARACTERS_MAX, last_words_of

from mosu.runtime import testing


def lies_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **found: Any) -> str:
    """`memory` or `disk`, where the first is as it was found."""
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    for folder in (memory, disk):
        folder.mkdir(exist_ok=True)
    monkeypatch.setattr(testing, "_MEMORY", memory)
    monkeypatch.setattr(testing, "first_closed", lambda _path, _user: None)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    facts = SimpleNamespace(**{"f_bavail": 2 << 20, "f_frsize": 4096, "f_flag": 0, **found})
    monkeypatch.setattr(os, "statvfs", lambda _folder: facts)
    made = testing._reachable_folder()
    assert made.stat().st_mode & 0o777 == 0o755
    return made.parent.name


def test_it_lies_in_memory_only_where_there_is_room_and_programs_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert lies_in(monkeypatch, tmp_path) == "memory"
    assert lies_in(monkeypatch, tmp_path, f_bavail=(1 << 20) - 1) == "disk"
    assert lies_in(monkeypatch, tmp_path, f_flag=os.ST_NOEXEC) == "disk"


def test_where_there_is_no_memory_to_write_to_it_lies_on_the_disk(tmp_path: Path) -> None:
    assert not testing._has_room(tmp_path / "none")


def test_what_goes_wrong_with_a_hub_tells_the_last_that_each_part_noted(tmp_path: Path) -> None:
    logs = tmp_path / "data" / "logs"
    logs.mkdir(parents=True)
    (tmp_path / "up.log").write_text("web ready\n")
    (logs / "web.log").write_text(f"first\n{'x' * LOG_CHARACTERS_MAX}\nlast\n")
    (logs / "worker.log").touch()
    words = last_words_of(tmp_path)
    assert words.startswith("up.log ends:\nweb ready\nweb.log ends:\nxxx") and words.endswith("x\nlast")
    assert "first" not in words and "worker" not in words
    assert last_words_of(tmp_path / "none") == ""
