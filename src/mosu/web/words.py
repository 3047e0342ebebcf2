"""The pages' words for states and refusals, in the page's language.

The domain speaks English; `mosu.kernel.languages` says its sentences in Chinese, with their figures.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django.utils.functional import lazy
from django.utils.translation import get_language, pgettext, pgettext_lazy
from django.utils.translation import gettext as _

from mosu.compute.services import SUPPLIER_NAME, Reason
from mosu.kernel.languages import language_of, said
from mosu.kernel.refusals import DomainError

NO_AGENT: Final = "no live agent"
_STATES: Final[dict[str, tuple[Any, str]]] = {
    "placed": (pgettext_lazy("order", "Placed"), ""),
    "active": (pgettext_lazy("order", "Running"), "live"),
    "settled": (pgettext_lazy("order", "Settled"), "ok"),
    "cancelled": (pgettext_lazy("order", "Cancelled"), "refused"),
    "queued": (pgettext_lazy("run", "Queued"), ""),
    "running": (pgettext_lazy("run", "Running"), "live"),
    "succeeded": (pgettext_lazy("run", "Succeeded"), "ok"),
    "failed": (pgettext_lazy("run", "Failed"), "refused"),
    "timed_out": (pgettext_lazy("run", "Stopped at its limit"), "refused"),
    "open": (pgettext_lazy("finding", "Open"), ""),
    "answered": (pgettext_lazy("finding", "Answered"), ""),
    "closed": (pgettext_lazy("finding", "Closed"), "ok"),
    "issued": (pgettext_lazy("voucher", "Waits for release"), ""),
    "released": (pgettext_lazy("voucher", "Ready to use"), "ok"),
    "expired": (pgettext_lazy("voucher", "Expired"), "refused"),
    "exhausted": (pgettext_lazy("voucher", "Used up"), ""),
    "revoked": (pgettext_lazy("voucher", "Revoked"), "refused"),
    "proposed": (pgettext_lazy("deposit", "Entered, waits for the second person"), ""),
    "confirmed": (pgettext_lazy("deposit", "On the balance"), "ok"),
    "rejected": (pgettext_lazy("deposit", "Refused"), "refused"),
    "refunding": (pgettext_lazy("deposit", "To be given back, waits for the second person"), ""),
    "refunded": (pgettext_lazy("deposit", "Given back"), "refused"),
    "credit_note_proposed": (pgettext_lazy("credit note", "Proposed, waits for the second person"), ""),
    "credit_note_issued": (pgettext_lazy("credit note", "Issued"), "ok"),
    "credit_note_rejected": (pgettext_lazy("credit note", "Refused"), "refused"),
    "bill": (pgettext_lazy("bill", "Frozen"), "ok"),
    "bill_open": (pgettext_lazy("bill", "Open"), ""),
    "version_draft": (pgettext_lazy("programme", "Draft"), ""),
    "version_released": (pgettext_lazy("programme", "In force"), "ok"),
    "programmeversion_draft": (pgettext_lazy("programme", "Draft"), ""),
    "programmeversion_released": (pgettext_lazy("programme", "In force"), "ok"),
    "version_before": (pgettext_lazy("programme", "Replaced"), "later"),
    "submitted": (pgettext_lazy("application", "Waits for a decision"), ""),
    "withdrawn": (pgettext_lazy("application", "Withdrawn"), "later"),
    "approved": (pgettext_lazy("application", "Granted"), "ok"),
    "disbursed": (pgettext_lazy("claim", "Paid out"), "ok"),
    "pool_open": (pgettext_lazy("pool", "Open"), "ok"),
    "pool_draining": (pgettext_lazy("pool", "Draining"), ""),
    "pool_closed": (pgettext_lazy("pool", "Closed"), "refused"),
    "volume_making": (pgettext_lazy("volume", "Being made"), "live"),
    "volume_kept": (pgettext_lazy("volume", "Kept"), "ok"),
    "volume_expired": (pgettext_lazy("volume", "To be renewed"), "wait"),
    "volume_deleting": (pgettext_lazy("volume", "Being deleted"), "later"),
    "volume_deleted": (pgettext_lazy("volume", "Deleted"), "later"),
    "waiting": (pgettext_lazy("attempt", "Waits"), ""),
    "leased": (pgettext_lazy("attempt", "Handed to the agent"), "live"),
    "unreachable": (pgettext_lazy("attempt", "Out of reach"), ""),
    "lost": (pgettext_lazy("attempt", "Lost"), "refused"),
    "task_failed": (pgettext_lazy("task", "Failed"), "refused"),
    "task_again": (pgettext_lazy("task", "Will be tried again"), ""),
    "block_held": (pgettext_lazy("block", "Held, not begun"), ""),
    "block_open": (pgettext_lazy("block", "Yours now"), "ok"),
    "block_ended": (pgettext_lazy("block", "Ended"), "ok"),
    "block_cancelled": (pgettext_lazy("block", "Cancelled"), "refused"),
    "endpoint_open": (pgettext_lazy("endpoint", "Open"), "live"),
    "endpoint_ended": (pgettext_lazy("endpoint", "Ended"), "later"),
    "node_up": (pgettext_lazy("node", "On sale"), "ok"),
    "node_draining": (pgettext_lazy("node", "Draining"), ""),
    "node_down": (pgettext_lazy("node", "Down"), "refused"),
    "node_unchecked": (pgettext_lazy("node", "Health test awaited"), ""),
    "node_fit": (pgettext_lazy("node", "Fit"), "ok"),
    "node_unfit": (pgettext_lazy("node", "Unfit"), "refused"),
    "listed": (pgettext_lazy("offer", "On the shelf"), "ok"),
    "delisted": (pgettext_lazy("offer", "Off the shelf"), "refused"),
    "import_reading": (pgettext_lazy("import", "Being read"), "live"),
    "import_refused": (pgettext_lazy("import", "Cannot be read"), "refused"),
    "import_previewed": (pgettext_lazy("import", "Waits for you"), ""),
    "import_applying": (pgettext_lazy("import", "Being applied"), "live"),
    "import_failed": (pgettext_lazy("import", "Not applied"), "refused"),
    "import_applied": (pgettext_lazy("import", "Applied"), "ok"),
    "import_undoing": (pgettext_lazy("import", "Being undone"), "live"),
    "import_undone": (pgettext_lazy("import", "Undone"), "later"),
    "import_discarded": (pgettext_lazy("import", "Discarded"), "refused"),
    "organisation_suspended": (pgettext_lazy("organisation", "Suspended"), "refused"),
    "organisation_closed": (pgettext_lazy("organisation", "Closed"), "refused"),
    "organisation_active": (pgettext_lazy("organisation", "Active"), "ok"),
    "deposit_proposed": (pgettext_lazy("deposit", "Entered, waits for the second person"), ""),
    "deposit_confirmed": (pgettext_lazy("deposit", "On the balance"), "ok"),
    "deposit_rejected": (pgettext_lazy("deposit", "Rejected"), "refused"),
    "payout_proposed": (pgettext_lazy("payout", "Entered, waits for the second person"), ""),
    "payout_confirmed": (pgettext_lazy("payout", "Paid out"), "ok"),
    "payout_rejected": (pgettext_lazy("payout", "Rejected"), "refused"),
    "deposit_refunding": (pgettext_lazy("deposit", "To be given back, waits for the second person"), ""),
    "deposit_refunded": (pgettext_lazy("deposit", "Given back"), "later"),
    "redemption_held": (pgettext_lazy("redemption", "Held"), "live"),
    "redemption_due": (pgettext_lazy("redemption", "To be claimed"), ""),
    "redemption_captured": (pgettext_lazy("redemption", "Refunded"), "ok"),
    "redemption_paid": (pgettext_lazy("redemption", "Paid"), "ok"),
    "redemption_released": (pgettext_lazy("redemption", "Not needed"), "later"),
    "application_submitted": (pgettext_lazy("application", "With the operator"), ""),
    "application_approved": (pgettext_lazy("application", "Approved"), "ok"),
    "application_rejected": (pgettext_lazy("application", "Rejected"), "refused"),
    "application_withdrawn": (pgettext_lazy("application", "Withdrawn"), "later"),
    "admission_asked": (pgettext_lazy("admission", "With the operator"), ""),
    "admission_admitted": (pgettext_lazy("admission", "Admitted"), "ok"),
    "admission_declined": (pgettext_lazy("admission", "Declined"), "refused"),
    "admission_withdrawn": (pgettext_lazy("admission", "Withdrawn"), "later"),
    "claim_submitted": (pgettext_lazy("claim", "With the operator"), ""),
    "claim_approved": (pgettext_lazy("claim", "Checked, waits for the second person"), ""),
    "claim_rejected": (pgettext_lazy("claim", "Rejected"), "refused"),
    "claim_disbursed": (pgettext_lazy("claim", "Paid out"), "ok"),
    "fact_recorded": (pgettext_lazy("fact", "Recorded, not yet checked"), ""),
    "fact_checked": (pgettext_lazy("fact", "Checked"), "ok"),
    "fact_expired": (pgettext_lazy("fact", "No longer holds"), "refused"),
    "fact_verified": (pgettext_lazy("fact", "Checked"), "ok"),
    "kept": (pgettext_lazy("record", "Kept"), "ok"),
    "live": (pgettext_lazy("token", "In use"), "live"),
    "sent": (pgettext_lazy("record", "Sent"), "ok"),
    "shown": (pgettext_lazy("record", "Shown"), "ok"),
    "drawn": (pgettext_lazy("record", "Drawn"), "ok"),
    "sound": (pgettext_lazy("record", "Sound"), "ok"),
    "broken": (pgettext_lazy("record", "Broken"), "refused"),
    "set": (pgettext_lazy("record", "Set"), "ok"),
    "lifted": (pgettext_lazy("record", "Lifted"), "later"),
    "none": (pgettext_lazy("record", "None"), ""),
    "never": (pgettext_lazy("record", "Never"), ""),
    "accepted": (pgettext_lazy("invitation", "Accepted"), "ok"),
    "membership_owner": (pgettext_lazy("role", "owner"), ""),
    "membership_admin": (pgettext_lazy("role", "administrator"), ""),
    "membership_developer": (pgettext_lazy("role", "developer"), ""),
    "membership_finance": (pgettext_lazy("role", "finance"), ""),
    "membership_viewer": (pgettext_lazy("role", "viewer"), ""),
    "hub_operator": (pgettext_lazy("hub role", "operator"), ""),
    "hub_checker": (pgettext_lazy("hub role", "checker"), ""),
    "hub_auditor": (pgettext_lazy("hub role", "auditor"), ""),
    "clause_passed": (pgettext_lazy("clause", "Met"), "ok"),
    "clause_failed": (pgettext_lazy("clause", "Not met"), "refused"),
    "clause_needs": (pgettext_lazy("clause", "Not known"), ""),
    "clause_waits": (pgettext_lazy("clause", "Waits for the hub"), ""),
    "programme_fits": (pgettext_lazy("programme", "You may apply"), "ok"),
    "programme_needs": (pgettext_lazy("programme", "Facts are missing"), ""),
    "programme_unfit": (pgettext_lazy("programme", "Not for your organisation"), "refused"),
    "programme_by_rule": (pgettext_lazy("programme", "Given by rule"), "later"),
    "programme_closed": (pgettext_lazy("programme", "Not open now"), "later"),
}
"""What a state is called and the class of its sign: done and well, alive, refused or broken; all else waits.

