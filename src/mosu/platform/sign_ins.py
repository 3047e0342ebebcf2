"""Sign-ins on pages, by the keys of their sessions: for what lasts longer than a request and must end with them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.utils.crypto import constant_time_compare

from mosu.platform.models import User


def users_signed_in(keys: Collection[str], *, now: datetime) -> Mapping[str, User]:
    """Whose sign-ins these are, of those that hold: not signed out, not expired, no new password since, not disabled.

    Two statements, however many they are.
    """
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=now)
    kept = {session.session_key: session.get_decoded() for session in sessions}
    users = User.objects.in_bulk(
        [UUID(facts[SESSION_KEY]) for facts in kept.values() if SESSION_KEY in facts]
    )
    found = {}
    for key, facts in kept.items():
        user = users.get(UUID(facts[SESSION_KEY])) if SESSION_KEY in facts else None
        if user is not None and user.is_active and _made_with(user, facts.get(HASH_SESSION_KEY, "")):
            found[key] = user
    return found


def _made_with(user: User, digest: str) -> bool:
    """Whether the session was made with the password that the user has now."""
    return constant_time_compare(digest, user.get_session_auth_hash())
