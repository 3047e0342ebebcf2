"""Vouchers: one's own, and issuing them."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.ids import typeid
from mosu.kernel.money import micros_of
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of, key_of, organisation_asked
from mosu.platform.rows import row_of
from mosu.platform.schemas import Bilingual, Id, In, Out, WhyIn
from mosu.subsidies import queries, services
from mosu.subsidies.api.shapes import ProgrammeRef, money_of, money_or_none
from mosu.subsidies.models import Programme, Voucher

router = Router(tags=["subsidies"], auth=token_auth)


class VoucherOut(Out):
    id: str
    organisation_id: str
    programme: ProgrammeRef
    kind: str
    state: str
    amount: str
    remaining: str
    held: str
    currency: str
    rate: str
    cap_per_order: str | None
    valid_from: datetime
    expires_at: datetime
    shelves: list[str]

    @classmethod
    def of(cls, voucher: Voucher) -> "VoucherOut":
        (shown,) = queries.vouchers_with_balances([voucher])
        return cls.shown(shown)

    @classmethod
    def shown(cls, balance: queries.VoucherBalance) -> "VoucherOut":
        voucher = balance.voucher
        version = voucher.version
        terms = queries.terms_of(version)
        return cls(
            id=voucher.public_id,
            organisation_id=typeid(Organisation.prefix, voucher.organisation_id),
            programme=ProgrammeRef(
                id=version.programme.public_id,
                title=Bilingual(zh=terms.title_zh, en=terms.title_en),
                version=version.number,
            ),
            kind=terms.kind.value,
            state=voucher.state,
            amount=money_of(voucher.amount_micros),
            remaining=money_of(balance.remaining_micros),
            held=money_of(balance.held_micros),
            currency=settings.HUB_CURRENCY,
            rate=terms.rate,
            cap_per_order=money_or_none(terms.cap_per_order_micros),
            valid_from=voucher.valid_from.astimezone(UTC),
            expires_at=voucher.expires_at.astimezone(UTC),
            shelves=list(terms.shelves),
        )


class VoucherIn(In):
    """`organisation_id`: for whom; when applying, the actor's own is meant if it is left out."""

    programme_id: Id
    organisation_id: Id | None = None
    amount: str = Field(max_length=30)


class BatchIn(In):
    """A list of vouchers to issue: CSV with the head `organisation,amount`; organisations by id or whole name."""

    programme_id: Id
    text: str = Field(max_length=300_000)
    source: str = Field("vouchers.csv", max_length=100, pattern=r"^[^\x00\n\r]+$")


@router.get("/vouchers", response=Listed[VoucherOut], operation_id="listVouchers")
@door("voucher.read")
def list_vouchers(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, further = page_of(queries.vouchers_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [VoucherOut.shown(one) for one in queries.vouchers_with_balances(rows)], "next": further}


@router.post("/vouchers", response={201: VoucherOut}, operation_id="issueVoucher")
@door("voucher.issue")
def issue_voucher(request: HttpRequest, body: VoucherIn) -> Status[VoucherOut]:
    """Repeating it with the same `Idempotency-Key` returns the first voucher."""
    actor = actor_of(request)
    voucher = services.issue_voucher(
        actor=actor,
        organisation_id=organisation_asked(actor, body.organisation_id),
        programme_id=Programme.key_of(body.programme_id),
        amount_micros=micros_of(body.amount),
        now=timezone.now(),
        idempotency_key=key_of(request),
    )
    return Status(201, VoucherOut.of(voucher))


@router.post("/vouchers/batch", response={201: list[VoucherOut]}, operation_id="issueVouchers")
@door("voucher.issue")
def issue_vouchers(request: HttpRequest, body: BatchIn) -> Status[list[VoucherOut]]:
    """A voucher for each line of a list, all or none. Repeating it with the same `Idempotency-Key` returns them."""
    vouchers = services.issue_vouchers(
        actor=actor_of(request),
        programme_id=Programme.key_of(body.programme_id),
        text=body.text,
        source=body.source,
        now=timezone.now(),
        idempotency_key=key_of(request),
    )
    return Status(201, [VoucherOut.shown(one) for one in queries.vouchers_with_balances(vouchers)])


@router.get("/vouchers/{voucher_id}", response=VoucherOut, operation_id="getVoucher")
@door("voucher.read")
def get_voucher(request: HttpRequest, voucher_id: str) -> VoucherOut:
    rows = queries.vouchers_visible_to(actor_of(request))
    return VoucherOut.of(row_of(rows, voucher_id))


@router.post("/vouchers/{voucher_id}/release", response=VoucherOut, operation_id="releaseVoucher")
@door("voucher.release")
def release_voucher(request: HttpRequest, voucher_id: str) -> VoucherOut:
    return VoucherOut.of(
        services.release_voucher(
            actor=actor_of(request), voucher_id=Voucher.key_of(voucher_id), now=timezone.now()
        )
    )


@router.post("/vouchers/{voucher_id}/revoke", response=VoucherOut, operation_id="revokeVoucher")
@door("voucher.issue")
def revoke_voucher(request: HttpRequest, voucher_id: str, body: WhyIn) -> VoucherOut:
    return VoucherOut.of(
        services.revoke_voucher(
            actor=actor_of(request), voucher_id=Voucher.key_of(voucher_id), why=body.why, now=timezone.now()
        )
    )
