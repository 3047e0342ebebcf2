"""What waits on who looks, put together from what each context says: whose turn it is, and due when."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.compute import today as of_compute
from mosu.kernel.ids import typeid
from mosu.kernel.money import MICROS
from mosu.ledger import today as of_ledger
from mosu.market import today as of_market
from mosu.platform import today as of_platform
from mosu.platform.actors import Actor, HubRole
from mosu.platform.models import Capability
from mosu.platform.waiting import ARM_ROWS, Turn, Waiting
from mosu.subsidies import today as of_subsidies
from mosu.web.components import Step
from mosu.web.navigation import address_of
from mosu.web.surroundings import PurseShown

SOURCES: Final = (of_platform, of_ledger, of_subsidies, of_market, of_compute)
"""Each asks the database once."""
SOON: Final = timedelta(days=3)
BALANCE_LOW_MICROS: Final = 100 * MICROS
"""Below it, in the hub's currency, a purse without vouchers is said to be low."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of waiting thing is called, what one does about it, and where.

    `url` names an address that takes the public id made with `prefix`; without a prefix it takes nothing. An address
    that does not exist yet gives no link.
    """

    words: Any
    url: str = ""
    prefix: str = ""
    action: Any = ""

    def href(self, one: Waiting) -> str:
        if not self.url:
            return ""
        if not self.prefix:
            return address_of(self.url)
        try:
            return reverse(self.url, args=[typeid(self.prefix, one.subject_id)])
        except NoReverseMatch:
            return ""


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # operators
        "organisation.admit": Kind(_lazy("New organisation"), "desk_organisation", "org", _lazy("Admit")),
        "admission.decide": Kind(_lazy("Asks to be admitted"), "desk_organisation", "org", _lazy("Decide")),
        "fact.verify": Kind(_lazy("Fact to verify"), "desk_organisation", "org", _lazy("Verify")),
        "mail.pass_on": Kind(_lazy("Letter to pass on"), "desk_mails", "", _lazy("Pass on")),
        "finding.answer": Kind(_lazy("Finding to answer"), "finding", "finding", _lazy("Answer")),
        "application.decide": Kind(
            _lazy("Application for a voucher"), "desk_application", "application", _lazy("Decide")
        ),
        "claim.decide": Kind(_lazy("Claim for a refund"), "desk_claim", "claim", _lazy("Decide")),
        "attempt.fence": Kind(
            _lazy("Attempt out of reach"), "desk_attempt", "attempt", _lazy("Look into it")
        ),
        "import.release": Kind(
            _lazy("Offers held back"), "offer_import", "import", _lazy("Let them through")
        ),
        "statement.pay": Kind(_lazy("Statement to pay"), "statement", "statement", _lazy("Enter the payout")),
        # checkers
        "deposit.confirm": Kind(_lazy("Deposit to confirm"), "desk_deposit", "deposit", _lazy("Confirm")),
        "refund.confirm": Kind(_lazy("Refund to confirm"), "desk_deposit", "deposit", _lazy("Confirm")),
        "programme.release": Kind(
            _lazy("Programme to release"), "desk_programme", "programme", _lazy("Put in force")
        ),
        "voucher.release": Kind(_lazy("Voucher to release"), "desk_voucher", "voucher", _lazy("Release")),
        "claim.disburse": Kind(_lazy("Refund to pay out"), "desk_claim", "claim", _lazy("Pay out")),
        "payout.confirm": Kind(_lazy("Payout to confirm"), "statement", "statement", _lazy("Confirm")),
        "credit.issue": Kind(_lazy("Credit note to issue"), "credit_note", "credit", _lazy("Issue")),
        # auditors
        "finding.close": Kind(_lazy("Finding answered"), "finding", "finding", _lazy("Judge the answer")),
        "finding.awaited": Kind(_lazy("Finding that waits for an answer"), "finding", "finding"),
        # what a second person does
        "deposit.awaited": Kind(_lazy("Deposit that waits for its second person"), "desk_deposit", "deposit"),
        "refund.awaited": Kind(_lazy("Refund that waits for its second person"), "desk_deposit", "deposit"),
        "programme.release_awaited": Kind(
            _lazy("Programme that waits for its release"), "desk_programme", "programme"
        ),
        "voucher.release_awaited": Kind(
            _lazy("Voucher that waits for its release"), "desk_voucher", "voucher"
        ),
        "claim.disburse_awaited": Kind(_lazy("Refund that waits for its payment"), "desk_claim", "claim"),
        "payout.awaited": Kind(_lazy("Payout that waits for its second person"), "statement", "statement"),
        "credit.issue_awaited": Kind(
            _lazy("Credit note that waits for its second person"), "credit_note", "credit"
        ),
        "fact.verify_awaited": Kind(
            _lazy("Fact that waits for its second person"), "desk_organisation", "org"
        ),
        # residents
        "run.running": Kind(_lazy("Run"), "order", "order"),
        "run.queued": Kind(_lazy("Run in the queue"), "order", "order"),
        "quote.accept": Kind(_lazy("Quote that expires"), "checkout", "quote", _lazy("Order it")),
        "voucher.use": Kind(_lazy("Voucher that lapses"), "voucher", "voucher", _lazy("Use it")),
        "claim.submit": Kind(_lazy("Refund to claim"), "order", "order", _lazy("Claim")),
        "application.awaited": Kind(_lazy("Application with the operator"), "application", "application"),
        "claim.awaited": Kind(_lazy("Claim with the operator"), "claims"),
        "receipt.read": Kind(_lazy("Receipt"), "receipt", "receipt"),
        "fact.renew": Kind(_lazy("Fact that lapses"), "facts", "", _lazy("Renew")),
        "admission.awaited": Kind(_lazy("Admission with the operator"), "organisation"),
        "fact.awaited": Kind(_lazy("Fact that waits to be verified"), "facts"),
        "invitation.accept": Kind(_lazy("Invitation: open the link in the letter")),
        "invitation.awaited": Kind(_lazy("Invitation sent"), "members"),
        "balance.low": Kind(_lazy("Balance is low"), "money", "", _lazy("Top up")),
        # suppliers
        "pool.wake": Kind(_lazy("Pool whose agent is silent"), "pool", "pool", _lazy("Look into it")),
        "node.mend": Kind(_lazy("Node that is down or unfit"), "pool", "pool", _lazy("Look into it")),
        "import.release_awaited": Kind(_lazy("Offers that the hub holds back"), "offer_import", "import"),
        "blackout.ahead": Kind(_lazy("Blackout ahead"), "pool", "pool"),
        "statement.awaited": Kind(_lazy("Statement that waits for its payout"), "statement", "statement"),
        "statement.invoice": Kind(
            _lazy("Statement: what you invoice"), "statement", "statement", _lazy("Read it")
        ),
        "payout.paid": Kind(_lazy("Payout"), "statement", "statement"),
        "credit.read": Kind(_lazy("Credit note"), "credit_note", "credit"),
    }
)
_HUB_FILLED: Final = frozenset({"hub.supplier", "hub.programme", "hub.deposit"})
_OF_RESIDENTS: Final = frozenset({"deposit.awaited", "refund.awaited"})
"""Kinds whose page is the desk's, which residents do not enter."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of Today."""

    kind: str
    words: Any
    title: str
    who: str
    amount: int | None
    since: datetime | None
    due_at: datetime | None
    href: str
    action: Any
    is_late: bool
    is_soon: bool
    count: int | None
    done_s: int | None = None
    """How far a run is, of `whole_s`."""
    whole_s: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """What is whose turn."""

    turn: str
    title: Any
    items: Sequence[Item]
    more: bool
    """Whether a kind in it has more than are listed."""


