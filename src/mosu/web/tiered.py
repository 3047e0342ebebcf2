"""Tiered prices as pages show them: which part of the list price a tier pays, and the form that sets it."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy

from mosu.market.models import Tier, TierRate
from mosu.web.presenters import moment

TIERS: Final = {
    Tier.EXTERNAL.value: pgettext_lazy("tier", "Everyone"),
    Tier.PARTNER.value: pgettext_lazy("tier", "Partners"),
    Tier.INTERNAL.value: pgettext_lazy("tier", "One's own"),
}
_PERCENT_BP: Final = 100


@dataclass(frozen=True, slots=True)
class TierShown:
    """What a tier pays now."""

    name: Any
    percent: str
    since: str


class TierForm(forms.Form):
    """A tier's part of the list price."""

    tier = forms.ChoiceField(
        label=pgettext_lazy("tier", "For whom"),
        choices=[(code, name) for code, name in TIERS.items() if code != Tier.EXTERNAL],
    )
    percent = forms.DecimalField(
        label=_lazy("Percent of the list price"),
        min_value=Decimal("0.01"),
        max_value=100,
        decimal_places=2,
        help_text=_lazy("100 is everyone's price."),
    )

    @property
    def rate_bp(self) -> int:
        """In basis points, as it is kept."""
        return int(self.cleaned_data["percent"] * _PERCENT_BP)


def tiers_in_force(rates: Iterable[TierRate]) -> list[TierShown]:
    """The latest rate of each tier that has one; `rates` has the latest first."""
    latest: dict[str, TierRate] = {}
    for rate in rates:
        latest.setdefault(rate.tier, rate)
    return [
        TierShown(name, f"{Decimal(latest[code].rate_bp) / _PERCENT_BP:g}%", moment(latest[code].valid_from))
        for code, name in TIERS.items()
        if code in latest
    ]
