"""Admissions: an organisation asks for a capability, the operator admits it or says why not."""

from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import check_move
from mosu.platform.actors import Actor, ActorKind
from mosu.platform.models import Admission, AdmissionState, Capability, Organisation
from mosu.platform.policy import person_of, require
from mosu.platform.rules import words_of
from mosu.platform.services.audit import record_audit
from mosu.platform.services.notices import notify

NOTE_MAX: Final = 2000
WHY_MAX: Final = 1000
ASKED_FOR: Final = tuple(one for one in Capability if one is not Capability.OPERATOR)
"""What may be asked for: the hub itself is nobody's to ask for."""
MOVES: Final = MappingProxyType(
    {
        AdmissionState.ASKED: frozenset(
            {AdmissionState.ADMITTED, AdmissionState.DECLINED, AdmissionState.WITHDRAWN}
        )
    }
)


class AskedBefore(DomainError):
    """The organisation has this capability, or has asked for it and waits for the answer."""

    code = "asked_before"


@transaction.atomic
def ask_admission(
    *, actor: Actor, organisation_id: UUID, capability: str, note: str, now: datetime
) -> Admission:
    """The organisation's admission, asked for; the operator decides it. `note`: what it would bring.

    Raises:
        AskedBefore: it has the capability, or waits for the answer.
        Invalid: no such capability, or no note.
        NotFound: there is no such organisation.
    """
    require(actor, "admission.ask", organisation_id)
    if capability not in ASKED_FOR:
        allowed = ", ".join(ASKED_FOR)
        raise Invalid(
            "capability: this cannot be asked for.", hint=f"Choose from: {allowed}.", field="capability"
        )
    note = words_of("note", note, NOTE_MAX)
    # The organisation's row is the lock: two that ask at once come one after the other.
    organisation = Organisation.objects.select_for_update().filter(id=organisation_id).first()
    if organisation is None:
        raise NotFound("There is no such organisation.", hint="See the list of organisations.")
    waits = organisation.admissions.filter(capability=capability, state=AdmissionState.ASKED).exists()
    if waits or capability in organisation.capabilities:
        raise AskedBefore(
            "You have asked for this, and the operator has not decided yet."
            if waits
            else "You are admitted as this.",
            hint="See the organisation's page.",
            capability=capability,
        )
    admission = Admission.objects.create(
        organisation=organisation,
        capability=capability,
        note=note,
        asked_by_id=person_of(actor),
        asked_at=now,
    )
    _audit(admission, actor=actor, before=None, now=now)
    return admission


@transaction.atomic(durable=True)
def decline_admission(*, actor: Actor, admission_id: UUID, why: str, now: datetime) -> Admission:
    """The admission declined with a reason, which the organisation reads; it may ask again.

    Raises:
        IllegalMove: it was decided or withdrawn.
        Invalid: no reason.
        NotFound: there is no such admission.
    """
    require(actor, "organisation.admit")
    why = words_of("why", why, WHY_MAX)
    admission = _locked(admission_id)
    _decide(admission, to=AdmissionState.DECLINED, actor=actor, why=why, now=now)
    return admission


@transaction.atomic(durable=True)
def withdraw_admission(*, actor: Actor, admission_id: UUID, why: str, now: datetime) -> Admission:
    """The admission taken back by its organisation while nobody has decided it. Repeating it returns the same.

    Raises:
        IllegalMove: it was decided.
        NotFound: the actor's organisations have no such admission.
    """
    seen = Admission.objects.filter(id=admission_id, organisation__in=actor.organisation_ids).first()
    if seen is None:
        raise _none()
    require(actor, "admission.ask", seen.organisation_id)
    admission = _locked(admission_id)
    if admission.state != AdmissionState.WITHDRAWN:
        _move(admission, to=AdmissionState.WITHDRAWN, actor=actor, why=why, now=now)
    return admission


def answer_asked(
    organisation: Organisation, capability: str, *, actor: Actor, why: str, now: datetime
) -> None:
    """The admission as what is now given, answered; the caller holds the organisation's lock."""
    asked = organisation.admissions.select_for_update().filter(
        capability=capability, state=AdmissionState.ASKED
    )
    for admission in asked:
        _decide(admission, to=AdmissionState.ADMITTED, actor=actor, why=why, now=now)


def asked_of(admission_id: UUID) -> Admission:
    """The admission, not yet decided, under the locks of its organisation and of its own row.

    Raises:
        IllegalMove: it was decided or withdrawn.
        NotFound: there is no such admission.
    """
    seen = Admission.objects.filter(id=admission_id).first()
    if seen is not None:
        Organisation.objects.select_for_update().get(id=seen.organisation_id)
    admission = _locked(admission_id)
    before = AdmissionState(admission.state)
    check_move(MOVES, what=admission.public_id, now=before, to=AdmissionState.ADMITTED)
    return admission


def _decide(admission: Admission, *, to: AdmissionState, actor: Actor, why: str, now: datetime) -> None:
    admission.decided_by_id = actor.id if actor.kind is ActorKind.USER else None
    _move(admission, to=to, actor=actor, why=why, now=now)
    admitted = to is AdmissionState.ADMITTED
    notify(
        user_ids=[admission.asked_by_id],
        kind=f"admission.{to.value}",
        title={
            "zh": "入驻申请已通过" if admitted else "入驻申请未通过",
            "en": "Admitted" if admitted else "Admission declined",
        },
        body={"zh": why or "可以开始使用。", "en": why or "You can begin."},
        now=now,
        link="/organisation/",
        subject_id=admission.id,
        organisation_id=admission.organisation_id,
        mail=True,
    )


def _locked(admission_id: UUID) -> Admission:
    admission = Admission.objects.select_for_update().filter(id=admission_id).first()
    if admission is None:
        raise _none()
    return admission


def _none() -> NotFound:
    return NotFound("Nobody asked for this.", hint="See GET /api/v1/admissions.")


def _move(admission: Admission, *, to: AdmissionState, actor: Actor, why: str, now: datetime) -> None:
    """The only place that writes `Admission.state`; the caller holds the row lock."""
    before = AdmissionState(admission.state)
    check_move(MOVES, what=admission.public_id, now=before, to=to)
    admission.state, admission.decided_at, admission.why = to, now, why
    admission.save(update_fields=["state", "decided_at", "decided_by", "why"])
    _audit(admission, actor=actor, before=before, now=now)


def _audit(admission: Admission, *, actor: Actor, before: str | None, now: datetime) -> None:
    record_audit(
        actor=actor,
        action=f"admission.{admission.state}",
        subject_id=admission.id,
        organisation_id=admission.organisation_id,
        before=before,
        after=admission.state,
        why=admission.why,
        now=now,
        facts={"capability": admission.capability},
    )
