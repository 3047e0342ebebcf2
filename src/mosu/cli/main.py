"""The entry point. It knows every command by name and loads one only when it is called.

`mosu --help` must answer at once (0.3 s), so this module imports next to nothing and writes the list itself.
"""

import os
import sys
from typing import Final, NamedTuple

from mosu import __version__


class Command(NamedTuple):
    """`target` is `module:attribute` of a function with Typer's annotations, or of a `typer.Typer`."""

    name: str
    target: str
    help: str
    needs_hub: bool = False
    """It is a server's command: it comes with `mosu[hub]`."""


COMMANDS: Final = (
    Command("login", "mosu.cli.commands.account:login", "Sign in to a hub and keep a token."),
    Command(
        "offers", "mosu.cli.commands.offers:offers", "What is on the shelf; import FILE brings offers in."
    ),
    Command("quote", "mosu.cli.commands.shelf:quote", "Plans and prices for a task; buys nothing."),
    Command("run", "mosu.cli.commands.run:run", "Buy a plan for a task, run it, bring back its outputs."),
    Command(
        "notebook", "mosu.cli.commands.notebook:notebook", "Buy a session with JupyterLab and open it here."
    ),
    Command("serve", "mosu.cli.commands.serve:serve", "Have a service answered at an address that stays."),
    Command(
        "endpoints", "mosu.cli.commands.serve:endpoints", "Your organisation's endpoints, or one of them."
    ),
    Command("reserve", "mosu.cli.commands.blocks:reserve", "Buy nodes from one time to another."),
    Command("blocks", "mosu.cli.commands.blocks:blocks", "Your organisation's reserved blocks."),
    Command("volumes", "mosu.cli.commands.volumes:volumes", "Room for files that outlive runs."),
    Command("orders", "mosu.cli.commands.shelf:orders", "Your organisation's orders, or one of them."),
    Command("runs", "mosu.cli.commands.runs:runs", "Your organisation's runs, or one of them."),
    Command("logs", "mosu.cli.commands.runs:logs", "The log of a run; -f follows it."),
    Command("port-forward", "mosu.cli.commands.connect:port_forward", "Reach ports of a session that runs."),
    Command("open", "mosu.cli.commands.connect:open_port", "Open a port of a session in your browser."),
    Command("ssh", "mosu.cli.commands.ssh:ssh", "Come into a session by ssh; scp and editors, too."),
    Command(
        "connections", "mosu.cli.commands.connect:connections", "Who was joined to the ports of a session."
    ),
    Command(
        "share", "mosu.cli.commands.sessions:share", "Let a member of your organisation into your session."
    ),
    Command("keep", "mosu.cli.commands.sessions:keep", "A session is still needed though nobody uses it."),
    Command("extend", "mosu.cli.commands.sessions:extend", "Buy more time for what runs."),
    Command("fetch", "mosu.cli.commands.runs:fetch", "Bring back the outputs of a run."),
    Command("cancel", "mosu.cli.commands.runs:cancel", "Cancel a run or an order."),
    Command("receipts", "mosu.cli.commands.account:receipts", "Receipts, or one of them as on a till."),
    Command(
        "budgets", "mosu.cli.commands.budgets:budgets", "What a month may cost, and what of it is spent."
    ),
    Command("bills", "mosu.cli.commands.bills:bills", "The months' sums, or one month's bill."),
    Command("costs", "mosu.cli.commands.costs:costs", "A month's costs in FOCUS: CSV or Parquet."),
    Command(
        "statements",
        "mosu.cli.commands.statements:statements",
        "What a supplier's months came to; one of them.",
    ),
    Command("payouts", "mosu.cli.commands.statements:payouts", "What the hub paid you as a supplier."),
    Command("balance", "mosu.cli.commands.account:balance", "Your organisation's money on the hub."),
    Command("vouchers", "mosu.cli.commands.account:vouchers", "Your organisation's vouchers."),
    Command("api", "mosu.cli.commands.api:api", "Any call of the hub's API, such as mosu api get /me."),
    Command("agent", "mosu.cli.commands.agent:agent", "A supplier's site agent: init, run, check, unit."),
    Command("up", "mosu.runtime.commands:up", "Run a hub on this machine.", needs_hub=True),
    Command(
        "doctor", "mosu.runtime.commands:doctor", "What is missing here, and the command that mends it.", True
    ),
    Command(
        "demo", "mosu.runtime.demo.command:demo", "One order from shelf to receipt, on an empty folder.", True
    ),
    Command(
        "simulate",
        "mosu.compute.placement.commands:simulate",
        "What would a policy, or more cards, make of a cluster: by its CSV files.",
        needs_hub=True,
    ),
    Command("backup", "mosu.runtime.commands:backup", "Save database, blobs and keys.", needs_hub=True),
    Command(
        "restore",
        "mosu.runtime.commands:restore",
        "Bring a backup back into an empty folder.",
        needs_hub=True,
    ),
    Command(
        "upgrade-db", "mosu.runtime.commands:upgrade_db", "Move to a new PostgreSQL major version.", True
    ),
    Command("admin", "mosu.runtime.commands:admin", "First operator, organisations, tokens.", needs_hub=True),
)

_USAGE: Final = "Usage: mosu COMMAND [OPTIONS]"
_WHAT: Final = (
    "The counter of an AI innovation hub: find compute, pay part by voucher, run, keep the receipt."
)
_STREAMS: Final = "With --json: data on standard output, messages on standard error."


def main() -> None:
    """Run the command line of this process."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; its exit code: 0 done, 1 the run failed, 2 usage, 3 refused, 4 no hub answers."""
    name = arguments[0] if arguments else "--help"
    if name in {"--help", "-h", "help"}:
        print(help_text())
        return 0
    if name == "--version":
        print(f"mosu {__version__}")
        return 0
    if arguments[:-1] == ["ssh", "--proxy"]:
        from mosu.cli.piping import carried

        if (code := carried(arguments[-1])) is not None:
            return code
    for command in COMMANDS:
        if command.name == name:
            from mosu.cli.app import call

            return call(command, arguments)
    return _unknown(name)


def help_text() -> str:
    """The list of commands, in the person's language."""
    from mosu.kernel.languages import language_of_environment, said

    language = language_of_environment()
    width = max(len(command.name) for command in COMMANDS)
    lines = [said(_USAGE, language), "", said(_WHAT, language)]
    for title, needs_hub in (("Commands", False), ("Commands of a server (pip install 'mosu[hub]')", True)):
        lines += ["", f"{said(title, language)}{'：' if language == 'zh' else ':'}"]
        lines += [
            f"  {c.name:<{width}}  {said(c.help, language)}" for c in COMMANDS if c.needs_hub is needs_hub
        ]
    lines += [
        "",
        said("Options:", language),
        f"  --version  {said('The version, and nothing else.', language)}",
        f"  --help     {said('This list; mosu COMMAND --help explains one.', language)}",
        "",
        said(_STREAMS, language),
    ]
    return "\n".join(lines)


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    close = get_close_matches(name, [command.name for command in COMMANDS], n=1)
    from mosu.cli.stop import USAGE, Stop

    hint = f"Did you mean mosu {close[0]}?" if close else "mosu --help lists the commands."
    sys.stderr.write(Stop(f"there is no command {name!r}.", hint=hint, code=USAGE).text())
    return USAGE


if __name__ == "__main__":
    main()
