"""Keeps the Chinese catalogue whole:  python tools/messages.py [--check]

Finds every message of templates and code, reports what the catalogue lacks or no longer needs, and compiles it.
With `--check` it changes nothing and fails if a message is untranslated or the compiled file is not current.
Django's own makemessages needs GNU gettext, which a machine may not have.
"""

import ast
import io
import re
import sys
from collections import Counter
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po

SOURCE = Path(__file__).resolve().parent.parent / "src" / "mosu"
CATALOGUE = SOURCE / "web" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"

_TEXT = r"""(?:"([^"]+)"|'([^']+)')"""
_SINGLE = re.compile(rf"\{{%\s*translate\s+{_TEXT}(?:\s+context\s+{_TEXT})?")
_BLOCK = re.compile(r"\{%\s*blocktranslate(?P<head>[^%]*)%\}(?P<body>.*?)\{%\s*endblocktranslate\s*%\}", re.S)
_PLURAL = re.compile(r"\{%\s*plural\s*%\}")
_ENTRY = re.compile(r'^(msgctxt ".*"\n)?msgid ((?:".*"\n)+)', re.M)
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_KEYWORDS = {
    "_": None,
    "_lazy": None,
    "gettext": None,
    "gettext_lazy": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
}

Message = str | tuple[str, str]


def messages_in_template(text: str) -> set[tuple[str | None, Message]]:
    """(context, message) of each; a message with a plural is a pair."""
    found: set[tuple[str | None, Message]] = {
        (context or other_context or None, one or other)
        for one, other, context, other_context in _SINGLE.findall(text)
    }
    for block in _BLOCK.finditer(text):
        forms = [_VARIABLE.sub(r"%(\1)s", form) for form in _PLURAL.split(block["body"])]
        found.add((None, forms[0] if len(forms) == 1 else (forms[0], forms[1])))
    return found


def messages_in_code(path: Path) -> set[tuple[str | None, Message]]:
    with path.open("rb") as file:
        return {
            (context, message if isinstance(message, str) else (message[0], message[1]))
            for _, message, _, context in extract("python", file, keywords=_KEYWORDS)
            if message
        }


def hidden_in_code(path: Path) -> list[int]:
    """Lines with a message inside an f-string, which Python 3.11 does not show to those who look for messages."""
    strings = (
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
    )
    calls = (node for string in strings for node in ast.walk(string) if isinstance(node, ast.Call))
    return sorted(
        {call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id in _KEYWORDS}
    )


def hidden() -> list[str]:
    return [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in sorted((SOURCE / "web").rglob("*.py"))
        for line in hidden_in_code(path)
    ]


def wanted() -> set[tuple[str | None, Message]]:
    found: set[tuple[str | None, Message]] = set()
    for path in sorted(SOURCE.rglob("*.html")):
        found |= messages_in_template(path.read_text(encoding="utf-8"))
    for path in sorted((SOURCE / "web").rglob("*.py")):
        found |= messages_in_code(path)
    return found


def _forms(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def twice() -> list[str]:
    """Messages that stand in the catalogue more than once; a reader of catalogues takes the first without a word."""
    entries = Counter(_ENTRY.findall(CATALOGUE.read_text(encoding="utf-8")))
    return sorted(message for (_, message), count in entries.items() if count > 1)


def _texts(catalogue: Catalog) -> dict[object, object]:
    """Without the header, which names the minute of compiling."""
    return {(row.context, str(row.id)): str(row.string) for row in catalogue if row.id}


def main() -> int:
    catalogue: Catalog = read_po(io.BytesIO(CATALOGUE.read_bytes()), locale="zh_Hans")
    have = {(row.context, row.id) for row in catalogue if row.id}
    lacking = sorted(wanted() - have, key=str)
    empty = [row.id for row in catalogue if row.id and not all(_forms(row.string))]
    unused = sorted(have - wanted(), key=str)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    target = CATALOGUE.with_suffix(".mo")
    for context, message in lacking:
        print(f"untranslated: {message!r}" + (f" ({context})" if context else ""))  # noqa: T201
    for message in empty:
        print(f"empty: {message!r}")  # noqa: T201
    for context, message in unused:
        print(f"no longer used: {message!r}" + (f" ({context})" if context else ""))  # noqa: T201
    repeated = twice()
    for message in repeated:
        print(f"more than once: {message.strip()}")  # noqa: T201
    out_of_sight = hidden()
    for place in out_of_sight:
        print(f"a message inside an f-string, take it out: {place}")  # noqa: T201
    if "--check" in sys.argv:
        stale = not target.exists() or _texts(read_mo(io.BytesIO(target.read_bytes()))) != _texts(
            read_mo(io.BytesIO(compiled.getvalue()))
        )
        if stale:
            print("the compiled catalogue is not current: python tools/messages.py")  # noqa: T201
        return 1 if lacking or empty or unused or repeated or out_of_sight or stale else 0
    target.write_bytes(compiled.getvalue())
    return 1 if lacking or empty or out_of_sight else 0


if __name__ == "__main__":
    sys.exit(main())
