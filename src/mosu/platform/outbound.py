"""The one way to call an address that a user gave: public addresses only, pinned, no redirects, bounded.

The name is resolved once and every one of its addresses must be public; the connection then goes to the address
that was checked, so that a second answer of the name server (DNS rebinding) is never asked for. The name stays in
the Host header and in TLS. Proxies of the environment are not used.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import httpcore
import httpx

from mosu.kernel.refusals import DomainError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

SIZE_BYTES_MAX: Final = 1_048_576
TIME_S_MAX: Final = 10.0

# Ranges that carry another address inside: what they lead to is not ours to see (RFC 6052, 8215, 3056, 4380).
_WRAPPING: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class OutboundRefused(DomainError):
    """The address may not be called, or the call did not end as it must."""

    code = "outbound_refused"
    status = 422


class NotPublic(OutboundRefused):
    """The address lies inside the hub or its network, or is no http(s) address."""

    code = "address_not_public"


class Unreachable(OutboundRefused):
    """Nobody answers there, or the name is unknown, or TLS fails."""

    code = "address_unreachable"


class Redirected(OutboundRefused):
    """It answers with a redirect, which is not followed."""

    code = "address_redirects"


class TooLarge(OutboundRefused):
    """The answer is longer than allowed."""

    code = "answer_too_large"


class TooSlow(OutboundRefused):
    """The answer was not there in time."""

    code = "answer_too_slow"


@dataclass(frozen=True, slots=True)
class Fetched:
    """The whole answer; header names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str
    """The address that answered."""


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    size_bytes_max: int = SIZE_BYTES_MAX,
    time_s_max: float = TIME_S_MAX,
) -> Fetched:
    """Call `url` once. A status such as 404 or 500 is an answer, not a refusal.

    `time_s_max` bounds the whole call after the name is resolved, however slowly the bytes come.

    Raises:
        NotPublic, Unreachable, Redirected, TooLarge, TooSlow: as they say.
    """
    return call(
        method,
        url,
        headers=headers or {},
        body=body,
        size_bytes_max=size_bytes_max,
        time_s_max=time_s_max,
        resolve=_resolved,
        allowed=is_public,
    )


def is_public(address: Address) -> bool:
    """Whether an address is reached through the internet: not loopback, private, link-local, metadata, multicast."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _WRAPPING):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    size_bytes_max: int,
    time_s_max: float,
    resolve: Resolver,
    allowed: Callable[[Address], bool],
) -> Fetched:
    """`fetch`, with its own name server and its own idea of what is public: for tests of this module."""
    parts = _parts_of(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked(parts.host, resolve(parts.host, port), allowed)
    deadline_at = time.monotonic() + time_s_max
    sent = [
        (name, value) for name, value in headers.items() if name.lower() not in ("host", "accept-encoding")
    ]
    # Unpacked answers could be larger than what came over the wire, so none is asked for.
    sent += [("Host", parts.netloc.decode("ascii")), ("Accept-Encoding", "identity")]
    pool = httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(), network_backend=_Pinned(address, deadline_at)
    )
    try:
        with pool, pool.stream(method, str(parts), headers=sent, content=body or None) as answer:
            return _read(answer, address, size_bytes_max)
    except httpcore.TimeoutException:
        raise TooSlow(
            f"{parts.host} did not answer within {time_s_max:g} s.", hint="Try again later.", host=parts.host
        ) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
        raise Unreachable(
            f"{parts.host} cannot be reached: {error or type(error).__name__}.",
            hint="Check the address and its certificate.",
            host=parts.host,
        ) from error


def _parts_of(url: str) -> httpx.URL:
    try:
        parts = httpx.URL(url)
        good = parts.scheme in ("http", "https") and parts.host and not parts.userinfo
    except (httpx.InvalidURL, ValueError):
        good = False
    if not good:
        raise NotPublic(
            "This is not an address that mosu calls.",
            hint="Give an http or https address without user name and password.",
            found=url[:80],
        )
    return parts.copy_with(fragment=None)


def _resolved(host: str, port: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


def _checked(host: str, found: Sequence[str], allowed: Callable[[Address], bool]) -> str:
    """The address to connect to: the first, if all are allowed. One bad one spoils the name."""
    if not found:
        raise Unreachable(f"The name {host} is unknown.", hint="Check the address.", host=host)
    if not all(allowed(ipaddress.ip_address(text.partition("%")[0])) for text in found):
        raise NotPublic(f"{host} is not on the public internet.", hint="Give a public address.", host=host)
    return found[0]


def _read(answer: httpcore.Response, address: str, size_bytes_max: int) -> Fetched:
    if 300 <= answer.status < 400:
        raise Redirected(
            f"It answers with a redirect ({answer.status}).",
            hint="Give the address that it leads to.",
            status_found=answer.status,
        )
    body = bytearray()
    for chunk in answer.iter_stream():
        body += chunk
        if len(body) > size_bytes_max:
            raise TooLarge(
                f"The answer is longer than {size_bytes_max} bytes.",
                hint="Give an address with a shorter answer.",
                allowed=size_bytes_max,
            )
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    return Fetched(status=answer.status, headers=headers, body=bytes(body), address=address)


class _Timed(httpcore.NetworkStream):
    """A stream whose every step ends by one deadline: a drop of bytes at a time gains no time."""

    def __init__(self, stream: httpcore.NetworkStream, deadline_at: float) -> None:
        self._stream, self._deadline_at = stream, deadline_at

    def _left_s(self) -> float:
        left_s = self._deadline_at - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout
        return left_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._left_s())
        return _Timed(secure, self._deadline_at)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Pinned(httpcore.NetworkBackend):
    """Connects to the address that was checked, whatever the name would say now."""

    def __init__(self, address: str, deadline_at: float) -> None:
        self._address, self._deadline_at = address, deadline_at
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = max(0.001, self._deadline_at - time.monotonic())
        return _Timed(self._backend.connect_tcp(self._address, port, timeout=left_s), self._deadline_at)
