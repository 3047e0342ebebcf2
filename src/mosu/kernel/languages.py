"""The two languages: which one a person asked for, and a sentence of mosu's said in it.

Code speaks English: a refusal, a reason, a line of the command line is an English sentence with its figures in it.
Where a person is met (pages, API, command line), `said` finds the sentence among those of `mosu.kernel.chinese`, takes
the figures out of it and puts them into the Chinese one. So nothing is kept, sent or raised twice, and what was kept
in English years ago can be said too. `python tools/words.py` names every sentence of the code that has no Chinese.
"""

import importlib
import os
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, Literal, NamedTuple

from mosu.kernel import chinese

Language = Literal["zh", "en"]

_HOLE: Final = re.compile(r"\{(\w+)([~#]?)\}")
_DEPTH_MAX: Final = 4
_CHARS_MAX: Final = 4000
"""A longer text is no sentence of mosu's."""


class _Sentence(NamedTuple):
    anchor: str
    """The longest piece without holes: what is not in a text cannot match it."""
    letters: int
    """How much of it is no hole: the more, the more exact."""
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    chinese: str
    bare: bool
    """It has no word of its own: it counts only where what it holds can be said."""


def language_of(name: str) -> Language:
    """The language of a locale's name, such as zh_CN.UTF-8 or zh-hans; English if it is another."""
    return "zh" if name.lower().startswith("zh") else "en"


def language_of_environment() -> Language:
    """As the environment says: MOSU_LANG, else LC_ALL, LC_MESSAGES, LANG."""
    names = (os.environ.get(name) for name in ("MOSU_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    return language_of(next((name for name in names if name), "en"))


def language_asked(accept_language: str) -> Language:
    """The better liked of the two in an `Accept-Language` header (RFC 9110, 12.5.4); English if neither is named."""
    weights: dict[Language, float] = {}
    for part in accept_language[:400].lower().split(","):
        tag, _, weight = part.strip().partition(";")
        if tag[:2] in ("zh", "en") and not tag[2:3].isalpha():
            language: Language = "zh" if tag[:2] == "zh" else "en"
            weights.setdefault(language, _weight_of(weight))
    return "zh" if weights.get("zh", 0.0) > weights.get("en", 0.0) or _first(weights) == "zh" else "en"


def _first(weights: Mapping[Language, float]) -> Language | None:
    """The one named first, where both weigh the same."""
    best = max(weights.values(), default=0.0)
    return next((language for language, weight in weights.items() if weight == best > 0), None)


def _weight_of(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`, for a sentence: so many of what `noun` names."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def said(text: str, language: Language) -> str:
    """`text` in `language`: its Chinese where mosu has one, with the same figures; else as it is."""
    return (_chinese(text, 0) or text) if language == "zh" else text


def is_known(text: str) -> bool:
    """Whether `text` can be said in Chinese."""
    return _chinese(text, 0) is not None


@cache
def catalogue() -> Mapping[str, str]:
    """Every English sentence with its Chinese. `{name}` is a figure or a name, `{name#}` one word of it.

    In the Chinese, `{name~}` is itself said in Chinese.
    """
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(chinese.__path__):
        found |= importlib.import_module(f"{chinese.__name__}.{module.name}").SENTENCES
    return found


@cache
def _sentences() -> tuple[_Sentence, ...]:
    """Those with holes, the most exact first."""
    holed = [_compiled(english, told) for english, told in catalogue().items() if _HOLE.search(english)]
    return tuple(sorted(holed, key=lambda one: (-one.letters, one.pattern.pattern)))


def _compiled(english: str, told: str) -> _Sentence:
    pieces = _HOLE.split(english)  # literal, name, mark, literal, ...
    holes = [r"(\S+)" if mark == "#" else "(.*?)" for mark in pieces[2::3]]
    pattern = re.escape(pieces[0]) + "".join(
        hole + re.escape(piece) for hole, piece in zip(holes, pieces[3::3], strict=True)
    )
    return _Sentence(
        anchor=max(pieces[::3], key=len),
        letters=sum(map(len, pieces[::3])),
        pattern=re.compile(pattern, re.DOTALL),
        names=tuple(pieces[1::3]),
        chinese=told,
        bare=not any(letter.isalpha() for piece in pieces[::3] for letter in piece),
    )


def _chinese(text: str, depth: int) -> str | None:
    whole = catalogue().get(text)
    if whole is not None:
        return whole
    if depth > _DEPTH_MAX or len(text) > _CHARS_MAX:
        return None
    for sentence in _sentences():
        if sentence.anchor in text and (found := sentence.pattern.fullmatch(text)):
            filled = _filled(sentence, dict(zip(sentence.names, found.groups(), strict=True)), depth)
            if filled is not None:
                return filled
    return None


def _filled(sentence: _Sentence, values: Mapping[str, str], depth: int) -> str | None:
    spoken = {hole[1]: _value(values[hole[1]], depth) for hole in _HOLE.finditer(sentence.chinese) if hole[2]}
    if sentence.bare and None in spoken.values():
        return None
    known = {name: spoken.get(name) or text for name, text in values.items()}
    return _HOLE.sub(lambda hole: known[hole[1]], sentence.chinese)


def _value(text: str, depth: int) -> str | None:
    """What stands in a hole, itself said: whole, or each part of a list; None if there is no word for it."""
    whole = _chinese(text, depth + 1)
    if whole is not None or not text.strip():
        return whole or text
    for mark, joined in (("\n", "\n"), ("; ", "；"), (", ", "、")):
        if mark in text:
            parts = [_chinese(part, depth + 1) for part in text.split(mark)]
            if any(parts):
                return joined.join(part or text for part, text in zip(parts, text.split(mark), strict=True))
    return None


def holes_of(sentence: str) -> Iterator[str]:
    """The names of a sentence's holes."""
    return (hole[1] for hole in _HOLE.finditer(sentence))
