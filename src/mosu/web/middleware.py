"""Pages need sessions, CSRF, messages and languages; the API needs none of them and skips their cost."""

from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.gzip import GZipMiddleware
from django.middleware.locale import LocaleMiddleware
from django.template import loader
from django.utils import translation

from mosu.platform.hosts import WrongHost, require_host
from mosu.platform.problems import FRAMED_NOWHERE, NO_PAGE, response_of, wrong_method


def is_api(request: HttpRequest) -> bool:
    """Whether a program asks: of the API, or as a site agent. Its actor comes from a token, never from a session."""
    return request.path_info.startswith(("/api/", "/agent/"))


class Private:
    """What somebody gets because of who they are is kept by no cache; `/api` answers to the hub's own names only.
    What it answers is no page, and no browser makes one of it.

    Pages look at the host themselves (Django's CommonMiddleware). What anyone may have stays as it is.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._answered(request)
        if _is_private(request, response) and "no-store" not in response.get("Cache-Control", ""):
            response["Cache-Control"] = "no-store"
        if is_api(request):
            is_page = response.get("Content-Type", "").startswith("text/html")  # the API's description
            response.setdefault("Content-Security-Policy", FRAMED_NOWHERE if is_page else NO_PAGE)
        return response

    def _answered(self, request: HttpRequest) -> HttpResponse:
        if is_api(request):
            try:
                require_host(request.META.get("HTTP_HOST") or request.META["SERVER_NAME"])
            except WrongHost as refusal:
                return response_of(request, refusal)
        response = self._get_response(request)
        if is_api(request) and isinstance(response, HttpResponseNotAllowed):
            allowed = ", ".join(sorted(response["Allow"].split(", ")))  # the framework's order is chance
            response = response_of(request, wrong_method(allowed))
            response["Allow"] = allowed
        return response


def _is_private(request: HttpRequest, response: HttpResponse) -> bool:
    """Whether the answer may depend on who asked, or is to something done: by token, by session."""
    if request.method not in ("GET", "HEAD") or "HTTP_AUTHORIZATION" in request.META:
        return True
    cookie = settings.SESSION_COOKIE_NAME
    return not is_api(request) and (cookie in request.COOKIES or cookie in response.cookies)


class _PagesOnly:
    """Placed before a middleware class: the class sees requests for pages only."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_api(request):
            unchanged: HttpResponseBase = self.get_response(request)
            return unchanged
        answer: HttpResponseBase = super().__call__(request)  # type: ignore[misc]
        return answer


class Squeeze(_PagesOnly, GZipMiddleware):
    """Pages that are read, with gzip; what somebody did is answered plain: it may show a secret, once.

    Against BREACH the form tokens in pages are masked anew each time and lengths are padded at random.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.method != "GET" or response.streaming:
            return response
        return super().process_response(request, response)


class Csp(_PagesOnly, CSPMiddleware):
    """Content Security Policy for pages."""


class Session(_PagesOnly, SessionMiddleware):
    """Sessions for pages."""


class Locale(_PagesOnly, LocaleMiddleware):
    """Languages for pages."""


class Common(_PagesOnly, CommonMiddleware):
    """Redirects to addresses with a slash, for pages."""


class Csrf(_PagesOnly, CsrfViewMiddleware):
    """CSRF for pages; the API takes no cookie."""

    def process_view(self, request: HttpRequest, *args: Any) -> Any:
        return None if is_api(request) else super().process_view(request, *args)


class Authentication(_PagesOnly, AuthenticationMiddleware):
    """The session's user, for pages."""


class OwnLanguage:
    """The language that the account chose comes before the device's and the browser's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        chosen = "" if is_api(request) else getattr(request.user, "language", "")
        if not chosen:
            return self._get_response(request)
        with translation.override(chosen):
            request.LANGUAGE_CODE = chosen
            response = self._get_response(request)
        response.headers.setdefault("Content-Language", chosen)
        return response


class SaysWhy:
    """Django answers with an empty page where a form's address is opened as a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and not is_api(request) and not response.content:
            response.content = loader.render_to_string("405.html", request=request)
        return response


class Messages(_PagesOnly, MessageMiddleware):
    """Messages between pages."""


class XFrameOptions(_PagesOnly, XFrameOptionsMiddleware):
    """No framing of pages."""
