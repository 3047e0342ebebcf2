"""What several of the subsidies' operations take and give."""

from uuid import UUID

from django.conf import settings

from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import Invalid
from mosu.platform.models import Organisation
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


def organisation_asked(named: str | None, own: UUID | None) -> UUID:
    """The organisation that is named, else the actor's own.

    Raises:
        Invalid: there is neither.
    """
    if named is not None:
        return Organisation.key_of(named)
    if own is None:
        raise Invalid("For which organisation?", hint="Name organisation_id.", field="organisation_id")
    return own
