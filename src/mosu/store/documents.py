"""Documents: brought once by an organisation, attached to its facts and applications, read by it and the hub's own."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, BinaryIO, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet

from mosu.kernel.refusals import NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Admission, Fact
from mosu.platform.policy import person_of, require
from mosu.platform.queries import facts_visible_to
from mosu.platform.rules import name_of
from mosu.platform.services import ask_admission, record_audit, record_fact
from mosu.store.models import Attachment, Document
from mosu.store.rules import DOCUMENT_BYTES_MAX, ENDING_BYTES, media_type_of
from mosu.store.services import TooLarge, open_blob, put_blob

_CHUNK_BYTES: Final = 1 << 20


def documents_visible_to(actor: Actor) -> QuerySet[Document]:
    """Documents of the actor's organisations, or all for the hub's people; newest first."""
    rows = Document.objects.select_related("blob", "uploaded_by", "organisation").order_by(
        "-uploaded_at", "-id"
    )
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def documents_of(actor: Actor, subject_ids: Collection[UUID]) -> dict[UUID, list[Document]]:
    """What is attached to each of these and the actor may see, in one query; oldest first."""
    found: defaultdict[UUID, list[Document]] = defaultdict(list)
    rows = Attachment.objects.filter(
        subject_id__in=subject_ids, document__in=documents_visible_to(actor).order_by()
    ).select_related("document")
    for row in rows.order_by("id"):
        found[row.subject_id].append(row.document)
    return dict(found)


def uses_of(documents: Collection[Document]) -> dict[UUID, int]:
    """For how many things each of these speaks, in one query."""
    rows = Attachment.objects.filter(document__in=documents).order_by()
    return dict(rows.values_list("document_id").annotate(Count("id")))


def add_document(
    *, actor: Actor, organisation_id: UUID, name: str, file: BinaryIO, now: datetime
) -> Document:
    """The document of these bytes, durable and checked by what they hold. The same bytes again are the same document.

    Raises:
        TooLarge: more than 20 MB.
        Invalid: neither PDF, PNG nor JPEG, cut short, or a name that is none.
        QuotaExceeded, NotStored: as `put_blob`.
    """
    require(actor, "document.add", organisation_id)
    person = person_of(actor)
    name = name_of(name[-200:], field="name")
    beginning, ending, size, sha256 = _looked_through(file)
    if size > DOCUMENT_BYTES_MAX:
        raise TooLarge(
            f"A document has at most {DOCUMENT_BYTES_MAX >> 20} MB.",
            hint="Save it with a lower resolution, or in parts.",
            field="file",
        )
    media_type = media_type_of(beginning, ending)
    file.seek(0)
    with transaction.atomic():
        blob = put_blob(
            chunks=_chunks(file),
            sha256=sha256,
            size_bytes_max=DOCUMENT_BYTES_MAX,
            now=now,
            organisation_id=organisation_id,
        )
        document, fresh = Document.objects.get_or_create(
            organisation_id=organisation_id,
            blob=blob,
            defaults={"name": name, "media_type": media_type, "uploaded_by_id": person, "uploaded_at": now},
        )
        if fresh:
            _audit(document, actor=actor, action="document.add", now=now, sha256=sha256, name=name)
    return document


@transaction.atomic
def attach(
    *, actor: Actor, organisation_id: UUID, document_ids: Iterable[UUID], subject_id: UUID, now: datetime
) -> None:
    """Let documents of an organisation speak for something of its own; attached twice, it is attached once.

    The caller knows that `subject_id` is the organisation's.

    Raises:
        NotFound: the organisation has no such document.
    """
    wanted = set(document_ids)
    if not wanted:
        return
    documents = list(documents_visible_to(actor).filter(id__in=wanted, organisation_id=organisation_id))
    if len(documents) < len(wanted):
        raise NotFound("There is no such document.", hint="See the organisation's documents.")
    for document in documents:
        _, fresh = Attachment.objects.get_or_create(
            document=document,
            subject_id=subject_id,
            defaults={"attached_by_id": person_of(actor), "attached_at": now},
        )
        if fresh:
            _audit(document, actor=actor, action="document.attach", now=now, subject=str(subject_id))


@transaction.atomic(durable=True)
def attach_to_fact(*, actor: Actor, fact_id: UUID, document_id: UUID, now: datetime) -> Fact:
    """Let a document speak for a fact of the same organisation.

    Raises:
        NotFound: no such fact or document, or not the actor's.
    """
    fact = facts_visible_to(actor).filter(id=fact_id).first()
    if fact is None:
        raise NotFound("There is no such fact.", hint="See the organisation's facts.")
    require(actor, "organisation.manage", fact.organisation_id)
    attach(
        actor=actor,
        organisation_id=fact.organisation_id,
        document_ids=[document_id],
        subject_id=fact.id,
        now=now,
    )
    return fact


@transaction.atomic
def record_fact_with(
    *,
    actor: Actor,
    organisation_id: UUID,
    name: str,
    value: Any,
    source: str,
    document_ids: Iterable[UUID],
    now: datetime,
    expires_at: datetime | None = None,
) -> Fact:
    """A fact with the documents that show it, both or neither.

    Raises: as `platform.services.record_fact`, and
        NotFound: the organisation has no such document.
    """
    fact = record_fact(
        actor=actor,
        organisation_id=organisation_id,
        name=name,
        value=value,
        source=source,
        expires_at=expires_at,
        now=now,
    )
    attach(
        actor=actor,
        organisation_id=organisation_id,
        document_ids=document_ids,
        subject_id=fact.id,
        now=now,
    )
    return fact


@transaction.atomic(durable=True)
def ask_admission_with(
    *,
    actor: Actor,
    organisation_id: UUID,
    capability: str,
    note: str,
    document_ids: Iterable[UUID],
    now: datetime,
) -> Admission:
    """An admission, asked for with the documents that speak for it, both or neither.

    Raises: as `platform.services.ask_admission`, and
        NotFound: the organisation has no such document.
    """
    admission = ask_admission(
        actor=actor, organisation_id=organisation_id, capability=capability, note=note, now=now
    )
    attach(
        actor=actor,
        organisation_id=organisation_id,
        document_ids=document_ids,
        subject_id=admission.id,
        now=now,
    )
    return admission


def open_document(document: Document) -> BinaryIO:
    """The bytes of a document that `documents_visible_to` gave.

    Raises:
        Damaged: a disk lost them.
    """
    return open_blob(document.blob_id)


def _looked_through(file: BinaryIO) -> tuple[bytes, bytes, int, str]:
    """First bytes, last bytes, size (as far as it matters) and sha256."""
    file.seek(0)
    beginning, ending, size, digest = b"", b"", 0, hashlib.sha256()
    for chunk in _chunks(file):
        beginning = beginning or chunk[:16]
        ending = (ending + chunk)[-ENDING_BYTES:]
        size += len(chunk)
        digest.update(chunk)
        if size > DOCUMENT_BYTES_MAX:
            break
    return beginning, ending, size, digest.hexdigest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _audit(document: Document, *, actor: Actor, action: str, now: datetime, **facts: str) -> None:
    record_audit(
        actor=actor,
        action=action,
        subject_id=document.id,
        organisation_id=document.organisation_id,
        before=None,
        after="kept",
        now=now,
        facts=facts,
    )
