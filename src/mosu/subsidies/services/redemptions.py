"""Drawing on vouchers for an order: choose, hold, capture, give back.

The market calls these inside its own transactions. `redeem` locks the accounts that it touches; before the others
the market locks those that `accounts_of_order` names. The lock of a voucher's account also guards its row: it is
taken first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid5

from django.conf import settings
from django.db import IntegrityError, transaction

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import DomainError
from mosu.ledger.queries import balance_of
from mosu.ledger.services import (
    HoldRequest,
    Move,
    capture_hold,
    lock_accounts,
    open_account,
    place_hold,
    place_holds,
    post_entry,
    release_hold,
)
from mosu.platform.actors import SYSTEM
from mosu.platform.rows import insert
from mosu.subsidies import queries, rules
from mosu.subsidies.models import Redemption, Voucher, YearCap
from mosu.subsidies.queries import DrawnVoucher
from mosu.subsidies.rules import (
    Candidate,
    Choice,
    Mode,
    RedemptionState,
    Share,
    Source,
    Spend,
    Split,
    Terms,
    VoucherState,
    split_at,
)
from mosu.subsidies.services.states import move, record_birth


class VoucherNotUsable(DomainError):
    """A voucher cannot be used for this; the message says why."""

    code = "voucher_not_usable"


class AlreadyRedeemed(DomainError):
    """The order holds vouchers already: it cannot be paid twice."""

    code = "already_redeemed"


def best_split(*, spend: Spend, choice: Choice, now: datetime) -> Split:
    """The best legal split of `spend` over the organisation's released vouchers, or over those of `choice`.

    Raises:
        VoucherNotUsable: a voucher named in `choice` cannot be used for this spend; the message says why.
    """
    return best_splits(spends=[spend], choice=choice, now=now)[0]


def best_splits(*, spends: Sequence[Spend], choice: Choice, now: datetime) -> list[Split]:
    """The best legal split of each; all are one organisation's. Vouchers and what is left of them are read once.

    Raises:
        VoucherNotUsable: a voucher named in `choice` cannot be used for one of them; the message says why.
    """
    if choice == "none" or not spends:
        return [rules.best_split(spend, (), year=0) for spend in spends]
    (organisation_id,) = {spend.organisation_id for spend in spends}
    vouchers = queries.usable_vouchers(organisation_id, now=now)
    if choice != "auto":
        for spend in spends:
            named = _named(vouchers, choice, spend=spend)
        vouchers = named
    years = {queries.hub_year(spend.accepted_at) for spend in spends}
    caps = queries.year_caps_left(organisation_id, years) if vouchers else {}
    candidates = {
        (year, one.voucher.id): _candidate(one, caps, year=year)
        for one in queries.vouchers_with_balances(vouchers)
        for year in years
    }
    terms = {one.version_id: queries.terms_of(one.version) for one in vouchers}
    found = []
    for spend in spends:
        year = queries.hub_year(spend.accepted_at)
        fitting = [one for one in vouchers if not _fault(terms[one.version_id], spend)]
        found.append(rules.best_split(spend, [candidates[year, one.id] for one in fitting], year=year))
    return found


def _named(vouchers: Sequence[Voucher], choice: Choice, *, spend: Spend) -> list[Voucher]:
    """The vouchers of the choice, each of which must fit."""
    by_id = {voucher.id: voucher for voucher in vouchers}
    named = []
    for voucher_id in choice:
        voucher = by_id.get(UUID(str(voucher_id)))
        why = (
            _fault(queries.terms_of(voucher.version), spend)
            if voucher
            else "it is not a released voucher of yours within its time"
        )
        if voucher is None or why:
            raise VoucherNotUsable(
                f"This voucher cannot be used here: {why}.",
                hint='Leave it out, or let mosu choose: vouchers: "auto".',
                voucher=voucher.public_id if voucher else str(voucher_id),
            )
        named.append(voucher)
    return named


def _fault(terms: Terms, spend: Spend) -> str:
    """Why the terms do not cover this spend; empty if they do."""
    if spend.shelf not in terms.shelves:
        return f"its programme covers {', '.join(terms.shelves)}, not {spend.shelf}"
    if spend.kind not in terms.spend_kinds:
        return f"its programme covers {', '.join(terms.spend_kinds)}, not {spend.kind}"
    if terms.regions and spend.region not in terms.regions:
        return f"its programme covers the regions {', '.join(terms.regions)}"
    if terms.domestic_only and not spend.domestic:
        return "its programme covers goods of domestic make only"
    if terms.unrelated_parties and spend.organisation_id == spend.supplier_id:
        return "its programme needs a supplier unrelated to the buyer"
    return ""


def _candidate(
    balance: queries.VoucherBalance, caps: Mapping[tuple[UUID, int], int], *, year: int
) -> Candidate:
    voucher = balance.voucher
    terms = queries.terms_of(voucher.version)
    return Candidate(
        voucher_id=voucher.id,
        source=Source.VOUCHER if terms.mode is Mode.CHECKOUT else Source.REFUND,
        left_micros=balance.remaining_micros,
        expires_at=voucher.expires_at,
        programme_id=voucher.version.programme_id,
        programme_code=terms.code,
        programme_version=terms.version,
        rate=terms.rate,
        title_zh=terms.title_zh,
        title_en=terms.title_en,
        cap_per_order_micros=terms.cap_per_order_micros,
        cap_left_micros=_cap_left(voucher.version.programme_id, terms, caps, year=year),
        group=terms.exclusivity_group,
        stacking=terms.stacking,
    )


def _cap_left(
    programme_id: UUID, terms: Terms, caps: Mapping[tuple[UUID, int], int], *, year: int
) -> dict[int, int]:
    if terms.cap_per_organisation_year_micros is None:
        return {}
    return {year: caps.get((programme_id, year), terms.cap_per_organisation_year_micros)}


@dataclass(frozen=True, slots=True)
class Drawing:
    """The vouchers that an order is about to draw on, as they were read; nothing of them is locked yet."""

    charge_micros: int
    draws: tuple[tuple[Share, DrawnVoucher], ...]


def drawing_of(split: Split, *, now: datetime) -> Drawing:
    """The vouchers of the split and the caps of the year of `now`, the acceptance.

    Opens the year's caps where they are not open yet, so it goes before any lock that others may wait for.

    Raises:
        VoucherNotUsable: a voucher expired or was revoked since the quote.
    """
    drawn = [(share, share.voucher_id) for share in split.shares if share.voucher_id]
    if not drawn:
        return Drawing(split.charge_micros, ())
    year = queries.hub_year(now)
    vouchers = queries.drawn_vouchers([key for _, key in drawn], year=year)
    for _, key in drawn:
        voucher = vouchers.get(key)
        if voucher is None or voucher.state != VoucherState.RELEASED or voucher.expires_at <= now:
            raise _ended(key)
    # By programme: two first uses of two new caps wait for each other in one order only.
    for key, voucher in sorted(vouchers.items(), key=lambda one: one[1].programme_id):
        if voucher.cap_of_year_micros is not None and voucher.cap_id is None:
            vouchers[key] = _with_cap(voucher, voucher.cap_of_year_micros, year=year)
    return Drawing(split.charge_micros, tuple((share, vouchers[key]) for share, key in drawn))


def redeem(
    *,
    order_id: UUID,
    drawing: Drawing,
    also: Sequence[HoldRequest] = (),
    evidence: Sequence[str] = (),
    now: datetime,
) -> list[UUID]:
    """Hold every voucher's share and the year's cap behind it, and the holds of `also`, whose ids are returned.

    All accounts of the acceptance are locked here, at once, and all is held in one call, or nothing is. There is one
    Redemption per voucher. `evidence` are sha256 digests of what the order stands on (the quote). For the caller's
    transaction, which a refusal ends.

    Raises:
        VoucherNotUsable: a voucher expired or was revoked meanwhile.
        InsufficientFunds: a voucher, a cap or an account of `also` has less than is to be held; quote anew.
        AlreadyRedeemed: the order holds vouchers already.
    """
    _fill_caps(drawing, others=[hold.account_id for hold in also], now=now)
    wanted = [hold for share, voucher in drawing.draws for hold in _holds_of(share, voucher, order_id)]
    placed = place_holds(holds=[*wanted, *also], now=now)
    if not drawing.draws:
        return placed
    _check_released(drawing)
    ids = iter(placed)
    try:
        for position, (share, voucher) in enumerate(drawing.draws):
            redemption = Redemption(
                order_id=order_id,
                position=position,
                voucher_id=voucher.id,
                source=share.source.value,
                share=share.to_json(),
                charge_micros=drawing.charge_micros,
                voucher_hold_id=next(ids),
                cap_id=voucher.cap_id,
                cap_hold_id=next(ids) if voucher.cap_id else None,
                evidence=list(evidence),
                held_at=now,
            )
            insert(redemption)
            record_birth(
                redemption,
                actor=SYSTEM,
                now=now,
                why="the order was placed",
                organisation_id=voucher.organisation_id,
            )
    except IntegrityError:
        raise AlreadyRedeemed("This order holds its vouchers already.", hint="See the order.") from None
    return list(ids)


def _ended(voucher_id: UUID) -> VoucherNotUsable:
    return VoucherNotUsable(
        "A voucher of this quote has ended since.",
        hint="Ask for a new quote.",
        voucher=typeid(Voucher.prefix, voucher_id),
    )


def _holds_of(share: Share, voucher: DrawnVoucher, order_id: UUID) -> list[HoldRequest]:
    """The voucher's hold, then its cap's."""
    key = f"redemption:{order_id}:{voucher.id}"
    own = HoldRequest(key, voucher.account_id, share.limit_micros, order_id)
    if voucher.cap_account_id is None:
        return [own]
    return [own, HoldRequest(f"{key}:cap", voucher.cap_account_id, share.limit_micros, order_id)]


def _check_released(drawing: Drawing) -> None:
    """Look again under the accounts' locks: a voucher may have been taken back since it was read."""
    ids = {voucher.id for _, voucher in drawing.draws}
    for voucher_id in ids - queries.released_among(ids):
        raise _ended(voucher_id)


