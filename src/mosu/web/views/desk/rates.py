"""Exchange rates: what a list price in a foreign currency is promised by."""

from typing import Any, Final

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.kernel.money import MINOR_DIGITS
from mosu.market.queries import latest_rates
from mosu.market.services import record_rate
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.pages import acted, page
from mosu.web.tables import Column, Empty, Plan, table_of
from mosu.web.views.desk.frame import desk, form_of

RATES: Final = Plan(
    name="rates",
    title=_lazy("Exchange rates"),
    columns=(
        Column("currency", _lazy("Currency"), lambda row: row.currency, sort="currency"),
        Column("rate", _lazy("Worth"), lambda row: f"{row.rate.normalize():f}", kind="mono"),
        Column("dated", _lazy("Of the day"), lambda row: row.dated.isoformat(), sort="dated"),
        Column("source", _lazy("Published by"), lambda row: row.source),
        Column("entered", _lazy("Entered"), lambda row: row.recorded_at, kind="time"),
    ),
    order="-dated",
    empty=Empty(
        _lazy("No rate is entered yet."),
        _lazy("Offers in a foreign currency cannot be quoted before their rate is."),
    ),
)


class RateForm(forms.Form):
    """A rate, as somebody published it."""

    currency = forms.ChoiceField(label=_lazy("Currency"))
    rate = forms.DecimalField(
        label=_lazy("Worth of one, in the hub's currency"),
        max_digits=18,
        decimal_places=9,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    dated = forms.DateField(
        label=_lazy("Of the day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    source = forms.CharField(
        label=_lazy("Published by"), max_length=200, help_text=_lazy("Such as the central bank's daily rate.")
    )
    why = forms.CharField(
        label=_lazy("Reason"),
        required=False,
        max_length=1000,
        help_text=_lazy("Needed if it is more than a fifth off the last one."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        foreign = sorted(MINOR_DIGITS.keys() - {settings.HUB_CURRENCY})
        self.fields["currency"].choices = [(one, one) for one in foreign]  # type: ignore[attr-defined]


@require_GET
@page("desk.read")
def rates(request: HttpRequest) -> HttpResponse:
    """The rates that were entered, the latest first."""
    return _shown(request, form=RateForm(initial={"dated": timezone.localdate()}))


def _shown(request: HttpRequest, *, form: forms.Form, status: int = 200, **more: Any) -> HttpResponse:
    context = {
        "table": table_of(request, RATES, latest_rates()),
        "form": form,
        "may_record": allows(actor_of(request), "rate.record"),
        **more,
    }
    return desk(request, "pages/desk/rates.html", "desk_rates", status=status, **context)


@require_POST
@page("rate.record")
def record(request: HttpRequest) -> HttpResponse:
    """Enter a rate: all quotes from now on use it."""
    form = form_of(RateForm, request)
    if not form.is_valid():
        return _shown(request, form=form, status=422)
    return acted(
        request,
        lambda: record_rate(actor=actor_of(request), now=timezone.now(), **form.cleaned_data),
        done=_("The rate is entered; quotes made before keep theirs."),
        to=reverse("desk_rates"),
        again=lambda **said: _shown(request, form=form, **said),
    )
