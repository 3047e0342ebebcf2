"""The cards of a node as an engine counts them: whole, or cut into shares, never both."""

from collections.abc import Mapping

from mosu.wire.agent import DeviceInfo
from mosu.wire.shares import CARDS_MAX, kind_of


def devices_of(counts: Mapping[str, int]) -> tuple[DeviceInfo, ...]:
    """So many cards, or shares, of each kind, numbered through: engines count them, and choose which a job gets.

    Where an accelerator is cut, its whole cards are not listed: an engine's count of them may be of the same cards.
    """
    cut = {kind_of(text).accelerator for text, count in counts.items() if count and kind_of(text).shares > 1}
    found: list[DeviceInfo] = []
    card = 0
    for text, count in counts.items():
        kind = kind_of(text)
        if kind.shares == 1 and text in cut:
            continue
        found += [
            DeviceInfo(
                index=card + number // kind.shares + number % kind.shares * CARDS_MAX, accelerator=text
            )
            for number in range(count)
        ]
        card += -(-count // kind.shares)
    return tuple(found)
