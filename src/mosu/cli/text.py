"""Text for a terminal: widths, columns, languages. A Chinese character is two columns wide."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from mosu.kernel.languages import Language, language_of, language_of_environment, said

__all__ = ["Language"]

_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SEQUENCE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_WIDE: Final = frozenset("WF")
_NARROWLESS: Final = frozenset({"Mn", "Me", "Cf"})


def clean(text: str) -> str:
    """Without what could move a terminal's cursor or turn its text around."""
    return _UNSAFE.sub("", _SEQUENCE.sub("", text))


def width_of(text: str) -> int:
    """Columns of a terminal."""
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in _NARROWLESS:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in _WIDE else 1


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, cut at spaces where there are some; at least one line."""
    lines, line, room = list[str](), "", width
    for word in re.findall(r"\S+ *", re.sub(r"\s", " ", text)):
        if line and width_of(word.rstrip()) > room:
            lines.append(line.rstrip())
            line, room = "", width
        for letter in word:
            if line and _columns(letter) > room:
                lines.append(line.rstrip())
                line, room = "", width
                if letter.isspace():
                    continue
            line += letter
            room -= _columns(letter)
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def centred(text: str, width: int) -> str:
    return " " * max(0, (width - width_of(text)) // 2) + text


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()
) -> str:
    """Columns as wide as their widest cell; those numbered in `right` end flush (amounts)."""
    cells = [
        [told(heading) for heading in headings],
        *[[clean(cell).replace("\n", " ") for cell in row] for row in rows],
    ]
    widths = [max(width_of(row[column]) for row in cells) for column in range(len(headings))]
    lines = []
    for row in cells:
        padded = []
        for column, cell in enumerate(row):
            gap = " " * (widths[column] - width_of(cell))
            padded.append(gap + cell if column in right else cell + gap)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


_asked: list[Language] = []
"""What `--lang` of the command under way says; empty without one."""


def speak_as_asked(arguments: Sequence[str]) -> None:
    """Have all that this command says be said in the language of its `--lang`, its errors too."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    chosen = [after for before, after in pairwise(own) if before == "--lang"]
    chosen += [word.removeprefix("--lang=") for word in own if word.startswith("--lang=")]
    _asked[:] = [language_of(chosen[-1])] if chosen else []


def language(chosen: str | None = None) -> Language:
    """`zh` or `en`: as asked, else as the environment says (MOSU_LANG, LC_ALL, LC_MESSAGES, LANG)."""
    if chosen:
        return language_of(chosen)
    return _asked[0] if _asked else language_of_environment()


def told(text: str) -> str:
    """A sentence, or lines of them, in the person's language."""
    whole = said(text, language())
    return whole if whole != text else "\n".join(said(line, language()) for line in text.split("\n"))
