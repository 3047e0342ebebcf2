"""What the agent of `mosu up` is told of this machine's disk."""

import tomllib
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from mosu.runtime import agent_config
from mosu.runtime.agent_config import environment_file, write_agent_config, write_environment
from mosu.runtime.config import Config, load_config
from mosu.runtime.postgres import write_secret
from mosu.sandbox.starter import RunAs

GIB = 1 << 30
Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    config = load_config(data_dir=tmp_path / "data")
    config.ensure()
    (config.data_dir / "environments").mkdir()
    write_environment(config.data_dir, config.data_dir / "environments" / "python")
    monkeypatch.setattr(agent_config, "unreachable_part", lambda *_: None)
    return config


def told(config: Config, monkeypatch: pytest.MonkeyPatch, *, free_gb: float) -> dict[str, Any]:
    free = int(free_gb * GIB)
    monkeypatch.setattr(agent_config.shutil, "disk_usage", lambda _: Disk(free, 0, free))
    write_agent_config(config)
    return tomllib.loads(config.agent_config.read_text())


@pytest.mark.parametrize(("free_gb", "room_gb"), [(1000, 20), (80, 20), (79, 19), (6, 1), (4, 1)])
def test_a_quarter_of_the_disk_at_most_is_for_volumes_and_not_for_runs(
    config: Config, monkeypatch: pytest.MonkeyPatch, free_gb: int, room_gb: int
) -> None:
    found = told(config, monkeypatch, free_gb=free_gb)
    assert found["volumes_gb"] == room_gb
    assert found["disk_bytes"] + room_gb * GIB <= free_gb * GIB
    assert found["disk_bytes"] > free_gb * GIB // 2
    assert Path(found["volumes_dir"]).stat().st_mode & 0o777 == 0o711


def test_a_full_disk_keeps_no_volumes_unless_some_are_there(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "volumes_dir" not in told(config, monkeypatch, free_gb=3.9)
    (config.agent_config.parent / "volumes" / "volume_x").mkdir()
    found = told(config, monkeypatch, free_gb=0.5)
    assert (found["volumes_gb"], found["disk_bytes"]) == (1, GIB)


def test_none_where_the_sandbox_cannot_come(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_config, "unreachable_part", lambda path, _: path)
    monkeypatch.setattr(agent_config, "run_as", lambda: RunAs(1, 1))
    assert "volumes_dir" not in told(config, monkeypatch, free_gb=100)


def test_the_environment_is_found_again_where_the_data_folder_was_moved(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = config.data_dir.rename(tmp_path / "moved")
    found = told(load_config(data_dir=moved), monkeypatch, free_gb=80)
    assert found["environments"] == [str(moved / "environments" / "python")]


def test_a_whole_path_that_an_earlier_version_kept_counts(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secret(environment_file(config.data_dir), str(tmp_path))
    assert told(config, monkeypatch, free_gb=80)["environments"] == [str(tmp_path)]
