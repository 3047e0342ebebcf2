"""What a task file says of a service alone: where it answers and how it is asked; who may ask, and how many answer."""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from yaml.nodes import MappingNode, Node

from mosu.wire.task_reader import Reader

Auth = Literal["key", "hub", "public"]
"""Who may ask an endpoint: whoever has one of its keys, whoever is signed in at the hub, or anybody."""

REPLICAS_MAX: Final = 20
REQUESTS_MAX: Final = 1_000
IDLE_S_MAX: Final = 7 * 86_400
REPLICA_KEYS: Final = ("min", "max", "requests", "idle")

_PORT_MAX: Final = 65_535
_HEALTH: Final = re.compile(r"/[!-~]{0,199}")
_HEALTH_ALLOWED: Final = "a path such as /health, at most 200 letters, digits and signs"
AUTHS: Final[tuple[Auth, ...]] = get_args(Auth)
_AUTH_ALLOWED: Final = "key, hub or public"
_REPLICAS_ALLOWED: Final = f"a number from 1 to {REPLICAS_MAX}, or a map of min, max, requests and idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaNeed:
    """By how many runs a service answers: as many as its requests need, `least` to `most`."""

    least: int = 1
    most: int = 1
    requests: int = 16
    """In flight at once at each of them."""
    idle_s: int = 600
    """What was not needed for so long goes."""


def port(node: Node, field: str, reader: Reader, *, is_service: bool) -> int | None:
    """On which it answers."""
    if is_service:
        return reader.integer(node, field, minimum=1, maximum=_PORT_MAX)
    reader.refuse(node, field, "only a service names its port.", allowed="kind: service")
    return None


def health(node: Node, field: str, reader: Reader, *, is_service: bool) -> str | None:
    """The path at which it says that it is well."""
    if is_service:
        return reader.matched(node, field, _HEALTH, allowed=_HEALTH_ALLOWED)
    reader.refuse(node, field, "only a service is asked how it is.", allowed="kind: service")
    return None


def auth(node: Node, field: str, reader: Reader, *, is_service: bool) -> Auth | None:
    """Who may ask it."""
    if not is_service:
        reader.refuse(node, field, "only a service is asked by others.", allowed="kind: service")
        return None
    text = reader.scalar(node, field, allowed=_AUTH_ALLOWED)
    if text is not None and text not in AUTHS:
        message = f"{text[:60]!r} does not fit; allowed is {_AUTH_ALLOWED}."
        reader.refuse(node, field, message, allowed=_AUTH_ALLOWED)
    return next((one for one in AUTHS if one == text), None)


def replicas(node: Node, field: str, reader: Reader, *, is_service: bool) -> ReplicaNeed | None:
    """By how many it answers: a number is so many, always."""
    if not is_service:
        reader.refuse(node, field, "only a service has replicas.", allowed="kind: service")
        return None
    if not isinstance(node, MappingNode):
        count = _count(node, field, reader)
        return None if count is None else ReplicaNeed(least=count, most=count)
    fields = reader.fields(
        node, field, known=REPLICA_KEYS, unsupported=MappingProxyType({}), elsewhere=MappingProxyType({})
    )
    least = fields.read("min", reader.integer, minimum=0, maximum=REPLICAS_MAX)
    most = fields.read("max", reader.integer, minimum=1, maximum=REPLICAS_MAX)
    need = ReplicaNeed(
        least=1 if least is None else least,
        most=max(least or 1, 1) if most is None else most,
        requests=fields.read("requests", reader.integer, minimum=1, maximum=REQUESTS_MAX) or 16,
        idle_s=fields.read("idle", reader.seconds, maximum=IDLE_S_MAX) or 600,
    )
    if need.least > need.most:
        reader.refuse(node, field, "min is more than max.", allowed="min at most max")
        return None
    return need


def _count(node: Node, field: str, reader: Reader) -> int | None:
    if not reader.scalar(node, field, allowed=_REPLICAS_ALLOWED):
        return None
    return reader.integer(node, field, minimum=1, maximum=REPLICAS_MAX)
