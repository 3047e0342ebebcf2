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
        self._where: dict[str, array[int]] = {}
        self._keys_of_piece: dict[str, tuple[str, ...]] = {}
        self._latin: list[str] = []
        self._latin_sorted = True
        self.count = 0
        self._lock = Lock()

    def add(self, text: str) -> int:
        """The number of the text, from now on found by its words."""
        with self._lock:
            number = self.count
            keys: set[str] = set()
            for piece in _PIECES.findall(_plain(text)):
                keys.update(self._keys_of(piece))
            for key in keys:
                where = self._where.get(key)
                if where is None:
                    where = self._where[key] = array("i")
                    if not _CHINESE.match(key):
                        self._latin.append(key)
                        self._latin_sorted = False
                where.append(number)
            self.count += 1
            return number

    def holding(self, key: str, *, is_chinese: bool) -> Mask | None:
        """The texts that hold a pair or a word beginning so: one more than there are, the last False. None: no text.

        A column's missing value, -1, thus reads False.
        """
        with self._lock:
            lists = [self._where[name] for name in self._names(key, is_chinese=is_chinese)]
            if not lists:
                return None
            found = np.zeros(self.count + 1, dtype=np.bool_)
            for where in lists:
                found[np.array(where, dtype=np.int32)] = True
            return found

    def _names(self, key: str, *, is_chinese: bool) -> list[str]:
        if is_chinese and len(key) > 1:
            return [key] if key in self._where else []
        if is_chinese:
            return [name for name in self._where if key in name]
        if not self._latin_sorted:
            self._latin.sort()
            self._latin_sorted = True
        return self._latin[bisect_left(self._latin, key) : bisect_left(self._latin, key + _LAST)]

    def _keys_of(self, piece: str) -> tuple[str, ...]:
        """Pieces repeat in title after title."""
        keys = self._keys_of_piece.get(piece)
        if keys is None:
            if _CHINESE.match(piece):
                keys = _pairs(piece)
            else:
                split = _MODEL.fullmatch(piece)
                keys = (piece, *split.groups()) if split else (piece,)
            self._keys_of_piece[piece] = keys
        return keys


def _plain(text: str) -> str:
    """Full-width letters and letter case make no difference."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def _pairs(run: str) -> tuple[str, ...]:
    return tuple(run[at : at + 2] for at in range(len(run) - 1)) or (run,)