With its subject in front, where others say it differently; without, as an audit record has it.
"""
_CALL: Final = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) /")


@dataclass(frozen=True)
class Said:
    """What happened and what to do. `lang` is "en" where a page in another language has no words of its own."""

    message: str
    hint: str
    lang: str = ""


def told(text: Mapping[str, str] | str) -> str:
    """The page's language of a bilingual text `{zh, en}`."""
    if not isinstance(text, Mapping):
        return str(text)
    return str(text["zh" if (get_language() or "").startswith("zh") else "en"])


class Titled(Protocol):
    """What has a title in both languages."""

    @property
    def title_zh(self) -> str: ...
    @property
    def title_en(self) -> str: ...


class Recorded(Protocol):
    """What an audit record says of its subject: `subject.what`."""

    @property
    def action(self) -> str: ...
    @property
    def before(self) -> str | None: ...
    @property
    def after(self) -> str | None: ...


def title_of(named: Titled) -> dict[str, str]:
    """Its title, bilingual."""
    return {"zh": named.title_zh, "en": named.title_en}


def state_name(state: str) -> str:
    """A state in the page's language."""
    return str(_STATES[state][0]) if state in _STATES else state


def is_state(code: str) -> bool:
    """Whether a state has a word."""
    return code in _STATES


def mark_of(state: str) -> str:
    """The class of the sign beside a state's word."""
    return _STATES[state][1] if state in _STATES else ""


