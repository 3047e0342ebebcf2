"""What pages show of rows: plain values, ready to print in either language."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote as quote_path

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from mosu.compute.models import Run
from mosu.compute.queries import costs_of, last_attempt_of
from mosu.compute.queue import in_line
from mosu.compute.reach import is_reached
from mosu.compute.services import LogSlice, QuoteResult, RefusedOffer, log_of
from mosu.compute.states import AttemptState, is_ended
from mosu.kernel.money import micros_of
from mosu.market.models import Order, Quote, Receipt, SoldBy
from mosu.market.rules import QuotedLine, lines_of_json
from mosu.subsidies.services import Source, Split
from mosu.web.places import region_named
from mosu.web.words import (
    Said,
    mark_of,
    said_here,
    said_of_reason,
    state_name,
    supplier_named,
    title_of,
)
from mosu.wire.images import image_of

Bilingual = Mapping[str, str]


@dataclass(frozen=True)
class ShareShown:
    """One line of the split bar's key."""

    label: Bilingual
    amount: int


@dataclass(frozen=True)
class SplitShown:
    """Who pays what; `final` once it is charged."""

    pay_now: int
    voucher_now: int
    refund_later: int
    vouchers: Sequence[ShareShown]
    refunds: Sequence[ShareShown]
    final: bool = False

    @classmethod
    def of(cls, split: Split) -> "SplitShown":
        """As promised by a quote."""
        shares = [(share.source, ShareShown(title_of(share), share.amount_micros)) for share in split.shares]
        return cls._of(shares, final=False)

    @classmethod
    def charged(cls, content: Mapping[str, Any]) -> "SplitShown":
        """As charged, from a receipt's content."""
        shares = [
            (Source(share["source"]), ShareShown(share["label"], micros_of(share["amount"])))
            for share in content["split"]
        ]
        return cls._of(shares, final=True)

    @classmethod
    def _of(cls, shares: Sequence[tuple[Source, ShareShown]], *, final: bool) -> "SplitShown":
        by_source = {source: [shown for kind, shown in shares if kind is source] for source in Source}
        total = {source: sum(shown.amount for shown in group) for source, group in by_source.items()}
        return cls(
            pay_now=total[Source.BALANCE],
            voucher_now=total[Source.VOUCHER],
            refund_later=total[Source.REFUND],
            vouchers=by_source[Source.VOUCHER],
            refunds=by_source[Source.REFUND],
            final=final,
        )


@dataclass(frozen=True)
class CopyingShown:
    """One plan's copies; `volumes` are the names of those that are there already."""

    into: str
    back: str
    volumes: str

    @classmethod
    def of(cls, quote: Quote) -> "CopyingShown | None":
        """None of what copies nothing by its kind: a block, a volume."""
        facts: dict[str, Any] | None = quote.facts.get("copying")
        if facts is None:
            return None
        return cls(
            into=_copied(facts["in_bytes"], facts["in_s"], facts["in_bytes_per_s"]),
            back=_copied(facts["out_bytes"], facts["out_s"], facts["out_bytes_per_s"]),
            volumes=", ".join(one["name"] for one in quote.request.get("volumes", ())),
        )


@dataclass(frozen=True)
class QuoteShown:
    """A plan with its price, and who would pay it."""

    public_id: str
    title: Bilingual
    supplier: str
    total_max: int
    split: SplitShown
    starts_at: datetime
    valid_until: datetime
    wall_limit: str
    holds_until: datetime
    lines: Sequence[QuotedLine]
    billed_by_supplier: bool
    region: str
    copying: CopyingShown | None

    @classmethod
    def of(cls, quote: Quote) -> "QuoteShown":
        return cls(
            public_id=quote.public_id,
            title=quote.terms["title"],
            supplier=supplier_named(quote.terms["supplier"]["name"]),
            total_max=quote.total_max_micros,
            split=SplitShown.of(Split.from_json(quote.split)),
            starts_at=quote.starts_at,
            valid_until=quote.valid_until,
            wall_limit=duration(quote.wall_limit_s),
            holds_until=quote.holds_until,
            lines=lines_of_json(quote.lines),
            region=region_named(quote.offer.attributes.get("region") or ""),
            billed_by_supplier=quote.terms["sold_by"] == SoldBy.SUPPLIER,
            copying=CopyingShown.of(quote),
        )


@dataclass(frozen=True)
class RefusedGroup:
    """Offers that were refused for the same reasons: how many, and some of them by name."""

    reasons: Sequence[Said]
    titles: Sequence[Bilingual]
    count: int


def refused_groups(result: QuoteResult) -> list[RefusedGroup]:
    """One group for each set of reasons; what concerns fewest offers comes first, since it says most."""
    counts: Counter[frozenset[str]] = Counter()
    for counted in result.refused_groups:
        counts[counted.codes] += counted.count
    groups: dict[tuple[str, ...], list[RefusedOffer]] = {}
    for one in result.refused:
        groups.setdefault(tuple(reason.code for reason in one.reasons), []).append(one)
    found = [
        RefusedGroup(
            reasons=[said_of_reason(reason, of_several=len(group) > 1) for reason in group[0].reasons],
            titles=[title_of(one) for one in group],
            count=max(len(group), counts[frozenset(codes)]),
        )
        for codes, group in groups.items()
    ]
    return sorted(found, key=lambda group: group.count)


