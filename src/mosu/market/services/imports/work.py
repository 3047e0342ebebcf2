"""What the hub does of an import in the background: all of one step, or nothing of it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.refusals import DomainError
from mosu.market.models import ImportState, OfferImport
from mosu.market.services.imports.apply import put_on_shelf
from mosu.market.services.imports.moves import REFUSED_TO, asked_by, move, refusal_of
from mosu.market.services.imports.preview import read_and_compare
from mosu.market.services.imports.progress import Progress
from mosu.market.services.imports.undo import take_back
from mosu.platform.actors import Actor

_Step = Callable[..., ImportState]
_STEPS: Final[Mapping[str, _Step]] = MappingProxyType(
    {
        ImportState.READING: read_and_compare,
        ImportState.APPLYING: put_on_shelf,
        ImportState.UNDOING: take_back,
    }
)


class GaveUp(DomainError):
    """The hub failed at it, again and again."""

    code = "gave_up"
    status = 500


@transaction.atomic(durable=True)
def carry_on_import(*, import_id: UUID, now: datetime) -> OfferImport:
    """The import, one step on: read and previewed, applied, or undone; or refused, with the reason kept.

    Repeating it changes nothing, and whatever kills it on the way leaves the import as it was before the step.
    """
    row = _alone(import_id)
    step = _STEPS.get(row.state)
    if step is None:
        return row
    actor, why = asked_by(row)
    refusal = {}
    with Progress(row.id) as progress:
        try:
            with transaction.atomic():
                to = step(row, actor=actor, why=why, progress=progress, now=now)
        except DomainError as refused:
            refusal = refusal_of(refused)
            to = REFUSED_TO[row.state]
    return _ended(row, actor=actor, to=to, refusal=refusal, now=now)


@transaction.atomic(durable=True)
def give_up_import(*, import_id: UUID, now: datetime) -> OfferImport:
    """The import, refused because the hub failed at its step too often; nothing of the step was done."""
    row = _alone(import_id)
    if row.state not in _STEPS:
        return row
    gave_up = GaveUp(
        "The hub failed at this, more than once.",
        hint="Try again; if it fails again, tell the hub's operator the import's number.",
    )
    actor, _ = asked_by(row)
    return _ended(row, actor=actor, to=REFUSED_TO[row.state], refusal=refusal_of(gave_up), now=now)


def _alone(import_id: UUID) -> OfferImport:
    """The import, while nobody else carries it on. Its row stays unlocked, so that progress can be told in it."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"carry on:{import_id}"])
    return OfferImport.objects.get(id=import_id)


def _ended(
    row: OfferImport, *, actor: Actor, to: ImportState, refusal: dict[str, object], now: datetime
) -> OfferImport:
    OfferImport.objects.select_for_update(no_key=True).get(id=row.id)
    row.refusal = refusal
    if to is ImportState.APPLIED and row.applied_at is None:
        row.applied_at = now
    if to is ImportState.UNDONE:
        row.undone_at = now
    return move(row, actor=actor, to=to, now=now, why=str(refusal.get("message", ""))[:400])
