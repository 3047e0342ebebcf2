"""The pages' words for states and refusals, in the page's language.

The domain speaks English. What people meet often is said here in Chinese too, by its code; the rest is shown as it
comes and marked as English, so that it is read aloud as such.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.utils.functional import lazy
from django.utils.translation import get_language, pgettext
from django.utils.translation import gettext as _

from mosu.compute.services import Reason
from mosu.kernel.refusals import DomainError

NO_AGENT: Final = "no live agent"


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


def state_name(state: str) -> str:
    """A state in the page's language."""
    return {
        "placed": pgettext("order", "Placed"),
        "active": pgettext("order", "Running"),
        "settled": pgettext("order", "Settled"),
        "cancelled": pgettext("order", "Cancelled"),
        "queued": pgettext("run", "Queued"),
        "running": pgettext("run", "Running"),
        "succeeded": pgettext("run", "Succeeded"),
        "failed": pgettext("run", "Failed"),
        "timed_out": pgettext("run", "Stopped at its limit"),
        "issued": pgettext("voucher", "Waits for release"),
        "released": pgettext("voucher", "Ready to use"),
        "expired": pgettext("voucher", "Expired"),
        "exhausted": pgettext("voucher", "Used up"),
        "revoked": pgettext("voucher", "Revoked"),
        "pool_open": pgettext("pool", "Open"),
        "pool_draining": pgettext("pool", "Draining"),
        "pool_closed": pgettext("pool", "Closed"),
        "node_up": pgettext("node", "On sale"),
        "node_draining": pgettext("node", "Draining"),
        "node_down": pgettext("node", "Down"),
        "waiting": pgettext("attempt", "Waiting"),
        "leased": pgettext("attempt", "Handed to the agent"),
        "unreachable": pgettext("attempt", "Not heard of"),
        "lost": pgettext("attempt", "Lost"),
        "listed": pgettext("offer", "On the shelf"),
        "delisted": pgettext("offer", "Off the shelf"),
        "previewed": pgettext("import", "Waits for you"),
        "applied": pgettext("import", "Applied"),
        "discarded": pgettext("import", "Discarded"),
        "undone": pgettext("import", "Undone"),
    }.get(state, state)


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


def words_of_liveness(why_not_live: str | None) -> str:
    """Why nothing of the offer can be ordered now; empty if it can."""
    if why_not_live is None:
        return ""
    if why_not_live == NO_AGENT:
        return _("Not connected")
    return why_not_live


def is_english() -> bool:
    """Whether the page is in English."""
    return (get_language() or "en").startswith("en")


def said_of(refusal: DomainError) -> Said:
    """A refusal as a page says it."""
    return _said(refusal.message, refusal.hint, _refusals().get(refusal.code))


def said_of_reason(reason: Reason, *, of_several: bool = False) -> Said:
    """Why an offer was refused, as a page says it; `of_several`: in words that fit others of the same reason."""
    if reason.code == "not_live":
        why = _("The supplier is not connected now.") if reason.message == NO_AGENT else reason.message
        return Said(why, _("Choose an offer that can be used now."))
    known = _reasons().get(reason.code)
    if known and of_several:
        return Said(*known)
    return _said(reason.message, reason.hint, known)


def _said(message: str, hint: str, known: tuple[str, str] | None) -> Said:
    """The domain's own words say most and are English; what is not ASCII is a page's own, in its language."""
    if is_english() or not message.isascii():
        return Said(message, hint)
    return Said(*known) if known else Said(message, hint, "en")


def _refusals() -> dict[str, tuple[str, str]]:
    return {
        "not_found": (
            _("There is nothing here, or it is not yours to see."),
            _("Check the address, or choose another organisation on the page of your account."),
        ),
        "insufficient_funds": (
            _("The balance does not suffice."),
            _("See what is left on the page of your account; a shorter limit or fewer cores hold less."),
        ),
        "quote_expired": (
            _("This quote has expired; nothing was ordered."),
            _("Ask for quotes again: prices and capacity may have changed."),
        ),
        "quote_taken": (_("This quote was ordered already."), _("See the list of your orders.")),
        "sold_out": (
            _("The capacity went to someone else; nothing was held."),
            _("Ask for quotes again: the next start is shown there."),
        ),
        "voucher_not_usable": (
            _("A voucher of this quote can no longer be used; nothing was held."),
            _("Ask for quotes again."),
        ),
        "invitation_over": (
            _("This invitation is over: it expired, was withdrawn or was used."),
            _("Ask the one who invited you for a new one."),
        ),
        "disk_full": (
            _("The hub's disk is full; nothing was changed."),
            _("Tell the hub's operator to free space, then send it again."),
        ),
        "unavailable": (
            _("The hub's database does not answer now."),
            _("What you asked for happened wholly or not at all: look before you send it again."),
        ),
        "too_many_organisations": (
            _("You own as many organisations as one person may."),
            _("Ask the hub's operator for a further one."),
        ),
    }


def _reasons() -> dict[str, tuple[str, str]]:
    return {
        "other_accelerator": (
            _("Sells other accelerators."),
            _("Ask for that one, or choose another offer."),
        ),
        "sells_cards": (_("Sells cards, not cores."), _("Name an accelerator to use it.")),
        "not_domestic": (_("Not known to be domestic."), _("Allow foreign accelerators to use it.")),
        "full": (_("All of it is taken for now."), _("Ask again later, or for less.")),
        "too_large": (_("No machine of it is large enough."), _("Ask for fewer cores or less memory.")),
        "outside_limits": (_("Sells other sizes."), _("Ask for a number within its limits.")),
        "too_long": (_("Sells shorter times only."), _("Set a shorter time limit.")),
        "no_environment": (_("Lacks the environment asked for."), _("Choose another environment.")),
    }
