"""The accelerator cards of this machine, as their vendors' tools list them; and which accelerator a name means."""

import csv
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from mosu.site_agent.detection.tools import said_by

FILE: Final = Path(__file__).with_name("cards.toml")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class CardSeen:
    """One card. `accelerator` is its id in the hub's data file; None where the name says nothing to us."""

    index: int
    product: str
    tool: str
    memory_bytes: int | None = None
    fault: str = ""
    """What its tool says is wrong with it."""

    @property
    def accelerator(self) -> str | None:
        return accelerator_of(self.product)


def accelerator_of(product: str) -> str | None:
    """The id of the accelerator that a tool, a scheduler or a label calls `product`."""
    return _names().get(_plain(product))


def cards_here() -> tuple[CardSeen, ...]:
    """The cards of the first vendor's tool that lists some; no cards without such a tool."""
    for command, cards_in in _TOOLS.items():
        said = said_by(*command)
        found = tuple(cards_in(said, command[0])) if said else ()
        if found:
            return found
    return ()


@cache
def _names() -> Mapping[str, str]:
    data: dict[str, list[str]] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {_plain(name): key for key, names in data.items() for name in (key, *names)}


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name).lower()


def _csv_cards(said: str, tool: str) -> Iterator[CardSeen]:
    """`0, NVIDIA H20, 97871` a line; a card that has failed is listed with words where figures should be."""
    for row in csv.reader(said.splitlines(), skipinitialspace=True):
        if len(row) == 3 and row[0].isdigit():
            memory = int(row[2]) * _MIB if row[2].isdigit() else None
            yield CardSeen(int(row[0]), row[1].strip(), tool, memory, "" if memory else row[2].strip())


_NPU: Final = re.compile(r"^\|\s*(\d+)\s+(\S+)\s*\|\s*(\w+)\s*\|", re.M)
_NPU_MEMORY: Final = re.compile(r"/\s*(\d+)\s*\|\s*$")


def _npu_cards(said: str, tool: str) -> Iterator[CardSeen]:
    """The table of `npu-smi info`: a line with name and health, and one with the memory, for each card."""
    lines = said.splitlines()
    for number, line in enumerate(lines):
        found = _NPU.match(line)
        if found is None:
            continue
        index, name, health = found.groups()
        below = _NPU_MEMORY.search(lines[number + 1]) if number + 1 < len(lines) else None
        memory = int(below[1]) * _MIB if below and int(below[1]) else None
        yield CardSeen(int(index), name, tool, memory, "" if health == "OK" else health)


def _rocm_cards(said: str, tool: str) -> Iterator[CardSeen]:
    """`{"card0": {"Card Series": ..., "VRAM Total Memory (B)": ...}}`; the keys' letter case changed over time."""
    try:
        data = json.loads(said)
    except ValueError:
        return
    for name, raw in sorted(data.items() if isinstance(data, dict) else ()):
        number = name.removeprefix("card")
        if not number.isdigit() or not isinstance(raw, dict):
            continue
        facts: dict[str, Any] = {key.lower(): value for key, value in raw.items()}
        memory = str(facts.get("vram total memory (b)", ""))
        product = str(facts.get("card series") or facts.get("card model") or "")
        yield CardSeen(int(number), product, tool, int(memory) if memory.isdigit() else None)


_TOOLS: Final[Mapping[tuple[str, ...], Callable[[str, str], Iterator[CardSeen]]]] = {
    (tool, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"): _csv_cards
    for tool in ("nvidia-smi", "ixsmi")
} | {
    ("npu-smi", "info"): _npu_cards,
    ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json"): _rocm_cards,
    ("hy-smi", "--showproductname", "--showmeminfo", "vram", "--json"): _rocm_cards,
}
"""Only where a tool prints what a program can read and keeps it from version to version."""
