"""The server's commands. Loaded by the command line only when one of them is called."""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import django
import typer

from mosu.kernel.ids import typeid
from mosu.kernel.languages import counted
from mosu.kernel.memory import nothing_collected
from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import DomainError, Invalid
from mosu.runtime import doctor as doctor_checks
from mosu.runtime.agent_config import note_environment
from mosu.runtime.backup import make_backup, restore_backup
from mosu.runtime.config import Config, await_port, load_config
from mosu.runtime.hub import forget_old_clusters, parts_of
from mosu.runtime.running import facts_of, running_hub
from mosu.runtime.status import JsonLines, Lines, Screen
from mosu.runtime.supervisor import Supervisor, only_one
from mosu.runtime.upgrade import finish_upgrade, upgrade_cluster
from mosu.runtime.words import padded, told
from mosu.sandbox.environments import Archive, build_locked_environment

P = ParamSpec("P")
R = TypeVar("R")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="The hub's folder. [default: MOSU_DATA_DIR, else ~/.local/share/mosu, or /var/lib/mosu as root]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


class NotUp(DomainError):
    """The command needs a started hub."""

    code = "not_up"


def refusing(command: Callable[P, R]) -> Callable[P, R]:
    """`command`, whose refusals are shown with their mend and end the process with 1."""

    @wraps(command)
    def shown(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except DomainError as refused:
            typer.echo(f"{told('error: ')}{told(refused.message)}\n  {told(refused.hint)}", err=True)
            raise typer.Exit(1) from refused

    return shown


@refusing
def up(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="[default: MOSU_PORT, else 8000]")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Start the hub on this machine and keep it running."""
    config = load_config(data_dir=data_dir, host=host, port=port)
    run_hub(config, JsonLines(sys.stdout) if as_json else Lines(sys.stdout))


def run_hub(config: Config, screen: Screen) -> None:
    """The hub in the foreground, until SIGTERM or Ctrl-C.

    Raises:
        AlreadyUp: another process runs on the folder.
        ConfigRefused: another process listens on the port.
        PartFailed: the database could not be prepared.
    """
    os.umask(0o022)
    if config.is_embedded:
        config.cluster()  # refused before anything is made
    config.ensure()
    with only_one(config.data_dir):
        await_port(config)
        finish_upgrade(config.data_dir)

        def ready() -> None:
            forget_old_clusters(config.data_dir)
            screen.ready(config.url, text=told(f"mosu is up: {config.url}"))

        Supervisor(
            parts_of(config),
            logs_dir=config.logs_dir,
            screen=screen,
            status_file=config.status_file,
            facts=facts_of(config),
            on_ready=ready,
        ).run()


@refusing
def doctor(
    as_json: Json = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="[default: MOSU_PORT, else 8000]")
    ] = None,
    host: Annotated[str, typer.Option(help="The address the hub listens on.")] = "127.0.0.1",
    data_dir: DataDir = None,
) -> None:
    """Say what is missing and the command that mends it."""
    checks = doctor_checks.examine(load_config(data_dir=data_dir, host=host, port=port))
    if as_json:
        typer.echo(json.dumps({"ok": doctor_checks.is_well(checks), "checks": [asdict(c) for c in checks]}))
    else:
        for check in checks:
            typer.echo(
                f"{padded(told(check.outcome), 4)}  {padded(told(check.name), 12)}  {told(check.found)}"
            )
            if check.mend:
                typer.echo(f"{'':<20}{told(check.mend)}")
    if not doctor_checks.is_well(checks):
        raise typer.Exit(1)


@refusing
def backup(
    file: Annotated[Path, typer.Argument(help="The tar file to write.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Keep the database, the blobs and the keys in one file; the hub may run meanwhile."""
    made = make_backup(load_config(data_dir=data_dir), file=file.absolute())
    if as_json:
        typer.echo(json.dumps({"file": str(file), **asdict(made)}))
    else:
        typer.echo(told(f"{file}: {made.blobs} blobs, {made.size_bytes} bytes, sha256 {made.sha256}"))


@refusing
def restore(
    file: Annotated[Path, typer.Argument(help="What `mosu backup` wrote.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Bring a backup back into an empty folder, and prove its balances and hashes."""
    proof = restore_backup(load_config(data_dir=data_dir), file=file.absolute())
    if as_json:
        typer.echo(json.dumps({"ok": proof.holds, **asdict(proof)}))
    else:
        for line in proof.lines():
            typer.echo(told(line))
    if not proof.holds:
        raise typer.Exit(1)


@refusing
def upgrade_db(
    data_dir: DataDir = None,
    old_bin: Annotated[
        Path | None, typer.Option(help="The old PostgreSQL's programs, if mosu did not keep them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring the database to the PostgreSQL that is installed now."""
    done = upgrade_cluster(load_config(data_dir=data_dir), old_bin=old_bin)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    typer.echo(
        told(f"PostgreSQL {done.old} -> {done.new}: {done.tables} tables, {done.rows} rows, counted in both.")
    )


admin = typer.Typer(no_args_is_help=True, help="For whoever runs the hub's machine.")


@admin.command("bootstrap")
@refusing
def bootstrap(
    email: Annotated[str, typer.Option(help="Of the first operator, or of the organisation's owner.")],
    organisation: Annotated[str, typer.Option(help="The organisation's name.")],
    capability: Annotated[
        list[str] | None, typer.Option(help="Such as operator or supplier; repeatable.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an organisation with its owner, and print an API token of theirs, once."""
    use_hub(load_config(data_dir=data_dir))
    from mosu.platform import services

    made = services.bootstrap(
        email=email, organisation_name=organisation, capabilities=capability or [], now=datetime.now(UTC)
    )
    facts = {
        "organisation_id": typeid("org", made.organisation_id),
        "user_id": typeid("user", made.user_id),
        "token": made.token,
        "password": made.password,
    }
    _show_once(facts, as_json=as_json, email=email)


@admin.command("staff")
@refusing
def staff(
    email: Annotated[str, typer.Option(help="Of the person; without an account, one is made.")],
    role: Annotated[str, typer.Option(help="operator, checker or auditor.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take a person into the hub's staff, and print an API token of theirs, once."""
    use_hub(load_config(data_dir=data_dir))
    from mosu.platform import services
    from mosu.platform.actors import HubRole

    if role not in set(HubRole):
        raise Invalid(f"{role[:40]!r} is no role.", hint=f"One of {', '.join(HubRole)}.", field="role")
    user_id, token, password = services.add_staff(email=email, role=HubRole(role), now=datetime.now(UTC))
    facts = {"user_id": typeid("user", user_id), "role": role, "token": token, "password": password}
    _show_once(facts, as_json=as_json, email=email)


@admin.command("close-month")
@refusing
def close_month(
    month: Annotated[str, typer.Argument(help="Such as 2026-10; by the hub's zone.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Freeze the month's bills and settlement statements, once; closing it again shows the first close."""
    use_hub(load_config(data_dir=data_dir))
    from mosu.market.bills import month_of
    from mosu.market.services import close_month as close
    from mosu.platform.actors import SYSTEM

    done = close(actor=SYSTEM, month=month_of(month), now=datetime.now(UTC))
    facts = {
        "month": f"{done.month:%Y-%m}",
        "bills": done.bills,
        "statements": done.statements,
        "receipts": done.receipts,
        "usage_records": done.usage_records,
        "total": decimal_of(done.total_micros, currency=done.currency),
        "currency": done.currency,
        "sha256": done.sha256,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name:14} {value}")


environments = typer.Typer(no_args_is_help=True, help="Prebuilt environments of this machine's own pool.")
admin.add_typer(environments, name="environments")


@environments.command("add")
@refusing
def add_environment(  # noqa: PLR0917 - the options of a command
    name: Annotated[str, typer.Argument(help="What tasks call it; jupyter and smollm2 need no lock.")],
    lock: Annotated[Path | None, typer.Option(help="A file of pinned, hashed requirements.")] = None,
    archive: Annotated[
        Path | None, typer.Option(help="A program's archive, as its makers publish it: code-server's, say.")
    ] = None,
    sha256: Annotated[str, typer.Option(help="The archive's, as its makers publish it.")] = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Build an environment by a lock, of an archive, or of both; offer it in this machine's own pool.

    What runs there goes on.
    """
    config = load_config(data_dir=data_dir)
    made = build_locked_environment(
        config.data_dir / "environments",
        name=name,
        lock=lock.absolute() if lock else None,
        archive=Archive.of(archive, sha256),
    )
    note_environment(config.data_dir, made)
    if (hub := running_hub(config)) is not None and (pid := hub.parts["agent"]["pid"]) is not None:
        os.kill(pid, signal.SIGTERM)  # the hub starts it again, with what was noted
    if as_json:
        typer.echo(json.dumps({**asdict(made), "root": str(made.root)}))
    else:
        typer.echo(told(f"{name}: {counted(len(made.packages), 'package')} in {made.root}"))


def _show_once(facts: dict[str, str | None], *, as_json: bool, email: str) -> None:
    """Secrets, shown here and never again; for a person also where they open what."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    url = os.environ["MOSU_URL"]
    for name, value in facts.items():
        typer.echo(f"{name:<16} {value or told('as before')}")
    typer.echo(f"""
{told("Keep the token and the password now: they are not shown again.")}
{told(f"Sign in at {url}/account/login/ as {email}, or at a terminal:")}

    mosu login --url {url} --token-stdin    {told("(then paste the token)")}
    mosu offers --all
    mosu run --no-workdir -- python3 -c 'print(6 * 7)'""")


def use_hub(config: Config) -> None:
    """Make this process one of the hub's: Django set up, connected as the application.

    Raises:
        NotUp: the hub's database does not answer.
    """
    if config.is_embedded:
        mend = f"Start it: mosu up --data-dir {config.data_dir}"
        if not (config.data_dir / "prepared.json").exists():
            raise NotUp(f"There is no started hub in {config.data_dir}.", hint=mend)
        if not config.cluster().answers():
            raise NotUp(f"The hub in {config.data_dir} is not up.", hint=mend)
    os.environ.update(config.environment(app_dsn=config.app_dsn()))
    if (hub := running_hub(config)) is not None:
        os.environ["MOSU_URL"] = hub.url  # as it was started, wherever this shell thinks it is
    with nothing_collected():
        django.setup()
