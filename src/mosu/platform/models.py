"""Tables of the platform. Who may do what, and what was done."""

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from mosu.platform.actors import HubRole, Role
from mosu.platform.rows import Row


class OrganisationKind(models.TextChoices):
    COMPANY = "company"
    INSTITUTE = "institute"
    AUTHORITY = "authority"
    TEAM = "team"
    """A maker team without a company."""


class Capability(models.TextChoices):
    RESIDENT = "resident"
    SUPPLIER = "supplier"
    DATA_PROVIDER = "data_provider"
    SPONSOR = "sponsor"
    INVESTOR = "investor"
    OPERATOR = "operator"


class OrganisationState(models.TextChoices):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Organisation(Row):
    """A company, institute, authority or maker team."""

    prefix = "org"

    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=OrganisationKind)
    capabilities = ArrayField(models.CharField(max_length=20, choices=Capability), default=list, blank=True)
    state = models.CharField(max_length=20, choices=OrganisationState, default=OrganisationState.ACTIVE)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("name"), name="organisation_name_once"),
            models.CheckConstraint(
                condition=Q(kind__in=OrganisationKind.values), name="organisation_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(state__in=OrganisationState.values), name="organisation_state_known"
            ),
            models.CheckConstraint(
                condition=Q(capabilities__contained_by=Capability.values),
                name="organisation_capability_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Fact(Row):
    """Something known of an organisation: from where, checked by whom, until when."""

    prefix = "fact"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="facts")
    name = models.SlugField(max_length=60)
    value = models.JSONField()
    source = models.CharField(max_length=200)
    recorded_by = models.ForeignKey("User", null=True, on_delete=models.PROTECT, related_name="+")
    """None: mosu itself, by rule."""
    verified_by = models.ForeignKey("User", null=True, on_delete=models.PROTECT, related_name="+")
    verified_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    recorded_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["organisation", "name", "-recorded_at"])]
        constraints = [
            models.CheckConstraint(
                condition=Q(verified_by=None, verified_at=None)
                | Q(verified_by__isnull=False, verified_at__isnull=False),
                name="fact_verified_by_and_at",
            ),
            models.CheckConstraint(
                condition=Q(recorded_by=None) | Q(verified_by=None) | ~Q(recorded_by=F("verified_by")),
                name="fact_two_persons",
            ),
        ]


class UserManager(BaseUserManager["User"]):
    """Makes users whose e-mail address is their name."""

    def create_user(self, email: str, password: str | None = None, **fields: object) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(Row, AbstractBaseUser, PermissionsMixin):
    """A person. Signs in by e-mail address."""

    prefix = "user"
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=100, blank=True)
    language = models.CharField(
        max_length=10, blank=True, choices=[("zh-hans", "简体中文"), ("en", "English")]
    )
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once")]

    def __str__(self) -> str:
        return self.name or self.email


class Membership(Row):
    """What a user may do in an organisation."""

    prefix = "member"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in Role])
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "user"], name="membership_once"),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in Role]), name="membership_role_known"
            ),
        ]


class HubMembership(Row):
    """What a user may do for the hub."""

    prefix = "hubmember"

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="hub_memberships")
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in HubRole])
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "role"], name="hub_membership_once"),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in HubRole]), name="hub_membership_role_known"
            ),
        ]


class Project(Row):
    """What an organisation's runs and costs are gathered under."""

    prefix = "project"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="projects")
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint("organisation", Lower("name"), name="project_name_once")]

    def __str__(self) -> str:
        return self.name


class InvitationState(models.TextChoices):
    OPEN = "open"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


class Invitation(Row):
    """A link by which one person may join. Only the sha256 of its secret is kept."""

    prefix = "invite"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in Role])
    secret_sha256 = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=20, choices=InvitationState, default=InvitationState.OPEN)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "organisation",
                Lower("email"),
                condition=Q(state=InvitationState.OPEN),
                name="invitation_open_once",
            ),
            models.CheckConstraint(
                condition=Q(role__in=[role.value for role in Role]), name="invitation_role_known"
            ),
            models.CheckConstraint(
                condition=Q(state=InvitationState.ACCEPTED, accepted_by__isnull=False)
                | Q(state__in=[InvitationState.OPEN, InvitationState.REVOKED], accepted_by=None),
                name="invitation_accepted_by_someone",
            ),
        ]


class ApiToken(Row):
    """A key to the API. Only its sha256 is kept; the text is shown once, when it is made."""

    prefix = "token"

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="tokens")
    organisation = models.ForeignKey(Organisation, null=True, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    secret_sha256 = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=20))
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)


class TransactionIdField(models.TextField):  # type: ignore[type-arg]
    """The id of a database transaction (`xid8`)."""

    def db_type(self, connection: object) -> str:
        return "xid8"


