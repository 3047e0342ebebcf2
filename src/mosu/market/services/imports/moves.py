"""The states of an import: who may move it, what each move leaves on record, and what is queued for the hub itself."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from mosu.kernel.refusals import DomainError, NotFound
from mosu.kernel.states import check_move
from mosu.market.models import ImportState, OfferImport
from mosu.platform.actors import Actor, ActorKind
from mosu.platform.models import AuditRecord
from mosu.platform.policy import allows, require
from mosu.platform.services import record_audit

IMPORT_MOVES: Final = MappingProxyType(
    {
        ImportState.READING: frozenset({ImportState.PREVIEWED, ImportState.REFUSED}),
        ImportState.PREVIEWED: frozenset({ImportState.APPLYING, ImportState.DISCARDED}),
        ImportState.APPLYING: frozenset({ImportState.APPLIED, ImportState.FAILED}),
        ImportState.APPLIED: frozenset({ImportState.UNDOING}),
        ImportState.UNDOING: frozenset({ImportState.UNDONE, ImportState.APPLIED}),
    }
)
"""The trigger `moves` has the same."""
REFUSED_TO: Final[Mapping[str, ImportState]] = MappingProxyType(
    {
        ImportState.READING: ImportState.REFUSED,
        ImportState.APPLYING: ImportState.FAILED,
        ImportState.UNDOING: ImportState.APPLIED,
    }
)
"""What the hub carries on, and what an import becomes if that is refused."""
PROBLEMS_KEPT_MAX: Final = 50
WHY_MIN: Final = 3
"""Characters of a reason, where one is asked for."""


def locked_import(actor: Actor, import_id: UUID) -> OfferImport:
    """The import, locked; one that the actor may not see is not there.

    Raises:
        NotFound: no such import, or not the actor's to see.
        Forbidden: the actor may not manage the supplier's offers.
    """
    row = OfferImport.objects.select_for_update(no_key=True).filter(id=import_id).first()
    if row is None or not (allows(actor, "import.read", row.supplier_id) or row.supplier_id in actor.roles):
        raise NotFound("There is no such import.", hint="See GET /offer-imports.")
    require(actor, "offer.manage", row.supplier_id)
    return row


def move(row: OfferImport, *, actor: Actor, to: ImportState, now: datetime, why: str = "") -> OfferImport:
    """The only place that writes `OfferImport.state`; the caller holds the row's lock."""
    check_move(IMPORT_MOVES, what=row.public_id, now=ImportState(row.state), to=to)
    record_audit(
        actor=actor,
        action=f"import.{to.value}",
        subject_id=row.id,
        before=row.state,
        after=to,
        now=now,
        organisation_id=row.supplier_id,
        why=why,
        facts={"counts": row.counts},
    )
    row.state = to
    row.percent = 0 if to in REFUSED_TO else 100
    row.save(update_fields=["state", "percent", "counts", "held", "refusal", "applied_at", "undone_at"])
    return row


def hand_over(row: OfferImport) -> None:
    """Have the hub carry the import on, once this transaction commits."""
    # Imported here: the task module needs the application registry, which loads this one.
    from mosu.market.tasks import carry_on_import  # noqa: PLC0415

    carry_on_import.defer(import_id=str(row.id))


def asked_by(row: OfferImport) -> tuple[Actor, str]:
    """Who asked for what the hub now carries on, as its record has them, and why."""
    asked = AuditRecord.objects.filter(subject_id=row.id, after=row.state).order_by("-id")[0]
    return Actor(kind=ActorKind(asked.actor_kind), id=asked.actor_id, label=asked.actor_label), asked.why


def refusal_of(refusal: DomainError) -> dict[str, Any]:
    """A refusal as an import keeps it."""
    problems = list(refusal.errors)
    return {
        "code": refusal.code,
        "message": refusal.message,
        "hint": refusal.hint,
        "count": int(refusal.facts.get("problems", len(problems))),
        "problems": problems[:PROBLEMS_KEPT_MAX],
    }
