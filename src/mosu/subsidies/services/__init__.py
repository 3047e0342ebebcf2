"""What others ask of subsidies."""

from mosu.platform.services import SamePerson
from mosu.subsidies.rules import (
    BatchRefused,
    Choice,
    ProgrammeRefused,
    Share,
    Source,
    Spend,
    SpendKind,
    Split,
    Terms,
    split_at,
)
from mosu.subsidies.services.applications import (
    apply_for_voucher,
    approve_application,
    reject_application,
    withdraw_application,
)
from mosu.subsidies.services.claims import (
    ClaimedBefore,
    NothingToClaim,
    approve_claim,
    disburse_claim,
    lapse_refunds,
    reject_claim,
    submit_claim,
)
from mosu.subsidies.services.events import give_founders_trial
from mosu.subsidies.services.issuing import Ineligible, ProgrammeClosed, issue_voucher, issue_vouchers
from mosu.subsidies.services.programmes import (
    TermsFixed,
    VersionTaken,
    propose_programme,
    release_programme,
)
from mosu.subsidies.services.redemptions import (
    AlreadyRedeemed,
    Drawing,
    VoucherNotUsable,
    accounts_of_order,
    best_split,
    best_splits,
    capture_redemptions,
    drawing_of,
    redeem,
    release_redemptions,
)
from mosu.subsidies.services.vouchers import expire_vouchers, issue_trial, release_voucher, revoke_voucher

__all__ = [
    "AlreadyRedeemed",
    "BatchRefused",
    "Choice",
    "ClaimedBefore",
    "Drawing",
    "Ineligible",
    "NothingToClaim",
    "ProgrammeClosed",
    "ProgrammeRefused",
    "SamePerson",
    "Share",
    "Source",
    "Spend",
    "SpendKind",
    "Split",
    "Terms",
    "TermsFixed",
    "VersionTaken",
    "VoucherNotUsable",
    "accounts_of_order",
    "apply_for_voucher",
    "approve_application",
    "approve_claim",
    "best_split",
    "best_splits",
    "capture_redemptions",
    "disburse_claim",
    "drawing_of",
    "expire_vouchers",
    "give_founders_trial",
    "issue_trial",
    "issue_voucher",
    "issue_vouchers",
    "lapse_refunds",
    "propose_programme",
    "redeem",
    "reject_application",
    "reject_claim",
    "release_programme",
    "release_redemptions",
    "release_voucher",
    "revoke_voucher",
    "split_at",
    "submit_claim",
    "withdraw_application",
]
