"""Pages need sessions, CSRF, messages and languages; the API needs none of them and skips their cost."""

from typing import Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.locale import LocaleMiddleware


def is_api(request: HttpRequest) -> bool:
    """Whether the request is for the API, whose actor comes from a token and never from a session."""
    return request.path_info.startswith("/api/")


class _PagesOnly:
    """Placed before a middleware class: the class sees requests for pages only."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_api(request):
            unchanged: HttpResponseBase = self.get_response(request)
            return unchanged
        answer: HttpResponseBase = super().__call__(request)  # type: ignore[misc]
        return answer


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


class Messages(_PagesOnly, MessageMiddleware):
    """Messages between pages."""


class XFrameOptions(_PagesOnly, XFrameOptionsMiddleware):
    """No framing of pages."""
