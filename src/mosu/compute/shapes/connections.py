"""Connections: who was joined to which port of a session."""

from datetime import datetime

from mosu.compute.models import Connection
from mosu.kernel.languages import Language, said
from mosu.platform.schemas import Out


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
