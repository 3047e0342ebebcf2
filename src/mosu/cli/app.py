"""Calling one command through Typer, and turning what goes wrong into one clear message."""

import importlib
import shlex
import sys
from importlib.util import find_spec
from typing import Any

import typer

from mosu.cli.main import Command
from mosu.cli.stop import USAGE, Stop, stop_of


def call(command: Command, arguments: list[str]) -> int:
    """The command's exit code. A refusal is printed on standard error: what, why, what to do next."""
    try:
        typer_of(command)(_with_command_line(arguments), prog_name="mosu")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        stop = _server_missing(command, error) or stop_of(error)
        if stop is None:
            raise
        sys.stderr.write(stop.text())
        return stop.code
    return 0


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
    """`run ... -- CMD ARG` as `run ... --cmd "CMD ARG"`; a single word after `--` is a whole shell line."""
    if arguments[0] != "run" or "--" not in arguments:
        return arguments
    cut = arguments.index("--")
    words = arguments[cut + 1 :]
    if not words:
        raise Stop("Nothing stands after --.", hint="mosu run -- python train.py", code=USAGE)
    line = words[0] if len(words) == 1 else shlex.join(words)
    return [*arguments[:cut], "--cmd", line]
