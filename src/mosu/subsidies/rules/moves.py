"""What may become of a programme version, a voucher, a redemption, an application and a claim."""

from enum import StrEnum
from types import MappingProxyType


class VersionState(StrEnum):
    DRAFT = "draft"
    RELEASED = "released"


class VoucherState(StrEnum):
    ISSUED = "issued"
    """Made by one person, not yet released by another: no money moved."""
    RELEASED = "released"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    REVOKED = "revoked"


class RedemptionState(StrEnum):
    HELD = "held"
    DUE = "due"
    """A reimbursement that may be claimed: the order is settled, the money still held."""
    CAPTURED = "captured"
    RELEASED = "released"


class ApplicationState(StrEnum):
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    """Taken back by the applicant's organisation before anybody decided."""


class ClaimState(StrEnum):
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    DISBURSED = "disbursed"


VERSION_MOVES = MappingProxyType({VersionState.DRAFT: frozenset({VersionState.RELEASED})})

VOUCHER_MOVES = MappingProxyType(
    {
        VoucherState.ISSUED: frozenset({VoucherState.RELEASED, VoucherState.REVOKED}),
        VoucherState.RELEASED: frozenset(
            {VoucherState.EXHAUSTED, VoucherState.EXPIRED, VoucherState.REVOKED}
        ),
    }
)

REDEMPTION_MOVES = MappingProxyType(
    {
        RedemptionState.HELD: frozenset(
            {RedemptionState.CAPTURED, RedemptionState.DUE, RedemptionState.RELEASED}
        ),
        RedemptionState.DUE: frozenset({RedemptionState.CAPTURED, RedemptionState.RELEASED}),
    }
)

APPLICATION_MOVES = MappingProxyType(
    {
        ApplicationState.SUBMITTED: frozenset(
            {ApplicationState.APPROVED, ApplicationState.REJECTED, ApplicationState.WITHDRAWN}
        )
    }
)

CLAIM_MOVES = MappingProxyType(
    {
        ClaimState.SUBMITTED: frozenset({ClaimState.APPROVED, ClaimState.REJECTED}),
        ClaimState.APPROVED: frozenset({ClaimState.DISBURSED, ClaimState.REJECTED}),
    }
)
