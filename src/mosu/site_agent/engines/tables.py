"""An engine's table of the agent's settings, checked whole by its model."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mosu.kernel.refusals import Invalid

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_table(model: type[ModelT], name: str, found: Mapping[str, Any], *, missing: str = "") -> ModelT:
    """The settings; `missing` is the hint where a key without a default is not there.

    Raises:
        Invalid: a key or a value is wrong; the message names it.
    """
    try:
        return model(**found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = f"Its keys: {', '.join(model.model_fields)}."
        if missing and first["type"] == "missing":
            hint = missing
        raise Invalid(f"{name}.{key}: {first['msg']}.", hint=hint, field=key) from error
