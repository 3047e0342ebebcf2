"""What the checkout, the run and the receipt show: what will be held, what happened when, what an amount rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.utils.translation import gettext as _

from mosu.compute.blocks import if_cancelled, lost_s, nodes_of_block, period_of, terms_of
from mosu.compute.models import Attempt, Block, Run
from mosu.compute.queries import curve_of, last_attempt_of, shares_of
from mosu.compute.states import is_ended
from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import typeid
from mosu.kernel.money import micros_of
from mosu.kernel.time import Period
from mosu.ledger.models import Posting
from mosu.ledger.queries import postings_about
from mosu.market import rules
from mosu.market.blocks import BlockTerms, ended_early
from mosu.market.models import Order, Quote, QuoteState, Receipt, SoldBy, UsageRecord
from mosu.market.queries import usage_visible_to
from mosu.market.receipts import usage_digest
from mosu.platform.actors import Actor
from mosu.subsidies.models import ProgrammeVersion, Voucher
from mosu.subsidies.queries import vouchers_visible_to, vouchers_with_balances
from mosu.subsidies.services import Source, Split, split_at
from mosu.web.components import Curve, Fact, Moment, Point
from mosu.web.labels import accelerator_name, block_facts
from mosu.web.places import region_named
from mosu.web.presenters import Bilingual, SplitShown, duration
from mosu.web.words import supplier_named, title_of

POINTS_MAX: Final = 240
"""Of a curve as it is drawn: a day has six times as many."""
RECORDS_MAX: Final = 200
MIB: Final = 1 << 20
GIB: Final = 1 << 30


# Checkout


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
        Outcome(
            _("The hub or the supplier fails"),
            _("Nothing is charged, and all of the hold comes back without asking."),
            at(0),
        ),
        Outcome(
            _("You cancel before it starts"),
            _("Nothing is charged. Later, what was used until then is."),
            at(0),
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


# Block


@dataclass(frozen=True, slots=True)
class BlockShown:
    """A block on its order's page."""

    public_id: str
    state: str
    starts_at: datetime
    ends_at: datetime
    nodes: str
    holds: str
    lost: str
    """Unit-hours that were not delivered; empty if all were."""
    terms: Sequence[Fact]
    charged: int
    back: int
    lives: bool
    cancels: bool
    """Whether the person may give it back now."""

    @property
    def command(self) -> str:
        """What runs a task inside it."""
        return f"mosu run task.yaml --block {self.public_id}"

    @classmethod
    def of(cls, block: Block, *, may_cancel: bool, now: datetime) -> "BlockShown":
        early = if_cancelled(block, now=now)
        lost = lost_s(block, now=now)
        goods = accelerator_name(block.accelerator) if block.accelerator else _("Cores")
        return cls(
            public_id=block.public_id,
            state=f"block_{block.state}",
            starts_at=block.period.lower,
            ends_at=block.period.upper,
            nodes=", ".join(nodes_of_block(block)),
            holds=_("%(nodes)s nodes × %(count)s · %(goods)s")
            % {"nodes": block.nodes, "count": block.cards or block.cores, "goods": goods},
            lost=f"{lost / 3600:,.2f}" if lost else "",
            terms=block_facts(terms_of(block), longest_s=int(period_of(block).duration.total_seconds())),
            charged=early.charged_micros if early else 0,
            back=early.back_micros if early else 0,
            lives=early is not None,
            cancels=early is not None and may_cancel,
        )


# Run


def moments_of(order: Order, run: Run, *, now: datetime) -> list[Moment]:
    """What happened to the run, and what is to come."""
    attempt = last_attempt_of(run)
    ended, started = is_ended(run.state), run.started_at
    found = [Moment(_("Ordered"), order.placed_at, note=_("capacity and money are held"))]
    if attempt is not None and attempt.leased_at:
        found.append(Moment(_("Given to the supplier"), attempt.leased_at))
    if started is None and not ended:
        found.append(Moment(_("Starts"), max(order.quote.starts_at, now), "wait"))
    if started is not None:
        found.append(Moment(_("Started"), started, "ok" if ended else "live", note=_place_of(attempt)))
    if run.cancel_asked_at and not ended:
        found.append(Moment(_("Told to stop"), run.cancel_asked_at, "wait"))
    if run.ended_at is not None:
        well = run.state == "succeeded"
        found.append(Moment(_ending(run), run.ended_at, "ok" if well else "refused", note=_exit(run)))
    elif started is not None:
        by = started + timedelta(seconds=order.quote.wall_limit_s)
        found.append(Moment(_("Stopped at the latest"), by, "later"))
    if order.settled_at:
        found.append(Moment(_("Charged, the rest released"), order.settled_at))
    elif not ended:
        found.append(Moment(_("Charged, the rest released"), None, "later"))
    return found


def _place_of(attempt: Attempt | None) -> str:
    names = [share.node.name for share in shares_of(attempt)] if attempt is not None else []
    return _("on %(node)s") % {"node": ", ".join(names)} if names else ""


