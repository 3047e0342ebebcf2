"""The tutorials do what they say, from the first command to the last, on a real hub."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mosu.wire.ssh import SSHD
from tests.docs.console import Shell, matches, steps_of
from tests.hub import free_port, running_hub

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "tutorials"
TUTORIALS = [
    page
    for page in sorted([*PAGES.glob("your-first-*.md"), *PAGES.glob("ssh-*.md")])
    if "notebook" not in page.stem
]
"""The others need a cluster (tests/slurm), or JupyterLab or a model (tests/environments)."""
SHOWN_URL, SHOWN_PORT = "http://127.0.0.1:8000", "19000"
"""Where the pages' hub is, and the port of their reader's own: here they are free ones, since others run beside."""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial(page: Path, tmp_path: Path) -> None:
    if page.name.startswith("ssh-") and not (shutil.which("ssh") and os.access(SSHD, os.X_OK)):
        pytest.skip("needs: apt-get install openssh-client openssh-server")
    follow(page, tmp_path, {})


def follow(
    page: Path,
    tmp_path: Path,
    more: Mapping[str, str],
    *,
    data_dir: Path | None = None,
    python: Path = Path(sys.executable),
) -> None:
    """Type all that the page says, on a hub of its own (`data_dir`: as of `running_hub`), with `more` in the
    environment. `python` is what the page calls `python3`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, command in {"mosu": f"{sys.executable} -m mosu.cli.main", "python3": f"{python}"}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    with running_hub(data_dir=data_dir) as hub:
        port = str(free_port())
        env = {**hub.env, "PATH": f"{programs}:{Path(sys.executable).parent}:{hub.env['PATH']}", **more}
        with Shell(folder, env) as shell:
            for step in steps_of(page.read_text(encoding="utf-8")):
                command = step.command.replace(SHOWN_URL, hub.url).replace(SHOWN_PORT, port)
                shown, code = shell.run(command)
                shown = shown.replace(hub.url, SHOWN_URL)
                where = f"{page.name}:{step.line}: {step.command}"
                assert code == step.exit_code, f"{where}\nended with {code}:\n{shown}"
                assert matches(step.output, shown), f"{where}\nshould show\n{step.output}\nshowed\n{shown}"


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a ... c", "a b c", True),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a", "b", False),
        ("", "anything", False),
        ("NAME  X", "NAME      X", True),
        ("4.20", "4x20", False),
    ],
)
def test_the_comparison_itself(expected: str, found: str, same: bool) -> None:
    assert matches(expected, found) is same
