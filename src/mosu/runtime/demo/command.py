"""`mosu demo`: a hub with a small world, one order through it, and the receipt."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console

from mosu.cli.receipt import render
from mosu.client import Client
from mosu.client.errors import ClientError
from mosu.kernel.languages import language_of_environment
from mosu.kernel.refusals import DomainError
from mosu.runtime.children import die_with_parent
from mosu.runtime.commands import refusing, use_hub
from mosu.runtime.config import Config, free_port, load_config
from mosu.runtime.demo.journey import check_held, summary, travel
from mosu.runtime.folders import check_reach, service_user
from mosu.runtime.hub import answers
from mosu.runtime.words import told
from mosu.sandbox.probing import probe

START_S_MAX = 300.0
NO_SANDBOX = 3
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class FolderInUse(DomainError):
    """The demo's folder has a hub in it already."""

    code = "folder_in_use"


class PortInUse(DomainError):
    """Somebody else listens where the demo was told to."""

    code = "port_in_use"


class HubNotUp(DomainError):
    """The demo's hub did not start."""

    code = "hub_not_up"


class NoSandbox(DomainError):
    """Jobs cannot be confined on this machine."""

    code = "no_sandbox"


@refusing
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the receipt, with 0 only if all held.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write what happened to this file.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="[default: MOSU_PORT, else a free one from 8000]")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="An empty folder, kept. [default: a temporary one]")
    ] = None,
) -> None:
    """Set up a hub with a small world and show one order, from shelf to receipt."""
    once = ends_by_itself(once)
    console = Console(highlight=False)
    out: Callable[[str], None] = console.print if sys.stdout.isatty() else partial(print, flush=True)

    def say(text: str) -> None:
        out(told(text))

    with _reported(json_file) as write, _ended_in_order():
        _check_sandbox()
        _show(once=once, port=port, data_dir=data_dir, out=out, say=say, write=write)


def _show(
    *,
    once: bool,
    port: int | None,
    data_dir: Path | None,
    out: Callable[[str], None],
    say: Callable[[str], None],
    write: Callable[[dict[str, object]], None],
) -> None:
    with _folder(data_dir) as folder:
        config = load_config(data_dir=folder, host="127.0.0.1", port=_port(port))
        if config.is_embedded:
            check_reach(
                config.data_dir, service_user()
            )  # said here, once, and not again by the hub's process
        began = time.monotonic()
        with _hub(config, say=say):
            use_hub(config)
            # Django is set up now; what stands on it can be imported.
            from mosu.runtime.demo.world import is_balanced, load_world

            world = load_world(say=say)
            setup_s = time.monotonic() - began
            say(f"the hub is set up: {config.url} ({setup_s:.1f} s)\n")
            with Client(config.url, world.startup_token) as client:
                journey = travel(client, outputs=folder / "demo-outputs", say=say)
            journey_s = time.monotonic() - began - setup_s
            balanced = is_balanced()
            out("\n" + render(journey.receipt, lang=language_of_environment()))
            out(f"{config.url}/receipts/{journey.receipt.id}/")
            check_held(journey, balanced=balanced)
            write(summary(journey, url=config.url, balanced=balanced, setup_s=setup_s, journey_s=journey_s))
            if not once:
                say("\nSign in with one of these (made up for this demo):")
                for email, password, who in world.sign_ins:
                    out(f"  {email:34} {password}   {told(who)}")
                say("\nCtrl-C ends the demo.")
                signal.pause()
            say(
                f"\nThe hub ends now. mosu up --data-dir {folder} starts it again."
                if _asked_folder(data_dir)
                else "\nThe hub ends now, and its folder is removed; MOSU_DATA_DIR=/path/to/new make demo keeps it."
            )


def _check_sandbox() -> None:
    """
    Raises:
        NoSandbox: nothing could be run; the hint is the command that mends it.
    """
    report = probe()
    if not report.ok:
        raise NoSandbox(report.why_not, hint=report.mend)


