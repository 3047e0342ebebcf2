"""Forms whose button may be pressed twice, where the database has nothing to refuse the second time by."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _

from mosu.platform.requests import actor_of
from mosu.platform.services import TooMany, count_failure, forgive_failure

FIELD: Final = "once"
"""The name that `{% once %}` gives a form: another each time that it is shown."""
_KEPT_FOR: Final = timedelta(hours=12)
_CHARACTERS_MAX: Final = 64

View = Callable[..., HttpResponse]


def once(*, to: str) -> Callable[[View], View]:
    """A view that does what a form says once, however often it is sent, at once or later; then it leads to `to`.

    What answers with anything but a redirect did nothing, and may be sent again.
    """

    def mark(view: View) -> View:
        @wraps(view)
        def sent(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            name = request.POST.get(FIELD, "")[:_CHARACTERS_MAX] if request.method == "POST" else ""
            if not name:
                return view(request, *args, **kwargs)
            key = f"form {name} of {actor_of(request).id}"
            try:
                count_failure(key=key, limit=1, window=_KEPT_FOR, now=timezone.now())
            except TooMany:
                messages.info(request, _("This form was sent already: what it made is in the list."))
                return redirect(to)
            try:
                response = view(request, *args, **kwargs)
            except Exception:
                forgive_failure(key=key)
                raise
            if response.status_code != 302:
                forgive_failure(key=key)
            return response

        return sent

    return mark
