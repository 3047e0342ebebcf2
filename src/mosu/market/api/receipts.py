"""Receipts, the bills that sum them, and samples of orders for auditors."""

from datetime import datetime
from secrets import compare_digest
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from pydantic import Field

from mosu.kernel.refusals import Invalid, NotFound
from mosu.kernel.time import Period
from mosu.market import queries, services
from mosu.market.bills import bill_of, month_of, months_summed
from mosu.market.focus import Format, costs_of, file_of, version_of
from mosu.market.hub import hub_zone
from mosu.market.models import Receipt
from mosu.market.receipts import code_of
from mosu.market.shapes import AuditSampleOut, BillMonthOut, BillOut, BillsOut, ReceiptOut, VerifiedOut, Word
from mosu.platform.actors import Actor
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of

router = Router(tags=["market"])


@router.get("/receipts", response=Listed[ReceiptOut], auth=token_auth, operation_id="listReceipts")
@door("receipt.read")
def list_receipts(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    page, after = page_of(queries.receipts_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": ReceiptOut.all_of(page), "next": after}


@router.get("/receipts/{receipt_id}", response=ReceiptOut, auth=token_auth, operation_id="getReceipt")
@door("receipt.read")
def get_receipt(request: HttpRequest, receipt_id: str) -> ReceiptOut:
    receipt = one_of(queries.receipts_visible_to(actor_of(request)), Receipt.key_of(receipt_id))
    if receipt is None:
        raise NotFound("There is no such receipt.", hint="See GET /receipts.")
    return ReceiptOut.all_of([receipt])[0]


@router.get("/bills", response=BillsOut, auth=token_auth, operation_id="listBills")
@door("receipt.read")
def list_bills(request: HttpRequest, organisation_id: Word = "") -> BillsOut:
    """The organisation's bills by month, newest first."""
    actor = actor_of(request)
    months = months_summed(actor, billed(actor, organisation_id), zone=hub_zone())
    return BillsOut(items=[BillMonthOut.of(month) for month in months])


@router.get("/bills/{month}", response=BillOut, auth=token_auth, operation_id="getBill")
@door("receipt.read")
def get_bill(request: HttpRequest, month: str, organisation_id: Word = "") -> BillOut:
    """One month, such as 2026-11, in the hub's zone: its bill, frozen at the close; before, the sum so far."""
    actor = actor_of(request)
    organisation = billed(actor, organisation_id)
    return BillOut.of(bill_of(actor, organisation, month=month_of(month), zone=hub_zone()))


@router.get("/bills/{month}/focus", auth=token_auth, operation_id="exportCosts")
@door("receipt.read")
def export_costs(
    request: HttpRequest,
    month: str,
    organisation_id: Word = "",
    version: Word = "1.2",
    format: Format = "csv",
) -> StreamingHttpResponse:
    """The month's cost rows in FOCUS 1.2 or 1.4; vouchers and credit notes are negative, of category Credit."""
    actor, first, wanted = actor_of(request), month_of(month), version_of(version)
    rows = costs_of(actor, billed(actor, organisation_id), month=first, version=wanted)
    media_type, pieces = file_of(rows, wanted, format)
    answer = StreamingHttpResponse(pieces, content_type=media_type)
    answer["Content-Disposition"] = f'attachment; filename="focus-{wanted}-{first:%Y-%m}.{format}"'
    return answer


@router.get("/verify/{number}/{code}", response=VerifiedOut, auth=public_auth, operation_id="verifyReceipt")
@door("hub.look")
def verify_receipt(request: HttpRequest, number: str, code: str) -> VerifiedOut:
    """Check a receipt that somebody shows: its number and its code answer its hash and its totals, no more."""
    receipt = queries.receipt_numbered(number)
    if receipt is None or not compare_digest(code_of(receipt).encode(), code.encode()):
        raise NotFound(
            "No receipt has this number and this code.", hint="Compare both with the receipt as printed."
        )
    content = receipt.content
    return VerifiedOut(
        sha256=receipt.sha256,
        **{key: content[key] for key in VerifiedOut.model_fields if key in content},
    )


class SampleAsked(Schema):
    """`?seed=2026-Q1&from=2026-01-01T00:00:00Z&to=2026-04-01T00:00:00Z&count=25`."""

    seed: Word
    from_: datetime = Field(alias="from")
    to: datetime
    count: int = 25


@router.get("/samples", response=AuditSampleOut, auth=token_auth, operation_id="drawSample", by_alias=True)
@door("sample.draw")
def draw_sample(request: HttpRequest, asked: Annotated[SampleAsked, Query()]) -> AuditSampleOut:
    """Settled orders of a span, drawn at random by a seed. The drawing is on record; repeated, it answers the same."""
    if asked.from_.tzinfo is None or asked.to.tzinfo is None or asked.from_ > asked.to:
        raise Invalid(
            "from, to: not a span.", hint="Write instants with their zone, from before to.", field="from"
        )
    sample = services.draw_sample(
        actor=actor_of(request),
        seed=asked.seed,
        span=Period(asked.from_, asked.to),
        count=asked.count,
        now=timezone.now(),
    )
    return AuditSampleOut.of(sample)


def billed(actor: Actor, organisation_id: str) -> UUID:
    """Whose bill: the organisation that is named, else the one for which the actor speaks."""
    key = Organisation.key_of(organisation_id) if organisation_id else actor.organisation_id
    if key is None or not (actor.sees_all or key in actor.organisation_ids):
        raise NotFound("There is no such organisation.", hint="Name one of yours: see GET /me.")
    return key