def accounts_of_order(order_id: UUID) -> list[UUID]:
    """The ledger accounts that `capture_redemptions` or `release_redemptions` will touch, the payee's apart."""
    accounts: set[UUID] = set()
    for redemption in _redemptions(order_id):
        if redemption.voucher.account_id:
            accounts.add(redemption.voucher.account_id)
        if redemption.cap:
            accounts |= {
                redemption.cap.account_id,
                _programme_account("cap_used", redemption.voucher.version.programme_id),
            }
    return sorted(accounts)


@transaction.atomic
def capture_redemptions(
    *, order_id: UUID, frozen: Split, charge_micros: int, payee_account_id: UUID, now: datetime
) -> Split:
    """The actual split: each voucher's hold pays the payee what its share of `frozen` owes, the rest returns.

    A refund share pays nothing now: it becomes due, its money stays held until its claim is disbursed or lapses.
    A charge above the frozen one counts as the frozen one. A voucher that expired while held is captured all the
    same. Repeating the call changes nothing.
    """
    actual = split_at(frozen, charge_micros)
    by_voucher = {share.voucher_id: share.amount_micros for share in actual.shares}
    for redemption in _redemptions(order_id):
        if redemption.state == RedemptionState.HELD:
            amount = by_voucher[redemption.voucher_id]
            _settle(redemption, amount_micros=amount, payee_account_id=payee_account_id, now=now)
    return actual


