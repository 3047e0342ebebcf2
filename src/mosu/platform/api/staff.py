"""The hub's own people: letters to pass on, roles."""

from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.platform import queries, services
from mosu.platform.actors import HubRole
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    HubMembership,
    Mail,
    Organisation,
    User,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Bilingual, In, Out, WhyIn

router = Router(auth=token_auth, tags=["platform"])


class MailOut(Out):
    id: str
    email: str
    title: Bilingual
    created_at: datetime
    has_link: bool

    @staticmethod
    def of(mail: Mail) -> "MailOut":
        return MailOut(
            id=mail.public_id,
            email=mail.email,
            title=Bilingual(**mail.title),
            created_at=mail.created_at,
            has_link=mail.sealed_link is not None,
        )


class LinkOut(Out):
    link: str


@router.get("/mails", response=Listed[MailOut], operation_id="listWaitingMails")
@door("mail.read")
def list_waiting_mails(request: HttpRequest, paging: Query[Paging]) -> Listed[MailOut]:
    """Letters that did not go out: on a hub without a mail server the operator passes them on."""
    rows, after = page_of(queries.mail_waiting(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[MailOut.of(row) for row in rows], next=after)


@router.post("/mails/{mail_id}/link", response=LinkOut, operation_id="passOnMail")
@door("mail.pass_on")
def pass_on_mail(request: HttpRequest, mail_id: str) -> LinkOut:
    """The secret link of a waiting letter; that it was shown is recorded."""
    link = services.pass_on(actor=actor_of(request), mail_id=Mail.key_of(mail_id), now=timezone.now())
    return LinkOut(link=link)


class HubRoleIn(In):
    user_id: str
    role: HubRole


@router.post("/hub-roles", response={204: None}, operation_id="grantHubRole")
@door("hub.staff")
def grant_hub_role(request: HttpRequest, body: HubRoleIn) -> Status[None]:
    """Take another person into the hub's staff."""
    services.grant_hub_role(
        actor=actor_of(request), user_id=User.key_of(body.user_id), role=body.role, now=timezone.now()
    )
    return Status(204, None)


class StaffOut(Out):
    id: str
    user_id: str
    email: str
    role: HubRole
    since: datetime

    @staticmethod
    def of(membership: HubMembership) -> "StaffOut":
        return StaffOut(
            id=membership.public_id,
            user_id=membership.user.public_id,
            email=membership.user.email,
            role=HubRole(membership.role),
            since=membership.created_at,
        )


class NoticeIn(In):
    """A notice from the hub, in both languages; without `organisation_id` to the members of all organisations."""

    organisation_id: str | None = None
    title: Bilingual
    body: Bilingual


class ToldOut(Out):
    people: int


@router.get("/hub-roles", response=Listed[StaffOut], operation_id="listHubRoles")
@door("desk.read")
def list_hub_roles(request: HttpRequest, paging: Query[Paging]) -> Listed[StaffOut]:
    """The hub's own people."""
    rows, after = page_of(queries.staff_of_hub(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[StaffOut.of(row) for row in rows], next=after)


@router.post("/hub-roles/{hubmember_id}/revoke", response={204: None}, operation_id="revokeHubRole")
@door("hub.staff")
def revoke_hub_role(request: HttpRequest, hubmember_id: str, body: WhyIn) -> Status[None]:
    """Take a role in the hub's staff back."""
    services.revoke_hub_role(
        actor=actor_of(request),
        membership_id=HubMembership.key_of(hubmember_id),
        why=body.why,
        now=timezone.now(),
    )
    return Status(204, None)


@router.post("/hub-notices", response=ToldOut, operation_id="sendNotice")
@door("notice.send")
def send_notice(request: HttpRequest, body: NoticeIn) -> ToldOut:
    """Tell the members of an organisation, or of all."""
    people = services.send_notice(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id) if body.organisation_id else None,
        title=body.title.model_dump(),
        body=body.body.model_dump(),
        now=timezone.now(),
    )
    return ToldOut(people=people)
