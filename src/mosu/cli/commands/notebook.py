"""`mosu notebook`: from no machine to a JupyterLab in the browser."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mosu.cli.buying import chosen, files_sent, folder_sent, quotes_for, with_run
from mosu.cli.commands.connect import reached, why_not
from mosu.cli.following import see_end
from mosu.cli.options import AllOption, JsonOption, LangOption, YesOption
from mosu.cli.output import client, say, show, show_line, zone_of
from mosu.cli.plans import plans_text
from mosu.cli.stop import USAGE, Stop
from mosu.cli.taskfile import as_mapping, changed, load_task
from mosu.cli.text import language, told
from mosu.wire.task import TaskFile

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import App, Run
    from mosu.client.relay import Relay

APP: Final = "jupyter"
PORT: Final = 8888
"""Of this machine, if it is free: a page that was open before finds the session again."""
NOTEBOOKS: Final = "**/*.ipynb"
_ASK_S: Final = 0.25
_ASK_S_MAX: Final = 1.0
"""Each asking is a connection that the hub writes down, so it waits longer each time."""
_HEALTH: Final = "/api"
"""Where JupyterLab says its version to anybody."""
_SLOW_S: Final = 60.0


def notebook(
    *,
    task_file: Annotated[Path | None, typer.Argument(help="A task file; its command is left out.")] = None,
    run: Annotated[str, typer.Option("--run", help="A session that runs already: run_...")] = "",
    cpus: Annotated[str, typer.Option(help="Cores, such as 4 or 8+.")] = "",
    memory: Annotated[str, typer.Option(help="GB of memory, such as 16 or 16+.")] = "",
    accelerators: Annotated[str, typer.Option(help="Accelerators, such as H100:8.")] = "",
    wall_limit: Annotated[str, typer.Option("--wall-limit", help="Longest time, such as 30m or 2h.")] = "",
    budget: Annotated[str, typer.Option(help="Most that it may cost.")] = "",
    environment: Annotated[str, typer.Option(help="A prebuilt environment of the supplier.")] = "",
    workdir: Annotated[str, typer.Option(help="Folder that goes up; otherwise none.")] = "",
    output: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="GLOB", help="Files that come back; otherwise all notebooks."),
    ] = None,
    vouchers: Annotated[str, typer.Option(help="auto, none, or voucher ids with commas.")] = "",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Local port; otherwise 8888, or any if that is taken."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where outputs go.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only show the address.")] = False,
    yes: YesOption = False,
    all: AllOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Buy a session with JupyterLab, and open it in your browser.

    It costs until it ends: by File, Shut Down; at its wall limit; or when Ctrl-C here says so. Then what it wrote
    comes back. Left running, mosu notebook --run RUN comes back to it.

    With --json one line once JupyterLab answers, and at the end what it came to.
    """
    import asyncio

    from mosu.cli.forwarding import Forwarding, listening_at, port_of
    from mosu.client.relay import Relay

    options = {
        "resources.cpus": cpus,
        "resources.memory": memory,
        "resources.accelerators": accelerators,
        "workdir": workdir,
        "mosu.wall_limit": wall_limit,
        "mosu.budget": budget,
        "mosu.environment": environment,
        "mosu.outputs": list(output or []),
    }
    if run and (task_file is not None or any(options.values())):
        raise Stop(
            "A session that runs is as it was bought.", hint="Leave --run out to buy another one.", code=USAGE
        )
    with client() as hub:
        run_id = run or _bought(hub, task_file, options, vouchers=vouchers, yes=yes, each=all)
        try:
            session = reached(hub, run_id)
            app = _app(hub, session)
            relay = Relay.of(hub, session)
            _until_answered(hub, relay, run_id, app.port)
        except KeyboardInterrupt:
            raise Stop(
                f"Stopped waiting; {run_id} goes on.",
                hint=f"Come back to it: mosu notebook --run {run_id}\nEnd it: mosu cancel {run_id}",
                code=130,
            ) from None
    door = listening_at(port, app.port, rather=PORT)
    try:
        local = port_of(door)
        _say_open(run_id, f"http://127.0.0.1:{local}{app.path}", local, app.port, json=json)
        opened = None if no_browser else _opened(f"http://127.0.0.1:{local}{app.path}")
        over = None
        try:
            with suppress(KeyboardInterrupt):  # before it listens for one itself
                over = asyncio.run(Forwarding(run_id, relay, [(door, app.port)]).until_end())
        finally:
            if opened is not None:
                opened()
    finally:
        door.close()
    with client() as hub:
        if over is None and not _ends(hub, run_id):
            return
        order_id = hub.run(run_id).order_id or ""
        ended = see_end(hub, run_id, order_id, out=out, lang=language(lang), zone=zone_of(hub), json=json)
    if ended.state not in {"succeeded", "cancelled"}:
        raise typer.Exit(1)


