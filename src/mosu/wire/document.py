"""A YAML document as nodes with line and column, bounded before it is built.

PyYAML's events are counted first: nesting, number of nodes and of aliases are limited there, so that no
text, however it is made, costs more than its size (DESIGN 12).
"""

from typing import Any, Final, TypedDict

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

TEXT_BYTES_MAX: Final = 1_048_576
DEPTH_MAX: Final = 16
NODES_MAX: Final = 50_000
ALIASES_MAX: Final = 100

# The C parser is some ten times faster; where PyYAML came without it, the other reads the same language.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Problem(TypedDict):
    """One thing wrong with a document. `line` and `column` count from 1."""

    line: int
    column: int
    field: str
    found: str
    allowed: str
    nearest: str
    message: str


class Unreadable(Exception):
    """The text is no YAML, or more of it than is read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem["message"])
        self.problem = problem


def problem_at(
    mark: Any, message: str, *, field: str = "", found: str = "", allowed: str = "", nearest: str = ""
) -> Problem:
    """A problem at a PyYAML mark (or at the text's start, if there is none)."""
    return Problem(
        line=mark.line + 1 if mark is not None else 1,
        column=mark.column + 1 if mark is not None else 1,
        field=field,
        found=found[:120],
        allowed=allowed,
        nearest=nearest,
        message=message,
    )


def compose(text: str) -> Node | None:
    """The root node of a document; None if it is empty.

    Raises:
        Unreadable: not UTF-8, over a limit, not YAML, or more than one document.
    """
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise Unreadable(problem_at(None, "The text has half a character (a lone surrogate).")) from error
    if size_bytes > TEXT_BYTES_MAX:
        raise Unreadable(
            problem_at(
                None,
                f"The file has {size_bytes} bytes.",
                found=f"{size_bytes} bytes",
                allowed=f"at most {TEXT_BYTES_MAX} bytes",
            )
        )
    try:
        _check_limits(text)
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise Unreadable(
            problem_at(error.problem_mark or error.context_mark, f"Not YAML: {what}.")
        ) from error
    except yaml.YAMLError as error:
        raise Unreadable(problem_at(None, f"Not YAML: {' '.join(str(error).split())[:200]}.")) from error


def _check_limits(text: str) -> None:
    depth = nodes = aliases = 0
    for event in yaml.parse(text, Loader=_Loader):
        mark = event.start_mark
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        nodes += isinstance(event, yaml.NodeEvent)
        for count, count_max, what in (
            (depth, DEPTH_MAX, "levels of nesting"),
            (nodes, NODES_MAX, "values"),
            (aliases, ALIASES_MAX, "aliases"),
        ):
            if count > count_max:
                raise Unreadable(
                    problem_at(mark, f"More than {count_max} {what}.", allowed=f"{count_max} {what}")
                )
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            raise Unreadable(
                problem_at(
                    mark, f"The tag {tag!r} is not taken.", found=str(tag), allowed="values without tags"
                )
            )


KINDS: Final = {
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a time",
    "tag:yaml.org,2002:seq": "a list",
    "tag:yaml.org,2002:map": "a map",
}


def kind_of(node: Node) -> str:
    """What a node holds, in words."""
    return KINDS.get(node.tag, "a special value")


def found_in(node: Node) -> str:
    """What to show of a node that does not fit: a scalar's own text, or the kind of a collection."""
    if isinstance(node, ScalarNode):
        return node.value if node.value else kind_of(node)
    return kind_of(node) if not isinstance(node, MappingNode) or node.value else "an empty map"
