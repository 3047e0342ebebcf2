"""Environments that an operator adds to the pool of the hub's own machine."""

import json
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.runtime.waiting import eventually

from mosu.kernel.refusals import Invalid
from mosu.runtime import commands
from mosu.runtime.agent_config import note_environment, write_agent_config, write_environment
from mosu.runtime.config import Config, load_config
from mosu.sandbox.environments import Environment


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = load_config(data_dir=tmp_path / "data")
    config.ensure()
    (config.data_dir / "environments").mkdir()
    write_environment(config.data_dir, made(config, "python", "1").root)
    return config


def made(config: Config, name: str, version: str) -> Environment:
    root = config.data_dir / "environments" / f"{name}-{version}"
    root.mkdir()
    return Environment(name, root, "/opt/env/bin/python3.11", "3.11.7", ())


def offered(config: Config) -> list[str]:
    write_agent_config(config)
    found = tomllib.loads(config.agent_config.read_text())
    return [Path(folder).name for folder in found["environments"]]


def test_the_agent_offers_what_was_added_after_the_first(config: Config) -> None:
    assert offered(config) == ["python-1"]
    note_environment(config.data_dir, made(config, "jupyter", "1"))
    note_environment(config.data_dir, made(config, "torch", "1"))
    assert offered(config) == ["python-1", "jupyter-1", "torch-1"]
    note_environment(config.data_dir, made(config, "jupyter", "2"))
    assert offered(config) == ["python-1", "jupyter-2", "torch-1"]


def test_one_that_somebody_removed_keeps_no_agent_from_starting(config: Config) -> None:
    gone = made(config, "jupyter", "1")
    note_environment(config.data_dir, gone)
    shutil.rmtree(gone.root)
    assert offered(config) == ["python-1"]


def test_the_agent_starts_again_with_it_and_a_refusal_changes_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> Environment:
        raise Invalid("No environment can be made of some.lock: it is broken", hint="Make the lock anew.")

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as agent:
        facts = {"pid": agent.pid, "host": "127.0.0.1", "port": 1, "url": "http://127.0.0.1:1"}
        config.status_file.write_text(json.dumps({**facts, "parts": {"agent": {"pid": agent.pid}}}))
        monkeypatch.setattr(commands, "build_locked_environment", refuse)
        with pytest.raises(commands.typer.Exit):
            commands.add_environment("jupyter", data_dir=config.data_dir)
        assert "it is broken" in capsys.readouterr().err
        assert agent.poll() is None and offered(config) == ["python-1"]
        built = made(config, "jupyter", "1")
        monkeypatch.setattr(commands, "build_locked_environment", lambda *_, **__: built)
        commands.add_environment("jupyter", data_dir=config.data_dir)
        assert "jupyter" in capsys.readouterr().out
        assert eventually(lambda: agent.poll() == -signal.SIGTERM)
    assert offered(config) == ["python-1", "jupyter-1"]
