"""ssh into a session: the system's own `ssh`, led through the hub's relay, with a key that the hub certified."""

from typing import Annotated

import typer

from mosu.cli.commands.connect import reached
from mosu.cli.options import LangOption
from mosu.cli.output import client, show
from mosu.cli.stop import USAGE, Stop


def ssh(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A session's id: run_...")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="ssh's own options, and a command to run there."),
    ] = None,
    config: Annotated[
        bool, typer.Option("--config", help="Print what ~/.ssh/config needs, for scp, rsync and editors.")
    ] = False,
    certify: Annotated[
        bool,
        typer.Option("--certify", help="What that block calls: only see to the key and its certificate."),
    ] = False,
    proxy: Annotated[
        bool,
        typer.Option("--proxy", help="What ssh calls: carry its bytes between its pipes and the session."),
    ] = False,
    lang: LangOption = "",
) -> None:
    """Come into a session with `apps: [ssh]` by the ssh of this machine.

    It waits until the session runs. What follows RUN goes to ssh as it is: mosu ssh RUN -L 8080:localhost:80 top.

    Key and certificate lie in a folder of your own; the certificate lives as long as the session, for a day at most.

    mosu ssh --config RUN prints a block for ~/.ssh/config. With it, ssh, scp, sftp, rsync and editors find the session
    by name.
    """
    if sum((config, certify, proxy)) > 1 or (words and (config or certify or proxy)):
        raise Stop("These do not go together.", hint="mosu ssh --help says what does.", code=USAGE)
    if proxy:
        _carry(run_id)
        return
    from mosu.cli import certified

    programs = certified.programs()
    with client() as hub:
        run = reached(hub, run_id)
        folder = certified.folder_for(hub, run.id, programs)
        certified.keep_relay(folder, hub_url=hub.url, url=run.connect_url or "")
    if config:
        show(certified.config_block(run, folder))
    elif not certify:
        certified.become_ssh(run, folder, programs, words or [])


def _carry(run_id: str) -> None:
    from mosu.cli.piping import piped
    from mosu.client.relay import Relay

    with client() as hub:
        relay = Relay.of(hub, reached(hub, run_id))
    piped(relay)
