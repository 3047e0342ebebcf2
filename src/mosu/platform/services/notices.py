"""What a person is told: in the inbox, and by mail where a mail server is configured."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction

from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import Invalid, NotFound
from mosu.platform.actors import Actor, Role
from mosu.platform.models import Mail, Membership, Notice, Organisation, OrganisationState, User
from mosu.platform.policy import require
from mosu.platform.rules import in_both
from mosu.platform.secrets import seal, unseal
from mosu.platform.services.audit import record_audit


def mail_goes_out() -> bool:
    """Whether a mail server is configured; otherwise the operator passes links on."""
    return bool(settings.EMAIL_HOST)


@transaction.atomic
def notify(
    *,
    user_ids: Iterable[UUID],
    kind: str,
    title: Mapping[str, str],
    body: Mapping[str, str],
    now: datetime,
    link: str = "",
    subject_id: UUID | None = None,
    organisation_id: UUID | None = None,
    mail: bool = False,
) -> list[Notice]:
    """Put a notice in each user's inbox; with `mail`, also send it, if mail goes out.

    `title` and `body` are `{"zh": ..., "en": ...}`; `link` is a path of the hub's own.
    """
    title, body = in_both(title), in_both(body)
    users = User.objects.filter(id__in=list(user_ids), is_active=True).order_by("id")
    notices = [
        Notice(
            user=user,
            organisation_id=organisation_id,
            kind=kind,
            subject_id=subject_id,
            title=title,
            body=body,
            link=link,
            created_at=now,
        )
        for user in users
    ]
    Notice.objects.bulk_create(notices)
    if mail and mail_goes_out():
        whole = {key: f"{text}\n\n{settings.MOSU_URL}{link}" for key, text in body.items()} if link else body
        for notice in notices:
            post_mail(
                email=notice.user.email, title=title, body=whole, language=notice.user.language, now=now
            )
    return notices


@transaction.atomic(durable=True)
def send_notice(
    *,
    actor: Actor,
    title: Mapping[str, str],
    body: Mapping[str, str],
    now: datetime,
    organisation_id: UUID | None = None,
) -> int:
    """How many people were told: the members of one organisation, or of every active one; by mail too.

    Raises:
        Invalid: a language is missing, or a text is too long.
        NotFound: there is no such organisation.
    """
    require(actor, "notice.send")
    texts = [_both("title", title, 200), _both("body", body, 4000)]
    members = Membership.objects.filter(organisation__state=OrganisationState.ACTIVE)
    if organisation_id is not None:
        if not Organisation.objects.filter(id=organisation_id).exists():
            raise NotFound("There is no such organisation.", hint="See the list of organisations.")
        members = members.filter(organisation=organisation_id)
    message_id = uuid7()
    told = notify(
        user_ids=set(members.order_by().values_list("user_id", flat=True)),
        kind="hub.notice",
        title=texts[0],
        body=texts[1],
        now=now,
        subject_id=message_id,
        organisation_id=organisation_id,
        mail=True,
    )
    record_audit(
        actor=actor,
        action="notice.send",
        subject_id=message_id,
        organisation_id=organisation_id,
        before=None,
        after="sent",
        now=now,
        facts={"title": texts[0], "body": texts[1], "people": len(told)},
    )
    return len(told)


def _both(field: str, texts: Mapping[str, str], longest: int) -> dict[str, str]:
    """The text in both languages, trimmed."""
    found = {key: texts.get(key, "").strip() for key in ("zh", "en")}
    for key, text in found.items():
        if not text or len(text) > longest or "\x00" in text:
            raise Invalid(
                f"{field}_{key}: cannot be used.",
                hint=f"Write 1 to {longest} characters in each language.",
                field=f"{field}_{key}",
            )
    return found


def members_of(organisation_id: UUID, *, roles: Iterable[Role] = tuple(Role)) -> list[UUID]:
    """The ids of the organisation's members with one of `roles`: whom to notify."""
    rows = Membership.objects.filter(organisation=organisation_id, role__in=list(roles))
    return list(rows.order_by("user_id").values_list("user_id", flat=True))


@transaction.atomic(durable=True)
def read_notice(*, actor: Actor, notice_id: UUID, now: datetime) -> Notice:
    """The actor's notice, marked as read; read twice, the first time stays.

    Raises:
        NotFound: the actor has no such notice.
    """
    require(actor, "self.change")
    notice = Notice.objects.select_for_update().filter(id=notice_id, user=actor.id).first()
    if notice is None:
        raise NotFound("You have no such notice.", hint="See your inbox.")
    if notice.read_at is None:
        notice.read_at = now
        notice.save(update_fields=["read_at"])
    return notice


@transaction.atomic(durable=True)
def read_notices(*, actor: Actor, now: datetime) -> int:
    """How many of the actor's notices were unread until now: all of them are read."""
    require(actor, "self.change")
    return Notice.objects.filter(user=actor.id, read_at=None).update(read_at=now)


@transaction.atomic
def post_mail(
    *,
    email: str,
    title: Mapping[str, str],
    body: Mapping[str, str],
    now: datetime,
    secret_link: str = "",
    language: str = "",
) -> Mail:
    """A letter that goes out after the commit; on a hub without a mail server it waits for the operator.

    Without a `language` it is written in the one that the address's account chose, else in both.
    `secret_link` is a link that is itself a key: it is encrypted and stands in no log.
    """
    mail = Mail.objects.create(
        email=email,
        language=language or _language_of(email),
        title=in_both(title),
        body=in_both(body),
        sealed_link=seal(secret_link) if secret_link else None,
        created_at=now,
    )
    if mail_goes_out():
        # Imported here: the task module needs the application registry, which loads this one.
        from mosu.platform.tasks import deliver_mail  # noqa: PLC0415

        deliver_mail.defer(mail_id=str(mail.id))
    return mail


def _language_of(email: str) -> str:
    return User.objects.filter(email__iexact=email).values_list("language", flat=True).first() or ""


@transaction.atomic(durable=True)
def send_posted(*, mail_id: UUID, now: datetime) -> None:
    """Send one letter. At least once: after a crash between sending and noting it, it goes out again."""
    mail = Mail.objects.select_for_update().get(id=mail_id)
    if mail.sent_at:
        return
    languages = {"zh-hans": ["zh"], "en": ["en"]}.get(mail.language, ["zh", "en"])
    link = unseal(mail.sealed_link) if mail.sealed_link else ""
    send_mail(
        # In one line: a title of two is no header, and the letter would be tried and refused for ever.
        subject=" / ".join(" ".join(mail.title[language].split()) for language in languages),
        message="\n\n".join([*(mail.body[language] for language in languages), *([link] if link else [])]),
        from_email=None,
        recipient_list=[mail.email],
    )
    mail.sent_at = now
    mail.save(update_fields=["sent_at"])


@transaction.atomic(durable=True)
def pass_on(*, actor: Actor, mail_id: UUID, now: datetime) -> str:
    """The secret link of a letter that did not go out, for the operator to hand over; each look is recorded.

    Raises:
        NotFound: no such letter waits, or it has no link.
    """
    require(actor, "mail.pass_on")
    mail = Mail.objects.filter(id=mail_id, sent_at=None).exclude(sealed_link=None).first()
    if mail is None or mail.sealed_link is None:
        raise NotFound("No such letter waits.", hint="See the letters that did not go out.")
    record_audit(
        actor=actor,
        action="mail.pass_on",
        subject_id=mail.id,
        before="waiting",
        after="shown",
        now=now,
        facts={"email": mail.email},
    )
    return unseal(mail.sealed_link)
