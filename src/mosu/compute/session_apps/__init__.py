"""What the hub starts in a session beside its command: each app a file here, all of them in `APPS`.

An app is a program of the session's environment or of its machine, on a port of the session's own loopback. What it
must know beside that reaches it as secrets, which follow from the hub's key and the attempt: nobody keeps them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mosu.compute.session_apps import jupyter, ssh
from mosu.compute.session_apps.starting import AppStart
from mosu.wire.task import App

APPS: Final[Mapping[App, AppStart]] = MappingProxyType({"jupyter": jupyter.START, "ssh": ssh.START})


def script_with(apps: Sequence[App], run: str) -> str:
    """The session's script: its apps are started, then its command runs; without one it lasts until an app ends."""
    if not apps:
        return run
    starts = [f"{APPS[app].command} &" for app in apps]
    return "\n".join([*starts, run or "wait -n", ""])


def secrets_of(apps: Sequence[App], attempt_id: str) -> dict[str, str]:
    """What the apps of this attempt find below `$MOSU_SECRETS`."""
    return {name: text for app in apps for name, text in APPS[app].secrets(attempt_id).items()}
