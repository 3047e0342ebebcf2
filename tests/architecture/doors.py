"""Finds every door of the hub: pages, API operations, streams and agent calls."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mosu.kernel.ids import typeid, uuid7
from mosu.platform.actors import ALL_SCOPES, ANONYMOUS, Actor, HubRole, Role, Scope
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.policy import allows

# Doors that libraries bring, with the action that they amount to.
LIBRARY_DOORS = (
    (
        r"/account/\^?(login|signup|logout|confirm-email|password/reset|2fa/authenticate|inactive)",
        "hub.enter",
    ),
    (r"/account/", "self.change"),
    (r"/admin/", "admin.read"),
    (r"/api/v1/(docs|openapi\.json|$)", "hub.look"),
    (r"/static/|/language/|/api/docs", "hub.look"),
)


@dataclass(frozen=True, order=True)
class Door:
    """One way in. `kind` is page, api, stream, agent or app; `action` is empty when the door names none."""

    kind: str
    path: str
    method: str
    action: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def example(self) -> str:
        """The path with ids that exist nowhere."""
        return re.sub(
            r"\{(?:\w+:)?(\w+)\}", lambda found: typeid(found[1].removesuffix("_id"), uuid7()), self.path
        )


def all_doors() -> list[Door]:
    return sorted({*_pages(), *_operations(), *_streams()})


def _library_action(path: str) -> str:
    return next((action for pattern, action in LIBRARY_DOORS if re.match(pattern, path)), "")


def _pages() -> Iterator[Door]:
    from django.urls import URLPattern, get_resolver

    def walk(patterns: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for pattern in patterns:
            path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
            if isinstance(pattern, URLPattern):
                yield path, pattern.callback
            else:
                yield from walk(pattern.url_patterns, path)

    for path, view in walk(get_resolver().url_patterns, "/"):
        if path.startswith("/api/v1/") and not re.match(LIBRARY_DOORS[3][0], path):
            continue  # the operations below, one by one
        yield Door("page", path, "*", getattr(view, ATTRIBUTE, "") or _library_action(path))


def _operations() -> Iterator[Door]:
    from mosu.web.api import api

    for prefix, router in api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                for method in operation.methods:
                    full = "/api/v1/" + "/".join(
                        part.strip("/") for part in (prefix, path) if part.strip("/")
                    )
                    yield Door("api", full, method, getattr(operation.view_func, ATTRIBUTE, ""))


def _streams() -> Iterator[Door]:
    from starlette.routing import Route, WebSocketRoute

    from mosu.compute.relay.app import application as relay
    from mosu.compute.relay.app import apps, endpoint_doors
    from mosu.compute.relay.ssh_port import Entrance
    from mosu.web.asgi import application

    for host, doors in (("PORT-RUN", apps), ("NAME-HOUSE", endpoint_doors)):
        for route in doors.routes:
            if isinstance(route, Route | WebSocketRoute):
                method = "WebSocket" if isinstance(route, WebSocketRoute) else "*"
                path = f"//{host}.MOSU_APPS_HOST{route.path}"
                yield Door("app", path, method, getattr(route.app, ATTRIBUTE, ""))
    yield Door("ssh", "//MOSU_SSH_ADDRESS/{run_id}", "direct-tcpip", getattr(Entrance, ATTRIBUTE, ""))
    for route in (*application.routes, *relay.routes):
        if isinstance(route, Route):
            kind = "agent" if route.path.startswith("/agent/") else "stream"
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield Door(kind, route.path, method, getattr(route.endpoint, ATTRIBUTE, ""))
        elif isinstance(route, WebSocketRoute):
            kind = "agent" if route.path.startswith("/agent/") else "stream"
            yield Door(kind, route.path, "WebSocket", getattr(route.endpoint, ATTRIBUTE, ""))


@dataclass(frozen=True)
class Persona:
    """Somebody who tries the doors."""

    name: str
    headers: dict[str, str]
    actor: Actor | None

    def __str__(self) -> str:
        return self.name

    def may(self, action: str) -> bool:
        return allows(self.actor or ANONYMOUS, action)


def personas() -> list[Persona]:
    """One of each role, made in the database; the owner once more for each scope of a token."""
    found = [Persona("anonymous", {}, None)]
    found += [_person(role.value, roles=[role]) for role in Role]
    found += [_person(role.value, hub_roles=[role]) for role in HubRole]
    found += [
        _person(f"owner, {scope.value} only", roles=[Role.OWNER], scopes=frozenset({scope}))
        for scope in Scope
    ]
    return found


def _person(
    name: str,
    *,
    roles: Sequence[Role] = (),
    hub_roles: Sequence[HubRole] = (),
    scopes: frozenset[Scope] = ALL_SCOPES,
) -> Persona:
    from mosu.platform.actors import SYSTEM
    from mosu.platform.models import ApiToken, HubMembership, Membership, Organisation, User
    from mosu.platform.queries import actor_for_user
    from mosu.platform.services import record_audit

    now = datetime.now(UTC)
    user = User.objects.create_user(email=f"{uuid7().hex}@example.org")
    for role in roles:
        organisation = Organisation(name=uuid7().hex, kind="company", created_at=now)
        record_audit(
            actor=SYSTEM,
            action="test",
            subject_id=organisation.id,
            before=None,
            after=organisation.state,
            now=now,
        )
        organisation.save(force_insert=True)
        Membership.objects.create(organisation=organisation, user=user, role=role, created_at=now)
    for hub_role in hub_roles:
        HubMembership.objects.create(user=user, role=hub_role, created_at=now)
    secret = f"mosu_{uuid7().hex}"
    ApiToken.objects.create(
        user=user,
        name=name,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=sorted(scopes),
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    return Persona(name, {"Authorization": f"Bearer {secret}"}, actor_for_user(user, scopes=scopes))


def as_table(doors: list[Door]) -> str:
    """The list for people: who enters where."""
    from mosu.platform.policy import POLICY

    lines = [
        "# Every door, and who enters",
        "",
        "Written by `python tools/doors.py`; a test fails when it is not current.",
        "",
        "| kind | door | action | organisation roles | hub roles | token scope |",
        "|---|---|---|---|---|---|",
    ]
    for door in doors:
        rule = POLICY.get(door.action)
        if rule is None:
            who, hub, scope = "?", "?", "?"
        else:
            everyone = "everyone" if rule.public else "any who signed in" if rule.signed_in else ""
            who = everyone or ("site agent" if rule.agent else ", ".join(sorted(rule.roles))) or "none"
            hub = ", ".join(sorted(rule.hub_roles)) or "none"
            scope = "none" if rule.public or rule.agent else rule.scope.value
        lines.append(
            f"| {door.kind} | `{door.method} {door.path}` | {door.action} | {who} | {hub} | {scope} |"
        )
    return "\n".join(lines) + "\n"
