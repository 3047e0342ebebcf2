"""The main job, as a user starts it: a hub, one order, the receipt. Real at every layer."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from tests.hub import MOSU, free_port, running_hub
from tests.runtime.waiting import eventually
from tests.site_agent.lab import of_processes

from mosu.client.models import Order, Output, Quote, Receipt, Run
from mosu.compute.models import Pool
from mosu.compute.services import ensure_local_pool
from mosu.market.models import Offer
from mosu.platform.models import HubMembership, Organisation
from mosu.runtime.demo.command import ends_by_itself
from mosu.runtime.demo.journey import Journey, NotHeld, check_held
from mosu.runtime.demo.world import load_world
from mosu.subsidies.models import ProgrammeVersion

ROOT = Path(__file__).parents[2]


def demo(*arguments: str, before: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT / "src"), **env}
    return subprocess.run(
        [*before, *MOSU, "demo", *arguments], env=variables, capture_output=True, text=True, timeout=600
    )


def test_from_an_empty_folder_to_the_receipt_to_a_restored_backup(folder: Path) -> None:
    written = folder / "out.json"
    done = demo(
        "--once",
        "--json",
        str(written),
        HOME=str(folder),
        MOSU_DATA_DIR=str(folder / "data"),
        MOSU_PORT=str(free_port()),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(written.read_text())
    order = {name: Decimal(facts["order"][name]) for name in ("total", "voucher_share", "paid")}
    assert keys_of(facts) == {
        "ok": None, "url": None, "receipt": {"number": None}, "ledger": {"balanced": None},
        "order": dict.fromkeys(("id", "currency", "total", "voucher_share", "paid")),
        "run": dict.fromkeys(("id", "state", "exit_code", "started_at", "ended_at", "outputs")),
        "seconds": {"setup": None, "journey": None},
    }  # fmt: skip
    assert facts["ok"] is True and facts["ledger"]["balanced"] is True
    assert datetime.fromisoformat(facts["run"]["started_at"]) < datetime.fromisoformat(
        facts["run"]["ended_at"]
    )
    assert min(facts["seconds"].values()) > 0
    assert order["total"] == order["voucher_share"] + order["paid"]
    assert order["voucher_share"] > 0 and order["paid"] > 0
    assert facts["run"]["state"] == "succeeded" and facts["run"]["exit_code"] == 0
    assert {output["path"] for output in facts["run"]["outputs"]} == {
        "loss.csv",
        "loss.svg",
        "model.npz",
        "sample.txt",
    }
    for output in facts["run"]["outputs"]:
        back = (folder / "data" / "demo-outputs" / output["path"]).read_bytes()
        assert (sha256(back).hexdigest(), len(back)) == (output["sha256"], output["size_bytes"])
    assert facts["receipt"]["number"] in done.stdout
    assert "step 1500" in done.stdout

    restored = folder / "restored"
    with running_hub(data_dir=folder) as hub:
        elsewhere = {name: value for name, value in hub.env.items() if name != "MOSU_PORT"}
        made = subprocess.run(
            [*MOSU, "admin", "bootstrap", "--email", "a@example.org", "--organisation", "A hub"],
            env=elsewhere, capture_output=True, text=True
        )  # fmt: skip
        assert f"Sign in at {hub.url}/account/login/ as a@example.org" in made.stdout, made.stderr
        assert f"mosu login --url {hub.url} --token-stdin" in made.stdout
        doctor = subprocess.run([*MOSU, "doctor"], env=elsewhere, capture_output=True, text=True)
        assert f"{hub.url} answers." in doctor.stdout, doctor.stdout
        kept = hub.mosu("backup", str(folder / "hub.tar"), "--json")
        assert kept.returncode == 0, kept.stderr
        assert json.loads(kept.stdout)["sha256"] == sha256((folder / "hub.tar").read_bytes()).hexdigest()
    back = hub.mosu("restore", str(folder / "hub.tar"), "--data-dir", str(restored))
    assert back.returncode == 0, back.stdout + back.stderr
    assert "hash chains agree" in back.stdout
    refused = hub.mosu("restore", str(folder / "hub.tar"), "--data-dir", str(restored))
    assert refused.returncode == 1 and "not empty" in refused.stderr

    again = demo("--once", "--json", str(written), HOME=str(folder), MOSU_DATA_DIR=str(folder / "data"))
    assert again.returncode == 1
    assert "not empty" in again.stderr and "empty folder" in again.stderr
    assert failure_in(written)["code"] == "folder_in_use"


def keys_of(facts: Any) -> Any:
    """The shape alone."""
    return {name: keys_of(value) for name, value in facts.items()} if isinstance(facts, dict) else None


def failure_in(file: Path) -> dict[str, str]:
    facts = json.loads(file.read_text())
    assert keys_of(facts) == {"ok": None, "error": {"code": None, "message": None, "hint": None}}
    assert facts["ok"] is False
    error: dict[str, str] = facts["error"]
    return error


HELD: dict[str, Any] = {
    "state": "succeeded", "exit_code": 0, "total": "3.00", "voucher_share": "1.00", "paid": "2.00",
    "came": ("model.npz", "loss.csv"), "bytes": b"made", "balanced": True,
}  # fmt: skip


def held(folder: Path, **otherwise: Any) -> None:
    """`check_held` of a journey on which all held, but for `otherwise`."""
    facts = HELD | otherwise
    outputs = [Output(path=path, sha256=sha256(b"made").hexdigest(), size_bytes=4) for path in facts["came"]]
    files = tuple(folder / output.path for output in outputs)
    for file in files:
        file.write_bytes(facts["bytes"])
    run = Run(id="run", state=facts["state"], exit_code=facts["exit_code"], outputs=tuple(outputs))
    money = {name: Decimal(facts[name]) for name in ("total", "voucher_share", "paid")}
    receipt = Receipt(id="receipt", number="R-1", currency="CNY", **money)
    check_held(
        Journey(quote=cast(Quote, None), order=cast(Order, None), run=run, receipt=receipt, files=files),
        balanced=facts["balanced"],
    )


@pytest.mark.parametrize(
    ("otherwise", "named"),
    [
        ({"state": "failed"}, "The run failed"),
        ({"exit_code": 1}, "The run succeeded"),
        ({"exit_code": None}, "The run succeeded"),
        ({"total": "3.01"}, "3.01 is not 1.00 + 2.00"),
        ({"total": "2.00", "voucher_share": "0.00"}, "No voucher"),
        ({"total": "1.00", "paid": "0.00"}, "Nothing was paid"),
        ({"came": ("loss.csv",)}, "weights"),
        ({"came": ("model.npz",)}, "loss curve"),
        ({"bytes": b"other"}, "sha256"),
        ({"balanced": False}, "The ledger"),
    ],
)
def test_it_holds_only_if_all_of_it_does(tmp_path: Path, otherwise: dict[str, Any], named: str) -> None:
    held(tmp_path)
    with pytest.raises(NotHeld, match=re.escape(named)):
        held(tmp_path, **otherwise)


def test_without_a_terminal_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, screen = os.openpty()
    with os.fdopen(screen, "w") as terminal, Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "stdout", terminal)
        found = {once: ends_by_itself(once) for once in (False, True)}
        monkeypatch.setattr(sys, "stdout", nowhere)
        piped = {once: ends_by_itself(once) for once in (False, True)}
        monkeypatch.undo()
    os.close(keyboard)
    assert found == {False: False, True: True}
    assert piped == {False: True, True: True}


@pytest.mark.django_db
def test_its_world_is_twelve_suppliers_three_programmes_and_five_organisations(settings: Any) -> None:
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    said: list[str] = []
    ensure_local_pool(now=datetime.now(UTC) - timedelta(minutes=1))  # as `mosu up` does
    world = load_world(say=said.append)
    assert Offer.objects.values("supplier_id").distinct().count() == 12
    assert Pool.objects.count() == 12
    assert Organisation.objects.filter(capabilities__contains=["supplier"]).count() >= 11
    assert set(
        ProgrammeVersion.objects.filter(state="released").values_list("programme__code", flat=True)
    ) == {
        "compute-refund-capital",
        "compute-voucher-city",
        "trial",
    }
    theirs = Organisation.objects.exclude(id__in=Offer.objects.values("supplier_id"))
    residents = theirs.exclude(memberships__user__in=HubMembership.objects.values("user"))
    assert sorted(residents.values_list("name", flat=True)) == sorted(
        ["星野智能(演示)", "滨江研究院(演示)", "夜航小队(演示)", "浦江机器人(演示)", "梧桐资本(演示)"]
    )
    assert len(world.sign_ins) == 5 + 3 + 11
    assert len(said) == 4


def test_what_it_was_told_wrong_stops_it_before_anything_is_set_up(folder: Path) -> None:
    data = folder / "data"
    home = {"HOME": str(folder), "MOSU_DATA_DIR": str(data)}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = demo("--once", MOSU_PORT=str(port), **home)
    assert done.returncode == 1 and f"127.0.0.1:{port} is in use" in done.stderr
    done = demo("--once", MOSU_PORT="http", **home)
    assert done.returncode == 1 and "'http' is not a port" in done.stderr
    file = folder / "file"
    file.write_text("")
    done = demo("--once", "--json", str(file / "out.json"), **home)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {file}/out.json: Not a directory.")
    done = demo("--once", HOME=str(folder), MOSU_DATA_DIR=str(file))
    assert done.returncode == 2 and done.stderr.startswith(f"error: {file}: Not a directory.")
    assert not data.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_it_is_ended_it_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)}
    written = folder / "out.json"
    command = [*MOSU, "demo", "--once", "--json", str(written)]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as ending:
        assert ending.stdout is not None
        made = Path(ending.stdout.readline().split()[-1])
        assert made.exists(), made
        # The first ends it; the second comes while it stops the hub.
        ending.send_signal(number)
        ending.send_signal(number)
        rest = ending.stdout.read()
    assert ending.returncode == 128 + number, rest
    assert failure_in(written)["code"] == "broken_off"
    assert not made.exists()
    assert eventually(lambda: str(made).encode() not in b"".join(_command_lines()))


def test_a_killed_demo_takes_its_hub_along(folder: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)}
    written = folder / "out.json"
    command = [*MOSU, "demo", "--once", "--json", str(written)]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        made = Path(killed.stdout.readline().split()[-1])
        try:
            assert eventually(lambda: str(made).encode() in b"".join(_command_lines()))
            killed.kill()
            assert eventually(lambda: str(made).encode() not in b"".join(_command_lines()))
        finally:
            shutil.rmtree(made, ignore_errors=True)
    assert failure_in(written)["code"] == "unfinished"


def _command_lines() -> list[bytes]:
    return list(of_processes("cmdline").values())


@pytest.mark.skipif(os.geteuid() != 0, reason="root only")
def test_a_folder_out_of_reach_is_refused_once(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    done = demo("--once", HOME=str(folder), MOSU_DATA_DIR=str(folder / "closed" / "data"))
    assert done.returncode == 1
    assert done.stderr.count("error:") == done.stderr.count("cannot be reached") == 1, done.stderr
    assert "setting up" not in done.stdout
    assert not (folder / "closed" / "data").exists()


def test_without_user_namespaces_it_stops_before_buying(folder: Path) -> None:
    data = folder / "data"
    denying = (sys.executable, str(ROOT / "tests" / "sandbox" / "denied.py"))
    written = folder / "out.json"
    done = demo("--once", "--json", str(written), before=denying, HOME=str(folder), MOSU_DATA_DIR=str(data))
    assert done.returncode == 3, done.stdout + done.stderr
    assert failure_in(written)["code"] == "no_sandbox"
    probing = [*denying, sys.executable, "-m", "mosu.sandbox.probing"]
    told = json.loads(subprocess.run(probing, capture_output=True, text=True, check=False).stdout)
    assert "user namespaces" in told["why_not"]
    assert told["mend"] in done.stderr
    assert failure_in(written)["hint"] == told["mend"]
    assert not data.exists()
