"""Tables of subsidies. Amounts in micros of the hub's currency; the money itself stands in the ledger."""

from enum import StrEnum

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from mosu.platform.models import Organisation, User
from mosu.platform.rows import Row
from mosu.subsidies.rules import (
    ApplicationState,
    ClaimState,
    Mode,
    ProgrammeKind,
    RedemptionState,
    Source,
    VersionState,
    VoucherState,
)


def _choices(states: type[StrEnum]) -> list[tuple[str, str]]:
    return [(state.value, state.value) for state in states]


def _known(field: str, states: type[StrEnum], name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(**{f"{field}__in": [state.value for state in states]}), name=name
    )


class Programme(Row):
    """A subsidy policy. What stands here never changes; the rest is its versions'."""

    prefix = "programme"

    code = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=20, choices=_choices(ProgrammeKind))
    mode = models.CharField(max_length=20, choices=_choices(Mode))
    exclusivity_group = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            _known("kind", ProgrammeKind, "programme_kind_known"),
            _known("mode", Mode, "programme_mode_known"),
        ]

    def __str__(self) -> str:
        return self.code


class ProgrammeVersion(Row):
    """A programme's terms: the file as it was sent, and what was read from it. Fixed once it is released."""

    prefix = "programmeversion"

    programme = models.ForeignKey(Programme, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    document = models.TextField()
    sha256 = models.CharField(max_length=64)
    terms = models.JSONField()
    """What was read from the file when it was checked."""
    pool_micros = models.BigIntegerField()
    """What the programme has been given in all once this version is released."""
    title_zh = models.CharField(max_length=200)
    title_en = models.CharField(max_length=200)
    state = models.CharField(max_length=20, choices=_choices(VersionState), default=VersionState.DRAFT.value)
    maker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["programme", "number"], name="programme_version_once"),
            _known("state", VersionState, "programme_version_state_known"),
            models.CheckConstraint(
                condition=Q(checker=None) | ~Q(checker=F("maker")), name="programme_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(state="draft", checker=None, released_at=None)
                | Q(state="released", checker__isnull=False, released_at__isnull=False),
                name="programme_version_state_whole",
            ),
        ]


class Voucher(Row):
    """Money of a programme given to an organisation, to be spent under one version's terms."""

    prefix = "voucher"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="vouchers")
    version = models.ForeignKey(ProgrammeVersion, on_delete=models.PROTECT, related_name="vouchers")
    amount_micros = models.BigIntegerField()
    valid_from = models.DateTimeField()
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=20, choices=_choices(VoucherState), default=VoucherState.ISSUED.value)
    by_rule = models.BooleanField(default=False)
    """A trial: issued by mosu from a pool that two persons released beforehand."""
    maker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    account_id = models.UUIDField(null=True)
    """Its ledger account, from its release on."""
    owes_pool = models.BooleanField(default=False)
    """An order gave money back after the voucher had ended; the nightly task returns it to the pool."""
    issued_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "state", "expires_at"]),
            models.Index(fields=["state", "expires_at"]),
        ]
        constraints = [
            _known("state", VoucherState, "voucher_state_known"),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="voucher_amount_positive"),
            models.CheckConstraint(condition=Q(expires_at__gt=F("valid_from")), name="voucher_period"),
            models.CheckConstraint(
                condition=Q(by_rule=True, maker=None, checker=None) | Q(by_rule=False, maker__isnull=False),
                name="voucher_has_a_maker",
            ),
            models.CheckConstraint(
                condition=Q(checker=None) | ~Q(checker=F("maker")), name="voucher_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(state="issued")
                | Q(state="revoked", released_at=None)
                | Q(released_at__isnull=False, account_id__isnull=False, by_rule=True)
                | Q(released_at__isnull=False, account_id__isnull=False, checker__isnull=False),
                name="voucher_released_by_another",
            ),
            models.UniqueConstraint(
                fields=["organisation"], condition=Q(by_rule=True), name="one_trial_per_organisation"
            ),
        ]


