"""Which shares of cards are on the shelf, and whose: for who asks for another share, or where cards are sold whole."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import numpy as np

from mosu.kernel.refusals import Invalid
from mosu.market.catalogue import Snapshot, Viewer, visible
from mosu.wire.shares import Kind, kind_of

SELLERS_NAMED: Final = 3


class NoSuchShare(Invalid):
    """No card is cut so that one share is what was asked; the hint says which shares there are."""

    code = "no_such_share"


def shares_sold(
    snapshot: Snapshot, accelerators: Collection[str], *, organisation_id: UUID
) -> dict[Kind, list[str]]:
    """The shares of these cards that are offered to the organisation, each with its suppliers, by name."""
    kinds = {code: kind_of(goods.key) for code, goods in enumerate(snapshot.words.goods)}
    cut = [code for code, kind in kinds.items() if kind.shares > 1 and kind.accelerator in accelerators]
    if not cut:
        return {}
    rows = visible(snapshot, Viewer(organisation_ids=frozenset({organisation_id}))) & np.isin(
        snapshot.codes("goods"), cut
    )
    pairs = zip(
        snapshot.codes("goods")[rows].tolist(), snapshot.codes("supplier")[rows].tolist(), strict=True
    )
    found: dict[Kind, set[str]] = {}
    for goods, supplier in set(pairs):
        found.setdefault(kinds[goods], set()).add(snapshot.words.suppliers.values[supplier][1])
    return {kind: sorted(names) for kind, names in found.items()}


def shares_there(sold: Mapping[Kind, Sequence[str]], accelerators: Collection[str]) -> str:
    """What to do for who wants a share of these cards: which there are, and whose."""
    names: dict[str, set[str]] = {}
    for kind, suppliers in sold.items():
        if kind.accelerator in accelerators:
            names.setdefault(kind.asked, set()).update(suppliers)
    if not names:
        return "Ask for whole cards: nobody here sells shares of it."
    listed = "; ".join(
        f"{asked} ({', '.join(sorted(suppliers)[:SELLERS_NAMED])})"
        for asked, suppliers in sorted(names.items(), key=lambda one: -float(one[0]))
    )
    return f"Shares of it are sold by: {listed}."
