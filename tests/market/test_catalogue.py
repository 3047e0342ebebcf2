"""The catalogue against a plain model: what is found, counted and paged, and what nobody else may see."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import NOW
from tests.market.conftest import YUAN, DeskShelf

from mosu.kernel.refusals import Invalid
from mosu.market import shelves
from mosu.market.catalogue.asked import OfferSearch, Sort, params_of, search_of
from mosu.market.catalogue.loading import columns_of
from mosu.market.catalogue.searching import PRICE, SUPPLIER, Viewer, search
from mosu.market.catalogue.snapshot import ID, Snapshot
from mosu.market.catalogue.vocabularies import Vocabularies
from mosu.market.models import Tier
from mosu.market.shelves import Standing, Stock, register_shelf
from mosu.market.tiers import TierPrice

FACETS = ("view", "floor", "region", SUPPLIER)
ORGANISATIONS = [UUID(int=900 + number) for number in range(3)]
SUPPLIERS = [
    (UUID(int=500 + number), name) for number, name in enumerate(["云汉科技", "Star River", "昇腾上海"])
]
WORDS = ["昇腾", "910B", "上海", "寒武纪", "海昇", "Ascend910B2", "H100", "train", "训练", "上", "８卡"]


@dataclass(frozen=True)
class Model:
    """An offer as plain values."""

    id: UUID
    title: str
    view: str | None
    floor: int | None
    region: str
    supplier: int
    price: int | None
    buyer: int | None
    subject: int
    dead: bool

    def texts(self) -> list[str]:
        return [self.title, "en", self.view or "", self.region, SUPPLIERS[self.supplier][1]]

    def value(self, facet: str) -> str | None:
        found = {"view": self.view, "floor": self.floor, "region": self.region or None}.get(facet)
        return None if found is None else str(found)


@pytest.fixture(autouse=True, scope="module")
def desk() -> Iterator[None]:
    register_shelf(DeskShelf())
    yield
    shelves._shelves.pop("desk")


def models(count: int) -> st.SearchStrategy[list[Model]]:
    one = st.builds(
        Model,
        id=st.integers(1, count).map(lambda number: UUID(int=number << 8)),  # ids that end in a zero byte
        title=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).flatmap(
            lambda words: st.sampled_from(["", " "]).map(lambda glue: glue.join(words))
        ),
        view=st.sampled_from([None, "sea", "street"]),
        floor=st.sampled_from([None, 1, 2, 10]),
        region=st.sampled_from(["", "上海", "beijing"]),
        supplier=st.integers(0, 2),
        price=st.sampled_from([None, 1, 2, 3]),
        buyer=st.sampled_from([None, None, 0, 1]),
        subject=st.integers(0, 2),
        dead=st.booleans(),
    )
    return st.lists(one, max_size=count, unique_by=lambda model: model.id)


searches = st.builds(
    OfferSearch,
    text=st.lists(st.sampled_from(WORDS), max_size=2).map("".join)
    | st.sampled_from(["上海昇腾", "asc 上", "!!"]),
    chosen=st.fixed_dictionaries(
        {},
        optional={
            "view": st.sampled_from([("sea",), ("sea", "street"), ("nothing",)]),
            "floor": st.sampled_from([("1",), ("2", "10")]),
            "region": st.just(("上海",)),
        },
    ),
    ranges=st.fixed_dictionaries(
        {},
        optional={"floor": st.sampled_from([(2.0, None), (None, 2.0)]), PRICE: st.just((2.0 * YUAN, None))},
    ),
    live=st.sampled_from([None, True, False]),
    free_now=st.booleans(),
    sort=st.sampled_from(["price", "-price", "free"]),
    limit=st.integers(1, 4),
)
viewers = st.builds(
    Viewer,
    st.frozensets(st.sampled_from([*ORGANISATIONS, SUPPLIERS[0][0]]), max_size=2),
    sees_all=st.booleans(),
)


def rows_of(found: Sequence[Model]) -> dict[str, list[tuple[Any, ...]]]:
    offers = []
    for model in sorted(found, key=lambda model: model.id):
        view = f'"{model.view}"' if model.view else "null"
        attributes = (
            f'{{"view": {view}, "floor": {model.floor or 0}, "region": "{model.region}", '
            f'"dead": {str(model.dead).lower()}}}'
        )
        supplier_id, name = SUPPLIERS[model.supplier]
        buyer = None if model.buyer is None else ORGANISATIONS[model.buyer]
        offers.append(
            (model.id.bytes, "desk", supplier_id, name, UUID(int=model.subject), model.title, "en", attributes, buyer,
             0, 1, 9, 99, 0)
        )  # fmt: skip
    prices = [(one.id.bytes, "core_second", one.price * YUAN, 3600) for one in found if one.price is not None]
    return {"offers": offers, "prices": prices}


def snapshot_of(found: Sequence[Model], *, changed_to: Sequence[Model] | None = None) -> Snapshot:
    words = Vocabularies()
    snapshot = Snapshot(NOW, columns_of(words, **rows_of(found)), words)
    if changed_to is not None:
        ids = {model.id for model in (*found, *changed_to)}
        changed = np.array([key.bytes for key in sorted(ids)], dtype=ID)
        snapshot = snapshot.with_changes(changed, columns_of(words, **rows_of(changed_to)), now=NOW)
    places = DeskShelf(free={UUID(int=0): 0, UUID(int=1): 7}).standings(
        [place for _, place in words.places.values], now=NOW
    )
    return snapshot.with_standings({("desk", place): found for place, found in places.items()}, now=NOW)


def holds(model: Model, text: str) -> bool:
    """Each Chinese run: every character in a pair that one of the texts has. Each Latin word: as some word begins."""
    plain = [text.lower().replace("８", "8") for text in model.texts()]
    words = re.findall(r"[一-鿿]+|[a-z0-9]+", text.lower().replace("８", "8"))
    have = [piece for one in plain for piece in re.findall(r"[一-鿿]+|[a-z0-9]+", one)]
    if not words:
        return not text.strip()

    def latin(word: str) -> bool:
        for piece in have:
            parts = re.fullmatch(r"([a-z]{3,})([0-9].*)", piece)
            if any(one.startswith(word) for one in (piece, *(parts.groups() if parts else ()))):
                return True
        return False

    def chinese(run: str) -> bool:
        if len(run) == 1:
            return any(run in piece for piece in have)
        pairs = [any(run[at : at + 2] in piece for piece in have) for at in range(len(run) - 1)]
        return all(left or right for left, right in zip([False, *pairs], [*pairs, False], strict=True))

    def fits(word: str) -> bool:
        if re.match(r"[一-鿿]", word):
            return chinese(word)
        parts = re.fullmatch(r"([a-z]{3,})([0-9].*)", word)
        return latin(word) or bool(parts and all(latin(part) for part in parts.groups()))

    return all(fits(word) for word in words)


def expected(found: Sequence[Model], wanted: OfferSearch, viewer: Viewer, *, but: str = "") -> list[Model]:
    """What fits all that is asked, but for the facet `but`."""

    def free(model: Model) -> int:
        return 0 if model.dead else {0: 0, 1: 7}.get(model.subject, 3)

    def fits(model: Model) -> bool:
        seen = (
            viewer.sees_all
            or model.buyer is None
            or ORGANISATIONS[model.buyer] in viewer.organisation_ids
            or SUPPLIERS[model.supplier][0] in viewer.organisation_ids
        )
        chosen = all(model.value(facet) in values for facet, values in wanted.chosen.items() if facet != but)
        floor_from, floor_to = wanted.ranges.get("floor", (None, None))
        floors = but == "floor" or (
            (floor_from is None and floor_to is None)
            or (
                model.floor is not None
                and (floor_from is None or model.floor >= floor_from)
                and (floor_to is None or model.floor <= floor_to)
            )
        )
        priced = PRICE not in wanted.ranges or (model.price is not None and model.price >= 2)
        return (
            seen
            and chosen
            and floors
            and priced
            and holds(model, wanted.text)
            and (wanted.live is None or wanted.live is not model.dead)
            and (not wanted.free_now or free(model) > 0)
        )

    def key(model: Model) -> tuple[int, UUID]:
        price = 99 if model.price is None else model.price
        by = {"price": price, "-price": 99 if model.price is None else -price, "free": -free(model)}
        return by[wanted.sort], model.id

    return sorted((model for model in found if fits(model)), key=key)


@settings(deadline=None, max_examples=150)
@given(before=models(8), after=models(8), wanted=searches, viewer=viewers)
def test_what_is_found_and_counted_is_what_a_plain_loop_finds(
    before: list[Model], after: list[Model], wanted: OfferSearch, viewer: Viewer
) -> None:
    snapshot = snapshot_of(before, changed_to=after)
    ids: list[UUID] = []
    place = None
    for _ in range(10):
        found = search(snapshot, wanted, viewer=viewer, facets=FACETS, after=place)
        ids += found.ids
        place = found.last
        if place is None:
            break
    fitting = expected(after, wanted, viewer)
    assert ids == [model.id for model in fitting]
    assert found.total == len(fitting)
    for facet in ("view", "floor", "region"):
        others = expected(after, wanted, viewer, but=facet)
        counts = {one.value.value: one.count for one in found.facets[facet] if one.count}
        values = [model.value(facet) for model in others]
        assert counts == {value: values.count(value) for value in values if value is not None}
        chosen = {one.value.value for one in found.facets[facet] if one.chosen}
        assert chosen == set(wanted.chosen.get(facet, ()))


@settings(deadline=None, max_examples=80)
@given(models=models(8), wanted=searches)
def test_a_private_offer_changes_nothing_that_others_see(models: list[Model], wanted: OfferSearch) -> None:
    stranger = Viewer(frozenset({ORGANISATIONS[2]}))
    everyones = [model for model in models if model.buyer is None]
    with_it = search(snapshot_of(models), wanted, viewer=stranger, facets=FACETS)
    without = search(snapshot_of(everyones), wanted, viewer=stranger, facets=FACETS)
    assert (with_it.ids, with_it.total) == (without.ids, without.total)
    for facet in FACETS:
        assert {(one.value, one.count, one.chosen) for one in with_it.facets[facet]} == {
            (one.value, one.count, one.chosen) for one in without.facets[facet]
        }


@settings(deadline=None, max_examples=120)
@given(
    models=models(8),
    theirs=st.frozensets(st.integers(1, 8)),
    wanted=searches,
    sort=st.sampled_from(["price", "-price", "ready", "free", "effective", "-created_at"]),
)
def test_a_partner_searches_as_if_its_prices_were_everyones(
    models: list[Model], theirs: frozenset[int], wanted: OfferSearch, sort: Sort
) -> None:
    wanted = replace(wanted, sort=sort)
    listed = [replace(one, price=one.price and one.price * 2) for one in models]
    halved = [
        replace(one, price=one.price and one.price // 2) if one.id.int >> 8 in theirs else one
        for one in listed
    ]
    everyones = snapshot_of(listed)
    before = search(everyones, wanted, viewer=Viewer(), facets=(*FACETS, PRICE))
    half = TierPrice(Tier.PARTNER, 5_000)
    own = everyones.priced_for({UUID(int=number << 8): half for number in theirs})
    assert search(own, wanted, viewer=Viewer(), facets=(*FACETS, PRICE)) == search(
        snapshot_of(halved), wanted, viewer=Viewer(), facets=(*FACETS, PRICE)
    )
    assert search(everyones, wanted, viewer=Viewer(), facets=(*FACETS, PRICE)) == before


@settings(deadline=None)
@given(wanted=searches)
def test_a_search_survives_its_address(wanted: OfferSearch) -> None:
    plain = replace(wanted, after="", limit=30)
    again = search_of(params_of(plain), facets=["view", "floor", "region"], numbers=["floor", PRICE])
    assert again == replace(plain, text=plain.text.strip())


def test_an_address_that_cannot_be_is_refused() -> None:
    for params in (
        {"sort": ["dearest"]},
        {"floor_min": ["high"]},
        {"live": ["maybe"]},
        {"price_min": ["-x"]},
    ):
        with pytest.raises(Invalid):
            search_of(params, facets=["floor"], numbers=["floor", PRICE])


def test_relevance_puts_what_holds_most_first() -> None:
    one = Model(UUID(int=256), "昇腾 上海", None, None, "", 1, 1, None, 2, dead=False)
    more = replace(one, id=UUID(int=512), title="上海昇腾", price=3)
    snapshot = snapshot_of([one, more])
    by_price = search(snapshot, OfferSearch(text="上海昇腾"), viewer=Viewer(), facets=())
    by_fit = search(snapshot, OfferSearch(text="上海昇腾", sort="relevance"), viewer=Viewer(), facets=())
    assert by_price.ids == [one.id, more.id]
    assert by_fit.ids == [more.id, one.id]


def test_stock_that_is_not_counted_is_free() -> None:
    model = Model(UUID(int=256), "x", None, None, "", 1, 1, None, 2, dead=False)
    snapshot = snapshot_of([model])
    uncounted = snapshot.with_standings(
        {("desk", (UUID(int=2), "")): Standing(stock=None, why_not_live=None)}, now=NOW + timedelta(seconds=1)
    )
    sold_out = snapshot.with_standings(
        {("desk", (UUID(int=2), "")): Standing(Stock(0, 0, 4, 4), None)}, now=NOW + timedelta(seconds=1)
    )
    wanted = OfferSearch(free_now=True)
    assert search(uncounted, wanted, viewer=Viewer(), facets=()).total == 1
    assert search(sold_out, wanted, viewer=Viewer(), facets=()).total == 0


@pytest.mark.parametrize(
    ("title", "text", "found"),
    [
        ("上海 昇腾", "上海昇腾", True),
        ("上海 海昇", "上海昇腾", False),  # nothing holds the last character
        ("海昇 昇腾", "上海昇腾", False),  # nor the first
        ("寒武 武纪", "寒武纪", True),
        ("寒武", "寒武纪", False),
        ("Ascend 910B2", "ascend910b", True),
        ("Ascend910B2", "910B", True),
        ("昇腾910B2", "昇腾910B", True),
        ("H100", "100", False),
        ("８卡 Ｈ１００", "8卡h100", True),
        ("八卡", "卡", True),
    ],
)
def test_words_are_found_as_people_write_them(title: str, text: str, found: bool) -> None:
    model = Model(UUID(int=256), title, None, None, "", 0, 1, None, 2, dead=False)
    total = search(snapshot_of([model]), OfferSearch(text=text), viewer=Viewer(), facets=()).total
    assert total == found
