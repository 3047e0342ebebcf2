"""Forms in which a supplier puts something of a pool on the shelf."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.compute.accelerators import catalogue
from mosu.compute.models import Pool
from mosu.compute.queries import shares_listed
from mosu.compute.services import TERM_DAYS_MAX, volume_offer
from mosu.kernel.money import MICROS
from mosu.kernel.refusals import DomainError
from mosu.market.blocks import DAYS_MAX, HOURS_MAX, MODE, BlockTerms, CancellationRule
from mosu.market.models import SoldBy
from mosu.market.services import OfferSpec, PriceSpec
from mosu.platform.models import Organisation
from mosu.web.labels import accelerator_name
from mosu.web.words import supplier_named

CORES: Final = "cores"
UNITS_MAX: Final = 1_000_000_000


def currency_field(label: Any) -> forms.DecimalField:
    """A price, as people write it."""
    return forms.DecimalField(
        label=label,
        min_value=Decimal("0.000001"),
        max_digits=15,
        decimal_places=6,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )


class OfferForm(forms.Form):
    """What every offer of a pool says: by whom it is billed, with what tax, to whom it is sold."""

    pool = forms.ChoiceField(label=_lazy("Pool"))
    title_zh = forms.CharField(label=_lazy("Title in Chinese"), max_length=200)
    title_en = forms.CharField(label=_lazy("Title in English"), max_length=200)
    tax_included = forms.TypedChoiceField(
        label=_lazy("Tax"),
        choices=[("1", _lazy("the price includes it")), ("0", _lazy("it comes on top"))],
        coerce=lambda value: value == "1",
    )
    tax_percent = forms.DecimalField(
        label=_lazy("Tax rate, %"), min_value=0, max_value=100, decimal_places=2, initial=6
    )
    sold_by = forms.ChoiceField(
        label=_lazy("Who bills the buyer"),
        choices=[
            (SoldBy.HUB, _lazy("the hub: it collects and owes you")),
            (SoldBy.SUPPLIER, _lazy("I do: the hub passes on vouchers only")),
        ],
    )
    buyer = forms.CharField(
        label=_lazy("Only for one buyer"),
        required=False,
        max_length=200,
        help_text=_lazy(
            "Its exact name or org_... id: nobody else sees this offer, and that never changes. Empty: everyone."
        ),
    )

    def __init__(self, *args: Any, pools: Sequence[Pool], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pools = {pool.public_id: pool for pool in pools}
        fields: Any = self.fields
        fields["pool"].choices = [
            (key, f"{pool.name} · {supplier_named(pool.organisation.name)}")
            for key, pool in self.pools.items()
        ]

    def clean_buyer(self) -> UUID | None:
        given = self.cleaned_data["buyer"].strip()
        if not given:
            return None
        rows = Organisation.objects.filter(name__iexact=given)
        if given.startswith("org_"):
            try:
                rows = Organisation.objects.filter(id=Organisation.key_of(given))
            except DomainError:
                rows = Organisation.objects.none()
        buyer = rows.first()
        if buyer is None:
            raise forms.ValidationError(
                _("No organisation of this hub is called so: ask the buyer for its id.")
            )
        return buyer.id

    def _terms(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {
            "title_zh": given["title_zh"],
            "title_en": given["title_en"],
            "tax_rate_bp": int(given["tax_percent"] * 100),
            "tax_included": given["tax_included"],
            "sold_by": SoldBy(given["sold_by"]),
            "buyer_organisation_id": given["buyer"],
        }


class NewOffer(OfferForm):
    """Cards or cores of a pool, at what price, to whom."""

    field_order = (
        *("pool", "goods", "title_zh", "title_en", "price", "tax_included", "tax_percent", "sold_by"),
        *("min_units", "max_units", "wall_hours_max"),
        *("sold_as", "shortest_hours", "ahead_days", "cancellation", "buyer"),
    )
    goods = forms.ChoiceField(
        label=_lazy("What is sold"), help_text=_lazy("Cards come with their share of cores and memory.")
    )
    price = currency_field(_lazy("Price of one hour"))
    min_units = forms.IntegerField(label=_lazy("At least, units"), min_value=1, initial=1)
    max_units = forms.IntegerField(label=_lazy("At most, units"), min_value=1, initial=8)
    wall_hours_max = forms.IntegerField(
        label=_lazy("Longest, hours"), min_value=1, max_value=8760, initial=168
    )
    sold_as = forms.ChoiceField(
        label=_lazy("How it is sold"),
        choices=[
            ("on_demand", _lazy("on demand: runs as they come")),
            (MODE, _lazy("by the block: nodes from one time to another")),
        ],
        required=False,
    )
    shortest_hours = forms.IntegerField(
        label=_lazy("Shortest block, hours"), min_value=1, max_value=HOURS_MAX, initial=1, required=False
    )
    ahead_days = forms.IntegerField(
        label=_lazy("Blocks start at most so many days ahead"),
        min_value=1,
        max_value=DAYS_MAX,
        initial=90,
        required=False,
    )
    cancellation = forms.CharField(
        label=_lazy("Cancellation rules of blocks"),
        required=False,
        max_length=200,
        initial="168:100, 24:50",
        help_text=_lazy(
            "Hours before the start, and the percent that comes back, the earliest first. Later: nothing."
        ),
    )

    def __init__(self, *args: Any, pools: Sequence[Pool], **kwargs: Any) -> None:
        super().__init__(*args, pools=pools, **kwargs)
        fields: Any = self.fields
        shares = shares_listed([pool.id for pool in pools])
        fields["goods"].choices = [
            (CORES, _("cores, by the core-hour")),
            *sorted(
                ((code, accelerator_name(code)) for code in {*catalogue().accelerators, *shares}),
                key=lambda one: one[1],
            ),
        ]

    def clean_cancellation(self) -> tuple[CancellationRule, ...]:
        parts = [part for part in self.cleaned_data["cancellation"].split(",") if part.strip()]
        found = [re.fullmatch(r"\s*([0-9]{1,4})\s*[:：]\s*([0-9]{1,3})\s*%?\s*", part) for part in parts]
        if not all(found):
            raise forms.ValidationError(_("Write pairs such as 168:100, 24:50."))
        return tuple(CancellationRule(int(one[1]), int(one[2])) for one in found if one)

    def _block(self) -> BlockTerms | None:
        given = self.cleaned_data
        if given["sold_as"] != MODE:
            return None
        return BlockTerms(given["shortest_hours"] or 1, given["ahead_days"] or 90, given["cancellation"])

    def spec(self) -> OfferSpec:
        """The offer that these fields stand for."""
        given, pool = self.cleaned_data, self.pools[self.cleaned_data["pool"]]
        is_cores = given["goods"] == CORES
        meter, unit = ("core_second", "core_hour") if is_cores else ("card_second", "card_hour")
        return OfferSpec(
            supplier_id=pool.organisation_id,
            shelf="compute",
            subject_id=pool.id,
            attributes={
                "accelerator": None if is_cores else given["goods"],
                "region": pool.region,
                "mode": given["sold_as"] or "on_demand",
                "kind": "",
                "domestic": None,
            },
            prices=[PriceSpec(meter, unit, int(given["price"] * MICROS))],
            min_units=given["min_units"],
            max_units=given["max_units"],
            wall_s_max=given["wall_hours_max"] * 3600,
            block=self._block(),
            **self._terms(),
        )


class NewVolumes(OfferForm):
    """Room for volumes of a pool, by the GB-month."""

    price = currency_field(_lazy("Price of a GB-month (30 days)"))
    min_units = forms.IntegerField(
        label=_lazy("Smallest volume, GB"), min_value=1, max_value=UNITS_MAX, initial=1
    )
    max_units = forms.IntegerField(
        label=_lazy("Largest volume, GB"), min_value=1, max_value=UNITS_MAX, initial=1000
    )
    days_max = forms.IntegerField(
        label=_lazy("Longest time bought at once, days"),
        min_value=1,
        max_value=TERM_DAYS_MAX,
        initial=TERM_DAYS_MAX,
        help_text=_lazy("More time is bought before that ends, at the price of that day."),
    )
    field_order = (
        *("pool", "title_zh", "title_en", "price", "tax_included", "tax_percent", "sold_by"),
        *("min_units", "max_units", "days_max", "buyer"),
    )

    def __init__(self, *args: Any, pools: Sequence[Pool], **kwargs: Any) -> None:
        super().__init__(*args, pools=pools, **kwargs)
        fields: Any = self.fields
        fields["pool"].choices = [
            (key, _("%(pool)s · room for %(room)s GB") % {"pool": shown, "room": self.pools[key].volumes_gb})
            for key, shown in sorted(fields["pool"].choices, key=lambda one: -self.pools[one[0]].volumes_gb)
        ]
        fields["pool"].help_text = _(
            "Its agent says how much room there is (volumes_dir, volumes_gb in its settings); no more is sold."
        )

    def spec(self) -> OfferSpec:
        """The offer that these fields stand for."""
        given = self.cleaned_data
        return volume_offer(
            self.pools[given["pool"]],
            unit_price_micros=int(given["price"] * MICROS),
            min_gb=given["min_units"],
            max_gb=given["max_units"],
            days_max=given["days_max"],
            **self._terms(),
        )
