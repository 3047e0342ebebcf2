"""What a person says of themselves: name and language."""

from datetime import datetime
from typing import Final

from django.db import transaction

from mosu.kernel.refusals import Invalid
from mosu.platform.actors import Actor
from mosu.platform.models import User
from mosu.platform.policy import person_of, require
from mosu.platform.rules import name_of
from mosu.platform.services.audit import record_audit

LANGUAGES: Final = ("zh-hans", "en")


@transaction.atomic
def change_profile(
    *, actor: Actor, now: datetime, name: str | None = None, language: str | None = None
) -> User:
    """The actor's name and language as they are now; None leaves one as it was, empty text takes it back.

    Raises:
        Invalid: not a name, or a language that the hub does not speak.
    """
    require(actor, "self.change")
    user = User.objects.select_for_update().get(id=person_of(actor))
    if language not in (None, "", *LANGUAGES):
        raise Invalid(
            f"language: {language[:20]!r} is not spoken here.",
            hint=f"Choose from: {', '.join(LANGUAGES)}.",
            field="language",
            allowed=", ".join(LANGUAGES),
        )
    before = user.name
    user.name = before if name is None else name_of(name, characters_max=100) if name.strip() else ""
    user.language = user.language if language is None else language
    user.save(update_fields=["name", "language"])
    if user.name != before:
        record_audit(
            actor=actor, action="user.name", subject_id=user.id, before=before, after=user.name, now=now
        )
    return user
