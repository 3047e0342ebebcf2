"""From a task to an order: what goes up, what it would cost, which plan is taken."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from mosu.cli.output import say, time_of, zone_of
from mosu.cli.split import lines_of
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.taskfile import vouchers_of
from mosu.cli.text import language, told
from mosu.kernel.languages import counted
from mosu.wire.manifest import LocalFile, files_of
from mosu.wire.task import TaskFile

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Order, Quote, Quotes

_RUN_ID_S_MAX: Final = 10.0


def folder_sent(workdir: str) -> Path | None:
    """An absolute `--workdir`: where its files are is this machine's matter, so the task says `.` of it.

    A task that is kept (`--write`) cannot name it: there it stays, and is refused.
    """
    return Path(workdir) if Path(workdir).is_absolute() else None


def files_sent(task: TaskFile, folder: Path | None) -> tuple[LocalFile, ...]:
    """What goes up of the task's working folder and mounts; `folder` wins over what the task names.

    Raises:
        Stop: it would be all of a machine, or all of a home.
    """
    if folder is None and task.workdir is not None:
        folder = Path(task.workdir)
    if folder is not None and folder.resolve() in {Path("/"), Path.home().resolve()}:
        raise Stop(
            f"The working folder would be all of {folder.resolve()}.",
            hint="Change into the folder of your code, name it with --workdir, or say --no-workdir.",
            code=USAGE,
        )
    return files_of(folder, mounts=task.file_mounts)


def quotes_for(hub: "Client", text: str, files: tuple[LocalFile, ...], vouchers: str) -> "Quotes":
    """What the hub asks for the task, its files sent before."""
    if files:
        sent = hub.upload_workdir(files)
        total_bytes = sum(file.entry.size_bytes for file in files)
        say(f"Working folder: {counted(len(files), 'file')}, {total_bytes / 1e6:.1f} MB; {sent} sent.")
    return hub.make_quotes(text, files=files, vouchers=vouchers_of(vouchers))


def chosen(quotes: "Quotes", *, yes: bool) -> "Quote":
    """The plan that the person takes; with `yes` the first.

    Raises:
        Stop: there is none, or nobody said which.
    """
    if not quotes.quotes:
        raise Stop(
            "No offer fits this task; nothing was bought.", hint="The reasons are above.", code=REFUSED
        )
    if yes:
        return quotes.quotes[0]
    if not sys.stdin.isatty():
        raise Stop(
            "Nothing was bought: there is no terminal to ask at.",
            hint="--yes buys the first plan.",
            code=REFUSED,
        )
    count = len(quotes.quotes)
    answer = typer.prompt(told(f"Buy which plan (1-{count}, or n for none)"), default="1", err=True).strip()
    if not answer.isascii() or not answer.isdigit() or not 1 <= int(answer) <= count:
        raise Stop(
            "Nothing was bought.", hint="The quotes stay open for a while: mosu run again.", code=REFUSED
        )
    return quotes.quotes[int(answer) - 1]


def with_run(hub: "Client", order: "Order") -> "Order":
    """The order once its run is there (a hub may write it a moment after the order)."""
    deadline = time.monotonic() + _RUN_ID_S_MAX
    while order.run_id is None and time.monotonic() < deadline:
        time.sleep(0.2)
        order = hub.order(order.id)
    return order


def agree(hub: "Client", quote: "Quote", lang: str, *, asks: str, yes: bool) -> None:
    """Show the one quote there is, and ask whether to buy it.

    Raises:
        Stop: no, or there is nobody to ask.
    """
    supplier = quote.offer.supplier.name if quote.offer.supplier is not None else ""
    spoken = language(lang)
    title = " · ".join(part for part in (quote.offer.title.in_language(spoken), supplier) if part)
    start = time_of(quote.starts_at, zone_of(hub)) if quote.starts_at else ""
    say("\n".join([f"{title} · {start}", *lines_of(quote, spoken)]))
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop("Nothing was bought: there is no terminal to ask at.", hint="--yes buys it.", code=REFUSED)
    if not typer.confirm(told(asks), err=True):
        raise Stop("Nothing was bought.", hint="The quote stays open for a while.", code=REFUSED)
