"""Members and invitations."""

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import StringConstraints

from mosu.kernel.ids import typeid
from mosu.platform import queries, services
from mosu.platform.actors import Role
from mosu.platform.api.shapes import Short, UserOut
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    Invitation,
    Membership,
    Organisation,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router = Router(auth=token_auth, tags=["platform"])


class MembershipOut(Out):
    id: str
    organisation_id: str
    user: UserOut
    role: Role
    created_at: datetime

    @staticmethod
    def of(membership: Membership) -> "MembershipOut":
        user = membership.user
        return MembershipOut(
            id=membership.public_id,
            organisation_id=typeid("org", membership.organisation_id),
            user=UserOut(id=user.public_id, email=user.email, name=user.name),
            role=Role(membership.role),
            created_at=membership.created_at,
        )


class RoleIn(In):
    role: Role


@router.get("/memberships", response=Listed[MembershipOut], operation_id="listMemberships")
@door("organisation.read")
def list_memberships(
    request: HttpRequest, paging: Query[Paging], organisation_id: str | None = None
) -> Listed[MembershipOut]:
    """Members of the caller's organisations, or of one of them."""
    rows = queries.memberships_visible_to(actor_of(request))
    if organisation_id:
        rows = rows.filter(organisation=Organisation.key_of(organisation_id))
    found, after = page_of(rows, paging.cursor, paging.limit)
    return Listed(items=[MembershipOut.of(row) for row in found], next=after)


@router.patch("/memberships/{membership_id}", response=MembershipOut, operation_id="changeMembership")
@door("organisation.manage")
def change_membership(request: HttpRequest, membership_id: str, body: RoleIn) -> MembershipOut:
    """Give a member another role."""
    membership = services.change_role(
        actor=actor_of(request),
        membership_id=Membership.key_of(membership_id),
        role=body.role,
        now=timezone.now(),
    )
    return MembershipOut.of(membership)


@router.delete("/memberships/{membership_id}", response={204: None}, operation_id="endMembership")
@door("self.change")
def end_membership(request: HttpRequest, membership_id: str) -> Status[None]:
    """End a membership: a manager another's, anyone their own."""
    services.remove_member(
        actor=actor_of(request), membership_id=Membership.key_of(membership_id), now=timezone.now()
    )
    return Status(204, None)


class InvitationIn(In):
    organisation_id: str
    email: Annotated[str, StringConstraints(max_length=254)]
    role: Role


class InvitationOut(Out):
    id: str
    organisation_id: str
    email: str
    role: Role
    state: str
    created_at: datetime
    expires_at: datetime

    @staticmethod
    def of(invitation: Invitation) -> "InvitationOut":
        return InvitationOut(**_invitation(invitation))


class InvitationMade(InvitationOut):
    link: str
    """For the invited person; shown this once."""
    mailed: bool


def _invitation(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.public_id,
        "organisation_id": typeid("org", invitation.organisation_id),
        "email": invitation.email,
        "role": invitation.role,
        "state": invitation.state,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }


@router.get("/invitations", response=Listed[InvitationOut], operation_id="listInvitations")
@door("invitation.read")
def list_invitations(request: HttpRequest, paging: Query[Paging]) -> Listed[InvitationOut]:
    """Invitations to the organisations that the caller manages."""
    rows, after = page_of(queries.invitations_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[InvitationOut.of(row) for row in rows], next=after)


@router.post("/invitations", response={201: InvitationMade}, operation_id="invite")
@door("organisation.manage")
def invite(request: HttpRequest, body: InvitationIn) -> Status[InvitationMade]:
    """Invite a person; the link is mailed, or the caller passes it on."""
    invitation, link = services.invite(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        email=body.email,
        role=body.role,
        now=timezone.now(),
    )
    return Status(201, InvitationMade(link=link, mailed=services.mail_goes_out(), **_invitation(invitation)))


class SecretIn(In):
    secret: Short


@router.post("/invitations/accept", response=MembershipOut, operation_id="acceptInvitation")
@door("self.change")
def accept_invitation(request: HttpRequest, body: SecretIn) -> MembershipOut:
    """Join by the last part of an invitation's link."""
    membership = services.accept_invitation(actor=actor_of(request), secret=body.secret, now=timezone.now())
    return MembershipOut.of(membership)


@router.delete("/invitations/{invitation_id}", response={204: None}, operation_id="revokeInvitation")
@door("organisation.manage")
def revoke_invitation(request: HttpRequest, invitation_id: str) -> Status[None]:
    """Make an open invitation void."""
    services.revoke_invitation(
        actor=actor_of(request), invitation_id=Invitation.key_of(invitation_id), now=timezone.now()
    )
    return Status(204, None)
