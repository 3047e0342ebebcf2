"""The `[local]` table of the agent's settings: which cards of this machine are sold, and how they are cut."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from mosu.site_agent.engines.tables import read_table
from mosu.site_agent.engines.vendors import device_files, variables_of
from mosu.wire.agent import AttemptSpec, DeviceInfo
from mosu.wire.shares import CARDS_MAX, card_at, kind_of, share_at


class LocalShare(BaseModel):
    """One share of a card, as its vendor's runtime is told of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    """What the vendor's variable says: a MIG device's UUID, a vNPU's number."""
    files: tuple[str, ...] = ()
    """Device files of this share alone, beside those of its card."""


class LocalCard(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    accelerator: str
    """Its id in the accelerator data file; of a card that is cut the kind of its shares."""
    files: tuple[str, ...] = ()
    """Its device files, instead of those that its vendor's cards have."""
    shares: tuple[LocalShare, ...] = ()

    @model_validator(mode="after")
    def _has_its_shares(self) -> "LocalCard":
        kind = kind_of(self.accelerator)
        if kind.shares == 1 and self.shares:
            raise ValueError(
                f"{self.accelerator} is whole; name its kind {self.accelerator}/{len(self.shares)}"
            )
        wanted = 0 if kind.shares == 1 or (kind.shared and not self.shares) else kind.shares
        if len(self.shares) != wanted:
            raise ValueError(f"{self.accelerator} has {wanted} shares, not {len(self.shares)}")
        return self


class LocalOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    cards: tuple[LocalCard, ...] = ()
    """In the order of their numbers."""

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        return tuple(
            DeviceInfo(index=number + CARDS_MAX * share, accelerator=card.accelerator)
            for number, card in enumerate(self.cards)
            for share in range(kind_of(card.accelerator).shares)
        )

    def card_files(self, accelerator: str) -> list[str]:
        """One file of each card of that kind."""
        return [
            self._files(number)[0]
            for number, card in enumerate(self.cards)
            if card.accelerator == accelerator and self._files(number)
        ]

    def files_of(self, spec: AttemptSpec) -> list[str]:
        """The device files of all that the attempt has: no others are in its sandbox."""
        found: list[str] = []
        for index in spec.devices[0] if spec.devices else ():
            found += self._files(card_at(index))
            shares = self.cards[card_at(index)].shares
            found += shares[share_at(index)].files if shares else ()
        return list(dict.fromkeys(found))

    def variables_of(self, spec: AttemptSpec) -> dict[str, str]:
        """What tells the vendor's runtime: the shares by their ids, whole cards counted from 0."""
        if not spec.devices:
            return {}
        cards = list(dict.fromkeys(map(card_at, spec.devices[0])))
        ids = [
            self.cards[card_at(index)].shares[share_at(index)].id
            for index in spec.devices[0]
            if self.cards[card_at(index)].shares
        ]
        seen = ",".join(ids or map(str, range(len(cards))))
        return dict.fromkeys(variables_of(spec.accelerator), seen)

    def _files(self, number: int) -> list[str]:
        card = self.cards[number]
        return list(card.files) or device_files(kind_of(card.accelerator).accelerator, [number])


def options_of(found: Mapping[str, Any]) -> LocalOptions:
    """The settings in the table.

    Raises:
        Invalid: a key or a value is wrong; the message names it.
    """
    return read_table(LocalOptions, "local", found)