@dataclass(frozen=True, slots=True)
class Way:
    """First steps, where they lead, and the one to take now."""

    title: str
    steps: Sequence[Step]
    go: str = ""
    """What the button says; empty: the step's own title."""

    @property
    def next(self) -> Step | None:
        return next((step for step in self.steps if step.at == "now"), None)


@dataclass(frozen=True, slots=True)
class Day:
    """The page."""

    groups: Sequence[Group]
    way: "Way | None" = None
    """The first steps, for who has not gone them; None for everybody else."""

    @property
    def yours(self) -> int:
        return sum(len(group.items) for group in self.groups if group.turn == Turn.YOURS)


def day_of(actor: Actor, *, purse: PurseShown | None, now: datetime) -> Day:
    """Today, for who looks: as many queries as there are `SOURCES`."""
    waiting = [one for source in SOURCES for one in source.waiting_for(actor, now=now)]
    new = not any(one.kind == "order.last" for one in waiting)
    if purse and not new and purse.available < BALANCE_LOW_MICROS and not purse.vouchers:
        waiting.append(_low(purse))
    by_turn: dict[Turn, list[Waiting]] = {turn: [] for turn in Turn}
    for one in waiting:
        if one.kind in KINDS:
            by_turn[one.turn].append(one)
    groups = [
        Group(
            turn.value,
            title,
            [_item(one, actor, now=now) for one in sorted(by_turn[turn], key=_urgency)],
            more=any(len([1 for one in by_turn[turn] if one.kind == kind]) >= ARM_ROWS for kind in KINDS),
        )
        for turn, title in _titles().items()
    ]
    way = _way(actor, purse, {one.kind for one in waiting})
    return Day([group for group in groups if group.items], way)


