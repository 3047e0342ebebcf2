"""The doors of apps' hosts: where a ticket is redeemed, and everything else, which is the app's."""

import asyncio
from abc import ABC, abstractmethod
from datetime import datetime
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs

from django.conf import settings
from django.utils import timezone
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from mosu.compute import services
from mosu.compute.app_hosts import AppHost, app_at, endpoint_at, is_apps_host, scheme
from mosu.compute.relay.app_headers import (
    Headers,
    Host,
    check_framing,
    check_origin,
    check_target,
    check_token,
    cookie_name,
    cookie_of,
    values_of,
)
from mosu.compute.relay.grants import Grants
from mosu.compute.relay.proxy import Answer, Asked, proxied
from mosu.compute.relay.proxy_websocket import joined
from mosu.compute.services import Redeemed
from mosu.compute.services.tickets import OPEN_PATH, sha256_of
from mosu.compute.stream_doors import in_thread, problem
from mosu.kernel.languages import language_asked, said
from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.problems import INERT, LANGUAGE_TAGS, Malformed, WrongMethod, refusal_of

ABORT: Final = "mosu.abort"
"""An extension of the server's: breaks the connection off, where an answer cannot come to its end."""
_OURS: Final = b"/.mosu/"
SECRET_CHARS_MAX: Final = 100


class Misdirected(DomainError):
    """There is no app at this host."""

    code = "no_such_app"
    status = 421


class ByHost:
    """Apps' hosts, endpoints' hosts and the relay's own: none's doors are at another's."""

    def __init__(self, app: ASGIApp, *, apps: ASGIApp, endpoints: ASGIApp) -> None:
        self._app, self._apps, self._endpoints = app, apps, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value.decode("latin-1") for value in values_of(scope.get("headers", ()), b"host")]
        app = self._apps if any(map(is_apps_host, hosts)) else self._app
        if hosts and all(map(endpoint_at, hosts)):
            app = self._endpoints
        await app(scope, receive, send)


