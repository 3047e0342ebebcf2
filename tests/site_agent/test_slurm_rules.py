"""What Slurm's words mean, without a Slurm: ends, units, nodes, settings."""

from datetime import UTC, datetime, timedelta

import pytest

from mosu.compute.accelerators import catalogue
from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.slurm import commands
from mosu.site_agent.engines.slurm.commands import Account
from mosu.site_agent.engines.slurm.endings import end_of, units_of
from mosu.site_agent.engines.slurm.nodes import nodes_from
from mosu.site_agent.engines.slurm.options import options_of
from mosu.site_agent.engines.vendors import VENDORS, device_patterns_of, variables_of
from mosu.site_agent.job_files import StateFile, blank_state
from mosu.wire.agent import AttemptPhase

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)


def account(state: str, *, exit_code: int = 0) -> Account:
    return Account(state, NOW, 7, {"cpu": 2}, exit_code, True)


def state(phase: str, exit_code: int | None = 0) -> StateFile:
    made = blank_state(phase)
    made["started_at"], made["exit_code"] = NOW.isoformat(), exit_code
    return made


@pytest.mark.parametrize(
    ("told", "slurm", "cancelled", "phase"),
    [
        (state("succeeded"), "COMPLETED", False, "succeeded"),
        (state("succeeded"), "NODE_FAIL", False, "succeeded"),  # it was done before its node failed
        (state("succeeded"), "COMPLETED", True, "succeeded"),
        (state("failed", 3), "FAILED", False, "failed"),
        (state("timed_out"), "FAILED", False, "timed_out"),
        (state("failed", None), "TIMEOUT", False, "timed_out"),  # its sandbox was killed by Slurm
        (state("running"), "TIMEOUT", False, "timed_out"),
        (state("running"), "DEADLINE", False, "timed_out"),
        (state("running"), "OUT_OF_MEMORY", False, "failed"),
        (state("running"), "CANCELLED", True, "cancelled"),
        (None, "CANCELLED", True, "cancelled"),
        (state("running"), "CANCELLED", False, "lost"),
        (state("running"), "NODE_FAIL", False, "lost"),
        (state("running"), "PREEMPTED", False, "lost"),
        (state("running"), "COMPLETED", False, "lost"),
        (None, "FAILED", False, "lost"),
    ],
)
def test_how_an_attempt_ended(told: StateFile | None, slurm: str, cancelled: bool, phase: str) -> None:
    assert end_of(told, account(slurm), cancelled=cancelled, said="").phase == AttemptPhase(phase)


def test_what_slurm_lost_ends_by_its_payloads_word() -> None:
    assert end_of(state("succeeded"), None, cancelled=False, said="").phase == AttemptPhase.SUCCEEDED
    assert end_of(state("running"), None, cancelled=False, said="").phase == AttemptPhase.LOST


def test_a_payload_that_could_not_start_says_what_it_printed() -> None:
    end = end_of(None, account("FAILED", exit_code=127), cancelled=False, said="sh: /x/python: not found")
    assert end.reason == "It could not start on its node (Slurm: FAILED, 127). sh: /x/python: not found"


@pytest.mark.parametrize(
    ("tres", "units"),
    [
        ({"cpu": 4, "gres/gpu": 2, "gres/gpu:ascend910b": 2}, {"core_second": 4, "card_second": 2}),
        ({"cpu": 4, "gres/gpu": 2}, {"core_second": 4, "card_second": 2}),
        ({"cpu": 4}, {"core_second": 4, "card_second": 3}),  # Slurm does not count them: as asked
        ({}, {"core_second": 1, "card_second": 3}),
    ],
)
def test_units_are_those_that_slurm_allocated(tres: dict[str, int], units: dict[str, int]) -> None:
    assert units_of(tres, asked={"core_second": 1, "card_second": 3}, gres="gpu:ascend910b") == units
    assert "card_second" not in units_of(tres, asked={"core_second": 1}, gres="")


def shown(name: str, **changes: str) -> dict[str, str]:
    return {
        "NodeName": name,
        "CPUTot": "8",
        "RealMemory": "16384",
        "State": "IDLE",
        "Gres": "(null)",
        **changes,
    }


