"""Being joined to a run that goes on: port-forward, open, connections."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.options import JsonOption, LangOption, LimitOption
from mosu.cli.output import client, say, show, show_json, show_line, time_of, zone_of
from mosu.cli.stop import Stop
from mosu.cli.text import table, told
from mosu.kernel.languages import counted

if TYPE_CHECKING:
    from mosu.cli.forwarding import Forwarding
    from mosu.client import Client
    from mosu.client.models import Run

AWAY_S_MAX: Final = 10.0
"""What runs and cannot be reached: so long its pool may be away for a moment."""
_LOOK_S: Final = 0.5
_KILO = 1000


def port_forward(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A session's id: run_...")],
    ports: Annotated[
        list[str],
        typer.Argument(metavar="[LOCAL:]PORT...", help="The run's port; before it a local one, 0 for any."),
    ],
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Reach ports of a session that runs: a local port for each, on this machine alone.

    It waits until the session runs. Each connection goes through the hub's relay to 127.0.0.1 inside the run. It lasts
    until Ctrl-C or the run's end.

    With --json one line for each port, once all of them listen.
    """
    import asyncio

    from mosu.cli.forwarding import Forwarding, forwards_of, listening, port_of
    from mosu.client.relay import Relay

    forwards = forwards_of(ports)
    with client() as hub:
        run = reached(hub, run_id)
        relay = Relay.of(hub, run)
    doors = [(door, one.port) for door, one in zip(listening(forwards), forwards, strict=True)]
    try:
        _say_listening(run.id, [(port_of(door), port) for door, port in doors], json=json)
        forwarding = Forwarding(run.id, relay, doors)
        try:
            over = asyncio.run(forwarding.until_end())
        finally:
            _say_sum(forwarding)
    finally:
        for door, _ in doors:
            door.close()
    if over is not None:
        say(f"{over.id} is {over.state}: there is nothing left to connect to.")


def open_port(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A session's id: run_...")],
    port: Annotated[int, typer.Argument(metavar="PORT", help="The run's port.", min=1, max=65_535)],
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """A link that opens a port of a session in your browser, for whoever follows it first, within a minute.

    It waits until the session runs. The page has an address of its own, which lasts for as long as the session, for 12
    hours at most.
    """
    with client() as hub:
        ticket = hub.ticket(reached(hub, run_id).id, port=port)
    if json:
        show_json(ticket)
        return
    say(f"Open this in your browser within a minute; it lets in whoever is first to port {port}:")
    show(ticket.url)


def connections(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A session's id: run_...")],
    limit: LimitOption = 20,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Who was joined to which port of a session, when, and how many bytes passed; newest first."""
    with client() as hub:
        page = hub.connections(run_id, limit=limit)
        if json:
            show_json(page)
            return
        zone = zone_of(hub)
    rows = [
        [
            str(one.port),
            one.user,
            time_of(one.opened_at, zone),
            time_of(one.closed_at, zone),
            size_text(one.bytes_in),
            size_text(one.bytes_out),
            told(one.why),
        ]
        for one in page.items
    ]
    if not rows:
        say(f"Nobody was joined to {run_id}.")
        return
    show(
        table(
            ["PORT", "WHO", "FROM", "UNTIL", "TO THE RUN", "FROM THE RUN", "WHY IT ENDED"],
            rows,
            right=frozenset({0, 4, 5}),
        )
    )


def size_text(count: int) -> str:
    """So many bytes, to three figures or so."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < _KILO or unit == "GB":
            break
        size /= _KILO
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def reached(hub: "Client", run_id: str) -> "Run":
    """The run once its ports are reached; says what it waits for.

    Raises:
        Stop: they never will be, or not now though it runs.
    """
    said, away_since = "", 0.0
    while (run := hub.run(run_id)).connect_url is None:
        if run.is_over or run.kind == "batch":
            raise why_not(run)
        if run.state == "running":
            away_since = away_since or time.monotonic()
            if time.monotonic() >= away_since + AWAY_S_MAX:
                raise why_not(run)
        else:
            away_since = 0.0
        if run.state != said:
            said = run.state
            say(told(_waiting(run)))
        time.sleep(_LOOK_S)
    return run


def _waiting(run: "Run") -> str:
    if run.state == "running":
        return f"{run.id} runs; its ports are not reached yet."
    why = f": {run.why_waiting}" if run.why_waiting else ""
    return f"{run.id} is {run.state}{why}. It is waited for; Ctrl-C leaves it as it is."


def why_not(run: "Run") -> Stop:
    """Why its ports cannot be reached now, and what to do."""
    if run.is_over:
        why = f" ({run.reason})" if run.reason else ""
        return Stop(
            f"{run.id} is {run.state}{why}: there is nothing left to connect to.",
            hint=f"Its log: mosu logs {run.id}",
        )
    if run.kind == "batch":
        return Stop(
            f"{run.id} is no session or service, so nobody can be joined to its ports.",
            hint="Set `mosu: {kind: session}` in its task file and run that.",
        )
    return Stop(
        f"{run.id} runs, but its ports cannot be reached now.",
        hint="Its pool may be away for a moment, or this hub has no relay (MOSU_RELAY_URL): ask its operator.",
    )


def _say_listening(run_id: str, ports: list[tuple[int, int]], *, json: bool) -> None:
    for local, port in ports:
        if json:
            show_line({"run_id": run_id, "host": "127.0.0.1", "local_port": local, "port": port})
        else:
            show(f"127.0.0.1:{local} -> {run_id}:{port}")
    say("Ctrl-C ends it; the run goes on.")


def _say_sum(forwarding: "Forwarding") -> None:
    sent, received = (size_text(size) for size in (forwarding.traffic.bytes_in, forwarding.traffic.bytes_out))
    say(f"{counted(forwarding.connections, 'connection')}, {sent} to the run, {received} from it.")