def state_code(record: Recorded, state: str | None) -> str:
    """The code by which a state of an audit record is named: with the record's subject in front, where that differs."""
    own = f"{record.action.partition('.')[0]}_{state}"
    return own if own in _STATES else state or ""


def change_of(record: Recorded, state: str | None) -> str:
    """What an audit record has before or after: a state, or what an organisation is admitted as."""
    if record.action == "organisation.admit":
        return ", ".join(capability_name(one) for one in (state or "").split(",") if one)
    return state_name(state_code(record, state))


state_name_lazy = lazy(state_name, str)
"""A state in the language of whoever looks: for what is made once, such as a table's filter."""


def role_name(role: str) -> str:
    """A role in an organisation, in the page's language."""
    return {
        "owner": pgettext("role", "owner"),
        "admin": pgettext("role", "administrator"),
        "developer": pgettext("role", "developer"),
        "finance": pgettext("role", "finance"),
        "viewer": pgettext("role", "viewer"),
    }.get(role, role)


role_name_lazy = lazy(role_name, str)
"""A role in the language of whoever looks."""


def kind_name(kind: str) -> str:
    """What an organisation is, in the page's language."""
    return {
        "company": _("Company"),
        "institute": _("Institute"),
        "authority": _("Authority"),
        "team": _("Team without a company"),
    }.get(kind, kind)