class Door(ABC):
    """One at the hosts of apps and endpoints: what goes wrong behind it is said, or breaks off where it cannot be."""

    def __init__(self, action: str) -> None:
        setattr(self, ATTRIBUTE, action)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(send)
        try:
            await self.answered(scope, receive, answer)
        except DomainError as refusal:
            await self._refused(scope, receive, answer, refusal)
        except Exception as error:  # noqa: BLE001 - logged with its trace, answered without
            await self._refused(scope, receive, answer, refusal_of(error))
        if scope["type"] == "http" and not answer.complete:
            await _abort(scope)

    @abstractmethod
    async def answered(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        """Answer it, or raise why not."""

    def members(self, refusal: DomainError, problem: dict[str, Any]) -> dict[str, Any]:
        """What the problem of a refusal has here beside what every one has."""
        return {}

    async def _refused(self, scope: Scope, receive: Receive, answer: Answer, refusal: DomainError) -> None:
        """Why not, as a page for who reads pages, else as problem+json; the connection ends whatever it brings."""
        if answer.started:
            return
        request = Request({**scope, "type": "http", "method": scope.get("method", "GET")})
        is_page = scope["type"] == "http" and "text/html" in request.headers.get("accept", "")
        response = _page(request, refusal) if is_page else problem(request, refusal, self.members)
        response.headers.update({**INERT, "Connection": "close"})
        answer.status = refusal.status
        await give(response, scope, receive, answer)


async def give(response: Response, scope: Scope, receive: Receive, answer: Answer) -> None:
    """An answer of our own, whole."""
    answer.started = answer.complete = True
    await response(scope, receive, answer.send)


class AppDoor(Door):
    """Whatever a browser asks of an app. It enters with its cookie alone."""

    def __init__(self, grants: Grants) -> None:
        super().__init__("run.connect")
        self._grants = grants

    async def answered(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        app = _app_of(headers_of(scope))
        asked = asked_of(scope, app)
        check_token(asked.headers)
        is_websocket = scope["type"] == "websocket"
        check_origin(asked.headers, method=asked.method, app=app, websocket=is_websocket)
        grant = await self._grants.of(sha256_of(_cookie(asked.headers)), app)
        if is_websocket:
            await joined(self._grants, grant, asked, receive=receive, send=answer.send)
        else:
            await proxied(self._grants, grant, asked, receive, answer)


class OpenDoor(Door):
    """Where a ticket is redeemed for a cookie of this host."""

    def __init__(self) -> None:
        super().__init__("run.connect")

    async def answered(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        await give(await self._opened(scope), scope, receive, answer)

    async def _opened(self, scope: Scope) -> Response:
        app = _app_of(headers_of(scope))
        if scope["method"] != "GET":
            raise WrongMethod("This address does not take that method.", hint="Open the link.")
        found = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10).get("ticket", [""])
        now = timezone.now()
        redeemed = await in_thread(
            services.redeem_ticket,
            secret=found[0][:SECRET_CHARS_MAX],
            run_id=app.run_id,
            port=app.port,
            now=now,
        )
        return let_in(redeemed, redeemed.path, now=now)


def let_in(redeemed: Redeemed, path: str, *, now: datetime) -> Response:
    """The cookie for the ticket, and the way to where its person begins."""
    response = Response(
        status_code=303, headers={"Location": path, **INERT, "Referrer-Policy": "no-referrer"}
    )
    response.set_cookie(
        cookie_name(),
        redeemed.cookie,
        max_age=int((redeemed.expires_at - now).total_seconds()),
        path="/",
        secure=scheme() == "https",
        httponly=True,
        samesite="lax",
    )
    return response


def asked_of(scope: Scope, host: Host) -> Asked:
    """The request, its head judged but for who asks.

    Raises:
        NotFound: the address is ours, and nothing is there.
        Malformed, Unsupported: what only a program sends that means no good.
    """
    headers = headers_of(scope)
    check_framing(headers)
    target = check_target(scope["raw_path"], scope["query_string"])
    if target.startswith(_OURS):
        raise NotFound("There is nothing at this address.", hint="Open the app from the page of its run.")
    return Asked(app=host, method=scope.get("method", "GET"), target=target, headers=headers)


def headers_of(scope: Scope) -> Headers:
    """Blanks behind a value, which llhttp leaves there, are no part of it (RFC 9110 section 5.5): h11 writes none."""
    return [(name.lower(), value.rstrip(b" \t")) for name, value in scope["headers"]]


def host_in(headers: Headers) -> str:
    """
    Raises:
        Malformed: none is named, or two.
    """
    hosts = values_of(headers, b"host")
    if len(hosts) != 1:
        raise Malformed("The request names no host, or two.", hint="Name one.")
    return hosts[0].decode("latin-1")


def _app_of(headers: Headers) -> AppHost:
    app = app_at(host_in(headers))
    if app is None:
        raise Misdirected("There is no app at this address.", hint="Open it from the page of its run.")
    return app


def _cookie(headers: Headers) -> str:
    cookie = cookie_of(headers)
    if not cookie:
        raise services.not_entered()
    return cookie


def _page(request: Request, refusal: DomainError) -> HTMLResponse:
    language = language_asked(request.headers.get("accept-language", ""))
    title, hint = escape(said(refusal.message, language)), escape(said(refusal.hint, language))
    way = {"en": "To the hub", "zh": "前往中心"}[language]
    return HTMLResponse(
        f'<!doctype html><html lang="{LANGUAGE_TAGS[language]}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><main><h1>{title}</h1><p>{hint}</p>"
        f'<p><a href="{escape(settings.MOSU_URL)}/orders/">{way}</a></p></main></html>',
        status_code=refusal.status,
        headers={"Content-Language": LANGUAGE_TAGS[language], "Vary": "Accept-Language"},
    )


async def _abort(scope: Scope) -> None:
    """What was said so far must not look whole."""
    abort = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort["now"]()
        await asyncio.sleep(0)  # the server hears of it before it looks whether we are done


def doors_of(grants: Grants) -> Starlette:
    """All doors of apps' hosts."""
    door = AppDoor(grants)
    return Starlette(
        routes=[
            Route(OPEN_PATH, OpenDoor()),
            Route("/{path:path}", door),
            WebSocketRoute("/{path:path}", door),
        ]
    )
