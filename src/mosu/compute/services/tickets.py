"""Letting a person's browser in to a port of a session: a ticket, redeemed once for a cookie of that app's host.

The hub's own cookies never reach an app's host, so what lets in there is made here and carried over by the address.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from django.db import transaction

from mosu.compute.app_hosts import AppHost, has_apps_host
from mosu.compute.models import Attempt, Run, Ticket
from mosu.compute.requests import RunRequest
from mosu.compute.services.connections import Granted, open_connection, reached_port
from mosu.compute.session_apps import APPS
from mosu.kernel.refusals import DomainError
from mosu.platform.actors import Actor
from mosu.platform.policy import Unauthenticated, person_of
from mosu.platform.queries import actor_for_user, bearer_of
from mosu.platform.rows import insert
from mosu.platform.sign_ins import users_signed_in

REDEEMED_WITHIN: Final = timedelta(seconds=60)
COOKIE_AT_MOST: Final = timedelta(hours=12)
OPEN_PATH: Final = "/.mosu/open"
"""Where an app's host takes tickets; everything else there is the app's, but for what begins with `/.mosu/`."""
SECRET_BYTES: Final = 32
"""Of tickets and cookies."""


class NoAppsHost(DomainError):
    """This hub serves no app in the browser."""

    code = "no_apps_host"


class TicketRefused(DomainError):
    """The ticket is none, was used, came late, or is for something else."""

    code = "ticket_refused"
    status = 403


@dataclass(frozen=True, slots=True)
class MadeTicket:
    """`url` is where a browser redeems it; it is secret until then, and cannot be shown again."""

    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The cookie's text, until when it holds, and where in the app its person begins."""

    cookie: str
    expires_at: datetime
    path: str


@transaction.atomic(durable=True)
def make_ticket(*, actor: Actor, run_id: UUID, port: int, sign_in: str, now: datetime) -> MadeTicket:
    """A ticket to a port of a session for the actor's browser; `sign_in` is the key of their session on pages, empty
    where they come with a token.

    Raises:
        NoAppsHost: the hub's operator set none.
        what `reached_port` raises.
    """
    run, _ = reached_port(actor=actor, run_id=run_id, port=port, now=now)
    if not has_apps_host():
        raise NoAppsHost(
            "This hub opens no app in the browser.",
            hint="Its operator sets MOSU_APPS_HOST; until then: mosu port-forward.",
        )
    if actor.token_id is None and not sign_in:
        raise Unauthenticated("This needs a person.", hint="Sign in.")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    ticket = Ticket(
        run=run,
        user_id=person_of(actor),
        token_id=actor.token_id,
        sign_in="" if actor.token_id else sign_in,
        port=port,
        secret_sha256=sha256_of(secret),
        made_at=now,
        expires_at=now + REDEEMED_WITHIN,
    )
    insert(ticket)
    url = f"{AppHost(run.id, port).origin}{OPEN_PATH}?{urlencode({'ticket': secret})}"
    return MadeTicket(url=url, expires_at=ticket.expires_at)


@transaction.atomic(durable=True)
def redeem_ticket(*, secret: str, run_id: UUID, port: int, now: datetime) -> Redeemed:
    """The cookie for the ticket, once: it holds for as long as the session has its place, and 12 hours at most.

    Raises:
        TicketRefused: there is none for this port of this run, it was redeemed, or its time or its sign-in is over.
        what `reached_port` raises.
    """
    waiting = Ticket.objects.filter(secret_sha256=sha256_of(secret), run_id=run_id, port=port)
    ticket = waiting.filter(redeemed_at=None, expires_at__gt=now).select_for_update().first()
    actor = actor_behind(ticket, now=now) if ticket else None
    if ticket is None or actor is None:
        raise TicketRefused(
            "This link was used already, or its time is over.", hint="Open it anew from the page of the run."
        )
    run, attempt = reached_port(actor=actor, run_id=run_id, port=port, now=now)
    cookie = secrets.token_urlsafe(SECRET_BYTES)
    ticket.redeemed_at, ticket.cookie_sha256 = now, sha256_of(cookie)
    ticket.cookie_expires_at = _ends_at(attempt, now=now)
    ticket.save(update_fields=["redeemed_at", "cookie_sha256", "cookie_expires_at"])
    return Redeemed(cookie=cookie, expires_at=ticket.cookie_expires_at, path=_path(run, attempt, port))


def enter_by_cookie(*, cookie_sha256: str, run_id: UUID, port: int, now: datetime) -> Granted:
    """Open the connection of whoever comes with this cookie to this port of this run.

    Raises:
        Unauthenticated: the cookie is unknown, of another app, or its time or its sign-in is over.
        what `open_connection` raises.
    """
    ticket = Ticket.objects.filter(
        cookie_sha256=cookie_sha256, run_id=run_id, port=port, cookie_expires_at__gt=now
    ).first()
    actor = actor_behind(ticket, now=now) if ticket else None
    if ticket is None or actor is None:
        raise not_entered()
    return open_connection(actor=actor, run_id=run_id, port=port, now=now, ticket_id=ticket.id)


def not_entered() -> Unauthenticated:
    """The refusal of a browser that has no cookie which lets it in."""
    return Unauthenticated(
        "You are not joined to this session, or no longer.", hint="Open it from the page of its run."
    )


def sha256_of(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def actor_behind(ticket: Ticket, *, now: datetime) -> Actor | None:
    """The person as they are now, by what the ticket was made with; None where that holds no more."""
    if ticket.token is not None:
        bearer = bearer_of(ticket.token.secret_sha256, now=now)
        return bearer.actor if bearer else None
    user = users_signed_in({ticket.sign_in}, now=now).get(ticket.sign_in)
    return actor_for_user(user) if user is not None and user.id == ticket.user_id else None


def _ends_at(attempt: Attempt, *, now: datetime) -> datetime:
    ends: list[datetime] = [one.period.upper for one in attempt.allocations.filter(live=True)]
    return min([now + COOKIE_AT_MOST, *ends])


def _path(run: Run, attempt: Attempt, port: int) -> str:
    """An app may ask for a token once: the person, who may be here, need not look for it."""
    found = [APPS[app] for app in RunRequest.of_json(run.request).apps if APPS[app].port == port]
    return (found[0].opens(attempt.public_id) if found else "") or "/"
