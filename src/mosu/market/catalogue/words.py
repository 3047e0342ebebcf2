"""Searching by words, in Chinese and in Latin letters: an index over short texts that only grows.

Chinese has no spaces, and its words are mostly of two characters, so a run of it is kept as its pairs of neighbours
(bigrams). A run that is asked for, `上海昇腾`, is found where each of its characters stands in some pair that the
text has: so neither `海昇` is needed, nor a dictionary. A Latin word is found by how it begins, and `ascend910b` by
`ascend` and `910b` too. What a text has decides alone; what other texts have plays no part.
"""

import re
import unicodedata
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from threading import Lock
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int32]

TERMS_MAX: Final = 8
RUN_MAX: Final = 24
_CJK: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECES: Final = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_CHINESE: Final = re.compile(rf"[{_CJK}]")
_MODEL: Final = re.compile(r"([a-z]{3,})([0-9][0-9a-z]*)")
_LAST: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Term:
    """One thing asked for: a run of Chinese, or a Latin word (with its parts, which do as well)."""

    text: str
    is_chinese: bool
    parts: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What of it stands in an index: its pairs, or the one word."""
        return _pairs(self.text) if self.is_chinese else (self.text,)


def terms_of(text: str) -> tuple[Term, ...]:
    """What a text asks for; all of it must be found. At most `TERMS_MAX` terms."""
    found = []
    for piece in _PIECES.findall(_plain(text))[:TERMS_MAX]:
        if _CHINESE.match(piece):
            found.append(Term(piece[:RUN_MAX], is_chinese=True))
        else:
            split = _MODEL.fullmatch(piece)
            found.append(Term(piece, is_chinese=False, parts=split.groups() if split else ()))
    return tuple(found)


class WordIndex:
    """Which of the texts added so far hold which words. Texts are numbered from 0 in the order of adding."""

    def __init__(self) -> None:
        self.count = 0
        self._texts_of: dict[str, array[int]] = {}
        self._pieces_with: dict[str, list[str]] = {}
        self._latin: list[str] = []
        self._latin_is_sorted = True
        self._lock = Lock()

    def add(self, text: str) -> int:
        """The number of the text, from now on found by its words."""
        pieces = _PIECES.findall(_plain(text))
        with self._lock:
            number = self.count
            for piece in pieces:
                texts = self._texts_of.get(piece)
                if texts is None:
                    texts = self._texts_of[piece] = array("i")
                    self._note(piece)
                texts.append(number)
            self.count += 1
            return number

    def holding(self, key: str, *, is_chinese: bool) -> Mask | None:
        """The texts that hold a pair or a word beginning so: one more than there are, the last False. None: no text.

        A column's missing value, -1, thus reads False.
        """
        with self._lock:
            pieces = {
                piece for name in self._keys(key, is_chinese=is_chinese) for piece in self._pieces_with[name]
            }
            if not pieces:
                return None
            found = np.zeros(self.count + 1, dtype=np.bool_)
            for piece in pieces:
                found[np.array(self._texts_of[piece], dtype=np.int32)] = True
            return found

    def _keys(self, key: str, *, is_chinese: bool) -> list[str]:
        if is_chinese and len(key) > 1:
            return [key] if key in self._pieces_with else []
        if is_chinese:
            return [name for name in self._pieces_with if key in name]
        if not self._latin_is_sorted:
            self._latin.sort()
            self._latin_is_sorted = True
        return self._latin[bisect_left(self._latin, key) : bisect_left(self._latin, key + _LAST)]

    def _note(self, piece: str) -> None:
        """What a piece is found by: the pairs of a run; a Latin word, and the parts of a model's name."""
        is_chinese = _CHINESE.match(piece) is not None
        split = None if is_chinese else _MODEL.fullmatch(piece)
        keys = _pairs(piece) if is_chinese else (piece, *split.groups()) if split else (piece,)
        for key in dict.fromkeys(keys):
            if key not in self._pieces_with:
                self._pieces_with[key] = []
                if not is_chinese:
                    self._latin.append(key)
                    self._latin_is_sorted = False
            self._pieces_with[key].append(piece)


def _plain(text: str) -> str:
    """Full-width letters and letter case make no difference."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def _pairs(run: str) -> tuple[str, ...]:
    return tuple(run[at : at + 2] for at in range(len(run) - 1)) or (run,)
