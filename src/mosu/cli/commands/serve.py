"""`mosu serve`: from a service's task file to an address that answers; and `mosu endpoints`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mosu.cli.buying import files_sent, quotes_for
from mosu.cli.options import AllOption, JsonOption, LangOption, LimitOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.plans import plans_text
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.taskfile import load_task
from mosu.cli.text import language, table, told
from mosu.wire.task import TaskFile

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Endpoint, NewEndpointKey

endpoints = typer.Typer(
    invoke_without_command=True, no_args_is_help=False, help="Your organisation's endpoints."
)

_LOOK_S: Final = 1.0
_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An endpoint's name or id.")]


def serve(
    *,
    task_file: Annotated[Path, typer.Argument(help="A task file with mosu: {kind: service, port: ...}.")],
    name: Annotated[str, typer.Option(help="Of the endpoint, as in its address; otherwise the task's.")] = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it answers.")] = False,
    yes: YesOption = False,
    all: AllOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Have a service answered at an address that stays: its runs are ordered as they are needed, in your name.

    Again with another task: its replicas are replaced one by one, each once the next is well.

    Exit code: 0 it answers (or, with --detach, is made), 2 the call is wrong, 3 refused, 4 no hub answers.
    """
    text, task = load_task(task_file)
    name = _checked(name or task.name, task)
    with client() as hub:
        before = next((one for one in hub.endpoints(state="open").items if one.name == name), None)
        files = files_sent(task, None)
        quotes = quotes_for(hub, text, files, "")
        say(plans_text(quotes, language(lang), zone=zone_of(hub), each=all))
        _agree(task, is_new=before is None, yes=yes)
        if before is None:
            endpoint = hub.make_endpoint(name, text, files=files)
        else:
            endpoint = hub.change_endpoint(before.id, task=text, files=files)
        say(f"{endpoint.name} answers at {endpoint.url}; it is version {endpoint.version}.")
        key = None
        if before is None and endpoint.auth == "key":
            key = hub.make_endpoint_key(endpoint.id, "mosu serve")
            say("Its first key is shown now and never again.")
        if not detach:
            endpoint = _until_well(hub, endpoint)
    if json:
        show_json({"endpoint": endpoint, "key": key})
    else:
        show(_example(endpoint, key))


def _checked(name: str, task: TaskFile) -> str:
    if task.kind != "service":
        raise Stop(
            "Only a service is served: this task is none.",
            hint="Set mosu: {kind: service, port: 8000}, or use mosu run.",
            code=USAGE,
        )
    if not name:
        raise Stop("The endpoint needs a name.", hint="Name it: mosu serve task.yaml --name chat", code=USAGE)
    return name


