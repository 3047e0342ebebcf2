"""A run while it runs: give it more time; a session: keep it, have it stopped when nobody uses it, share it."""

from typing import TYPE_CHECKING, Annotated

import typer

from mosu.cli.buying import agree
from mosu.cli.options import JsonOption, LangOption, YesOption
from mosu.cli.output import client, say, show, show_json, time_of, zone_of
from mosu.cli.stop import USAGE, Stop
from mosu.cli.taskfile import vouchers_of
from mosu.cli.text import table
from mosu.kernel.languages import counted

if TYPE_CHECKING:
    from mosu.client import Client
    from mosu.client.models import Guest


def keep(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A session's id: run_...")],
    idle_stop: Annotated[
        str,
        typer.Option(
            "--idle-stop", help="Stop it when nobody used it for so long, such as 30m; none: no time."
        ),
    ] = "",
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Say that a session is still needed though nobody uses it: the time after which it is stopped starts anew.

    With --idle-stop it gets a time of its own; the organisation's, if shorter, counts all the same.
    """
    stop_after_s = _seconds(idle_stop)
    with client() as hub:
        run = hub.set_idle_stop(run_id, stop_after_s) if idle_stop else hub.keep_run(run_id)
        zone = zone_of(hub)
    if json:
        show_json(run)
    elif not idle_stop:
        say(f"{run.id} is kept; its wall limit ends it at {time_of(run.ends_at, zone)}.")
    elif run.idle_stop_s is None:
        say(f"{run.id} has no time of its own any more.")
    else:
        say(f"{run.id} is stopped when nobody used it for {counted(run.idle_stop_s // 60, 'minute')}.")


def extend(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id: run_...")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="How much more, such as 30m or 2h.")],
    vouchers: Annotated[str, typer.Option(help="auto, none, or voucher ids with commas.")] = "",
    yes: YesOption = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Buy more time for a run that runs, from its wall limit on. It stays where it is.

    It is an order of its own, at the price of today. What is not needed of it comes back when the run ends.
    """
    from mosu.wire.task_reader import seconds_of

    seconds = seconds_of(time)
    if seconds is None:
        raise Stop(f"{time} is no duration.", hint="Such as 30m or 2h.", code=USAGE)
    with client() as hub:
        quote = hub.make_extension_quote(run_id, seconds=seconds, vouchers=vouchers_of(vouchers))
        agree(hub, quote, lang, asks="Buy this time", yes=yes)
        hub.accept(quote.id)
        run = hub.run(run_id)
        zone = zone_of(hub)
    if json:
        show_json(run)
    else:
        say(f"{run.id} runs until {time_of(run.ends_at, zone)} at the latest.")


def share(
    *,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A session's id: run_...")],
    email: Annotated[str, typer.Argument(metavar="[EMAIL]", help="A member of your organisation.")] = "",
    end: Annotated[bool, typer.Option("--end", help="Share it with them no more.")] = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Let a member be joined to your session as you are, or list with whom it is shared.

    Everybody in the organisation sees its page anyway. Who is sent out is cut off within half a minute.
    """
    if end and not email:
        raise Stop("--end needs a person.", hint=f"Name them: mosu share {run_id} EMAIL --end", code=USAGE)
    with client() as hub:
        if email and not end:
            hub.share_run(run_id, email)
        elif end:
            hub.end_sharing(run_id, _guest(hub, run_id, email).id)
        guests, zone = hub.guests(run_id), zone_of(hub)
    if json:
        show_json({"items": [guest.model_dump(mode="json") for guest in guests]})
    elif guests:
        show(table(["WHO", "SINCE"], [[one.user, time_of(one.let_in_at, zone)] for one in guests]))
    else:
        say(f"{run_id} is shared with nobody.")


def _guest(hub: "Client", run_id: str, email: str) -> "Guest":
    """
    Raises:
        Stop: it is not shared with them.
    """
    found = [one for one in hub.guests(run_id) if one.user.lower() == email.strip().lower()]
    if not found:
        raise Stop(f"{run_id} is not shared with {email}.", hint=f"See with whom: mosu share {run_id}")
    return found[0]


def _seconds(idle_stop: str) -> int | None:
    """
    Raises:
        Stop: it is no duration.
    """
    from mosu.wire.task_reader import seconds_of

    if idle_stop in {"", "none"}:
        return None
    seconds = seconds_of(idle_stop)
    if seconds is None:
        raise Stop(f"--idle-stop {idle_stop} is no duration.", hint="Such as 30m or 2h, or none.", code=USAGE)
    return seconds
