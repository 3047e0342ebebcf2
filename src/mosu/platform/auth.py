"""How an operation of the API learns who asks: `auth=token_auth`, or `auth=public_auth` where anyone may look."""

from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer

from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.platform.requests import actor_of


class TokenAuth(HttpBearer):
    """A token in the header `Authorization: Bearer mosu_...`; the policy then decides.

    With `optional`, a request without the header is anonymous; a bad token is refused all the same.
    """

    def __init__(self, *, optional: bool = False, action: str = "") -> None:
        super().__init__()
        self.optional = optional
        self.action = action

    def before(self, action: str) -> "TokenAuth":
        """The same, and the policy is asked for `action` at once: before the body is read."""
        return TokenAuth(optional=self.optional, action=action)

    def __call__(self, request: HttpRequest) -> Any:
        if not self.optional and not request.headers.get("Authorization"):
            return None
        actor = actor_of(request)
        if self.action:
            require(actor, self.action)
        return actor

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        return actor_of(request)


token_auth = TokenAuth()
public_auth = TokenAuth(optional=True)