def _agree(task: TaskFile, *, is_new: bool, yes: bool) -> None:
    """Nothing is ordered before the person has seen what one replica costs."""
    least, most = task.replicas.least, task.replicas.most
    say(
        f"Each replica is an order like the first plan; there are {least} to {most}, and one more in a change."
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(
            "Nothing was bought: there is no terminal to ask at.",
            hint="--yes serves it.",
            code=REFUSED,
        )
    question = told("Serve it?") if is_new else told("Replace what answers there?")
    if not typer.confirm(question, default=True, err=True):
        raise Stop("Nothing was bought.", hint="mosu serve again.", code=REFUSED)


def _until_well(hub: "Client", endpoint: "Endpoint") -> "Endpoint":
    """The endpoint once a replica of this version answers; says how far it is, and why it is no further.

    With `min: 0` there is none to wait for: the first request waits for it.
    """
    said = ""
    version = endpoint.version
    try:
        while endpoint.wanted or endpoint.replicas.min:
            rows = [one for one in hub.replicas(endpoint.id, limit=20).items if one.version == version]
            live = [one for one in rows if not one.over]
            if any(one.well_at is not None for one in live):
                return endpoint
            states = ", ".join(f"{one.run_id} {one.run_state}" for one in live)
            now = endpoint.reason or (f"Waiting for the first replica: {states}." if states else "")
            if now and now != said:
                say(now)
                said = now
            if endpoint.state != "open":
                raise Stop(f"{endpoint.name} has ended.", hint="mosu serve again.", code=REFUSED)
            time.sleep(_LOOK_S)
            endpoint = hub.endpoint(endpoint.id)
    except KeyboardInterrupt:
        raise Stop(
            f"Stopped waiting; {endpoint.name} goes on.",
            hint=f"Look later: mosu endpoints show {endpoint.name}\nEnd it: mosu endpoints end {endpoint.name}",
            code=130,
        ) from None
    say("None runs while nobody asks; the first request waits for one.")
    return endpoint


def _example(endpoint: "Endpoint", key: "NewEndpointKey | None") -> str:
    """A line that asks it."""
    if endpoint.auth != "key":
        return f"curl {endpoint.url}/"
    return f"curl -H 'Authorization: Bearer {key.secret if key else '$KEY'}' {endpoint.url}/"


@endpoints.callback()
def listed(
    context: typer.Context,
    *,
    all: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    limit: LimitOption = 50,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Endpoints, newest first, with the last hour's figures."""
    if context.invoked_subcommand is not None:
        return
    with client() as hub:
        page = hub.endpoints(state=None if all else "open", limit=limit)
    if json:
        show_json(page)
        return
    rows = [
        [
            one.name,
            told(one.state),
            f"{one.well}/{one.wanted}",
            str(one.requests),
            str(one.refused),
            str(one.failed),
            _latency(one.p95_ms),
            one.url,
        ]
        for one in page.items
    ]
    if not rows:
        say("There is no endpoint. mosu serve task.yaml makes one.")
        return
    headings = ["NAME", "STATE", "WELL", "REQUESTS/H", "REFUSED", "FAILED", "P95", "ADDRESS"]
    show(table(headings, rows, right=frozenset({2, 3, 4, 5, 6})))


@endpoints.command("show")
def show_one(*, name: _NameArgument, lang: LangOption = "", json: JsonOption = False) -> None:
    """One endpoint with its replicas."""
    with client() as hub:
        endpoint = _named(hub, name)
        replicas = hub.replicas(endpoint.id, limit=20)
        zone = zone_of(hub)
    if json:
        show_json({"endpoint": endpoint, "replicas": list(replicas.items)})
        return
    show(f"{endpoint.name}  {told(endpoint.state)}  {endpoint.url}  auth {endpoint.auth}")
    if endpoint.reason:
        say(endpoint.reason)
    rows = [
        [
            one.run_id,
            told(one.run_state),
            str(one.version),
            time_of(one.well_at, zone),
            time_of(one.drained_at, zone),
            str(one.in_flight),
        ]
        for one in replicas.items
    ]
    if rows:
        show(table(["RUN", "STATE", "VERSION", "WELL SINCE", "DRAINED", "IN FLIGHT"], rows))


@endpoints.command("end")
def end(
    *, name: _NameArgument, yes: YesOption = False, lang: LangOption = "", json: JsonOption = False
) -> None:
    """End an endpoint for good: its replicas are told to stop, and settled for what was used."""
    with client() as hub:
        endpoint = _named(hub, name)
        if not yes:
            if not sys.stdin.isatty():
                raise Stop(
                    "It was not ended: there is no terminal to ask at.", hint="--yes ends it.", code=REFUSED
                )
            if not typer.confirm(told(f"End {endpoint.name}? It answers nobody any more."), err=True):
                raise Stop("It goes on.", hint="", code=REFUSED)
        ended = hub.end_endpoint(endpoint.id)
    if json:
        show_json(ended)
    else:
        say(f"{ended.name} has ended.")


@endpoints.command("keys")
def keys(*, name: _NameArgument, lang: LangOption = "", json: JsonOption = False) -> None:
    """The keys of an endpoint, without their secrets."""
    with client() as hub:
        page = hub.endpoint_keys(_named(hub, name).id, limit=200)
        zone = zone_of(hub)
    if json:
        show_json(page)
        return
    rows = [
        [one.id, one.name, one.made_by, time_of(one.used_at, zone), time_of(one.revoked_at, zone)]
        for one in page.items
    ]
    if not rows:
        say("It has no key. mosu endpoints make-key NAME --for WHOM makes one.")
        return
    show(table(["KEY", "FOR", "MADE BY", "LAST USED", "REVOKED"], rows))


@endpoints.command("make-key")
def make_key(
    *,
    name: _NameArgument,
    whom: Annotated[str, typer.Option("--for", help="Who asks with it.")],
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """A key with which programs ask there; it is shown once."""
    with client() as hub:
        made = hub.make_endpoint_key(_named(hub, name).id, whom)
    if json:
        show_json(made)
        return
    say("It is shown now and never again.")
    show(made.secret)


@endpoints.command("revoke-key")
def revoke_key(
    *,
    name: _NameArgument,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id: ekey_...")],
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """A key holds no more: who asks with it is cut off within 30 s."""
    with client() as hub:
        revoked = hub.revoke_endpoint_key(_named(hub, name).id, key_id)
    if json:
        show_json(revoked)
    else:
        say(f"The key {revoked.name} holds no more.")


@endpoints.command("requests")
def requests(
    *, name: _NameArgument, limit: LimitOption = 20, lang: LangOption = "", json: JsonOption = False
) -> None:
    """What was asked there, newest first: never a query, a header or a body."""
    with client() as hub:
        page = hub.endpoint_requests(_named(hub, name).id, limit=limit)
        zone = zone_of(hub)
    if json:
        show_json(page)
        return
    rows = [
        [
            time_of(one.at, zone),
            one.method,
            one.path,
            str(one.status),
            str(one.waited_ms),
            str(one.took_ms),
            one.key or one.user or "",
        ]
        for one in page.items
    ]
    if not rows:
        say("Nobody asked there within the last week.")
        return
    headings = ["AT", "METHOD", "PATH", "STATUS", "WAITED MS", "TOOK MS", "WHO"]
    show(table(headings, rows, right=frozenset({3, 4, 5})))


def _named(hub: "Client", name: str) -> "Endpoint":
    """An open endpoint by its name, or any by its id.

    Raises:
        Stop: there is none.
    """
    if name.startswith("endpoint_"):
        return hub.endpoint(name)
    found = next((one for one in hub.endpoints(state="open", limit=200).items if one.name == name), None)
    if found is None:
        raise Stop(f"There is no open endpoint {name}.", hint="See mosu endpoints --all.", code=REFUSED)
    return found


def _latency(p95_ms: int | None) -> str:
    return f"<= {p95_ms} ms" if p95_ms is not None else "-"
