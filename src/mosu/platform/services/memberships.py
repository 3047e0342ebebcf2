"""Who belongs to an organisation: invitations, roles, leaving; and the hub's own staff."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor, HubRole, Role
from mosu.platform.models import (
    HubMembership,
    Invitation,
    InvitationState,
    Membership,
    Organisation,
    User,
)
from mosu.platform.policy import person_of, require
from mosu.platform.rules import two_persons
from mosu.platform.services.audit import record_audit
from mosu.platform.services.notices import post_mail

INVITATION_LASTS: Final = timedelta(days=14)


class LastOwner(DomainError):
    """An organisation keeps at least one owner."""

    code = "last_owner"


class LastOperator(DomainError):
    """The hub keeps at least one operator."""

    code = "last_operator"


class AlreadyMember(DomainError):
    """The person belongs to the organisation already."""

    code = "already_member"


class InvitationOver(DomainError):
    """The invitation has expired, was revoked or was accepted."""

    code = "invitation_over"


@transaction.atomic
def invite(
    *, actor: Actor, organisation_id: UUID, email: str, role: Role, now: datetime
) -> tuple[Invitation, str]:
    """An invitation and its link, which is shown to the inviter once and mailed where mail is configured.

    An earlier open invitation of the same person is revoked.

    Raises:
        AlreadyMember: the person belongs already.
        Forbidden: only an owner invites owners.
        Invalid: not an e-mail address.
    """
    require(actor, "organisation.manage", organisation_id)
    _require_owner_for(actor, organisation_id, role)
    email = email_of(email)
    organisation = _organisation_locked(organisation_id)
    if Membership.objects.filter(organisation=organisation, user__email__iexact=email).exists():
        raise AlreadyMember(f"{email} is a member already.", hint="Change the member's role instead.")
    earlier = Invitation.objects.filter(
        organisation=organisation, email__iexact=email, state=InvitationState.OPEN
    )
    for old in earlier.select_for_update():
        _close(old, to=InvitationState.REVOKED, actor=actor, now=now)
    secret = secrets.token_urlsafe(24)
    invitation = Invitation.objects.create(
        organisation=organisation,
        email=email,
        role=role,
        secret_sha256=_sha256(secret),
        invited_by_id=actor.id,
        created_at=now,
        expires_at=now + INVITATION_LASTS,
    )
    _audit(actor, "invitation.make", invitation, before=None, after=invitation.state, now=now)
    link = f"{settings.MOSU_URL}/invitations/{secret}"
    post_mail(
        email=email,
        title={"zh": f"{organisation.name} 邀请您加入", "en": f"{organisation.name} invites you"},
        body={
            "zh": f"{actor.label} 邀请您加入 {organisation.name}。请打开链接并登录或注册, 14 天内有效。",
            "en": f"{actor.label} invites you to join {organisation.name}. "
            "Open the link within 14 days, then sign in or sign up.",
        },
        secret_link=link,
        now=now,
    )
    return invitation, link


@transaction.atomic(durable=True)
def accept_invitation(*, actor: Actor, secret: str, now: datetime) -> Membership:
    """The membership that the invitation promised. Accepted again by the same person, it is the same one.

    Raises:
        NotFound: no invitation has this secret, or it is someone else's.
        InvitationOver: expired, revoked or accepted.
    """
    require(actor, "self.change")
    user_id = person_of(actor)
    invitation = (
        Invitation.objects.select_for_update()
        .filter(secret_sha256=_sha256(secret), email__iexact=actor.label)
        .first()
    )
    if invitation is None:
        raise NotFound(
            "There is no such invitation for your e-mail address.",
            hint="Sign in with the address that was invited.",
        )
    known = Membership.objects.filter(organisation=invitation.organisation_id, user=user_id).first()
    if known and invitation.state == InvitationState.ACCEPTED:
        return known
    if invitation.state != InvitationState.OPEN or invitation.expires_at <= now:
        raise InvitationOver("This invitation is over.", hint="Ask for a new one.", state=invitation.state)
    invitation.accepted_by_id = user_id
    _close(invitation, to=InvitationState.ACCEPTED, actor=actor, now=now)
    if known:
        return known
    membership = Membership.objects.create(
        organisation=invitation.organisation, user_id=user_id, role=invitation.role, created_at=now
    )
    _audit(actor, "membership.begin", membership, before=None, after=membership.role, now=now)
    return membership


@transaction.atomic(durable=True)
def revoke_invitation(*, actor: Actor, invitation_id: UUID, now: datetime) -> Invitation:
    """Make an open invitation void; revoked twice, it is revoked once.

    Raises:
        NotFound: the actor's organisations have no such invitation.
        InvitationOver: it was accepted.
    """
    invitation = Invitation.objects.select_for_update().filter(id=invitation_id).first()
    if invitation is None or not _may_know(actor, invitation.organisation_id):
        raise NotFound("There is no such invitation.", hint="See the organisation's invitations.")
    require(actor, "organisation.manage", invitation.organisation_id)
    if invitation.state == InvitationState.ACCEPTED:
        raise InvitationOver("This invitation was accepted.", hint="Remove the member instead.")
    if invitation.state == InvitationState.OPEN:
        _close(invitation, to=InvitationState.REVOKED, actor=actor, now=now)
    return invitation


@transaction.atomic(durable=True)
def change_role(*, actor: Actor, membership_id: UUID, role: Role, now: datetime) -> Membership:
    """Give a member another role.

    Raises:
        LastOwner: nobody else would own the organisation.
        Forbidden: only an owner makes or unmakes owners.
        NotFound: the actor's organisations have no such member.
    """
    membership = _membership_locked(actor, membership_id)
    require(actor, "organisation.manage", membership.organisation_id)
    _require_owner_for(actor, membership.organisation_id, role, Role(membership.role))
    before = membership.role
    if before == role:
        return membership
    _refuse_last_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    _audit(actor, "membership.change", membership, before=before, after=role, now=now)
    return membership


@transaction.atomic(durable=True)
def remove_member(*, actor: Actor, membership_id: UUID, now: datetime) -> None:
    """End a membership: a manager ends another's, anyone their own.

    Raises:
        LastOwner: nobody else would own the organisation.
        Forbidden: only an owner removes owners.
        NotFound: the actor's organisations have no such member.
    """
    membership = _membership_locked(actor, membership_id)
    if membership.user_id == actor.id:
        require(actor, "self.change")
    else:
        require(actor, "organisation.manage", membership.organisation_id)
        _require_owner_for(actor, membership.organisation_id, Role(membership.role))
    _refuse_last_owner(membership)
    _audit(actor, "membership.end", membership, before=membership.role, after=None, now=now)
    membership.delete()


@transaction.atomic
def grant_hub_role(*, actor: Actor, user_id: UUID, role: HubRole, now: datetime) -> HubMembership:
    """Take a person into the hub's staff. Granted twice, it is granted once.

    Raises:
        SamePerson: nobody grants a role to themselves.
        NotFound: there is no such user.
    """
    require(actor, "hub.staff")
    if actor.id is not None:
        two_persons(actor.id, user_id)
    user = User.objects.select_for_update().filter(id=user_id).first()
    if user is None:
        raise NotFound("There is no such user.", hint="The person signs up first.")
    membership, fresh = HubMembership.objects.get_or_create(
        user=user, role=role, defaults={"created_at": now}
    )
    if fresh:
        record_audit(
            actor=actor,
            action="hub.staff",
            subject_id=membership.id,
            before=None,
            after=role,
            now=now,
            facts={"user": user.public_id},
        )
    return membership


@transaction.atomic
def revoke_hub_role(*, actor: Actor, membership_id: UUID, why: str, now: datetime) -> None:
    """Take a role in the hub's staff back; what the person did stays on record.

    Raises:
        SamePerson: nobody takes a role from themselves: the hub could be left without anybody by mistake.
        LastOperator: nobody else would operate the hub.
        Invalid: no reason was given.
        NotFound: there is no such role.
    """
    require(actor, "hub.staff")
    if not why.strip():
        raise Invalid("why: a reason is needed.", hint="Say why the role ends.", field="why")
    # All operators' rows: two revocations at once leave one behind the other.
    operators = HubMembership.objects.select_for_update().filter(role=HubRole.OPERATOR, user__is_active=True)
    others = [one.id for one in operators.order_by("id") if one.id != membership_id]
    membership = HubMembership.objects.select_for_update().filter(id=membership_id).first()
    if membership is None:
        raise NotFound("There is no such role.", hint="See the hub's staff.")
    two_persons(membership.user_id, actor.id)
    if membership.role == HubRole.OPERATOR and not others:
        raise LastOperator("This is the last operator.", hint="Make another person an operator first.")
    record_audit(
        actor=actor,
        action="hub.staff",
        subject_id=membership.id,
        before=membership.role,
        after=None,
        why=why.strip(),
        now=now,
        facts={"user": typeid(User.prefix, membership.user_id)},
    )
    membership.delete()


def _close(invitation: Invitation, *, to: InvitationState, actor: Actor, now: datetime) -> None:
    """The only place that writes `Invitation.state`; the caller holds the row's lock."""
    before = invitation.state
    invitation.state = to
    invitation.save(update_fields=["state", "accepted_by"])
    _audit(actor, "invitation.close", invitation, before=before, after=to, now=now)


