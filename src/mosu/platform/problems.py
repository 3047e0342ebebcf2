"""Refusals as RFC 9457 `application/problem+json`, the same from every operation of the API and the data plane."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from pydantic import ConfigDict

from mosu.kernel.languages import Language, language_asked, said
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.platform.database.troubles import trouble_of
from mosu.platform.policy import Unauthenticated

MEDIA_TYPE: Final = "application/problem+json"
LANGUAGE_TAGS: Final[Mapping[Language, str]] = {"zh": "zh-Hans", "en": "en"}
FRAMED_NOWHERE: Final = "frame-ancestors 'none'"
NO_PAGE: Final = f"default-src 'none'; {FRAMED_NOWHERE}"
"""The Content-Security-Policy of what programs read: opened in a browser it loads, runs and frames nothing."""
INERT: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": NO_PAGE,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The headers of what is answered where neither Django nor an endpoint adds its own."""
_FOUND_CHARACTERS: Final = 80
_SAID: Final = frozenset({"message", "allowed"})
_ERRORS_MAX: Final = 50
"""A body of 4 MiB can be wrong in a quarter of a million places."""

_log = logging.getLogger(__name__)


class Malformed(DomainError):
    """The request cannot be read at all."""

    code = "malformed"
    status = 400


class BodyTooLarge(DomainError):
    """The body is larger than any request here needs to be."""

    code = "too_large"
    status = 413


class WrongMethod(DomainError):
    """The address is there, and takes other methods."""

    code = "wrong_method"
    status = 405


class Unexpected(DomainError):
    """A bug of mosu's: it is logged with its trace, and the caller learns only that it happened."""

    code = "unexpected"
    status = 500


class Problem(Schema):
    """What was refused, and what to do about it. Further members are facts of this refusal."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


def body_of(refusal: DomainError, *, language: Language) -> dict[str, Any]:
    """The members of the problem document, said in `language`; facts never hide the standard ones."""
    return {
        **refusal.facts,
        **({"errors": _told(refusal.errors, language)} if refusal.errors else {}),
        "type": f"urn:mosu:{refusal.code}",
        "title": said(refusal.message, language),
        "status": refusal.status,
        "detail": said(refusal.hint, language),
    }


def response_of(request: HttpRequest, refusal: DomainError) -> HttpResponse:
    """The refusal as Django answers it, in the language that the request asks for."""
    language = language_asked(request.headers.get("Accept-Language", ""))
    body = body_of(refusal, language=language)
    response = HttpResponse(
        json.dumps(body, ensure_ascii=False), status=refusal.status, content_type=MEDIA_TYPE
    )
    response["Content-Language"], response["Vary"] = LANGUAGE_TAGS[language], "Accept-Language"
    if refusal.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="mosu"'
    if "retry_after_s" in refusal.facts:
        response["Retry-After"] = str(refusal.facts["retry_after_s"])
    return response


def nothing_here() -> NotFound:
    """The refusal of an address that no operation has."""
    return NotFound("There is nothing at this address.", hint="See /api/docs.")


def wrong_method(allowed: str) -> WrongMethod:
    """The refusal of a method that the operations at the address do not have; `allowed` as in the header `Allow`."""
    return WrongMethod(
        "This address does not take that method.",
        hint="The header Allow names those that it takes.",
        allowed=allowed,
    )


def install(api: NinjaAPI) -> None:
    """Have `api` answer every refusal, and every other exception, as a problem."""
    handlers: dict[type[Exception], Any] = {
        DomainError: response_of,
        ValidationError: _of_validation,
        HttpError: _of_http,
        Http404: _of_404,
        RequestDataTooBig: _of_size,
        Exception: _of_bug,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _of_validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [_error_of(raw) for raw in error.errors[:_ERRORS_MAX]]
    first = errors[0]
    refusal = Invalid(
        f"{first['field']}: {first['message']}.",
        hint="Correct the request; `errors` names the fields that are wrong.",
        field=first["field"],
    )
    refusal.errors = errors
    return response_of(request, refusal)


def _told(errors: Sequence[Mapping[str, object]], language: Language) -> list[dict[str, Any]]:
    """Each error, its message and what would be allowed said in `language`."""
    return [
        {
            name: said(value, language) if name in _SAID and isinstance(value, str) else value
            for name, value in one.items()
        }
        for one in errors
    ]


def _error_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """One error of pydantic's. Its `input` stays here: it may be a password."""
    # loc is ("body", "<argument>", "field", ...) or ("query", "field"); a page of paths reads best dotted.
    parts = [str(part) for part in raw["loc"]]
    named = parts[2:] if parts[0] == "body" and len(parts) > 2 else parts[1:]
    return {
        "in": parts[0] if parts else "request",
        "field": ".".join(named)[:_FOUND_CHARACTERS] or "request",
        "message": str(raw["msg"]),
        "code": str(raw["type"]),
    }


def _of_http(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error, AuthenticationError):
        return response_of(
            request,
            Unauthenticated(
                "This needs a sign-in.",
                hint="Send an API token: Authorization: Bearer mosu_...",
            ),
        )
    return response_of(request, Malformed("The request cannot be read.", hint="Send valid JSON in UTF-8."))


def _of_404(request: HttpRequest, error: Http404) -> HttpResponse:
    return response_of(request, nothing_here())


def _of_size(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return response_of(
        request,
        BodyTooLarge(
            f"The request is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.",
            hint="Send less; files go up by PUT /api/v1/blobs/{sha256}.",
        ),
    )


def refusal_of(error: BaseException) -> DomainError:
    """What the caller learns of an error that nothing refused; logged with its trace."""
    trouble = trouble_of(error)
    if trouble is not None:
        _log.error(trouble.message, exc_info=error)
        return trouble
    _log.error("unexpected exception", exc_info=error)
    return Unexpected("mosu failed to answer this.", hint="Try again; if it stays, tell the hub's operator.")


def _of_bug(request: HttpRequest, error: Exception) -> HttpResponse:
    return response_of(request, refusal_of(error))
