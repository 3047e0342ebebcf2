"""A reason that is asked for before something is done."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _lazy

from mosu.web.pages import acted

WHY_MAX: Final = 1000


class Why(forms.Form):
    """A reason, which stays on record."""

    why = forms.CharField(
        label=_lazy("Reason"),
        max_length=WHY_MAX,
        widget=forms.Textarea(attrs={"rows": 2, "class": "short"}),
        help_text=_lazy("It stays on record; the organisation and the hub may read it."),
    )


def acted_with_reason(
    request: HttpRequest,
    do: Callable[[str], Any],
    *,
    done: str,
    to: str,
    again: Callable[..., HttpResponse],
) -> HttpResponse:
    """As `acted`, with the reason that was given; without one the page comes `again` and asks for it."""
    form = Why(request.POST)
    if not form.is_valid():
        return again(status=422, why=form)
    why: str = form.cleaned_data["why"]
    return acted(request, lambda: do(why), done=done, to=to, again=partial(again, why=form))
