"""The audit trail: who did what, when, to what, and why."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET

from mosu.kernel.ids import typeid, uuid_of
from mosu.kernel.refusals import NotFound
from mosu.market.models import Order
from mosu.platform.models import AuditRecord, Organisation
from mosu.platform.queries import actions_recorded, actors_recorded, audit_visible_to
from mosu.platform.requests import actor_of
from mosu.web.days import dated
from mosu.web.deeds import deed_name
from mosu.web.pages import page
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.books import tabs_of
from mosu.web.words import change_of

ORGANISATIONS_MAX: Final = 50


def _by_subject(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    """Of a thing by its id, of whichever kind, or an order by its number."""
    text = text.strip()
    if text.upper().startswith("O-"):
        return rows.filter(subject_id__in=Order.objects.filter(number=text.upper()).values("id"))
    try:
        key = UUID(text) if "_" not in text else uuid_of(text.rpartition("_")[0], text)
    except (ValueError, NotFound):
        return rows.none()
    return rows.filter(subject_id=key)


def _any_of(rows: QuerySet[AuditRecord], column: str, values: Sequence[str]) -> QuerySet[AuditRecord]:
    """Those with one of the values; a single one is read in the list's own order by its index."""
    return rows.filter(**({column: values[0]} if len(values) == 1 else {f"{column}__in": values}))


def _by_organisation(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    if text.startswith("org_"):
        return _of_organisations(rows, text)
    found = Organisation.objects.filter(name__icontains=text.strip()).values_list("id", flat=True)
    return rows.filter(organisation_id__in=list(found[:ORGANISATIONS_MAX]))


def _of_organisations(rows: QuerySet[AuditRecord], text: str) -> QuerySet[AuditRecord]:
    try:
        return rows.filter(organisation_id=Organisation.key_of(text))
    except NotFound:
        return rows.none()


def _subject(record: AuditRecord) -> str:
    """The subject by its public id, where its action says of what kind it is."""
    prefix = {"order.place": "order", "quote.accept": "quote"}.get(record.action) or record.action.partition(
        "."
    )[0]
    return typeid(prefix, record.subject_id)


AUDIT: Final = Plan(
    name="audit",
    title=_lazy("Audit trail"),
    columns=(
        Column("at", _lazy("When"), lambda record: record.at, kind="time", sort="at"),
        Column("who", _lazy("Who"), lambda record: record.actor_label),
        Column("action", _lazy("Action"), lambda record: deed_name(record.action)),
        Column("code", _lazy("Code"), lambda record: record.action, kind="mono"),
        Column(
            "subject",
            _lazy("Subject"),
            _subject,
            kind="mono",
            href=lambda record: f"{reverse('books_audit')}?subject={record.subject_id}",
        ),
        Column("before", _lazy("Before"), lambda record: change_of(record, record.before)),
        Column("after", _lazy("After"), lambda record: change_of(record, record.after)),
        Column("why", _lazy("Why"), lambda record: record.why),
        Column(
            "facts",
            pgettext_lazy("audit", "Facts"),
            lambda record: str(record.facts) if record.facts else "",
            kind="mono",
            hidden=True,
        ),
        Column("kind", _lazy("Kind of actor"), lambda record: record.actor_kind, hidden=True),
        Column("id", _lazy("Record"), lambda record: record.public_id, kind="mono", sort="id", hidden=True),
    ),
    order="-at",
    filters=(
        Filter("who", _lazy("Who"), lambda rows, text: _any_of(rows, "actor_label", actors_recorded(text))),
        Filter("action", _lazy("Action"), lambda rows, text: _any_of(rows, "action", actions_recorded(text))),
        Filter("subject", _lazy("Subject"), _by_subject),
        Filter("organisation", _lazy("Organisation"), _by_organisation),
        Filter("from", _lazy("From day"), dated(lambda rows, at: rows.filter(at__gte=at))),
        Filter("to", _lazy("To day"), dated(lambda rows, at: rows.filter(at__lt=at), days=1)),
    ),
    empty=Empty(_lazy("Nothing has happened yet.")),
)


@require_GET
@page("books.read")
def audit(request: HttpRequest) -> HttpResponse:
    """Who did what, when, to what, and why."""
    rows = audit_visible_to(actor_of(request))
    return list_page(request, "pages/books_audit.html", AUDIT, rows, context={"tabs": tabs_of("books_audit")})
