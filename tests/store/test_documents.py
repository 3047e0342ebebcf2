"""Documents: what they are by their content, whose they are, what they speak for."""

import io
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.platform.factories import NOW, make_founder, make_member, make_staff

from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor, HubRole, Role
from mosu.platform.models import AuditRecord, Fact, Organisation
from mosu.store import documents, rules
from mosu.store.models import Attachment, Blob, Document
from mosu.store.services import TooLarge

PDF = b"%PDF-1.7\n" + b"x" * 2000 + b"\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20 + b"IEND\xaeB`\x82"
JPEG = b"\xff\xd8\xff\xe0" + b"x" * 20 + b"\xff\xd9"


@pytest.fixture(autouse=True)
def _folder(settings: Any, tmp_path: Path, db: None) -> None:
    settings.DATA_DIR = tmp_path


def add(actor: Actor, organisation: Organisation, data: bytes = PDF, name: str = "licence.pdf") -> Document:
    return documents.add_document(
        actor=actor, organisation_id=organisation.id, name=name, file=io.BytesIO(data), now=NOW
    )


@pytest.mark.parametrize(
    ("data", "kind"), [(PDF, "application/pdf"), (PNG, "image/png"), (JPEG, "image/jpeg")]
)
def test_a_document_is_what_its_bytes_are_whatever_its_name(data: bytes, kind: str) -> None:
    actor, ours = make_founder()
    document = add(actor, ours, data, "page.html")
    assert document.media_type == kind
    with documents.open_document(document) as file:
        assert file.read() == data
    record = AuditRecord.objects.get(subject_id=document.id)
    assert (record.action, record.facts["sha256"]) == ("document.add", document.blob_id)


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", Invalid),
        (b"<html><script>alert(1)</script>", Invalid),
        (b"GIF89a....", Invalid),
        (PDF[:100], Invalid),
        (b"\n" + PNG, Invalid),
        (PDF + b"x" * rules.DOCUMENT_BYTES_MAX, TooLarge),
    ],
)
def test_what_is_refused_leaves_nothing(data: bytes, refusal: type[Exception]) -> None:
    actor, ours = make_founder()
    with pytest.raises(refusal):
        add(actor, ours, data)
    assert not Blob.objects.exists()
    assert not Document.objects.exists()


def test_the_same_bytes_are_the_same_document_and_another_organisations_are_its_own() -> None:
    actor, ours = make_founder()
    other, theirs = make_founder()
    first, again, elsewhere = add(actor, ours), add(actor, ours, name="b.pdf"), add(other, theirs)
    assert (first, first.name) == (again, again.name)
    assert elsewhere.id != first.id
    assert elsewhere.blob_id == first.blob_id
    assert AuditRecord.objects.filter(action="document.add").count() == 2


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.VIEWER])
def test_not_everybody_brings_documents(role: Role) -> None:
    _, ours = make_founder()
    with pytest.raises(Forbidden):
        add(make_member(ours, role), ours)
    assert not Document.objects.exists()


def test_one_sees_ones_own_organisations_documents_and_the_hub_sees_all() -> None:
    actor, ours = make_founder()
    other, theirs = make_founder()
    mine = add(actor, ours)
    add(other, theirs)
    assert list(documents.documents_visible_to(actor)) == [mine]
    assert documents.documents_visible_to(make_staff(HubRole.AUDITOR)).count() == 2
    subject = uuid4()
    documents.attach(
        actor=actor, organisation_id=ours.id, document_ids=[mine.id], subject_id=subject, now=NOW
    )
    assert documents.documents_of(actor, [subject]) == {subject: [mine]}
    assert documents.documents_of(other, [subject]) == {}


def test_anothers_document_speaks_for_nothing() -> None:
    actor, ours = make_founder()
    other, theirs = make_founder()
    foreign = add(other, theirs)
    with pytest.raises(NotFound):
        documents.record_fact_with(
            actor=actor,
            organisation_id=ours.id,
            name="employees",
            value=12,
            source="payroll",
            document_ids=[foreign.id],
            now=NOW,
        )
    assert not Attachment.objects.exists()
    assert not Fact.objects.exists()


def test_a_fact_comes_with_its_documents_and_gets_further_ones() -> None:
    actor, ours = make_founder()
    first, second = add(actor, ours), add(actor, ours, PNG)
    fact = documents.record_fact_with(
        actor=actor,
        organisation_id=ours.id,
        name="employees",
        value=12,
        source="payroll",
        document_ids=[first.id, first.id],
        now=NOW,
    )
    for _ in range(2):
        documents.attach_to_fact(actor=actor, fact_id=fact.id, document_id=second.id, now=NOW)
    assert documents.documents_of(actor, [fact.id]) == {fact.id: [first, second]}
    assert AuditRecord.objects.filter(action="document.attach").count() == 2
    stranger, _ = make_founder()
    with pytest.raises(NotFound):
        documents.attach_to_fact(actor=stranger, fact_id=fact.id, document_id=second.id, now=NOW)
    assert Attachment.objects.count() == 2
