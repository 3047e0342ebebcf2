"""What runs and ran: runs, logs, fetch, cancel."""

import sys
from datetime import datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosu.cli.following import bring_back, folder_of, follow_to_end, settled
from mosu.cli.options import JsonOption, LangOption, LimitOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.text import clean, language, table, told

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Block, InLine, Order, Run

RunArgument = Annotated[str, typer.Argument(help="A run's id.")]


def runs(
    *,
    run_id: Annotated[str, typer.Argument(help="A run's id; without it they are listed.")] = "",
    limit: LimitOption = 20,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Your organisation's runs, newest first, or one of them."""
    with client() as hub:
        if run_id:
            one = hub.run(run_id)
            if json:
                show_json(one)
            else:
                show(_one_run(one, zone_of(hub)))
            return
        page = hub.runs(limit=limit)
        if json:
            show_json(page)
            return
        zone = zone_of(hub)
    chosen = language(lang)
    rows = [
        [
            run.id,
            run.name,
            _state(run),
            time_of(run.started_at or run.created_at, zone),
            run.offer.title.in_language(chosen) if run.offer is not None else "",
            f"{run.cost_so_far:f}" if run.cost_so_far is not None else "",
        ]
        for run in page.items
    ]
    show(table(["ID", "NAME", "STATE", "STARTED", "OFFER", "COST"], rows, right=frozenset({5})))


def _state(run: "Run") -> str:
    """Its state; of one that waits with its place in the queue, of one that was told to stop just that."""
    if run.stop_asked_at is not None:
        return told("stopping")
    return f"{told(run.state)} {run.queue.place}/{run.queue.waiting}" if run.queue else told(run.state)


def _one_run(run: "Run", zone: tzinfo | None) -> str:
    rows = [
        [told("id"), run.id],
        [told("name"), run.name],
        [told("state"), _state(run)],
        [told("kind"), told(run.kind) if run.kind != "batch" else ""],
        [told("its ports"), f"mosu port-forward {run.id} PORT" if run.connect_url is not None else ""],
        [told("why"), told(run.reason or run.why_waiting or "")],
        *([] if run.queue is None else _line(run.queue, zone)),
        [told("started"), time_of(run.started_at, zone)],
        [told("ended"), time_of(run.ended_at, zone)],
        [told("exit code"), "" if run.exit_code is None else str(run.exit_code)],
        [told("cost"), "" if run.cost_so_far is None else f"{run.cost_so_far:f} {run.currency}"],
        [told("order"), run.order_id or ""],
        *[[told("output"), told(f"{output.path} ({output.size_bytes} bytes)")] for output in run.outputs],
    ]
    return table(["", ""], [row for row in rows if row[1]]).strip("\n")


def _line(line: "InLine", zone: tzinfo | None) -> list[list[str]]:
    """When it is expected to start, at the latest, and how good such words were."""
    rows = [
        [told("expected"), time_of(line.expected_start, zone)],
        [told("at the latest"), time_of(line.promised_start, zone)],
    ]
    if line.estimate_error_s is not None:
        off = told(f"{line.estimate_error_s} s off in the median of {line.estimates}")
        rows.append([told("estimates"), off])
    return rows


def logs(
    *,
    run_id: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    json: JsonOption = False,
) -> None:
    """The log of a run so far; with -f as it grows."""
    with client() as hub:
        if follow and not json:
            follow_to_end(hub, run_id)
            return
        text = hub.log(run_id)
    if json:
        show_json({"run_id": run_id, "text": text})
    else:
        typer.echo(clean(text), nl=False)


def fetch(
    *,
    run_id: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder; otherwise ./mosu-runs/NAME.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring back the outputs of a run, each checked by its sha256."""
    with client() as hub:
        run = hub.run(run_id)
        folder = out or folder_of(run)
        paths = bring_back(hub, run, folder)
    if json:
        show_json({"folder": str(folder), "outputs": [str(path) for path in paths]})
        return
    for path in paths:
        show(str(path))
    if not paths:
        say(f"Run {run_id} has no outputs; it is {run.state}.")


def cancel(
    *,
    id: Annotated[str, typer.Argument(help="Id of a run, an order or a block.")],
    yes: YesOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Cancel a run, an order or a block. What was used is paid, the rest is given back.

    Of a block, by the cancellation rules of its offer: what that comes to is shown before it asks.
    """
    kind = id.partition("_")[0]
    if kind not in {"run", "order", "block"}:
        raise Stop(
            f"{id[:60]!r} is the id of neither a run, an order nor a block.",
            hint="mosu runs lists them.",
            code=USAGE,
        )
    with client() as hub:
        if kind == "block":
            cancelled: Run | Order = _cancelled_block(hub, hub.block(id), yes=yes)
        else:
            cancelled = hub.cancel_run(id) if kind == "run" else hub.cancel_order(id)
        stopping, zone = _stopping(hub, cancelled), zone_of(hub)
    if json:
        show_json(cancelled)
    elif stopping is not None:
        say(
            f"{id} is stopping since {time_of(stopping, zone)}. What it used until it has stopped is charged."
        )
    else:
        say(f"{id} is {cancelled.state}.")


def _stopping(hub: "Client", cancelled: "Run | Order") -> datetime | None:
    """Since when the run that is cancelled, or the order's, is told to stop; None of one that has."""
    if cancelled.state in {"settled", "cancelled"}:
        return None
    run_id = cancelled.run_id if hasattr(cancelled, "run_id") else cancelled.id
    return hub.run(run_id).stop_asked_at if run_id else None


def _cancelled_block(hub: "Client", block: "Block", *, yes: bool) -> "Order":
    """The order of the block, once it says what was charged."""
    early = block.if_cancelled
    if early is not None:
        say(
            f"Cancelled now, {early.charged:f} {block.currency} is charged "
            f"and {early.back:f} {block.currency} comes back."
        )
        _agree(yes=yes)
    order = hub.cancel_order(block.order_id)
    if order.state != "cancelled":
        order = settled(hub, order.id)
    charged = Decimal(0) if order.total is None and order.state == "cancelled" else order.total
    if charged is None:
        say(f"The receipt is not written yet: mosu orders {order.id}")
    else:
        back = (order.total_max or charged) - charged
        say(f"Charged: {charged:f} {order.currency}. Came back: {back:f} {order.currency}.")
    return order


def _agree(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(
            "Nothing was cancelled: there is no terminal to ask at.",
            hint="--yes cancels the block.",
            code=REFUSED,
        )
    if not typer.confirm(told("Cancel this block"), err=True):
        raise Stop("Nothing was cancelled.", hint="The block stays yours.", code=REFUSED)
