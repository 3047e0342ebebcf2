"""Connections: who was joined to which port of a session."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints

from mosu.compute.models import Connection, Guest
from mosu.compute.services.connections import AppReached
from mosu.kernel.languages import Language, said
from mosu.platform.schemas import In, Out


class AppOut(Out):
    """An app of a session: `path` at `port` lets a browser in. It is a secret; empty where no browser comes in."""

    app: str
    port: int
    path: str

    @classmethod
    def of(cls, app: AppReached) -> "AppOut":
        return cls(app=app.app, port=app.port, path=app.path)


class AppsOut(Out):
    """In the order in which the task names them."""

    items: list[AppOut]

    @classmethod
    def of(cls, apps: Sequence[AppReached]) -> "AppsOut":
        return cls(items=[AppOut.of(app) for app in apps])


class ConnectionOut(Out):
    """`bytes_in` went from the person to the run, `bytes_out` came back; what they said nobody keeps."""

    id: str
    user: str
    """The person's e-mail address."""
    port: int
    opened_at: datetime
    seen_at: datetime
    closed_at: datetime | None
    why: str
    """Why it was closed; empty while it is open."""
    bytes_in: int
    bytes_out: int

    @classmethod
    def of(cls, row: Connection, *, language: Language) -> "ConnectionOut":
        return cls(
            id=row.public_id,
            user=row.user.email,
            port=row.port,
            opened_at=row.opened_at,
            seen_at=row.seen_at,
            closed_at=row.closed_at,
            why=said(row.why, language),
            bytes_in=row.bytes_in,
            bytes_out=row.bytes_out,
        )


class GuestIn(In):
    """A member of the session's organisation."""

    email: Annotated[str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^\x00]*$")]


class GuestOut(Out):
    id: str
    user: str
    """The person's e-mail address."""
    let_in_at: datetime

    @classmethod
    def of(cls, row: Guest) -> "GuestOut":
        return cls(id=row.public_id, user=row.user.email, let_in_at=row.let_in_at)
