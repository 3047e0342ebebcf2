"""What an organisation says of itself, and the papers that show it: recorded and uploaded once."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time
from typing import Any, Final
from urllib.parse import quote as quoted
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Fact, Organisation
from mosu.platform.policy import allows
from mosu.platform.queries import facts_visible_to
from mosu.platform.requests import actor_of
from mosu.store.documents import (
    add_document,
    documents_of,
    documents_visible_to,
    open_document,
    record_fact_with,
    uses_of,
)
from mosu.store.models import Document
from mosu.store.services import checked_chunks
from mosu.subsidies.queries import facts_asked
from mosu.web.attaching import choose_among, documents_chosen, documents_field, documents_offered
from mosu.web.pages import own_organisation, page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.uploads import BODY_BYTES_MAX, DOCUMENTS_PATH
from mosu.web.views.organisation import tabs_of
from mosu.web.words import said_of

_CHUNK_BYTES: Final = 1 << 20
_NAME: Final = r"^[a-z][a-z0-9_]{0,59}$"


class Recording(forms.Form):
    """A fact: what is said, where it is written, and until when it holds."""

    name = forms.RegexField(
        _NAME,
        label=_lazy("Name"),
        max_length=60,
        help_text=_lazy("As the programme calls it: small letters, digits and underscores."),
        widget=forms.TextInput(attrs={"list": "asked", "spellcheck": "false", "autocapitalize": "off"}),
    )
    kind = forms.ChoiceField(
        label=_lazy("Kind of value"),
        choices=[("text", _lazy("Text")), ("number", _lazy("Number")), ("truth", _lazy("Yes or no"))],
    )
    value = forms.CharField(
        label=_lazy("Value"), max_length=2000, help_text=_lazy("A whole number; or yes, or no; or text.")
    )
    source = forms.CharField(
        label=_lazy("Source"),
        min_length=2,
        max_length=200,
        help_text=_lazy("Where the hub can check it: a register and its number, a contract, a certificate."),
    )
    expires = forms.DateField(
        label=_lazy("Holds until"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    documents = documents_field(_lazy("Documents that show it"), "")

    def __init__(self, *args: Any, documents: Sequence[Document], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choose_among(self, documents)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        text = str(given.get("value", "")).strip()
        if given.get("kind") == "number":
            if not text.lstrip("-").isdecimal() or len(text) > 18:
                self.add_error("value", _("Write a whole number, without spaces or units."))
            else:
                given["value"] = int(text)
        elif given.get("kind") == "truth":
            truths = {"yes": True, "true": True, "是": True, "no": False, "false": False, "否": False}
            if text.lower() not in truths:
                self.add_error("value", _("Write yes or no."))
            else:
                given["value"] = truths[text.lower()]
        return given

    @property
    def expires_at(self) -> datetime | None:
        """The end of the hub's day until which it holds."""
        day = self.cleaned_data.get("expires")
        return (
            datetime.combine(day, time(23, 59, 59), ZoneInfo(settings.HUB_ZONE)).astimezone(UTC)
            if day
            else None
        )


class Uploading(forms.Form):
    """A file."""

    file = forms.FileField(
        label=_lazy("File"),
        max_length=200,
        help_text=_lazy("PDF, PNG or JPEG, at most 20 MB."),
        widget=forms.ClearableFileInput(attrs={"accept": ".pdf,.png,.jpg,.jpeg"}),
    )


FACTS: Final = Plan(
    name="facts",
    title=_lazy("Facts"),
    columns=(
        Column("name", _lazy("Name"), lambda one: one["row"].name, kind="mono", sort="name"),
        Column("value", _lazy("Value"), lambda one: one["value"]),
        Column("state", _lazy("State"), lambda one: one["state"], kind="state"),
        Column("source", _lazy("Source"), lambda one: one["row"].source),
        Column(
            "recorded", _lazy("Recorded"), lambda one: one["row"].recorded_at, kind="day", sort="recorded_at"
        ),
        Column("by", _lazy("Recorded by"), lambda one: one["by"], hidden=True),
        Column("checked", _lazy("Checked"), lambda one: one["row"].verified_at, kind="day"),
        Column("checker", _lazy("Checked by"), lambda one: one["checker"], hidden=True),
        Column("until", _lazy("Holds until"), lambda one: one["row"].expires_at, kind="day"),
        Column("documents", _lazy("Documents"), lambda one: one["documents"]),
    ),
    order="-recorded",
    filters=(Filter("name", _lazy("Name"), lambda rows, name: rows.filter(name__icontains=name)),),
    empty=Empty(
        _lazy("Nothing is recorded yet."),
        _lazy("What is recorded and checked once counts for every programme that asks for it."),
    ),
)

DOCUMENTS: Final = Plan(
    name="documents",
    title=_lazy("Documents"),
    columns=(
        Column("name", _lazy("Name"), lambda one: one["row"].name, sort="name", href=lambda one: one["href"]),
        Column("kind", _lazy("Kind"), lambda one: one["kind"]),
        Column("size", _lazy("Size"), lambda one: one["size"]),
        Column("at", _lazy("Uploaded"), lambda one: one["row"].uploaded_at, kind="time", sort="uploaded_at"),
        Column("by", pgettext_lazy("document", "By"), lambda one: str(one["row"].uploaded_by)),
        Column("used", _lazy("Used for"), lambda one: one["used"], kind="number"),
        Column("sha256", "sha256", lambda one: one["row"].blob_id, kind="mono"),
    ),
    order="-at",
    empty=Empty(
        _lazy("No documents yet."),
        _lazy("A licence, a contract, a certificate: uploaded once, attached wherever it is asked for."),
    ),
)


