"""Lists in pages: a cursor stands after the last item seen, so that what is added meanwhile shifts nothing."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.core import signing
from django.db.models import Model, Q, QuerySet
from ninja import Schema
from pydantic import Field

from mosu.kernel.refusals import Invalid

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
_SALT: Final = "mosu.cursor"

ModelT = TypeVar("ModelT", bound=Model)
ItemT = TypeVar("ItemT")


class Paging(Schema):
    """`?limit=&cursor=` of every list: `paging: Query[Paging]`."""

    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(None, max_length=500)


class Listed(Schema, Generic[ItemT]):
    """One page of a list; `next` is the cursor of the page after it."""

    items: list[ItemT]
    next: str | None


def page_of(
    rows: QuerySet[ModelT], cursor: str | None = None, limit: int = LIMIT_DEFAULT
) -> tuple[list[ModelT], str | None]:
    """Up to `limit` rows after `cursor`, and the cursor of the page after them.

    `rows` must be ordered by its own columns that are never null, the last of them unique
    (such as `"-created_at", "-id"`).

    Raises:
        Invalid: not a cursor of a list in this order.
    """
    order = tuple(str(name) for name in rows.query.order_by)
    if not order:
        raise ValueError("a list without an order has no pages")
    if cursor:
        rows = rows.filter(_after(order, _values_of(cursor, order)))
    found = list(rows[: limit + 1])
    if len(found) <= limit:
        return found, None
    kept = found[:limit]
    return kept, _cursor_of(kept[-1], order)


def _after(order: Sequence[str], values: Sequence[Any]) -> Q:
    """The rows behind `values`: further in the first column, or equal there and further in the next.

    That the first column is not before is said again on its own: an index is then entered there, not read up to there.
    """
    condition, equal, first = Q(), Q(), Q()
    for name, value in zip(order, values, strict=True):
        column, further = (name[1:], "lt") if name.startswith("-") else (name, "gt")
        condition |= equal & Q(**{f"{column}__{further}": value})
        equal &= Q(**{column: value})
        first = first or Q(**{f"{column}__{further}e": value})
    return first & condition


def _cursor_of(row: Model, order: Sequence[str]) -> str:
    values = [_packed(getattr(row, name.lstrip("-"))) for name in order]
    return signing.dumps(values, salt=_salt(order))


def _values_of(cursor: str, order: Sequence[str]) -> list[Any]:
    try:
        return [_unpacked(packed) for packed in signing.loads(cursor, salt=_salt(order))]
    except signing.BadSignature:
        raise Invalid(
            "This cursor is not one of this list's.",
            hint="Take `next` of the page before, or leave it out for the first page.",
            field="cursor",
        ) from None


def _salt(order: Sequence[str]) -> str:
    """Binds a cursor to the order it was made in."""
    return f"{_SALT}:{','.join(order)}"


def _packed(value: Any) -> list[Any]:
    if isinstance(value, UUID):
        return ["u", value.hex]
    if isinstance(value, datetime):
        return ["t", value.isoformat()]
    if isinstance(value, date):
        return ["v", value.isoformat()]
    if isinstance(value, str | int):
        return ["v", value]
    raise TypeError(f"a list cannot be paged by a {type(value).__name__}")


def _unpacked(packed: list[Any]) -> Any:
    kind, value = packed
    if kind == "u":
        return UUID(value)
    return datetime.fromisoformat(value) if kind == "t" else value