class YearCap(Row):
    """What an organisation may use of a programme in one of the hub's years: its ledger account, filled once."""

    prefix = "yearcap"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    programme = models.ForeignKey(Programme, on_delete=models.PROTECT, related_name="year_caps")
    year = models.PositiveIntegerField()
    amount_micros = models.BigIntegerField()
    account_id = models.UUIDField()
    entry_id = models.UUIDField(null=True)
    """The journal entry that filled it."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "programme", "year"], name="year_cap_once")
        ]


class Redemption(Row):
    """One voucher's part in paying for something, named by an opaque order id and digests of the evidence."""

    prefix = "redemption"

    order_id = models.UUIDField()
    position = models.PositiveIntegerField()
    """Its place in the waterfall."""
    voucher = models.ForeignKey(Voucher, on_delete=models.PROTECT, related_name="redemptions")
    source = models.CharField(max_length=20, choices=_choices(Source))
    share = models.JSONField()
    """The share as the quote froze it."""
    charge_micros = models.BigIntegerField()
    """The charge at which it was frozen."""
    voucher_hold_id = models.UUIDField()
    cap = models.ForeignKey(YearCap, null=True, on_delete=models.PROTECT, related_name="+")
    cap_hold_id = models.UUIDField(null=True)
    amount_micros = models.BigIntegerField(null=True)
    """What it really pays, once the order is settled."""
    evidence = ArrayField(models.CharField(max_length=64), default=list)
    state = models.CharField(
        max_length=20, choices=_choices(RedemptionState), default=RedemptionState.HELD.value
    )
    held_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    claim_by = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["state", "claim_by"])]
        constraints = [
            models.UniqueConstraint(fields=["order_id", "voucher"], name="redemption_once"),
            models.UniqueConstraint(fields=["order_id", "position"], name="redemption_position_once"),
            _known("state", RedemptionState, "redemption_state_known"),
            models.CheckConstraint(condition=~Q(source="balance"), name="redemption_of_a_voucher"),
            models.CheckConstraint(
                condition=Q(state="held", settled_at=None, amount_micros=None)
                | Q(~Q(state="held"), settled_at__isnull=False, amount_micros__gte=0),
                name="redemption_state_whole",
            ),
        ]


class Application(Row):
    """An organisation's wish for a voucher."""

    prefix = "application"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    version = models.ForeignKey(ProgrammeVersion, on_delete=models.PROTECT, related_name="applications")
    amount_micros = models.BigIntegerField()
    note = models.TextField(blank=True)
    state = models.CharField(
        max_length=20, choices=_choices(ApplicationState), default=ApplicationState.SUBMITTED.value
    )
    applicant = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    decided_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    voucher = models.OneToOneField(Voucher, null=True, on_delete=models.PROTECT, related_name="application")
    submitted_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            _known("state", ApplicationState, "application_state_known"),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="application_amount_positive"),
            models.CheckConstraint(
                condition=Q(state="submitted", decided_by=None, voucher=None)
                | Q(state="approved", decided_by__isnull=False, voucher__isnull=False)
                | Q(state="rejected", decided_by__isnull=False, voucher=None)
                | Q(state="withdrawn", decided_by=None, voucher=None, decided_at__isnull=False),
                name="application_state_whole",
            ),
        ]


class Claim(Row):
    """An organisation asks for the refund that a settled order earned. One claim per order, ever."""

    prefix = "claim"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    order_id = models.UUIDField(unique=True)
    amount_micros = models.BigIntegerField()
    evidence = ArrayField(models.CharField(max_length=64))
    """sha256 of receipt, invoice, delivery certificate."""
    state = models.CharField(max_length=20, choices=_choices(ClaimState), default=ClaimState.SUBMITTED.value)
    claimant = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    maker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    checker = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    submitted_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            _known("state", ClaimState, "claim_state_known"),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="claim_amount_positive"),
            models.CheckConstraint(condition=Q(evidence__len__gt=0), name="claim_has_evidence"),
            models.CheckConstraint(
                condition=Q(checker=None) | ~Q(checker=F("maker")), name="claim_two_persons"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["submitted", "rejected"])
                | Q(state="approved", maker__isnull=False, checker=None)
                | Q(state="disbursed", maker__isnull=False, checker__isnull=False),
                name="claim_state_whole",
            ),
        ]


class Disbursement(Row):
    """Public money paid to an organisation for one redemption of a claim, by the entry that moved it."""

    prefix = "disbursement"

    claim = models.ForeignKey(Claim, on_delete=models.PROTECT, related_name="disbursements")
    redemption = models.OneToOneField(Redemption, on_delete=models.PROTECT, related_name="disbursement")
    amount_micros = models.BigIntegerField()
    entry_id = models.UUIDField(unique=True)
    disbursed_at = models.DateTimeField()
