"""The smoke test for suppliers, on the engines that need nothing installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kubernetes.bench import kubernetes_bench
from tests.kubernetes.cluster import CLASS
from tests.site_agent.lab import Lab

from mosu.sandbox.environments import Environment
from mosu.site_agent.engines.local import LocalEngine
from mosu.site_agent.engines.protocol import EngineRef
from mosu.site_agent.smoke import checks


def told(config: Path, *, language: str = "en") -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "mosu.site_agent.smoke", "--config", config],
        env={**os.environ, "MOSU_POOL_TOKEN": "mosu_pool_x", "MOSU_LANG": language},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_the_local_engine_passes(folder: Path, environment: Environment) -> None:
    config = folder / "agent.toml"
    config.write_text(
        f'hub_url = "http://127.0.0.1:1"\nstate_dir = "{folder}/state"\nenvironments = ["{environment.root}"]\n'
        "disk_bytes = 1000000000\n"
    )
    code, lines = told(config)
    assert code == 0, lines
    assert len(lines) == 10 and all(line.startswith("ok  ") for line in lines)
    assert not list((folder / "state" / "attempts").iterdir())


def test_the_kubernetes_engine_passes_and_needs_no_environment_folder() -> None:
    with kubernetes_bench() as bench:
        config = bench.cluster.volume.parent / "agent.toml"
        options = dict(bench.cluster.options(volumes_storage_class=CLASS))
        lines = [
            'hub_url = "http://127.0.0.1:1"',
            f'state_dir = "{bench.cluster.volume}"',
            'engine = "kubernetes"',
            "volumes_gb = 10",
        ]
        lines += ["[kubernetes]"] + [f"{key} = {_toml(value)}" for key, value in options.items()]
        config.write_text("\n".join(lines))
        code, said = told(config)
    assert code == 0, said
    assert said[-2:] == [
        "ok  a volume keeps what a run leaves in it: kept",
        "ok  a volume that is deleted is gone",
    ]
    assert len(said) == 13 and all(line.startswith("ok  ") for line in said)


def test_what_does_not_hold_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: LocalEngine, ref: str) -> None:
        """An engine that takes a cancel and does nothing."""
        monkeypatch.setattr("mosu.site_agent.smoke._WITHIN_S", 1.0)

    with monkeypatch.context() as forgetting:
        forgetting.setattr(LocalEngine, "cancel", forgetful)
        found = {check.what: check for check in checks(lab.engine, "python")}
    for left in (lab.folder / "attempts").iterdir():  # it ran on, beside all other tests
        lab.engine.cancel(EngineRef(left.name))
        lab.wait(EngineRef(left.name))
    assert not found["a cancelled attempt ends"].ok
    assert found["submitted three times it starts once"].ok
    monkeypatch.setenv("MOSU_BWRAP", "/nonexistent")
    assert [check.ok for check in checks(lab.restarted(), "python")] == [False, True]


def test_wrong_settings_are_said(folder: Path) -> None:
    config = folder / "agent.toml"
    config.write_text('hub_url = "http://127.0.0.1:1"\nstate_dir = "/s"\nengine = "kubernetes"\n')
    code, lines = told(config)
    assert code == 2 and lines[0].startswith("NO  kubernetes.folder: Field required. Its keys: folder, ")
    assert told(config, language="zh")[1][0].startswith(
        "NO  设置 kubernetes.folder：缺少此项。 可用的键：folder, "
    )


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