@dataclass(frozen=True)
class OrderShown:
    """An order, in a list or on its own page."""

    public_id: str
    number: str
    title: Bilingual
    supplier: str
    state: str
    placed_at: datetime
    total: int | None
    total_max: int
    cost: int
    split: SplitShown
    receipt_id: str | None
    name: str = ""
    """Of its run, where it has one."""
    quote_id: str = ""

    @property
    def left(self) -> int:
        """What of the most it can cost is not used."""
        return self.total_max - self.cost

    @property
    def vouchers(self) -> int | None:
        """What vouchers paid of the total; None until it is settled."""
        return self.split.voucher_now if self.total is not None else None

    @property
    def paid(self) -> int | None:
        return self.split.pay_now if self.total is not None else None

    @property
    def mark(self) -> str:
        return mark_of(self.state)

    @property
    def state_name(self) -> str:
        return state_name(self.state)

    @classmethod
    def of(cls, order: Order, *, cost: int | None = None) -> "OrderShown":
        """The caller fetched `quote` and `receipt` with the order."""
        terms = order.quote.terms
        receipt: Receipt | None = getattr(order, "receipt", None)
        return cls(
            public_id=order.public_id,
            number=order.number,
            title=terms["title"],
            supplier=supplier_named(terms["supplier"]["name"]),
            state=order.state,
            placed_at=order.placed_at,
            total=order.total_micros,
            total_max=order.total_max_micros,
            cost=order.total_micros if order.total_micros is not None else cost or 0,
            split=SplitShown.charged(receipt.content)
            if receipt
            else SplitShown.of(Split.from_json(order.quote.split)),
            receipt_id=receipt.public_id if receipt else None,
            name=str(order.quote.facts.get("name") or ""),
            quote_id=order.quote.public_id,
        )


def duration(seconds: int) -> str:
    """`1 h 30 min`, in the page's language."""
    span = timedelta(seconds=seconds)
    hours, rest = divmod(int(span.total_seconds()), 3600)
    minutes, left = divmod(rest, 60)
    parts = [(hours, _("%d h")), (minutes, _("%d min")), (left, _("%d s"))]
    return " ".join(text % count for count, text in parts if count) or _("%d s") % 0


def _copied(size_bytes: int | None, expected_s: int | None, bytes_per_s: int | None) -> str:
    if size_bytes == 0:
        return _("nothing")
    if size_bytes is None:
        rate = _("%(rate)s a second last") % {"rate": filesizeformat(bytes_per_s)} if bytes_per_s else ""
        return _("size not known yet · %(pace)s") % {"pace": rate or _("not yet measured there")}
    pace = _("not yet measured there") if expected_s is None else _("about %s") % duration(expected_s)
    return f"{filesizeformat(size_bytes)} · {pace}"


def moment(at: datetime) -> str:
    """A time within the year, in the hub's zone, for a sentence."""
    return timezone.localtime(at).strftime("%m-%d %H:%M")


def receipt_shown(receipt: Receipt) -> dict[str, Any]:
    """The frozen content, with what the page adds."""
    content = receipt.content
    shares = [{**share, "at": number} for number, share in enumerate(content["split"], start=1)]
    return {
        **content,
        "lines": [{**line, "tiny": _rounds_to_nothing(line)} for line in content["lines"]],
        "seller": supplier_named(content["seller"]["name"]),
        "buyer": content["buyer"]["name"],
        "issued_at": receipt.issued_at,
        "bar": SplitShown.charged(content),
        "sha256": receipt.sha256,
        "vouchers": [share for share in shares if share["source"] == Source.VOUCHER],
        "refunds": [share for share in shares if share["source"] == Source.REFUND],
        "tax_percent": f"{float(content['tax']['rate']) * 100:g}%",
        "order_public_id": content["order"]["id"],
    }


def _rounds_to_nothing(line: Mapping[str, Any]) -> bool:
    """Whether a line of a receipt is 0.00 because its price is below half of the smallest unit."""
    exact = Decimal(line["quantity"]) * Decimal(line["unit_price"])
    amount, price = Decimal(line["amount"]), Decimal(line["unit_price"])
    return amount == 0 and price > 0 and round(exact, -int(amount.as_tuple().exponent)) == 0


