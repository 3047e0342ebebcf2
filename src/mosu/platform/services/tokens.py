"""API tokens: made once, shown once, kept as a hash."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction

from mosu.kernel.refusals import DomainError, Forbidden, NotFound
from mosu.platform.actors import Actor, Scope
from mosu.platform.models import ApiToken, User
from mosu.platform.policy import person_of, require
from mosu.platform.queries import actor_for_user
from mosu.platform.requests import TOKEN_PREFIX
from mosu.platform.rules import expiry_of, name_of, scopes_of
from mosu.platform.services.audit import record_audit
from mosu.platform.services.guessing import CodeUsed, code_counted, count_password, forgive_password

SCOPES_DEFAULT: Final = (Scope.READ, Scope.BUY)


class WrongCredentials(DomainError):
    """E-mail address, password and code do not belong together; which of them is wrong is not told."""

    code = "wrong_credentials"
    status = 401


class CodeNeeded(DomainError):
    """The password is right, and the account also asks for the code of the authenticator app."""

    code = "code_needed"
    status = 401


class EmailUnverified(Forbidden):
    """The account's e-mail address was not confirmed yet."""

    code = "email_unverified"


@transaction.atomic
def make_token(
    *,
    actor: Actor,
    name: str,
    scopes: Iterable[str],
    now: datetime,
    organisation_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """A token for the actor, and its secret, which nobody can show again.

    With an organisation it speaks for that one alone, without hub roles.

    Raises:
        Unauthenticated: the actor is no person.
        NotFound: the actor is no member of the organisation.
        Invalid: no name, a scope that the actor lacks, or an expiry not within 366 days.
    """
    user_id = person_of(actor)
    if organisation_id is not None and organisation_id not in actor.roles:
        raise NotFound("You are in no such organisation.", hint="See GET /api/v1/me.")
    secret = TOKEN_PREFIX + secrets.token_hex(24)
    token = ApiToken.objects.create(
        user_id=user_id,
        organisation_id=organisation_id,
        name=name_of(name, characters_max=100),
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=scopes_of(frozenset(scopes), actor.scopes),
        created_at=now,
        expires_at=expiry_of(expires_at, now=now),
    )
    _audit(actor, "token.make", token, before=None, after="live", now=now)
    return token, secret


def token_by_password(
    *,
    email: str,
    password: str,
    name: str,
    now: datetime,
    otp: str = "",
    scopes: Iterable[str] = SCOPES_DEFAULT,
    organisation_id: UUID | None = None,
    expires_at: datetime | None = None,
    address: str = "",
) -> tuple[ApiToken, str]:
    """A token for whoever knows the password (and the code, if the account has an authenticator app).

    An unknown address takes as long as a wrong password. `address` is the caller's network address.

    Raises:
        TooMany: too many failures of this e-mail address or network address.
        WrongCredentials: they do not belong together.
        CodeNeeded: `otp` is missing.
        EmailUnverified: mail is configured and the address was not confirmed.
        NotFound, Invalid: as `make_token`.
    """
    email = email.strip().lower()
    count_password(email=email, address=address, now=now)
    user = _user_by_password(email, password)
    _check_second_factor(user, otp, now=now)
    forgive_password(email=email, address=address)
    verified = EmailAddress.objects.filter(user=user, email__iexact=email, verified=True)
    if settings.ACCOUNT_EMAIL_VERIFICATION == "mandatory" and not verified.exists():
        raise EmailUnverified("Your e-mail address is not confirmed.", hint="Open the link in the mail.")
    return make_token(
        actor=actor_for_user(user),
        name=name,
        scopes=scopes,
        organisation_id=organisation_id,
        expires_at=expires_at,
        now=now,
    )


@transaction.atomic(durable=True)
def revoke_token(*, actor: Actor, token_id: UUID, now: datetime) -> ApiToken:
    """The actor's token, void from now on; revoked twice, the first time stays.

    Raises:
        NotFound: the actor has no such token.
    """
    require(actor, "self.change")
    token = ApiToken.objects.select_for_update().filter(id=token_id, user=actor.id).first()
    if token is None:
        raise NotFound("You have no such token.", hint="See GET /api/v1/tokens.")
    if token.revoked_at is None:
        token.revoked_at = now
        token.save(update_fields=["revoked_at"])
        _audit(actor, "token.revoke", token, before="live", after="revoked", now=now)
    return token


def _user_by_password(email: str, password: str) -> User:
    user = User.objects.filter(email__iexact=email, is_active=True).first()
    if user is None:
        make_password(password)  # as long as a check takes
    elif user.check_password(password):
        return user
    raise WrongCredentials(
        "E-mail address and password do not belong together.", hint="Check both, or set a new password."
    )


def _check_second_factor(user: User, otp: str, *, now: datetime) -> None:
    types = [Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES]
    known = list(Authenticator.objects.filter(user=user, type__in=types).order_by("id"))
    if not any(one.type == Authenticator.Type.TOTP for one in known):
        return
    if not otp:
        raise CodeNeeded("This account asks for a code.", hint="Send `otp`: the six digits of your app.")
    wrong = WrongCredentials("This code is wrong or was used.", hint="Wait for the next code.")
    try:
        with code_counted(user_id=user.id, code=otp, now=now):
            if not any(one.wrap().validate_code(otp) for one in known):
                raise wrong
    except CodeUsed:
        raise wrong from None


def _audit(
    actor: Actor, action: str, token: ApiToken, *, before: str | None, after: str, now: datetime
) -> None:
    record_audit(
        actor=actor,
        action=action,
        subject_id=token.id,
        organisation_id=token.organisation_id,
        before=before,
        after=after,
        now=now,
        facts={"name": token.name, "scopes": list(token.scopes)},
    )
