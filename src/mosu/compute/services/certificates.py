"""Letting a person's key into a session by `ssh`: a certificate for it, which lives no longer than the session may.

The certificate opens nothing by itself: the server listens on the session's own loopback, and whoever comes there was
joined by the relay, which asks every half a minute whether they still may.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
    ssh_key_fingerprint,
)
from django.db import transaction

from mosu.compute.models import Attempt, Pool
from mosu.compute.requests import RunRequest
from mosu.compute.services.connections import reached_port
from mosu.compute.session_apps.ssh import authority, host_key_of
from mosu.kernel.ids import typeid
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import ApiToken, User
from mosu.platform.policy import person_of
from mosu.platform.queries import actor_for_user, bearer_of
from mosu.platform.services import record_audit
from mosu.wire.ssh import SSH_PORT

KEY_CHARS_MAX: Final = 8_192
LIFE_MAX: Final = timedelta(hours=24)
_BEFORE: Final = timedelta(minutes=1)
"""A supplier's clock may be so much behind what was last heard of it."""
_CLOCK_OFF_S_MAX: Final = 3_600.0
_RSA_BITS_MIN: Final = 3_072
_EXTENSIONS: Final = (b"permit-port-forwarding", b"permit-pty")

PersonsKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


class NoSuchApp(DomainError):
    """The session was bought without it."""

    code = "no_such_app"


@dataclass(frozen=True, slots=True)
class Certified:
    """`certificate` is the line of a `-cert.pub` file; `host_key` the one key that the session's server may show."""

    certificate: str
    enters_as: str
    """The user's name at the hub's own port for ssh: what the right to come in hangs on."""
    host_key: str
    valid_until: datetime


@transaction.atomic(durable=True)
def certify_key(*, actor: Actor, run_id: UUID, public_key: str, now: datetime) -> Certified:
    """Let the person into the session with this key, until what holds the session ends and for a day at most.

    Raises:
        NotFound: there is no such run, or the actor may not know.
        Forbidden: they may not run things in the run's organisation; the hub's own people may not either.
        Invalid: it is no public key, or of a kind that is refused.
        NotASession, NotRunning, PoolAway: nobody can be joined to it.
        NoSuchApp: the session has no ssh.
    """
    run, attempt = reached_port(actor=actor, run_id=run_id, port=SSH_PORT, now=now)
    key = _key_of(public_key)
    if "ssh" not in RunRequest.of_json(run.request).apps:
        raise NoSuchApp(
            "This session has no ssh.", hint="Set mosu: {kind: session, apps: [ssh]} and run it again."
        )
    until = min([now + LIFE_MAX, *_ends_of(attempt)])
    off = _clock_off(run.pool)
    way_in = (
        typeid(ApiToken.prefix, actor.token_id) if actor.token_id else typeid(User.prefix, person_of(actor))
    )
    record_audit(
        actor=actor,
        action="run.key_certified",
        subject_id=run.id,
        before=None,
        after=None,
        now=now,
        organisation_id=run.organisation_id,
        facts={"fingerprint": _fingerprint(key), "valid_until": until.isoformat()},
    )
    return Certified(
        certificate=certificate_for(
            key,
            principals=(attempt.public_id, way_in),
            key_id=typeid(User.prefix, person_of(actor)),
            since=now + min(off, timedelta(0)) - _BEFORE,
            until=until + off,
        ),
        enters_as=way_in,
        host_key=host_key_of(attempt.public_id),
        valid_until=until,
    )


def entering(name: str, *, now: datetime) -> Actor | None:
    """Who comes to the hub's own port with a certificate for this name, as they are now: a person, or whoever holds a
    token; None: the person was disabled, the token revoked or is past its time.
    """
    try:
        if name.startswith(f"{ApiToken.prefix}_"):
            token = ApiToken.objects.filter(id=ApiToken.key_of(name)).first()
            bearer = bearer_of(token.secret_sha256, now=now) if token else None
            return bearer.actor if bearer else None
        user = User.objects.filter(id=User.key_of(name), is_active=True).first()
    except NotFound:
        return None
    return actor_for_user(user) if user else None


def certificate_for(
    key: PersonsKey, *, principals: Sequence[str], key_id: str, since: datetime, until: datetime
) -> str:
    """The hub's word that who holds the key may come in as each of `principals`; servers log `key_id`."""
    made = (
        SSHCertificateBuilder()
        .public_key(key)
        .type(SSHCertificateType.USER)
        .key_id(key_id.encode())
        .valid_principals([principal.encode() for principal in principals])
        .valid_after(since.timestamp())
        .valid_before(until.timestamp())
    )
    for extension in _EXTENSIONS:
        made = made.add_extension(extension, b"")
    return made.sign(authority()).public_bytes().decode()


def _key_of(text: str) -> PersonsKey:
    """
    Raises:
        Invalid: it is none, or too weak, or of a kind that OpenSSH itself no longer takes.
    """
    try:
        key = load_ssh_public_key(text.strip().encode()) if len(text) <= KEY_CHARS_MAX else None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    is_taken = isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey) or (
        isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN
    )
    if not is_taken or not isinstance(key, PersonsKey):
        raise Invalid(
            "public_key: this is no public key that is taken here.",
            hint=f"Taken are ed25519, ecdsa, and rsa of {_RSA_BITS_MIN} bits or more: ssh-keygen -t ed25519.",
            field="public_key",
        )
    return key


def _ends_of(attempt: Attempt) -> list[datetime]:
    """Until when each thing that the attempt runs on is its."""
    return [one.period.upper for one in attempt.allocations.filter(live=True).order_by("id")]


def _clock_off(pool: Pool) -> timedelta:
    """By how much the clock that will read the certificate is ahead, as far as that is an honest clock's error."""
    return timedelta(seconds=max(-_CLOCK_OFF_S_MAX, min(pool.clock_skew_s, _CLOCK_OFF_S_MAX)))


def _fingerprint(key: PersonsKey) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + b64encode(ssh_key_fingerprint(key, SHA256())).decode().rstrip("=")
