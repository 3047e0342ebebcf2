"""What is read of a service's fate, whatever its task put in the place of it."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mosu.site_agent.engines.kubernetes.upkeep import upkeep_in
from mosu.wire.agent import Measures

BEGAN = datetime(2026, 11, 23, 12, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=100)
EPOCH = int(BEGAN.timestamp())


def found(path: Path) -> tuple[float | None, int] | None:
    measures = upkeep_in(path, started_at=BEGAN, ended_at=ENDED)
    assert measures is None or (measures.wall_s, measures.cpu_s, measures.memory_source) == (100, None, None)
    return measures and (measures.uptime_s, measures.restarts)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("0 90 0", (90, 0)),
        (f"2 30 {EPOCH + 80}", (50, 2)),  # well when it was killed
        (f"0 0 {EPOCH + 200}", (0, 0)),  # by a clock of the task's own
        (f"0 0 {EPOCH - 200}", (100, 0)),
        ("0 101 0", (100, 0)),
        ("999999999 9999999999 999999999999", (100, 505)),
    ],
)
def test_it_is_believed_no_further_than_it_is_possible(
    tmp_path: Path, said: str, means: tuple[float, int]
) -> None:
    (tmp_path / "upkeep").write_text(said + "\n")
    assert found(tmp_path / "upkeep") == means


@pytest.mark.parametrize(
    "said", ["", "1 2 3", "1 2\n", "-1 2 3\n", "1 -2 3\n", "1 2 3\n4\n", "1 nan 0\n", "١ 2 3\n", "1" * 5000]
)
def test_what_is_no_such_word_is_passed_over(tmp_path: Path, said: str) -> None:
    (tmp_path / "upkeep").write_text(said)
    assert found(tmp_path / "upkeep") is None


def test_what_is_no_file_is_not_read_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "true").write_text("0 90 0\n")
    (tmp_path / "link").symlink_to(tmp_path / "true")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "folder", "fifo", "absent"):
        assert found(tmp_path / name) is None, name


def test_an_end_before_its_beginning_is_no_time_at_all(tmp_path: Path) -> None:
    (tmp_path / "upkeep").write_text("0 90 0\n")
    nothing = upkeep_in(tmp_path / "upkeep", started_at=ENDED, ended_at=BEGAN)
    assert nothing == Measures(wall_s=0, uptime_s=0, restarts=0)
