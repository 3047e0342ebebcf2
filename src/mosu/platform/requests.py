"""Who sends a request: by session on pages, by token on the API and the data plane."""

import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone

from mosu.kernel.languages import Language, language_asked
from mosu.kernel.refusals import Invalid
from mosu.platform.actors import ANONYMOUS, Actor
from mosu.platform.models import ApiToken, Organisation, User
from mosu.platform.policy import Unauthenticated
from mosu.platform.queries import Bearer, Person, bearer_of, person_and_roles

TOKEN_PREFIX = "mosu_"  # noqa: S105 -- what every token begins with is no secret
KEY_CHARACTERS_MAX = 100
USE_NOTED_EVERY = timedelta(hours=1)


def actor_of(request: HttpRequest) -> Actor:
    """The actor of this request, resolved once.

    Raises:
        Unauthenticated: a token was sent that is unknown, expired or revoked.
    """
    known: Any = getattr(request, "mosu_actor", None)
    if known is None:
        known = _resolve(request)
        request.mosu_actor = known  # type: ignore[attr-defined]
    return known  # type: ignore[no-any-return]


def _resolve(request: HttpRequest) -> Actor:
    header = request.headers.get("Authorization", "")
    if header:
        return actor_of_authorization(header, now=timezone.now())
    person = person_signed_in(request)
    return person.actor if person else ANONYMOUS


def person_signed_in(request: HttpRequest) -> Person | None:
    """Whose session it is, asked once in a request; None for strangers and for who sends a token."""
    if not hasattr(request, "mosu_person"):
        user = None if "Authorization" in request.headers else getattr(request, "user", None)
        known = None
        if isinstance(user, User) and user.is_active:
            chosen = request.session.get("organisation_id")
            known = person_and_roles(user, organisation_id=UUID(chosen) if chosen else None)
        request.mosu_person = known  # type: ignore[attr-defined]
    found: Person | None = request.mosu_person  # type: ignore[attr-defined]
    return found


def organisation_asked(actor: Actor, named: str | None) -> UUID:
    """The organisation that a request names, else the actor's own.

    Raises:
        Invalid: there is neither.
    """
    found = Organisation.key_of(named) if named else actor.organisation_id
    if found is None:
        raise Invalid(
            "For which organisation?", hint="Name it, or use a token made for one.", field="organisation_id"
        )
    return found


def actor_of_authorization(header: str, *, now: datetime) -> Actor:
    """The actor of an `Authorization` header, for Django and the data plane alike.

    Raises:
        Unauthenticated: not a bearer token of mosu's, or unknown, expired or revoked.
    """
    scheme, _, secret = header.partition(" ")
    if scheme.lower() == "bearer" and secret.startswith(TOKEN_PREFIX):
        bearer = bearer_of(hashlib.sha256(secret.encode()).hexdigest(), now=now)
        if bearer is not None:
            _note_use(bearer, now)
            return bearer.actor
    raise Unauthenticated(
        "This token is unknown, expired or revoked.",
        hint="Make a new one: mosu login, or on the page of your account.",
    )


def _note_use(bearer: Bearer, now: datetime) -> None:
    """At most hourly: a write on every request would cost more than what it tells."""
    if bearer.last_used_at is None or now - bearer.last_used_at > USE_NOTED_EVERY:
        ApiToken.objects.filter(id=bearer.token_id).update(last_used_at=now)


def key_of(request: HttpRequest) -> str:
    """The request's idempotency key: 1 to 100 printable ASCII characters.

    Raises:
        Invalid: the header is missing or is not such a key.
    """
    key: str = request.headers.get("Idempotency-Key", "")
    if 1 <= len(key) <= KEY_CHARACTERS_MAX and all("!" <= character <= "~" for character in key):
        return key
    raise Invalid(
        "The header Idempotency-Key is missing or is not a key.",
        hint=f"Send 1 to {KEY_CHARACTERS_MAX} printable ASCII characters without spaces, such as a new UUID.",
        field="Idempotency-Key",
    )


def language_of_request(request: HttpRequest) -> Language:
    """The language in which an answer of the API says its sentences: as `Accept-Language` asks."""
    return language_asked(request.headers.get("Accept-Language", ""))
