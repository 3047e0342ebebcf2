"""Asking for money back, and its payment."""

from datetime import datetime
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field, StringConstraints

from mosu.kernel.ids import typeid, uuid_of
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Id, In, Out, WhyIn
from mosu.subsidies import queries, services
from mosu.subsidies.api.shapes import money_of
from mosu.subsidies.models import Claim

router = Router(tags=["subsidies"], auth=token_auth)
ORDER_PREFIX = "order"


class ClaimIn(In):
    """`evidence`: sha256, in hex, of the receipt, the invoice, the delivery certificate."""

    order_id: Id
    evidence: list[Annotated[str, StringConstraints(max_length=64)]] = Field(max_length=20)


class ClaimOut(Out):
    id: str
    organisation_id: str
    order_id: str
    amount: str
    currency: str
    evidence: list[str]
    state: str
    submitted_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, claim: Claim) -> "ClaimOut":
        return cls(
            id=claim.public_id,
            organisation_id=typeid(Organisation.prefix, claim.organisation_id),
            order_id=typeid(ORDER_PREFIX, claim.order_id),
            amount=money_of(claim.amount_micros),
            currency=settings.HUB_CURRENCY,
            evidence=claim.evidence,
            state=claim.state,
            submitted_at=claim.submitted_at,
            decided_at=claim.decided_at,
        )


@router.get("/claims", response=Listed[ClaimOut], operation_id="listClaims")
@door("voucher.read")
def list_claims(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, further = page_of(queries.claims_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [ClaimOut.of(row) for row in rows], "next": further}


@router.post("/claims", response={201: ClaimOut}, operation_id="submitClaim")
@door("voucher.apply")
def submit_claim(request: HttpRequest, body: ClaimIn) -> Status[ClaimOut]:
    claim = services.submit_claim(
        actor=actor_of(request),
        order_id=uuid_of(ORDER_PREFIX, body.order_id),
        evidence=body.evidence,
        now=timezone.now(),
    )
    return Status(201, ClaimOut.of(claim))


@router.post("/claims/{claim_id}/approve", response=ClaimOut, operation_id="approveClaim")
@door("voucher.issue")
def approve_claim(request: HttpRequest, claim_id: str) -> ClaimOut:
    return ClaimOut.of(
        services.approve_claim(actor=actor_of(request), claim_id=Claim.key_of(claim_id), now=timezone.now())
    )


@router.post("/claims/{claim_id}/reject", response=ClaimOut, operation_id="rejectClaim")
@door("voucher.issue")
def reject_claim(request: HttpRequest, claim_id: str, body: WhyIn) -> ClaimOut:
    return ClaimOut.of(
        services.reject_claim(
            actor=actor_of(request), claim_id=Claim.key_of(claim_id), why=body.why, now=timezone.now()
        )
    )


@router.post("/claims/{claim_id}/disburse", response=ClaimOut, operation_id="disburseClaim")
@door("voucher.release")
def disburse_claim(request: HttpRequest, claim_id: str) -> ClaimOut:
    return ClaimOut.of(
        services.disburse_claim(actor=actor_of(request), claim_id=Claim.key_of(claim_id), now=timezone.now())
    )
