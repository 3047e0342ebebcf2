"""The checkout: what will be held, and what each ending costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from mosu.compute.requests import is_of_extension
from mosu.compute.volumes import SHELF as STORAGE
from mosu.kernel.ids import typeid
from mosu.kernel.time import Period
from mosu.market import rules
from mosu.market.blocks import BlockTerms, ended_early
from mosu.market.models import Quote, QuoteState, SoldBy
from mosu.platform.actors import Actor
from mosu.subsidies.models import Voucher
from mosu.subsidies.queries import vouchers_visible_to, vouchers_with_balances
from mosu.subsidies.services import Source, Split, split_at
from mosu.web.places import region_named
from mosu.web.presenters import Bilingual, CopyingShown, SplitShown, duration
from mosu.web.words import supplier_named, title_of


@dataclass(frozen=True, slots=True)
class Holding:
    """What an order takes out of one purse until it ends."""

    title: Bilingual | str
    id: str
    before: int | None
    hold: int
    public: bool
    later: bool = False
    """It is kept for a refund that is claimed afterwards."""

    @property
    def after(self) -> int | None:
        return None if self.before is None else self.before - self.hold

    @property
    def short(self) -> int:
        """What is missing."""
        return max(0, self.hold - self.before) if self.before is not None else 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one ending of the run costs."""

    title: str
    note: str
    split: SplitShown

    @property
    def total(self) -> int:
        return self.split.pay_now + self.split.voucher_now


@dataclass(frozen=True)
class CheckoutShown:
    """One quote before it is ordered: what is held, until when, and what each ending costs."""

    public_id: str
    state: str
    title: Bilingual
    supplier: str
    region: str
    name: str
    kind: str
    """`batch`, `session` or `service`."""
    starts_at: datetime
    waits: bool
    wall_limit: str
    grace: str
    holds_until: datetime
    valid_until: datetime
    lines: Sequence[rules.QuotedLine]
    total_max: int
    split: SplitShown
    holdings: Sequence[Holding]
    outcomes: Sequence[Outcome]
    billed_by_supplier: bool
    task: str
    paid_by: str
    """The number of the order that paid for it already; empty for most."""
    reserves: str
    """The offer's public id where the quote is of a block; empty: of a run."""
    extends: str
    """The public id of the order whose run it gives more time; empty for most."""
    days: int
    """For how long it keeps a volume; 0: it keeps none."""
    copying: CopyingShown | None

    @property
    def short(self) -> int:
        """What the own money is short of; 0 if it suffices."""
        return max((one.short for one in self.holdings if not one.public), default=0)

    @property
    def own_hold(self) -> int:
        return sum(one.hold for one in self.holdings if not one.public)

    @property
    def public_hold(self) -> int:
        return sum(one.hold for one in self.holdings if one.public and not one.later)


def checkout_shown(actor: Actor, quote: Quote, *, available: int | None, now: datetime) -> CheckoutShown:
    """The quote before it is ordered; `available` is the buyer's own money, None for who may not see it."""
    split = Split.from_json(quote.split)
    expired = quote.state == QuoteState.OPEN and now > quote.valid_until
    return CheckoutShown(
        public_id=quote.public_id,
        state=QuoteState.EXPIRED if expired else quote.state,
        title=quote.terms["title"],
        supplier=supplier_named(quote.terms["supplier"]["name"]),
        region=region_named(quote.offer.attributes.get("region") or ""),
        name=str(quote.facts.get("name") or ""),
        kind=quote.request.get("kind", "batch"),
        starts_at=quote.starts_at,
        waits=quote.starts_at > now,
        wall_limit=duration(quote.wall_limit_s),
        grace=duration(int(quote.facts.get("grace_s", 0))),
        holds_until=quote.holds_until,
        valid_until=quote.valid_until,
        lines=rules.lines_of_json(quote.lines),
        total_max=quote.total_max_micros,
        split=SplitShown.of(split),
        holdings=_holdings(actor, quote, split, available=available),
        outcomes=_outcomes(quote, split),
        billed_by_supplier=quote.terms["sold_by"] == SoldBy.SUPPLIER,
        task=str(quote.request.get("task", "")),
        paid_by=str(quote.terms.get("paid_by", {}).get("number", "")),
        reserves=quote.offer.public_id if "block" in quote.terms else "",
        extends=str(quote.facts["order"]) if is_of_extension(quote.request) else "",
        days=quote.facts["days"] if quote.shelf == STORAGE else 0,
        copying=CopyingShown.of(quote),
    )


def _holdings(actor: Actor, quote: Quote, split: Split, *, available: int | None) -> list[Holding]:
    drawn = [share for share in split.shares if share.voucher_id]
    rows = vouchers_visible_to(actor).filter(id__in=[share.voucher_id for share in drawn])
    left = {one.voucher.id: one.remaining_micros for one in vouchers_with_balances(rows)}
    found = [
        Holding(
            title=title_of(share),
            id=typeid(Voucher.prefix, share.voucher_id) if share.voucher_id else "",
            before=left.get(share.voucher_id) if share.voucher_id else None,
            hold=share.limit_micros,
            public=True,
            later=share.source is Source.REFUND,
        )
        for share in drawn
    ]
    if quote.terms["sold_by"] == SoldBy.HUB:
        found.append(Holding(_("Balance"), "", available, split.pay_hold_micros, public=False))
    return found


