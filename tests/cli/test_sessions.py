"""`mosu share`, `mosu keep` and `mosu extend` against a hub of the tests."""

from pathlib import Path

import pytest
from tests.client.fake_hub import TOKEN, FakeHub

from mosu.cli import main


@pytest.fixture(autouse=True)
def environment(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"MOSU_URL": hub.url, "MOSU_TOKEN": TOKEN, "XDG_CONFIG_HOME": str(tmp_path), "MOSU_LANG": "en"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main.run(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_a_session_is_shared_listed_and_shared_no_more(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "share", "run_1") == (0, "run_1 is shared with nobody.\n")
    code, text = said(capsys, "share", "run_1", "ann@example.org")
    assert code == 0 and "ann@example.org" in text
    assert '"guest_1"' in said(capsys, "share", "run_1", "--json")[1]
    code, text = said(capsys, "share", "run_1", "bob@example.org", "--end")
    assert code != 0 and "not shared with bob@example.org" in text
    assert said(capsys, "share", "run_1", "Ann@example.org", "--end")[1] == "run_1 is shared with nobody.\n"
    assert not hub.guests


def test_whom_not_to_share_with_any_more_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "share", "run_1", "--end")[0] == 2


def test_a_session_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "keep", "run_1")
    assert code == 0 and text.startswith("run_1 is kept; its wall limit ends it at ")
    text = said(capsys, "keep", "run_1", "--idle-stop", "30m")[1]
    assert text == "run_1 is stopped when nobody used it for 30 minutes.\n"
    text = said(capsys, "keep", "run_1", "--idle-stop", "1m")[1]
    assert text == "run_1 is stopped when nobody used it for 1 minute.\n"
    text = said(capsys, "keep", "run_1", "--idle-stop", "none")[1]
    assert text == "run_1 has no time of its own any more.\n"
    assert said(capsys, "keep", "run_1", "--idle-stop", "soon")[0] == 2


def test_more_time_is_shown_and_bought_when_agreed(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "extend", "run_1", "30m")
    assert code != 0 and "Nothing was bought" in text and ("POST", "/orders") not in hub.calls
    code, text = said(capsys, "extend", "run_1", "30m", "--yes")
    assert code == 0 and "run_1 runs until " in text
    assert hub.calls.count(("POST", "/runs/run_1/quotes")) == 2
    assert hub.calls.count(("POST", "/orders")) == 1
    assert '"run_1"' in said(capsys, "extend", "run_1", "1h", "--yes", "--json")[1]
    assert said(capsys, "extend", "run_1", "soon")[0] == 2
