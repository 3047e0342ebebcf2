"""`mosu serve` and `mosu endpoints`, against a hub that answers as the real one does."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.fake_hub import TOKEN, FakeHub

from mosu.cli import main
from mosu.cli.commands import serve as command

TASK = "name: chat\nrun: serve\nmosu: {kind: service, port: 8000}\n"


@pytest.fixture(autouse=True)
def signed_in(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MOSU_URL": hub.url,
        "MOSU_TOKEN": TOKEN,
        "XDG_CONFIG_HOME": str(tmp_path),
        "MOSU_LANG": "en",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "_LOOK_S", 0.01)


@pytest.fixture
def task(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "task.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_a_service_is_served_until_it_answers_with_its_first_key(
    hub: FakeHub, task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["serve", task(TASK), "--yes"]) == 0
    printed = capsys.readouterr()
    assert (
        printed.out
        == "curl -H 'Authorization: Bearer sk-mosu-secret' https://chat-0123456789.apps.example/\n"
    )
    assert "Each replica is an order like the first plan; there are 1 to 1" in printed.err
    assert "Waiting for the first replica: run_1 queued." in printed.err
    assert hub.endpoint["name"] == "chat"


def test_again_it_is_another_version_of_the_same_without_a_key(
    hub: FakeHub, task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    main.run(["serve", task(TASK), "--yes"])
    capsys.readouterr()
    assert main.run(["serve", task(TASK + "setup: new\n"), "--yes", "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (answer["endpoint"]["version"], answer["key"]) == (2, None)


def test_nobody_waits_for_what_starts_with_the_first_request(
    hub: FakeHub, task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.endpoint_wanted = 0
    text = TASK.replace("8000}", "8000, replicas: {min: 0}}")
    assert main.run(["serve", task(text), "--yes"]) == 0
    assert "the first request waits for one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "code", "said"),
    [
        ("name: a\nrun: ls\n", ["--yes"], 2, "Only a service is served"),
        ("run: ls\nmosu: {kind: service, port: 80}\n", ["--yes"], 2, "needs a name"),
        (TASK, [], 3, "no terminal to ask at"),
    ],
)
def test_what_cannot_be_served_is_said_and_nothing_is_made(
    hub: FakeHub,
    task: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    more: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert main.run(["serve", task(text), *more]) == code
    assert said in capsys.readouterr().err
    assert not hub.endpoint


def test_endpoints_are_listed_shown_given_keys_and_ended(
    hub: FakeHub, task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["endpoints"]) == 0
    assert "mosu serve task.yaml makes one" in capsys.readouterr().err
    main.run(["serve", task(TASK), "--yes"])
    capsys.readouterr()
    assert main.run(["endpoints"]) == 0
    assert "chat-0123456789" in capsys.readouterr().out
    assert main.run(["endpoints", "show", "chat"]) == 0
    assert "run_1" in capsys.readouterr().out
    assert main.run(["endpoints", "make-key", "chat", "--for", "app"]) == 0
    assert capsys.readouterr().out == "sk-mosu-secret\n"
    assert main.run(["endpoints", "keys", "chat"]) == 0
    assert "ekey_1" in capsys.readouterr().out
    assert main.run(["endpoints", "revoke-key", "chat", "ekey_1"]) == 0
    assert "holds no more" in capsys.readouterr().err
    assert main.run(["endpoints", "requests", "chat"]) == 0
    assert "/v1/models" in capsys.readouterr().out
    assert main.run(["endpoints", "end", "chat", "--yes"]) == 0
    assert main.run(["endpoints", "show", "chat"]) == 3
    assert "There is no open endpoint chat." in capsys.readouterr().err


def test_a_run_of_a_service_says_what_holds_for_an_endpoint_alone(
    hub: FakeHub, task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.no_quotes = True
    main.run(["run", task(TASK.replace("8000}", "8000, auth: public}")), "--yes"])
    assert "hold for mosu serve alone" in capsys.readouterr().err
