"""Calling one command through Typer, and turning what goes wrong into one clear message."""

import importlib
import re
import shlex
import sys
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final

import typer

from mosu.cli.main import Command
from mosu.cli.stop import USAGE, Stop, stop_of
from mosu.cli.text import language, speak_as_asked, told

_HELP: Final = "Show this message and exit."
_HEADINGS: Final = re.compile(r"(?m)^(Usage|Options|Arguments|Commands):|\brequired(?=\])|\bdefault: ")
"""What Typer writes itself into a help text."""


def call(command: Command, arguments: list[str]) -> int:
    """The command's exit code. A refusal is printed on standard error: what, why, what to do next."""
    speak_as_asked(arguments)
    try:
        ended = _translated(typer_of(command))(
            _with_command_line(arguments), prog_name="mosu", standalone_mode=False
        )
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if hasattr(error, "format_message"):
            return _misused(error)
        stop = _server_missing(command, error) or stop_of(error)
        if stop is None:
            raise
        sys.stderr.write(stop.text())
        return stop.code
    return ended if isinstance(ended, int) else 0


def _misused(error: Any) -> int:
    """What Typer says of a call that it cannot read; it has no languages of its own."""
    if language() == "en":
        error.show()
    elif error.ctx is not None and not error.format_message().strip():
        sys.stderr.write(error.ctx.get_help() + "\n")
    else:
        hint = f"Try '{error.ctx.command_path} --help' for help." if error.ctx is not None else ""
        sys.stderr.write(Stop(error.format_message(), hint=hint, code=USAGE).text())
    return int(error.exit_code)


def _translated(app: typer.Typer) -> Any:
    """The app's command, whose `--help` speaks the person's language."""
    command = typer.main.get_command(app)
    if language() == "zh":
        _translate(command)
    return command


def _translate(command: Any) -> None:
    command.help = "\n\n".join(told(" ".join(part.split())) for part in (command.help or "").split("\n\n"))
    for one in command.params:
        if getattr(one, "help", None):
            one.help = told(one.help)
    untold = command.get_help

    def get_help(ctx: Any) -> str:
        text = re.sub(r"(?m)^(\s*--help\s+).*", lambda found: found[1] + told(_HELP), untold(ctx))
        return _HEADINGS.sub(lambda found: told(found[0]), text)

    command.get_help = get_help
    for inner in getattr(command, "commands", {}).values():
        _translate(inner)


def typer_of(command: Command) -> typer.Typer:
    """A Typer app with this one command in it."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_keep_the_name)
    loaded = _load(command)
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=command.name)
    else:
        app.command(command.name)(loaded)
    return app


def _keep_the_name() -> None:
    """Typer would drop the name of an only command; a callback keeps it."""


def _load(command: Command) -> Any:
    module, _, attribute = command.target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _server_missing(command: Command, error: Exception) -> Stop | None:
    """What to say where only the base package is installed; None if the error is something else."""
    if not (command.needs_hub and isinstance(error, ModuleNotFoundError)) or find_spec("django") is not None:
        return None
    return Stop(
        f"mosu {command.name} is a server's command, and the server is not installed (no {error.name}).",
        hint="pip install 'mosu[hub]'",
        code=USAGE,
    )


def _with_command_line(arguments: list[str]) -> list[str]:
    """`run ... -- CMD ARG` as `run ... --cmd "CMD ARG"`; a single word after `--` is a whole shell line.

    `ssh ... RUN WORD...` as `ssh ... RUN -- WORD...`: what follows the run is for ssh itself, its options too.
    """
    if arguments[0] == "ssh":
        return _with_words_for_ssh(arguments)
    if arguments[0] != "run" or "--" not in arguments:
        return arguments
    cut = arguments.index("--")
    words = arguments[cut + 1 :]
    if not words:
        raise Stop("Nothing stands after --.", hint="mosu run -- python train.py", code=USAGE)
    line = words[0] if len(words) == 1 else shlex.join(words)
    return [*arguments[:cut], "--cmd", line]


def _with_words_for_ssh(arguments: list[str]) -> list[str]:
    for number, (before, word) in enumerate(pairwise(arguments), 2):
        if not word.startswith("-") and before != "--lang":
            return [*arguments[:number], "--", *arguments[number:]]
    return arguments
