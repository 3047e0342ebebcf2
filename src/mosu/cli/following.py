"""Following a run to its end, and bringing back what it made."""

import re
import sys
import time
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from mosu.cli.output import say, show, show_json
from mosu.cli.receipt import render
from mosu.cli.stop import Stop
from mosu.cli.text import Language, clean

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Order, Run

SETTLE_S_MAX: Final = 60.0
"""How long to wait for the receipt after the log has ended."""
_POLL_S: Final = 0.25


def follow_to_end(
    hub: "Client",
    run_id: str,
    *,
    into: IO[str] | None = None,
    once_running: Callable[[], None] = lambda: None,
) -> None:
    """Print the log (to `into`, else standard output) until the run ends; interrupting leaves the run alone.

    Raises:
        Stop: interrupted; it says that the run goes on.
    """
    from mosu.client import LogText

    stream = into or sys.stdout
    state = ""
    try:
        for event in hub.follow_log(run_id):
            if isinstance(event, LogText):
                stream.write(clean(event.text))
                stream.flush()
            elif event.state != state:
                state = event.state
                say(f"{run_id} is {state}.")
                if state == "running":
                    once_running()
    except KeyboardInterrupt:
        raise Stop(
            f"Stopped watching; {run_id} goes on.",
            hint=f"Watch again: mosu logs -f {run_id}\nStop the run: mosu cancel {run_id}",
            code=130,
        ) from None


def ended(hub: "Client", run_id: str) -> "Run":
    """The run once it is over, soon after its log has ended.

    Raises:
        Stop: it is still not over.
    """
    deadline = time.monotonic() + SETTLE_S_MAX
    while not (run := hub.run(run_id)).is_over:
        if time.monotonic() > deadline:
            raise Stop(
                f"The log of {run_id} has ended, the run has not.", hint=f"Look later: mosu runs {run_id}"
            )
        time.sleep(_POLL_S)
    return run


def see_end(
    hub: "Client",
    run_id: str,
    order_id: str,
    *,
    out: Path | None,
    lang: Language,
    zone: tzinfo | None,
    json: bool = False,
) -> "Run":
    """The run once it is over, its outputs brought back, its receipt shown."""
    run = ended(hub, run_id)
    order = settled(hub, order_id)
    folder = out or folder_of(run)
    paths = bring_back(hub, run, folder)
    receipt = hub.receipt(order.receipt_id) if order.receipt_id is not None else None
    if json:
        outputs = [str(path) for path in paths]
        show_json({"order": order, "run": run, "receipt": receipt, "folder": str(folder), "outputs": outputs})
    elif receipt is not None:
        show(render(receipt, lang=lang, zone=zone))
    else:
        say(f"The receipt is not written yet: mosu orders {order.id}")
    _say_end(run, folder, len(paths))
    return run


def _say_end(run: "Run", folder: Path, outputs: int) -> None:
    code = f", exit code {run.exit_code}" if run.exit_code is not None else ""
    # The reason of a program that failed by itself is its exit code, which is said already.
    why = f": {run.reason.rstrip('.')}" if run.reason and "Ended with exit code" not in run.reason else ""
    say(f"{run.id} {run.state}{code}{why}.")
    if outputs:
        say(f"{outputs} outputs in {folder}" if outputs > 1 else f"1 output in {folder}")


def settled(hub: "Client", order_id: str) -> "Order":
    """The order once it has its receipt; without one if that takes too long."""
    deadline = time.monotonic() + SETTLE_S_MAX
    order = hub.order(order_id)
    while order.receipt_id is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        order = hub.order(order_id)
    return order


def folder_of(run: "Run") -> Path:
    """Where a run's outputs go: `./mosu-runs/<name>-<end of its id>`."""
    name = re.sub(r"[^\w.-]+", "-", run.name).strip("-.") or "run"
    return Path("mosu-runs") / f"{name[:60]}-{re.sub(r'[^a-z0-9]', '', run.id)[-8:]}"


def bring_back(hub: "Client", run: "Run", folder: Path) -> list[Path]:
    """The outputs of a run under `folder`, whole and checked."""
    if not run.outputs:
        return []
    if folder.parts[:1] == ("mosu-runs",):
        _keep_out_of_uploads(Path("mosu-runs"))
    return [hub.download_output(run.id, output, folder) for output in run.outputs]


def _keep_out_of_uploads(folder: Path) -> None:
    """What came back must not go up again with the next run, nor into the user's repository."""
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
