"""What is installed is what was resolved: each requirement of each lock is pinned and hashed."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = [*sorted((ROOT / "requirements").glob("*.lock")), *sorted((ROOT / "src").rglob("*.lock"))]
ONE = "a==1 \\\n    --hash=sha256:" + "0" * 64


@pytest.fixture(scope="module")
def check_tree() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_tree", ROOT / "tools" / "check_tree.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_there_is_one_for_each_environment() -> None:
    assert [path.name for path in LOCKS] == [
        "base.lock",
        "dev.lock",
        "e2e.lock",
        "hub.lock",
        "openai.lock",
        "ray.lock",
        "jupyter.lock",
        "smollm2.lock",
    ]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(path: Path, check_tree: ModuleType) -> None:
    assert check_tree.findings(path) == []
    starts = [line for line in path.read_text().splitlines() if line and not line.startswith((" ", "#"))]
    assert starts
    assert [line for line in starts if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ ", line)] == []


@pytest.mark.parametrize(
    ("lock", "lines"),
    [
        (ONE, []),
        (f"# made by a tool\n{ONE}\nb==2\n", [4]),
        (f"b==2 \\\n{ONE}", [1]),
        ("a==1 --hash=sha256:short", [1]),
        ("a==1 --hash=md5:" + "0" * 64, [1]),
        ("", [1]),
    ],
)
def test_a_requirement_without_its_hash_is_found(lock: str, lines: list[int], check_tree: ModuleType) -> None:
    assert check_tree.unhashed(lock.splitlines()) == lines


def test_installing_demands_the_hashes() -> None:
    assert "--require-hashes" in (ROOT / "tools" / "install.sh").read_text()
