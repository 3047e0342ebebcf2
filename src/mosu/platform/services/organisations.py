"""Organisations: founding, admission, suspension, projects, facts."""

from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import check_move
from mosu.platform.actors import Actor, HubRole, Role
from mosu.platform.models import (
    Admission,
    Capability,
    Fact,
    Membership,
    Organisation,
    OrganisationKind,
    OrganisationState,
    Project,
    User,
)
from mosu.platform.policy import person_of, require
from mosu.platform.rules import FOUNDED_MAX, name_of, two_persons, words_of
from mosu.platform.services.admissions import WHY_MAX, answer_asked, asked_of
from mosu.platform.services.audit import record_audit
from mosu.platform.services.events import emit

PROJECT_DEFAULT: Final = "default"
MOVES: Final = MappingProxyType(
    {
        OrganisationState.ACTIVE: frozenset({OrganisationState.SUSPENDED, OrganisationState.CLOSED}),
        OrganisationState.SUSPENDED: frozenset({OrganisationState.ACTIVE, OrganisationState.CLOSED}),
    }
)


class NameTaken(DomainError):
    """Another one has this name; capital and small letters do not tell names apart."""

    code = "name_taken"


class TooManyOrganisations(DomainError):
    """One person may own only so many organisations without the operator: each gets a trial."""

    code = "too_many_organisations"


@transaction.atomic
def found_organisation(*, actor: Actor, name: str, kind: str, now: datetime) -> Organisation:
    """A new organisation whose owner is the actor, with a default project.

    Emits `platform.organisation_founded` with `founder_id`; who gives trials subscribes to it.

    Raises:
        NameTaken: another organisation has this name.
        Unauthenticated: the actor is no person.
        TooManyOrganisations: the actor already owns three; the hub's operators may own more.
        Invalid: not a name, or no such kind.
    """
    require(actor, "organisation.found")
    # The founder's row is the lock that keeps two requests from passing the limit together.
    founder = User.objects.select_for_update().get(id=person_of(actor))
    owned = Membership.objects.filter(user=founder, role=Role.OWNER).count()
    if owned >= FOUNDED_MAX and HubRole.OPERATOR not in actor.hub_roles:
        raise TooManyOrganisations(
            f"You own {owned} organisations.",
            hint="Ask the hub's operator for a further one.",
            owned=owned,
            allowed=FOUNDED_MAX,
        )
    return found_for(actor=actor, owner=founder, name=name, kind=kind, now=now)


def found_for(*, actor: Actor, owner: User, name: str, kind: str, now: datetime) -> Organisation:
    """The founding itself, asked by nobody's permission: for `found_organisation` and `bootstrap`."""
    if kind not in OrganisationKind.values:
        raise _unknown("kind", kind, OrganisationKind.values)
    organisation = Organisation(name=name_of(name), kind=kind, created_at=now)
    _insert_named(organisation)
    record_audit(
        actor=actor,
        action="organisation.found",
        subject_id=organisation.id,
        organisation_id=organisation.id,
        before=None,
        after=organisation.state,
        now=now,
    )
    membership = Membership.objects.create(
        organisation=organisation, user=owner, role=Role.OWNER, created_at=now
    )
    record_audit(
        actor=actor,
        action="membership.begin",
        subject_id=membership.id,
        organisation_id=organisation.id,
        before=None,
        after=Role.OWNER,
        now=now,
        facts={"user": owner.public_id},
    )
    Project.objects.create(organisation=organisation, name=PROJECT_DEFAULT, created_at=now)
    emit(
        name="platform.organisation_founded",
        subject_id=organisation.id,
        organisation_id=organisation.id,
        payload={"founder_id": str(owner.id), "kind": kind},
        now=now,
    )
    return organisation


@transaction.atomic
def admit(*, actor: Actor, organisation_id: UUID, capability: str, now: datetime, why: str = "") -> None:
    """Give an organisation a capability, such as to supply. Given twice, it is given once.

    Who asked for it is told; `why` is what they read.

    Raises:
        Invalid: there is no such capability.
        NotFound: there is no such organisation.
    """
    require(actor, "organisation.admit", organisation_id)
    if capability not in Capability.values:
        raise _unknown("capability", capability, Capability.values)
    organisation = _locked(organisation_id)
    if capability not in organisation.capabilities:
        _set_capabilities(organisation, {*organisation.capabilities, capability}, actor, why, now)
        emit(
            name="platform.organisation_admitted",
            subject_id=organisation.id,
            organisation_id=organisation.id,
            payload={"capability": capability},
            now=now,
        )
    answer_asked(organisation, capability, actor=actor, why=why, now=now)


@transaction.atomic(durable=True)
def admit_asked(*, actor: Actor, admission_id: UUID, why: str, now: datetime) -> Admission:
    """What an organisation asked to be admitted as, given; `why` is what it reads.

    Raises:
        IllegalMove: it was decided or withdrawn.
        Invalid: no reason.
        NotFound: nobody asked for this.
    """
    require(actor, "organisation.admit")
    why = words_of("why", why, WHY_MAX)
    admission = asked_of(admission_id)
    admit(
        actor=actor,
        organisation_id=admission.organisation_id,
        capability=admission.capability,
        why=why,
        now=now,
    )
    admission.refresh_from_db()
    return admission