@require_http_methods(["GET", "POST"])
@page("organisation.read")
def facts(request: HttpRequest) -> HttpResponse:
    """What is known of the organisation: from where, checked by whom, until when."""
    actor, organisation, now = actor_of(request), own_organisation(request), timezone.now()
    may = allows(actor, "organisation.manage", organisation.id)
    papers = documents_offered(actor, organisation) if may else []
    asked = facts_asked()
    form = Recording(documents=papers, initial={"name": request.GET.get("record", "")[:60]})
    problem = None
    if request.method == "POST":
        form = Recording(request.POST, documents=papers)
        if form.is_valid():
            try:
                record_fact_with(
                    actor=actor,
                    organisation_id=organisation.id,
                    name=form.cleaned_data["name"],
                    value=form.cleaned_data["value"],
                    source=form.cleaned_data["source"],
                    document_ids=documents_chosen(form),
                    expires_at=form.expires_at,
                    now=now,
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                messages.success(request, _("Recorded. It counts once the hub has checked it."))
                return redirect("facts")
    context = {
        "tabs": tabs_of(request),
        "form": form,
        "problem": problem,
        "may_record": may,
        "asked": asked,
    }
    rows = facts_visible_to(actor).filter(organisation=organisation)
    return list_page(
        request,
        "pages/facts.html",
        FACTS,
        rows.select_related("recorded_by", "verified_by"),
        prepare=lambda found: _facts(actor, found, now=now),
        context=context,
    )


@require_http_methods(["GET", "POST"])
@page("organisation.read")
def documents(request: HttpRequest) -> HttpResponse:
    """The organisation's papers: uploaded once, with what each speaks for."""
    actor, organisation = actor_of(request), own_organisation(request)
    form, problem = Uploading(), None
    if request.method == "POST":
        form = Uploading(request.POST, request.FILES)
        if int(request.META.get("CONTENT_LENGTH") or 0) > BODY_BYTES_MAX[DOCUMENTS_PATH]:
            form.add_error("file", _("This file is too large: at most 20 MB."))
        if form.is_valid():
            try:
                added = _added(actor, organisation, form.cleaned_data["file"])
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                messages.success(request, _("%(name)s is kept: sha256 %(sha256)s") % added)
                return redirect("documents")
    context = {
        "tabs": tabs_of(request),
        "form": form,
        "problem": problem,
        "may_add": allows(actor, "document.add", organisation.id),
    }
    return list_page(
        request,
        "pages/documents.html",
        DOCUMENTS,
        documents_visible_to(actor).filter(organisation=organisation),
        prepare=_documents,
        context=context,
    )


@require_GET
@page("organisation.read")
def document(request: HttpRequest, document_id: str) -> HttpResponseBase:
    """The bytes of a document, to be saved: no browser opens them as a page of the hub's."""
    row = documents_visible_to(actor_of(request)).filter(id=Document.key_of(document_id)).first()
    if row is None:
        raise NotFound(_("There is no such document."), hint=_("See the documents of your organisation."))
    open_document(row).close()  # refused here rather than in the midst of an answer
    response = StreamingHttpResponse(_chunks(row), content_type=str(row.media_type))
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quoted(row.name, safe='')}"
    response["Content-Length"] = str(row.blob.size_bytes)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _chunks(row: Document) -> Iterator[bytes]:
    with open_document(row) as file:
        yield from checked_chunks(file, sha256=row.blob_id, chunk_bytes=_CHUNK_BYTES)


def _added(actor: Actor, organisation: Organisation, upload: Any) -> dict[str, str]:
    row = add_document(
        actor=actor,
        organisation_id=organisation.id,
        name=upload.name,
        file=upload.file,
        now=timezone.now(),
    )
    return {"name": row.name, "sha256": row.blob_id}


def _facts(actor: Actor, rows: Sequence[Fact], *, now: datetime) -> list[dict[str, Any]]:
    papers = documents_of(actor, [row.id for row in rows])
    return [
        {
            "row": row,
            "value": _said(row.value),
            "state": _state(row, now),
            "by": str(row.recorded_by) if row.recorded_by else "mosu",
            "checker": (row.verified_by.name or _("the hub's staff")) if row.verified_by else "",
            "documents": ", ".join(one.name for one in papers.get(row.id, [])),
        }
        for row in rows
    ]


def _state(row: Fact, now: datetime) -> str:
    if row.expires_at and row.expires_at <= now:
        return "fact_expired"
    return "fact_checked" if row.verified_at else "fact_recorded"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _documents(rows: Sequence[Document]) -> list[dict[str, Any]]:
    uses = uses_of(rows)
    return [
        {
            "row": row,
            "href": reverse("document", args=[row.public_id]),
            "kind": str(row.media_type).rpartition("/")[2].upper(),
            "size": f"{row.blob.size_bytes / 1024:,.0f} KB",
            "used": uses.get(row.id, 0),
        }
        for row in rows
    ]