@transaction.atomic
def release_redemptions(*, order_id: UUID, now: datetime) -> None:
    """Give back all that the order still holds and has not settled: it was cancelled or cost nothing."""
    for redemption in _redemptions(order_id):
        if redemption.state == RedemptionState.HELD:
            give_back(redemption, now=now, why="the order ended without a charge")


def _settle(redemption: Redemption, *, amount_micros: int, payee_account_id: UUID, now: datetime) -> None:
    """Take the actual amount from the redemption's holds, or leave it due."""
    if amount_micros == 0:
        give_back(redemption, now=now, why="the actual charge needed none of it")
    elif redemption.source == Source.VOUCHER:
        take(redemption, destination_id=payee_account_id, amount_micros=amount_micros, now=now)
        move(
            redemption,
            to=RedemptionState.CAPTURED,
            actor=SYSTEM,
            now=now,
            amount_micros=amount_micros,
            settled_at=now,
        )
        look_after(redemption.voucher, now=now)
    else:
        _leave_due(redemption, amount_micros=amount_micros, now=now)


def take(redemption: Redemption, *, destination_id: UUID, amount_micros: int, now: datetime) -> UUID:
    """The entry that pays from the voucher's hold; the cap is used up by as much, the rest of both returns."""
    voucher = redemption.voucher
    entry = capture_hold(
        key=f"redemption:{redemption.id}:captured",
        hold_id=redemption.voucher_hold_id,
        destination_id=destination_id,
        amount_micros=amount_micros,
        kind="voucher.captured",
        now=now,
    )
    if redemption.cap_hold_id:
        capture_hold(
            key=f"redemption:{redemption.id}:cap",
            hold_id=redemption.cap_hold_id,
            destination_id=_programme_account("cap_used", voucher.version.programme_id),
            amount_micros=amount_micros,
            kind="cap.used",
            now=now,
        )
    release_holds(redemption, now=now)
    return entry


