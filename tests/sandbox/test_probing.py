"""Whether a machine can contain code, told truly, with the command that mends it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mosu.sandbox import probing
from mosu.sandbox.bubblewrap import filter_path
from mosu.sandbox.probing import probe
from mosu.sandbox.starter import RunAs, find_bwrap, run_as, unreachable_part

DENIED = Path(__file__).with_name("denied.py")


def test_here_it_can(folder: Path) -> None:
    report = probe(folder / "tools")
    assert report.ok and not report.why_not
    assert report.features.startswith("bubblewrap+seccomp")
    assert report.memory_source == ("cgroup" if report.features.endswith("+cgroup") else "sampled")


def test_where_user_namespaces_are_denied_it_says_so_and_how_to_mend_it() -> None:
    done = subprocess.run(
        [sys.executable, DENIED, sys.executable, "-m", "mosu.sandbox.probing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done
    report = json.loads(done.stdout)
    assert not report["ok"]
    assert "user namespaces" in report["why_not"]
    assert report["mend"].startswith(("docker run", "sysctl", "sudo sysctl"))


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_each_setting_that_denies_has_its_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, command: str
) -> None:
    denying = folder / "bwrap"
    denying.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    denying.chmod(0o755)
    (folder / "sys" / name).parent.mkdir(parents=True)
    (folder / "sys" / name).write_text(f"{value}\n")
    monkeypatch.setenv("MOSU_BWRAP", str(denying))
    monkeypatch.setattr(probing, "_SYSCTL", folder / "sys")
    report = probe()
    assert not report.ok
    assert report.mend == (command if os.geteuid() == 0 else f"sudo {command}")
    assert "setting up uid map" in report.why_not


def test_a_starter_that_is_not_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSU_BWRAP", "/nowhere/bwrap")
    report = probe()
    assert not report.ok and "/nowhere/bwrap" in report.why_not


def test_the_starter_lies_where_the_sandboxs_user_can_run_it(folder: Path) -> None:
    found = find_bwrap(folder / "tools")
    assert unreachable_part(found, run_as()) is None
    assert find_bwrap(folder / "tools") == found


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user owns nothing that it cannot reach")
def test_the_way_to_a_file_is_checked_for_the_other_user(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed" / "open").mkdir(mode=0o755)
    assert unreachable_part(folder / "closed" / "open", RunAs(65534, 65534)) == folder / "closed"
    assert unreachable_part(folder, RunAs(65534, 65534)) is None


def test_the_sandbox_never_runs_as_root() -> None:
    assert run_as().uid != 0


def test_the_shipped_filters_are_what_the_generator_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyseccomp", exc_type=ImportError)
    path = Path(__file__).parents[2] / "tools" / "make_filters.py"
    spec = importlib.util.spec_from_file_location("make_filters", path)
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for name, architecture in maker.ARCHITECTURES.items():
        for network, suffix in ((False, ""), (True, "-network")):
            shipped = (filter_path().parent / f"{name}{suffix}.bpf").read_bytes()
            assert shipped == maker.filter_for(architecture, network=network)
