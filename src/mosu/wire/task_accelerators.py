"""The accelerators of a task file, in all the ways that SkyPilot writes them."""

import re
from decimal import Decimal
from typing import Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mosu.wire.task_reader import Reader

_ALLOWED: Final = (
    'accelerators with their count, such as "H100:8", {H100: 8, A100: 8}, a list, '
    'or a share of one: "A100:0.25"'
)
_COUNTS: Final = "whole cards from 1 to 99999, or a share of one such as 0.5 or 0.25"
_COUNT: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,6})?|\.[0-9]{1,6}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ACCELERATOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?::([0-9.]{1,12}))?")


def accelerators(node: Node, field: str, reader: Reader) -> tuple[tuple[str, int | Decimal], ...] | None:
    """One, or several of which any will do: as text, as a map with counts, or as a list of texts."""
    found: list[tuple[Node, tuple[str, int | Decimal] | None]]
    if isinstance(node, MappingNode):
        found = [
            (key, _counted(key, value, field, reader))
            for key, value in reader.pairs(node, field, allowed=_ALLOWED)
        ]
    elif isinstance(node, SequenceNode):
        found = [(one, _accelerator(one, field, reader)) for one in node.value]
    else:
        found = [(node, _accelerator(node, field, reader))]
    if not found:
        reader.refuse_kind(node, field, allowed=_ALLOWED)
    chosen: dict[str, int | Decimal] = {}
    for at, one in found:
        if one is not None and one[0] in chosen:
            reader.refuse(at, field, f"{one[0]} is named twice.", allowed="each accelerator once")
        elif one is not None:
            chosen[one[0]] = one[1]
    return tuple(chosen.items()) or None


def _accelerator(node: Node, field: str, reader: Reader) -> tuple[str, int | Decimal] | None:
    text = reader.matched(node, field, _ACCELERATOR, allowed=_ALLOWED)
    match = _ACCELERATOR.fullmatch(text) if text is not None else None
    if match is None:
        return None
    count = _count(node, match[2] or "1", field, reader)
    return (match[1], count) if count is not None else None


def _counted(key: ScalarNode, value: Node, field: str, reader: Reader) -> tuple[str, int | Decimal] | None:
    name = reader.matched(key, field, _NAME, allowed=_ALLOWED)
    field = f"{field}.{str(key.value)[:60]}"
    text = reader.scalar(value, field, allowed=_COUNTS)
    count = _count(value, text, field, reader) if text is not None else None
    return (name, count) if name is not None and count is not None else None


def _count(node: Node, text: str, field: str, reader: Reader) -> int | Decimal | None:
    """Whole cards, or a share of one (below 1); as SkyPilot, never both."""
    count = Decimal(text) if _COUNT.fullmatch(text) else Decimal(0)
    if count == int(count) and count >= 1:
        return int(count)
    if 0 < count < 1:
        return count
    reader.refuse(node, field, f"{text[:60]!r} does not fit; allowed is {_COUNTS}.", allowed=_COUNTS)
    return None
