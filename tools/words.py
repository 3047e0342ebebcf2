"""Names every sentence of the code that cannot be said in Chinese:  python tools/words.py [--all]

It reads the code, not its output: what is raised as a refusal, given as a reason, or shown by the command line. Each
missing sentence is printed as the entry that `src/mosu/kernel/chinese` needs; name the holes as you like.
With `--all` it prints every sentence.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "mosu"
sys.path[:0] = [str(ROOT / "src")]

from mosu.kernel.languages import catalogue, holes_of, said  # noqa: E402 - found by the path above

ROOTS: Final = {"DomainError": (0, "message"), "ClientError": (0, "message"), "Stop": (0, "message")}
"""What a refusal derives from; each has its hint by the keyword `hint`."""
CALLS: Final[dict[str, tuple[int | str, ...]]] = {
    "Reason": (1, 2),
    "Unplaced": (1, 2),
    "Check": (0, 2, 3),
    "Doubt": (1,),
    "problem_at": (1, "allowed"),
    "refuse": (2, "allowed"),
    "refuse_kind": ("allowed",),
    "scalar": ("allowed",),
    "matched": ("allowed",),
    "pairs": ("allowed",),
    "say": (0,),
    "told": (0,),
    "prompt": (0,),
    "_asked": (0,),
    "Option": ("help",),
    "Argument": ("help",),
    "Typer": ("help",),
    "Command": (2,),
    "table": (0,),
    "_bad": (0,),
    "items": ("of",),
    "at_least": ("unit",),
    "_finish": ("reason",),
    "Observation": ("reason",),
}
"""Which arguments of which calls are sentences."""
RETURNS: Final = {
    "why_not_live", "_why_waiting", "_fault", "fault_of_path", "_fault_of_parts", "kind_of", "_why_end",
    "_why_end_for_disk", "_why_failed", "_availability", "_words", "_why_denied", "_mend",
}  # fmt: skip
"""Functions whose answer is a sentence, or a tuple that ends with one."""
CONSTANTS: Final = re.compile(r"_\w*_(ALLOWED|UNSUPPORTED|PLACE)|KINDS|_NOTHING")
"""Names of a module whose value, or values, are sentences."""
COMMANDS: Final = (
    SOURCE / "cli" / "commands",
    SOURCE / "runtime" / "commands.py",
    SOURCE / "runtime" / "demo",
)
QUIET: Final = {SOURCE / "web"}
"""Speaks by Django's own catalogue (tools/messages.py)."""


class Sentence(NamedTuple):
    """`text` has `{}` where the code has a hole; None where the code says something that cannot be read here."""

    place: str
    text: str | None
    source: str


