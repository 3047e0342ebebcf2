"""`srun` in a script for `sbatch`: on one node with one task it is the command itself, and that is what mosu runs.

Options that only say what holds anyway, or that a job of one task already has, are passed over; one that asks for
something else is refused by its line. What no reader of lines can see (`srun` in a loop's variable, say) the shell
refuses when it comes to it.
"""

import re
import shlex
from typing import Final

_ONE: Final = ("-n", "--ntasks", "-N", "--nodes", "--ntasks-per-node")
"""Take 1 and nothing else."""
_VALUED: Final = (
    *("-c", "--cpus-per-task", "--mem", "--mem-per-cpu", "-G", "--gpus", "--gres", "--gpus-per-node"),
    *("--gpus-per-task", "--cpu-bind", "--gpu-bind", "--mem-bind", "--mpi", "-J", "--job-name", "--export"),
    *("--hint", "-m", "--distribution"),
)
_FLAGS: Final = (
    *(
        "-l",
        "--label",
        "-u",
        "--unbuffered",
        "-K",
        "--kill-on-bad-exit",
        "-O",
        "--overcommit",
        "-Q",
        "--quiet",
    ),
    *("-v", "--verbose", "--exclusive", "--exact", "--overlap"),
)
ALLOWED: Final = "srun with one task on one node: " + ", ".join((*_ONE[:4], *_VALUED[:6], *_FLAGS[:4]))
_CALL: Final = re.compile(r"(?:^|[;&|(!]|\b(?:if|while|until|then|do|else|time|exec)\s)\s*srun(?=\s|$)(.*)")
_FUNCTION: Final = (
    "srun() {{ while :; do case ${{1-}}~${{2-}} in {one}) shift 2;; {one_is}) shift;; {valued}) shift 2;; "
    "{valued_is}|{flags}) shift;; "
    '-*) echo "srun $1 $2: mosu starts one task on one node" >&2; return 2;; *) break;; esac; done; "$@"; }}'
)


def calls_srun(line: str) -> bool:
    return _CALL.search(line) is not None


def srun_problem(line: str, *, tasks: int) -> tuple[str, str] | None:
    """Of the line's `srun` the words that are not done, and why; None if it is the command itself.

    `tasks`: how many the script asks for, which `srun` starts where it does not say.
    """
    found = _CALL.search(line)
    words = _words(found[1]) if found else []
    count = str(tasks)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name, sign, value = word.partition("=")
        if not sign and len(word) > 2 and not word.startswith("--"):
            name, sign, value = word[:2], "=", word[2:]
        if not sign and name in (*_ONE, *_VALUED) and words:
            value = words.pop(0)
        if name in {"-n", "--ntasks"}:
            count = value
        if name in _ONE and value != "1":
            return f"srun {name} {value}", "mosu starts one task on one node."
        if name not in (*_ONE, *_VALUED, *_FLAGS):
            return f"srun {name}", "not done by mosu, which runs the command as it is."
    if count != "1":
        return (
            "srun",
            f"it starts {count} tasks; mosu starts one: ask for --ntasks=1 --cpus-per-task={count}.",
        )
    return None


def with_srun(script: str) -> str:
    """The script with its `srun` in its second line."""
    first, _, rest = script.partition("\n")
    return f"{first}\n{SRUN}\n{rest}"


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote that the next line closes: the options come before it
        return text.split()


def _alternatives(names: tuple[str, ...], suffix: str) -> str:
    return "|".join(f"{name}{suffix}" for name in names)


SRUN: Final = _FUNCTION.format(
    one=_alternatives(_ONE, "~1"),
    one_is="|".join(f"{name}=1~*" if name.startswith("--") else f"{name}1~*" for name in _ONE),
    valued=_alternatives(_VALUED, "~*"),
    valued_is="|".join(f"{name}=*" if name.startswith("--") else f"{name}[!~]*" for name in _VALUED),
    flags=_alternatives((*_FLAGS, "--kill-on-bad-exit=[01]", "-K[01]"), "~*"),
)
