"""The rows behind each link of a chain, ready to print: what was checked can be seen beside the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext, pgettext, pgettext_lazy

from mosu.compute.models import Allocation, Block
from mosu.kernel.units import many_units, one_unit
from mosu.market.rules import quantity_text
from mosu.platform.models import User
from mosu.subsidies.queries import terms_of
from mosu.subsidies.rules import results_of
from mosu.web.audit.checks import Chain, Link
from mosu.web.audit.evidence import Evidence
from mosu.web.audit.usage import bound_of, used_on
from mosu.web.deeds import deed_name
from mosu.web.templatetags.mosu import grouped, meter_name, money, state, when
from mosu.web.words import account_kind_name, change_of, entry_kind_name, title_of, told


@dataclass(frozen=True, slots=True)
class Rows:
    """A small table: its heads and, for each row, its cells. `right`: which columns hold figures."""

    title: Any
    heads: Sequence[Any]
    rows: Sequence[Sequence[Any]]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class LinkShown:
    """A link with the rows behind it."""

    number: int
    link: Link
    tables: Sequence[Rows]
    text: str = ""
    """A file, word for word."""

    @property
    def opens(self) -> bool:
        """Its rows are open when the page comes: the first two links, and one that does not hold."""
        return self.number <= 2 or self.link.verdict == "fails"


def links_shown(evidence: Evidence, chain: Chain) -> list[LinkShown]:
    """Each link of the chain with what it was made from."""
    return [
        LinkShown(
            number,
            link,
            [table for table in _TABLES.get(link.code, _nothing)(evidence) if table.rows],
            _document(evidence) if link.code == "programme" else "",
        )
        for number, link in enumerate(chain.links, 1)
    ]


def _nothing(e: Evidence) -> list[Rows]:
    return []


def _who(user: User | None) -> str:
    return user.email if user else _("by rule")


def _journal(e: Evidence) -> list[Rows]:
    rows = []
    for entry in (*e.grants, *e.entries):
        for posting in entry.postings.all():
            href = reverse("book_account", args=[posting.account.public_id])
            rows.append(
                (
                    entry_kind_name(entry.kind),
                    when(entry.posted_at, "Y-m-d H:i:s"),
                    format_html('<a href="{}">{}</a>', href, account_kind_name(posting.account.kind)),
                    posting.sequence,
                    money(posting.amount_micros),
                    money(posting.balance_after_micros),
                    _short(posting.previous_hash),
                    _short(posting.hash),
                )
            )
    heads = (
        _lazy("Entry"),
        _lazy("Posted"),
        _lazy("Account"),
        _lazy("No."),
        _lazy("Amount"),
        _lazy("Balance after"),
        _lazy("Hash before"),
        _lazy("Hash"),
    )
    return [Rows(_lazy("Postings"), heads, rows, frozenset({3, 4, 5}))]


def _short(digest: str) -> Any:
    return format_html('<code title="{}">{}…</code>', digest, digest[:10])


def _charge(e: Evidence) -> list[Rows]:
    rows = []
    for line in e.lines:
        charge = e.charges.get(line.id)
        if charge is None:
            continue
        counted = quantity_text(used_on(e, line.id), per=line.per)
        rows.append(
            (
                f"{grouped(used_on(e, line.id))} {meter_name(line.meter)}",
                f"{counted} {told(many_units(line.unit))} × {money(line.unit_price_micros)}",
                money(charge.amount_micros),
                money(charge.tax_micros),
                money(charge.credited_micros),
            )
        )
    heads = (
        _lazy("Counted"),
        _lazy("At the frozen price"),
        _lazy("Charged"),
        _lazy("Tax in it"),
        _lazy("Credited"),
    )
    return [Rows(_lazy("Charges"), heads, rows, frozenset({0, 2, 3, 4}))]


def _usage(e: Evidence) -> list[Rows]:
    rows = [
        (
            record.sequence & 0xFFFFFFFF,
            when(record.start, "m-d H:i:s"),
            when(record.end, "m-d H:i:s"),
            f"{grouped(record.quantity)} {meter_name(record.meter)}",
            grouped(record.quantity_accepted),
            format_html('<span lang="en">{}</span>', record.reason) if record.reason else "—",
        )
        for record in e.usage[:USAGE_SHOWN]
    ]
    heads = (
        _lazy("No."),
        _lazy("From"),
        _lazy("To"),
        _lazy("Claimed"),
        _lazy("Counted"),
        _lazy("Quarantined because"),
    )
    title: Any = _lazy("Usage records")
    if len(e.usage) > USAGE_SHOWN:
        title = _("Usage records: the first %(shown)s of %(all)s; all were checked") % {
            "shown": USAGE_SHOWN,
            "all": len(e.usage),
        }
    return [Rows(title, heads, rows, frozenset({0, 3, 4}))]


USAGE_SHOWN: Final = 100


def _allocated(one: Allocation) -> str:
    held = [ngettext("%d core", "%d cores", one.cores) % one.cores]
    if cards := len(one.devices.all()):
        held.append(ngettext("%d card", "%d cards", cards) % cards)
    return f"{one.node.name}: {', '.join(held)}"


def _observed_block(e: Evidence, block: Block) -> list[Rows]:
    holds = [one for one in block.allocations.all() if one.attempt_id is None]
    held = [(_allocated(one), when(block.period.lower), when(block.period.upper)) for one in holds]
    lost = [
        (loss.node.name, when(loss.since, "m-d H:i:s"), when(loss.until, "m-d H:i:s"), loss.why)
        for loss in block.losses.all()
    ]
    span = (_lazy("Node"), _lazy("From"), _lazy("Until"))
    tables = [Rows(_lazy("What the block held"), span, held)]
    return [*tables, Rows(_lazy("Not delivered"), (*span, _lazy("Why")), lost)] if lost else tables


def _observed(e: Evidence) -> list[Rows]:
    if e.block is not None:
        return _observed_block(e, e.block)
    rows = []
    for attempt in e.attempts or ():
        held = ", ".join(_allocated(one) for one in attempt.allocations.all())
        rows.append(
            (
                attempt.epoch,
                state(attempt.state),
                held or "—",
                when(attempt.leased_at, "m-d H:i:s"),
                when(attempt.first_running_at, "m-d H:i:s"),
                when(attempt.last_contact_at, "m-d H:i:s"),
                grouped(bound_of(e, attempt)),
            )
        )
    heads = (
        _lazy("Attempt"),
        _lazy("State"),
        _lazy("Allocation"),
        _lazy("Handed out"),
        _lazy("First seen running"),
        _lazy("Last word"),
        _lazy("At most"),
    )
    return [Rows(_lazy("Attempts, by the hub's own clock"), heads, rows, frozenset({0, 6}))]


def _quote(e: Evidence) -> list[Rows]:
    lines = [
        (
            line.meter,
            line.units,
            f"{money(line.unit_price_micros)} / {told(one_unit(line.unit))}",
            f"{grouped(line.quantity_max)} {meter_name(line.meter)}",
            money(line.amount_max_micros),
        )
        for line in e.lines
    ]
    shares = [
        (
            told({"zh": share["title_zh"], "en": share["title_en"]}),
            share["rate"] or "—",
            money(share["limit_micros"]),
            money(share["amount_micros"]),
        )
        for share in e.quote.split["shares"]
    ]
    return [
        Rows(
            _lazy("Lines"),
            (_lazy("Meter"), _lazy("Units"), _lazy("Price"), _lazy("Limit"), _lazy("At most")),
            lines,
            frozenset({1, 2, 3, 4}),
        ),
        Rows(
            _lazy("Split as promised"),
            (pgettext_lazy("share", "From"), _lazy("Rate"), _lazy("Held at most"), _lazy("Share")),
            shares,
            frozenset({1, 2, 3}),
        ),
    ]


def _vouchers(e: Evidence) -> list[Rows]:
    rows = [
        (
            format_html("<code>{}</code>", one.voucher.public_id),
            money(one.voucher.amount_micros),
            _who(one.voucher.maker),
            _who(one.voucher.checker),
            when(one.voucher.released_at, "Y-m-d H:i"),
            when(one.voucher.expires_at, "Y-m-d"),
            money(one.amount_micros) if one.amount_micros is not None else "—",
        )
        for one in e.redemptions
    ]
    heads = (
        _lazy("Voucher"),
        _lazy("Made out for"),
        _lazy("Maker"),
        _lazy("Checker"),
        _lazy("Released"),
        _lazy("Until"),
        _lazy("Paid here"),
    )
    return [Rows(_lazy("Vouchers"), heads, rows, frozenset({1, 6}))]


def _programmes(e: Evidence) -> list[Rows]:
    versions = {one.voucher.version_id: one.voucher.version for one in e.redemptions}
    rows = [
        (
            told(title_of(version)),
            f"v{version.number}",
            _who(version.maker),
            _who(version.checker) if version.checker else "—",
            when(version.released_at, "Y-m-d H:i"),
            _short(version.sha256),
        )
        for version in versions.values()
    ]
    heads = (
        _lazy("Programme"),
        _lazy("Version"),
        _lazy("Maker"),
        _lazy("Checker"),
        _lazy("Released"),
        _lazy("sha256"),
    )
    return [Rows(_lazy("Versions"), heads, rows)]


def _document(e: Evidence) -> str:
    return "\n---\n".join(
        {one.voucher.version_id: one.voucher.version.document for one in e.redemptions}.values()
    )


def _facts(e: Evidence) -> list[Rows]:
    clauses = [
        (
            result.clause.id,
            format_html("<code>{}</code>", result.clause.when),
            told({"zh": result.clause.reason_zh, "en": result.clause.reason_en}),
            pgettext("clause", "held") if result.passed else result.needs or _("did not hold"),
        )
        for one in e.redemptions
        for result in results_of(terms_of(one.voucher.version).eligibility, e.facts[one.voucher_id])
    ]
    facts = [
        (
            fact.name,
            str(fact.value),
            fact.source,
            _who(fact.recorded_by),
            _who(fact.verified_by) if fact.verified_at else "—",
            when(fact.verified_at, "Y-m-d H:i"),
        )
        for fact in e.fact_rows
    ]
    return [
        Rows(
            _lazy("Clauses"),
            (_lazy("Clause"), _lazy("Condition"), _lazy("Because"), _lazy("Result")),
            clauses,
        ),
        Rows(
            _lazy("Facts on record when the order was placed"),
            (
                _lazy("Fact"),
                _lazy("Value"),
                _lazy("Source"),
                _lazy("Recorded by"),
                _lazy("Verified by"),
                _lazy("Verified"),
            ),
            facts,
        ),
    ]


def _receipt(e: Evidence) -> list[Rows]:
    if e.receipt is None:
        return []
    content = e.receipt.content
    amounts = [
        (name, content[key])
        for name, key in (
            (_("Total"), "total"),
            (_("Vouchers"), "voucher_share"),
            (_("Own money"), "paid"),
            (_("Released"), "released"),
            (_("Credited"), "credited"),
        )
    ]
    rows = [*amounts, ("sha256", format_html("<code>{}</code>", e.receipt.sha256))]
    return [Rows(e.receipt.number, (_lazy("What"), _lazy("As written")), rows, frozenset({1}))]


def _moves(e: Evidence) -> list[Rows]:
    rows = [
        (
            when(record.at, "Y-m-d H:i:s"),
            record.actor_label,
            deed_name(record.action),
            change_of(record, record.before) or "—",
            change_of(record, record.after) or "—",
        )
        for record in e.moves
    ]
    return [
        Rows(
            _lazy("Records"),
            (_lazy("When"), _lazy("Who"), _lazy("Action"), _lazy("Before"), _lazy("After")),
            rows,
        )
    ]


_TABLES: Final[Mapping[str, Callable[[Evidence], list[Rows]]]] = {
    "journal": _journal,
    "charge": _charge,
    "usage": _usage,
    "observed": _observed,
    "quote": _quote,
    "vouchers": _vouchers,
    "programme": _programmes,
    "facts": _facts,
    "receipt": _receipt,
    "moves": _moves,
}