@transaction.atomic
def dismiss(*, actor: Actor, organisation_id: UUID, capability: str, now: datetime, why: str) -> None:
    """Take a capability back; taken from one that lacks it, nothing changes.

    Raises:
        NotFound: there is no such organisation.
    """
    require(actor, "organisation.admit", organisation_id)
    organisation = _locked(organisation_id)
    if capability in organisation.capabilities:
        _set_capabilities(organisation, {*organisation.capabilities} - {capability}, actor, why, now)


def _set_capabilities(
    organisation: Organisation, capabilities: set[str], actor: Actor, why: str, now: datetime
) -> None:
    before = list(organisation.capabilities)
    organisation.capabilities = sorted(capabilities)
    organisation.save(update_fields=["capabilities"])
    record_audit(
        actor=actor,
        action="organisation.admit",
        subject_id=organisation.id,
        organisation_id=organisation.id,
        before=",".join(before),
        after=",".join(organisation.capabilities),
        why=why,
        now=now,
    )


@transaction.atomic(durable=True)
def move_organisation(
    *, actor: Actor, organisation_id: UUID, to: OrganisationState, why: str, now: datetime
) -> Organisation:
    """Suspend, resume or close an organisation. Roles in one that is not active count for nothing.

    Raises:
        IllegalMove: it is closed, or already so.
        NotFound: there is no such organisation.
    """
    require(actor, "organisation.admit", organisation_id)
    organisation = _locked(organisation_id)
    before = OrganisationState(organisation.state)
    check_move(MOVES, what=organisation.public_id, now=before, to=to)
    organisation.state = to
    organisation.save(update_fields=["state"])
    record_audit(
        actor=actor,
        action="organisation.move",
        subject_id=organisation.id,
        organisation_id=organisation.id,
        before=before,
        after=to,
        why=why,
        now=now,
    )
    return organisation


@transaction.atomic
def make_project(*, actor: Actor, organisation_id: UUID, name: str, now: datetime) -> Project:
    """A new project of the organisation.

    Raises:
        NameTaken: the organisation has one of this name.
        Invalid: not a name.
    """
    require(actor, "project.make", organisation_id)
    organisation = _locked(organisation_id)
    project = Project(organisation=organisation, name=name_of(name, characters_max=100), created_at=now)
    _insert_named(project)
    record_audit(
        actor=actor,
        action="project.make",
        subject_id=project.id,
        organisation_id=organisation_id,
        before=None,
        after=project.name,
        now=now,
    )
    return project


@transaction.atomic
def record_fact(
    *,
    actor: Actor,
    organisation_id: UUID,
    name: str,
    value: Any,
    source: str,
    now: datetime,
    expires_at: datetime | None = None,
) -> Fact:
    """Note something of an organisation, not yet verified. The newest of a name counts.

    Raises:
        Invalid: it has already expired.
        NotFound: there is no such organisation.
    """
    require(actor, "organisation.manage", organisation_id)
    if expires_at and expires_at <= now:
        raise Invalid(
            "expires_at: this has already expired.", hint="Record what holds now.", field="expires_at"
        )
    fact = Fact.objects.create(
        organisation=_locked(organisation_id),
        name=name,
        value=value,
        source=name_of(source, field="source"),
        recorded_by_id=actor.id,
        expires_at=expires_at,
        recorded_at=now,
    )
    record_audit(
        actor=actor,
        action="fact.record",
        subject_id=fact.id,
        organisation_id=organisation_id,
        before=None,
        after="recorded",
        now=now,
        facts={"name": name, "value": value},
    )
    return fact


@transaction.atomic(durable=True)
def verify_fact(*, actor: Actor, fact_id: UUID, now: datetime) -> Fact:
    """Note that the actor has checked a fact against its source. Verified twice, it is verified once.

    Raises:
        SamePerson: the actor recorded it.
        NotFound: there is no such fact.
    """
    require(actor, "fact.verify")
    fact = Fact.objects.select_for_update().filter(id=fact_id).first()
    if fact is None:
        raise NotFound("There is no such fact.", hint="See the organisation's facts.")
    if fact.verified_at:
        return fact
    if fact.recorded_by_id:
        two_persons(fact.recorded_by_id, actor.id)
    fact.verified_by_id, fact.verified_at = actor.id, now
    fact.save(update_fields=["verified_by", "verified_at"])
    record_audit(
        actor=actor,
        action="fact.verify",
        subject_id=fact.id,
        organisation_id=fact.organisation_id,
        before="recorded",
        after="verified",
        now=now,
        facts={"name": fact.name},
    )
    return fact


def _locked(organisation_id: UUID) -> Organisation:
    organisation = Organisation.objects.select_for_update().filter(id=organisation_id).first()
    if organisation is None:
        raise NotFound("There is no such organisation.", hint="See the list of organisations.")
    return organisation


def _insert_named(row: Organisation | Project) -> None:
    """Insert a row; that its name is unique, only the database knows without a race."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        if "_name_once" not in str(error):
            raise
        what = type(row).__name__.lower()
        raise NameTaken(
            f"Another {what} has the name {row.name}.", hint="Choose another name.", name=row.name
        ) from None


def _unknown(field: str, found: str, allowed: list[str]) -> Invalid:
    return Invalid(
        f"{field}: {found[:40]!r} is not known.",
        hint=f"Choose from: {', '.join(allowed)}.",
        field=field,
        found=found[:40],
        allowed=", ".join(allowed),
    )
