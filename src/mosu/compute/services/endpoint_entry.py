"""Who may ask at an endpoint: a program with one of its keys, a browser of whoever is signed in, or anybody."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from django.db import connection, transaction

from mosu.compute.app_hosts import EndpointHost, has_apps_host
from mosu.compute.models import Endpoint, EndpointKey, Ticket
from mosu.compute.services.tickets import (
    COOKIE_AT_MOST,
    OPEN_PATH,
    REDEEMED_WITHIN,
    SECRET_BYTES,
    MadeTicket,
    NoAppsHost,
    Redeemed,
    TicketRefused,
    actor_behind,
    sha256_of,
)
from mosu.compute.states import EndpointState
from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform.actors import Actor
from mosu.platform.policy import Unauthenticated, person_of, require
from mosu.platform.rows import insert
from mosu.platform.sign_ins import users_signed_in

_REVOKED: Final = "its key was revoked"
_SIGNED_OUT: Final = "the sign-in that opened it has ended"
_COOKIE_EXPIRED: Final = "its time in the browser is over"


class NoSignInThere(DomainError):
    """The endpoint does not ask who is signed in."""

    code = "no_sign_in_there"


@dataclass(frozen=True, slots=True)
class Entry:
    """By what somebody may ask: a key, a ticket's cookie with its person, or nothing where anybody may."""

    key_id: UUID | None = None
    ticket_id: UUID | None = None
    user_id: UUID | None = None


@transaction.atomic(durable=True)
def make_endpoint_ticket(
    *, actor: Actor, endpoint_id: UUID, sign_in: str, path: str, now: datetime
) -> MadeTicket:
    """A ticket to an endpoint for the browser of whoever is signed in at the hub; they begin there at `path`.

    Raises:
        NotFound: there is no such endpoint, or no longer.
        NoSignInThere: it asks for a key, or for nothing.
        NoAppsHost: the hub's operator set none.
        Unauthenticated: nobody is signed in on pages.
    """
    require(actor, "endpoint.enter")
    endpoint = Endpoint.objects.filter(id=endpoint_id, state=EndpointState.OPEN).first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.", hint="Ask its owner for its address.")
    if endpoint.auth != "hub":
        raise NoSignInThere("This endpoint does not ask who is signed in.", hint="Open its address itself.")
    if not has_apps_host():
        raise NoAppsHost("This hub opens no endpoint.", hint="Its operator sets MOSU_APPS_HOST.")
    if actor.token_id is not None or not sign_in:
        raise Unauthenticated("This needs a person.", hint="Sign in.")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    ticket = Ticket(
        endpoint=endpoint,
        user_id=person_of(actor),
        sign_in=sign_in,
        secret_sha256=sha256_of(secret),
        made_at=now,
        expires_at=now + REDEEMED_WITHIN,
    )
    insert(ticket)
    asked = urlencode({"ticket": secret, "path": path})
    return MadeTicket(
        url=f"{EndpointHost(endpoint.label).origin}{OPEN_PATH}?{asked}", expires_at=ticket.expires_at
    )


@transaction.atomic(durable=True)
def redeem_endpoint_ticket(*, secret: str, endpoint_id: UUID, now: datetime) -> Redeemed:
    """The cookie for the ticket, once: it holds for 12 hours at most.

    Raises:
        TicketRefused: there is none for this endpoint, it was redeemed, or its time or its sign-in is over.
    """
    waiting = Ticket.objects.filter(secret_sha256=sha256_of(secret), endpoint_id=endpoint_id)
    ticket = waiting.filter(redeemed_at=None, expires_at__gt=now).select_for_update().first()
    if ticket is None or actor_behind(ticket, now=now) is None:
        raise TicketRefused(
            "This link was used already, or its time is over.", hint="Open the endpoint's address anew."
        )
    cookie = secrets.token_urlsafe(SECRET_BYTES)
    ticket.redeemed_at, ticket.cookie_sha256 = now, sha256_of(cookie)
    ticket.cookie_expires_at = now + COOKIE_AT_MOST
    ticket.save(update_fields=["redeemed_at", "cookie_sha256", "cookie_expires_at"])
    return Redeemed(cookie=cookie, expires_at=ticket.cookie_expires_at, path="/")


def entry_by_key(*, secret_sha256: str, endpoint_id: UUID) -> Entry | None:
    """What this key is worth at this endpoint; None: nothing, whatever it is worth elsewhere."""
    found = EndpointKey.objects.filter(
        secret_sha256=secret_sha256, endpoint_id=endpoint_id, revoked_at=None
    ).first()
    return Entry(key_id=found.id) if found else None


def entry_by_cookie(*, cookie_sha256: str, endpoint_id: UUID, now: datetime) -> Entry | None:
    """Whose browser comes with this cookie to this endpoint; None: nobody's who is signed in."""
    ticket = Ticket.objects.filter(
        cookie_sha256=cookie_sha256, endpoint_id=endpoint_id, cookie_expires_at__gt=now
    ).first()
    if ticket is None or actor_behind(ticket, now=now) is None:
        return None
    return Entry(ticket_id=ticket.id, user_id=ticket.user_id)


@transaction.atomic(durable=True)
def renew_entries(
    *, entries: Collection[Entry], used: Mapping[UUID, datetime], now: datetime
) -> Mapping[Entry, str]:
    """Note when keys were last used, and tell which entries hold no more, with why; three statements, however many."""
    keys = [entry.key_id for entry in entries if entry.key_id is not None]
    holding_keys = set(EndpointKey.objects.filter(id__in=keys, revoked_at=None).values_list("id", flat=True))
    over = {
        entry: _REVOKED for entry in entries if entry.key_id is not None and entry.key_id not in holding_keys
    }
    if noted := sorted((key, at) for key, at in used.items() if key in holding_keys):
        with connection.cursor() as cursor:
            cursor.execute(_NOTE_USED, [[key for key, _ in noted], [at for _, at in noted]])
    by_ticket = {entry.ticket_id: entry for entry in entries if entry.ticket_id is not None}
    tickets = Ticket.objects.in_bulk(list(by_ticket))
    holding = users_signed_in({ticket.sign_in for ticket in tickets.values()}, now=now) if tickets else {}
    for ticket_id, ticket in tickets.items():
        user = holding.get(ticket.sign_in)
        if ticket.cookie_expires_at is None or ticket.cookie_expires_at <= now:
            over[by_ticket[ticket_id]] = _COOKIE_EXPIRED
        elif user is None or user.id != ticket.user_id:
            over[by_ticket[ticket_id]] = _SIGNED_OUT
    return over


# Locked in the order of their ids.
_NOTE_USED: Final = """
with told as (select * from unnest(%s::uuid[], %s::timestamptz[]) as told(id, at)),
held as (
  select k.id from compute_endpointkey k where k.id in (select id from told) order by k.id for no key update)
update compute_endpointkey k set used_at = greatest(k.used_at, told.at)
  from told, held where k.id = told.id and k.id = held.id
"""
