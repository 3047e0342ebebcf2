"""Pure decisions of the platform."""

import unicodedata
from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.actors import Scope

FOUNDED_MAX: Final = 3
"""Organisations that one person may own before a further one needs the operator: each gets a trial."""
TOKEN_DAYS: Final = 90
TOKEN_DAYS_MAX: Final = 366


class SamePerson(DomainError):
    """Public money moves only by two persons: who made it may not also check it."""

    code = "same_person"
    status = 403


def two_persons(maker_id: UUID | None, checker_id: UUID | None) -> None:
    """Pass if maker and checker are two known persons; tables hold the same with CHECK (maker_id <> checker_id).

    Raises:
        SamePerson: they are one, or one is nobody.
    """
    if maker_id is None or checker_id is None or maker_id == checker_id:
        raise SamePerson("Who made this may not also confirm it.", hint="Ask a second person of the hub.")


def name_of(text: str, *, field: str = "name", characters_max: int = 200) -> str:
    """`text` as it is kept: composed (NFC), inner spaces single, 2 to `characters_max` visible characters.

    Raises:
        Invalid: too short, too long, or with characters that cannot be seen or pass for others.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if is_seen(name) and not _looks_like_another(name) and 2 <= len(name) <= characters_max:
        return name
    raise Invalid(
        f"{field}: this is not a name.",
        hint=f"Write 2 to {characters_max} visible characters, Latin, Greek or Cyrillic letters not mixed.",
        field=field,
        found=name[:40],
    )


def is_seen(text: str) -> bool:
    """Whether nothing in it hides or turns what stands beside it.

    Cc, Cf, Cs, Co, Cn: control, direction and private characters make two texts look alike.
    """
    return all(unicodedata.category(character)[0] != "C" for character in text)


def words_of(field: str, text: str, longest: int) -> str:
    """What somebody wrote, as it is kept: without the spaces around it, 1 to `longest` characters.

    Raises:
        Invalid: nothing, too much, or with a character that PostgreSQL cannot keep.
    """
    words = text.strip()
    if words and len(words) <= longest and "\x00" not in words:
        return words
    raise Invalid(f"{field}: cannot be used.", hint=f"Write 1 to {longest} characters.", field=field)


def _looks_like_another(name: str) -> bool:
    """Whether letters stand in it for others of the same shape: of two alphabets, or full-width for ASCII."""
    letters = [character for character in name if character.isalnum()]
    alphabets = {unicodedata.name(letter, "").split(" ")[0] for letter in letters}
    wide = any(unicodedata.normalize("NFKC", letter).isascii() > letter.isascii() for letter in letters)
    return wide or len(alphabets & {"LATIN", "GREEK", "CYRILLIC"}) > 1


def scopes_of(asked: Set[str], held: Set[Scope]) -> list[str]:
    """The scopes of a new token, in the order in which they are shown.

    Raises:
        Invalid: none, an unknown one, or one that the maker does not hold.
    """
    allowed = [scope.value for scope in Scope if scope in held]
    if asked and asked <= set(allowed):
        return [scope for scope in allowed if scope in asked]
    raise Invalid(
        "scopes: a token has at least one, and none that its maker lacks.",
        hint=f"Choose from: {', '.join(allowed)}.",
        field="scopes",
        found=", ".join(sorted(asked))[:80],
        allowed=", ".join(allowed),
    )


def expiry_of(asked: datetime | None, *, now: datetime) -> datetime:
    """When a new token expires: as asked, else in 90 days.

    Raises:
        Invalid: in the past, or more than 366 days ahead.
    """
    expires_at = asked or now + timedelta(days=TOKEN_DAYS)
    if now < expires_at <= now + timedelta(days=TOKEN_DAYS_MAX):
        return expires_at
    raise Invalid(
        "expires_at: a token expires in the future, within 366 days.",
        hint="Leave it out for 90 days.",
        field="expires_at",
        found=expires_at.isoformat(),
    )


def in_both(texts: Mapping[str, str]) -> dict[str, str]:
    """A text for people, which mosu keeps in Chinese and in English."""
    if set(texts) != {"zh", "en"} or not all(texts.values()):
        raise ValueError("a text for people needs zh and en")
    return dict(texts)
