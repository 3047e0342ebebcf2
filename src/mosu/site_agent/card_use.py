"""How busy an attempt's cards are, by their vendor's tool on this machine. Standard library only.

The tool is asked beside the job and never waited for: what it last said is the answer, and a tool that is not there,
hangs or prints something else leaves none. Which cards are the attempt's is read from its device files.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import IO, Final, NamedTuple

_MIB: Final = 1 << 20
_PATIENCE_S: Final = 20.0
"""A tool that says nothing for so long is killed."""
_SAID_BYTES_MAX: Final = 1 << 20


class CardUse(NamedTuple):
    """Of one card. None: its tool has no figure of it."""

    util: float | None
    """From 0 to 1."""
    memory_bytes: int | None


class CardsUse(NamedTuple):
    """Of all cards of an attempt: the mean of how busy they are, and the sum of their memory that is in use."""

    util: float | None
    memory_bytes: int | None


class _Tool(NamedTuple):
    command: tuple[str, ...]
    file: re.Pattern[str]
    """A device file of one card, with the card's number."""
    uses_in: Callable[[str], Mapping[int, CardUse]]


def uses_by_nvidia(said: str) -> dict[int, CardUse]:
    """`0, 87, 40536` a line: index, percent, MiB; one that has failed, or is cut, has words where figures should be."""
    found = {}
    for line in said.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 3 and words[0].isdigit():
            util, memory = words[1:]
            found[int(words[0])] = CardUse(
                min(int(util), 100) / 100 if util.isdigit() else None,
                int(memory) * _MIB if memory.isdigit() else None,
            )
    return found


_NPU: Final = re.compile(r"^\|\s*(\d+)\s+(\S+)\s*\|\s*(\w+)\s*\|")
_CHIP: Final = re.compile(r"\|\s*(\d+)\s+((?:\d+\s*/\s*\d+\s*)+)\|\s*$")


def uses_by_npu(said: str) -> dict[int, CardUse]:
    """The table of `npu-smi info`: below a card's line that of its chip, `AICore(%)  used / all  used / all`.

    Cards with memory of their own (HBM) say that last; the pair before it is then not theirs.
    """
    found, lines = {}, said.splitlines()
    for number, line in enumerate(lines[:-1]):
        card, chip = _NPU.match(line), _CHIP.search(lines[number + 1])
        if card is not None and chip is not None:
            used = re.findall(r"(\d+)\s*/\s*\d+", chip[2])[-1]
            found[int(card[1])] = CardUse(min(int(chip[1]), 100) / 100, int(used) * _MIB)
    return found


_TOOLS: Final = (
    _Tool(
        (
            "nvidia-smi",
            "--query-gpu=index,utilization.gpu,memory.used",
            "--format=csv,noheader,nounits",
        ),
        re.compile(r"/dev/nvidia(\d+)"),
        uses_by_nvidia,
    ),
    _Tool(("npu-smi", "info"), re.compile(r"/dev/davinci(\d+)"), uses_by_npu),
)
"""Only where a tool prints what a program can read and keeps it from version to version."""


class CardWatch:
    """Asks the tool of the cards that these device files belong to; of no cards, or of others, nothing is asked."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.use: CardsUse | None = None
        self._cards: Collection[int] = ()
        self._tool: _Tool | None = None
        self._asked: subprocess.Popen[bytes] | None = None
        self._answer: IO[bytes] | None = None
        self._give_up_at = 0.0
        for tool in _TOOLS:
            cards = {int(found[1]) for name in devices if (found := tool.file.fullmatch(name))}
            if cards and shutil.which(tool.command[0]) is not None:
                self._cards, self._tool = cards, tool
                return

    @property
    def is_asking(self) -> bool:
        return self._asked is not None

    def ask(self, now: float) -> None:
        """Start the tool, unless it is still at work; `now` is of a clock that only goes forward."""
        if self._tool is None or self._asked is not None:
            return
        self._give_up_at = now + _PATIENCE_S
        try:
            self._answer = os.fdopen(os.memfd_create("said"), "w+b")
            self._asked = subprocess.Popen(
                self._tool.command,
                stdin=subprocess.DEVNULL,
                stdout=self._answer,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError:
            self._close()

    def hear(self, now: float) -> None:
        """Take the tool's answer if there is one; give it up if it is late."""
        if self._asked is None or self._answer is None or self._tool is None:
            return
        code = self._asked.poll()
        if code is None:
            if now > self._give_up_at:
                self.close()
                self.use = None
            return
        self._answer.seek(0)
        said = self._answer.read(_SAID_BYTES_MAX).decode(errors="replace") if code == 0 else ""
        self._close()
        self.use = _together(self._own(self._tool.uses_in(said)))

    def _own(self, uses: Mapping[int, CardUse]) -> list[CardUse]:
        """Where a scheduler shows the job no others (Slurm's `ConstrainDevices`), the tool counts its cards from 0."""
        if len(uses) == len(self._cards):
            return list(uses.values())
        return [use for card, use in uses.items() if card in self._cards]

    def close(self) -> None:
        """Leave no process behind."""
        if self._asked is not None:
            with suppress(OSError):
                self._asked.kill()
            self._asked.wait()
        self._close()

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._asked = self._answer = None


def _together(uses: Sequence[CardUse]) -> CardsUse | None:
    utils = [use.util for use in uses if use.util is not None]
    memories = [use.memory_bytes for use in uses if use.memory_bytes is not None]
    if not utils and not memories:
        return None
    return CardsUse(
        round(sum(utils) / len(utils), 4) if utils else None,
        sum(memories) if memories else None,
    )
