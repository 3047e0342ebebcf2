"""Asking for a voucher, and the answer."""

from datetime import datetime
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
from mosu.platform.requests import actor_of, organisation_asked
from mosu.platform.schemas import Bilingual, Id, Out, WhyIn
from mosu.store.models import Document
from mosu.subsidies import queries, services
from mosu.subsidies.api.shapes import ProgrammeRef, money_of
from mosu.subsidies.api.vouchers import VoucherIn, VoucherOut
from mosu.subsidies.models import Application, Programme, Voucher

router = Router(tags=["subsidies"], auth=token_auth)


class ApplicationIn(VoucherIn):
    note: str = Field("", max_length=2000, pattern=r"^[^\x00]*$")
    document_ids: list[Id] = Field(default_factory=list, max_length=20)


class ApplicationOut(Out):
    id: str
    organisation_id: str
    programme: ProgrammeRef
    amount: str
    currency: str
    note: str
    state: str
    voucher_id: str | None
    submitted_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, application: Application) -> "ApplicationOut":
        version = application.version
        return cls(
            id=application.public_id,
            organisation_id=typeid(Organisation.prefix, application.organisation_id),
            programme=ProgrammeRef(
                id=version.programme.public_id,
                title=Bilingual(zh=version.title_zh, en=version.title_en),
                version=version.number,
            ),
            amount=money_of(application.amount_micros),
            currency=settings.HUB_CURRENCY,
            note=application.note,
            state=application.state,
            voucher_id=typeid(Voucher.prefix, application.voucher_id) if application.voucher_id else None,
            submitted_at=application.submitted_at,
            decided_at=application.decided_at,
        )


@router.get("/applications", response=Listed[ApplicationOut], operation_id="listApplications")
@door("voucher.read")
def list_applications(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, further = page_of(queries.applications_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [ApplicationOut.of(row) for row in rows], "next": further}


@router.post("/applications", response={201: ApplicationOut}, operation_id="applyForVoucher")
@door("voucher.apply")
def apply_for_voucher(request: HttpRequest, body: ApplicationIn) -> Status[ApplicationOut]:
    actor = actor_of(request)
    application = services.apply_for_voucher(
        actor=actor,
        organisation_id=organisation_asked(actor, body.organisation_id),
        programme_id=Programme.key_of(body.programme_id),
        amount_micros=micros_of(body.amount),
        note=body.note,
        document_ids=[Document.key_of(one) for one in body.document_ids],
        now=timezone.now(),
    )
    return Status(201, ApplicationOut.of(application))


@router.post("/applications/{application_id}/approve", response=VoucherOut, operation_id="approveApplication")
@door("voucher.issue")
def approve_application(request: HttpRequest, application_id: str) -> VoucherOut:
    return VoucherOut.of(
        services.approve_application(
            actor=actor_of(request), application_id=Application.key_of(application_id), now=timezone.now()
        )
    )


@router.post(
    "/applications/{application_id}/reject", response=ApplicationOut, operation_id="rejectApplication"
)
@door("voucher.issue")
def reject_application(request: HttpRequest, application_id: str, body: WhyIn) -> ApplicationOut:
    return ApplicationOut.of(
        services.reject_application(
            actor=actor_of(request),
            application_id=Application.key_of(application_id),
            why=body.why,
            now=timezone.now(),
        )
    )


@router.post(
    "/applications/{application_id}/withdraw", response=ApplicationOut, operation_id="withdrawApplication"
)
@door("voucher.apply")
def withdraw_application(request: HttpRequest, application_id: str, body: WhyIn) -> ApplicationOut:
    """Take back an application that nobody has decided."""
    return ApplicationOut.of(
        services.withdraw_application(
            actor=actor_of(request),
            application_id=Application.key_of(application_id),
            why=body.why,
            now=timezone.now(),
        )
    )