def _ending(run: Run) -> str:
    return {
        "succeeded": _("Ended well"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
        "timed_out": _("Stopped at its limit"),
    }.get(run.state, run.state)


def _exit(run: Run) -> str:
    return _("exit code %(code)s") % {"code": run.exit_code} if run.exit_code is not None else ""


def curves_of(run: Run) -> list[Curve]:
    """CPU and memory of the run's last attempt; empty where its engine takes no samples."""
    points = curve_of(run)
    attempt = last_attempt_of(run)
    if not points or attempt is None or attempt.started_at is None:
        return []
    step = -(-len(points) // POINTS_MAX)
    kept = points[::step] if (len(points) - 1) % step == 0 else [*points[::step], points[-1]]
    began = attempt.started_at
    at = [began + timedelta(seconds=point.seconds) for point in kept]
    cores = [Point(moment, round(point.cores, 3)) for moment, point in zip(at, kept, strict=True)]
    unit, size = ("GiB", GIB) if max(point.memory_bytes for point in kept) >= GIB else ("MiB", MIB)
    memory = [
        Point(moment, round(point.memory_bytes / size, 3)) for moment, point in zip(at, kept, strict=True)
    ]
    return [
        Curve(_("CPU cores"), "", cores, limit=float(run.request["cores"])),
        Curve(_("Memory"), unit, memory, limit=run.request["memory_bytes"] / size),
    ]


# Receipt


@dataclass(frozen=True, slots=True)
class LineEvidence:
    """What one line of a receipt rests on: records of usage, the frozen price, and the sum made again."""

    number: int
    text: Bilingual
    meter: str
    unit: str
    price: int
    per: int
    metered: int
    reported: int
    """What the supplier's engine reported, whatever of it counts."""
    observed: int | None
    """The most that the hub itself can have seen used; None where it sees nothing."""
    records: Sequence[UsageRecord]
    records_more: int
    quarantined: int
    recomputed: int
    amount: int
    credited: bool

    @property
    def agrees(self) -> bool:
        return self.recomputed == self.amount


@dataclass(frozen=True, slots=True)
class ShareEvidence:
    """What a voucher's part rests on: the programme's version, its rate and limit."""

    number: int
    label: Bilingual
    source: str
    amount: int
    limit: int
    rate: str
    voucher_id: str
    programme_code: str
    version: int
    version_sha256: str
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a receipt can be followed back to."""

    lines: Sequence[LineEvidence]
    shares: Sequence[ShareEvidence]
    postings: Sequence[Posting]
    quote_id: str
    quoted_at: datetime
    usage_records: int
    usage_agrees: bool
    content_agrees: bool


def evidence_of(actor: Actor, receipt: Receipt) -> Evidence:
    """The receipt followed back, its sums and hashes made again; a fixed number of queries."""
    order, content = receipt.order, receipt.content
    records = list(usage_visible_to(actor, order.id))
    quote = order.quote
    vouchers = {
        voucher.public_id: voucher
        for voucher in vouchers_visible_to(actor).filter(
            id__in=[share.voucher_id for share in Split.from_json(quote.split).shares if share.voucher_id]
        )
    }
    accounts = [voucher.account_id for voucher in vouchers.values() if voucher.account_id]
    return Evidence(
        lines=[
            _line_evidence(number, line, frozen, records, content)
            for number, (line, frozen) in enumerate(
                zip(content["lines"], rules.lines_of_json(quote.lines), strict=False), start=1
            )
        ],
        shares=[
            _share_evidence(number, share, vouchers)
            for number, share in enumerate(content["split"], start=1)
            if share["voucher_id"]
        ],
        postings=list(postings_about(actor, order.id, also=accounts)),
        quote_id=quote.public_id,
        quoted_at=quote.created_at,
        usage_records=content["evidence"]["usage_records"],
        usage_agrees=usage_digest(records) == content["evidence"]["usage_sha256"],
        content_agrees=sha256_of(content) == receipt.sha256,
    )


def _line_evidence(
    number: int,
    line: Mapping[str, Any],
    frozen: rules.QuotedLine,
    records: Sequence[UsageRecord],
    content: Mapping[str, Any],
) -> LineEvidence:
    own = [record for record in records if record.order_line.public_id == frozen.id]
    accepted = sum(record.quantity_accepted for record in own)
    credited = content["outcome"] == "platform_failure"
    return LineEvidence(
        number=number,
        text=line["text"],
        meter=frozen.meter,
        unit=frozen.unit,
        price=frozen.unit_price_micros,
        per=frozen.per,
        metered=accepted,
        reported=sum(record.quantity for record in own),
        observed=max(
            (one.quantity_observed for one in own if one.quantity_observed is not None), default=None
        ),
        records=own[:RECORDS_MAX],
        records_more=max(0, len(own) - RECORDS_MAX),
        quarantined=sum(record.quantity - record.quantity_accepted for record in own),
        recomputed=0
        if credited
        else rules.amount_of(accepted, frozen.price, currency=str(content["currency"])),
        amount=micros_of(line["amount"]),
        credited=credited,
    )


def _share_evidence(number: int, share: Mapping[str, Any], vouchers: Mapping[str, Voucher]) -> ShareEvidence:
    voucher = vouchers.get(share["voucher_id"])
    version: ProgrammeVersion | None = voucher.version if voucher else None
    return ShareEvidence(
        number=number,
        label=share["label"],
        source=share["source"],
        amount=micros_of(share["amount"]),
        limit=micros_of(share["limit"]),
        rate=f"{(Decimal(share['rate'] or 0) * 100).normalize():f}%",
        voucher_id=share["voucher_id"],
        programme_code=version.programme.code if version else "",
        version=share["programme"]["version"],
        version_sha256=version.sha256 if version else "",
        released_at=version.released_at if version else None,
    )
