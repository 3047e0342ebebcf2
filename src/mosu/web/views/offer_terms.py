"""Changing an offer's terms by hand: what was shown is changed, and a price that looks wrong is asked about."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods

from mosu.kernel.money import MICROS
from mosu.kernel.refusals import DomainError
from mosu.market.models import Offer, OfferPrice
from mosu.market.queries import prices_at
from mosu.market.services import OfferChanged, PriceDoubted, TermsSpec, change_offer, revision_of
from mosu.platform.policy import require
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.pages import page
from mosu.web.templatetags.mosu import per_unit
from mosu.web.views.offer_forms import currency_field
from mosu.web.views.offers import own_offers
from mosu.web.words import said_of, title_of

_PRICE: Final = "price-"
_HOUR_S: Final = 3600


class Terms(forms.Form):
    """An offer's own terms, one price field for each meter; `revision` is what was looked at."""

    revision = forms.CharField(widget=forms.HiddenInput)
    title_zh = forms.CharField(label=_lazy("Title in Chinese"), max_length=200)
    title_en = forms.CharField(label=_lazy("Title in English"), max_length=200)
    min_units = forms.IntegerField(label=_lazy("At least, units"), min_value=1, max_value=2_147_483_647)
    max_units = forms.IntegerField(label=_lazy("At most, units"), min_value=1, max_value=2_147_483_647)
    wall_hours_max = forms.DecimalField(
        label=_lazy("Longest, hours"), min_value=Decimal("0.01"), max_value=8760, decimal_places=4
    )
    confirmed = forms.BooleanField(
        label=_lazy("Yes, this is the price"),
        required=False,
        help_text=_lazy("It stays on record that you confirmed it."),
    )

    def __init__(self, *args: Any, prices: Mapping[str, OfferPrice], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for meter, price in sorted(prices.items()):
            label = _("Price of one %(unit)s, %(currency)s") % {
                "unit": per_unit(price.unit),
                "currency": price.currency,
            }
            self.fields[_PRICE + meter] = currency_field(label)
        self.order_fields(["revision", *(name for name in self.fields if name.startswith(_PRICE))])
        self.is_doubted = False

    @property
    def shown_fields(self) -> list[forms.BoundField]:
        """The confirmation only once a price was doubted."""
        asks = self.is_doubted or bool(self.data.get("confirmed"))
        return [field for field in self.visible_fields() if asks or field.name != "confirmed"]

    def terms(self, offer: Offer) -> TermsSpec:
        """What these fields stand for; a length that was left as it was shown stays to the second."""
        given = self.cleaned_data
        wall_s = int(given["wall_hours_max"] * _HOUR_S)
        return TermsSpec(
            title_zh=given["title_zh"],
            title_en=given["title_en"],
            min_units=given["min_units"],
            max_units=given["max_units"],
            wall_s_max=offer.wall_s_max if abs(wall_s - offer.wall_s_max) < 1 else wall_s,
            unit_prices_micros={
                name.removeprefix(_PRICE): int(given[name] * MICROS)
                for name in self.fields
                if name.startswith(_PRICE)
            },
        )


@require_http_methods(["GET", "POST"])
@page("offer.manage")
def offer_terms(request: HttpRequest, offer_id: str) -> HttpResponse:
    """The terms of one offer, to be changed."""
    actor, now = actor_of(request), timezone.now()
    row = row_of(own_offers(actor, now=now), offer_id)
    require(actor, "offer.manage", row.supplier_id)
    prices = prices_at(row.id, at=now)
    form = Terms(request.POST or None, prices=prices, initial=_shown(row, prices))
    problem = None
    if request.method == "POST" and form.is_valid():
        try:
            change_offer(
                actor=actor,
                offer_id=row.id,
                terms=form.terms(row),
                revision=form.cleaned_data["revision"],
                confirmed=form.cleaned_data["confirmed"],
                now=now,
            )
        except DomainError as refusal:
            problem = said_of(refusal)
            form.is_doubted = isinstance(refusal, PriceDoubted)
            if isinstance(refusal, OfferChanged):
                # What it is now, to be changed once more: nothing of the other's change is overwritten unseen.
                form = Terms(prices=prices, initial=_shown(row, prices))
        else:
            messages.success(
                request, _("Changed from now on. Quotes already given and orders keep what they had.")
            )
            return redirect("my_offer", row.public_id)
    context = {"offer": row, "title": title_of(row), "form": form, "problem": problem}
    status = 409 if problem else 422 if form.errors else 200
    return render(request, "pages/offer_terms.html", context, status=status)


def _plain(micros: int) -> str:
    """As one writes a price: two decimals, more only where it has more."""
    amount = Decimal(micros) / MICROS
    return f"{amount:.2f}" if amount == round(amount, 2) else f"{amount:f}"


def _shown(row: Offer, prices: Mapping[str, OfferPrice]) -> dict[str, Any]:
    return {
        "revision": revision_of(row, prices),
        "title_zh": row.title_zh,
        "title_en": row.title_en,
        "min_units": row.min_units,
        "max_units": row.max_units,
        "wall_hours_max": f"{Decimal(row.wall_s_max) / _HOUR_S:.4f}".rstrip("0").rstrip("."),
        **{_PRICE + meter: _plain(one.unit_price_micros) for meter, one in prices.items()},
    }
