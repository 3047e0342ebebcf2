"""How busy the cards of an attempt are: what the vendors' tools printed, and a tool that a running attempt's agent asks."""

import time
from pathlib import Path

import pytest
from tests.site_agent.lab import Lab, make_spec, until
from tests.site_agent.test_joining import NPU_SMI

from mosu.site_agent.card_use import CardsUse, CardUse, CardWatch, uses_by_npu, uses_by_nvidia
from mosu.site_agent.engines.local import LocalEngine
from mosu.site_agent.job_files import JobFile
from mosu.wire.agent import AttemptSpec

MIB = 1 << 20
NVIDIA = """\
0, 87, 40536
1, 13, 512
2, [N/A], 81000
3, [GPU requires reset], [GPU requires reset]
10, 100, 81559
"""
WITHOUT_HBM = """\
| 0     310P3               | OK            | NA           48                0     / 0             |
| 0     0                   | 0000:01:00.0  | 37           1854 / 21534                            |
"""
FILES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1")


def test_what_nvidias_tool_printed() -> None:
    found = uses_by_nvidia(NVIDIA)
    assert found[0] == CardUse(0.87, 40536 * MIB)
    assert (found[2], found[3]) == (CardUse(None, 81000 * MIB), CardUse(None, None))
    assert found[10].util == 1.0
    for broken in ("", "Failed to initialize NVML: Driver/library version mismatch\n", "0, 1\nx, 2, 3\n"):
        assert uses_by_nvidia(broken) == {}


def test_what_huaweis_tool_printed() -> None:
    busy = NPU_SMI.replace("| 0           0    / 0          3364", "| 64          0    / 0          3364", 1)
    assert uses_by_npu(busy) == {0: CardUse(0.64, 3364 * MIB), 1: CardUse(0.0, 3364 * MIB)}
    assert uses_by_npu(WITHOUT_HBM) == {0: CardUse(0.37, 1854 * MIB)}
    assert uses_by_npu("") == {} == uses_by_npu(NPU_SMI[:400])


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def put(tools: Path, name: str, script: str) -> None:
    (tools / name).write_text(f"#!/bin/sh\n{script}\n")
    (tools / name).chmod(0o755)


def asked(devices: tuple[str, ...]) -> CardsUse | None:
    watch = CardWatch(devices)
    watch.ask(time.monotonic())
    until(lambda: watch.hear(time.monotonic()) or not watch.is_asking)
    return watch.use


def test_only_the_attempts_own_cards_count(tools: Path) -> None:
    put(tools, "nvidia-smi", f"cat <<'end'\n{NVIDIA}end")
    assert asked(FILES) == CardsUse(0.5, (40536 + 512) * MIB)
    assert asked(("/dev/nvidia2",)) == CardsUse(None, 81000 * MIB)
    assert asked(("/dev/nvidia3",)) is None and asked(("/dev/nvidia9",)) is None
    put(tools, "nvidia-smi", "echo 0, 20, 1; echo 1, 40, 1")  # of four, those that Slurm shows the job
    assert asked(("/dev/nvidia2", "/dev/nvidia3")) == CardsUse(0.3, 2 * MIB)
    assert asked(()) is None and asked(("/dev/davinci0",)) is None


def test_a_tool_that_fails_or_hangs_leaves_no_figure_and_no_process(tools: Path) -> None:
    put(tools, "nvidia-smi", "echo 0, 50, 1; exit 9")
    assert asked(FILES) is None
    put(tools, "nvidia-smi", "exec sleep 100")
    watch = CardWatch(FILES)
    watch.use = CardsUse(0.5, 1)
    watch.ask(1.0)
    watch.hear(2.0)
    assert watch.is_asking and watch.use is not None
    watch.hear(1000.0)
    assert not watch.is_asking and watch.use is None
    watch.ask(1001.0)
    watch.close()
    assert not watch.is_asking


def test_a_running_attempts_sample_says_how_busy_its_cards_are(
    lab: Lab, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tools, "nvidia-smi", f"cat <<'end'\n{NVIDIA}end")
    plain = LocalEngine._job_of

    def with_cards(engine: LocalEngine, spec: AttemptSpec) -> JobFile:
        job = plain(engine, spec)
        job["devices"] = list(FILES)
        return job

    monkeypatch.setattr(LocalEngine, "_job_of", with_cards)
    ref = lab.engine.submit(make_spec("sleep 100"))
    until(
        lambda: (
            (sample := lab.engine.observe([ref])[ref].sample) is not None
            and sample.accelerator_util is not None
        )
    )
    sample = lab.engine.observe([ref])[ref].sample
    assert sample is not None
    assert (sample.accelerator_util, sample.accelerator_memory_bytes) == (0.5, (40536 + 512) * MIB)
    lab.engine.cancel(ref)
    assert not lab.wait(ref).ok
