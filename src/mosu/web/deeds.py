"""What an audit record's action is called: its subject, then what was done to it or the state it came to."""

from types import MappingProxyType
from typing import Any, Final

from django.utils.translation import pgettext_lazy

from mosu.web.words import is_state, state_name

_SUBJECTS: Final = MappingProxyType[str, Any](
    {
        "admission": pgettext_lazy("subject", "Admission"),
        "application": pgettext_lazy("subject", "Application"),
        "attempt": pgettext_lazy("subject", "Attempt"),
        "blackout": pgettext_lazy("subject", "Blackout"),
        "block": pgettext_lazy("subject", "Block"),
        "volume": pgettext_lazy("subject", "Volume"),
        "volumecopy": pgettext_lazy("subject", "Copy of a volume"),
        "budget": pgettext_lazy("subject", "Budget"),
        "charges": pgettext_lazy("subject", "Charges"),
        "claim": pgettext_lazy("subject", "Claim"),
        "credit_note": pgettext_lazy("subject", "Credit note"),
        "deposit": pgettext_lazy("subject", "Deposit"),
        "document": pgettext_lazy("subject", "Document"),
        "endpoint": pgettext_lazy("subject", "Endpoint"),
        "fact": pgettext_lazy("subject", "Fact"),
        "finding": pgettext_lazy("subject", "Finding"),
        "hub": pgettext_lazy("subject", "Hub"),
        "idle_rule": pgettext_lazy("subject", "Idle rule"),
        "import": pgettext_lazy("subject", "Import"),
        "invitation": pgettext_lazy("subject", "Invitation"),
        "ledger": pgettext_lazy("subject", "Ledger"),
        "mail": pgettext_lazy("subject", "Letter"),
        "membership": pgettext_lazy("subject", "Membership"),
        "month": pgettext_lazy("subject", "Month"),
        "node": pgettext_lazy("subject", "Node"),
        "notice": pgettext_lazy("subject", "Notice"),
        "offer": pgettext_lazy("subject", "Offer"),
        "order": pgettext_lazy("subject", "Order"),
        "organisation": pgettext_lazy("subject", "Organisation"),
        "payout": pgettext_lazy("subject", "Payout"),
        "pool": pgettext_lazy("subject", "Pool"),
        "programmeversion": pgettext_lazy("subject", "Programme"),
        "project": pgettext_lazy("subject", "Project"),
        "quota": pgettext_lazy("subject", "Quota"),
        "quote": pgettext_lazy("subject", "Quote"),
        "rate": pgettext_lazy("subject", "Rate of exchange"),
        "redemption": pgettext_lazy("subject", "Redemption"),
        "relation": pgettext_lazy("subject", "Buyer's tier"),
        "run": pgettext_lazy("subject", "Run"),
        "sample": pgettext_lazy("subject", "Sample"),
        "share": pgettext_lazy("subject", "Share of a pool"),
        "token": pgettext_lazy("subject", "Token"),
        "user": pgettext_lazy("subject", "Person"),
        "voucher": pgettext_lazy("subject", "Voucher"),
    }
)
_VERBS: Final = MappingProxyType[str, Any](
    {
        "add": pgettext_lazy("deed", "added"),
        "admit": pgettext_lazy("deed", "admitted"),
        "attach": pgettext_lazy("deed", "attached"),
        "begin": pgettext_lazy("deed", "begun"),
        "change": pgettext_lazy("deed", "changed"),
        "check_asked": pgettext_lazy("deed", "health test asked for"),
        "close": pgettext_lazy("deed", "closed"),
        "create": pgettext_lazy("deed", "made"),
        "delist": pgettext_lazy("deed", "taken off the shelf"),
        "drawn": pgettext_lazy("deed", "drawn"),
        "end": pgettext_lazy("deed", "ended"),
        "expire": pgettext_lazy("deed", "expired"),
        "fenced": pgettext_lazy("deed", "fenced by hand"),
        "found": pgettext_lazy("deed", "founded"),
        "interrupted": pgettext_lazy("deed", "interrupted"),
        "extended": pgettext_lazy("deed", "given more time"),
        "idle_stop_set": pgettext_lazy("deed", "time without use set"),
        "kept": pgettext_lazy("deed", "kept"),
        "key_certified": pgettext_lazy("deed", "key certified"),
        "key_made": pgettext_lazy("deed", "key made"),
        "key_revoked": pgettext_lazy("deed", "key revoked"),
        "lift": pgettext_lazy("deed", "lifted"),
        "made": pgettext_lazy("deed", "made"),
        "make": pgettext_lazy("deed", "made"),
        "move": pgettext_lazy("deed", "state changed"),
        "name": pgettext_lazy("deed", "renamed"),
        "pass_on": pgettext_lazy("deed", "passed on"),
        "placing": pgettext_lazy("deed", "placing changed"),
        "preview": pgettext_lazy("deed", "preview asked for"),
        "price": pgettext_lazy("deed", "price set"),
        "published": pgettext_lazy("deed", "published"),
        "reached": pgettext_lazy("deed", "limit reached"),
        "recomputed": pgettext_lazy("deed", "computed anew"),
        "record": pgettext_lazy("deed", "recorded"),
        "release": pgettext_lazy("deed", "released"),
        "relist": pgettext_lazy("deed", "put on the shelf again"),
        "renewal": pgettext_lazy("deed", "renewal changed"),
        "revoke": pgettext_lazy("deed", "revoked"),
        "send": pgettext_lazy("deed", "sent"),
        "set": pgettext_lazy("deed", "set"),
        "shared": pgettext_lazy("deed", "shared"),
        "sharing_ended": pgettext_lazy("deed", "shared no more"),
        "staff": pgettext_lazy("deed", "staff changed"),
        "tier_rate": pgettext_lazy("deed", "price of a tier set"),
        "token_rotated": pgettext_lazy("deed", "token replaced"),
        "verified": pgettext_lazy("deed", "verified"),
        "verify": pgettext_lazy("deed", "checked"),
    }
)


def deed_name(action: str) -> str:
    """An action in the page's language; as it is recorded, where nobody gave it a word."""
    subject, _, deed = action.partition(".")
    if subject not in _SUBJECTS:
        return action
    if deed in _VERBS:
        return f"{_SUBJECTS[subject]} · {_VERBS[deed]}"
    state = next((one for one in (f"{subject}_{deed}", deed) if is_state(one)), "")
    return f"{_SUBJECTS[subject]} · {state_name(state)}" if state else action
