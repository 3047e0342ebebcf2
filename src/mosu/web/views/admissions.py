"""Asking to be admitted: what for, with what facts and documents, and what the operator answered."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods, require_POST

from mosu.platform.models import Admission
from mosu.platform.policy import require
from mosu.platform.queries import facts_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.services import ASKED_FOR, withdraw_admission
from mosu.store.documents import ask_admission_with
from mosu.store.models import Document
from mosu.web.attaching import choose_among, documents_chosen, documents_field, documents_offered
from mosu.web.pages import acted, own_organisation, page
from mosu.web.views.organisation import organisation_page
from mosu.web.words import capability_name_lazy

FACTS_SHOWN: Final = 50


class AskingAdmission(forms.Form):
    """What an organisation wants to be here, and what speaks for it."""

    capability = forms.ChoiceField(
        label=_lazy("As"), choices=[(one.value, capability_name_lazy(one.value)) for one in ASKED_FOR]
    )
    note = forms.CharField(
        label=_lazy("What you would bring"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_lazy(
            "Whoever decides reads this first: machines and where they stand, data, problems, funds."
        ),
    )
    documents = documents_field()

    def __init__(self, *args: Any, documents: Sequence[Document], has: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        asked: Any = self.fields["capability"]
        asked.choices = [(one, name) for one, name in asked.choices if one not in has]
        choose_among(self, documents)


@require_http_methods(["GET", "POST"])
@page("admission.ask")
def ask_admission(request: HttpRequest) -> HttpResponse:
    """Ask to be admitted; a post sends it to the operator."""
    actor, organisation = actor_of(request), own_organisation(request)
    require(actor, "admission.ask", organisation.id)
    form = AskingAdmission(
        request.POST or None,
        documents=documents_offered(actor, organisation),
        has=organisation.capabilities,
        initial={"capability": request.GET.get("as", "")},
    )

    def again(*, status: int = 200, **said: Any) -> HttpResponse:
        facts = facts_visible_to(actor).filter(organisation=organisation)[:FACTS_SHOWN]
        context = {"form": form, "organisation": organisation, "facts": facts, **said}
        return render(request, "pages/admission_ask.html", context, status=status)

    if request.method != "POST" or not form.is_valid():
        return again(status=422 if form.errors else 200)
    return acted(
        request,
        lambda: ask_admission_with(
            actor=actor,
            organisation_id=organisation.id,
            capability=form.cleaned_data["capability"],
            note=form.cleaned_data["note"],
            document_ids=documents_chosen(form),
            now=timezone.now(),
        ),
        done=_("The operator has it. You see here what becomes of it."),
        to=reverse("organisation"),
        again=again,
    )


@require_POST
@page("admission.ask")
def withdraw(request: HttpRequest, admission_id: str) -> HttpResponse:
    """Take back what nobody has decided yet."""
    return acted(
        request,
        lambda: withdraw_admission(
            actor=actor_of(request),
            admission_id=Admission.key_of(admission_id),
            why="",
            now=timezone.now(),
        ),
        done=_("Taken back. You can ask again whenever you like."),
        to=reverse("organisation"),
        again=partial(organisation_page, request),
    )