@contextmanager
def _reported(file: Path | None) -> Iterator[Callable[[dict[str, object]], None]]:
    """What writes to `file`, if there is one. Until it is called, and unless it is, the file says what went wrong:
    however the demo ends, it is never empty and never an earlier demo's.

    A machine without a sandbox is told what mends it, and ends the process with 3.
    """
    ended = False

    def write(facts: dict[str, object]) -> None:
        if file is not None:
            file.write_text(json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def write_failure(code: str, message: str, hint: str) -> None:
        if not ended:
            write({"ok": False, "error": {"code": code, "message": message, "hint": hint}})

    def write_end(facts: dict[str, object]) -> None:
        nonlocal ended
        write(facts)
        ended = True

    # Refused now rather than after the whole journey.
    write_failure("unfinished", "The demo has not ended, or was killed.", "")
    try:
        yield write_end
    except NoSandbox as refused:
        write_failure(refused.code, refused.message, refused.hint)
        lines = [
            told(refused.message),
            told("Nothing was bought. This mends it:"),
            "",
            f"    {refused.hint}",
            "",
        ]
        typer.echo("\n".join(lines), err=True)
        raise typer.Exit(NO_SANDBOX) from refused
    except (DomainError, ClientError) as refused:
        write_failure(getattr(refused, "code", "no_hub"), refused.message, refused.hint)
        raise
    except BaseException as error:
        write_failure("broken_off", f"{type(error).__name__}: {error}", "")
        raise


def ends_by_itself(once: bool) -> bool:
    """Whether the demo ends after the receipt: it was asked to, or nobody at a terminal could end it."""
    return once or not sys.stdout.isatty()


def _port(asked: int | None) -> int:
    """The port asked for, or a free one.

    Raises:
        ConfigRefused: MOSU_PORT is not a port.
        PortInUse: another server would be taken for the demo's.
    """
    if asked is None and "MOSU_PORT" not in os.environ:
        return free_port(8000)
    port = load_config(port=asked).port
    if free_port(port) != port:
        raise PortInUse(
            f"127.0.0.1:{port} is in use.", hint="Leave MOSU_PORT out, and the demo takes a free port."
        )
    return port


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A closed terminal or SIGTERM stops the hub and removes its folder as Ctrl-C does; a second signal, or Ctrl-C
    pressed once more, does not break that off."""

    def end(number: int, _: object) -> None:
        for each in _ENDS:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {each: signal.signal(each, end) for each in _ENDS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _asked_folder(data_dir: Path | None) -> Path | None:
    return data_dir or (Path(os.environ["MOSU_DATA_DIR"]) if "MOSU_DATA_DIR" in os.environ else None)


@contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    """The demo's folder: the one asked for, kept; else a temporary one, removed.

    Raises:
        FolderInUse: there is something in the folder.
    """
    asked = _asked_folder(data_dir)
    if asked is not None:
        if asked.exists() and any(asked.iterdir()):
            raise FolderInUse(
                f"{asked} is not empty: a demo must not mix with a hub in use.",
                hint="Name an empty folder: MOSU_DATA_DIR=/path/to/new make demo",
            )
        yield asked
        return
    # Not /tmp, which is memory on some machines; the database wants a disk.
    made = None
    try:
        with _held_back():
            made = Path(tempfile.mkdtemp(prefix="mosu-demo-", dir="/var/tmp"))
        made.chmod(0o755)
        yield made
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _hub(config: Config, *, say: Callable[[str], None]) -> Iterator[None]:
    """`mosu up` on the folder, as a process of its own."""
    say(f"setting up a hub in {config.data_dir}")
    command = [sys.executable, "-c", "import sys; from mosu.cli.main import main; sys.exit(main())", "up"]
    command += ["--port", str(config.port), "--host", config.host, "--data-dir", str(config.data_dir)]
    with tempfile.TemporaryFile("w+") as printed:
        hub = None
        try:
            with _held_back():
                hub = subprocess.Popen(
                    command,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - this process has one thread
                )
            _wait_until_up(hub, config, printed)
            yield
        finally:
            if hub is not None:
                _stop(hub)


@contextmanager
def _held_back() -> Iterator[None]:
    """What ends the demo waits meanwhile: a process that started would not be known yet, and would stay."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(hub: subprocess.Popen[bytes]) -> None:
    hub.send_signal(signal.SIGTERM)
    try:
        hub.wait(timeout=60)
    except subprocess.TimeoutExpired:
        hub.kill()
        hub.wait()


def _wait_until_up(hub: subprocess.Popen[bytes], config: Config, printed: IO[str]) -> None:
    until = time.monotonic() + START_S_MAX
    while not answers(config.local_url, "/readyz"):
        if hub.poll() is not None or time.monotonic() > until:
            printed.seek(0)
            raise HubNotUp(
                f"The hub did not start:\n{printed.read()[-2000:]}", hint="mosu doctor says what is wrong."
            )
        time.sleep(0.1)