@dataclass(frozen=True)
class RunShown:
    """A run on its order's page."""

    name: str
    state: str
    live: bool
    reason: str
    why_waiting: str
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    elapsed_s: int
    limit_s: int
    cancelling: bool
    measures: Sequence[tuple[str, str]]
    outputs: Sequence[Mapping[str, Any]]
    log: str
    log_offset: int
    stream: str
    cost: int

    @property
    def mark(self) -> str:
        return mark_of(self.state)

    @property
    def state_name(self) -> str:
        return state_name(self.state)

    @property
    def elapsed(self) -> str:
        return duration(self.elapsed_s)

    @property
    def limit(self) -> str:
        return duration(self.limit_s)

    @property
    def ends_by(self) -> datetime | None:
        """When it is stopped at the latest; None unless it runs."""
        running = self.live and self.started_at is not None
        return self.started_at + timedelta(seconds=self.limit_s) if running and self.started_at else None

    @classmethod
    def of_order(cls, order: Order, run: Run, *, now: datetime, with_log: bool = True) -> "RunShown":
        """The run that the order bought, with its log so far."""
        last = last_attempt_of(run)
        log = log_of(run, offset=0, now=now) if with_log else _NO_LOG
        return cls(
            name=run.name,
            state=run.state,
            live=not is_ended(run.state),
            reason=said_here(run.reason),
            why_waiting=_why_waiting(run, now=now) or _idle(run),
            started_at=run.started_at,
            ended_at=run.ended_at,
            exit_code=run.exit_code,
            elapsed_s=_elapsed_s(run, now=now),
            limit_s=order.quote.wall_limit_s + (last.extended_s if last is not None else 0),
            cancelling=run.cancel_asked_at is not None,
            measures=_measures(run.measures or {}),
            outputs=[
                {**output, "url": f"/runs/{run.public_id}/outputs/{quote_path(output['path'])}"}
                for output in run.outputs
            ],
            log=log.data.decode(errors="replace"),
            log_offset=log.next_offset,
            stream=f"/runs/{run.public_id}/log",
            cost=costs_of([run])[run.id],
        )


def _idle(run: Run) -> str:
    """That its accelerators do nothing, once its people were told."""
    attempt = None if is_reached(run) else last_attempt_of(run)  # a session says it in a place of its own
    if attempt is None or is_ended(run.state) or attempt.idle_since is None or attempt.idle_told_at is None:
        return ""
    since = timezone.localtime(attempt.idle_since).strftime("%H:%M")
    return (
        _(
            "Its accelerators have done nothing since %s, and are paid for. "
            "Cancel the run if it is not needed: its outputs are saved."
        )
        % since
    )


def _why_waiting(run: Run, *, now: datetime) -> str:
    """What a run waits for: its turn, when that is expected, and how good such words were."""
    if run.state != "queued":
        return ""
    line = in_line([run], now=now).get(run.id)
    if line is None:
        return _what_is_prepared(run) or _("Waits for a free place in the pool.")
    form = "%H:%M" if line.promised_at - now < timedelta(hours=12) else "%m-%d %H:%M"
    said = [
        _("Place %(place)s of %(waiting)s in the pool's queue.")
        % {"place": line.place, "waiting": line.waiting}
    ]
    if line.promised_at <= now:
        said.append(_("It is due: the pool's agent takes it next."))
    else:
        said.append(
            _("Expected to start at %(expected)s, at the latest at %(promised)s.")
            % {
                "expected": timezone.localtime(line.expected_at).strftime(form),
                "promised": timezone.localtime(line.promised_at).strftime(form),
            }
        )
        if line.estimates.median_error_s is not None:
            said.append(
                _("Of the last %(count)s estimates here, half were off by %(error)s or less.")
                % {"count": line.estimates.count, "error": duration(line.estimates.median_error_s)}
            )
    return " ".join(said)


def _what_is_prepared(run: Run) -> str:
    """What its pool does before it starts; empty where no pool has it."""
    attempt = last_attempt_of(run)
    if attempt is None or attempt.state != AttemptState.LEASED:
        return ""
    if image_of(run.request.get("environment", "")):
        return _(
            "The pool prepares it, and fetches its image first where it does not have it yet. "
            "That may take minutes and costs nothing: time counts from the start."
        )
    return _("The pool prepares it.")


_NO_LOG: Final = LogSlice(b"", 0, 0, "", False)


def _elapsed_s(run: Run, *, now: datetime) -> int:
    if run.started_at is None:
        return 0
    return max(0, int(((run.ended_at or now) - run.started_at).total_seconds()))


def _measures(measures: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not measures:
        return []
    found = []
    if measures["cpu_s"] is not None:
        found.append((_("CPU time"), f"{measures['cpu_s']:.1f} s"))
    if measures["memory_peak_bytes"] is not None:
        source = _("counted by the kernel") if measures["memory_source"] == "cgroup" else _("sampled")
        found.append((_("Peak memory"), f"{measures['memory_peak_bytes'] / 2**20:,.0f} MiB ({source})"))
    up_s, restarts = measures.get("uptime_s"), measures.get("restarts", 0)
    if up_s is not None and measures["wall_s"]:
        again = ngettext("started again %(n)s time", "started again %(n)s times", restarts) % {"n": restarts}
        found.append((_("Well"), f"{100 * up_s / measures['wall_s']:.2f} % ({again})"))
    return found
