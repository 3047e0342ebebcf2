"""What is bought: quote, orders."""

from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosu.cli.options import AllOption, JsonOption, LangOption, LimitOption
from mosu.cli.output import client, show, show_json, time_of, zone_of
from mosu.cli.plans import plans_text
from mosu.cli.split import ordered
from mosu.cli.stop import REFUSED, Stop
from mosu.cli.taskfile import load_task, vouchers_of
from mosu.cli.text import language, table, told
from mosu.wire.manifest import files_of

if TYPE_CHECKING:
    from mosu.client.models import Order


def quote(
    *,
    task_file: Annotated[Path, typer.Argument(help="A task file.")],
    vouchers: Annotated[str, typer.Option(help="auto, none, or voucher ids with commas.")] = "",
    all: AllOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Plans that fit a task, best first, with who pays what; why other offers do not fit. Buys nothing."""
    text, task = load_task(task_file)
    files = files_of(Path(task.workdir) if task.workdir is not None else None, mounts=task.file_mounts)
    with client() as hub:
        if files:
            hub.upload_workdir(files)
        answer = hub.make_quotes(text, files=files, vouchers=vouchers_of(vouchers))
        if json:
            show_json(answer)
        else:
            show(plans_text(answer, language(lang), zone=zone_of(hub), each=all))
    if not answer.quotes:
        raise Stop("No offer fits this task.", hint="The reasons are above; change the task.", code=REFUSED)


def orders(
    *,
    order_id: Annotated[str, typer.Argument(help="An order's id; without it they are listed.")] = "",
    limit: LimitOption = 20,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Your organisation's orders, newest first, or one of them."""
    chosen = language(lang)
    with client() as hub:
        if order_id:
            order = hub.order(order_id)
            if json:
                show_json(order)
            else:
                show(_one_order(order, zone_of(hub)))
            return
        page = hub.orders(limit=limit)
        if json:
            show_json(page)
            return
        zone = zone_of(hub)
    rows = [
        [
            order.id,
            order.number,
            told(order.state),
            time_of(order.placed_at, zone),
            order.offer.title.in_language(chosen) if order.offer is not None else "",
            _amount(order),
            order.run_id or "",
        ]
        for order in page.items
    ]
    show(table(["ID", "NUMBER", "STATE", "PLACED", "OFFER", "AMOUNT", "RUN"], rows, right=frozenset({5})))


def _one_order(order: "Order", zone: tzinfo | None) -> str:
    rows = [
        [told("id"), order.id],
        [told("number"), order.number],
        [told("state"), told(order.state)],
        [told("placed at"), time_of(order.placed_at, zone)],
        [told("amount"), f"{_amount(order)} {order.currency}"],
        *[[told(share.source), f"{share.amount:f}"] for share in ordered(order.split)],
        [told("run"), order.run_id or "-"],
        [told("receipt"), order.receipt_id or "-"],
    ]
    return table(["", ""], rows).strip("\n")


def _amount(order: "Order") -> str:
    if order.total is not None:
        return f"{order.total:f}"
    return f"<= {order.total_max:f}" if order.total_max is not None else "-"
