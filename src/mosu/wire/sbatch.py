"""A script for `sbatch` as a task: what its `#SBATCH` lines ask for, in the words of a task file.

What mosu does otherwise than a cluster, or not at all, is refused with its line and with what to write instead;
nothing is passed over but where the log goes (`--output`, `--error`: the hub keeps both streams) and what holds
anyway (`--no-requeue`, `--export=NONE`). A script runs once, on one node, in the folder that it was given from.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from mosu.wire.document import Problem
from mosu.wire.srun import ALLOWED as SRUN_ALLOWED
from mosu.wire.srun import calls_srun, srun_problem, with_srun
from mosu.wire.task import SCRIPT_CHARS_MAX, WALL_LIMIT_S_MAX, ResourceNeed, TaskFile, TaskRefused

_SHORT: Final = MappingProxyType(
    {
        "-J": "--job-name", "-N": "--nodes", "-n": "--ntasks", "-c": "--cpus-per-task", "-t": "--time",
        "-G": "--gpus", "-o": "--output", "-e": "--error", "-p": "--partition", "-A": "--account", "-q": "--qos",
        "-a": "--array", "-d": "--dependency", "-w": "--nodelist", "-x": "--exclude", "-C": "--constraint",
        "-D": "--chdir", "-b": "--begin", "-L": "--licenses", "-W": "--wait", "-H": "--hold", "-i": "--input",
    }
)  # fmt: skip
_PLACE: Final = "the hub chooses where a run goes; leave it out, or write a task file with mosu.suppliers."
_ELSEWHERE: Final = MappingProxyType(
    {
        "--partition": _PLACE,
        "--account": "leave it out; the signed-in organisation pays.",
        "--qos": _PLACE,
        "--reservation": _PLACE,
        "--clusters": _PLACE,
        "--nodelist": _PLACE,
        "--exclude": _PLACE,
        "--constraint": _PLACE,
        "--array": "run the script once for each, with --env.",
        "--dependency": "wait for the other run with mosu logs -f.",
        "--begin": "write a task file with mosu.not_before.",
        "--deadline": "write a task file with mosu.deadline.",
        "--requeue": "an attempt starts at most once; the hub never restarts it.",
        "--mail-type": "leave it out; the hub tells you in its notices.",
        "--mail-user": "leave it out; the hub tells you in its notices.",
        "--exclusive": "ask for the cores that you need.",
        "--licenses": "leave it out.",
        "--hold": "leave it out.",
        "--wait": "leave it out; mosu run follows the log.",
        "--chdir": "start mosu run in that folder.",
    }
)
_MET: Final = frozenset(
    {"--output", "--error", "--no-requeue", "--open-mode", "--parsable", "--get-user-env"}
)
_FLAGS: Final = frozenset(
    {"--no-requeue", "--requeue", "--exclusive", "--parsable", "--get-user-env", "--hold", "--wait"}
)
_KNOWN: Final = (
    "--job-name, --nodes=1, --ntasks, --ntasks-per-node, --cpus-per-task, --mem, --mem-per-cpu, --time, --gres, "
    "--gpus, --gpus-per-node, --export, --output, --error, --no-requeue"
)
_NO_MODULES: Final = "there are no modules: a task file names the software with mosu.environment."
_COMMANDS: Final = MappingProxyType(
    {
        "module": _NO_MODULES,
        "ml": _NO_MODULES,
        "sbatch": "a run starts no other runs.",
        "scontrol": "a run does not see the cluster's scheduler.",
    }
)
_SIZE: Final = re.compile(r"([0-9]{1,9})([KMGT]?)B?", re.IGNORECASE)
_MIB_OF: Final = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024 * 1024}
_GPUS: Final = re.compile(r"(?:gpu:)?([A-Za-z0-9][A-Za-z0-9._-]{0,62}):([1-9][0-9]{0,4})")
_NAME: Final = re.compile(r"[^\W_][\w .-]{0,62}")
_TIME: Final = re.compile(r"(?:(\d{1,3})-)?(\d{1,6})(?::(\d{1,3}))?(?::(\d{1,3}))?")
_COMMAND: Final = re.compile(r"(?:^|[;&|(])\s*([\w./-]+)")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def is_sbatch(text: str) -> bool:
    """Whether it is a script, not a task file: YAML's first line is never an interpreter's."""
    return text.startswith("#!")


def parse_sbatch(text: str, *, source: str = "script.sbatch") -> TaskFile:
    """The checked task of a script.

    Raises:
        TaskRefused: a line asks for what mosu does not do; all such lines are listed.
    """
    reader = _Reader()
    _read_interpreter(reader, text)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#SBATCH") and not reader.in_commands:
            _read_directive(reader, number, line)
        elif line.strip() and not line.startswith("#"):
            reader.in_commands = True
            _read_command(reader, number, line)
    if len(text) > SCRIPT_CHARS_MAX:
        reader.refuse(1, "", "the script is too long.", allowed=f"at most {SCRIPT_CHARS_MAX} characters")
    if reader.problems:
        raise TaskRefused(source, reader.problems)
    return _task_of(reader.asked, with_srun(text) if reader.calls_srun else text)


@dataclass(slots=True)
class _Asked:
    """What the directives say; a later one wins, as with sbatch."""

    name: str = ""
    tasks: int = 1
    cpus_per_task: int = 1
    memory_mib: int | None = None
    memory_mib_per_cpu: int | None = None
    wall_limit_s: int | None = None
    accelerators: tuple[tuple[str, int], ...] = ()
    envs: dict[str, str] = field(default_factory=dict)


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.asked = _Asked()
        self.in_commands = False
        self.calls_srun = False

    def refuse(self, line: int, what: str, message: str, *, allowed: str, column: int = 1) -> None:
        self.problems.append(
            Problem(
                line=line,
                column=column,
                field=what.partition("=")[0],
                found=what[:120],
                allowed=allowed,
                nearest="",
                message=f"{what}: {message}" if what else message,
            )
        )


def _read_interpreter(reader: _Reader, text: str) -> None:
    first = text.partition("\n")[0]
    words = first.removeprefix("#!").split()
    name = (words[-1] if len(words) > 1 and words[0].endswith("/env") else (words or [""])[0]).rpartition(
        "/"
    )[2]
    if name not in {"bash", "sh"}:
        reader.refuse(1, first[:60], "only shell scripts are run.", allowed="#!/bin/bash or #!/bin/sh")


def _read_directive(reader: _Reader, number: int, line: str) -> None:
    try:
        words = shlex.split(line.removeprefix("#SBATCH"), comments=True)
    except ValueError as error:
        reader.refuse(number, "#SBATCH", f"{error}.".lower(), allowed="closed quotes")
        return
    while words:
        option, value = _next(words)
        column = max(1, line.find(option.partition("=")[0]) + 1)
        name = _SHORT.get(option, option)
        shown = f"{option}={value}" if value else option
        if name in _MET:
            continue
        if name in _ELSEWHERE:
            reader.refuse(
                number, shown, f"not done by mosu: {_ELSEWHERE[name]}", allowed=_KNOWN, column=column
            )
        elif name not in _READERS:
            reader.refuse(number, shown, "is not known to mosu.", allowed=_KNOWN, column=column)
        else:
            allowed = _READERS[name](reader.asked, value)
            if allowed:
                reader.refuse(
                    number, shown, f"does not fit; allowed is {allowed}.", allowed=allowed, column=column
                )


def _next(words: list[str]) -> tuple[str, str]:
    """The next option with its value: `--a=b`, `--a b`, `-ab` or `-a b`."""
    word = words.pop(0)
    if word.startswith("--"):
        option, sign, value = word.partition("=")
        if not sign and option not in _FLAGS and words and not words[0].startswith("-"):
            value = words.pop(0)
        return option, value
    if len(word) > 2:
        return word[:2], word[2:].removeprefix("=")
    if _SHORT.get(word) not in _FLAGS and words and not words[0].startswith("-"):
        return word, words.pop(0)
    return word, ""


def _read_command(reader: _Reader, number: int, line: str) -> None:
    if calls_srun(line):
        reader.calls_srun = True
        refused = srun_problem(line, tasks=reader.asked.tasks)
        if refused is not None:
            reader.refuse(number, refused[0], refused[1], allowed=SRUN_ALLOWED)
    for word in _COMMAND.findall(line):
        if word in _COMMANDS:
            reader.refuse(number, word, _COMMANDS[word], allowed="commands of the environment")


def _name(asked: _Asked, value: str) -> str:
    asked.name = value
    return "" if _NAME.fullmatch(value) else "letters, digits, spaces and ._- , at most 63 characters"


def _nodes(asked: _Asked, value: str) -> str:
    return "" if value in {"1", "1-1"} else "1; a task file with num_nodes runs on several"


def _number(attribute: str) -> Callable[[_Asked, str], str]:
    def read(asked: _Asked, value: str) -> str:
        if not re.fullmatch(r"[1-9][0-9]{0,3}", value):
            return "a whole number from 1 to 9999"
        setattr(asked, attribute, int(value))
        return ""

    return read


def _memory(attribute: str) -> Callable[[_Asked, str], str]:
    def read(asked: _Asked, value: str) -> str:
        size = _SIZE.fullmatch(value)
        if size is None or not int(size[1]):
            return "a size such as 16G (without a letter: MiB), not 0"
        setattr(asked, attribute, max(1, round(int(size[1]) * _MIB_OF[size[2].upper()])))
        return ""

    return read


def _time(asked: _Asked, value: str) -> str:
    """`minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours[:minutes[:seconds]]`."""
    found = _TIME.fullmatch(value)
    total = 0
    if found is not None:
        days, parts = found[1], [int(part) for part in found.groups()[1:] if part is not None]
        if days is not None:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            total = ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
        elif len(parts) == 3:
            total = (parts[0] * 60 + parts[1]) * 60 + parts[2]
        else:
            total = parts[0] * 60 + (parts[1] if len(parts) > 1 else 0)
    asked.wall_limit_s = total
    if 1 <= total <= WALL_LIMIT_S_MAX:
        return ""
    return f"a time such as 30 (minutes), 2:00:00 or 1-12:00:00, at most {WALL_LIMIT_S_MAX // 86_400} days"


def _cards(asked: _Asked, value: str) -> str:
    found = _GPUS.fullmatch(value)
    if found is None or found[1] == "gpu":
        return "one kind of card with its count, such as gpu:H100:8"
    asked.accelerators = ((found[1], int(found[2])),)
    return ""


def _export(asked: _Asked, value: str) -> str:
    if value in {"NONE", "NIL"}:
        return ""
    for part in value.split(","):
        name, sign, text = part.partition("=")
        if not sign or not _VARIABLE.fullmatch(name) or name.startswith("MOSU_"):
            return "NONE or NAME=VALUE,...; the hub does not see your shell"
        asked.envs[name] = text
    return ""


_READERS: Final[Mapping[str, Callable[[_Asked, str], str]]] = MappingProxyType(
    {
        "--job-name": _name,
        "--nodes": _nodes,
        "--ntasks": _number("tasks"),
        "--ntasks-per-node": _number("tasks"),
        "--cpus-per-task": _number("cpus_per_task"),
        "--mem": _memory("memory_mib"),
        "--mem-per-cpu": _memory("memory_mib_per_cpu"),
        "--time": _time,
        "--gres": _cards,
        "--gpus": _cards,
        "--gpus-per-node": _cards,
        "--export": _export,
    }
)
"""Each notes what is asked; what it returns is what would be allowed instead."""


def _task_of(asked: _Asked, script: str) -> TaskFile:
    cpus = asked.tasks * asked.cpus_per_task
    mib = asked.memory_mib or (asked.memory_mib_per_cpu or 0) * cpus
    need = ResourceNeed(accelerators=asked.accelerators, cpus=cpus, cpus_at_least=bool(asked.accelerators))
    if mib:
        need = replace(need, memory_gb=-(-mib // 1024), memory_at_least=True)
    slurm = {
        "SLURM_JOB_NAME": asked.name or "sbatch",
        "SLURM_CPUS_PER_TASK": str(asked.cpus_per_task),
        "SLURM_NTASKS": str(asked.tasks),
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_PROCID": "0",
    }
    return TaskFile(
        run=script,
        name=asked.name,
        resources=need,
        workdir=".",
        envs=tuple((slurm | asked.envs).items()),
        wall_limit_s=asked.wall_limit_s,
    )
