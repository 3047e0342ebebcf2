"""The page of promises names what exists: tests, constraints, triggers, benchmarks, files."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from django.db import connection

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "promises.md"
LAWS = 14
ADMITTED = ("nothing", "not built yet", "the service alone")


def rows() -> list[tuple[str, str, str]]:
    """Law (or nothing), promise and what holds it."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and "held by" not in cells[-1]:
            found.append((cells[0] if len(cells) == 3 else "", cells[-2], cells[-1]))
    return found


def named(kind: str) -> list[tuple[str, ...]]:
    return [match for _, _, held in rows() for match in re.findall(f"`{kind}`", held)]


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_law_and_each_promise_has_its_line() -> None:
    assert {law for law, _, _ in rows() if law} == {str(law) for law in range(1, LAWS + 1)}
    assert len(rows()) > 80
    for _, promise, held in rows():
        assert "`" in held or any(word in held for word in ADMITTED) or "continuous integration" in held, (
            promise
        )


def test_every_test_is_there() -> None:
    ids = named(r"(tests/[\w/]+\.py)::(\w+)")
    assert len(ids) > 150
    assert [f"{path}::{name}" for path, name in ids if name not in _tests_of(path)] == []


@pytest.mark.django_db
def test_every_constraint_and_trigger_is_there() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "select conname from pg_constraint union select relname from pg_class where relkind = 'i'"
        )
        constraints = {name for (name,) in cursor.fetchall()}
        cursor.execute(
            "select t.tgname, c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid where t.tgenabled = 'O'"
        )
        triggers = set(cursor.fetchall())
    assert [name for name in named(r"constraint (\w+)") if name not in constraints] == []
    assert [pair for pair in named(r"trigger (\w+) on (\w+)") if pair not in triggers] == []
    assert named(r"constraint (\w+)") and named(r"trigger (\w+) on (\w+)")


def test_every_benchmark_and_file_is_there() -> None:
    suite = (ROOT / "benchmarks" / "suite.py").read_text(encoding="utf-8")
    benchmarks = set(re.findall(r'^    "(\w+)": _\w+,$', suite, re.MULTILINE))
    assert set(named(r"bench (\w+)")) == benchmarks
    for path in named(r"((?:tests|tools)/[\w/.]+|pyproject\.toml)"):
        assert (ROOT / str(path)).exists(), path


def test_nothing_else_is_named() -> None:
    """A word in backquotes that no test above looks up would be a name that can rot."""
    known = (
        r"tests/[\w/]+\.py(::\w+)?|tools/[\w/.]+|pyproject\.toml|constraint \w+|trigger \w+ on \w+|bench \w+"
    )
    plain = r"make [\w-]+|/(readyz|healthz|metrics)"
    for _, promise, held in rows():
        for word in re.findall(r"`([^`]+)`", held):
            assert re.fullmatch(f"{known}|{plain}", word), f"{promise}: {word}"
