"""The accelerators of a task file, in all the ways that SkyPilot writes them."""

import re
from typing import Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mosu.wire.task_reader import Reader

_ALLOWED: Final = 'accelerators with their count, such as "H100:8", {H100: 8, A100: 8} or a list'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ACCELERATOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?::([1-9][0-9]{0,4}))?")


def accelerators(node: Node, field: str, reader: Reader) -> tuple[tuple[str, int], ...] | None:
    """One, or several of which any will do: as text, as a map with counts, or as a list of texts."""
    found: list[tuple[Node, tuple[str, int] | None]]
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
    chosen: dict[str, int] = {}
    for at, one in found:
        if one is not None and one[0] in chosen:
            reader.refuse(at, field, f"{one[0]} is named twice.", allowed="each accelerator once")
        elif one is not None:
            chosen[one[0]] = one[1]
    return tuple(chosen.items()) or None


def _accelerator(node: Node, field: str, reader: Reader) -> tuple[str, int] | None:
    text = reader.matched(node, field, _ACCELERATOR, allowed=_ALLOWED)
    match = _ACCELERATOR.fullmatch(text) if text is not None else None
    return (match[1], int(match[2] or 1)) if match else None


def _counted(key: ScalarNode, value: Node, field: str, reader: Reader) -> tuple[str, int] | None:
    name = reader.matched(key, field, _NAME, allowed=_ALLOWED)
    count = reader.integer(value, f"{field}.{str(key.value)[:60]}", minimum=1, maximum=99_999)
    return (name, count) if name is not None and count is not None else None
