"""Credit notes: money given back on a receipt of a closed month, by two persons."""

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of, micros_of
from mosu.market import queries, services
from mosu.market.models import BorneBy, CreditNote, CreditNoteState, Receipt
from mosu.market.shapes import Key
from mosu.platform.actors import Actor
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.schemas import In, Out

router = Router(tags=["market"])
_Words = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


class CreditNoteIn(In):
    """What is given back of which receipt, and who bears it."""

    receipt_id: Key
    amount: Annotated[str, Field(max_length=30, pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]
    borne_by: BorneBy
    why: _Words


class RejectionIn(In):
    why: _Words


class CreditNoteOut(Out):
    id: str
    number: str | None
    """None until it is issued."""
    receipt_id: str
    organisation_id: str | None
    """The buyer; null for a supplier, who does not learn to whom the hub sells."""
    supplier_id: str
    amount: str
    currency: str
    borne_by: BorneBy
    why: str
    state: CreditNoteState
    proposed_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, note: CreditNote, *, actor: Actor) -> "CreditNoteOut":
        return cls(
            id=note.public_id,
            number=note.number,
            receipt_id=typeid(Receipt.prefix, note.receipt_id),
            organisation_id=typeid(Organisation.prefix, note.organisation_id)
            if actor.sees(note.organisation_id)
            else None,
            supplier_id=typeid(Organisation.prefix, note.supplier_id),
            amount=decimal_of(note.amount_micros, currency=note.currency),
            currency=note.currency,
            borne_by=BorneBy(note.borne_by),
            why=note.why,
            state=CreditNoteState(note.state),
            proposed_at=note.proposed_at,
            decided_at=note.decided_at,
        )


@router.get("/credit-notes", response=Listed[CreditNoteOut], auth=token_auth, operation_id="listCreditNotes")
@door("receipt.read")
def list_credit_notes(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    """Credit notes to the actor's organisations or on their sales, or all for the hub's people; newest first."""
    actor = actor_of(request)
    page, after = page_of(queries.credit_notes_visible_to(actor), paging.cursor, paging.limit)
    return {"items": [CreditNoteOut.of(one, actor=actor) for one in page], "next": after}


@router.get("/credit-notes/{note_id}", response=CreditNoteOut, auth=token_auth, operation_id="getCreditNote")
@door("receipt.read")
def get_credit_note(request: HttpRequest, note_id: str) -> CreditNoteOut:
    actor = actor_of(request)
    return CreditNoteOut.of(row_of(queries.credit_notes_visible_to(actor), note_id), actor=actor)


@router.post(
    "/credit-notes", response={201: CreditNoteOut}, auth=token_auth, operation_id="proposeCreditNote"
)
@door("credit.propose")
def propose_credit_note(request: HttpRequest, body: CreditNoteIn) -> Status[CreditNoteOut]:
    """A credit note that waits for its second person; no money moves yet."""
    note = services.propose_credit_note(
        actor=actor_of(request),
        receipt_id=Receipt.key_of(body.receipt_id),
        amount_micros=micros_of(body.amount),
        borne_by=body.borne_by,
        why=body.why,
        now=timezone.now(),
    )
    return Status(201, CreditNoteOut.of(note, actor=actor_of(request)))


@router.post(
    "/credit-notes/{note_id}/issue",
    response=CreditNoteOut,
    auth=token_auth,
    operation_id="issueCreditNote",
)
@door("credit.issue")
def issue_credit_note(request: HttpRequest, note_id: str) -> CreditNoteOut:
    """The second person's word: the money is on the buyer's balance. Repeating it changes nothing."""
    note = services.issue_credit_note(
        actor=actor_of(request), credit_note_id=CreditNote.key_of(note_id), now=timezone.now()
    )
    return CreditNoteOut.of(note, actor=actor_of(request))


@router.post(
    "/credit-notes/{note_id}/reject",
    response=CreditNoteOut,
    auth=token_auth,
    operation_id="rejectCreditNote",
)
@door("credit.issue")
def reject_credit_note(request: HttpRequest, note_id: str, body: RejectionIn) -> CreditNoteOut:
    """Refused for good by the second person. Repeating it changes nothing."""
    note = services.reject_credit_note(
        actor=actor_of(request), credit_note_id=CreditNote.key_of(note_id), why=body.why, now=timezone.now()
    )
    return CreditNoteOut.of(note, actor=actor_of(request))
