"""`mosu run`: from a task to a receipt."""

import sys
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mosu.cli.buying import chosen, files_sent, folder_sent, quotes_for, with_run
from mosu.cli.following import follow_to_end, see_end
from mosu.cli.options import AllOption, JsonOption, LangOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.plans import plans_text
from mosu.cli.stop import USAGE, Stop
from mosu.cli.taskfile import as_mapping, changed, load_task, variables_of
from mosu.cli.text import Language, language
from mosu.wire.task import ReplicaNeed, TaskFile

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Order


def run(
    *,
    task_file: Annotated[Path | None, typer.Argument(help="A task file; or write -- CMD at the end.")] = None,
    cmd: Annotated[
        str, typer.Option("--cmd", help="A shell command to run instead; the same as -- CMD.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    cpus: Annotated[str, typer.Option(help="Cores, such as 4 or 8+.")] = "",
    memory: Annotated[str, typer.Option(help="GB of memory, such as 16 or 16+.")] = "",
    accelerators: Annotated[str, typer.Option(help="Accelerators, such as H100:8.")] = "",
    wall_limit: Annotated[str, typer.Option("--wall-limit", help="Longest time, such as 30m or 2h.")] = "",
    budget: Annotated[str, typer.Option(help="Most that it may cost.")] = "",
    environment: Annotated[str, typer.Option(help="A prebuilt environment of the supplier.")] = "",
    block: Annotated[str, typer.Option(help="A reserved block to run inside: block_...")] = "",
    workdir: Annotated[str, typer.Option(help="Folder that goes up; for -- CMD otherwise this one.")] = "",
    no_workdir: Annotated[bool, typer.Option("--no-workdir", help="With -- CMD: send no files.")] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A variable; may be repeated.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="GLOB", help="Files that come back; may be repeated."),
    ] = None,
    vouchers: Annotated[str, typer.Option(help="auto, none, or voucher ids with commas.")] = "",
    write: Annotated[Path | None, typer.Option("--write", help="Save the task to this new file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where outputs go.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the run.")] = False,
    yes: YesOption = False,
    all: AllOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Buy the best plan for a task, run it, print the receipt, bring back the outputs.

    mosu run task.yaml, or mosu run [OPTIONS] -- python train.py. A command takes this folder along.

    Exit code: 0 the run succeeded, 1 it did not, 2 the call is wrong, 3 refused, 4 no hub answers.
    """
    folder = folder_sent(workdir)
    options = {
        "name": name,
        "resources.cpus": cpus,
        "resources.memory": memory,
        "resources.accelerators": accelerators,
        "workdir": "." if folder is not None and write is None else workdir,
        "envs": variables_of(env or []),
        "mosu.wall_limit": wall_limit,
        "mosu.budget": budget,
        "mosu.environment": environment,
        "mosu.block": block,
        "mosu.outputs": list(output or []),
    }
    text, task = _task(task_file, cmd, options, workdir=not no_workdir)
    if write is not None:
        _save(write, text)
    files = files_sent(task, folder)
    if task.auth != "key" or task.replicas != ReplicaNeed():
        say(
            "mosu.auth and mosu.replicas hold for mosu serve alone: this is one run, reached by port-forward."
        )
    with client() as hub:
        quotes = quotes_for(hub, text, files, vouchers)
        zone = zone_of(hub)
        say(plans_text(quotes, language(lang), zone=zone, each=all))
        quote = chosen(quotes, yes=yes)
        order = with_run(hub, hub.accept(quote.id))
        if detach:
            _say_detached(order, json=json)
            return
        if task.block:
            _say_start(hub, task.block, zone)
        code = _see_through(hub, order, out=out, lang=language(lang), zone=zone, json=json)
    raise typer.Exit(code)


def _task(
    task_file: Path | None, cmd: str, options: dict[str, Any], *, workdir: bool
) -> tuple[str, TaskFile]:
    if (task_file is None) == (not cmd):
        raise Stop(
            "Say what to run: a task file or a command, one of them.",
            hint="mosu run task.yaml\nmosu run --cpus 2 -- python train.py",
            code=USAGE,
        )
    if task_file is None:
        return changed({"run": cmd} | ({"workdir": "."} if workdir else {}), options)
    text, task = load_task(task_file)
    return changed(as_mapping(task), options) if any(options.values()) else (text, task)


def _save(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise Stop(
            f"{path} exists already.", hint="Name a new file, or delete that one.", code=USAGE
        ) from error
    except OSError as error:
        raise Stop(f"{path} cannot be written: {error.strerror}.", code=USAGE) from error
    say(f"Saved {path}.")


def _say_detached(order: "Order", *, json: bool) -> None:
    if json:
        show_json(order)
    else:
        show(order.run_id or order.id)
    say(f"Order {order.number or order.id} is placed. Watch it: mosu logs -f {order.run_id}")


def _say_start(hub: "Client", block_id: str, zone: tzinfo | None) -> None:
    """A run inside a block that has not begun is silent until it does: say how long, and how to leave."""
    block = hub.block(block_id)
    if block.state == "held":
        say(f"The block starts at {time_of(block.start, zone)}; the run is queued until then.")
        say("Ctrl-C leaves it queued; with --detach mosu run does not wait.")


def _see_through(
    hub: "Client", order: "Order", *, out: Path | None, lang: Language, zone: tzinfo | None, json: bool
) -> int:
    if order.run_id is None:
        raise Stop(f"Order {order.id} has no run yet.", hint=f"Look later: mosu orders {order.id}")
    run_id = order.run_id
    say(f"Order {order.number or order.id}, run {run_id}")
    follow_to_end(
        hub, run_id, into=sys.stderr if json else None, once_running=lambda: _say_ports(hub, run_id)
    )
    run = see_end(hub, run_id, order.id, out=out, lang=lang, zone=zone, json=json)
    return 0 if run.state == "succeeded" else 1


def _say_ports(hub: "Client", run_id: str) -> None:
    """Of a session or a service, how to reach it."""
    run = hub.run(run_id)
    if run.kind != "batch":
        port = run.port or "PORT"
        say(f"Reach its port {port} from another terminal: mosu port-forward {run_id} {port}")
