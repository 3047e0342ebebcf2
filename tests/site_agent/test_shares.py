"""Shares of cards at the engines: how nodes list them, and how a job asks for one."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.site_agent.lab import MIB, environment_in, make_spec, open_folder, shared_folder, until
from tests.site_agent.test_slurm_rules import shown

from mosu.cli.commands.agent import _cards
from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines import local_cards
from mosu.site_agent.engines.cards import devices_of
from mosu.site_agent.engines.local import LocalEngine, LocalNode
from mosu.site_agent.engines.protocol import FINAL_PHASES
from mosu.site_agent.engines.ray import options as ray_options
from mosu.site_agent.engines.ray.api import RayNode
from mosu.site_agent.engines.ray.engine import RayEngine
from mosu.site_agent.engines.slurm import options as slurm_options
from mosu.site_agent.engines.slurm import payload
from mosu.site_agent.engines.slurm.engine import SlurmEngine
from mosu.site_agent.engines.slurm.nodes import nodes_from
from mosu.site_agent.health import glob_of
from mosu.wire.agent import AttemptPhase, AttemptSpec
from mosu.wire.shares import listed_twice

A100 = "nvidia-a100-80gb-sxm"
SHARDS = f"{A100}/4-shared"
MIG = f"{A100}/7"


def listed(counts: dict[str, int]) -> list[tuple[int, str]]:
    return [(one.index, one.accelerator) for one in devices_of(counts)]


def test_shares_are_numbered_card_by_card() -> None:
    assert listed({SHARDS: 8}) == [(card + 1024 * share, SHARDS) for card in (0, 1) for share in range(4)]


def test_where_a_card_is_cut_its_whole_ones_are_not_sold() -> None:
    assert listed({A100: 2, f"{A100}/2": 4, "nvidia-h20": 1}) == [
        *((card + 1024 * share, f"{A100}/2") for card in (0, 1) for share in range(2)),
        (2, "nvidia-h20"),
    ]
    assert listed({A100: 2, SHARDS: 0}) == [(0, A100), (1, A100)]
    assert listed_twice(listed({MIG: 13, "nvidia-h20": 3})) is None


# Slurm


def test_slurms_shards_are_shares_of_its_cards() -> None:
    rows = [shown("n1", Gres="gpu:a100:2,shard:8(S:0-1)"), shown("n2", Gres="gpu:a100:2")]
    cut, whole = nodes_from(rows, accelerators={A100: "gpu:a100", SHARDS: "shard"}, disk_bytes=100)
    assert [one.accelerator for one in cut.devices] == [SHARDS] * 8
    assert [one.accelerator for one in whole.devices] == [A100] * 2


def test_shards_are_never_called_isolated() -> None:
    with pytest.raises(Invalid, match="shards share their card"):
        slurm_options.options_of({"accelerators": {f"{A100}/4": "shard"}})
    with pytest.raises(Invalid, match="shards share their card"):
        slurm_options.options_of({"accelerators": {A100: "shard"}})
    assert slurm_options.options_of({"accelerators": {SHARDS: "shard", MIG: "gpu:a100_1g.10gb"}})


@pytest.mark.parametrize(("kind", "gres"), [(SHARDS, "shard:1"), (MIG, "gpu:a100_1g.10gb:1")])
def test_slurm_is_asked_for_one_share(kind: str, gres: str) -> None:
    engine = object.__new__(SlurmEngine)
    engine._options = slurm_options.options_of({"accelerators": {SHARDS: "shard", MIG: "gpu:a100_1g.10gb"}})
    arguments = engine._arguments(Path("/state"), make_spec(accelerator=kind, devices=((1024,),)))
    assert [one for one in arguments if "gres" in one] == [f"--gres={gres}"]


@pytest.mark.parametrize(("own_share", "seen"), [(True, "MIG-1f2e"), (False, "0")])
def test_a_share_of_its_own_is_named_as_slurm_names_it(
    monkeypatch: pytest.MonkeyPatch, own_share: bool, seen: str
) -> None:
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1f2e")
    job: Any = {
        "cards": 1,
        "envs": {},
        "own_share": own_share,
        "device_variables": ["CUDA_VISIBLE_DEVICES"],
        "device_patterns": ["/dev/nvidia{index}"],
    }
    found = payload._with_cards(job)
    assert found["envs"] == {"CUDA_VISIBLE_DEVICES": seen}
    assert found["devices"] == ["/dev/nvidia3"]


# Ray


def ray_engine(accelerators: dict[str, str], resources: dict[str, float]) -> tuple[RayEngine, RayNode]:
    engine = object.__new__(RayEngine)
    node = RayNode(**{**_ray_node(), "resources": resources})
    engine._options = ray_options.options_of({"folder": "/shared", "accelerators": accelerators})
    engine._api = cast(Any, SimpleNamespace(nodes=lambda: [node]))
    return engine, node


def _ray_node() -> dict[str, Any]:
    return {name: "n1" if name == "name" else {} for name in RayNode.__dataclass_fields__}


@pytest.mark.parametrize(("shares", "part"), [(4, 0.25), (3, 0.3333), (7, 0.1428)])
def test_ray_is_asked_for_a_part_of_a_card(shares: int, part: float) -> None:
    kind = f"{A100}/{shares}-shared"
    engine, node = ray_engine({kind: "GPU"}, {"CPU": 8, "GPU": 2})
    devices = engine._devices_of(node)
    assert len(devices) == 2 * shares and {one.accelerator for one in devices} == {kind}
    wanted = engine._wanted(make_spec(nodes=("n1",), accelerator=kind, devices=((1024,),)))
    assert wanted["entrypoint_num_gpus"] == part
    assert part * shares <= 1, "all shares of a card fit on it"


def test_ray_counts_shares_of_their_own_by_their_resource() -> None:
    engine, node = ray_engine({MIG: "mig_1g"}, {"CPU": 8, "GPU": 2, "mig_1g": 14})
    assert len(engine._devices_of(node)) == 14
    wanted = engine._wanted(make_spec(nodes=("n1",), accelerator=MIG, devices=((1024,),)))
    assert cast(dict[str, float], wanted["entrypoint_resources"])["mig_1g"] == 1
    assert "entrypoint_num_gpus" not in wanted


def test_a_part_of_rays_gpu_is_never_called_isolated() -> None:
    with pytest.raises(Invalid, match="says more than Ray keeps"):
        ray_options.options_of({"folder": "/shared", "accelerators": {MIG: "GPU"}})


# This machine


CARDS = {
    "cards": [
        {"accelerator": A100, "files": ["/dev/zero"]},
        {
            "accelerator": f"{A100}/2",
            "files": ["/dev/full"],
            "shares": [{"id": "MIG-aa", "files": ["/dev/fuse"]}, {"id": "MIG-bb", "files": ["/dev/net/tun"]}],
        },
        {"accelerator": SHARDS, "files": ["/dev/full"]},
    ]
}


def spec_of(index: int, kind: str, run: str = "true") -> AttemptSpec:
    return make_spec(run, accelerator=kind, devices=((index,),))


def test_this_machines_cards_are_listed_as_they_are_cut() -> None:
    options = local_cards.options_of(CARDS)
    assert [(one.index, one.accelerator) for one in options.devices] == [
        (0, A100),
        (1, f"{A100}/2"),
        (1025, f"{A100}/2"),
        *((2 + 1024 * share, SHARDS) for share in range(4)),
    ]
    assert glob_of(options.card_files(SHARDS)) == "/dev/full"


@pytest.mark.parametrize(
    ("index", "kind", "seen", "files"),
    [
        (0, A100, "0", ["/dev/zero"]),
        (1, f"{A100}/2", "MIG-aa", ["/dev/full", "/dev/fuse"]),
        (1025, f"{A100}/2", "MIG-bb", ["/dev/full", "/dev/net/tun"]),
        (2 + 2048, SHARDS, "0", ["/dev/full"]),
    ],
)
def test_a_share_is_told_by_its_id_and_has_its_own_files(
    index: int, kind: str, seen: str, files: list[str]
) -> None:
    options, spec = local_cards.options_of(CARDS), spec_of(index, kind)
    assert options.variables_of(spec) == {"CUDA_VISIBLE_DEVICES": seen}
    assert options.files_of(spec) == files


@pytest.mark.parametrize(
    "card",
    [
        {"accelerator": f"{A100}/2", "shares": [{"id": "MIG-aa"}]},
        {"accelerator": f"{A100}/2"},
        {"accelerator": A100, "shares": [{"id": "MIG-aa"}, {"id": "MIG-bb"}]},
        {"accelerator": A100, "shards": 2},
    ],
)
def test_a_card_has_as_many_shares_as_its_kind_says(card: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"local\.cards"):
        local_cards.options_of({"cards": [card]})


def test_a_run_sees_its_share_and_no_other() -> None:
    # What lies below /dev/shm is bound like a device file, and the sandbox brings none of its own there.
    with open_folder() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as devices:
        Path(devices).chmod(0o755)
        caps = [Path(devices) / "cap1", Path(devices) / "cap2"]
        for cap in caps:
            cap.touch()
        shares = [{"id": f"MIG-{cap.name}", "files": [str(cap)]} for cap in caps]
        cards = [{"accelerator": f"{A100}/2", "files": ["/dev/full"], "shares": shares}]
        engine = LocalEngine(
            folder / "state",
            node=LocalNode("local", 2, 1024 * MIB, 1024 * MIB, local_cards.options_of({"cards": cards})),
            environments=[environment_in(shared_folder())],
        )
        script = f'echo "$CUDA_VISIBLE_DEVICES"; echo {devices}/*'
        ref = engine.submit(spec_of(1024, f"{A100}/2", script))
        until(lambda: engine.observe([ref])[ref].phase in FINAL_PHASES)
        assert engine.observe([ref])[ref].phase == AttemptPhase.SUCCEEDED
        said = engine.read_log(ref, offset=0, bytes_max=4096).data.decode()
        assert said.split() == ["MIG-cap2", str(caps[1])]
        with pytest.raises(Invalid, match="no such"):
            engine.submit(spec_of(0, A100))


def test_the_first_look_says_how_many_cards_are_cut() -> None:
    assert _cards(devices_of({SHARDS: 8, "nvidia-h20": 1})) == f"8 x {SHARDS} (cut cards: 2), 1 x nvidia-h20"
