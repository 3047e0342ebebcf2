"""Vouchers applied for: an organisation asks, one person of the hub decides."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import NotFound
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require
from mosu.store.documents import attach
from mosu.subsidies import queries
from mosu.subsidies.models import Application, Voucher
from mosu.subsidies.rules import (
    ApplicationState,
)
from mosu.subsidies.services.issuing import checked, issued, version_in_force
from mosu.subsidies.services.states import move, record_birth


@transaction.atomic(durable=True)
def apply_for_voucher(
    *,
    actor: Actor,
    organisation_id: UUID,
    programme_id: UUID,
    amount_micros: int,
    now: datetime,
    note: str = "",
    document_ids: Collection[UUID] = (),
) -> Application:
    """An application that the operator decides, with documents of the organisation.

    Raises:
        NotFound: the organisation has no such document.
        Ineligible: the organisation fails clauses of the programme.
        ProgrammeClosed: nothing is released, or the programme's time is over.
        Invalid: the amount is not positive, or not in whole minor units.
    """
    require(actor, "voucher.apply", organisation_id)
    version = version_in_force(programme_id)
    checked(version, organisation_id=organisation_id, amount_micros=amount_micros, now=now)
    application = Application.objects.create(
        organisation_id=organisation_id,
        version=version,
        amount_micros=amount_micros,
        note=note[:2000],
        applicant_id=person_of(actor),
        submitted_at=now,
    )
    record_birth(application, actor=actor, now=now)
    attach(
        actor=actor,
        organisation_id=organisation_id,
        document_ids=document_ids,
        subject_id=application.id,
        now=now,
    )
    return application


@transaction.atomic(durable=True)
def approve_application(*, actor: Actor, application_id: UUID, now: datetime) -> Voucher:
    """The voucher that the application asked for, issued; another person must release it.

    Raises:
        IllegalMove: the application was decided.
        Ineligible: what made the organisation eligible has lapsed.
        NotFound: no such application.
    """
    require(actor, "voucher.issue")
    application = _locked_application(application_id)
    voucher = issued(
        version=application.version,
        organisation_id=application.organisation_id,
        amount_micros=application.amount_micros,
        actor=actor,
        now=now,
    )
    move(
        application,
        to=ApplicationState.APPROVED,
        actor=actor,
        now=now,
        decided_by_id=actor.id,
        decided_at=now,
        voucher=voucher,
    )
    return voucher


@transaction.atomic(durable=True)
def reject_application(*, actor: Actor, application_id: UUID, why: str, now: datetime) -> Application:
    """The application, refused with a reason.

    Raises:
        IllegalMove: it was decided.
        NotFound: no such application.
    """
    require(actor, "voucher.issue")
    application = _locked_application(application_id)
    move(
        application,
        to=ApplicationState.REJECTED,
        actor=actor,
        now=now,
        why=why,
        decided_by_id=actor.id,
        decided_at=now,
    )
    return application


@transaction.atomic(durable=True)
def withdraw_application(*, actor: Actor, application_id: UUID, why: str, now: datetime) -> Application:
    """The application taken back by its organisation while nobody has decided it. Repeating it returns the same.

    Raises:
        IllegalMove: it was approved or rejected.
        NotFound: the actor's organisations have no such application.
    """
    seen = queries.applications_visible_to(actor).filter(id=application_id).first()
    if seen is None:
        raise _no_application()
    require(actor, "voucher.apply", seen.organisation_id)
    application = _locked_application(application_id)
    if application.state != ApplicationState.WITHDRAWN:
        move(application, to=ApplicationState.WITHDRAWN, actor=actor, now=now, why=why, decided_at=now)
    return application


def _locked_application(application_id: UUID) -> Application:
    application = (
        Application.objects.select_for_update(of=("self",), no_key=True)
        .select_related("version")
        .filter(id=application_id)
        .first()
    )
    if application is None:
        raise _no_application()
    return application


def _no_application() -> NotFound:
    return NotFound("There is no such application.", hint="See GET /api/v1/applications.")