def capability_name(capability: str) -> str:
    """What an organisation is admitted as, in the page's language."""
    return {
        "resident": pgettext("capability", "resident"),
        "supplier": pgettext("capability", "compute supplier"),
        "data_provider": pgettext("capability", "data provider"),
        "sponsor": pgettext("capability", "sponsor"),
        "investor": pgettext("capability", "investor"),
        "operator": pgettext("capability", "operator"),
    }.get(capability, capability)


def programme_kind_name(kind: str) -> str:
    """A kind of programme, in the page's language."""
    return {
        "compute_voucher": pgettext("programme", "Compute voucher"),
        "corpus_voucher": pgettext("programme", "Corpus voucher"),
        "model_voucher": pgettext("programme", "Model voucher"),
        "trial": pgettext("programme", "Trial"),
    }.get(kind, kind)


def hub_role_name(role: str) -> str:
    """A role in the hub's staff, in the page's language."""
    return {
        "operator": pgettext("hub role", "operator"),
        "checker": pgettext("hub role", "checker"),
        "auditor": pgettext("hub role", "auditor"),
    }.get(role, role)


def account_kind_name(kind: str) -> str:
    """A kind of account in the ledger, in the page's language."""
    return {
        "balance": pgettext("account", "Balance"),
        "bank": pgettext("account", "Bank"),
        "payable": pgettext("account", "Owed to supplier"),
        "fee": pgettext("account", "Hub's fee"),
        "voucher": pgettext("account", "Voucher"),
        "pool": pgettext("account", "Programme's pool"),
        "funder": pgettext("account", "Funder"),
        "cap": pgettext("account", "Yearly cap"),
        "cap_source": pgettext("account", "Caps opened"),
        "cap_used": pgettext("account", "Caps used"),
        "credit": pgettext("account", "Hub's goodwill"),
    }.get(kind, kind)


def entry_kind_name(kind: str) -> str:
    """A kind of journal entry, in the page's language."""
    return {
        "deposit": pgettext("entry", "Deposit"),
        "reversal": pgettext("entry", "Reversal"),
        "pool.filled": pgettext("entry", "Pool filled"),
        "voucher.released": pgettext("entry", "Voucher released"),
        "voucher.returned": pgettext("entry", "Voucher returned to its pool"),
        "voucher.captured": pgettext("entry", "Voucher charged"),
        "cap.opened": pgettext("entry", "Yearly cap opened"),
        "cap.used": pgettext("entry", "Yearly cap used"),
        "order.charge": pgettext("entry", "Order charged"),
        "order.fee": pgettext("entry", "Fee taken"),
    }.get(kind, kind)


