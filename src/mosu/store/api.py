"""The store's doors for documents. Bytes come by PUT /api/v1/blobs/{sha256} first."""

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field, StringConstraints

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import Invalid
from mosu.platform.api.admissions import AdmissionOut
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Capability, Fact, Organisation
from mosu.platform.policy import require
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Id, In, Out
from mosu.store.documents import add_document, ask_admission_with, attach_to_fact, documents_visible_to
from mosu.store.models import Document
from mosu.store.services import open_blob

router = Router(tags=["store"], auth=token_auth)
routers = [("", router)]


class DocumentOut(Out):
    id: str
    organisation_id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    uploaded_at: datetime

    @classmethod
    def of(cls, document: Document) -> "DocumentOut":
        return cls(
            id=document.public_id,
            organisation_id=typeid(Organisation.prefix, document.organisation_id),
            name=document.name,
            media_type=document.media_type,
            size_bytes=document.blob.size_bytes,
            sha256=document.blob_id,
            uploaded_at=document.uploaded_at,
        )


class DocumentIn(In):
    """`sha256`: of bytes that the organisation brought by PUT /blobs/{sha256}."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    name: str = Field(min_length=1, max_length=200)
    organisation_id: str | None = Field(None, max_length=80)


class FactDocumentIn(In):
    document_id: Id


@router.get("/documents", response=Listed[DocumentOut], operation_id="listDocuments")
@door("organisation.read")
def list_documents(request: HttpRequest, paging: Query[Paging]) -> Listed[DocumentOut]:
    """What the caller's organisations brought, newest first."""
    rows, after = page_of(documents_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[DocumentOut.of(row) for row in rows], next=after)


@router.post("/documents", response={201: DocumentOut}, operation_id="addDocument")
@door("document.add")
def create_document(request: HttpRequest, body: DocumentIn) -> Status[DocumentOut]:
    """Make a document of bytes that were sent: a PDF, PNG or JPEG of at most 20 MB."""
    actor = actor_of(request)
    organisation_id = (
        Organisation.key_of(body.organisation_id) if body.organisation_id else actor.organisation_id
    )
    if organisation_id is None:
        raise Invalid("Whose document?", hint="Send organisation_id.", field="organisation_id")
    require(actor, "document.add", organisation_id)
    with open_blob(body.sha256, organisation_id=organisation_id) as file:
        document = add_document(
            actor=actor, organisation_id=organisation_id, name=body.name, file=file, now=timezone.now()
        )
    return Status(201, DocumentOut.of(document))


@router.post("/facts/{fact_id}/documents", response={204: None}, operation_id="attachDocument")
@door("organisation.manage")
def attach_document(request: HttpRequest, fact_id: str, body: FactDocumentIn) -> Status[None]:
    """Let a document speak for a fact of the same organisation."""
    attach_to_fact(
        actor=actor_of(request),
        fact_id=Fact.key_of(fact_id),
        document_id=Document.key_of(body.document_id),
        now=timezone.now(),
    )
    return Status(204, None)


class AdmissionIn(In):
    capability: Capability
    note: str = Field(min_length=1, max_length=2000)
    """What the organisation would bring."""
    document_ids: list[Id] = Field(default_factory=list, max_length=20)


@router.post(
    "/organisations/{organisation_id}/admissions",
    response={201: AdmissionOut},
    operation_id="askAdmission",
)
@door("admission.ask")
def ask_admission(request: HttpRequest, organisation_id: str, body: AdmissionIn) -> Status[AdmissionOut]:
    """Ask to be admitted, such as `supplier`; the operator decides."""
    admission = ask_admission_with(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(organisation_id),
        capability=body.capability,
        note=body.note,
        document_ids=[Document.key_of(one) for one in body.document_ids],
        now=timezone.now(),
    )
    return Status(201, AdmissionOut.of(admission))
