"""Programmes: what they give, who may have it, and applying."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods

from mosu.kernel.money import MINOR_DIGITS, micros_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import allows
from mosu.platform.queries import facts_visible_to
from mosu.platform.requests import actor_of
from mosu.store.models import Document
from mosu.subsidies.models import Programme, ProgrammeVersion
from mosu.subsidies.queries import (
    Standing,
    applications_visible_to,
    standings_of,
    terms_of,
    versions_in_force,
)
from mosu.subsidies.rules import ProgrammeKind
from mosu.subsidies.services import apply_for_voucher
from mosu.web.attaching import choose_among, documents_chosen, documents_field, documents_offered
from mosu.web.pages import own_organisation, page
from mosu.web.presenters import Bilingual
from mosu.web.views.vouchers import percent, tabs_of, terms_shown, where_of
from mosu.web.words import said_of, title_of

_FACT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True, slots=True)
class ClauseShown:
    """A condition as it stands for one organisation."""

    reason: Bilingual
    state: str
    """`clause_passed`, `clause_failed`, `clause_needs` or `clause_waits`: recorded, not checked by the hub yet."""
    needs: str = ""
    record: str = ""
    """Where the fact that it needs is recorded."""


@dataclass(frozen=True, slots=True)
class ProgrammeShown:
    """A programme in force, and how the organisation stands to it."""

    public_id: str
    title: Bilingual
    kind: str
    rate: str
    where: Sequence[str]
    cap_per_order: int | None
    grant: int | None
    pool: int
    state: str
    clauses: Sequence[ClauseShown]
    by_rule: bool

    @property
    def href(self) -> str:
        return reverse("programme", args=[self.public_id])

    @property
    def missing(self) -> list[ClauseShown]:
        return [one for one in self.clauses if one.state != "clause_passed"]


class Applying(forms.Form):
    """An application: how much, why, and what shows it."""

    amount = forms.DecimalField(label=_lazy("Amount"), min_value=0, max_digits=18)
    note = forms.CharField(
        label=_lazy("What for"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_lazy(
            "One or two sentences help whoever decides: the project, how many card-hours, by when."
        ),
    )
    documents = documents_field()

    def __init__(self, *args: Any, documents: Sequence[Document], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        digits = MINOR_DIGITS[settings.HUB_CURRENCY]
        amount = self.fields["amount"]
        amount.decimal_places = digits  # type: ignore[attr-defined]
        amount.help_text = _("In %(currency)s, at most %(digits)d decimals.") % {
            "currency": settings.HUB_CURRENCY,
            "digits": digits,
        }
        choose_among(self, documents)


@require_GET
@page("programme.read")
def programmes(request: HttpRequest) -> HttpResponse:
    """What is in force, and how one's organisation stands to each."""
    actor, now = actor_of(request), timezone.now()
    versions = versions_in_force()
    organisation = own_organisation(request) if actor.organisation_id else None
    shown = _shown(actor, organisation, versions, now=now)
    return render(
        request,
        "pages/programmes.html",
        {"tabs": tabs_of(request) if organisation else [], "programmes": shown, "organisation": organisation},
    )


@require_http_methods(["GET", "POST"])
@page("programme.read")
def programme(request: HttpRequest, programme_id: str) -> HttpResponse:
    """One programme: its terms, each condition with how one stands to it, and the application."""
    actor, now = actor_of(request), timezone.now()
    key = Programme.key_of(programme_id)
    version = next((one for one in versions_in_force() if one.programme_id == key), None)
    if version is None:
        raise NotFound(_("There is no such programme."), hint=_("See the list of programmes."))
    organisation = own_organisation(request) if actor.organisation_id else None
    may = organisation is not None and allows(actor, "voucher.apply", organisation.id)
    form = problem = None
    if organisation is not None and may:
        form = Applying(request.POST or None, documents=documents_offered(actor, organisation))
        if request.method == "POST" and form.is_valid():
            try:
                apply_for_voucher(
                    actor=actor,
                    organisation_id=organisation.id,
                    programme_id=key,
                    amount_micros=micros_of(format(form.cleaned_data["amount"], "f")),
                    note=form.cleaned_data["note"],
                    document_ids=documents_chosen(form),
                    now=now,
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                messages.success(
                    request, _("Your application is with the operator. You see here what becomes of it.")
                )
                return redirect("applications")
    (shown,) = _shown(actor, organisation, [version], now=now)
    own = applications_visible_to(actor).filter(organisation=organisation, version__programme=key)[:10]
    context = {
        "programme": shown,
        "terms": terms_shown(terms_of(version)),
        "source": version.terms["source"],
        "number": version.number,
        "released_at": version.released_at,
        "organisation": organisation,
        "may_apply": may,
        "form": form,
        "problem": problem,
        "applications": list(own) if organisation else [],
    }
    return render(request, "pages/programme.html", context, status=409 if problem else 200)


def _shown(
    actor: Actor, organisation: Organisation | None, versions: Sequence[ProgrammeVersion], *, now: datetime
) -> list[ProgrammeShown]:
    if organisation is None:
        standings: Sequence[Standing] = [Standing(terms_of(one), True, []) for one in versions]
        claimed: set[str] = set()
    else:
        standings = standings_of(organisation, versions, now=now)
        claimed = set(
            facts_visible_to(actor)
            .order_by()
            .filter(organisation=organisation, verified_at=None)
            .values_list("name", flat=True)
        )
    return [
        _programme(version, standing, claimed, member=organisation is not None)
        for version, standing in zip(versions, standings, strict=True)
    ]


def _programme(
    version: ProgrammeVersion, standing: Standing, claimed: set[str], *, member: bool
) -> ProgrammeShown:
    terms = standing.terms
    by_rule = terms.kind is ProgrammeKind.TRIAL
    if not standing.is_open:
        state = "programme_closed"
    elif by_rule:
        state = "programme_by_rule"
    elif not member:
        state = ""
    elif standing.passes:
        state = "programme_fits"
    else:
        state = "programme_needs" if len(standing.needs) == len(_failed(standing)) else "programme_unfit"
    return ProgrammeShown(
        public_id=version.programme.public_id,
        title=title_of(terms),
        kind=terms.kind,
        rate=percent(terms.rate),
        where=where_of(terms),
        cap_per_order=terms.cap_per_order_micros,
        grant=terms.grant_micros,
        pool=terms.pool_micros,
        state=state,
        clauses=[_clause(result, claimed) for result in standing.results],
        by_rule=by_rule,
    )


def _failed(standing: Standing) -> list[Any]:
    return [result for result in standing.results if not result.passed]


def _clause(result: Any, claimed: set[str]) -> ClauseShown:
    reason = {"zh": result.clause.reason_zh, "en": result.clause.reason_en}
    if result.passed:
        return ClauseShown(reason, "clause_passed")
    if not result.needs:
        return ClauseShown(reason, "clause_failed")
    if not _FACT_NAME.fullmatch(result.needs):
        return ClauseShown(reason, "clause_failed")
    if result.needs in claimed:
        return ClauseShown(reason, "clause_waits", result.needs, reverse("facts"))
    record = reverse("facts") + "?" + urlencode({"record": result.needs}) + "#record"
    return ClauseShown(reason, "clause_needs", result.needs, record)
