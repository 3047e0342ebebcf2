"""A task file is bought, run and billed alike wherever it goes, and the page that shows it is of this task."""

import json
from pathlib import Path

import pytest
from tests.engines.one_task import COMMAND, PAGE, TASK, WALL_LIMIT_S, Ran
from tests.programs import ran

pytestmark = [pytest.mark.slurm, pytest.mark.ray]


def test_one_task_file_runs_unchanged_on_all_three(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    ran("tests.engines.one_task", file)  # it joins the hub that it starts, which a test's own process cannot
    found = [Ran(**one) for one in json.loads(file.read_text())]
    assert [one.engine for one in found] == ["local", "slurm", "ray"]
    assert len({one.task_sha256 for one in found}) == 1
    assert {one.letters.splitlines()[-1] for one in found} == {"e 6"}
    assert len({one.letters for one in found}) == 1
    for one in found:
        assert "rank 0 of 1\ne 6\n" in one.printed
        assert 1 <= one.core_seconds <= WALL_LIMIT_S  # of one core
        assert one.supplier in one.printed  # on the receipt
    name, state, seconds, _ = found[1].books.split("|")
    assert (name.partition("_")[0], state, int(seconds)) == ("attempt", "COMPLETED", found[1].core_seconds)


def test_the_page_shows_this_task() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert TASK in page and f"$ mosu {' '.join(COMMAND)}" in page
