"""What of the platform waits on whom."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from mosu.platform.actors import Actor
from mosu.platform.models import (
    Admission,
    AdmissionState,
    Capability,
    Fact,
    Finding,
    FindingState,
    Invitation,
    InvitationState,
    Mail,
    Organisation,
    OrganisationState,
)
from mosu.platform.policy import allows
from mosu.platform.queries import organisations_where
from mosu.platform.waiting import Turn, Waiting, arm, gathered

FACT_LAPSES_WITHIN: Final = timedelta(days=30)


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Admissions, facts, letters, findings, invitations; one query."""
    return gathered([*_of_operators(actor, now), *_of_auditors(actor), *_of_members(actor, now)])


def _of_operators(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    if not allows(actor, "organisation.admit"):
        return []
    asked = Admission.objects.filter(state=AdmissionState.ASKED, organisation__state=OrganisationState.ACTIVE)
    # Who asked for something stands there with what they asked, and not again once they have their answer.
    new = Organisation.objects.filter(capabilities=[], state=OrganisationState.ACTIVE).filter(
        ~Exists(Admission.objects.filter(organisation=OuterRef("pk")))
    )
    unverified = Fact.objects.filter(verified_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=now))
    letters = Mail.objects.filter(sent_at=None).exclude(sealed_link=None)
    findings = Finding.objects.filter(state=FindingState.OPEN).exclude(opened_by=actor.id)
    yours = Turn.YOURS
    return [
        arm(
            Organisation.objects.filter(capabilities__contains=[Capability.SUPPLIER.value]),
            kind="hub.supplier",
            turn=Turn.DONE,
            subject=F("id"),
        )[:1],
        arm(
            asked,
            kind="admission.decide",
            turn=yours,
            subject=F("organisation_id"),
            title=F("organisation__name"),
            who=F("asked_by__email"),
            since=F("asked_at"),
        ),
        arm(
            new,
            kind="organisation.admit",
            turn=yours,
            subject=F("id"),
            title=F("name"),
            since=F("created_at"),
        ),
        arm(
            # Null is nobody: a fact by rule. Who recorded it leaves it to another.
            unverified.filter(~Q(recorded_by=actor.id) | Q(recorded_by=None)),
            kind="fact.verify",
            turn=yours,
            subject=F("organisation_id"),
            title=F("name"),
            who=F("organisation__name"),
            since=F("recorded_at"),
            due=F("expires_at"),
        ),
        arm(
            unverified.filter(recorded_by=actor.id),
            kind="fact.verify_awaited",
            turn=Turn.OTHERS,
            subject=F("organisation_id"),
            title=F("name"),
            who=F("organisation__name"),
            since=F("recorded_at"),
            due=F("expires_at"),
        ),
        arm(
            letters,
            kind="mail.pass_on",
            turn=yours,
            subject=F("id"),
            title=F("email"),
            since=F("created_at"),
            order="-id",
        ),
        arm(
            findings,
            kind="finding.answer",
            turn=yours,
            subject=F("id"),
            title=F("title"),
            since=F("opened_at"),
            due=F("due_at"),
            order="due_at",
        ),
    ]


def _of_auditors(actor: Actor) -> list[QuerySet[Any, Any]]:
    if not allows(actor, "finding.open"):
        return []
    turns = (
        (FindingState.ANSWERED, "finding.close", Turn.YOURS),
        (FindingState.OPEN, "finding.awaited", Turn.OTHERS),
    )
    return [
        arm(
            Finding.objects.filter(state=state),
            kind=kind,
            turn=turn,
            subject=F("id"),
            title=F("title"),
            who=F("answered_by__email"),
            since=F("answered_at") if state is FindingState.ANSWERED else F("opened_at"),
            due=None if state is FindingState.ANSWERED else F("due_at"),
        )
        for state, kind, turn in turns
    ]


def _of_members(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    open_ones = Invitation.objects.filter(state=InvitationState.OPEN, expires_at__gt=now)
    found = [
        arm(
            open_ones.filter(email__iexact=actor.label),
            kind="invitation.accept",
            turn=Turn.YOURS,
            subject=F("id"),
            title=F("organisation__name"),
            who=F("invited_by__email"),
            since=F("created_at"),
            due=F("expires_at"),
        )
    ]
    managed = organisations_where(actor, "organisation.manage") & actor.organisation_ids
    if not managed:
        return found
    facts = Fact.objects.filter(organisation__in=managed)
    lapsing = facts.filter(expires_at__gt=now, expires_at__lte=now + FACT_LAPSES_WITHIN)
    return [
        *found,
        arm(
            Admission.objects.filter(organisation__in=managed, state=AdmissionState.ASKED),
            kind="admission.awaited",
            turn=Turn.OTHERS,
            subject=F("organisation_id"),
            title=F("organisation__name"),
            who=F("asked_by__email"),
            since=F("asked_at"),
        ),
        arm(
            lapsing.exclude(verified_at=None),
            kind="fact.renew",
            turn=Turn.YOURS,
            subject=F("organisation_id"),
            title=F("name"),
            who=F("organisation__name"),
            since=F("verified_at"),
            due=F("expires_at"),
        ),
        arm(
            facts.filter(verified_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=now)),
            kind="fact.awaited",
            turn=Turn.OTHERS,
            subject=F("organisation_id"),
            title=F("name"),
            who=F("organisation__name"),
            since=F("recorded_at"),
        ),
        arm(
            open_ones.filter(organisation__in=managed),
            kind="invitation.awaited",
            turn=Turn.OTHERS,
            subject=F("id"),
            title=F("email"),
            who=F("organisation__name"),
            since=F("created_at"),
            due=F("expires_at"),
        ),
    ]
