"""What `platform.doors` and `platform.problems` are for Django, for the data plane's routes."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, Final, TypeAlias, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections
from django.utils import timezone
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from mosu.compute.services import actor_of_agent
from mosu.kernel.languages import language_asked
from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.actors import ANONYMOUS, Actor
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.hosts import require_host
from mosu.platform.policy import POLICY, require
from mosu.platform.problems import LANGUAGE_TAGS, MEDIA_TYPE, NO_PAGE, body_of, refusal_of
from mosu.platform.requests import actor_of_authorization
from mosu.store.services import TooLarge
from mosu.wire.agent import LogChunk, Message, Report

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
ActorOf: TypeAlias = Callable[[Request], Actor]
ResultT = TypeVar("ResultT")
MessageT = TypeVar("MessageT", bound=BaseModel)

JSON_BYTES_MAX: Final = 4 * 1024 * 1024


async def in_thread(
    call: Callable[..., ResultT], *, executor: ThreadPoolExecutor | None = None, **arguments: Any
) -> ResultT:
    """What `call` returns, run in a thread of its own with Django's connections, given back afterwards.

    It is one of the executor's, which keep no connection, or else of those for which all requests wait.
    """

    def called() -> ResultT:
        close_old_connections()
        try:
            return call(**arguments)
        finally:
            if executor is None:
                close_old_connections()
            else:
                connections.close_all()

    return await sync_to_async(called, thread_sensitive=False, executor=executor)()


def actor_of_token(request: Request) -> Actor:
    """The actor of the `Authorization` header: a person's token, or nobody.

    Raises:
        Unauthenticated: the token is unknown, expired or revoked.
    """
    header = request.headers.get("authorization", "")
    return actor_of_authorization(header, now=timezone.now()) if header else ANONYMOUS


def actor_of_pool(request: Request) -> Actor:
    """The actor of the `Authorization` header: a pool's site agent.

    Raises:
        Unauthenticated: there is no token of a pool.
    """
    return actor_of_agent(request.headers.get("authorization", ""), now=timezone.now())


def stream_door(action: str, *, actor_of: ActorOf | None = None) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint be entered only by those whom the policy allows `action` somewhere.

    The actor is in `request.state.actor`; it comes from the token, unless `actor_of` says from where else. Every
    refusal is answered as problem+json. No cache keeps what not everyone may have. Who asks is asked anew by
    `request.state.entered`: what streams for long must not outlive what let its reader in.
    """
    if action not in POLICY:
        raise ValueError(f"{action} is not in the policy")
    whose = actor_of or (actor_of_pool if POLICY[action].agent else actor_of_token)

    def mark(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def entered(request: Request) -> Response:
            try:
                require_host(request.headers.get("host", ""))
                request.state.entered = partial(_entering, whose=whose, request=request, action=action)
                request.state.actor = await in_thread(request.state.entered)
                response = await endpoint(request)
            except DomainError as refusal:
                response = problem(request, refusal)
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:  # noqa: BLE001 - logged with its trace, answered without
                response = problem(request, refusal_of(error))
            if not POLICY[action].public:
                response.headers.setdefault("Cache-Control", "no-store")
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
            response.headers.setdefault("Content-Security-Policy", NO_PAGE)
            return response

        setattr(entered, ATTRIBUTE, action)
        return entered

    return mark


def _entering(*, whose: ActorOf, request: Request, action: str) -> Actor:
    actor = whose(request)
    require(actor, action)
    return actor


def problem(
    request: Request,
    refusal: DomainError,
    also: Callable[[DomainError, dict[str, Any]], dict[str, Any]] | None = None,
) -> Response:
    """The refusal as problem+json, in the language that the request asks for; `also` says its further members."""
    language = language_asked(request.headers.get("accept-language", ""))
    headers = {"Content-Language": LANGUAGE_TAGS[language], "Vary": "Accept-Language"}
    headers |= {"WWW-Authenticate": 'Bearer realm="mosu"'} if refusal.status == 401 else {}
    if "retry_after_s" in refusal.facts:
        headers["Retry-After"] = str(refusal.facts["retry_after_s"])
    body = body_of(refusal, language=language)
    body |= also(refusal, body) if also else {}
    said = json.dumps(body, ensure_ascii=False)
    return Response(said, status_code=refusal.status, media_type=MEDIA_TYPE, headers=headers)


def answer(message: Message) -> Response:
    """A message of the wire."""
    return JSONResponse(message.as_sent())


async def body_as(request: Request, kind: type[MessageT]) -> MessageT:
    """The request's body as a message.

    Raises:
        TooLarge: more than 4 MiB came.
        Invalid: not such a message; names the first field that is wrong.
    """
    body = bytearray()
    async for chunk in limited(request, JSON_BYTES_MAX):
        body += chunk
    # A NUL in a log or a report is replaced where they are taken: a run must be able to end.
    if b"\\u0000" in body and kind not in (LogChunk, Report):
        raise Invalid("The message has a NUL.", hint="Leave it out.", field="body")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"{field}: {first['msg']}.", hint="Correct the message.", field=field) from error


async def limited(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The request's body in chunks.

    Raises:
        TooLarge: more than `bytes_max` come, or are announced.
    """
    announced = request.headers.get("content-length", "")
    count = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 20 else 0
    if count <= bytes_max:
        count = 0
        async for chunk in request.stream():
            count += len(chunk)
            if count > bytes_max:
                break
            yield chunk
    if count > bytes_max:
        raise TooLarge(f"More than {bytes_max} bytes came.", hint="Send less at once.", allowed=bytes_max)
