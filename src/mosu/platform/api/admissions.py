"""Being admitted: asked for by an organisation, decided by the operator."""

from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router

from mosu.kernel.ids import typeid
from mosu.platform import queries, services
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Admission, AdmissionState, Capability, Organisation
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.schemas import Out, WhyIn

router = Router(auth=token_auth, tags=["platform"])


class AdmissionOut(Out):
    id: str
    organisation_id: str
    organisation_name: str
    capability: Capability
    note: str
    state: AdmissionState
    asked_at: datetime
    decided_at: datetime | None
    why: str
    """The reason of the answer."""

    @classmethod
    def of(cls, row: Admission) -> "AdmissionOut":
        return cls(
            id=row.public_id,
            organisation_id=typeid(Organisation.prefix, row.organisation_id),
            organisation_name=row.organisation.name,
            capability=Capability(row.capability),
            note=row.note,
            state=AdmissionState(row.state),
            asked_at=row.asked_at,
            decided_at=row.decided_at,
            why=row.why,
        )


@router.get("/admissions", response=Listed[AdmissionOut], operation_id="listAdmissions")
@door("organisation.read")
def list_admissions(request: HttpRequest, paging: Query[Paging]) -> Listed[AdmissionOut]:
    """What was asked to be admitted as, newest first."""
    rows, after = page_of(queries.admissions_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[AdmissionOut.of(row) for row in rows], next=after)


@router.post("/admissions/{admission_id}/admit", response=AdmissionOut, operation_id="admitAsked")
@door("organisation.admit")
def admit_asked(request: HttpRequest, admission_id: str, body: WhyIn) -> AdmissionOut:
    """Give what was asked for."""
    actor = actor_of(request)
    services.admit_asked(
        actor=actor, admission_id=Admission.key_of(admission_id), why=body.why, now=timezone.now()
    )
    return AdmissionOut.of(row_of(queries.admissions_visible_to(actor), admission_id))


@router.post("/admissions/{admission_id}/decline", response=AdmissionOut, operation_id="declineAdmission")
@door("organisation.admit")
def decline_admission(request: HttpRequest, admission_id: str, body: WhyIn) -> AdmissionOut:
    """Say no, with the reason."""
    return AdmissionOut.of(
        services.decline_admission(
            actor=actor_of(request),
            admission_id=Admission.key_of(admission_id),
            why=body.why,
            now=timezone.now(),
        )
    )


@router.post("/admissions/{admission_id}/withdraw", response=AdmissionOut, operation_id="withdrawAdmission")
@door("admission.ask")
def withdraw_admission(request: HttpRequest, admission_id: str, body: WhyIn) -> AdmissionOut:
    """Take back what nobody has decided."""
    return AdmissionOut.of(
        services.withdraw_admission(
            actor=actor_of(request),
            admission_id=Admission.key_of(admission_id),
            why=body.why,
            now=timezone.now(),
        )
    )
