"""Documents that a form lets one attach: uploaded once, ticked where they are needed."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django import forms
from django.utils.translation import gettext_lazy as _lazy

from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.store.documents import documents_visible_to
from mosu.store.models import Document

DOCUMENTS_OFFERED: Final = 50
_DOCUMENTS: Final = _lazy("Documents")
_OWN: Final = _lazy("From those that your organisation uploaded once.")


def documents_offered(actor: Actor, organisation: Organisation) -> list[Document]:
    """The organisation's newest."""
    return list(documents_visible_to(actor).filter(organisation=organisation)[:DOCUMENTS_OFFERED])


def documents_field(label: Any = _DOCUMENTS, help_text: Any = _OWN) -> forms.MultipleChoiceField:
    """The field `documents` of a form; `choose_among` says which."""
    return forms.MultipleChoiceField(
        label=label, required=False, widget=forms.CheckboxSelectMultiple, help_text=help_text
    )


def choose_among(form: forms.Form, documents: Sequence[Document]) -> None:
    """Offer the documents in the form's field `documents`; where there are none, no such field."""
    if not documents:
        del form.fields["documents"]
        return
    field: Any = form.fields["documents"]
    field.choices = [(one.public_id, f"{one.name} · {one.uploaded_at:%Y-%m-%d}") for one in documents]


def documents_chosen(form: forms.Form) -> list[UUID]:
    """The keys of the documents that were ticked."""
    return [Document.key_of(one) for one in form.cleaned_data.get("documents", [])]
