"""The command line in Chinese: help, tables, refusals, and the hub asked for the same language."""

import re
import sys
from pathlib import Path

import pytest
from tests.client.fake_hub import TOKEN, FakeHub

from mosu.cli import main
from mosu.cli.main import COMMANDS


@pytest.fixture(autouse=True)
def in_chinese(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MOSU_URL", hub.url)
    monkeypatch.setenv("MOSU_TOKEN", TOKEN)
    monkeypatch.setenv("MOSU_LANG", "zh")
    monkeypatch.chdir(tmp_path)


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.run(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_list_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = outcome(capsys, "--help")
    for command in COMMANDS:
        line = next(line for line in out.splitlines() if line.startswith(f"  {command.name} "))
        assert re.search("[\u4e00-\u9fff]", line), line


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_the_help_of_a_command_has_no_english_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert re.search("[\u4e00-\u9fff]", out)
    plain = re.sub(r"--?[\w-]+|\b[A-Z_]{3,}\b|<[^>]*>|/[\w./]*|~\S*", " ", out)
    assert not re.search(r"[a-z]{2,} [a-z]{2,} [a-z]{2,} [a-z]{2,}", plain), plain
    described = [line for line in out.splitlines() if re.match(r"  -", line)]
    assert all(re.search("[\u4e00-\u9fff]", line) for line in described if "  " in line.strip()), out


def test_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(capsys, "runs", "--limit", "x") == (
        2,
        "",
        "错误：'--limit' 的值无效：应为整数\n  说明见 mosu runs --help。\n",
    )
    assert outcome(capsys, "fly")[2] == "错误：没有命令 'fly'。\n  mosu --help 列出全部命令。\n"
    assert "没有选项" in outcome(capsys, "runs", "--nope")[2]


def test_tables_and_states(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = outcome(capsys, "vouchers")
    assert out.split("\n")[0].split() == ["编号", "扶持政策", "状态", "金额", "剩余", "有效至"]
    assert "进行中" in out and "active" not in out
    assert [line.split()[0] for line in outcome(capsys, "balance")[1].splitlines()[1:]] == [
        "余额",
        "冻结",
        "可用",
    ]


def test_the_option_wins_over_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert "PROGRAMME" in outcome(capsys, "vouchers", "--lang", "en")[1]
    assert "error: " in outcome(capsys, "runs", "run_nosuch", "--lang=en")[2]
    assert "扶持政策" in outcome(capsys, "vouchers")[1]  # and for that command only


def test_the_hub_is_asked_for_the_same_language(capsys: pytest.CaptureFixture[str], hub: FakeHub) -> None:
    outcome(capsys, "balance")
    assert hub.languages[-1] == "zh"
    outcome(capsys, "vouchers", "--lang", "en")
    assert hub.languages[-1] == "en"


def test_a_misspelt_key_is_told_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    Path("task.yaml").write_text("run: ls\nmosu: {walllimit: 3m}\n")
    code, _, err = outcome(capsys, "quote", "task.yaml")
    assert code == 3
    assert err.startswith(
        "错误：task.yaml 不能使用。\ntask.yaml:2:8: mosu.walllimit：没有这一项；是否应为 'wall_limit'？\n"
    )


def test_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    code, _, err = outcome(capsys, "run", "--no-workdir", "--", "ls")
    assert code == 3
    assert "没有下单：没有终端可以询问。" in err