def _bought(
    hub: "Client",
    task_file: Path | None,
    options: dict[str, Any],
    *,
    vouchers: str,
    yes: bool,
    each: bool,
) -> str:
    """The run of a session with JupyterLab."""
    folder = folder_sent(options["workdir"])
    if folder is not None:
        options = {**options, "workdir": "."}
    text, task = _task(task_file, options)
    quotes = quotes_for(hub, text, files_sent(task, folder), vouchers)
    say(plans_text(quotes, language(), zone=zone_of(hub), each=each))
    order = with_run(hub, hub.accept(chosen(quotes, yes=yes).id))
    if order.run_id is None:
        raise Stop(f"Order {order.id} has no run yet.", hint=f"Look later: mosu orders {order.id}")
    say(f"Order {order.number or order.id}, run {order.run_id}")
    return order.run_id


def _task(task_file: Path | None, options: dict[str, Any]) -> tuple[str, TaskFile]:
    """The task file as a session with JupyterLab, which lasts until that is shut down."""
    mapping: dict[str, Any] = {"name": "notebook"}
    if task_file is not None:
        _, task = load_task(task_file)
        mapping = as_mapping(task)
        if task.kind != "session" and mapping.pop("run", None):
            say(f"The command of {task_file} is left out: a notebook's session has its own.")
    terms = mapping.get("mosu", {})
    own = {
        "mosu.kind": "session",
        "mosu.apps": list(dict.fromkeys([*terms.get("apps", ()), APP])),
        "mosu.outputs": terms.get("outputs") or [NOTEBOOKS],
    }
    return changed(mapping, own | {key: value for key, value in options.items() if value})


def _app(hub: "Client", run: "Run") -> "App":
    """
    Raises:
        Stop: the session has no JupyterLab.
    """
    from mosu.client.errors import BrokenAnswer

    app = next((app for app in hub.apps(run.id) if app.app == APP), None)
    if app is None:
        raise Stop(
            f"{run.id} has no JupyterLab: its task does not ask for it.",
            hint="Set `mosu: {kind: session, apps: [jupyter]}`, or leave --run out. "
            f"Other ports: mosu port-forward {run.id} PORT",
        )
    if not app.path.startswith("/"):
        raise BrokenAnswer("The hub names no path that opens JupyterLab.", hint="Update mosu.")
    return app


def _until_answered(hub: "Client", relay: "Relay", run_id: str, port: int) -> None:
    """Returns once JupyterLab answers: the environment is set up and the server has started.

    Raises:
        Stop: the session is over before.
        ProblemError: the hub does not let them in.
    """
    import asyncio

    say("JupyterLab is starting.")
    slow_at, wait_s = time.monotonic() + _SLOW_S, _ASK_S
    while not asyncio.run(relay.answers(port, _HEALTH)):
        run = hub.run(run_id)
        if run.is_over:
            raise why_not(run)
        if time.monotonic() > slow_at:
            say(f"It still does not answer; its log may say why: mosu logs {run_id}")
            slow_at = float("inf")
        time.sleep(wait_s)
        wait_s = min(_ASK_S_MAX, wait_s * 1.3)


def _say_open(run_id: str, url: str, local: int, port: int, *, json: bool) -> None:
    if json:
        show_line({"run_id": run_id, "url": url, "local_port": local, "port": port})
    else:
        show(url)
    say("Ctrl-C leaves it, and asks whether to end it; until it ends it costs.")


def _opened(url: str) -> Callable[[], None] | None:
    """Show `url` in the browser; what takes away the page that led there. None where there is no browser.

    The browser is started with the name of a page of ours that only we can read: arguments are seen by everybody on
    the machine, and the address lets whoever has it in.
    """
    import threading
    import webbrowser

    if sys.platform == "linux" and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    ):
        return None
    folder = tempfile.TemporaryDirectory(prefix="mosu-notebook-")
    page = Path(folder.name, "open.html")
    page.touch(mode=0o600)
    page.write_text(f'<meta charset="utf-8"><meta http-equiv="refresh" content="0; url={escape(url)}">')
    threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
    return folder.cleanup


def _ends(hub: "Client", run_id: str) -> bool:
    """Whether the person, who is leaving, ends the session."""
    if sys.stdin.isatty():
        with suppress(typer.Abort):
            question = told("End the session? (n: it goes on, and costs)")
            if typer.confirm(question, default=None, err=True):
                hub.cancel_run(run_id)
                return True
    say(f"{run_id} goes on, and costs until it ends.")
    say(f"Come back to it: mosu notebook --run {run_id}\nEnd it: mosu cancel {run_id}")
    return False
