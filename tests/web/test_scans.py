"""No text of a page is left in one language: templates, what code shows, the catalogue, letters and notices."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[2]
WEB = ROOT / "src" / "mosu" / "web"
CATALOGUE = WEB / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
CHINESE = re.compile("[\u4e00-\u9fff]")
NAMES = {"API", "CSV", "CPU", "sha256", "mosu", "GB", "JSON", "ID"}
"""Words that are the same in both languages."""
SHOWN = re.compile(r"\b(aria-label|title|placeholder|alt)\s*=\s*\"([^\"]*)\"")
SPEAKING = {
    "Column", "Choice", "Facet", "Tab", "Step", "Empty", "Notice", "Dialog", "Fact", "Figure", "Link", "Button", "Field",
}  # fmt: skip
"""Components whose text arguments are read by people (web/components.py, web/tables.py)."""
TEXTS = {"title", "heading", "label", "text", "help", "help_text", "hint", "body", "caption", "empty"}


@pytest.mark.parametrize("file", sorted((WEB / "templates").rglob("*.html")), ids=lambda file: file.name)
def test_attributes_that_are_read_aloud_are_translated(file: Path) -> None:
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "", _without_blocks(file), flags=re.S)
    for name, value in SHOWN.findall(text):
        words = set(re.findall(r"[A-Za-z\u4e00-\u9fff]{2,}", value))
        assert words <= NAMES, f"{file.name}: {name}={value!r}: use {{% translate %}}"


def _without_blocks(file: Path) -> str:
    return re.sub(
        r"\{%\s*blocktranslate.*?endblocktranslate\s*%\}", "", file.read_text(encoding="utf-8"), flags=re.S
    )


def spoken(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Plain strings given to a component, a form's field or a refusal as text for people."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if name in SPEAKING or name.endswith("Field"):
            for one in call.keywords:
                if one.arg in TEXTS and isinstance(one.value, ast.Constant | ast.JoinedStr):
                    yield one.value.lineno, ast.unparse(one.value)
        elif name in {"NotFound", "Invalid", "Forbidden"}:
            for value in [*call.args[:1], *(one.value for one in call.keywords if one.arg == "hint")]:
                if isinstance(value, ast.Constant | ast.JoinedStr):
                    yield value.lineno, ast.unparse(value)


@pytest.mark.parametrize("file", sorted(WEB.rglob("*.py")), ids=lambda file: str(file.relative_to(WEB)))
def test_code_of_pages_shows_no_plain_string(file: Path) -> None:
    if file.name == "look.py":  # the page of components: made-up goods
        return
    for line, text in spoken(ast.parse(file.read_text(encoding="utf-8"))):
        words = set(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{[^}]*\}", "", text)))
        assert words <= NAMES, (
            f"{file.relative_to(ROOT)}:{line}: {text}: write _(...), and its Chinese in the .po"
        )


def test_the_scan_sees_a_plain_string() -> None:
    found = list(spoken(ast.parse('Column(key="x", label="Hello there")\nNotFound("No.", hint=_("Look."))')))
    assert [text for _, text in found] == ["'Hello there'", "'No.'"]


def test_the_catalogue_is_whole_and_chinese() -> None:
    with CATALOGUE.open("rb") as stream:
        catalogue = read_po(stream, locale="zh_Hans")
    seen = set()
    for row in catalogue:
        if not row.id:
            continue
        key = (row.context, str(row.id))
        assert key not in seen, f"twice: {row.id}"
        seen.add(key)
        assert not row.fuzzy, f"fuzzy: {row.id}"
        for told in [row.string] if isinstance(row.string, str) else row.string:
            words = set(re.findall("[A-Za-z]{2,}", re.sub(r"%\(\w+\)s|%[ds]", "", told)))
            assert CHINESE.search(told) or words <= NAMES, f"no Chinese: {row.id!r} -> {told!r}"


def bilingual(tree: ast.Module) -> Iterator[tuple[int, ast.expr, ast.expr]]:
    """Each `{"zh": ..., "en": ...}` of the code: letters, notices, labels."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if {"zh", "en"} == keys.keys():
                yield node.lineno, keys["zh"], keys["en"]


def test_letters_and_notices_are_in_both_languages() -> None:
    count = 0
    for file in sorted((ROOT / "src" / "mosu").rglob("*.py")):
        for line, chinese, english in bilingual(ast.parse(file.read_text(encoding="utf-8"))):
            where = f"{file.relative_to(ROOT)}:{line}"
            zh, en = (_literal(one) for one in (chinese, english))
            if zh and en and re.search("[A-Za-z]{3,}", en):
                count += 1
                assert CHINESE.search(zh), f"{where}: {zh!r} is not Chinese"
                assert not CHINESE.search(en), f"{where}: {en!r} is not English"
                assert _holes(chinese) == _holes(english), f"{where}: the figures differ"
    assert count >= 5


def _literal(node: ast.expr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


def _holes(node: ast.expr) -> set[str]:
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return {ast.unparse(part.value) for part in parts if isinstance(part, ast.FormattedValue)}
