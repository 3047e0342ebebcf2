"""The platform's operations: signing in by token, organisations and their people, notices, audit."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import AwareDatetime, Field, StringConstraints

from mosu.kernel.ids import typeid, uuid_of
from mosu.platform import queries, services
from mosu.platform.actors import HubRole, Role, Scope
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    ApiToken,
    AuditRecord,
    Capability,
    Fact,
    Finding,
    FindingState,
    Invitation,
    Mail,
    Membership,
    Notice,
    Organisation,
    OrganisationKind,
    OrganisationState,
    Project,
    User,
)
from mosu.platform.policy import person_of
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.schemas import In, Out

router = Router(auth=token_auth, tags=["platform"])
routers = [("", router)]

Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Text = Annotated[str, StringConstraints(max_length=2000)]


class Both(Out):
    """A text in both languages."""

    zh: str
    en: str


class TokenIn(In):
    email: Annotated[str, StringConstraints(max_length=254)]
    password: Password
    otp: Annotated[str, StringConstraints(max_length=20)] = ""
    name: Short
    scopes: list[Scope] = list(services.SCOPES_DEFAULT)
    organisation_id: str | None = None
    expires_at: AwareDatetime | None = None


class TokenOut(Out):
    id: str
    name: str
    scopes: list[Scope]
    organisation_id: str | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None

    @staticmethod
    def of(token: ApiToken) -> "TokenOut":
        return TokenOut(**_token(token))


class TokenMade(TokenOut):
    token: str
    """Shown this once."""


def _token(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.public_id,
        "name": token.name,
        "scopes": token.scopes,
        "organisation_id": typeid("org", token.organisation_id) if token.organisation_id else None,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


@router.post("/tokens", response={201: TokenMade}, auth=public_auth, operation_id="createToken")
@door("hub.enter")
def create_token(request: HttpRequest, body: TokenIn) -> Status[TokenMade]:
    """A token for e-mail address and password, and the code where the account asks for one."""
    token, secret = services.token_by_password(
        email=body.email,
        password=body.password,
        otp=body.otp,
        name=body.name,
        scopes=body.scopes,
        organisation_id=Organisation.key_of(body.organisation_id) if body.organisation_id else None,
        expires_at=body.expires_at,
        address=request.META.get("REMOTE_ADDR", ""),
        now=timezone.now(),
    )
    return Status(201, TokenMade(token=secret, **_token(token)))


@router.get("/tokens", response=Listed[TokenOut], operation_id="listTokens")
@door("self.read")
def list_tokens(request: HttpRequest, paging: Query[Paging]) -> Listed[TokenOut]:
    """The caller's tokens that are not revoked."""
    rows, after = page_of(queries.tokens_of(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[TokenOut.of(row) for row in rows], next=after)


@router.delete("/tokens/{token_id}", response={204: None}, operation_id="revokeToken")
@door("self.change")
def revoke_token(request: HttpRequest, token_id: str) -> Status[None]:
    """Make one of the caller's tokens void."""
    services.revoke_token(actor=actor_of(request), token_id=ApiToken.key_of(token_id), now=timezone.now())
    return Status(204, None)


class UserOut(Out):
    id: str
    email: str
    name: str


class OrganisationOut(Out):
    id: str
    name: str
    kind: OrganisationKind
    capabilities: list[Capability]
    state: OrganisationState
    created_at: datetime

    @staticmethod
    def of(organisation: Organisation) -> "OrganisationOut":
        return OrganisationOut(
            id=organisation.public_id,
            name=organisation.name,
            kind=OrganisationKind(organisation.kind),
            capabilities=[Capability(one) for one in organisation.capabilities],
            state=OrganisationState(organisation.state),
            created_at=organisation.created_at,
        )


class OwnOrganisation(Out):
    id: str
    name: str
    role: Role


class MeOut(Out):
    user: UserOut
    organisation: OrganisationOut | None
    """On whose behalf the token speaks."""
    organisations: list[OwnOrganisation]
    hub_roles: list[HubRole]
    scopes: list[Scope]
    currency: str
    zone: str


@router.get("/me", response=MeOut, operation_id="getMe")
@door("self.read")
def get_me(request: HttpRequest) -> MeOut:
    """Who the token speaks for, and what it may do."""
    actor = actor_of(request)
    user = User.objects.get(id=person_of(actor))
    own = list(Organisation.objects.filter(id__in=actor.organisation_ids).order_by("name", "id"))
    chosen = next((one for one in own if one.id == actor.organisation_id), None)
    return MeOut(
        user=UserOut(id=user.public_id, email=user.email, name=user.name),
        organisation=OrganisationOut.of(chosen) if chosen else None,
        organisations=[
            OwnOrganisation(id=one.public_id, name=one.name, role=actor.roles[one.id]) for one in own
        ],
        hub_roles=sorted(actor.hub_roles),
        scopes=[scope for scope in Scope if scope in actor.scopes],
        currency=settings.HUB_CURRENCY,
        zone=settings.HUB_ZONE,
    )


class OrganisationIn(In):
    name: Short
    kind: OrganisationKind = OrganisationKind.COMPANY


@router.get("/organisations", response=Listed[OrganisationOut], operation_id="listOrganisations")
@door("organisation.read")
def list_organisations(request: HttpRequest, paging: Query[Paging]) -> Listed[OrganisationOut]:
    """The caller's organisations, by name."""
    rows, after = page_of(queries.organisations_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[OrganisationOut.of(row) for row in rows], next=after)


@router.post("/organisations", response={201: OrganisationOut}, operation_id="foundOrganisation")
@door("organisation.found")
def found_organisation(request: HttpRequest, body: OrganisationIn) -> Status[OrganisationOut]:
    """A new organisation, which the caller owns."""
    organisation = services.found_organisation(
        actor=actor_of(request), name=body.name, kind=body.kind, now=timezone.now()
    )
    return Status(201, OrganisationOut.of(organisation))


@router.get("/organisations/{organisation_id}", response=OrganisationOut, operation_id="getOrganisation")
@door("organisation.read")
def get_organisation(request: HttpRequest, organisation_id: str) -> OrganisationOut:
    """One of the caller's organisations."""
    return OrganisationOut.of(row_of(queries.organisations_visible_to(actor_of(request)), organisation_id))


class CapabilityIn(In):
    capability: Capability
    why: Text = ""


@router.post(
    "/organisations/{organisation_id}/capabilities",
    response=OrganisationOut,
    operation_id="admitOrganisation",
)
@door("organisation.admit")
def admit_organisation(request: HttpRequest, organisation_id: str, body: CapabilityIn) -> OrganisationOut:
    """Give an organisation a capability."""
    actor = actor_of(request)
    services.admit(
        actor=actor,
        organisation_id=Organisation.key_of(organisation_id),
        capability=body.capability,
        why=body.why,
        now=timezone.now(),
    )
    return OrganisationOut.of(row_of(queries.organisations_visible_to(actor), organisation_id))


class StateIn(In):
    state: OrganisationState
    why: Short


@router.post(
    "/organisations/{organisation_id}/state", response=OrganisationOut, operation_id="moveOrganisation"
)
@door("organisation.admit")
def move_organisation(request: HttpRequest, organisation_id: str, body: StateIn) -> OrganisationOut:
    """Suspend, resume or close an organisation."""
    organisation = services.move_organisation(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(organisation_id),
        to=body.state,
        why=body.why,
        now=timezone.now(),
    )
    return OrganisationOut.of(organisation)


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


class ProjectIn(In):
    organisation_id: str
    name: Short


class ProjectOut(Out):
    id: str
    organisation_id: str
    name: str
    created_at: datetime

    @staticmethod
    def of(project: Project) -> "ProjectOut":
        return ProjectOut(
            id=project.public_id,
            organisation_id=typeid("org", project.organisation_id),
            name=project.name,
            created_at=project.created_at,
        )


@router.get("/projects", response=Listed[ProjectOut], operation_id="listProjects")
@door("organisation.read")
def list_projects(request: HttpRequest, paging: Query[Paging]) -> Listed[ProjectOut]:
    """Projects of the caller's organisations."""
    rows, after = page_of(queries.projects_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[ProjectOut.of(row) for row in rows], next=after)


@router.post("/projects", response={201: ProjectOut}, operation_id="createProject")
@door("project.make")
def create_project(request: HttpRequest, body: ProjectIn) -> Status[ProjectOut]:
    """A new project of one of the caller's organisations."""
    project = services.make_project(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        name=body.name,
        now=timezone.now(),
    )
    return Status(201, ProjectOut.of(project))


FactValue = bool | int | Text | Annotated[list[Text], Field(max_length=100)]


class FactIn(In):
    organisation_id: str
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
    value: FactValue
    source: Short
    expires_at: AwareDatetime | None = None


class FactOut(Out):
    id: str
    organisation_id: str
    name: str
    value: Any
    source: str
    recorded_at: datetime
    verified_at: datetime | None
    verified_by: str | None
    expires_at: datetime | None

    @staticmethod
    def of(fact: Fact) -> "FactOut":
        return FactOut(
            id=fact.public_id,
            organisation_id=typeid("org", fact.organisation_id),
            name=fact.name,
            value=fact.value,
            source=fact.source,
            recorded_at=fact.recorded_at,
            verified_at=fact.verified_at,
            verified_by=typeid("user", fact.verified_by_id) if fact.verified_by_id else None,
            expires_at=fact.expires_at,
        )


@router.get("/facts", response=Listed[FactOut], operation_id="listFacts")
@door("organisation.read")
def list_facts(request: HttpRequest, paging: Query[Paging]) -> Listed[FactOut]:
    """What is known of the caller's organisations, newest first."""
    rows, after = page_of(queries.facts_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[FactOut.of(row) for row in rows], next=after)


@router.post("/facts", response={201: FactOut}, operation_id="recordFact")
@door("organisation.manage")
def record_fact(request: HttpRequest, body: FactIn) -> Status[FactOut]:
    """Note something of an organisation; it counts once the hub has verified it."""
    fact = services.record_fact(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        name=body.name,
        value=body.value,
        source=body.source,
        expires_at=body.expires_at,
        now=timezone.now(),
    )
    return Status(201, FactOut.of(fact))


@router.post("/facts/{fact_id}/verify", response=FactOut, operation_id="verifyFact")
@door("fact.verify")
def verify_fact(request: HttpRequest, fact_id: str) -> FactOut:
    """Note that the caller has checked a fact that someone else recorded."""
    fact = services.verify_fact(actor=actor_of(request), fact_id=Fact.key_of(fact_id), now=timezone.now())
    return FactOut.of(fact)


class NoticeOut(Out):
    id: str
    kind: str
    title: Both
    body: Both
    link: str
    created_at: datetime
    read_at: datetime | None

    @staticmethod
    def of(notice: Notice) -> "NoticeOut":
        return NoticeOut(
            id=notice.public_id,
            kind=notice.kind,
            title=Both(**notice.title),
            body=Both(**notice.body),
            link=notice.link,
            created_at=notice.created_at,
            read_at=notice.read_at,
        )


@router.get("/notices", response=Listed[NoticeOut], operation_id="listNotices")
@door("self.read")
def list_notices(request: HttpRequest, paging: Query[Paging]) -> Listed[NoticeOut]:
    """The caller's inbox, newest first."""
    rows, after = page_of(queries.notices_of(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[NoticeOut.of(row) for row in rows], next=after)


@router.post("/notices/{notice_id}/read", response=NoticeOut, operation_id="readNotice")
@door("self.read")
def read_notice(request: HttpRequest, notice_id: str) -> NoticeOut:
    """Mark a notice as read."""
    notice = services.read_notice(
        actor=actor_of(request), notice_id=Notice.key_of(notice_id), now=timezone.now()
    )
    return NoticeOut.of(notice)


class AuditOut(Out):
    id: str
    at: datetime
    actor_kind: str
    actor: str
    action: str
    organisation_id: str | None
    subject: UUID
    """The key of what changed, without its type."""
    before: str | None
    after: str | None
    why: str
    facts: dict[str, Any]

    @staticmethod
    def of(record: AuditRecord) -> "AuditOut":
        return AuditOut(
            id=record.public_id,
            at=record.at,
            actor_kind=record.actor_kind,
            actor=record.actor_label,
            action=record.action,
            organisation_id=typeid("org", record.organisation_id) if record.organisation_id else None,
            subject=record.subject_id,
            before=record.before,
            after=record.after,
            why=record.why,
            facts=record.facts,
        )


@router.get("/audit", response=Listed[AuditOut], operation_id="listAudit")
@door("audit.read")
def list_audit(
    request: HttpRequest,
    paging: Query[Paging],
    subject_id: str | None = None,
    organisation_id: str | None = None,
) -> Listed[AuditOut]:
    """Who did what, newest first; of one thing by its id, whatever its type."""
    rows = queries.audit_visible_to(actor_of(request))
    if subject_id:
        rows = rows.filter(subject_id=uuid_of(subject_id.rpartition("_")[0], subject_id))
    if organisation_id:
        rows = rows.filter(organisation_id=Organisation.key_of(organisation_id))
    found, after = page_of(rows, paging.cursor, paging.limit)
    return Listed(items=[AuditOut.of(row) for row in found], next=after)


class MailOut(Out):
    id: str
    email: str
    title: Both
    created_at: datetime
    has_link: bool

    @staticmethod
    def of(mail: Mail) -> "MailOut":
        return MailOut(
            id=mail.public_id,
            email=mail.email,
            title=Both(**mail.title),
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


class FindingIn(In):
    subject: Short
    """The public id of what it is about."""
    title: Short
    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class WordsIn(In):
    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class FindingOut(Out):
    id: str
    subject: str
    title: str
    text: str
    answer: str
    state: FindingState
    opened_by: str
    opened_at: datetime
    due_at: datetime
    answered_by: str | None
    answered_at: datetime | None
    closed_at: datetime | None

    @classmethod
    def of(cls, finding: Finding) -> "FindingOut":
        return cls(
            id=finding.public_id,
            subject=finding.subject,
            title=finding.title,
            text=finding.text,
            answer=finding.answer,
            state=FindingState(finding.state),
            opened_by=finding.opened_by.email,
            opened_at=finding.opened_at,
            due_at=finding.due_at,
            answered_by=finding.answered_by.email if finding.answered_by else None,
            answered_at=finding.answered_at,
            closed_at=finding.closed_at,
        )


@router.get("/findings", response=Listed[FindingOut], operation_id="listFindings")
@door("finding.read")
def list_findings(request: HttpRequest, paging: Query[Paging]) -> Listed[FindingOut]:
    rows, after = page_of(queries.findings_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[FindingOut.of(row) for row in rows], next=after)


@router.post("/findings", response={201: FindingOut}, operation_id="openFinding")
@door("finding.open")
def open_finding(request: HttpRequest, body: FindingIn) -> Status[FindingOut]:
    finding = services.open_finding(
        actor=actor_of(request), subject=body.subject, title=body.title, text=body.text, now=timezone.now()
    )
    return Status(201, FindingOut.of(finding))


@router.post("/findings/{finding_id}/answer", response=FindingOut, operation_id="answerFinding")
@door("finding.answer")
def answer_finding(request: HttpRequest, finding_id: str, body: WordsIn) -> FindingOut:
    return FindingOut.of(
        services.answer_finding(
            actor=actor_of(request),
            finding_id=Finding.key_of(finding_id),
            answer=body.text,
            now=timezone.now(),
        )
    )


@router.post("/findings/{finding_id}/close", response=FindingOut, operation_id="closeFinding")
@door("finding.open")
def close_finding(request: HttpRequest, finding_id: str, body: WordsIn) -> FindingOut:
    return FindingOut.of(
        services.close_finding(
            actor=actor_of(request), finding_id=Finding.key_of(finding_id), why=body.text, now=timezone.now()
        )
    )


@router.post("/findings/{finding_id}/reopen", response=FindingOut, operation_id="reopenFinding")
@door("finding.open")
def reopen_finding(request: HttpRequest, finding_id: str, body: WordsIn) -> FindingOut:
    return FindingOut.of(
        services.reopen_finding(
            actor=actor_of(request), finding_id=Finding.key_of(finding_id), why=body.text, now=timezone.now()
        )
    )
