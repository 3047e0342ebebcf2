"""Tickets: what lets a browser in to a port of a session."""

from datetime import datetime

from ninja import Schema

from mosu.compute.services import MadeTicket
from mosu.platform.schemas import Out


class TicketIn(Schema):
    port: int


class TicketOut(Out):
    """`url` lets in whoever opens it first, until `expires_at`: give it to the person's own browser alone."""

    url: str
    expires_at: datetime

    @classmethod
    def of(cls, made: MadeTicket) -> "TicketOut":
        return cls(url=made.url, expires_at=made.expires_at)
