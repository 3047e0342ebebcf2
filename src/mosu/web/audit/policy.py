"""The public money in an order: vouchers, the programme's version, the organisation's facts."""

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.digests import sha256_of
from mosu.kernel.money import floored
from mosu.kernel.refusals import DomainError
from mosu.market.models import OrderState
from mosu.subsidies.models import Redemption, Voucher
from mosu.subsidies.queries import terms_of
from mosu.subsidies.rules import RedemptionState, Terms, VersionState, parse_programme, results_of
from mosu.subsidies.services import Share, Source, Split, split_at
from mosu.web.audit.checks import TITLES, Check, Link, faultless, unknown
from mosu.web.audit.evidence import Evidence

_NO_PUBLIC_MONEY: Final = _lazy("No public money is in this order.")


def vouchers_link(e: Evidence) -> Link:
    """Each voucher in the order: whose, by whom, and what it paid."""
    if not e.redemptions:
        frozen = [share for share in Split.from_json(e.quote.split).shares if share.voucher_id]
        checks = (
            [
                Check(
                    "voucher.shares",
                    _lazy("Each share of the quote has its redemption"),
                    holds=False,
                    found="0",
                    expected=str(len(frozen)),
                )
            ]
            if frozen
            else []
        )
        return Link("vouchers", TITLES["vouchers"], checks, "" if checks else _NO_PUBLIC_MONEY)
    shares = {share.voucher_id: share for share in Split.from_json(e.quote.split).shares if share.voucher_id}
    digest = sha256_of({"quote_id": e.quote.public_id, "lines": e.quote.lines, "split": e.quote.split})
    count = len(e.redemptions)
    checks = [
        faultless(
            "voucher.shares",
            _lazy("Each share of the quote has its redemption, as it was frozen"),
            _shares(e, shares),
            of=count,
        ),
        faultless(
            "voucher.evidence",
            _lazy("Each redemption names the digest of this quote"),
            (one.public_id for one in e.redemptions if digest not in one.evidence),
            of=count,
        ),
        faultless(
            "voucher.persons",
            _lazy("Each voucher has a maker and another person as checker, or was issued by rule"),
            (one.voucher.public_id for one in e.redemptions if not _two(one.voucher)),
            of=count,
        ),
        faultless(
            "voucher.valid",
            _lazy("Each was the buyer's, released and not expired when the order was placed"),
            (one.voucher.public_id for one in e.redemptions if not _valid(e, one.voucher)),
            of=count,
        ),
        faultless(
            "voucher.granted",
            _lazy("Each was filled once, from its programme's pool, with what it was made out for"),
            _granted_otherwise(e),
            of=count,
        ),
        faultless(
            "voucher.amount",
            _lazy("No voucher gave more, to all orders together, than it was made out for"),
            (
                one.voucher.public_id
                for one in e.redemptions
                if e.drawn.get(one.voucher_id, 0) > one.voucher.amount_micros
            ),
            of=count,
        ),
    ]
    if e.order.state == OrderState.SETTLED:
        actual = {
            one.voucher_id: one.amount_micros
            for one in split_at(Split.from_json(e.quote.split), e.order.total_micros or 0).shares
        }
        checks.append(
            faultless(
                "voucher.actual",
                _lazy("Each paid its share of the actual charge, within its hold"),
                (one.public_id for one in e.redemptions if not _paid_its_share(e, one, actual)),
                of=count,
            )
        )
    return Link("vouchers", TITLES["vouchers"], checks)


def _granted_otherwise(e: Evidence) -> Iterable[str]:
    """Vouchers that the ledger filled with something else, or not once, or not from a pool."""
    for voucher in {one.voucher_id: one.voucher for one in e.redemptions}.values():
        moves = [
            (e.accounts[UUID(source)].kind, UUID(to), amount)
            for entry in e.grants
            if entry.subject_id == voucher.id
            for source, to, amount in entry.moves
        ]
        if moves != [("pool", voucher.account_id, voucher.amount_micros)]:
            yield voucher.public_id


def _shares(e: Evidence, shares: Mapping[UUID, Share]) -> Iterable[str]:
    if len(e.redemptions) != len(shares):
        yield f"{len(e.redemptions)} ≠ {len(shares)}"
    for one in e.redemptions:
        share = shares.get(one.voucher_id)
        if share is None or one.share != share.to_json() or one.source != share.source:
            yield one.public_id


def _two(voucher: Voucher) -> bool:
    if voucher.by_rule:
        return voucher.maker_id is None
    return None not in (voucher.maker_id, voucher.checker_id) and voucher.maker_id != voucher.checker_id


def _valid(e: Evidence, voucher: Voucher) -> bool:
    placed = e.order.placed_at
    return (
        voucher.organisation_id == e.order.organisation_id
        and voucher.released_at is not None
        and voucher.released_at <= placed
        and voucher.valid_from <= placed < voucher.expires_at
    )


