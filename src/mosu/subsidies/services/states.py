"""The one place that writes a state of this context."""

from collections.abc import Mapping, Set
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from mosu.kernel.states import check_move
from mosu.platform.actors import Actor
from mosu.platform.services import record_audit
from mosu.subsidies.models import Application, Claim, ProgrammeVersion, Redemption, Voucher
from mosu.subsidies.rules import (
    APPLICATION_MOVES,
    CLAIM_MOVES,
    REDEMPTION_MOVES,
    VERSION_MOVES,
    VOUCHER_MOVES,
    ApplicationState,
    ClaimState,
    RedemptionState,
    VersionState,
    VoucherState,
)

Moved = Application | Claim | ProgrammeVersion | Redemption | Voucher

_TABLES: Final[Mapping[type[Any], tuple[type[StrEnum], Mapping[Any, Set[Any]]]]] = {
    Application: (ApplicationState, APPLICATION_MOVES),
    Claim: (ClaimState, CLAIM_MOVES),
    ProgrammeVersion: (VersionState, VERSION_MOVES),
    Redemption: (RedemptionState, REDEMPTION_MOVES),
    Voucher: (VoucherState, VOUCHER_MOVES),
}


def organisation_of(row: Moved) -> UUID | None:
    """Whose row it is; None for the hub's own."""
    if isinstance(row, ProgrammeVersion):
        return None
    return row.voucher.organisation_id if isinstance(row, Redemption) else row.organisation_id


def move(row: Moved, *, to: StrEnum, actor: Actor, now: datetime, why: str = "", **changes: Any) -> None:
    """Write the new state, with what changes together with it, and its audit record; the caller holds the lock.

    Raises:
        IllegalMove: there is no such move.
    """
    states, moves = _TABLES[type(row)]
    before = row.state
    check_move(moves, what=f"{type(row).__name__} {row.public_id}", now=states(before), to=to)
    for name, value in {**changes, "state": to.value}.items():
        setattr(row, name, value)
    row.save(update_fields=["state", *changes])
    _record(row, before=before, actor=actor, now=now, why=why)


def record_birth(
    row: Moved, *, actor: Actor, now: datetime, why: str = "", organisation_id: UUID | None = None
) -> None:
    """The audit record of a row's first state; `organisation_id` says whose it is where that would be a read."""
    _record(row, before=None, actor=actor, now=now, why=why, organisation_id=organisation_id)


def _record(
    row: Moved,
    *,
    before: str | None,
    actor: Actor,
    now: datetime,
    why: str,
    organisation_id: UUID | None = None,
) -> None:
    record_audit(
        actor=actor,
        action=f"{row.prefix}.{row.state}",
        subject_id=row.id,
        before=before,
        after=row.state,
        now=now,
        organisation_id=organisation_id or organisation_of(row),
        why=why,
    )
