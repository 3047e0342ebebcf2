"""Which agent it is: the same over restarts, another with a copy of its state folder or machine."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mosu.site_agent.identity import instance_of


def test_a_copied_state_folder_is_another_agent(tmp_path: Path) -> None:
    """The lock on the folder does not see it, so the hub must: it refuses the second."""
    own, copy = tmp_path / "own", tmp_path / "copy"
    own.mkdir()
    first = instance_of(own)
    shutil.copytree(own, copy)
    assert instance_of(own) == first != instance_of(copy)
    moved = own.rename(tmp_path / "moved")
    assert instance_of(moved) == first


def test_a_cloned_machine_is_another_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = instance_of(tmp_path)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="clone"))
    assert instance_of(tmp_path) != first