def _way(actor: Actor, purse: PurseShown | None, there: Set[str]) -> Way | None:
    """An operator's first steps on an empty hub, a supplier's to a first offer, anybody's to a first receipt."""
    if HubRole.OPERATOR in actor.hub_roles:
        return None if there >= _HUB_FILLED else Way(_("To an open hub"), _steps_of_hub(there))
    if actor.hub_roles or purse is None or "order.last" in there:
        return None
    if Capability.SUPPLIER in purse.organisation.capabilities:
        done = {"pool.any", "offer.any"} <= there
        return None if done else Way(_("To your first offer"), _steps_of_supplier(purse, there))
    return Way(_("To your first receipt"), _first_steps(purse), _("Start a first run"))


def _in_turn(steps: Sequence[tuple[bool, str, str, str]]) -> list[Step]:
    """Steps (done, title, note, address); the first that is not done is to be taken now."""
    now = next((number for number, step in enumerate(steps) if not step[0]), len(steps))
    return [
        Step(title, "done" if done else "now" if number == now else "later", note, "" if done else address)
        for number, (done, title, note, address) in enumerate(steps)
    ]


def _steps_of_supplier(purse: PurseShown, there: Set[str]) -> list[Step]:
    return _in_turn(
        [
            (True, _("Admitted as a compute supplier"), purse.organisation.name, ""),
            (
                "pool.any" in there,
                _("A first pool: your cluster as the hub knows it"),
                _("An agent on it reports machines and takes runs; no port is opened."),
                address_of("new_pool"),
            ),
            (
                "offer.any" in there,
                _("A first offer: what is sold, at what price"),
                _("By hand, or a file of many."),
                address_of("new_offer"),
            ),
        ]
    )


def _steps_of_hub(there: Set[str]) -> list[Step]:
    return _in_turn(
        [
            (
                "hub.supplier" in there,
                _("Admit a supplier"),
                _("It makes its pool and puts its offers on the shelf."),
                address_of("desk_organisations"),
            ),
            (
                "hub.programme" in there,
                _("Propose a programme"),
                _("What the vouchers pay, for whom; a checker puts it in force."),
                address_of("desk_programme_new"),
            ),
            (
                "hub.deposit" in there,
                _("Enter a deposit"),
                _("What a buyer paid in; a checker confirms it."),
                address_of("desk_deposit_new"),
            ),
            (
                False,
                _("Exchange rates"),
                _("Only where suppliers list prices in another currency."),
                address_of("desk_rates"),
            ),
        ]
    )


def _titles() -> dict[Turn, str]:
    return {
        Turn.YOURS: _("Yours to do now"),
        Turn.UNDER_WAY: _("Under way"),
        Turn.OTHERS: _("Waits on others"),
        Turn.DONE: _("Papers of today"),
    }


def _urgency(one: Waiting) -> tuple[bool, datetime, datetime]:
    """What is due comes first, the soonest first; then what waits longest. Receipts: the newest first."""
    far = datetime.max.replace(tzinfo=UTC)
    since = one.since or far
    return (one.due_at is None, one.due_at or far, since if one.turn is not Turn.DONE else _mirrored(since))


def _mirrored(at: datetime) -> datetime:
    return datetime.max.replace(tzinfo=UTC) - (at - datetime.min.replace(tzinfo=UTC))


def _item(one: Waiting, actor: Actor, *, now: datetime) -> Item:
    kind = KINDS[one.kind]
    outside = one.kind in _OF_RESIDENTS and not actor.hub_roles
    running = one.kind == "run.running" and one.due_at and one.since
    return Item(
        kind=one.kind,
        words=kind.words,
        title=one.title,
        who=one.who,
        amount=one.amount_micros,
        since=one.since,
        due_at=one.due_at,
        href=address_of("deposits") if outside else kind.href(one),
        action=kind.action,
        is_late=bool(one.due_at and one.due_at <= now),
        is_soon=bool(one.turn is Turn.YOURS and one.due_at and now < one.due_at <= now + SOON),
        count=one.count,
        done_s=int((now - one.since).total_seconds()) if running and one.since else None,
        whole_s=int((one.due_at - one.since).total_seconds()) if running and one.since and one.due_at else 0,
    )


def _low(purse: PurseShown) -> Waiting:
    return Waiting(
        kind="balance.low",
        turn=Turn.YOURS,
        subject_id=purse.organisation.id,
        title=purse.organisation.name,
        who="",
        amount_micros=purse.available,
        since=None,
        due_at=None,
    )


def _first_steps(purse: PurseShown) -> list[Step]:
    funded = bool(purse.available or purse.vouchers)
    money = (
        _("A voucher or your balance pays for it.")
        if funded
        else _("Ask the operator for a voucher, or top up.")
    )
    return _in_turn(
        [
            (True, _("An account and an organisation"), purse.organisation.name, ""),
            (False, _("A first run: choose what to run, see who pays what"), money, reverse("quote")),
            (False, _("The receipt: what was used, what it cost, who paid"), "", ""),
        ]
    )
