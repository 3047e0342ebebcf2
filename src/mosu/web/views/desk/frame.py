"""What all pages of the desk share: their tabs, their forms' fields, and how something is done and said."""

from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import allows
from mosu.platform.queries import organisations_visible_to
from mosu.platform.requests import actor_of
from mosu.web.components import Tab
from mosu.web.navigation import address_of

LIKELY_MAX: Final = 3

# In the order of a day: who comes in, what they get, what goes on, the hub itself.
_TABS: Final = (
    ("desk", _lazy("Desk")),
    ("desk_organisations", _lazy("Organisations")),
    ("desk_applications", _lazy("Applications")),
    ("desk_claims", _lazy("Claims")),
    ("desk_deposits", _lazy("Deposits")),
    ("desk_closing", _lazy("Month's close")),
    ("credit_notes", _lazy("Credit notes")),
    ("desk_programmes", _lazy("Programmes")),
    ("desk_vouchers", _lazy("Vouchers")),
    ("desk_pools", _lazy("Pools")),
    ("desk_queue", _lazy("Queue")),
    ("ledger", _lazy("Ledger")),
    ("desk_rates", _lazy("Exchange rates")),
    ("desk_mails", _lazy("Letters")),
    ("desk_staff", _lazy("Staff")),
)


def desk(
    request: HttpRequest, template: str, here: str, *, status: int = 200, **context: Any
) -> HttpResponse:
    """A page of the desk, under its tabs; `here` names the tab."""
    return render(request, template, {**framed(here), **context}, status=status)


def framed(here: str) -> dict[str, Any]:
    """What a page of the desk needs besides its own."""
    return {"tabs": [Tab(title, address_of(url), url == here) for url, title in _TABS]}


class MoneyField(forms.CharField):
    """An amount in the hub's currency, as micros."""

    default_error_messages = {"amount": _lazy("Write an amount, such as 5000.00.")}

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"inputmode": "decimal", "autocomplete": "off", "placeholder": "5000.00"}
        super().__init__(max_length=30, widget=forms.TextInput(attrs=attrs), **kwargs)

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).replace(",", "").replace("，", "").strip()
        try:
            return micros_of(text)
        except Invalid:
            raise forms.ValidationError(self.error_messages["amount"], code="amount") from None


class OrganisationField(forms.CharField):
    """An organisation by its whole name or its id; one that is not found says which are like it."""

    actor: Actor

    def __init__(self, **kwargs: Any) -> None:
        hint = _lazy("The whole name, or the id (org_...).")
        super().__init__(max_length=200, help_text=hint, label=_lazy("Organisation"), **kwargs)

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).strip()
        if not text:
            return None
        rows = organisations_visible_to(self.actor)
        try:
            found = rows.filter(id=Organisation.key_of(text)).first()
        except NotFound:
            found = rows.filter(name__iexact=text).first()
        if found is None:
            like = list(rows.filter(name__icontains=text).values_list("name", flat=True)[:LIKELY_MAX])
            if like:
                raise forms.ValidationError(_("Not found. Did you mean: %s?") % ", ".join(like))
            raise forms.ValidationError(_("There is no organisation of this name."))
        return found


def form_of(kind: type[forms.Form], request: HttpRequest, initial: dict[str, Any] | None = None) -> Any:
    """The form with what was sent, if something was; its organisations are those that the actor sees."""
    sent = request.method == "POST"
    form = kind(request.POST if sent else None, request.FILES if sent else None, initial=initial)
    for field in form.fields.values():
        if isinstance(field, OrganisationField):
            field.actor = actor_of(request)
    return form


def turn_of(actor: Actor, action: str, maker_id: Any) -> str:
    """Whether the actor may confirm what `maker_id` made: `yours`, `own` (a second person does), or `no`."""
    if not allows(actor, action):
        return "no"
    return "own" if maker_id == actor.id else "yours"
