"""The hosts at which browsers meet apps: each port of each session is an origin of its own, `PORT-RUN.apps.HOST`.

So an app reads neither the hub's cookies nor another app's: browsers keep origins apart, and nothing else would.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from mosu.compute.models import PORT_MAX, Run
from mosu.kernel.ids import typeid
from mosu.kernel.refusals import NotFound

_LABEL: Final = re.compile(r"([1-9][0-9]{0,4})-([0-9a-z]{26})")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AppHost:
    """One port of one session."""

    run_id: UUID
    port: int

    @property
    def name(self) -> str:
        """The host, without a port."""
        run = typeid(Run.prefix, self.run_id).removeprefix(f"{Run.prefix}_")
        return f"{self.port}-{run}.{_apps_host()}"

    @property
    def netloc(self) -> str:
        """The host as browsers name it: with the relay's port where it is not the usual one."""
        relay = urlsplit(_relay_url())
        usual = relay.port in (None, _DEFAULT_PORTS[relay.scheme])
        return self.name if usual else f"{self.name}:{relay.port}"

    @property
    def origin(self) -> str:
        return f"{scheme()}://{self.netloc}"


def has_apps_host() -> bool:
    return bool(_apps_host() and _relay_url())


def scheme() -> str:
    """How people reach the relay: https, or http on one machine."""
    return urlsplit(_relay_url()).scheme


def is_apps_host(host: str) -> bool:
    """Whether the header `Host` names something below the apps' host, be it an app or not; the hub is never there."""
    if not has_apps_host():
        return False
    name = _name_of(host).rstrip(".")
    return name == _apps_host() or name.endswith(f".{_apps_host()}")


def app_at(host: str) -> AppHost | None:
    """The app whose host the header names; None: it is no app's."""
    label, _, rest = _name_of(host).partition(".")
    found = _LABEL.fullmatch(label)
    if found is None or rest != _apps_host() or int(found[1]) > PORT_MAX:
        return None
    try:
        return AppHost(run_id=Run.key_of(f"{Run.prefix}_{found[2]}"), port=int(found[1]))
    except NotFound:
        return None


def _name_of(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host.lower()


def _apps_host() -> str:
    name: str = settings.MOSU_APPS_HOST
    return name


def _relay_url() -> str:
    url: str = settings.MOSU_RELAY_URL
    return url
