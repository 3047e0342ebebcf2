"""The hosts at which browsers meet apps, and programs endpoints: each is an origin of its own.

`PORT-RUN.apps.HOST` is a port of a session, `NAME-HOUSE.apps.HOST` an endpoint. So an app reads neither the hub's
cookies nor another app's: browsers keep origins apart, and nothing else would.
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
ENDPOINT_NAME_MAX: Final = 40
_ENDPOINT_NAME: Final = re.compile(r"[a-z][0-9a-z]*(-[0-9a-z]+)*")
_HOUSE_CHARS: Final = 10
_ENDPOINT_LABEL: Final = re.compile(r"[a-z][0-9a-z]*(-[0-9a-z]+)*-[0-9a-z]{10}")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class _Origin:
    """What apps and endpoints have in common: a host below the apps' host, reached at the relay."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """The first part of the host."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The host, without a port."""
        return f"{self.label}.{_apps_host()}"

    @property
    def netloc(self) -> str:
        """The host as browsers name it: with the relay's port where it is not the usual one."""
        relay = urlsplit(_relay_url())
        usual = relay.port in (None, _DEFAULT_PORTS[relay.scheme])
        return self.name if usual else f"{self.name}:{relay.port}"

    @property
    def origin(self) -> str:
        return f"{scheme()}://{self.netloc}"


@dataclass(frozen=True, slots=True)
class AppHost(_Origin):
    """One port of one session."""

    run_id: UUID
    port: int

    @property
    def label(self) -> str:
        run = typeid(Run.prefix, self.run_id).removeprefix(f"{Run.prefix}_")
        return f"{self.port}-{run}"


@dataclass(frozen=True, slots=True)
class EndpointHost(_Origin):
    """An endpoint, by `Endpoint.label`. It begins with a letter, so it is never a port of a run."""

    label: str


def label_of(name: str, organisation_id: UUID) -> str:
    """The label of an organisation's endpoint: its name, and ten letters that the hub drew for the organisation.

    So nobody takes a name from others, and whoever ends an endpoint and makes it again has its address again.
    """
    return f"{name}-{typeid('', organisation_id)[-_HOUSE_CHARS:]}"


def is_endpoint_name(name: str) -> bool:
    """Whether it can stand in a host: lower-case letters, digits and single hyphens between them, a letter first."""
    return len(name) <= ENDPOINT_NAME_MAX and _ENDPOINT_NAME.fullmatch(name) is not None


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


def endpoint_at(host: str) -> EndpointHost | None:
    """The endpoint whose host the header names, whether there is one or not; None: it cannot be one's."""
    label, _, rest = _name_of(host).partition(".")
    if rest != _apps_host() or not has_apps_host() or not _ENDPOINT_LABEL.fullmatch(label):
        return None
    return EndpointHost(label)


def _name_of(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host.lower()


def _apps_host() -> str:
    name: str = settings.MOSU_APPS_HOST
    return name


def _relay_url() -> str:
    url: str = settings.MOSU_RELAY_URL
    return url
