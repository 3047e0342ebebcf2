"""The task that a command line means: a file, a command after `--`, and options that change either."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mosu.cli.stop import USAGE, Stop
from mosu.cli.text import clean, told, width_of
from mosu.wire.document import TEXT_BYTES_MAX
from mosu.wire.sbatch import is_sbatch, parse_sbatch
from mosu.wire.task import Problem, TaskFile, TaskRefused, dump_task, parse_task
from mosu.wire.task_dump import mapping_of

_SHOWN_MAX = 5


def load_task(path: Path) -> tuple[str, TaskFile]:
    """A task file's text, and the task; of a script for sbatch, the task file that means the same.

    Raises:
        Stop: there is no such file, or it is no task; each problem is shown below its line.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise Stop(
            f"{path} cannot be read: {error.strerror}.", hint="mosu run task.yaml", code=USAGE
        ) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Stop(f"{path} is not UTF-8 (byte {error.start}).", hint="Save it as UTF-8.") from error
    task = _parsed(text, str(path))
    return dump_task(task) if is_sbatch(text) else text, task


def changed(task: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[str, TaskFile]:
    """The text and the task that come of laying `options` (by dotted key) over `task`.

    Raises:
        Stop: the result is no task.
    """
    mapping = dict(task)
    for dotted, value in options.items():
        if value in (None, "", [], {}):
            continue
        block, _, key = dotted.rpartition(".")
        if block:
            mapping[block] = {**mapping.get(block, {}), key: value}
        elif isinstance(value, dict):
            mapping[key] = {**mapping.get(key, {}), **value}
        else:
            mapping[key] = value
    text = dump_task(mapping)
    return text, _parsed(text, "the command line")


def as_mapping(task: TaskFile) -> dict[str, Any]:
    """The keys of a task, to be changed."""
    return mapping_of(task)


def variables_of(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` options as a map.

    Raises:
        Stop: one has no `=`.
    """
    variables = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise Stop(f"--env {pair}: no value.", hint="Write --env NAME=VALUE.", code=USAGE)
        variables[name] = value
    return variables


def vouchers_of(text: str) -> Literal["auto", "none"] | list[str] | None:
    """The choice that `--vouchers` makes; None if it makes none."""
    if text in {"auto", "none"}:
        return "auto" if text == "auto" else "none"
    return [word.strip() for word in text.split(",") if word.strip()] or None


def _parsed(text: str, source: str) -> TaskFile:
    try:
        return (parse_sbatch if is_sbatch(text) else parse_task)(text, source=source)
    except TaskRefused as refused:
        raise Stop(problems_text(text, source, refused.problems), hint=refused.hint) from refused


def problems_text(text: str, source: str, problems: Sequence[Problem]) -> str:
    """Each problem with its line and a caret below its place."""
    lines = text.splitlines()
    parts = [f"{source} cannot be used."]
    for problem in problems[:_SHOWN_MAX]:
        number, column = problem["line"], problem["column"]
        parts.append(f"{source}:{number}:{column}: {told(problem['message'])}")
        if number <= len(lines):
            line = clean(lines[number - 1]).replace("\t", " ")
            parts.append(f"    {line[:200]}")
            if column <= 200:
                parts.append("    " + " " * width_of(line[: column - 1]) + "^")
    if len(problems) > _SHOWN_MAX:
        parts.append(f"... and {len(problems) - _SHOWN_MAX} more.")
    return "\n".join(parts)