def _membership_locked(actor: Actor, membership_id: UUID) -> Membership:
    """The membership, after its organisation was locked: two owners leaving at once leave one behind the other."""
    found = Membership.objects.filter(id=membership_id).values_list("organisation_id", flat=True).first()
    if found is not None and _may_know(actor, found):
        _organisation_locked(found)
        membership = Membership.objects.select_for_update().filter(id=membership_id).first()
        if membership is not None:
            return membership
    raise NotFound("There is no such member.", hint="See the organisation's members.")


def _refuse_last_owner(membership: Membership) -> None:
    if membership.role != Role.OWNER:
        return
    others = Membership.objects.filter(
        organisation=membership.organisation_id, role=Role.OWNER, user__is_active=True
    ).exclude(id=membership.id)
    if not others.exists():
        raise LastOwner("This is the last owner.", hint="Make another member an owner first.")


def _require_owner_for(actor: Actor, organisation_id: UUID, *roles: Role) -> None:
    """Only an owner (or the operator) touches owners: an admin could otherwise take the organisation."""
    if Role.OWNER in roles and not (
        actor.roles.get(organisation_id) is Role.OWNER or HubRole.OPERATOR in actor.hub_roles
    ):
        raise Forbidden("Only an owner may do this with an owner.", hint="Ask an owner.")


