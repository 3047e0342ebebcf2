"""What the hub starts in a session beside its command: each app a file here, all of them in `APPS`.

An app is a program of the session's environment or of its machine, on a port of the session's own loopback. What it
must know beside that reaches it as secrets, which follow from the hub's key and the attempt: nobody keeps them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from mosu.compute.session_apps import jupyter, ssh, vscode
from mosu.compute.session_apps.starting import AppStart
from mosu.wire.task import App

APPS: Final[Mapping[App, AppStart]] = MappingProxyType(
    {"jupyter": jupyter.START, "ssh": ssh.START, "vscode": vscode.START}
)


# Bash's own `wait -n` misses what ended before it was called.
_LISTEN: Final = "mkfifo /tmp/ended && exec 9<>/tmp/ended && rm /tmp/ended"
_FIRST_END: Final = 'read -r code <&9; exit "$code"'


def script_with(apps: Sequence[App], run: str) -> str:
    """The session's script: its apps are started, then its command runs; without one it lasts until an app ends."""
    if not apps:
        return run
    commands = [APPS[app].command for app in apps]
    if run:
        return "\n".join([*(f"{command} &" for command in commands), run, ""])
    return "\n".join([_LISTEN, *(f"( {command}; echo $? >&9 ) &" for command in commands), _FIRST_END, ""])


def packages_of(apps: Sequence[App]) -> list[str]:
    """What an environment must have for these apps to start in it."""
    return [needs for needs in dict.fromkeys(APPS[app].needs for app in apps) if needs]


def environments_for(apps: Sequence[App], environments: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of those of a pool's environments in which these apps start, in the pool's order."""
    needed = set(packages_of(apps))
    return [
        environment["name"]
        for environment in environments
        if needed <= {package.partition("==")[0].lower() for package in environment["packages"]}
    ]


def start_in(apps: Sequence[App], named: str, environments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these apps start in the pool: in its environment of this name, or without one in any."""
    if not packages_of(apps):
        return True
    fit = environments_for(apps, environments)
    return named in fit if named else bool(fit)


def environments_with_sshd(apps: Sequence[App], environments: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of those in which these apps start, and which bring OpenSSH's server whatever their machine has."""
    return environments_for(apps, [one for one in environments if one.get("has_sshd")])


def secrets_of(apps: Sequence[App], attempt_id: str) -> dict[str, str]:
    """What the apps of this attempt find below `$MOSU_SECRETS`."""
    return {name: text for app in apps for name, text in APPS[app].secrets(attempt_id).items()}
