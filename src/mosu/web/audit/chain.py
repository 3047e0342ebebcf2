"""Whether what stands behind an order holds: each link from posting to policy, each check by name.

Pure: a function of the `Evidence` alone. Where a check cannot be made, it says so and why; it never passes by default.
"""

from collections.abc import Callable, Mapping
from typing import Final

from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.refusals import DomainError
from mosu.web.audit.books import journal_link, moves_link, receipt_link
from mosu.web.audit.checks import TITLES, Chain, Check, Link
from mosu.web.audit.evidence import Evidence
from mosu.web.audit.policy import facts_link, programme_link, vouchers_link
from mosu.web.audit.terms import quote_link
from mosu.web.audit.usage import charge_link, observed_link, usage_link


def chain_of(evidence: Evidence) -> Chain:
    """Every link of an order, checked."""
    return Chain([_made(code, link, evidence) for code, link in _LINKS.items()])


def _made(code: str, link: Callable[[Evidence], Link], evidence: Evidence) -> Link:
    """The link; where a row has not even the form that it should have, that is what it says."""
    try:
        return link(evidence)
    except (KeyError, TypeError, ValueError, ArithmeticError, DomainError) as error:
        unread = Check(
            f"{code}.form", _lazy("What is stored can be read"), holds=False, found=type(error).__name__
        )
        return Link(code, TITLES[code], [unread])


_LINKS: Final[Mapping[str, Callable[[Evidence], Link]]] = {
    "journal": journal_link,
    "charge": charge_link,
    "usage": usage_link,
    "observed": observed_link,
    "quote": quote_link,
    "vouchers": vouchers_link,
    "programme": programme_link,
    "facts": facts_link,
    "receipt": receipt_link,
    "moves": moves_link,
}
