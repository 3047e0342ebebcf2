"""A session on its order's page: how one is joined to its ports, and who is or was."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils.translation import gettext as _

from mosu.compute.app_hosts import has_apps_host
from mosu.compute.guests import is_let_in
from mosu.compute.models import Connection, Run
from mosu.compute.queries import connections_of, last_attempt_of
from mosu.compute.reach import connect_url, has_relay, is_reached, runs_now
from mosu.compute.session_apps import APPS
from mosu.compute.session_apps.ssh import hub_ssh_address
from mosu.compute.states import is_ended
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.web.words import said_here

SHOWN_MAX: Final = 20
PORT_EXAMPLE: Final = 8888
"""Where a notebook server listens."""


@dataclass(frozen=True, slots=True)
class ConnectionShown:
    """One line of the list."""

    person: str
    port: int
    opened_at: datetime
    closed_at: datetime | None
    why: str
    bytes_in: int
    bytes_out: int

    @classmethod
    def of(cls, row: Connection) -> "ConnectionShown":
        return cls(
            person=row.user.email,
            port=row.port,
            opened_at=row.opened_at,
            closed_at=row.closed_at,
            why=said_here(row.why),
            bytes_in=row.bytes_in,
            bytes_out=row.bytes_out,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """A line to copy, and what it is for."""

    title: str
    command: str


@dataclass(frozen=True, slots=True)
class ConnectShown:
    """What the page says of joining a session or a service."""

    kind: str
    """`session` or `service`."""
    lines: Sequence[Line]
    """None where `why_not` says why."""
    why_not: str
    opens: bool
    """Whether ports can be opened in the browser."""
    plain_ssh: bool
    """Whether plain ssh comes in, by the hub's own port."""
    pages: Sequence[tuple[str, int]]
    """What it has for a browser: a button's words, and the port."""
    rows: Sequence[ConnectionShown]
    earlier: int
    """How many more there were before those shown."""

    @classmethod
    def of(cls, run: Run, *, actor: Actor, now: datetime) -> "ConnectShown | None":
        """None for a run to which nobody is joined."""
        if not is_reached(run):
            return None
        why_not = _why_not(run, actor=actor, now=now)
        rows = connections_of(actor, run.id)
        newest = list(rows[: SHOWN_MAX + 1])
        return cls(
            kind=run.request["kind"],
            lines=[] if why_not else _lines(run),
            why_not=why_not,
            opens=has_apps_host(),
            plain_ssh="ssh" in run.request.get("apps", ()) and hub_ssh_address() is not None,
            pages=_pages(run),
            rows=[ConnectionShown.of(row) for row in newest[:SHOWN_MAX]],
            earlier=rows.count() - SHOWN_MAX if len(newest) > SHOWN_MAX else 0,
        )


def _pages(run: Run) -> list[tuple[str, int]]:
    words = {"jupyter": _("Open notebook"), "vscode": _("Open editor")}
    return [(words[app], APPS[app].port) for app in run.request.get("apps", ()) if app in words]


def _lines(run: Run) -> list[Line]:
    apps, key = run.request.get("apps", ()), run.public_id
    port = run.request.get("port") or PORT_EXAMPLE
    return [
        *(
            [Line(_("The notebook, in your browser"), f"mosu notebook --run {key}")]
            if "jupyter" in apps
            else []
        ),
        *(
            [Line(_("The editor, in your browser"), f"mosu open {key} {APPS['vscode'].port}")]
            if "vscode" in apps
            else []
        ),
        *([Line(_("A shell on it"), f"mosu ssh {key}")] if "ssh" in apps else []),
        Line(_("One of its ports, at the same port of your own machine"), f"mosu port-forward {key} {port}"),
    ]


def _why_not(run: Run, *, actor: Actor, now: datetime) -> str:
    attempt = last_attempt_of(run)
    if is_ended(run.state):
        return _("The session has ended.")
    denied = _why_denied(run, actor=actor)
    if denied:
        return denied
    if not has_relay():
        return _("This hub has no relay: its operator sets one up with MOSU_RELAY_URL.")
    if not runs_now(run, attempt):
        return _("Its ports are reached once it runs.")
    if connect_url(run, attempt, now=now) is None:
        return _("The supplier's agent is not reached now; what it runs goes on.")
    return ""


def _why_denied(run: Run, *, actor: Actor) -> str:
    if not allows(actor, "run.connect", run.organisation_id):
        return _("Developers, admins and owners of the organisation connect to it.")
    return "" if is_let_in(actor, run) else _("It is another person's session: they can share it with you.")
