"""What waits on whom: each context answers in one query, the page "Today" puts the answers together.

def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    return gathered(
        arm(rows_the_actor_must_decide, kind="deposit.confirm", turn=Turn.YOURS, since=F("proposed_at")),
        ...
    )
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db.models import BigIntegerField, CharField, DateTimeField, Field, QuerySet, UUIDField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast

ARM_ROWS: Final = 20
"""So many of one kind are listed; the list itself has the rest."""

_COLUMNS: Final[dict[str, "Field[Any, Any]"]] = {
    "kind": CharField(),
    "turn": CharField(),
    "subject": UUIDField(),
    "title": CharField(),
    "who": CharField(),
    "amount": BigIntegerField(),
    "since": DateTimeField(),
    "due": DateTimeField(),
    "count": BigIntegerField(),
}


class Turn(StrEnum):
    """Whose turn it is."""

    YOURS = "yours"
    UNDER_WAY = "under_way"
    """Nobody's: it goes on by itself."""
    OTHERS = "others"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that waits. `kind` names what is to be done (`deposit.confirm`); pages have its words and address."""

    kind: str
    turn: Turn
    subject_id: UUID
    title: str
    """What it is about: a name, a number."""
    who: str
    """Whose it is, or for whom it waits."""
    amount_micros: int | None
    since: datetime | None
    due_at: datetime | None
    count: int | None = None
    """How many rows of it wait, where that says more than one does."""


def arm(
    rows: QuerySet[Any],
    *,
    kind: str,
    turn: Turn,
    subject: Combinable,
    title: Combinable | None = None,
    who: Combinable | None = None,
    amount: Combinable | None = None,
    since: Combinable | None = None,
    due: Combinable | None = None,
    count: Combinable | None = None,
    order: str = "id",
) -> QuerySet[Any, Any]:
    """Up to `ARM_ROWS` rows of one kind, with the columns that all kinds share."""
    given = {"title": title, "who": who, "amount": amount, "since": since, "due": due, "count": count}
    values: dict[str, Combinable] = {"kind": Value(kind), "turn": Value(turn.value), "subject": subject}
    values |= {name: Value(None) if value is None else value for name, value in given.items()}
    columns = {f"w_{name}": Cast(values[name], field) for name, field in _COLUMNS.items()}
    return rows.order_by(order).values_list(*columns.values())[:ARM_ROWS]


def gathered(arms: Sequence[QuerySet[Any, Any]]) -> list[Waiting]:
    """What waits, of all arms: one query, or none."""
    if not arms:
        return []
    first, *rest = arms
    found: Any = first.union(*rest, all=True) if rest else first
    return [
        Waiting(row[0], Turn(row[1]), row[2], row[3] or "", row[4] or "", row[5], row[6], row[7], row[8])
        for row in found
    ]
