"""What passes between a browser and an app beside bodies: headers are read, judged and written anew, never copied.

Names are in lower case.
"""

import re
from collections.abc import Sequence
from typing import Final

from django.conf import settings

from mosu.compute.app_hosts import AppHost, EndpointHost, scheme
from mosu.kernel.refusals import DomainError
from mosu.platform.problems import Malformed
from mosu.platform.requests import TOKEN_PREFIX

Headers = Sequence[tuple[bytes, bytes]]
Host = AppHost | EndpointHost

_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
"""Of one connection alone (RFC 9110 section 7.6.1, and two that others still send)."""
_NOT_ASKED: Final = frozenset({b"host", b"content-length", b"cookie", b"expect", b"forwarded", b"x-real-ip"})
_NOT_ANSWERED: Final = frozenset({b"date", b"alt-svc", b"clear-site-data"})
"""Ours is the date; the others speak for more than the app's own origin: for its whole domain, or for another host."""
_TARGET: Final = re.compile(rb"/[!-~]*")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
KEY_PREFIX: Final = "sk-mosu-"
"""Of endpoints' keys."""
_KEY_CHARS_MAX: Final = 100
_BEARER: Final = re.compile(rb"\s*bearer\s+([!-~]+)\s*", re.IGNORECASE)
_OURS: Final = re.compile(
    rb"\s*bearer\s+(?:%s|%s)" % (TOKEN_PREFIX.encode(), KEY_PREFIX.encode()), re.IGNORECASE
)


class Foreign(DomainError):
    """Another site's page asks in the name of the person."""

    code = "foreign_origin"
    status = 403


class Unsupported(DomainError):
    """The message is coded in a way that is not passed on."""

    code = "unsupported_coding"
    status = 501


def cookie_name() -> str:
    """Of the cookie that lets in; where there is TLS no app of another host can set it (RFC 6265bis, 4.1.3)."""
    return "__Host-mosu" if scheme() == "https" else "mosu"


def values_of(headers: Headers, name: bytes) -> list[bytes]:
    return [value for other, value in headers if other == name]


def cookie_of(headers: Headers) -> str:
    """The text of the cookie that lets in; empty where there is none, or more than one."""
    wanted = cookie_name()
    found = [value for name, value in _cookies(headers) if name == wanted]
    return found[0] if len(found) == 1 else ""


def check_target(path: bytes, query: bytes) -> bytes:
    """The target as the app is asked for it.

    Raises:
        Malformed: it is no path with a query.
    """
    target = path + (b"?" + query if query else b"")
    if not _TARGET.fullmatch(target):
        raise _malformed("The address is no path.")
    return target


def check_framing(headers: Headers) -> None:
    """Pass if it is plain where the message ends; what two readers could read in two ways is refused.

    Raises:
        Malformed: two lengths, or a length and chunks (RFC 9112 section 6.3).
        Unsupported: it is coded other than in chunks.
    """
    lengths, codings = values_of(headers, b"content-length"), values_of(headers, b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise _malformed("The message has more than one length.")
    if lengths and not (lengths[0].isdigit() and len(lengths[0]) < 20):
        raise _malformed("The message has a length that is no number.")
    if codings and codings[0].strip().lower() != b"chunked":
        raise Unsupported("This transfer coding is not known here.", hint="Send it in chunks.")


def check_token(headers: Headers) -> None:
    """Pass if no token of the hub's comes along, and no endpoint's key, which an app would else read.

    Raises:
        Malformed: one does.
    """
    if any(_OURS.match(value) for value in values_of(headers, b"authorization")):
        raise Malformed(
            "A token of the hub does not belong here: the app would read it.",
            hint="Send apps their own tokens, and revoke this one if you do not know who asked for it.",
        )


def key_of(headers: Headers) -> str:
    """The key of an endpoint that comes along; empty where there is none, or more than one."""
    values = values_of(headers, b"authorization")
    found = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    key = found[1].decode("ascii") if found else ""
    return key if key.startswith(KEY_PREFIX) and len(key) <= _KEY_CHARS_MAX else ""


def without_authorization(headers: Headers) -> Headers:
    """What let its sender in is nobody else's."""
    return [(name, value) for name, value in headers if name != b"authorization"]


def check_origin(headers: Headers, *, method: str, app: Host, websocket: bool = False) -> None:
    """Pass if no other site's page asks in the person's name: neither to change something nor to read it by a script.

    Other sites may link to the app. A sibling's page is of the same site, so cookies alone would let it in.

    Raises:
        Foreign: one does, or a WebSocket does not say whose page opens it.
    """
    origins = [value.decode("latin-1") for value in values_of(headers, b"origin")]
    foreign = any(origin != app.origin for origin in origins)
    if (foreign and (websocket or method not in _SAFE)) or (websocket and not origins):
        raise _foreign()
    if values_of(headers, b"sec-fetch-site") in ([], [b"same-origin"], [b"none"]):
        return
    mode, dest = values_of(headers, b"sec-fetch-mode"), values_of(headers, b"sec-fetch-dest")
    if not (method in _SAFE and mode == [b"navigate"] and dest == [b"document"]):
        raise _foreign()


def to_app(headers: Headers, app: Host) -> list[tuple[bytes, bytes]]:
    """What the app is told of the request, but for its length: none of the hub's cookies, nothing of the way here."""
    dropped = _HOP | _NOT_ASKED | _named_in_connection(headers)
    kept = [
        (name, value)
        for name, value in headers
        if name not in dropped and b"_" not in name and not name.startswith(b"x-forwarded-")
    ]
    hubs = {cookie_name(), settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME}
    cookies = "; ".join(f"{name}={value}" for name, value in _cookies(headers) if name not in hubs)
    netloc = app.netloc.encode()
    return [
        (b"host", netloc),
        *kept,
        *([(b"cookie", cookies.encode("latin-1"))] if cookies else []),
        (b"x-forwarded-proto", scheme().encode()),
        (b"x-forwarded-host", netloc),
    ]


def to_browser(headers: Headers, app: Host) -> list[tuple[bytes, bytes]]:
    """What the browser is told of the answer, but for its length: nothing for other hosts than the app's own."""
    dropped = _HOP | _NOT_ANSWERED | {b"content-length"} | _named_in_connection(headers)
    return [
        (name, value)
        for name, value in headers
        if name not in dropped and (name != b"set-cookie" or _is_own_cookie(value, app))
    ]


def _is_own_cookie(value: bytes, app: Host) -> bool:
    text = value.decode("latin-1")
    pair, *attributes = text.split(";")
    if pair.partition("=")[0].strip() == cookie_name():
        return False
    for attribute in attributes:
        name, _, domain = attribute.partition("=")
        if name.strip().lower() == "domain" and domain.strip().lower().lstrip(".") not in ("", app.name):
            return False
    return True


def _cookies(headers: Headers) -> list[tuple[str, str]]:
    pairs = [
        pair.partition("=")
        for value in values_of(headers, b"cookie")
        for pair in value.decode("latin-1").split(";")
    ]
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals]


def _named_in_connection(headers: Headers) -> set[bytes]:
    named = values_of(headers, b"connection")
    return {name.strip().lower() for value in named for name in value.split(b",")}


def _malformed(what: str) -> Malformed:
    return Malformed(what, hint="This is no request that a browser would send.")


def _foreign() -> Foreign:
    return Foreign(
        "Another site's page asked for this.", hint="Open the app itself, from the page of its run."
    )
