"""A supplier's site agent: its first settings, running it, checking it, its systemd unit."""

import getpass
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mosu.cli.options import JsonOption, LangOption
from mosu.cli.output import say, show, show_json
from mosu.cli.stop import REFUSED, USAGE, Stop
from mosu.cli.text import table, told
from mosu.wire.shares import card_at, kind_of

if TYPE_CHECKING:
    from mosu.site_agent.detection.engines import Found
    from mosu.site_agent.joining import Draft, Published
    from mosu.wire.agent import DeviceInfo

agent = typer.Typer(no_args_is_help=True, help="A supplier's site agent, beside the machines that it sells.")

IS_ROOT = os.geteuid() == 0
CONFIG = Path("/etc/mosu/agent.toml") if IS_ROOT else Path.home() / ".config" / "mosu" / "agent.toml"
STATE = Path("/var/lib/mosu-agent") if IS_ROOT else Path.home() / ".local" / "share" / "mosu-agent"

ConfigArgument = Annotated[Path, typer.Argument(help="The agent's settings.", show_default=str(CONFIG))]


@agent.command("init")
def init(
    *,
    config: Annotated[Path, typer.Option(help="Where the settings are written.")] = CONFIG,
    hub: Annotated[str, typer.Option(help="Address of the hub; else MOSU_URL, or asked for.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the pool's token; else MOSU_POOL_TOKEN, or asked for.")
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the pool's token from input.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="slurm, kubernetes, ray or local; otherwise the first found.")
    ] = "",
    state_dir: Annotated[Path, typer.Option(help="Where the agent keeps what runs.")] = STATE / "state",
    environment: Annotated[
        list[Path] | None, typer.Option(help="An environment for jobs; may be given again; else one is made.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting more, such as cores=32; may be given again.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the settings that are there.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sold; write nothing.")
    ] = False,
    lang: LangOption = "",
    json: JsonOption = False,
) -> None:
    """Find the engine that is here, show what the hub would be told of it, write the settings."""
    from mosu.site_agent.joining import (
        AlreadyThere,
        Draft,
        check_token,
        environment_below,
        published_by,
        replacing,
        write,
    )

    if config.exists() and not (force or dry_run):
        raise AlreadyThere(f"{config} is there already.", hint=replacing(config))
    found = _found(engine)
    chosen = found[0]
    address = hub or os.environ.get("MOSU_URL") or _asked("Address of the hub", option="--hub")
    if not address.startswith(("http://", "https://")):
        raise Stop(
            f"{address!r} is no address of a hub.", hint="It begins with https:// (or http://).", code=USAGE
        )
    token = "-" if dry_run else check_token(_token(token_file, from_input=token_stdin))
    draft = Draft(
        path=config.absolute(),
        hub_url=address.rstrip("/"),
        token=token,
        state_dir=state_dir.absolute(),
        engine=chosen.engine,
        environments=environment or [environment_below(state_dir.absolute().parent / "environments")],
        options={
            **({"node_name": chosen.nodes[0].name} if chosen.engine == "local" else {}),
            **{f"{chosen.engine}.{key}": value for key, value in chosen.options.items()},
            **dict(_setting(text, engine=chosen.engine) for text in settings or ()),
        },
    )
    published = published_by(draft.config())
    if not dry_run:
        write(draft, replaces=force)
    if json:
        show_json(_facts(draft, found, published, wrote=not dry_run))
        return
    show(_shown(draft, found, published))
    if dry_run:
        say("Nothing was written.")
    else:
        say(f"Written: {draft.path} and {draft.token_path}, for your eyes only.")
        say(
            f"Next: mosu agent check {draft.path}; then mosu agent run {draft.path}, or its unit: mosu agent unit"
        )


@agent.command("run")
def run(config: ConfigArgument = CONFIG, lang: LangOption = "") -> int:
    """Run the agent in the foreground until it is told to stop; what runs goes on without it."""
    from mosu.kernel.refusals import DomainError
    from mosu.site_agent.agent import run_agent
    from mosu.site_agent.config import load_config

    try:
        settings = load_config(config)
    except DomainError as refusal:
        raise Stop(refusal.message, hint=refusal.hint, code=USAGE) from refusal
    return run_agent(settings)


@agent.command("check")
def check(config: ConfigArgument = CONFIG, lang: LangOption = "", json: JsonOption = False) -> None:
    """Settings, engine and isolation, hub, token and clock: each tried, nothing registered."""
    from mosu.site_agent.checking import checks_of

    checks = list(checks_of(config))
    if json:
        show_json({"ok": all(one.ok for one in checks), "checks": [asdict(one) for one in checks]})
    else:
        rows = [[told(one.name), told("ok") if one.ok else told("not ok"), told(one.said)] for one in checks]
        show(table(["CHECK", "RESULT", "WHAT"], rows))
    wrong = [one for one in checks if not one.ok]
    if wrong:
        raise Stop("The agent would not work.", hint="\n".join(one.mend for one in wrong), code=REFUSED)


@agent.command("unit")
def unit(config: ConfigArgument = CONFIG, lang: LangOption = "") -> None:
    """A systemd unit for the agent, as closed as its engine lets it be, on standard output."""
    from mosu.site_agent.config import load_config
    from mosu.site_agent.unit import unit_of

    settings = load_config(config)
    program = Path(sys.executable).with_name("mosu")
    folders = [settings.state_dir, settings.options.get("folder"), settings.volumes_dir, settings.images_dir]
    show(
        unit_of(
            engine=settings.engine,
            program=[str(program)] if program.exists() else [sys.executable, "-m", "mosu.cli.main"],
            config=config.absolute(),
            folders=[Path(one).absolute() for one in folders if one],
            user=getpass.getuser(),
        )
    )


