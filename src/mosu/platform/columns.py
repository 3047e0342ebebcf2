"""What migrations that make tables write again and again: a row's id, a reference, the two persons."""

from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import F, Q

from mosu.kernel.ids import uuid7


def own_id() -> tuple[str, "models.UUIDField[Any, UUID]"]:
    """The id of a `Row`, with its name."""
    return "id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)


def reference(to: str, name: str = "+", *, null: bool = False) -> "models.ForeignKey[Any, Any]":
    """A row of `to`, which stays as long as this one does; `name` is the way back."""
    return models.ForeignKey(on_delete=models.PROTECT, related_name=name, to=to, null=null)


def two_persons_constraint(name: str) -> models.CheckConstraint:
    """`checker` is nobody yet, or somebody other than `maker`."""
    return models.CheckConstraint(condition=Q(checker=None) | ~Q(checker=F("maker")), name=name)
