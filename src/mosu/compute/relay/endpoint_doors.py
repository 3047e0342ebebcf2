"""The doors of endpoints' hosts: where a ticket is redeemed, and everything else, which is the replicas'."""

import re
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from django.conf import settings
from django.utils import timezone
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost, endpoint_at
from mosu.compute.models import Endpoint
from mosu.compute.relay.app_doors import (
    SECRET_CHARS_MAX,
    Door,
    Misdirected,
    asked_of,
    give,
    headers_of,
    host_in,
    let_in,
)
from mosu.compute.relay.app_headers import check_origin, check_token, values_of, without_authorization
from mosu.compute.relay.endpoint_entries import Pass
from mosu.compute.relay.endpoint_requests import Passing
from mosu.compute.relay.endpoints import Endpoints
from mosu.compute.relay.proxy import Answer, Asked
from mosu.compute.relay.served import Served
from mosu.compute.services.tickets import OPEN_PATH
from mosu.compute.stream_doors import in_thread
from mosu.kernel.ids import typeid
from mosu.kernel.refusals import DomainError
from mosu.platform.policy import Unauthenticated
from mosu.platform.problems import INERT, WrongMethod

_PATH: Final = re.compile(r"/(?![/\\])[!-~]*")
_PATH_CHARS_MAX: Final = 2_000
_FAILED: Final = 500


class EndpointDoor(Door):
    """Whatever is asked of an endpoint. Who may is the endpoint's own word."""

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__("endpoint.ask")
        self._endpoints = endpoints

    async def answered(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        host = _host_of(scope)
        asked = asked_of(scope, host)
        served = await self._endpoints.at(host)
        one = await self._entered(scope, served, asked)
        if isinstance(one, Response):
            await give(one, scope, receive, answer)
            return
        passing = Passing(self._endpoints, served, one, _told(asked, served))
        if scope["type"] == "websocket":
            await passing.websocket(receive, answer.send)
        else:
            await passing.http(receive, answer)

    def members(self, refusal: DomainError, problem: dict[str, Any]) -> dict[str, Any]:
        """The same once more where OpenAI's clients read it."""
        kind = "server_error" if refusal.status >= _FAILED else "invalid_request_error"
        said = f"{problem['title']} {problem['detail']}"
        return {"error": {"message": said, "type": kind, "param": None, "code": refusal.code}}

    async def _entered(self, scope: Scope, served: Served, asked: Asked) -> Pass | Response:
        """Who asks; or the way to the hub, for a browser that opens a page and of which nobody is known yet.

        Raises:
            Unauthenticated, Foreign, Malformed, Full: who asks may not, or not now.
        """
        try:
            if served.route.auth != "key":
                check_token(asked.headers)
            if served.route.auth == "hub":
                is_websocket = scope["type"] == "websocket"
                check_origin(asked.headers, method=asked.method, app=served.host, websocket=is_websocket)
            return await self._endpoints.entries.of(served.route, asked.headers)
        except Unauthenticated:
            self._note_refused(served)
            if served.route.auth == "hub" and _opens_a_page(scope, asked):
                return _way_to_hub(served, asked)
            raise
        except DomainError:
            self._note_refused(served)
            raise

    def _note_refused(self, served: Served) -> None:
        """Counted, not listed: who may not ask does not choose what is written down."""
        self._endpoints.log.minute(served.route.id, timezone.now()).refused += 1


class OpenEndpointDoor(Door):
    """Where a ticket to an endpoint is redeemed for a cookie of its host."""

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__("endpoint.ask")
        self._endpoints = endpoints

    async def answered(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        await give(await self._opened(scope), scope, receive, answer)

    async def _opened(self, scope: Scope) -> Response:
        host = _host_of(scope)
        if scope["method"] != "GET":
            raise WrongMethod("This address does not take that method.", hint="Open the link.")
        asked = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10)
        served = await self._endpoints.at(host)
        now = timezone.now()
        redeemed = await in_thread(
            services.redeem_endpoint_ticket,
            secret=asked.get("ticket", [""])[0][:SECRET_CHARS_MAX],
            endpoint_id=served.route.id,
            now=now,
        )
        path = asked.get("path", ["/"])[0]
        return let_in(redeemed, path if _is_path(path) else "/", now=now)


def _host_of(scope: Scope) -> EndpointHost:
    host = endpoint_at(host_in(headers_of(scope)))
    if host is None:
        raise Misdirected("There is no endpoint at this address.", hint="Ask its owner for the address.")
    return host


def _told(asked: Asked, served: Served) -> Asked:
    """What a replica is told of it: what let its sender in is ours."""
    if served.route.auth != "key":
        return asked
    return replace(asked, headers=without_authorization(asked.headers))


def _opens_a_page(scope: Scope, asked: Asked) -> bool:
    wants_page = any(b"text/html" in value for value in values_of(asked.headers, b"accept"))
    dest = values_of(asked.headers, b"sec-fetch-dest")
    return scope["type"] == "http" and asked.method == "GET" and wants_page and dest in ([], [b"document"])


def _way_to_hub(served: Served, asked: Asked) -> Response:
    path = asked.target.decode("ascii")
    query = urlencode({"path": path if _is_path(path) else "/"})
    endpoint = typeid(Endpoint.prefix, served.route.id)
    response = RedirectResponse(f"{settings.MOSU_URL}/endpoints/{endpoint}/open?{query}", status_code=303)
    response.headers.update({**INERT, "Referrer-Policy": "no-referrer"})
    return response


def _is_path(path: str) -> bool:
    """Whether a browser that is sent there stays at this host."""
    return len(path) <= _PATH_CHARS_MAX and _PATH.fullmatch(path) is not None and "\\" not in path


def endpoint_doors_of(endpoints: Endpoints) -> Starlette:
    """All doors of endpoints' hosts."""
    door = EndpointDoor(endpoints)
    return Starlette(
        routes=[
            Route(OPEN_PATH, OpenEndpointDoor(endpoints)),
            Route("/{path:path}", door),
            WebSocketRoute("/{path:path}", door),
        ]
    )