def give_back(redemption: Redemption, *, now: datetime, why: str) -> None:
    """Release both holds: nothing was or will be paid from them."""
    release_holds(redemption, now=now)
    move(
        redemption,
        to=RedemptionState.RELEASED,
        actor=SYSTEM,
        now=now,
        why=why,
        amount_micros=0,
        settled_at=redemption.settled_at or now,
    )
    look_after(redemption.voucher, now=now)


def _leave_due(redemption: Redemption, *, amount_micros: int, now: datetime) -> None:
    """Shrink the holds to what may be claimed, and say until when."""
    voucher = redemption.voucher
    release_holds(redemption, now=now)
    key = f"redemption:{redemption.id}:due"
    hold = partial(place_hold, amount_micros=amount_micros, subject_id=redemption.order_id, now=now)
    assert voucher.account_id is not None  # noqa: S101  as in `_hold`
    cap = redemption.cap
    move(
        redemption,
        to=RedemptionState.DUE,
        actor=SYSTEM,
        now=now,
        amount_micros=amount_micros,
        settled_at=now,
        claim_by=now + timedelta(days=queries.terms_of(voucher.version).claim_days or 0),
        voucher_hold_id=hold(key=key, account_id=voucher.account_id),
        cap_hold_id=hold(key=f"{key}:cap", account_id=cap.account_id) if cap else None,
    )
    look_after(voucher, now=now)


def release_holds(redemption: Redemption, *, now: datetime) -> None:
    release_hold(hold_id=redemption.voucher_hold_id, now=now)
    if redemption.cap_hold_id:
        release_hold(hold_id=redemption.cap_hold_id, now=now)


def look_after(voucher: Voucher, *, now: datetime) -> None:
    """Close a voucher that is used up; note what an ended one has to return to its pool."""
    assert voucher.account_id is not None  # noqa: S101  as in `_hold`
    balance = balance_of(voucher.account_id)
    if voucher.state == VoucherState.RELEASED and balance.balance_micros == 0:
        move(voucher, to=VoucherState.EXHAUSTED, actor=SYSTEM, now=now, why="nothing is left of it")
    elif voucher.state != VoucherState.RELEASED and balance.available_micros:
        voucher.owes_pool = True
        voucher.save(update_fields=["owes_pool"])


def _redemptions(order_id: UUID) -> list[Redemption]:
    """In the order of the waterfall."""
    return list(
        Redemption.objects.filter(order_id=order_id)
        .select_related("voucher__version__programme", "cap")
        .order_by("position")
    )


def _programme_account(kind: str, programme_id: UUID) -> UUID:
    """The programme's side of its caps: where they come from, where used ones go. No floor: it only counts."""
    return open_account(
        kind=kind,
        owner_id=programme_id,
        currency=settings.HUB_CURRENCY,
        floor_micros=None,
    )


def _with_cap(voucher: DrawnVoucher, amount_micros: int, *, year: int) -> DrawnVoucher:
    """The voucher with the year's cap, opened here. Its amount is that of the version first used in the year."""
    account = open_account(
        kind="cap",
        owner_id=uuid5(voucher.programme_id, f"{voucher.organisation_id}:{year}"),
        currency=settings.HUB_CURRENCY,
        floor_micros=0,
    )
    cap, _ = YearCap.objects.get_or_create(
        organisation_id=voucher.organisation_id,
        programme_id=voucher.programme_id,
        year=year,
        defaults={"amount_micros": amount_micros, "account_id": account},
    )
    return replace(voucher, cap_id=cap.id, cap_account_id=cap.account_id, cap_filled=cap.entry_id is not None)


def _fill_caps(drawing: Drawing, *, others: Sequence[UUID], now: datetime) -> None:
    """Give caps that are used for the first time their amount; under the locks of all accounts, `others` too."""
    vouchers = [voucher for _, voucher in drawing.draws]
    empty = {voucher.cap_id: voucher for voucher in vouchers if voucher.cap_id and not voucher.cap_filled}
    if not empty:
        return
    sources = {key: _programme_account("cap_source", voucher.programme_id) for key, voucher in empty.items()}
    accounts = {account for one in vouchers for account in (one.account_id, one.cap_account_id) if account}
    lock_accounts(accounts | set(sources.values()) | set(others))
    for cap in YearCap.objects.filter(id__in=empty).order_by("id"):
        cap.entry_id = post_entry(
            key=f"cap:{cap.id}",
            kind="cap.opened",
            moves=[Move(sources[cap.id], cap.account_id, cap.amount_micros)],
            subject_id=cap.id,
            now=now,
            memo=str(cap.year),
        )
        cap.save(update_fields=["entry_id"])
