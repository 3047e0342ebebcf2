"""What the numbers in the snapshot's columns stand for. Lists that only grow, shared by all snapshots of a process."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mosu.kernel.ids import typeid
from mosu.market.catalogue.words import WordIndex
from mosu.market.shelves import FacetValue, Goods, Place, has_shelf, shelf_of
from mosu.platform.models import Organisation

PRICE_EDGES: Final = tuple(
    round(step * 10**power) for power in range(4, 10) for step in (1, 2, 5)
)  # 0.01 to 5,000 of the currency, in micros
_TOLD_APART: Final = ("region", "kind", "domestic")
_NO_GOODS: Final = Goods(key="", meter="")

KeyT = TypeVar("KeyT")


class Vocabulary(Generic[KeyT]):
    """Numbers for values, from 0 in the order in which they were first seen."""

    def __init__(self) -> None:
        self.values: list[KeyT] = []
        self._codes: dict[KeyT, int] = {}

    def code(self, value: KeyT) -> int:
        code = self._codes.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code

    def known(self, value: KeyT) -> int | None:
        """The number of a value that was seen, without making one."""
        return self._codes.get(value)


class FacetVocabulary:
    """Numbers for the values of one facet, with what people read."""

    def __init__(self) -> None:
        self.shown: list[FacetValue] = []
        self._codes: dict[str, int] = {}

    def code(self, value: FacetValue | None) -> int:
        if value is None:
            return -1
        code = self._codes.setdefault(value.value, len(self.shown))
        if code == len(self.shown):
            self.shown.append(value)
        return code

    def known(self, value: str) -> int | None:
        return self._codes.get(value)


class Vocabularies:
    """All of a process's catalogue. Only who holds the catalogue's lock adds to it."""

    def __init__(self) -> None:
        self.shelves: Vocabulary[str] = Vocabulary()
        self.suppliers: Vocabulary[tuple[UUID, str]] = Vocabulary()
        self.suppliers_shown: list[FacetValue] = []
        self.places: Vocabulary[tuple[str, Place]] = Vocabulary()
        self.buyers: Vocabulary[UUID] = Vocabulary()
        self.goods: list[Goods] = []
        self.attributes: list[Mapping[str, Any]] = []
        self.classes: list[int] = []
        """By goods: what of them vouchers tell apart (region, kind, domestic), numbered."""
        self.facets: dict[str, FacetVocabulary] = {}
        self.words: Mapping[str, WordIndex] = {
            "title": WordIndex(),
            "goods": WordIndex(),
            "supplier": WordIndex(),
        }
        self._classes: Vocabulary[tuple[str, ...]] = Vocabulary()
        self._goods_codes: dict[tuple[str, str], int] = {}
        self._facets_of_goods: dict[str, list[int]] = {}
        self._titles: dict[bytes, int] = {}
        """By digest: nearly every offer has a title of its own, and nothing here reads it again."""

    def title(self, title_zh: str, title_en: str) -> int:
        text = f"{title_zh}\n{title_en}"
        key = blake2b(text.encode(), digest_size=16).digest()
        number = self._titles.get(key)
        if number is None:
            number = self._titles[key] = self.words["title"].add(text)
        return number

    def supplier(self, supplier_id: UUID, name: str) -> int:
        code = self.suppliers.code((supplier_id, name))
        if code == self.words["supplier"].count:
            self.words["supplier"].add(name)
            self.suppliers_shown.append(FacetValue(typeid(Organisation.prefix, supplier_id), name, name))
        return code

    def goods_code(self, shelf: str, attributes: str) -> int:
        """The number of what these attributes (as JSON) mean on their shelf; nothing where the shelf is closed."""
        key = (shelf, attributes)
        code = self._goods_codes.get(key)
        if code is None:
            found: dict[str, Any] = json.loads(attributes)
            goods = shelf_of(shelf).goods_of(found) if has_shelf(shelf) else _NO_GOODS
            code = self._goods_codes[key] = len(self.goods)
            self.goods.append(goods)
            self.attributes.append(found)
            region = str(found.get("region") or "")
            self.classes.append(self._classes.code(tuple(str(found.get(name)) for name in _TOLD_APART)))
            self.words["goods"].add("\n".join((*goods.words, region)))
            self._note_facets(goods, region=region, mode=str(found.get("mode") or ""))
        return code

    def facet_of_goods(self, facet: str) -> NDArray[np.int32]:
        """By goods: the facet's value."""
        return np.array(self._facets_of_goods[facet], dtype=np.int32)

    @property
    def facet_codes(self) -> Sequence[str]:
        """Every facet that some goods have a value of."""
        return list(self._facets_of_goods)

    def _note_facets(self, goods: Goods, *, region: str, mode: str) -> None:
        values: dict[str, FacetValue | None] = dict(goods.facets)
        values["region"] = FacetValue(region, region, region) if region else None
        values["mode"] = FacetValue(mode, mode, mode) if mode else None
        before = len(self.goods) - 1
        for facet in values.keys() - self._facets_of_goods.keys():
            self.facets[facet] = FacetVocabulary()
            self._facets_of_goods[facet] = [-1] * before
        for facet, codes in self._facets_of_goods.items():
            codes.append(self.facets[facet].code(values.get(facet)))