programme_kind_name_lazy = lazy(programme_kind_name, str)
kind_name_lazy = lazy(kind_name, str)
capability_name_lazy = lazy(capability_name, str)
hub_role_name_lazy = lazy(hub_role_name, str)
entry_kind_name_lazy = lazy(entry_kind_name, str)


def supplier_named(name: str) -> str:
    """A supplier's name; that of the hub's own pool, which mosu itself gave, in the page's language."""
    return pgettext("supplier", "The hub's trial pool") if name == SUPPLIER_NAME else name


def words_of_liveness(why_not_live: str | None) -> str:
    """Why nothing of the offer can be ordered now; empty if it can."""
    if why_not_live is None:
        return ""
    if why_not_live == NO_AGENT:
        return _("Not connected")
    return said_here(why_not_live)


def said_here(text: str) -> str:
    """A sentence of the domain's, such as why a run waits, in the page's language."""
    return said(text, language_of(get_language() or ""))


def said_of(refusal: DomainError) -> Said:
    """A refusal as a page says it, with its figures."""
    return _said(refusal.message, _hint_of(refusal))


def said_of_reason(reason: Reason, *, of_several: bool = False) -> Said:
    """Why an offer was refused, as a page says it; `of_several`: in words that fit others of the same reason."""
    if reason.code == "not_live":
        why = (
            _("The supplier is not connected now.")
            if reason.message == NO_AGENT
            else said_here(reason.message)
        )
        return Said(why, _("Choose an offer that can be used now."))
    known = _reasons().get(reason.code)
    if known and of_several:
        return Said(*known)
    return _said(reason.message, reason.hint)


def _said(message: str, hint: str) -> Said:
    """What has no Chinese yet is marked as English, so that it is read aloud as such."""
    text = said_here(message)
    is_chinese = (get_language() or "en").startswith("zh")
    return Said(text, said_here(hint), "en" if is_chinese and text.isascii() else "")


def _hint_of(refusal: DomainError) -> str:
    """What to do next, on a page: where the hint names a call of the API, what a page has instead of it."""
    if not _CALL.search(refusal.hint):
        return refusal.hint
    return {
        "not_found": _("Check the address, or choose another organisation on the page of your account."),
        "quote_taken": _("See the list of your orders."),
    }.get(refusal.code, _("Go back, look at the list, and try again."))


def _reasons() -> dict[str, tuple[str, str]]:
    return {
        "other_accelerator": (
            _("Sells other accelerators."),
            _("Ask for that one, or choose another offer."),
        ),
        "sells_whole_cards": (
            _("Sells whole cards, no shares of one."),
            _("Ask for whole cards, or for a share that somebody sells."),
        ),
        "sells_shares": (
            _("Sells other shares of that card."),
            _("Ask for the share that it sells."),
        ),
        "sells_cards": (_("Sells cards, not cores."), _("Name an accelerator to use it.")),
        "not_domestic": (_("Not known to be domestic."), _("Allow foreign accelerators to use it.")),
        "full": (_("All of it is taken for now."), _("Ask again later, or for less.")),
        "too_large": (_("No machine of it is large enough."), _("Ask for fewer cores or less memory.")),
        "outside_limits": (_("Sells other sizes."), _("Ask for a number within its limits.")),
        "too_long": (_("Sells shorter times only."), _("Set a shorter time limit.")),
        "no_environment": (_("Lacks the environment asked for."), _("Choose another environment.")),
        "no_app": (
            _("Has no environment with what its apps need."),
            _("Choose another offer, or ask its supplier for it."),
        ),
        "no_network": (
            _("Its machines share no network."),
            _("Ask for one machine, or choose another offer."),
        ),
        "no_sessions": (
            _("Joins nobody to the ports of a session."),
            _("Choose another offer, or ask for a run that is no session."),
        ),
        "volume_elsewhere": (
            _("Does not keep the volumes that the task names."),
            _("A run goes where its volumes are: leave them out to run here."),
        ),
        "no_sshd": (
            _("Its machines have no OpenSSH server."),
            _("Choose another offer, or do without ssh."),
        ),
        "no_images": (
            _("Runs no images of containers."),
            _("Choose another offer, or a prebuilt environment."),
        ),
        "other_images": (
            _("Does not run images of this registry."),
            _("Choose another offer, or an image of a registry that it runs."),
        ),
    }
