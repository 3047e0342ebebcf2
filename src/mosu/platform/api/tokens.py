"""Signing in by token."""

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import StringConstraints

from mosu.kernel.ids import typeid
from mosu.platform import queries, services
from mosu.platform.actors import Scope
from mosu.platform.api.shapes import Password, Short
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    ApiToken,
    Organisation,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out
from mosu.wire.times import Moment

router = Router(auth=token_auth, tags=["platform"])


class TokenIn(In):
    email: Annotated[str, StringConstraints(max_length=254)]
    password: Password
    otp: Annotated[str, StringConstraints(max_length=20)] = ""
    name: Short
    scopes: list[Scope] = list(services.SCOPES_DEFAULT)
    organisation_id: str | None = None
    expires_at: Moment | None = None


class TokenOut(Out):
    id: str
    name: str
    scopes: list[Scope]
    organisation_id: str | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None

    @staticmethod
    def of(token: ApiToken) -> "TokenOut":
        return TokenOut(**_token(token))


class TokenMade(TokenOut):
    token: str
    """Shown this once."""


def _token(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.public_id,
        "name": token.name,
        "scopes": token.scopes,
        "organisation_id": typeid("org", token.organisation_id) if token.organisation_id else None,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


@router.post("/tokens", response={201: TokenMade}, auth=public_auth, operation_id="createToken")
@door("hub.enter")
def create_token(request: HttpRequest, body: TokenIn) -> Status[TokenMade]:
    """A token for e-mail address and password, and the code where the account asks for one."""
    token, secret = services.token_by_password(
        email=body.email,
        password=body.password,
        otp=body.otp,
        name=body.name,
        scopes=body.scopes,
        organisation_id=Organisation.key_of(body.organisation_id) if body.organisation_id else None,
        expires_at=body.expires_at,
        address=request.META.get("REMOTE_ADDR", ""),
        now=timezone.now(),
    )
    return Status(201, TokenMade(token=secret, **_token(token)))


@router.get("/tokens", response=Listed[TokenOut], operation_id="listTokens")
@door("self.read")
def list_tokens(request: HttpRequest, paging: Query[Paging]) -> Listed[TokenOut]:
    """The caller's tokens that are not revoked."""
    rows, after = page_of(queries.tokens_of(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[TokenOut.of(row) for row in rows], next=after)


@router.delete("/tokens/{token_id}", response={204: None}, operation_id="revokeToken")
@door("self.change")
def revoke_token(request: HttpRequest, token_id: str) -> Status[None]:
    """Make one of the caller's tokens void."""
    services.revoke_token(actor=actor_of(request), token_id=ApiToken.key_of(token_id), now=timezone.now())
    return Status(204, None)