@pytest.mark.parametrize(
    ("word", "is_up"),
    [
        ("IDLE", True),
        ("MIXED+PLANNED", True),
        ("ALLOCATED", True),
        ("IDLE*", False),
        ("DOWN", False),
        ("IDLE+DRAIN", False),
        ("MIXED+DRAIN", False),
        ("DOWN+NOT_RESPONDING", False),
        ("IDLE+MAINTENANCE", False),
        ("IDLE+POWERED_DOWN", False),
        ("UNKNOWN", False),
    ],
)
def test_only_nodes_that_take_jobs_are_sold(word: str, is_up: bool) -> None:
    nodes = nodes_from([shown("n1", State=word)], accelerators={}, disk_bytes=100)
    assert [node.name for node in nodes] == (["n1"] if is_up else [])


def test_a_nodes_cards_are_those_that_the_settings_name() -> None:
    rows = [
        shown("n1", Gres="gpu:h20:8(S:0-1),license_seat:4", MemSpecLimit="1024"),
        shown("n2", Gres="gpu:l20:2,gpu:h20:1", CPUEfctv="6"),
        shown("n3"),
    ]
    settings = {"nvidia-h20": "gpu:h20", "nvidia-l20": "gpu:l20"}
    first, second, third = nodes_from(rows, accelerators=settings, disk_bytes=300)
    assert [device.accelerator for device in first.devices] == ["nvidia-h20"] * 8
    assert [(one.index, one.accelerator) for one in second.devices] == [
        (0, "nvidia-h20"),
        (1, "nvidia-l20"),
        (2, "nvidia-l20"),
    ]
    assert (first.memory_bytes, second.cores, third.devices) == (15 << 30, 6, ())
    assert {node.disk_bytes for node in (first, second, third)} == {100}


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:07", 7), ("1:02:03", 3723), ("2-00:00:01", 172_801), ("INVALID", 0)]
)
def test_durations_are_slurms(text: str, seconds: int) -> None:
    assert commands._duration(text) == timedelta(seconds=seconds)


def test_jobs_see_nothing_of_the_agents_environment() -> None:
    found = commands.environment(
        {"PATH": "/opt/slurm/bin", "SLURM_CONF": "/x", "MOSU_POOL_TOKEN": "s3cret", "HOME": "/root"}
    )
    assert found == {"PATH": "/opt/slurm/bin", "SLURM_CONF": "/x", "LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    "table",
    [
        {"partitions": "main"},
        {"partition": 1},
        {"shared_network": "yes"},
        {"accelerators": {"nvidia-h20": "gpu h20"}},
        {"devices": {"nvidia-h20": "/dev/nvidia0"}},
    ],
)
def test_wrong_settings_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        options_of(table)


def test_every_vendor_says_how_its_cards_are_seen() -> None:
    assert variables_of("ascend-910b2") == ("ASCEND_RT_VISIBLE_DEVICES",)
    assert "/dev/davinci{index}" in device_patterns_of("ascend-910b2")
    assert all(vendor.variables and vendor.card for vendor in VENDORS.values())
    assert variables_of("nobody-x1") == () and device_patterns_of("nobody-x1") == ()


def test_every_accelerator_of_the_catalogue_has_a_vendor_here() -> None:
    assert {one.partition("-")[0] for one in catalogue().accelerators} <= set(VENDORS)


def test_a_job_that_was_started_twice_is_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slurmctld that forgot its first start; what it never wrote an end of does not count."""
    rows = (
        "7|FAILED|100|9|cpu=2|1:0|109\n7|COMPLETED|120|4|cpu=2|0:0|124\n"
        "8|RUNNING|100|500|cpu=1|0:0|Unknown\n8|COMPLETED|120|4|cpu=1|0:0|124\n"
    )
    monkeypatch.setattr(commands, "_ask", lambda *_: rows)
    found = commands.accounts([7, 8])
    assert [(one.state, one.elapsed_s) for one in found.values()] == [("COMPLETED", 13), ("COMPLETED", 4)]
    start = datetime.fromtimestamp(100, UTC)
    assert (found[7].started_at, found[7].ended_at) == (start, start + timedelta(seconds=13))


def test_an_account_without_its_end_is_not_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an absence of slurmdbd, as seen: it says that the job is completed, and counts on."""
    monkeypatch.setattr(commands, "_ask", lambda *_: "5|COMPLETED|100|11|cpu=1|0:0|Unknown\n")
    assert not commands.accounts([5])[5].is_final
    monkeypatch.setattr(commands, "_ask", lambda *_: "5|COMPLETED|100|4|cpu=1|0:0|104\n")
    account = commands.accounts([5])[5]
    assert account.is_final and account.elapsed_s == 4
