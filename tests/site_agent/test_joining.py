"""Joining as a supplier: what is detected, what init writes and refuses, what check finds, the unit."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.site_agent.fake_hub import FakeHub

from mosu.cli.commands.agent import _unnamed
from mosu.compute.accelerators import catalogue
from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Environment
from mosu.sandbox.probing import SandboxReport
from mosu.site_agent import joining
from mosu.site_agent.config import load_config
from mosu.site_agent.detection import cards, engines
from mosu.site_agent.engines.local import LocalEngine
from mosu.site_agent.engines.ray.options import options_of as ray_options

TOKEN = "mosu_pool_secret-words"

NVIDIA_SMI = """\
0, NVIDIA H100 80GB HBM3, 81559
1, NVIDIA H100 80GB HBM3, 81559
2, NVIDIA H100 80GB HBM3, [GPU requires reset]
3, NVIDIA T1000, 4096
"""
NPU_SMI = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 23.0.0                   Version: 23.0.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B2               | OK            | 91.5        45                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3364 / 65536         |
+===========================+===============+====================================================+
| 1     910B2               | Alarm         | 93.1        47                0    / 0             |
| 0                         | 0000:01:00.0  | 0           0    / 0          3364 / 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| No running processes found in NPU 0                                                            |
+===========================+===============+====================================================+
"""
ROCM_SMI = json.dumps(
    {
        "card0": {
            "VRAM Total Memory (B)": "206141652992",
            "VRAM Total Used Memory (B)": "294408192",
            "Card Series": "AMD Instinct MI300X OAM",
            "Card Model": "0x74a1",
        },
        "system": {"Driver version": "6.7.0"},
    }
)
SINFO = """\
gpu01|128|1031000|gpu:a800:8(S:0-1)|mix
gpu01|128|1031000|gpu:a800:8(S:0-1)|mix
gpu02|128|1031000|gpu:a800:8(S:0-1)|down*
npu01|192|1540000|npu:910B2:8|idle
old01|16|64000|gpu:2|idle
cpu01|64|257000|(null)|alloc
"""
KUBECTL = json.dumps(
    {
        "kind": "List",
        "items": [
            {
                "metadata": {
                    "name": "gpu-1",
                    "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
                },
                "spec": {},
                "status": {
                    "allocatable": {
                        "cpu": "127500m",
                        "memory": "1056530768Ki",
                        "ephemeral-storage": "1784309540Ki",
                        "nvidia.com/gpu": "8",
                    },
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            },
            {
                "metadata": {"name": "gpu-2", "labels": {}},
                "spec": {"unschedulable": True},
                "status": {"allocatable": {}, "conditions": [{"type": "Ready", "status": "True"}]},
            },
        ],
    }
)
RAY_NODES = {
    "result": True,
    "data": {
        "result": {
            "result": [
                {
                    "node_id": "ab12",
                    "node_name": "10.0.0.5",
                    "state": "ALIVE",
                    "resources_total": {
                        "CPU": 32.0,
                        "memory": 68719476736.0,
                        "GPU": 2.0,
                        "accelerator_type:H20": 1.0,
                    },
                },
                {"node_id": "cd34", "node_name": "10.0.0.6", "state": "DEAD", "resources_total": {}},
            ]
        }
    },
}

Put = Callable[[str, str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a program on a PATH that has no others: it prints what a real one printed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")

    def put(name: str, says: str, code: int = 0) -> None:
        said = folder / f"{name}.out"
        said.write_text(says)
        (folder / name).write_text(f'#!/bin/sh\n/bin/cat "{said}"\nexit {code}\n')
        (folder / name).chmod(0o755)

    return put


def test_every_card_that_is_known_by_name_is_in_the_hubs_catalogue() -> None:
    assert set(cards._names().values()) <= set(catalogue().accelerators)
    assert cards.accelerator_of("nvidia h20") == "nvidia-h20"
    assert cards.accelerator_of("NVIDIA A100") is None  # of 40 or of 80 GB


def test_cards_by_nvidias_tool_and_one_that_fell_off_the_bus(tool: Put) -> None:
    tool("nvidia-smi", NVIDIA_SMI)
    found = engines.machine_here()
    assert [(one.index, one.accelerator) for one in found.nodes[0].devices] == [
        (0, "nvidia-h100-sxm"),
        (1, "nvidia-h100-sxm"),
    ]
    assert found.faults == ["NVIDIA H100 80GB HBM3 2: [GPU requires reset]"]
    assert [one.rpartition(": ")[2] for one in found.unnamed] == ["NVIDIA T1000"]


def test_cards_by_huaweis_and_amds_tools(tool: Put) -> None:
    tool("npu-smi", NPU_SMI)
    assert [(one.index, one.accelerator, one.memory_bytes, one.fault) for one in cards.cards_here()] == [
        (0, "ascend-910b2", 65536 << 20, ""),
        (1, "ascend-910b2", 65536 << 20, "Alarm"),
    ]
    tool("npu-smi", "", 1)
    tool("rocm-smi", ROCM_SMI)
    [card] = cards.cards_here()
    assert (card.accelerator, card.memory_bytes) == ("amd-mi300x", 206141652992)


def test_slurms_nodes_without_those_that_are_down(tool: Put) -> None:
    tool("sinfo", SINFO)
    [slurm, local] = engines.engines_here()
    assert (slurm.engine, local.engine) == ("slurm", "local")
    assert [(one.name, one.cores, len(one.devices)) for one in slurm.nodes] == [
        ("gpu01", 128, 8),
        ("npu01", 192, 8),
        ("old01", 16, 0),
        ("cpu01", 64, 0),
    ]
    assert {one.accelerator for one in slurm.nodes[1].devices} == {"ascend-910b2"}
    assert slurm.nodes[0].memory_bytes == 1031000 << 20
    assert slurm.faults == ["gpu02: down*"]
    assert slurm.options == {"accelerators": {"nvidia-a800-80g": "gpu:a800", "ascend-910b2": "npu:910B2"}}
    assert slurm.unnamed == ["old01: gpu", "old01: gpu"]


def test_slurms_tools_without_a_slurm_are_no_slurm(tool: Put) -> None:
    tool("sinfo", "", 1)
    assert [one.engine for one in engines.engines_here()] == ["local"]


def test_kubernetes_by_kubectl(tool: Put) -> None:
    tool("kubectl", KUBECTL)
    found = engines.engines_here()[0]
    [node] = found.nodes
    assert (found.engine, node.name, node.cores, len(node.devices)) == ("kubernetes", "gpu-1", 127, 8)
    assert node.devices[0].accelerator == "nvidia-a100-80g"
    assert node.memory_bytes == 1056530768 << 10
    assert found.options == {"accelerators": {"nvidia-a100-80g": "nvidia.com/gpu"}}
    assert found.faults == ["gpu-2: unschedulable"]


def test_ray_by_its_dashboard(tool: Put) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version = {"version": "4", "ray_version": "2.40.0", "ray_commit": "x"}
            body = json.dumps(version if self.path == "/api/version" else RAY_NODES).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    found = engines.ray_here(f"http://127.0.0.1:{server.server_port}/")
    server.shutdown()
    server.server_close()
    assert found is not None
    [node] = found.nodes
    assert (node.name, node.cores, [one.accelerator for one in node.devices]) == (
        "10.0.0.5",
        32,
        ["nvidia-h20"] * 2,
    )
    assert found.faults == ["10.0.0.6: dead"]
    assert found.options["accelerators"] == {"nvidia-h20": "GPU:H20"}
    assert found.options["address"].startswith("http://127.0.0.1:")


def test_this_machine_itself() -> None:
    node = engines.machine_here().nodes[0]
    assert node.cores == len(os.sched_getaffinity(0))
    assert node.memory_bytes > 1 << 28


def mosu(*arguments: object, told: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MOSU_POOL")}
    return subprocess.run(
        [sys.executable, "-m", "mosu.cli.main", "agent", *map(str, arguments)],
        input=told,
        capture_output=True,
        text=True,
        timeout=120,
        env={**kept, "MOSU_LANG": "en", "PATH": "/usr/bin:/bin", **variables},
    )


@pytest.fixture
def asked(folder: Path, environment: Environment, hub: FakeHub) -> list[object]:
    """Options of an unattended `mosu agent init` on this machine."""
    options = ["--config", folder / "etc" / "agent.toml", "--state-dir", folder / "state", "--hub", hub.url]
    return ["init", "--engine", "local", *options, "--environment", environment.root]


@pytest.fixture
def hub() -> Any:
    made = FakeHub()
    made.token = TOKEN
    yield made
    made.close()


def test_init_unattended_then_check_then_unit(asked: list[object], folder: Path, hub: FakeHub) -> None:
    config, token = folder / "etc" / "agent.toml", folder / "etc" / "pool.token"
    done = mosu(*asked, "--token-stdin", "--set", "cores=2", "--json", told=f"{TOKEN}\n")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["engine"], facts["wrote"], facts["publishes"]["nodes"][0]["cores"]) == ("local", True, 2)
    assert facts["publishes"]["environments"][0]["name"] == "python"
    assert facts["publishes"]["isolation"].startswith("bubblewrap+seccomp")
    assert facts["publishes"]["sessions"] is True
    assert [path.stat().st_mode & 0o777 for path in (config, token)] == [0o600, 0o600]
    assert TOKEN not in config.read_text() + done.stdout + done.stderr

    seen = json.loads(mosu("check", config, "--json").stdout)
    assert seen["ok"] and [one["name"] for one in seen["checks"]] == [
        "settings",
        "engine",
        "sessions",
        "hub",
        "token",
        "clock",
    ]
    assert hub.registrations == [] and hub.heartbeats == []  # it looks, and does nothing

    config.chmod(0o644)
    hub.clock_off_s = -600.0
    found = mosu("check", config)
    assert found.returncode == 3
    assert "chmod 600" in found.stderr and "NTP" in found.stderr
    off = re.search(r"clock is \+(\d+\.\d) s off", found.stdout)
    assert off is not None, found.stdout  # the half of how long the hub took is what nobody can know
    assert 540 < float(off[1]) < 660
    hub.token = "other"
    assert "unknown" in mosu("check", config).stdout

    unit = folder / "mosu-agent.service"
    unit.write_text(mosu("unit", config).stdout)
    lines = unit.read_text().splitlines()
    assert {"KillMode=process", "Delegate=yes", "NoNewPrivileges=yes", "UMask=0077"} <= set(lines)
    settings = config.read_text().replace('engine = "local"', 'engine = "ray"')
    state = tomllib.loads(settings)["state_dir"]
    config.write_text(
        f'{settings}volumes_dir = "/srv/volumes"\nvolumes_gb = 1\n[ray]\nfolder = "/srv/shared"\n'
    )
    lines = mosu("unit", config).stdout.splitlines()
    written = {line.partition("=")[2] for line in lines if line.startswith("ReadWritePaths=")}
    assert written == {state, "/srv/shared", "/srv/volumes"}
    assert ("CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER" in lines) == (os.getuid() == 0)
    if shutil.which("systemd-analyze"):
        verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
        assert str(unit.name) not in verified.stderr, verified.stderr


def test_init_replaces_nothing_unasked(asked: list[object], folder: Path) -> None:
    config, token = folder / "etc" / "agent.toml", folder / "etc" / "pool.token"
    assert mosu(*asked, MOSU_POOL_TOKEN=TOKEN).returncode == 0
    before = config.read_bytes(), token.read_bytes()
    again = mosu(*asked, "--set", "cores=1", MOSU_POOL_TOKEN=TOKEN + "2")
    assert again.returncode == 3 and f"--force --config {config}" in again.stderr
    assert (config.read_bytes(), token.read_bytes()) == before
    assert mosu(*asked, "--set", "cores=1", "--force", MOSU_POOL_TOKEN=TOKEN + "2").returncode == 0
    assert token.read_text() == TOKEN + "2\n" and "cores = 1" in config.read_text()


@pytest.mark.parametrize(
    ("more", "told", "says"),
    [
        ((), "", "no terminal to ask"),
        (("--token-stdin",), "mosu_user_token\n", "not the token of a pool"),
        (("--token-file", "/nope"), "", "/nope cannot be read: No such file or directory."),
        (("--token-stdin", "--set", "ores=2"), TOKEN, "--set ores: there is no such setting."),
        (("--token-stdin", "--hub", "nonsense"), TOKEN, "'nonsense' is no address of a hub"),
        (("--token-stdin", "--set", "slurm.partition=gpu"), TOKEN, "--set"),
    ],
)
def test_init_refuses_and_writes_nothing(
    asked: list[object], folder: Path, more: tuple[str, ...], told: str, says: str
) -> None:
    done = mosu(*asked, *more, told=told)
    assert done.returncode in {2, 3} and says in done.stderr
    assert not (folder / "etc").exists()


def test_a_dry_run_writes_no_settings(asked: list[object], folder: Path) -> None:
    done = mosu(*asked, "--dry-run")  # and needs no token
    assert done.returncode == 0 and "Nothing was written" in done.stderr
    assert not (folder / "etc").exists()


def test_an_engine_whose_jobs_would_run_bare_is_refused_with_its_mend(
    folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = SandboxReport(
        False, "", "", "User namespaces are denied.", "sudo sysctl -w user.max_user_namespaces=1"
    )
    monkeypatch.setattr(LocalEngine, "isolation", lambda _self: bare)
    draft = joining.Draft(
        path=folder / "agent.toml",
        hub_url="http://127.0.0.1:9",
        token=TOKEN,
        state_dir=folder / "state",
        engine="local",
        environments=[environment.root],
        options={},
    )
    with pytest.raises(joining.Bare) as refused:
        joining.published_by(draft.config())
    assert refused.value.hint == bare.mend and "bare under the agent's user" in refused.value.message
    assert not draft.path.exists()
    joining.write(draft, replaces=False)
    with pytest.raises(joining.AlreadyThere):
        joining.write(replace(draft, token="other"), replaces=False)
    assert draft.token_path.read_text() == TOKEN + "\n"


def test_options_of_an_engine_are_written_as_its_table(folder: Path) -> None:
    draft = joining.Draft(
        path=folder / "agent.toml",
        hub_url="https://hub.example.org",
        token=TOKEN,
        state_dir=folder / "state",
        engine="slurm",
        environments=[folder / "环境"],
        options={"slurm.partition": "gpu", "slurm.accounts": {"a": 1}, "log_bytes_max": 5},
    )
    config = draft.config()
    assert (config.engine, config.options) == ("slurm", {"partition": "gpu", "accounts": {"a": 1}})
    assert (config.log_bytes_max, config.environments) == (5, (folder / "环境",))


def test_cards_that_nobody_names_are_told_once_with_the_setting_that_names_them(folder: Path) -> None:
    found = engines.Found(
        "slurm", "sinfo", unnamed=["n1: ascend910b"] * 8 + ["n2: ascend910b"] * 8 + ["n3: x9"]
    )
    draft = joining.Draft(
        path=folder / "agent.toml",
        hub_url="https://hub.example.org",
        token=TOKEN,
        state_dir=folder / "state",
        engine="slurm",
        environments=[],
        options={},
    )
    said = _unnamed(draft, found)
    assert [one.rpartition(": ")[2] for one in said[:2]] == ["16 x ascend910b.", "1 x x9."]
    assert said[2].endswith("""--set 'slurm.accelerators={"ID" = "gpu:ascend910b"}'""") and len(said) == 3
    mapped = replace(draft, options={"slurm.accelerators": {"ascend-910b2": "gpu:ascend910b", "a": "gpu:x9"}})
    assert _unnamed(mapped, found) == []


def test_a_slurm_that_does_not_answer_is_not_called_bare(
    folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    mend = "Set SLURM_CONF, or start slurmctld."
    report = SandboxReport(False, "", "", "Slurm does not answer: no scontrol", mend, away=True)
    monkeypatch.setattr(LocalEngine, "isolation", lambda _self: report)
    (folder / "agent.toml").write_text(
        f'hub_url = "http://127.0.0.1:9"\ntoken = "t"\nstate_dir = "{folder / "state"}"\n'
        f'environments = ["{environment.root}"]\n'
    )
    with pytest.raises(joining.Away, match="Slurm does not answer") as refused:
        joining.published_by(load_config(folder / "agent.toml"))
    assert refused.value.hint == mend


def test_what_is_lacking_is_said_with_what_gives_it(folder: Path) -> None:
    with pytest.raises(Invalid) as refused:
        ray_options({})
    assert "--set ray.folder=PATH" in refused.value.hint
    with pytest.raises(Invalid, match="There are no settings at ") as refused:
        load_config(folder / "nowhere.toml")
    assert "mosu agent init" in refused.value.hint
