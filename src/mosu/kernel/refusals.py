"""A refusal that the caller can act on. Anything else raised is a bug."""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class DomainError(Exception):
    """What was refused, and what to do about it.

    `message` says what happened and why, `hint` what to do next, `facts` what a program needs to know.
    The API turns it into `application/problem+json` (RFC 9457): `code` becomes the type, `status` the status.
    """

    code: ClassVar[str]
    status: ClassVar[int] = 409
    errors: Sequence[Mapping[str, object]] = ()
    """Where several things are wrong with what was sent: each of them, not the first alone."""

    def __init__(self, message: str, *, hint: str, **facts: str | int) -> None:
        super().__init__(message)
        self.message, self.hint, self.facts = message, hint, facts


class Invalid(DomainError):
    """The input breaks a rule: `facts` names `field`, `found` and `allowed` where they apply."""

    code = "invalid"
    status = 422


class NotFound(DomainError):
    """There is no such thing, or the actor may not know that there is."""

    code = "not_found"
    status = 404


class Forbidden(DomainError):
    """The actor is known and may not do this."""

    code = "forbidden"
    status = 403