class AuditRecord(Row):
    """Who did what, why, and what it was before and after; written in the same transaction as the change."""

    prefix = "audit"

    xid = TransactionIdField(editable=False, null=True)
    """The transaction that wrote it; set by the database, so that nobody can forge it."""
    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=20)
    actor_id = models.UUIDField(null=True)
    actor_label = models.CharField(max_length=254)
    action = models.CharField(max_length=60)
    organisation_id = models.UUIDField(null=True)
    subject_id = models.UUIDField()
    before = models.TextField(null=True)
    after = models.TextField(null=True)
    why = models.TextField(blank=True)
    facts = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["subject_id", "id"]),
            models.Index(fields=["organisation_id", "-id"]),
            models.Index(
                fields=["at", "id"]
            ),  # the trail over all, newest first; of one person; of one action
            models.Index(fields=["actor_label", "at", "id"]),
            models.Index(fields=["action", "at", "id"]),
        ]


class IdempotencyRecord(models.Model):
    """What a key was first used for, and what came of it."""

    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(max_length=100)
    key = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    result_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="idempotency_key_once")]


class Event(Row):
    """Something that happened, told to whoever subscribed. Written in the transaction in which it happened."""

    prefix = "event"

    name = models.CharField(max_length=60)
    subject_id = models.UUIDField()
    organisation_id = models.UUIDField(null=True)
    payload = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["name", "id"])]


class Delivery(models.Model):
    """That a subscriber has handled an event: the same event never reaches it twice."""

    id = models.BigAutoField(primary_key=True)
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="deliveries")
    subscriber = models.CharField(max_length=200)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "subscriber"], name="delivery_once")]


class Notice(Row):
    """Something a person should know, in both languages: `{"zh": ..., "en": ...}`."""

    prefix = "notice"

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="notices")
    organisation = models.ForeignKey(Organisation, null=True, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=60)
    subject_id = models.UUIDField(null=True)
    title = models.JSONField()
    body = models.JSONField()
    link = models.CharField(max_length=300, blank=True)
    """A path of the hub's own, such as `/orders/order_01...`."""
    created_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["user", "-id"])]
        constraints = [
            models.CheckConstraint(
                condition=Q(title__has_keys=["zh", "en"], body__has_keys=["zh", "en"]),
                name="notice_in_both_languages",
            )
        ]


class Mail(Row):
    """A letter that went out, or, on a hub without a mail server, waits for the operator to pass it on."""

    prefix = "mail"

    email = models.EmailField(max_length=254)
    language = models.CharField(max_length=10, blank=True)
    """Empty: in both languages."""
    title = models.JSONField()
    body = models.JSONField()
    sealed_link = models.BinaryField(null=True)
    """A link that is itself a key (an invitation, a new password): encrypted."""
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)


class FailureCount(models.Model):
    """How often something failed in the current window: what sign-in is slowed down by, on every process alike."""

    key = models.CharField(primary_key=True, max_length=64)
    window_start_at = models.DateTimeField()
    count = models.PositiveIntegerField()


class FindingState(models.TextChoices):
    OPEN = "open"
    ANSWERED = "answered"
    """The operator has said what was or will be done; the auditor decides whether it suffices."""
    CLOSED = "closed"


class Finding(Row):
    """What an auditor found, of whichever subject; its words and answers are its audit records."""

    prefix = "finding"

    subject = models.CharField(max_length=100)
    """The public id of what it is about, such as `order_...`."""
    organisation = models.ForeignKey(Organisation, null=True, on_delete=models.PROTECT, related_name="+")
    """Whom it concerns, where that is one; only the hub's people see findings."""
    title = models.CharField(max_length=200)
    text = models.TextField(max_length=4000)
    answer = models.TextField(max_length=4000, blank=True)
    state = models.CharField(max_length=10, choices=FindingState, default=FindingState.OPEN)
    opened_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField()
    """When an answer is expected."""
    answered_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    answered_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["state", "-opened_at", "-id"]), models.Index(fields=["subject"])]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=FindingState.values), name="finding_state_known"),
            models.CheckConstraint(
                condition=Q(answered_by=None) | ~Q(answered_by=F("opened_by")), name="finding_two_persons"
            ),
            models.CheckConstraint(
                condition=~Q(state="closed") | Q(closed_at__isnull=False), name="finding_closed_at"
            ),
        ]

    def __str__(self) -> str:
        return self.title


class AdmissionState(models.TextChoices):
    ASKED = "asked"
    ADMITTED = "admitted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class Admission(Row):
    """An organisation asks to be given a capability, and the operator answers."""

    prefix = "admission"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="admissions")
    capability = models.CharField(max_length=20, choices=Capability)
    note = models.TextField(max_length=2000)
    """What they would bring; documents are attached to it."""
    state = models.CharField(max_length=10, choices=AdmissionState, default=AdmissionState.ASKED)
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    decided_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    why = models.TextField(max_length=1000, blank=True)
    """The reason that the asker reads."""

    class Meta:
        indexes = [models.Index(fields=["state", "-asked_at", "-id"])]
        constraints = [
            models.CheckConstraint(
                condition=Q(capability__in=[one for one in Capability.values if one != "operator"]),
                name="admission_capability_known",
            ),
            models.UniqueConstraint(
                fields=["organisation", "capability"],
                condition=Q(state=AdmissionState.ASKED),
                name="admission_asked_once",
            ),
            models.CheckConstraint(
                condition=Q(state="asked", decided_by=None, decided_at=None)
                | Q(state__in=["admitted", "declined"], decided_at__isnull=False)
                | Q(state="withdrawn", decided_by=None, decided_at__isnull=False),
                name="admission_state_whole",
            ),
        ]
