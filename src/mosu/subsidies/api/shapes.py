"""What several of the subsidies' operations take and give."""

from django.conf import settings

from mosu.kernel.money import decimal_of
from mosu.platform.schemas import Bilingual, Out


class ProgrammeRef(Out):
    id: str
    title: Bilingual
    version: int


def money_of(micros: int) -> str:
    """An amount in the hub's currency."""
    return decimal_of(micros, currency=settings.HUB_CURRENCY)


def money_or_none(micros: int | None) -> str | None:
    return None if micros is None else money_of(micros)