def _paid_its_share(e: Evidence, one: Redemption, actual: Mapping[UUID | None, int]) -> bool:
    hold = next((hold for hold in e.holds if hold.id == one.voucher_hold_id), None)
    if hold is None or one.amount_micros is None or one.amount_micros > hold.amount_micros:
        return False
    if one.state == RedemptionState.RELEASED:
        # Nothing of it was needed, or nobody claimed it in time.
        return one.amount_micros == 0 and (actual.get(one.voucher_id) == 0 or one.source == Source.REFUND)
    captured = one.amount_micros if one.state == RedemptionState.CAPTURED else 0
    return one.amount_micros == actual.get(one.voucher_id) and hold.captured_micros == captured


def programme_link(e: Evidence) -> Link:
    """The version each voucher was given by: its text, its two persons, its limits."""
    if not e.redemptions:
        return Link("programme", TITLES["programme"], [], _NO_PUBLIC_MONEY)
    versions = {one.voucher.version_id: one.voucher.version for one in e.redemptions}
    count = len(versions)
    return Link(
        "programme",
        TITLES["programme"],
        [
            faultless(
                "programme.sha256",
                _lazy("The file's sha256, recomputed"),
                (
                    one.public_id
                    for one in versions.values()
                    if hashlib.sha256(one.document.encode()).hexdigest() != one.sha256
                ),
                of=count,
            ),
            faultless(
                "programme.terms",
                _lazy("The terms in force are what the file says, read anew"),
                (one.public_id for one in versions.values() if not _says(one)),
                of=count,
            ),
            faultless(
                "programme.persons",
                _lazy("Proposed by one person, released by another, before the voucher"),
                (one.voucher.version.public_id for one in e.redemptions if not _released_by_two(one.voucher)),
                of=count,
            ),
            faultless(
                "programme.rate",
                _lazy("Each share is within the programme's rate, its cap for one order and its shelves"),
                (
                    f"{one.voucher.version.programme.code}: {fault}"
                    for one in e.redemptions
                    for fault in _beyond(e, one)
                ),
                of=len(e.redemptions),
            ),
        ],
    )


def _says(version: Any) -> bool:
    try:
        read = parse_programme(version.document, source="programme.yaml", currency=settings.HUB_CURRENCY)
    except DomainError:
        return False
    same = sha256_of(read.to_json()) == sha256_of(version.terms)
    return same and version.pool_micros == read.pool_micros and version.number == read.version


def _released_by_two(voucher: Voucher) -> bool:
    version = voucher.version
    return (
        version.state == VersionState.RELEASED
        and None not in (version.maker_id, version.checker_id)
        and version.maker_id != version.checker_id
        and version.released_at is not None
        and version.proposed_at <= version.released_at <= voucher.issued_at
    )


def _beyond(e: Evidence, one: Redemption) -> Iterable[str]:
    terms: Terms = terms_of(one.voucher.version)
    share = Share.from_json(one.share)
    most = floored(Decimal(terms.rate) * e.quote.total_max_micros, currency=e.order.currency)
    if share.rate != terms.rate or share.limit_micros > most:
        yield f"{share.rate} ≠ {terms.rate}" if share.rate != terms.rate else _("above its rate")
    if share.programme_version != terms.version or share.programme_code != terms.code:
        yield _("another version")
    if terms.cap_per_order_micros is not None and share.limit_micros > terms.cap_per_order_micros:
        yield _("above its cap for one order")
    if e.order.shelf not in terms.shelves:
        yield _("does not cover this shelf")


def facts_link(e: Evidence) -> Link:
    """What was known of the organisation when the clauses were evaluated."""
    if not e.redemptions:
        return Link("facts", TITLES["facts"], [], _NO_PUBLIC_MONEY)
    asked = [
        (one.voucher, result)
        for one in e.redemptions
        for result in results_of(terms_of(one.voucher.version).eligibility, e.facts[one.voucher_id])
    ]
    if not asked:
        return Link("facts", TITLES["facts"], [], _lazy("These programmes ask for no facts."))
    same = [
        fact.public_id
        for fact in e.fact_rows
        if fact.verified_by_id and fact.verified_by_id == fact.recorded_by_id
    ]
    return Link(
        "facts",
        TITLES["facts"],
        [
            faultless(
                "facts.clauses",
                _lazy("Each clause of the programme held when the voucher was made out"),
                (result.clause.id for _voucher, result in asked if not result.passed),
                of=len(asked),
            ),
            faultless(
                "facts.persons", _lazy("No fact was verified by who recorded it"), same, of=len(e.fact_rows)
            ),
            unknown(
                "facts.kind",
                _lazy("The organisation's kind and capabilities at the time"),
                _("taken as they are today: see its audit records for changes"),
            ),
        ],
    )