def _found(engine: str) -> "list[Found]":
    """What is here, the engine that was asked for, or the first, before the others."""
    from mosu.site_agent.detection.engines import LOOKS, Found, engines_here

    if engine and engine not in LOOKS:
        raise Stop(f"There is no engine {engine!r}.", hint=f"Known: {', '.join(LOOKS)}.", code=USAGE)
    found = engines_here()
    if not engine:
        return found
    chosen = [one for one in found if one.engine == engine] or [Found(engine, "")]
    return [*chosen, *(one for one in found if one.engine != engine)]


def _token(file: Path | None, *, from_input: bool) -> str:
    """Never by argv: other users of the machine see that."""
    if from_input:
        return sys.stdin.readline()
    if file is not None:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a text"
            raise Stop(
                f"{file} cannot be read: {why}.", hint="Name a file with the pool's token.", code=USAGE
            ) from error
    return os.environ.get("MOSU_POOL_TOKEN") or _asked(
        "Token of the pool", option="--token-stdin", hidden=True
    )


def _asked(what: str, *, option: str, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        raise Stop(
            f"{what} is missing and there is no terminal to ask at.", hint=f"Give {option}.", code=USAGE
        )
    return str(typer.prompt(told(what), hide_input=hidden, err=True))


def _setting(text: str, *, engine: str) -> tuple[str, Any]:
    """`cores=32` or `slurm.partition=gpu` as key and value: a value of TOML, else a text."""
    import tomllib

    key, sign, value = text.partition("=")
    head, dot, _ = key.partition(".")
    if not sign or not key or (dot and head != engine):
        raise Stop(
            f"--set {text!r} cannot be read.", hint=f"Write KEY=VALUE or {engine}.KEY=VALUE.", code=USAGE
        )
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _facts(
    draft: "Draft", found: "Sequence[Found]", published: "Published", *, wrote: bool
) -> dict[str, object]:
    return {
        "engine": draft.engine,
        "found": [
            {
                "engine": one.engine,
                "told_by": one.told_by,
                "nodes": [node.model_dump(mode="json") for node in one.nodes],
                "unnamed": one.unnamed,
                "faults": one.faults,
            }
            for one in found
        ],
        "publishes": {
            "nodes": [node.model_dump(mode="json") for node in published.nodes],
            "environments": [
                {"name": one.name, "python": one.version, "packages": list(one.packages)}
                for one in published.environments
            ],
            "isolation": published.isolation.features,
            "sessions": not published.unreached,
            "no_sessions_because": published.unreached,
            "volumes": published.volumes,
            "images": list(published.images),
        },
        "config": str(draft.path),
        "wrote": wrote,
    }


def _shown(draft: "Draft", found: "Sequence[Found]", published: "Published") -> str:
    parts = [
        table(["ENGINE", "TOLD BY", "NODES"], [[f.engine, told(f.told_by), str(len(f.nodes))] for f in found])
    ]
    rows = [
        [
            node.name,
            str(node.cores),
            f"{node.memory_bytes / (1 << 30):.0f} GiB",
            _cards(node.devices),
        ]
        for node in published.nodes
    ]
    parts.append(table(["NODE", "CORES", "MEMORY", "CARDS"], rows, right=frozenset({1, 2})))
    parts += [
        f"{told('environment')}: {one.name} {one.version} {' '.join(one.packages)}".rstrip()
        for one in published.environments
    ]
    parts.append(f"{told('isolation')}: {published.isolation.features}")
    parts.append(told(published.unreached or "Sessions are sold."))
    parts += [told(published.volumes)] if published.volumes else []
    if published.images:
        parts.append(told(f"Images of containers are run from: {', '.join(published.images)}."))
    parts += _unnamed(draft, found[0])
    parts += [told(f"Not sold, since it is not well: {name}.") for name in found[0].faults]
    sold = sum(len({card_at(device.index) for device in node.devices}) for node in published.nodes)
    seen = sum(len(node.devices) for node in found[0].nodes)
    if draft.engine == "local" and seen > sold:
        parts.append(told(f"{seen - sold} cards are here and not sold: name them in [local]."))
    return "\n\n".join(parts)


def _unnamed(draft: "Draft", found: "Found") -> list[str]:
    """Cards that nothing names, neither the catalogue nor the settings: each name once, and how to name it."""
    mapped = draft.options.get(f"{draft.engine}.accelerators", {})
    resources = {str(one).rpartition(":")[2].lower() for one in mapped.values()} if mapped else set()
    counts = Counter(one.partition(": ")[2] for one in found.unnamed)
    left = {name: count for name, count in counts.items() if name.lower() not in resources}
    lines = [
        told(f"Not sold, since no accelerator is called so: {count} x {name}.")
        for name, count in left.items()
    ]
    if left and draft.engine == "slurm":
        first = next(iter(left))
        gres = first if first == "gpu" else f"gpu:{first}"
        option = f'--set \'slurm.accelerators={{"ID" = "{gres}"}}\''
        lines.append(told(f"To sell them, say which accelerator of the catalogue they are: {option}"))
    return lines


def _cards(devices: "Sequence[DeviceInfo]") -> str:
    """So many of each kind; of shares also how many cards they are cut from."""
    told_of = []
    for kind in dict.fromkeys(device.accelerator for device in devices):
        indices = [device.index for device in devices if device.accelerator == kind]
        cards = len({card_at(index) for index in indices})
        cut = f" ({told(f'cut cards: {cards}')})" if kind_of(kind).shares > 1 else ""
        told_of.append(f"{len(indices)} x {kind}{cut}")
    return ", ".join(told_of) or "-"
