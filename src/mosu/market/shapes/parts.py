"""What several of the counter's bodies are made of."""

from typing import Annotated

from django.conf import settings
from pydantic import Field, StringConstraints

from mosu.kernel.money import decimal_of
from mosu.platform.schemas import In, Out

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Word = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
GoodsKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}(/[0-9]{1,2}(-shared)?)?$")]
"""A slug, or a share of what it names."""
Key = Annotated[str, StringConstraints(max_length=100)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
BasisPoints = Annotated[int, Field(ge=0, le=10_000)]


class BilingualIn(In):
    zh: Text
    en: Text


class Named(Out):
    id: str
    name: str


def hub_money(micros: int) -> str:
    """An amount in the hub's currency."""
    return decimal_of(micros, currency=settings.HUB_CURRENCY)
