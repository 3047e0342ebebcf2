"""What all calls of `/api/v1` have in common."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote as quoted

from pydantic import BaseModel, ValidationError

from mosu.client.errors import BrokenAnswer
from mosu.client.models import Page
from mosu.client.transport import Transport

if TYPE_CHECKING:
    from mosu.wire.manifest import LocalFile

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Calls:
    """What asks the hub, for the calls of one subject to stand on."""

    _hub: Transport

    def _get(self, model: type[AnswerT], path: str) -> AnswerT:
        return read(model, self._hub.json("GET", path, repeat=True))

    def _page(
        self, model: type[AnswerT], path: str, *, limit: int | None, cursor: str | None, **params: Any
    ) -> Page[AnswerT]:
        params |= given(limit=limit, cursor=cursor)
        return read(Page[model], self._hub.json("GET", path, repeat=True, params=params))  # type: ignore[valid-type]


def read(model: type[AnswerT], answer: object) -> AnswerT:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BrokenAnswer(
            f"The hub's answer cannot be read: {where}: {first['msg']}.",
            hint="Update mosu, or check the address.",
        ) from error


def folder_of(files: "Sequence[LocalFile]") -> list[dict[str, Any]]:
    return [
        {
            "path": file.entry.path,
            "sha256": file.entry.sha256,
            "size_bytes": file.entry.size_bytes,
            "executable": file.entry.executable,
        }
        for file in files
    ]


def given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def segment(text: str) -> str:
    return quoted(text, safe="")
