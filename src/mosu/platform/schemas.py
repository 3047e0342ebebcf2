"""What every body of the API has in common."""

from typing import Annotated, Any

from ninja import Schema
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Id = Annotated[str, StringConstraints(max_length=80)]
"""An id in a body: what is longer is none."""


class Out(BaseModel):
    """A body that the API answers, made and checked by whoever builds it.

    ninja checks a `Schema` of its own once more on its way out, attribute by attribute: a third of a small answer.
    """

    model_config = ConfigDict(from_attributes=True)


class In(Schema):
    """A request's body: an unknown member is refused, so that a misspelt one is not silently ignored.

    So are characters that PostgreSQL cannot keep (U+0000).
    """

    model_config = ConfigDict(extra="forbid", str_max_length=20_000)

    @model_validator(mode="after")
    def _keepable(self) -> "In":
        if _has_nul(self.__dict__):
            raise ValueError("the character U+0000 cannot be kept")
        return self


class Bilingual(Out):
    """A text in both languages."""

    zh: str
    en: str


class WhyIn(In):
    """The reason, which is kept."""

    why: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(inner) for pair in value.items() for inner in pair)
    return isinstance(value, list | tuple) and any(_has_nul(inner) for inner in value)
