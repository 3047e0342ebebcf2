"""Executes the console blocks of a page in one shell, and compares what it shows with what the page shows.

In a block a line that begins with `$ ` is typed, `> ` goes on with it (a here-document, say), and the lines up to the
next `$ ` are the expected output, both streams as one; `...` stands for anything, also for whole lines. A command ends
with 0, or with what the comment `# exits with N` says.
"""

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_END = "\x01mosu-ended"


@dataclass(frozen=True)
class Step:
    """One command of a page with its expected output."""

    line: int
    command: str
    output: str
    exit_code: int


def steps_of(page: str) -> Iterator[Step]:
    """The commands of all console blocks, in order."""
    for block in re.finditer(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        first = page.count("\n", 0, block.start(1)) + 1
        lines = block[1].splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        assert starts[:1] == [0], f"line {first}: a console block begins with a command"
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            typed = [line for line in lines[start + 1 : end] if line.startswith(("> ", ">\n")) or line == ">"]
            shown = lines[start + 1 + len(typed) : end]
            command = "\n".join([lines[start][2:], *(line[2:] for line in typed)])
            ends = re.search(r"# exits with (\d+)", command)
            yield Step(first + start, command, "\n".join(shown).strip(), int(ends[1]) if ends else 0)


def matches(expected: str, found: str) -> bool:
    """Whether `found` is `expected`, where `...` is anything and columns may be wider."""
    pattern = "(?s)" + ".*".join(_spaced(part) for part in expected.split("..."))
    return re.fullmatch(pattern, found.strip()) is not None


def _spaced(text: str) -> str:
    """Trailing blanks of a line do not count, and several blanks are as many as there are."""
    return re.sub(r"(\\ ){2,}", r"[ ]+", re.escape(text))


class Shell:
    """One bash that keeps its variables and functions from command to command; what it started ends with it."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(env),
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(120)
        finally:
            # What a page that failed left in the background would go on for ever.
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait()
        assert self._bash.stdout is not None
        self._bash.stdout.close()

    def run(self, command: str, *, seconds_max: float = 600.0) -> tuple[str, int]:
        """What the command shows, and its exit code.

        Raises:
            TimeoutError: it did not end in time.
        """
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{command}\nprintf '{_END} %d\\n' $?\n".encode())
        self._bash.stdin.flush()
        shown, code = self._until_end(seconds_max)
        return shown, code

    def _until_end(self, seconds_max: float) -> tuple[str, int]:
        assert self._bash.stdout is not None
        found, until = b"", time.monotonic() + seconds_max
        with selectors.DefaultSelector() as ready:
            ready.register(self._bash.stdout, selectors.EVENT_READ)
            while (ended := re.search(rf"{_END} (\d+)\n".encode(), found)) is None:
                if not ready.select(max(0.0, until - time.monotonic())):
                    self._bash.kill()
                    raise TimeoutError(f"no end after {seconds_max} s:\n{found.decode(errors='replace')}")
                chunk = os.read(self._bash.stdout.fileno(), 65_536)
                if not chunk:
                    raise TimeoutError(f"the shell ended:\n{found.decode(errors='replace')}")
                found += chunk
        return found[: ended.start()].decode(errors="replace"), int(ended[1])