def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def refusals(parsed: dict[Path, ast.Module]) -> set[str]:
    """The names of the classes that are refusals."""
    known = set(ROOTS)
    classes = [node for tree in parsed.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {node.name for node in classes if {_name(base) for base in node.bases} & known}
        if more <= known:
            return known
        known |= more


@cache
def sentences() -> tuple[Sentence, ...]:
    """Every sentence of the code, with its place."""
    return tuple(_found())


def _found() -> Iterator[Sentence]:
    parsed = trees()
    kinds = refusals(parsed)
    for path, tree in parsed.items():
        if any(quiet in path.parents for quiet in QUIET):
            continue
        for scope in _scopes(tree):
            for call in _calls(scope):
                for expression in _spoken(call, kinds):
                    yield from _read(path, expression, scope, tree)
            for expression in _answers(scope):
                yield from _read(path, expression, scope, tree)
        for expression in _constants(tree):
            yield from _read(path, expression, tree, tree)
        if any(place in (path, *path.parents) for place in COMMANDS):
            yield from _docstrings(path, tree)


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    """The calls of a scope itself; those of functions inside it are theirs."""
    inside = list(ast.iter_child_nodes(scope))
    while inside:
        node = inside.pop()
        if isinstance(node, ast.Call):
            yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside += [node.args]  # its annotations and defaults are evaluated out here
        else:
            inside += ast.iter_child_nodes(node)


def _spoken(call: ast.Call, kinds: set[str]) -> Iterator[ast.expr]:
    name = _name(call.func)
    if (
        name == "__init__"
        and isinstance(call.func, ast.Attribute)
        and "super" in ast.unparse(call.func.value)
    ):
        name = "DomainError"
    wanted: tuple[int | str, ...] = (0, "hint") if name in kinds else CALLS.get(name, ())
    named = {one.arg: one.value for one in call.keywords}
    for place in wanted:
        if isinstance(place, str):
            if place in named:
                yield named[place]
        elif place < len(call.args):
            yield call.args[place]


def _answers(scope: ast.AST) -> Iterator[ast.expr]:
    if isinstance(scope, ast.FunctionDef) and scope.name in RETURNS:
        for node in ast.walk(scope):
            if isinstance(node, ast.Return) and node.value is not None:
                yield node.value.elts[-1] if isinstance(node.value, ast.Tuple) else node.value


def _constants(tree: ast.Module) -> Iterator[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if CONSTANTS.fullmatch(_name(target)):
                yield node.value


def _docstrings(path: Path, tree: ast.Module) -> Iterator[Sentence]:
    """What --help says of a command: paragraph by paragraph."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and _is_command(node):
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                text = " ".join(paragraph.split())
                if text and not text.startswith("Raises:"):
                    yield Sentence(f"{path.relative_to(SOURCE)}:{node.lineno}", text, text)


def _is_command(node: ast.FunctionDef) -> bool:
    takes = ast.unparse(node.args)
    return "typer." in takes or "Option" in takes or "DataDir" in takes


def _read(path: Path, expression: ast.expr, scope: ast.AST, tree: ast.Module) -> Iterator[Sentence]:
    place = f"{path.relative_to(SOURCE)}:{expression.lineno}"
    for text in _texts(expression, scope, tree):
        if text is None or re.search("[A-Za-z]{2}", text):
            yield Sentence(place, text, ast.unparse(expression))


def _texts(node: ast.expr, scope: ast.AST, tree: ast.Module) -> list[str | None]:  # noqa: PLR0911 - one a kind
    """What an expression may say: `{}` for each hole, one text for each branch."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        text = "".join(str(part) for part in parts)
        return [text] if re.search("[A-Za-z]{2}", text.replace("{}", "")) else []
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, scope, tree), *_texts(node.orelse, scope, tree)]
    if isinstance(node, ast.BoolOp):
        return [text for one in node.values for text in _texts(one, scope, tree)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        rights = _texts(node.right, scope, tree) or ["{}"]
        lefts = _texts(node.left, scope, tree) or ["{}"]
        return [f"{left or '{}'}{right or '{}'}" for left in lefts for right in rights]
    if isinstance(node, ast.Dict):
        return [text for one in node.values for text in _texts(one, scope, tree)]
    if isinstance(node, ast.List):
        return [text for one in node.elts for text in _texts(one, scope, tree)]
    if isinstance(node, ast.Call) and _name(node.func) == "MappingProxyType":
        return [text for one in node.args for text in _texts(one, scope, tree)]
    if isinstance(node, ast.Name):
        values = _assigned(node.id, scope) or _assigned(node.id, tree)
        return [text for value in values for text in _texts(value, scope, tree)]
    return []  # handed on: it is read where it is made


def _assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    values = _assignments(scope).get(name, [])
    return [value for value in values if name not in {_name(inner) for inner in ast.walk(value)}]


@cache
def _assignments(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What each name of the scope is given, in order."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in {target.id for target in targets if isinstance(target, ast.Name)}:
                found.setdefault(name, []).append(node.value)
    return found


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def shape_of(sentence: str) -> str:
    """A sentence of the catalogue as the code's holes have it."""
    return re.sub(r"\{\w+[~#]?\}", "{}", sentence)


def unsaid() -> list[Sentence]:
    """The sentences that have no Chinese, each once."""
    known = {shape_of(sentence) for sentence in catalogue()}
    found: dict[str, Sentence] = {}
    for sentence in sentences():
        if (
            sentence.text is not None
            and shape_of(sentence.text) not in known
            and not _comes_out(sentence.text)
        ):
            found.setdefault(sentence.text, sentence)
    return list(found.values())


def _comes_out(text: str) -> bool:
    """Whether nothing of it stays English: it is made of sentences that have their Chinese."""
    return not re.search("[a-z]{2,} [a-z]{2,}", said(text.replace("{}", "7"), "zh"))


def uneven() -> list[str]:
    """The sentences whose Chinese lacks a hole, or has one too many."""
    return [english for english, told in catalogue().items() if set(holes_of(english)) != set(holes_of(told))]


def main() -> int:
    listed = list(sentences()) if "--all" in sys.argv else unsaid()
    for sentence in listed:
        print(f"{sentence.place}: {sentence.text!r}")  # noqa: T201
    for english in uneven():
        print(f"other holes in Chinese: {english!r}")  # noqa: T201
    return 1 if unsaid() or uneven() else 0


if __name__ == "__main__":
    sys.exit(main())
