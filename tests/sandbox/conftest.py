"""Sandboxes, and environments that cost no copy of an interpreter each."""

import os
import shutil
from pathlib import Path

import pytest
from tests.site_agent.fixtures import environment, folder, lab, shelf

from mosu.sandbox.environments import laying

__all__ = ["environment", "folder", "lab", "shelf"]


@pytest.fixture(scope="session")
def interpreter(shelf: Path) -> Path:
    """What every environment begins with, laid once."""
    laid = shelf / "interpreter"
    laid.mkdir()
    laying._lay_interpreter(laid)
    return laid


@pytest.fixture
def linked_interpreter(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linked into each environment instead of copied, which takes a second of each test; `test_environments` copies."""

    def lay(draft: Path) -> None:
        shutil.copytree(interpreter, draft, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
        for alias in ("python", "python3"):
            (draft / "bin" / alias).unlink()
            (draft / "bin" / alias).symlink_to(laying.python_inside())

    monkeypatch.setattr(laying, "_lay_interpreter", lay)