def _organisation_locked(organisation_id: UUID) -> Organisation:
    organisation = Organisation.objects.select_for_update().filter(id=organisation_id).first()
    if organisation is None:
        raise NotFound("There is no such organisation.", hint="See the list of organisations.")
    return organisation


def _may_know(actor: Actor, organisation_id: UUID) -> bool:
    return actor.sees_all or organisation_id in actor.roles


def email_of(text: str) -> str:
    """`text` as e-mail addresses are kept: in small letters, all of them ASCII.

    Other letters make two addresses look alike, or become one in capitals, as the Turkish dotless i does. A domain
    in other letters has its ASCII form (xn--...).

    Raises:
        Invalid: not an e-mail address.
    """
    email = text.strip().lower()
    try:
        if not text.isascii():  # asked of what came: in small letters the Kelvin sign is a k
            raise ValidationError("")
        validate_email(email)
    except ValidationError:
        raise Invalid(
            "email: this is not an e-mail address.",
            hint="Write it as name@example.org.",
            field="email",
            found=email[:60],
        ) from None
    return email


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _audit(
    actor: Actor,
    action: str,
    subject: Invitation | Membership,
    *,
    before: str | None,
    after: str | None,
    now: datetime,
) -> None:
    who = {"email": subject.email} if isinstance(subject, Invitation) else {"user": str(subject.user_id)}
    record_audit(
        actor=actor,
        action=action,
        subject_id=subject.id,
        organisation_id=subject.organisation_id,
        before=before,
        after=after,
        now=now,
        facts={**who, "role": subject.role},
    )
