"""The commands against a hub over real HTTP."""

import csv
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.client.fake_hub import TOKEN, FakeHub

from mosu.cli import main
from mosu.client import logs
from mosu.client.config import load_profile
from mosu.wire.task import parse_task

TASK = "name: char-lm\nrun: python train.py\nworkdir: .\nmosu: {outputs: ['out/*']}\n"


@pytest.fixture(autouse=True)
def signed_in(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MOSU_URL", hub.url)
    monkeypatch.setenv("MOSU_TOKEN", TOKEN)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    work = tmp_path / "work"
    work.mkdir()
    (work / "task.yaml").write_text(TASK)
    (work / "train.py").write_text("print(1)")
    monkeypatch.chdir(work)
    return work


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.run(list(arguments))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return code, printed.out, printed.err


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = outcome(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_run_from_task_to_receipt(capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path) -> None:
    code, out, err = outcome(capsys, "run", "task.yaml", "--yes")
    assert code == 0, err
    assert out.startswith(hub.log.decode())
    assert "TOTAL CNY ......................... 0.90" in out
    assert "▓ Compute voucher 6.40" in err
    assert "Ascend: No agent is connected." in err
    assert (signed_in / "mosu-runs" / "char-lm-run1" / "out" / "loss.csv").read_bytes() == b"1,2\n"
    assert [file["path"] for file in hub.tasks[0]["workdir"]] == ["task.yaml", "train.py"]
    assert hub.tasks[0]["task"] == TASK
    outcome(capsys, "run", "task.yaml", "--yes")  # what came back does not go up again
    assert [file["path"] for file in hub.tasks[1]["workdir"]] == ["task.yaml", "train.py"]


def test_run_with_json_prints_data_only(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    code, out, err = outcome(capsys, "run", "task.yaml", "--yes", "--json", "--out", "here")
    answer = json.loads(out)
    assert code == 0
    assert (answer["order"]["total"], answer["run"]["state"], answer["receipt"]["paid"]) == (
        "0.90",
        "succeeded",
        "0.45",
    )
    assert answer["outputs"] == ["here/out/loss.csv"]
    assert hub.log.decode() in err


@pytest.mark.parametrize(
    ("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1), ("timed_out", 1)]
)
def test_the_exit_code_is_the_runs_outcome(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, state: str, code: int
) -> None:
    hub.state = state
    assert outcome(capsys, "run", "task.yaml", "-y")[0] == code


def test_without_a_terminal_nothing_is_bought_unasked(
    capsys: pytest.CaptureFixture[str], hub: FakeHub
) -> None:
    code, _, err = outcome(capsys, "run", "task.yaml")
    assert code == 3
    assert "--yes" in err
    assert hub.orders == {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "code", "orders"), [("n\n", 3, 0), ("2\n", 3, 0), ("\n", 0, 1), ("1\n", 0, 1)]
)
def test_at_a_terminal_it_asks(
    capsys: pytest.CaptureFixture[str],
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    orders: int,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert outcome(capsys, "run", "task.yaml")[0] == code
    assert len(hub.orders) == orders


def test_no_plan_fits(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    hub.no_quotes = True
    code, _, err = outcome(capsys, "run", "task.yaml", "--yes")
    assert code == 3
    assert "No agent is connected." in err
    assert hub.orders == {}


def test_a_bad_task_shows_the_place_with_a_caret(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path
) -> None:
    (signed_in / "task.yaml").write_text("run: ls\nresources:\n  acelerators: H100\n  cpus: many\n")
    code, out, err = outcome(capsys, "run", "task.yaml", "--yes")
    assert (code, out) == (3, "")
    assert err.splitlines()[:4] == [
        "error: task.yaml cannot be used.",
        "task.yaml:3:3: resources.acelerators: unknown key; did you mean 'accelerators'?",
        "      acelerators: H100",
        "      ^",
    ]
    assert "task.yaml:4:9: resources.cpus" in err
    assert hub.calls == []


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        (["--", "python", "train.py", "--lr", "0.1 x"], "python train.py --lr '0.1 x'"),
        (["--", "a && b"], "a && b"),
        (["--cmd", "a && b"], "a && b"),
    ],
)
def test_a_command_becomes_a_task(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path, arguments: list[str], run: str
) -> None:
    options = [
        "--cpus",
        "2+",
        "--memory",
        "4",
        "--wall-limit",
        "30m",
        "--env",
        "A=b=c",
        "--output",
        "*.csv",
        "--budget",
        "3.5",
        "--write",
        "new.yaml",
        "-y",
    ]
    assert outcome(capsys, "run", *options, *arguments)[0] == 0
    written = (signed_in / "new.yaml").read_text()
    assert hub.tasks[0]["task"] == written
    task = task_in(written)
    assert task.run == run
    assert (task.resources.cpus, task.resources.cpus_at_least, task.resources.memory_gb) == (2, True, 4)
    assert (task.wall_limit_s, task.envs, task.outputs, task.workdir) == (
        1800,
        (("A", "b=c"),),
        ("*.csv",),
        ".",
    )
    assert task.budget_micros == 3_500_000


def task_in(text: str) -> Any:
    return parse_task(text)


def test_options_change_a_task_file(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    assert outcome(capsys, "run", "task.yaml", "-y", "--cpus", "3", "--vouchers", "none")[0] == 0
    task = task_in(hub.tasks[0]["task"])
    assert (task.name, task.resources.cpus, task.outputs) == ("char-lm", 3, ("out/*",))
    assert hub.tasks[0]["vouchers"] == "none"


def test_a_written_file_is_not_overwritten(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path
) -> None:
    code, _, err = outcome(capsys, "run", "--write", "task.yaml", "-y", "--", "ls")
    assert (code, (signed_in / "task.yaml").read_text()) == (2, TASK)
    assert "exists already" in err
    assert hub.calls == []


def test_a_whole_home_does_not_go_up(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(signed_in))
    assert outcome(capsys, "run", "-y", "--", "ls")[0] == 2
    assert hub.calls == []
    assert outcome(capsys, "run", "-y", "--no-workdir", "--", "ls")[0] == 0
    assert hub.tasks[0]["workdir"] == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run"], "Say what to run"),
        (["run", "task.yaml", "--", "ls"], "Say what to run"),
        (["run", "--"], "Nothing stands after --"),
        (["run", "nowhere.yaml"], "cannot be read"),
        (["run", "-y", "--env", "A", "--", "ls"], "no value"),
        (["run", "--nonsense"], "--nonsense"),
        (["cancel", "receipt_1"], "neither a run, an order nor a block"),
        (["quotes"], "Did you mean mosu quote?"),
        (["login", "--url", "http://127.0.0.1:1"], "--email"),
    ],
)
def test_wrong_calls(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, arguments: list[str], part: str
) -> None:
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (2, "")
    assert part in err
    assert hub.calls == []


def test_detached(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    code, out, err = outcome(capsys, "run", "task.yaml", "-y", "-d")
    assert (code, out) == (0, "run_1\n")
    assert "mosu logs -f run_1" in err
    assert ("GET", "/runs/run_1/log") not in hub.calls


def test_interrupting_the_log_leaves_the_run(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(logs, "_event", interrupted)
    code, _, err = outcome(capsys, "run", "task.yaml", "-y")
    assert code == 130
    assert "run_1 goes on" in err
    assert "mosu cancel run_1" in err
    assert ("POST", "/runs/run_1/cancel") not in hub.calls


def test_logs_fetch_cancel(capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path) -> None:
    assert outcome(capsys, "logs", "run_1")[1] == hub.log.decode()
    assert outcome(capsys, "logs", "run_1", "-f")[1] == hub.log.decode()
    assert data(capsys, "logs", "run_1")["text"] == hub.log.decode()
    assert outcome(capsys, "fetch", "run_1")[1] == "mosu-runs/char-lm-run1/out/loss.csv\n"
    assert data(capsys, "fetch", "run_1", "--out", "x")["outputs"] == ["x/out/loss.csv"]
    assert "is cancelled" in outcome(capsys, "cancel", "run_1")[2]
    assert data(capsys, "cancel", "order_1")["state"] == "cancelled"
    hub.state, hub.stop_asked_at = "running", "2026-12-01T10:04:00Z"
    assert "run_1 is stopping since 2026-12-01 18:04 +0800." in outcome(capsys, "cancel", "run_1")[2]
    assert "正在停止" in outcome(capsys, "cancel", "run_1", "--lang", "zh")[2]
    assert outcome(capsys, "runs")[1].splitlines()[1].split()[2] == "stopping"


def test_outputs_that_cannot_be_written_are_no_traceback(
    capsys: pytest.CaptureFixture[str], signed_in: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    code, out, err = outcome(capsys, "fetch", "run_1", "--out", str(tmp_path / "taken" / "in"))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'taken'}") and "Not a directory." in err, err


def test_a_log_cannot_move_the_terminal(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    hub.log = b"a\x1b[2Jb\n"
    assert outcome(capsys, "logs", "run_1", "-f")[1] == outcome(capsys, "logs", "run_1")[1] == "ab\n"


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Local cores  Local pool  shanghai  0.36/core-hour  2 of 2" in outcome(capsys, "offers")[1]
    assert "0.36/核时" in outcome(capsys, "offers", "--lang", "zh")[1]
    assert "order_1  O-1     settled" in outcome(capsys, "orders")[1]
    assert "receipt_1" in outcome(capsys, "orders", "order_1")[1]
    assert "run_1  char-lm  succeeded" in outcome(capsys, "runs")[1]
    assert "out/loss.csv (4 bytes)" in outcome(capsys, "runs", "run_1")[1]
    assert "available   93.60" in outcome(capsys, "balance")[1]
    assert "voucher_1  Compute voucher  active" in outcome(capsys, "vouchers")[1]
    assert "R-2026-000001" in outcome(capsys, "receipts")[1]
    assert "PAID .............................. 0.45" in outcome(capsys, "receipts", "receipt_1")[1]
    budgets = outcome(capsys, "budgets")[1]
    assert "Vision       2026-11   100.00  20.00  20     10.00  70.00" in budgets
    assert "Startup Ltd  2026-11" in budgets and "org_2" not in budgets
    assert "2026-11         2   0.90      0.45  0.45  CNY  open" in outcome(capsys, "bills")[1]
    assert "Alpha        0.90" in outcome(capsys, "bills", "2026-11")[1]
    assert "算力券" in outcome(capsys, "bills", "2026-11", "--lang", "zh")[1]
    assert "1. Local cores" in outcome(capsys, "quote", "task.yaml")[1]


RESERVE = (
    "reserve",
    "--offer",
    "offer_1",
    "--nodes",
    "2",
    "--from",
    "2026-12-01T08:00",
    "--to",
    "2026-12-08T08:00",
)


def test_reserve_shows_price_and_rules_before_it_buys(
    capsys: pytest.CaptureFixture[str], hub: FakeHub
) -> None:
    code, out, err = outcome(capsys, *RESERVE)
    assert (code, out, hub.orders) == (3, "", {})
    assert "Cancelled 168 h or more before the start: 100% back" in err
    assert "Cancelled later: nothing back" in err
    code, out, err = outcome(capsys, *RESERVE, "--yes", "--lang", "zh")
    assert (code, out, len(hub.orders)) == (0, "block_1\n", 1)
    assert "开始前 168 小时以上取消：退 100%" in err
    code, out, _ = outcome(capsys, *RESERVE, "--yes", "--json", "--per-node", "4")
    assert (code, json.loads(out)["nodes"]) == (0, ["n1", "n2"])
    assert outcome(capsys, *RESERVE[:-1], "soon")[0] == 2
    assert "block_1  held" in outcome(capsys, "blocks")[1]


def test_a_volume_is_bought_listed_renewed_and_deleted(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = ("volumes", "create", "corpus", "--gb", "100")
    code, out, err = outcome(capsys, *new)
    assert (code, out, hub.orders) == (3, "", {}) and "--yes buys it" in err
    code, out, err = outcome(capsys, *new, "--yes")
    assert (code, out, len(hub.orders)) == (0, "volume_1\n", 1)
    assert "volumes: {/data: corpus}" in err
    code, out, _ = outcome(capsys, *new, "--renew", "--days", "90", "--yes", "--json")
    assert (code, json.loads(out)["renews_days"]) == (0, 90)
    listed = outcome(capsys, "volumes", "list")[1]
    assert "corpus  kept   100  hall-2" in listed and "run_1" in listed
    assert json.loads(outcome(capsys, "volumes", "list", "--json")[1])["items"][0]["gb"] == 100
    bought = len(hub.orders)
    code, out, _ = outcome(capsys, "volumes", "renew", "corpus", "--always", "--days", "7", "--json")
    assert (code, json.loads(out)["renews_days"], len(hub.orders)) == (0, 7, bought)
    code, out, _ = outcome(capsys, "volumes", "renew", "corpus", "--never", "--json")
    assert json.loads(out)["renews_days"] == 0
    assert (
        "renewed by itself for 7 days each time"
        in outcome(capsys, "volumes", "renew", "corpus", "--always", "--days", "7")[2]
    )
    code, out, err = outcome(capsys, "volumes", "renew", "corpus", "--yes")
    assert (code, out) == (0, "2026-12-31 08:00 +0800\n")
    assert "corpus (100 GB) is paid until 2026-12-31 08:00 +0800, at 0.15 CNY/GB-month." in err
    assert "deleted at 2027-01-07 08:00 +0800 unless renewed" in err
    chinese = outcome(capsys, "volumes", "renew", "corpus", "--always", "--days", "1", "--lang", "zh")[2]
    assert "单价 0.15 CNY/GB·月" in chinese and "每次 1 天" in chinese
    assert ("POST", "/volumes/volume_1/quotes") in hub.calls
    assert outcome(capsys, "volumes", "delete", "nothing", "--yes")[0] == 3
    assert outcome(capsys, "volumes", "delete", "corpus")[0] == 3
    monkeypatch.setattr(sys, "stdin", Terminal("corpse\n"))
    assert outcome(capsys, "volumes", "delete", "corpus")[0] == 3
    assert ("DELETE", "/volumes/volume_1") not in hub.calls
    monkeypatch.setattr(sys, "stdin", Terminal("corpus\n"))
    code, out, err = outcome(capsys, "volumes", "delete", "corpus")
    assert (code, out) == (0, "deleting\n") and "(100 GB) will be gone for good" in err


def test_a_snapshot_is_made_and_restored(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosu.cli.commands.volumes._LOOK_S", 0.0)
    take = ("volumes", "snapshot", "corpus", "--as", "clean")
    assert outcome(capsys, *take)[0] == 3
    halfway = {"state": "copying", "bytes_done": 1 << 30, "bytes_total": 3 << 30}
    hub.copied = [{"last_copy": halfway}, {"last_copy": {"state": "whole", "took_s": 2.5}}]
    code, out, err = outcome(capsys, *take, "--yes")
    assert (code, out, hub.label) == (0, "corpus@clean\n", "clean")
    assert "1.00 GB / 3.00 GB" in err and "is whole: 3 GB, made in 2.5 s." in err
    code, out, _ = outcome(capsys, *take, "--yes", "--no-wait", "--json")
    assert (code, json.loads(out)["last_copy"]["state"]) == (0, "copying")
    assert "corpus@clean" in outcome(capsys, "volumes", "list")[1]
    hub.copied = [{"last_copy": {"state": "failed", "reason": "full"}}]
    code, _, err = outcome(capsys, *take, "--yes")
    assert code == 3 and "disk is full" in err
    back = ("volumes", "restore", "corpus", "clean")
    assert outcome(capsys, *back)[0] == 3
    assert ("POST", "/volumes/volume_1/restore") not in hub.calls
    monkeypatch.setattr(sys, "stdin", Terminal("corpus\n"))
    code, out, err = outcome(capsys, *back)
    assert (code, out) == (0, "corpus\n") and "holds what corpus@clean holds" in err
    assert outcome(capsys, *back[:-1], "corpus@clean", "--yes")[0] == 0
    assert outcome(capsys, *back[:-1], "other", "--yes")[0] == 3


def test_a_quota_of_volumes_is_seen_set_and_lifted(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    code, out, _ = outcome(capsys, "volumes", "quota")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert (code, rows) == (0, [["Vision", "30", "100"], ["Speech", "100", "-"]])
    code, out, _ = outcome(capsys, "volumes", "quota", "Vision", "--gb", "50", "--json")
    assert (code, json.loads(out)[0]["units_max"], hub.quota_gb) == (0, 50, 50)
    assert outcome(capsys, "volumes", "quota", "project_1")[0] == 2
    assert outcome(capsys, "volumes", "quota", "--gb", "1")[0] == 2
    assert outcome(capsys, "volumes", "quota", "nothing", "--gb", "1")[0] == 3


def test_a_block_is_cancelled_once_its_price_is_agreed(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = outcome(capsys, "cancel", "block_1")
    assert code == 3 and "Cancelled now, 0.90 CNY is charged and 11.90 CNY comes back." in err
    assert "--yes cancels the block" in err
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert outcome(capsys, "cancel", "block_1")[0] == 3
    assert ("POST", "/orders/order_1/cancel") not in hub.calls
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    code, _, err = outcome(capsys, "cancel", "block_1")
    assert code == 0 and "Charged: 0.90 CNY. Came back: 11.90 CNY." in err
    code, out, err = outcome(capsys, "cancel", "block_1", "--yes", "--json")
    assert (code, json.loads(out)["id"]) == (0, "order_1")
    assert "现在取消，收取 0.90 CNY" in outcome(capsys, "cancel", "block_1", "--yes", "--lang", "zh")[2]


def test_a_command_may_name_its_folder_from_the_root(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text("print(2)")
    assert outcome(capsys, "run", "-y", "--workdir", str(code), "--", "python main.py")[0] == 0
    assert [file["path"] for file in hub.tasks[0]["workdir"]] == ["main.py"]
    assert task_in(hub.tasks[0]["task"]).workdir == "."
    assert outcome(capsys, "run", "-y", "--workdir", "/", "--", "ls")[0] == 2
    kept = outcome(capsys, "run", "-y", "--workdir", str(code), "--write", "kept.yaml", "--", "ls")
    assert kept[0] == 3 and "relative" in kept[2] and not (signed_in / "kept.yaml").exists()
    assert len(hub.tasks) == 1


def test_a_run_in_a_block_that_has_not_begun_says_when_it_will(
    capsys: pytest.CaptureFixture[str], hub: FakeHub
) -> None:
    inside = ["run", "task.yaml", "--yes", "--block", "block_" + "0" * 26]
    code, _, err = outcome(capsys, *inside)
    assert code == 0 and "starts at 2026-12-01 08:00 +0800; the run is queued until then" in err
    assert "Ctrl-C leaves it queued" in err and "--detach" in err
    assert "queued until" not in outcome(capsys, *inside, "--detach")[2]
    hub.block_state = "open"
    assert "queued until" not in outcome(capsys, *inside)[2]


def test_times_are_the_hubs_with_their_offset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine elsewhere shows what the hub's books say; programs get UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert "2026-12-01 18:00 +0800" in outcome(capsys, "runs")[1]
        assert "2026-12-01 18:00 +0800" in outcome(capsys, "orders", "order_1")[1]
        assert "Issued 2026-12-01 18:05:00 +0800" in outcome(capsys, "receipts", "receipt_1")[1]
        assert data(capsys, "orders", "order_1")["placed_at"] == "2026-12-01T10:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_offers_that_do_not_fit_are_counted_by_reason(
    capsys: pytest.CaptureFixture[str], hub: FakeHub
) -> None:
    hub.refused = 11
    few = outcome(capsys, "quote", "task.yaml")[1]
    assert few.endswith(
        "Not fitting: 13 offers (--all names each):\n    11 x No agent is connected.\n"
        "     2 x sells A by the card (and alike)\n"
    )
    assert "13 个商品不符合" in outcome(capsys, "quote", "task.yaml", "--lang", "zh")[1]
    assert outcome(capsys, "quote", "task.yaml", "--all")[1].count("Ascend: No agent is connected.") == 11
    assert outcome(capsys, "run", "task.yaml", "-y", "--all")[2].count("Ascend: No agent is connected.") == 11
    assert len(data(capsys, "quote", "task.yaml")["refused"]) == 13


def test_lists_as_json(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    asked = data(capsys, "offers", "--text", "昇腾", "--vendor", "Huawei", "--free", "--sort", "ready")[
        "items"
    ][0]
    assert asked["query"] == {
        "shelf": "compute",
        "text": "昇腾",
        "vendor": "Huawei",
        "live": "true",
        "free_now": "true",
        "sort": "ready",
        "limit": "50",
    }
    assert data(capsys, "offers", "--region", "shanghai")["items"][0]["query"] == {
        "shelf": "compute",
        "region": "shanghai",
        "live": "true",
        "sort": "price",
        "limit": "50",
    }
    assert data(capsys, "orders")["items"][0]["total"] == "0.90"
    assert data(capsys, "orders", "order_1")["id"] == "order_1"
    assert data(capsys, "runs")["next"] == "cursor"
    assert data(capsys, "runs", "run_1")["exit_code"] == 0
    assert data(capsys, "balance")["held"] == "6.40"
    assert data(capsys, "vouchers")["items"][0]["state"] == "active"
    assert data(capsys, "receipts")["items"][0]["paid"] == "0.45"
    assert data(capsys, "receipts", "receipt_1")["total"] == "0.90"
    assert data(capsys, "bills")["items"][0]["paid"] == "0.45"
    assert data(capsys, "bills", "2026-11")["suppliers"][0]["amount"] == "0.90"
    assert data(capsys, "quote", "task.yaml")["quotes"][0]["pay_now"] == "6.40"


def test_refusals_and_silence(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = outcome(capsys, "runs", "run_2")
    assert (code, out, err) == (3, "", "error: There is no /runs/run_2.\n  Check the id.\n")
    monkeypatch.setenv("MOSU_TOKEN", "mosu_other")
    assert outcome(capsys, "balance") == (3, "", "error: The token is not known.\n  Sign in: mosu login\n")
    monkeypatch.setenv("MOSU_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert outcome(capsys, "orders")[0] == 4
    monkeypatch.delenv("MOSU_TOKEN")
    assert "mosu login --url http://127.0.0.1:1" in outcome(capsys, "orders")[2]


def test_login_keeps_a_token(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOSU_URL")
    monkeypatch.delenv("MOSU_TOKEN")
    arguments = ["login", "--url", f"{hub.url}/", "--email", "a@example.org", "--password-stdin"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
    assert outcome(capsys, *arguments)[0] == 3
    assert outcome(capsys, "balance")[0] == 2
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{hub.password}\n"))
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (0, "")
    assert "as a@example.org for Startup Ltd" in err
    assert TOKEN not in err
    assert load_profile().url == hub.url
    assert outcome(capsys, "balance")[0] == 0


def test_login_with_a_token(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOSU_TOKEN")
    monkeypatch.setattr(sys, "stdin", io.StringIO("mosu_bad\n"))
    assert outcome(capsys, "login", "--token-stdin")[0] == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOKEN}\n"))
    assert outcome(capsys, "login", "--token-stdin")[0] == 0
    assert load_profile().token == TOKEN


def test_login_asks_for_the_one_time_code(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOSU_TOKEN")
    hub.otp = "123456"
    arguments = ["login", "--email", "a@example.org", "--password-stdin"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{hub.password}\n"))
    assert outcome(capsys, *arguments)[0] == 3
    monkeypatch.setattr(sys, "stdin", Terminal(f"{hub.password}\n123456\n"))
    assert outcome(capsys, *arguments)[0] == 0
    assert load_profile().token == TOKEN


def test_api_prints_the_answer_or_one_member(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    code, out, _ = outcome(capsys, "api", "get", "/offers", "limit=1")
    assert code == 0
    assert json.loads(out)["items"][0]["id"] == "offer_1"
    assert outcome(capsys, "api", "get", "/offers", "--get", "items.0.supplier.name")[:2] == (
        0,
        "Local pool\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("post", "/quotes", "task=@nowhere.yaml"), "nowhere.yaml cannot be read"),
        (("post", "/quotes", "task"), "'task' has no value"),
        (("post", "/quotes", "task:=[}"), "'task:=[}'"),
        (("fetch", "/offers"), "'fetch' is no method"),
        (("get", "offers"), "'offers' is no path"),
    ],
)
def test_api_called_wrongly_calls_nobody(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = outcome(capsys, "api", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}")
    assert hub.tasks == []


def test_api_without_the_member_asked_for(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    code, out, err = outcome(capsys, "api", "get", "/offers", "--get", "items.9.id")
    assert (code, out) == (3, "")
    assert "no 'items.9.id'" in err


def test_a_quote_sends_the_working_folder_first(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    assert outcome(capsys, "quote", "task.yaml")[0] == 0
    digests = {file["sha256"] for file in hub.tasks[0]["workdir"]}
    assert len(digests) == 2
    assert digests <= set(hub.blobs)


OFFERS = "key,price\na,20\nb,30\n"


def brought_in(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, str, str]:
    (folder / "list.csv").write_text(OFFERS)
    return outcome(capsys, "offers", "import", "list.csv", *more)


def test_a_file_of_offers_is_waited_for_and_applied(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path
) -> None:
    code, out, err = brought_in(capsys, signed_in)
    assert (code, out.splitlines()[0]) == (0, "list.csv: 2 rows: 2 new")
    assert "mosu offers apply import_1" in err and "%" not in err, "progress is for terminals"
    code, out, _ = outcome(capsys, "offers", "apply", "import_1", "--yes")
    assert (code, "import_1: applied." in out) == (0, True)
    assert hub.calls.count(("GET", "/offer-imports/import_1")) == 4, "asked until it was done"


def test_how_far_it_is_shows_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
    hub: FakeHub,
    signed_in: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = brought_in(capsys, signed_in, "--json")
    assert json.loads(out)["import"]["state"] == "previewed"
    assert "reading 50% 7 rows" in err
    assert err.rstrip("\n").endswith("\r\x1b[K"), "the line is gone again"


def test_a_file_that_the_hub_refuses_names_its_places(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path
) -> None:
    (signed_in / "list.csv").write_text(OFFERS + "refuse,1\n")
    code, out, err = outcome(capsys, "offers", "import", "list.csv")
    assert (code, out) == (3, "")
    assert "list.csv:3: b: It has another price since." in err
    code, out, _ = outcome(capsys, "offers", "import", "list.csv", "--json")
    assert (code, json.loads(out)["state"]) == (3, "refused")


def test_an_import_is_undone_for_a_reason(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, signed_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_in(capsys, signed_in)
    assert outcome(capsys, "offers", "undo", "import_1", "--yes")[0] == 2, "no reason"
    code, out, err = outcome(capsys, "offers", "undo", "import_1", "--why", "no use", "--yes")
    assert (code, out) == (3, "")
    assert "list.csv:3: b: It has another price since." in err and "the earlier file" in err
    monkeypatch.setenv("MOSU_LANG", "zh")
    assert "之后价格又有变动" in outcome(capsys, "offers", "undo", "import_1", "--why", "no use", "--yes")[2]
    hub.offer_import["refusal"] = None
    made = data(capsys, "offers", "undo", "import_1", "--why", "the wrong file")
    assert made["state"] == "undone"


def test_costs_and_papers_come_as_files(capsys: pytest.CaptureFixture[str], signed_in: Path) -> None:
    asked = ["costs", "export", "--month", "2026-11", "--format", "focus-parquet", "--focus", "1.4"]
    code, out, err = outcome(capsys, *asked, "-o", "costs.parquet")
    assert (code, out) == (0, "") and "costs.parquet: " in err
    assert '"format": "parquet"' in (signed_in / "costs.parquet").read_text()
    assert '"version": "1.4"' in (signed_in / "costs.parquet").read_text()
    assert outcome(capsys, "bills", "2026-11", "--pdf", "bill.pdf", "--lang", "zh")[0] == 0
    assert (signed_in / "bill.pdf").read_text().startswith('/bills/2026-11/pdf {"language": "zh')
    assert outcome(capsys, "receipts", "receipt_1", "--pdf", "receipt.pdf")[0] == 0
    assert (signed_in / "receipt.pdf").read_text().startswith("/receipts/receipt_1/pdf")


def test_a_supplier_reads_its_statements_and_payouts(
    capsys: pytest.CaptureFixture[str], signed_in: Path
) -> None:
    listed = outcome(capsys, "statements")[1]
    assert "statement_1  2026-10       3  90.00       4.50       85.50  CNY  S-202610-000001" in listed
    for which in ("statement_1", "2026-10"):
        shown = outcome(capsys, "statements", which, "--lang", "en")[1]
        for line in ("SOLD               90.00", "hub's fee          -4.50", "TO BE PAID         85.50"):
            assert line in shown
        assert "Compute voucher  45.00" in shown and "credit notes" not in shown
    assert "应付" in outcome(capsys, "statements", "2026-10", "--lang", "zh")[1]
    assert data(capsys, "statements")["items"][0]["net"] == "85.50"
    assert data(capsys, "statements", "2026-10")["voucher_share"] == "45.00"
    rows = list(csv.DictReader(io.StringIO(outcome(capsys, "statements", "--csv")[1])))
    assert [(row["month"], row["net"], row["fee"]) for row in rows] == [
        ("2026-10", "85.50", "4.50"),
        ("2026-09", "85.50", "4.50"),
    ]
    assert len(outcome(capsys, "statements", "2026-10", "--csv")[1].splitlines()) == 2
    assert outcome(capsys, "statements", "2026-10", "--pdf", "s.pdf", "--lang", "zh")[0] == 0
    assert (signed_in / "s.pdf").read_text().startswith('/statements/statement_1/pdf {"language": "zh')
    code, out, err = outcome(capsys, "statements", "2026-08")
    assert (code, out) == (2, "") and "There is no statement of 2026-08." in err
    assert outcome(capsys, "statements", "--pdf", "none.pdf")[0] == 2
    assert not (signed_in / "none.pdf").exists()
    paid = outcome(capsys, "payouts")[1]
    assert "payout_1  statement_1   85.50  CNY  confirmed  ICBC-77" in paid
    assert data(capsys, "payouts")["items"][0]["amount"] == "85.50"


def test_a_file_that_cannot_be_had_leaves_what_was_there(
    capsys: pytest.CaptureFixture[str], signed_in: Path
) -> None:
    (signed_in / "costs.csv").write_text("mine")
    before = sorted(signed_in.iterdir())
    for wrong in (
        ["--month", "2026-11", "--format", "xlsx", "-o", "costs.csv"],
        ["--month", "2026-99", "-o", "costs.csv"],
        ["--month", "2026-11", "-o", "nowhere/costs.csv"],
    ):
        assert outcome(capsys, "costs", "export", *wrong)[0] in {2, 3}
    for lacking in (["bills", "--pdf", "x.pdf"], ["receipts", "--pdf", "x.pdf"]):
        assert outcome(capsys, *lacking)[0] == 2
    for paper in (["receipts", "receipt_1"], ["bills", "2026-11"], ["statements", "statement_1"]):
        code, _, err = outcome(capsys, *paper, "--pdf", "/nope/x.pdf")
        assert (code, err) == (2, "error: There is no folder /nope.\n  Make it first.\n")
    assert (signed_in / "costs.csv").read_text() == "mine"
    assert sorted(signed_in.iterdir()) == before
