"""The entry point: at once, and without what it does not need."""

import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
import typer
from tests.client.fake_hub import TOKEN, FakeHub

from mosu.cli import app, main
from mosu.cli.main import COMMANDS, Command
from mosu.cli.stop import Stop

HEAVY = ("django", "httpx", "pydantic", "rich", "typer", "yaml")


def modules_after(arguments: list[str]) -> set[str]:
    program = (
        "import sys\nfrom mosu.cli.main import run\n"
        f"code = run({arguments!r})\nsys.stderr.write(repr(code) + ' ' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, *names = done.stderr.split()
    assert code == "0", done.stderr[:300]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("arguments", [["--help"], [], ["-h"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert modules_after(arguments).isdisjoint(HEAVY)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS if not command.needs_hub])
def test_a_commands_help_needs_no_server(name: str) -> None:
    assert modules_after([name, "--help"]).isdisjoint(
        {"django", "rich", "httpx"}
    )  # Typer itself asks for pydantic


def test_a_command_that_only_asks_reads_no_task_files_and_no_certificates(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSU_URL", hub.url)
    monkeypatch.setenv("MOSU_TOKEN", TOKEN)
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")  # whoever reads them fails
    assert modules_after(["runs"]).isdisjoint({"asyncio", "django", "pathspec", "websockets", "yaml"})


def test_help_answers_at_once() -> None:
    times = []
    for _ in range(30):  # its own time, and the best of many: the machine may be busy
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "mosu.cli.main", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if times[-1] <= 0.3:
            return
    pytest.fail(f"never within 0.3 s: {times}")


def test_the_version_is_said_without_installed_metadata() -> None:
    # The Makefile links the source into its environment, so no distribution called mosu is there to ask.
    said = subprocess.run(
        [sys.executable, "-m", "mosu.cli.main", "--version"], capture_output=True, text=True
    )
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    assert (said.returncode, said.stdout) == (0, f"mosu {project['version']}\n"), said.stderr


def test_help_lists_every_command() -> None:
    text = main.help_text()
    assert all(f"  {command.name} " in text and command.help in text for command in COMMANDS)
    assert max(len(line) for line in text.splitlines()) <= 100


WITHOUT_JSON: Final = {"agent agent run", "agent agent unit", "ssh ssh"}
"""The first says nothing but its log, which is JSON; the second prints a file; the third becomes ssh."""


def test_every_command_has_json_and_its_help() -> None:
    for command in COMMANDS:
        if command.name != "api":  # which prints JSON and nothing else
            for path, one in _callable(typer.main.get_command(app.typer_of(command)), command.name):
                options = {name for option in one.params for name in option.opts}
                assert "--json" in options or path in WITHOUT_JSON, path
                assert one.help, path


def _callable(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The command and those below it, but for names that only gather others."""
    if getattr(command, "invoke_without_command", True):
        yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _callable(below, f"{path} {name}")


def served(monkeypatch: pytest.MonkeyPatch, **attributes: object) -> None:
    module = ModuleType("fake_server")
    module.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, "fake_server", module)


def test_a_server_command_may_be_a_function_or_an_app(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def up(port: int = 8000) -> None:
        """Run it."""
        typer.echo(f"port {port}")

    admin = typer.Typer()

    @admin.command()
    def bootstrap(email: str) -> None:
        typer.echo(f"email {email}")

    @admin.command()
    def other() -> None:
        raise Stop("no", hint="yes", code=3)

    served(monkeypatch, up=up, admin=admin)
    assert app.call(Command("up", "fake_server:up", "", True), ["up", "--port", "1"]) == 0
    assert app.call(Command("admin", "fake_server:admin", "", True), ["admin", "bootstrap", "a@b"]) == 0
    assert capsys.readouterr().out == "port 1\nemail a@b\n"
    assert app.call(Command("admin", "fake_server:admin", "", True), ["admin", "other"]) == 3
    assert capsys.readouterr().err == "error: no\n  yes\n"


@pytest.mark.parametrize("when", ["loaded", "called"])
def test_without_the_server_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    def up() -> None:
        raise ModuleNotFoundError("No module named 'django'", name="django")

    served(monkeypatch, up=up)
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    target = "fake_server:up" if when == "called" else "no_such_server:up"
    assert app.call(Command("up", target, "", True), ["up"]) == 2
    assert "pip install 'mosu[hub]'" in capsys.readouterr().err


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def up() -> None:
        raise ModuleNotFoundError("a misspelt module", name="mosu.web.viwes")

    served(monkeypatch, up=up)
    with pytest.raises(ModuleNotFoundError, match="misspelt"):
        app.call(Command("up", "fake_server:up", "", True), ["up"])


def test_a_closed_pipe_is_no_traceback() -> None:
    program = f"{sys.executable} -m mosu.cli.main --help | true"
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert "Traceback" not in done.stderr
