"""How an operation of the API learns who asks: `auth=token_auth`, or `auth=public_auth` where anyone may look."""

from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer

from mosu.platform.actors import Actor
from mosu.platform.requests import actor_of


class TokenAuth(HttpBearer):
    """A token in the header `Authorization: Bearer mosu_...`; the policy then decides.

    With `optional`, a request without the header is anonymous; a bad token is refused all the same.
    """

    def __init__(self, *, optional: bool = False) -> None:
        super().__init__()
        self.optional = optional

    def __call__(self, request: HttpRequest) -> Any:
        if self.optional or request.headers.get("Authorization"):
            return actor_of(request)
        return None

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        return actor_of(request)


token_auth = TokenAuth()
public_auth = TokenAuth(optional=True)
