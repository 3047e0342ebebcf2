"""Sharing a session: its orderer lets another member in, and sends them out again."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.guests import may_share
from mosu.compute.models import Guest, Run
from mosu.compute.moves import notify_run
from mosu.compute.queries import run_visible_to
from mosu.compute.services.connections import ACTION, NotASession, NotRunning
from mosu.compute.states import is_ended
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Membership
from mosu.platform.policy import POLICY, require
from mosu.platform.rows import insert
from mosu.platform.services import notify, record_audit

GUESTS_MAX: Final = 20


class TooManyGuests(DomainError):
    """The session is shared with so many already."""

    code = "too_many_guests"


@transaction.atomic(durable=True)
def share_run(*, actor: Actor, run_id: UUID, email: str, now: datetime) -> Guest:
    """Let a member of the organisation be joined to the session, as its orderer is. Repeating it changes nothing.

    Raises:
        NotFound: there is no such run, or no such member.
        Forbidden: the actor neither ordered it nor is an owner or admin of its organisation.
        Invalid: the member may not run things, so they may be joined to nothing; or it is theirs.
        NotASession: the run is of another kind; NotRunning: it has ended.
        TooManyGuests: there are as many as there may be.
    """
    run = _own(actor, run_id)
    if run.request.get("kind") != "session":
        raise NotASession(
            "Only a session is shared.",
            hint="A service is reached by whoever may run things in the organisation.",
        )
    if is_ended(run.state):
        raise NotRunning(f"This session is {run.state}, not running.", hint="See how it stands: mosu runs.")
    member = _member(run, email)
    if member.role not in POLICY[ACTION].roles:
        raise Invalid(
            f"{member.user.email} may not run things in this organisation.",
            hint="Let an owner make them a developer first.",
            field="email",
        )
    if member.user_id == run.order.placed_by:
        raise Invalid(
            f"{member.user.email} ordered it: it is theirs.", hint="Name another member.", field="email"
        )
    found = Guest.objects.filter(run=run, member=member).select_related("member__user").first()
    if found is not None:
        return found
    if Guest.objects.filter(run=run).count() >= GUESTS_MAX:
        raise TooManyGuests(f"It is shared with {GUESTS_MAX} people.", hint="Send one out first.")
    guest = Guest(run=run, member=member, let_in_at=now)
    insert(guest)
    _audit(guest, "run.shared", actor=actor, now=now)
    _tell(guest, by=actor, now=now)
    return guest


@transaction.atomic(durable=True)
def end_sharing(*, actor: Actor, run_id: UUID, guest_id: UUID, now: datetime) -> None:
    """Let the person in no more; who is joined is cut within half a minute. Repeating it changes nothing.

    Raises:
        NotFound: there is no such run.
        Forbidden: as `share_run` says.
    """
    run = _own(actor, run_id)
    guest = Guest.objects.filter(run=run, id=guest_id).select_related("member__user", "run").first()
    if guest is not None:
        _audit(guest, "run.sharing_ended", actor=actor, now=now)
        Guest.objects.filter(id=guest.id).delete()
        notify_run(run.id)


def _own(actor: Actor, run_id: UUID) -> Run:
    """The run, locked, so that what is counted of it stays so, for who says with whom it is shared."""
    run = run_visible_to(actor, run_id)
    require(actor, "run.share", run.organisation_id)
    if not may_share(actor, run):
        raise Forbidden(
            "This session is somebody else's.",
            hint="Who ordered it shares it, or an owner or admin of the organisation.",
            action="run.share",
        )
    return Run.objects.select_for_update(of=("self",), no_key=True).select_related("order").get(id=run_id)


def _member(run: Run, email: str) -> Membership:
    members = Membership.objects.filter(organisation=run.organisation_id, user__is_active=True)
    member = members.filter(user__email__iexact=email.strip()).select_related("user").first()
    if member is None:
        raise NotFound("There is no such member.", hint="Sessions are shared within their organisation.")
    return member


def _tell(guest: Guest, *, by: Actor, now: datetime) -> None:
    """The guest; and who ordered it, where it was somebody else who let them in."""
    run, who = guest.run, guest.user.email
    name = run.name or run.order.number
    told = [
        (
            guest.member.user_id,
            {"zh": f"{name}：会话已与您共享", "en": f"{name}: a session is shared with you"},
            {
                "zh": "您可以连接它的端口，直到它结束或不再共享。",
                "en": "You may be joined to its ports until it ends or is shared no more.",
            },
        )
    ]
    if run.order.placed_by not in (None, by.id):
        told.append(
            (
                run.order.placed_by,
                {
                    "zh": f"{name}：您的会话已与 {who} 共享",
                    "en": f"{name}: your session is shared with {who}",
                },
                {
                    "zh": "由本单位的所有者或管理员操作。您可以在该会话的页面上停止共享。",
                    "en": "An owner or admin of your organisation let them in. Its page sends them out again.",
                },
            )
        )
    for user_id, title, body in told:
        notify(
            user_ids=[user_id],
            kind="run.shared",
            title=title,
            body=body,
            now=now,
            link=f"/orders/{run.order.public_id}/",
            subject_id=run.id,
            organisation_id=run.organisation_id,
        )


def _audit(guest: Guest, action: str, *, actor: Actor, now: datetime) -> None:
    let_in = action == "run.shared"
    record_audit(
        actor=actor,
        action=action,
        subject_id=guest.run_id,
        before=None if let_in else "let in",
        after="let in" if let_in else "out",
        now=now,
        organisation_id=guest.run.organisation_id,
        facts={"user": guest.user.public_id},
    )
