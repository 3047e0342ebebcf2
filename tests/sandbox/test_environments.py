"""Prebuilt environments: built once, whole or not at all, readable by all."""

import os
import stat
import threading
from pathlib import Path

import pytest

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Environment, build_python_environment, laying, load_environment


def test_built_once_and_found_again(shelf: Path, environment: Environment) -> None:
    made = (environment.root / "environment.json").stat().st_mtime_ns
    again = build_python_environment(shelf / "environments", packages=["numpy"])
    assert again == environment == load_environment(environment.root)
    assert (environment.root / "environment.json").stat().st_mtime_ns == made
    assert environment.packages[0].startswith("numpy==")


def test_everyone_may_read_and_nobody_else_write(environment: Environment) -> None:
    for folder, _, files in os.walk(environment.root):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                assert mode & 0o044 == 0o044 and not mode & 0o022, (path, oct(mode))


def test_leaves_out_what_no_job_needs(environment: Environment) -> None:
    names = {path.name for path in environment.root.rglob("*")}
    assert not names & {"test", "idlelib", "ensurepip"}
    assert not [name for name in names if name.endswith(".a")]


def test_two_builders_at_once_end_with_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laying, "_system_interpreter", lambda: True)
    found = list[Environment]()
    threads = [
        threading.Thread(
            target=lambda: found.append(build_python_environment(folder / "e", packages=["click"]))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len({item.root for item in found}) == 1
    assert list((folder / "e").iterdir()) == [found[0].root]


def test_a_missing_package_is_refused_and_nothing_is_left(folder: Path) -> None:
    with pytest.raises(Invalid, match="not-a-package is not installed"):
        build_python_environment(folder / "e", packages=["not-a-package"])
    assert not (folder / "e").exists()
    with pytest.raises(Invalid, match="holds no environment"):
        load_environment(folder)


def test_a_system_interpreter_answers_to_its_short_names_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laying, "_system_interpreter", lambda: True)
    built = build_python_environment(folder / "e", packages=["click"])
    assert {name: str((built.root / "bin" / name).readlink()) for name in ("python", "python3")} == {
        "python": built.python,
        "python3": built.python,
    }
