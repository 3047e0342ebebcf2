"""One HTTP exchange with a hub: retries where repeating is safe, answers or refusals, nothing in between."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.request import getproxies

import httpx

from mosu.client.config import headers_of
from mosu.client.errors import BrokenAnswer, ClientError, Unreachable, problem_of

ATTEMPTS_MAX: Final = 5
_AGAIN: Final = frozenset({500, 502, 503, 504})

Body = bytes | Callable[[], Iterable[bytes]]


class Transport:
    """Carries requests to one hub. Redirects are not followed, so that the token stays with the hub."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 60.0,
        language: str = "",
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ClientError(
                f"{url!r} is no address of a hub.", hint="It begins with https:// (or http://)."
            )
        self.sleep = sleep
        headers = headers_of(token, language)
        try:
            self._http = httpx.Client(
                base_url=f"{self.url}/api/v1",
                headers=headers,
                timeout=timeout_s,
                transport=transport,
                verify=_may_speak_tls(self.url),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ClientError(
                f"{url!r} cannot be used: {error}.", hint="Check the address and the token."
            ) from error

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries, the token among it: not to be shown."""
        ours = ("User-Agent", "Accept-Language", "Authorization")
        return {name: self._http.headers[name] for name in ours if name in self._http.headers}

    def close(self) -> None:
        self._http.close()

    def json(self, method: str, path: str, *, repeat: bool, **how: Any) -> Any:
        """The decoded answer.

        Raises:
            ProblemError, Unreachable: as `exchange` says.
            BrokenAnswer: a success that is no JSON.
        """
        response = self.exchange(method, path, repeat=repeat, **how)
        try:
            return response.json()
        except ValueError as error:
            raise BrokenAnswer(
                f"{self.url} answered without JSON.", hint="Is this the address of a mosu hub?"
            ) from error

    def exchange(
        self,
        method: str,
        path: str,
        *,
        repeat: bool,
        body: Body | None = None,
        json: object = None,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """A successful response, its body read. `repeat` says that sending it twice does it once.

        Raises:
            ProblemError: the hub refused.
            Unreachable: no answer, also after repeating where that is safe.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            may_repeat = repeat and attempt < ATTEMPTS_MAX
            try:
                content = body() if callable(body) else body
                response = self._http.request(
                    method, path, content=content, json=json, params=params, headers=headers
                )
            except httpx.TransportError as error:
                if not may_repeat:
                    raise self.unreachable(error) from error
            else:
                if not (may_repeat and response.status_code in _AGAIN):
                    return checked(response)
            self.sleep(0.1 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | bool] | None = None,
        read_s: float = 60.0,
    ) -> Any:
        """An open response, as a context manager; its body is read by the caller."""
        timeout = httpx.Timeout(read_s, connect=10.0)
        return self._http.stream(method, path, params=params, timeout=timeout)

    def unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.url} does not answer: {error}.", hint="Check the address and the network.")


def _may_speak_tls(url: str) -> bool:
    """Whether anybody will show a certificate, the hub or a proxy on the way: to read all whom it may be signed by
    takes 0.05 s of each command."""
    return not url.startswith("http://") or bool(getproxies())


def checked(response: httpx.Response) -> httpx.Response:
    """The response, if it is a success; its body must have been read.

    Raises:
        ProblemError: it is not.
    """
    if response.is_success:
        return response
    raise problem_of(response.status_code, response.text)
