"""What can go wrong between a caller and a hub."""

from json import loads
from typing import Final

_DETAIL_CHARS_MAX: Final = 300


class ClientError(Exception):
    """What went wrong, and what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class ProblemError(ClientError):
    """The hub refused: an answer in the form of RFC 9457.

    `code` is the refusal's name (`sold_out`), `detail` what to do next, `facts` what a program needs to know.
    """

    def __init__(
        self, *, status: int, code: str, title: str, detail: str = "", facts: dict[str, object] | None = None
    ) -> None:
        super().__init__(title, hint=detail)
        self.status, self.code, self.title, self.detail = status, code, title, detail
        self.facts = facts or {}


class Unreachable(ClientError):
    """No answer came from the hub."""


class CutOff(ClientError):
    """The hub ended a connection to a run before its end; why is what it said."""


class BrokenAnswer(ClientError):
    """The hub's answer is not what the protocol says."""


class NotSignedIn(ClientError):
    """There is no hub or no token to use."""


class DamagedOutput(ClientError):
    """The bytes that came are not those that the hub names."""


def problem_of(status: int, body: str) -> ProblemError:
    """The refusal that an answer means, whether or not its body is a problem of RFC 9457."""
    try:
        problem = loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": " ".join(body.split())[:_DETAIL_CHARS_MAX]}
    known = {"type", "title", "status", "detail"}
    return ProblemError(
        status=status,
        code=str(problem.get("type", "")).rpartition(":")[2] or f"http_{status}",
        title=str(problem.get("title") or f"The hub answered {status}."),
        detail=_text(problem.get("detail")),
        facts={key: value for key, value in problem.items() if key not in known},
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