def _outcomes(quote: Quote, split: Split) -> list[Outcome]:
    """The endings, each by the same rules that will charge it."""
    if "block" in quote.terms:
        return _endings_of_block(quote, split)
    used = [line.quantity_max // 2 for line in rules.lines_of_json(quote.lines)]
    half = sum(
        rules.amount_of(quantity, line.price, currency=quote.currency)
        for quantity, line in zip(used, rules.lines_of_json(quote.lines), strict=True)
    )
    half_time = duration(quote.wall_limit_s // 2)
    if quote.shelf == STORAGE:
        return _endings_of_volume(quote, split, half=half, half_time=half_time)
    if is_of_extension(quote.request):
        return _endings_of_extension(quote, split, half=half, half_time=half_time)

    def at(charge: int) -> SplitShown:
        return SplitShown.of(split_at(split, charge))

    return [
        Outcome(
            _("It takes all of its time"),
            _("At %(limit)s it is stopped. It never costs more than this.")
            % {"limit": duration(quote.wall_limit_s)},
            at(quote.total_max_micros),
        ),
        Outcome(
            _("It ends after %(time)s") % {"time": half_time},
            _("You pay for what is used; the rest is released at once."),
            at(half),
        ),
        Outcome(
            _("Your program fails"),
            _("What it used until then is paid, as if it had ended well. Its log and files stay."),
            at(half),
        ),
        _when_we_fail(split),
        Outcome(
            _("You cancel before it starts"),
            _("Nothing is charged. Later, what was used until then is."),
            at(0),
        ),
    ]


def _when_we_fail(split: Split) -> Outcome:
    return Outcome(
        _("The hub or the supplier fails"),
        _("Nothing is charged, and all of the hold comes back without asking."),
        SplitShown.of(split_at(split, 0)),
    )


def _endings_of_extension(quote: Quote, split: Split, *, half: int, half_time: str) -> list[Outcome]:
    return [
        Outcome(
            _("The run takes all of this time"),
            _("Then it is stopped. This time never costs more than this."),
            SplitShown.of(split_at(split, quote.total_max_micros)),
        ),
        Outcome(
            _("It ends after %(time)s of it") % {"time": half_time},
            _("You pay for what is used; the rest is released at once."),
            SplitShown.of(split_at(split, half)),
        ),
        Outcome(
            _("It ends before this time begins"),
            _("Nothing is charged, and all of this hold comes back."),
            SplitShown.of(split_at(split, 0)),
        ),
        _when_we_fail(split),
    ]


def _endings_of_volume(quote: Quote, split: Split, *, half: int, half_time: str) -> list[Outcome]:
    return [
        Outcome(
            _("It is kept to its end"),
            _("Then it can only be read, and is deleted seven days later unless it is renewed."),
            SplitShown.of(split_at(split, quote.total_max_micros)),
        ),
        Outcome(
            _("You delete it after %(time)s") % {"time": half_time},
            _("You pay for the time that it was kept; the rest is released at once."),
            SplitShown.of(split_at(split, half)),
        ),
    ]


def _endings_of_block(quote: Quote, split: Split) -> list[Outcome]:
    """A block that is had to its end, one that is cancelled at each of its rules' limits, one that is not delivered."""
    terms = BlockTerms.of_json(quote.terms["block"])
    [line] = rules.lines_of_json(quote.lines)
    start = quote.starts_at
    period = Period(start, start + timedelta(seconds=quote.wall_limit_s))

    def at(moment: datetime) -> SplitShown:
        early = ended_early(terms, units=line.units, period=period, at=moment)
        charge = rules.amount_of(early.used + early.kept, line.price, currency=quote.currency)
        return SplitShown.of(split_at(split, charge))

    cancelled = [
        Outcome(
            _("You cancel %(hours)s h or more before the start") % {"hours": rule.before_start_hours},
            _("%(percent)s%% comes back.") % {"percent": rule.back_percent},
            at(start - timedelta(hours=rule.before_start_hours)),
        )
        for rule in terms.cancellation
    ]
    return [
        Outcome(
            _("You keep it to its end"),
            _("All of its time is paid, used or not; your runs in it cost nothing more."),
            SplitShown.of(split_at(split, quote.total_max_micros)),
        ),
        *cancelled,
        Outcome(
            _("You cancel it as it starts"),
            _("%(percent)s%% of the time that is left comes back.")
            % {"percent": terms.back_percent_after_start},
            at(start),
        ),
        Outcome(
            _("The hub or the supplier fails"),
            _("Hours in which a node could not be used are not charged, unasked."),
            SplitShown.of(split_at(split, 0)),
        ),
    ]
