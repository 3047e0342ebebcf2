"""Tiered prices: who is a supplier's partner or its own, and what part of the list price they pay."""

from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods, require_POST

from mosu.kernel.refusals import NotFound
from mosu.market import services
from mosu.market.models import Offer, Tier
from mosu.market.queries import relations_of
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.web.pages import acted, own_organisation, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.tiered import TIERS, TierForm
from mosu.web.views.offers import my_offer_shown

WHY_MAX: Final = 400

RELATIONS: Final = Plan(
    name="partners",
    title=_lazy("Partners"),
    columns=(
        Column("buyer", _lazy("Organisation"), lambda row: row.buyer.public_id, kind="mono"),
        Column("tier", _lazy("Price"), lambda row: str(TIERS[row.tier])),
        Column("since", _lazy("From"), lambda row: row.since, kind="time", sort="since"),
    ),
    order="-since",
    filters=(Filter("tier", _lazy("Price"), lambda rows, tier: rows.filter(tier=tier), list(TIERS.items())),),
    empty=Empty(
        _lazy("No partners yet."),
        _lazy("Everyone pays the list price until you say who is a partner, or one of your own."),
    ),
)


class RelationForm(forms.Form):
    """What an organisation is from now on."""

    buyer = forms.CharField(
        label=_lazy("Organisation"),
        max_length=80,
        help_text=_lazy("Its id (org_...): it stands on the page of the organisation; ask for it."),
    )
    tier = forms.ChoiceField(label=_lazy("Price"), choices=list(TIERS.items()))
    why = forms.CharField(
        label=_lazy("Reason"),
        max_length=WHY_MAX,
        required=False,
        help_text=_lazy("Such as the number of the contract. It stays on record."),
    )

    def clean_buyer(self) -> Any:
        try:
            return Organisation.key_of(self.cleaned_data["buyer"].strip())
        except NotFound:
            raise forms.ValidationError(_lazy("This is no id of an organisation.")) from None


@require_http_methods(["GET", "POST"])
@page("offer.manage")
def partners(request: HttpRequest) -> HttpResponse:
    """What organisations are to one's own as a supplier, latest word first; and the form that says it."""
    if request.method != "POST":
        return _shown(request)
    form, supplier = RelationForm(request.POST), own_organisation(request)
    if not form.is_valid():
        return _shown(request, form=form, status=422)
    given = form.cleaned_data
    return acted(
        request,
        lambda: services.set_relation(
            actor=actor_of(request),
            supplier_id=supplier.id,
            buyer_id=given["buyer"],
            tier=Tier(given["tier"]),
            why=given["why"],
            now=timezone.now(),
        ),
        done=str(_lazy("It holds from now on. Quotes already given keep their prices.")),
        to=reverse("partners"),
        again=partial(_shown, form=form, request=request),
    )


def _shown(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    actor = actor_of(request)
    context = {"form": RelationForm(), "may": actor.organisation_id is not None, **more}
    answer = list_page(request, "pages/partners.html", RELATIONS, relations_of(actor), context=context)
    answer.status_code = status
    return answer


@require_POST
@page("offer.manage")
def set_rate(request: HttpRequest, offer_id: str) -> HttpResponse:
    """Which part of an offer's list price a tier pays from now on."""
    form, again = TierForm(request.POST), partial(my_offer_shown, request, offer_id)
    if not form.is_valid():
        return again(status=422, tier_form=form)
    return acted(
        request,
        lambda: services.set_tier_rate(
            actor=actor_of(request),
            offer_id=Offer.key_of(offer_id),
            tier=Tier(form.cleaned_data["tier"]),
            rate_bp=form.rate_bp,
            now=timezone.now(),
        ),
        done=str(_lazy("It holds from now on. Quotes already given keep their prices.")),
        to=reverse("my_offer", args=[offer_id]) + "#tiers",
        again=partial(again, tier_form=form),
    )
