"""Accepting a quote, starting and cancelling an order."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import uuid7, uuid_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.kernel.states import check_move
from mosu.kernel.time import month_in, year_in
from mosu.ledger import services as ledger
from mosu.market import rules
from mosu.market.hub import hub_zone
from mosu.market.models import Order, OrderLine, OrderState, Quote, QuoteState, SoldBy
from mosu.market.queries import orders_visible_to, quotes_visible_to
from mosu.market.services.budgets import Buyer, commit_spend, give_back_spend
from mosu.market.shelves import shelf_of
from mosu.platform.actors import SYSTEM, Actor, ActorKind
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.queries import one_of
from mosu.platform.rows import insert, inserts_together
from mosu.platform.services import claim_key, emit, record_audit
from mosu.subsidies import services as subsidies

ORDER_PLACED = "market.order_placed"
ORDER_CANCELLED = "market.order_cancelled"


class QuoteExpired(DomainError):
    """The quote is past its validity."""

    code = "quote_expired"


class QuoteTaken(DomainError):
    """The quote was accepted before, by another request."""

    code = "quote_taken"


@transaction.atomic(durable=True)
@inserts_together()
def accept_quote(*, actor: Actor, quote_id: UUID, idempotency_key: str, now: datetime) -> Order:
    """Turn a quote into an order: take the capacity, hold the money, set the work going.

    All happen or none does. Repeating the call with the same key returns the first order. Locks: the key, the
    quote, nodes (by the shelf), the buyer's budgets, then all ledger accounts once.

    Raises:
        NotFound: no such quote, or not of an organisation of the actor's.
        Forbidden: the actor may not buy for that organisation.
        QuoteExpired: `now` is past `valid_until`.
        QuoteTaken: the quote became an order under another key.
        KeyReused: the key was used with another quote.
        OverBudget: it might pass a budget of the organisation, the project or the actor.
        InsufficientFunds: the balance does not cover what is to be held.
        VoucherNotUsable: a voucher of the split expired or was revoked since the quote.
        SoldOut and its like, from the shelf: the capacity went to someone else.
    """
    quote = one_of(quotes_visible_to(actor), quote_id)
    if quote is None:
        raise NotFound("There is no such quote.", hint="Ask for quotes again.")
    require(actor, "order.place", quote.organisation_id)
    order_id = uuid7()
    earlier = claim_key(
        scope=f"order.place:{quote.organisation_id}",
        key=idempotency_key,
        digest=sha256_of({"quote_id": str(quote_id)}),
        result_id=order_id,
    )
    if earlier is not None:
        return Order.objects.select_related("quote", "receipt").get(id=earlier)
    number = _take(quote, now=now)
    # Whatever needs no lock comes before the shelf's: one pool's buyers wait for each other from there on.
    purse = _purse_of(quote, order_id, now=now)
    emit(
        name=ORDER_PLACED,
        subject_id=order_id,
        payload={"number": number, "shelf": quote.shelf, "quote_id": quote.public_id},
        now=now,
        organisation_id=quote.organisation_id,
    )
    shelf = shelf_of(quote.shelf)
    shelf.reserve(order_id=order_id, quote=quote, now=now)
    buyer = Buyer(quote.organisation_id, quote.project_id, actor.id if actor.kind is ActorKind.USER else None)
    commit_spend(buyer, amount_micros=quote.total_max_micros, now=now)
    own_hold_id = _hold(purse, quote, order_id, now=now)
    order = _write(
        quote, order_id, number=number, placed_by=buyer.user_id, balance_hold_id=own_hold_id, now=now
    )
    _audit_acceptance(actor, order, now=now)
    shelf.fulfil(order_id=order_id, now=now)
    return order


@transaction.atomic
def activate_order(*, order_id: UUID, now: datetime, actor: Actor = SYSTEM) -> None:
    """Its work has started; for the shelf to call. Repeating it, or calling it after the end, changes nothing."""
    order = locked_order(order_id)
    if order.state == OrderState.PLACED:
        move_order(order, to=OrderState.ACTIVE, actor=actor, now=now)
        order.save(update_fields=["state"])


@transaction.atomic(durable=True)
def cancel_order(*, actor: Actor, order_id: UUID, now: datetime, why: str = "") -> Order:
    """The order: cancelled with everything given back if nothing had started, else told to stop.

    Work that runs is settled for what was used once it has stopped. Repeating it changes nothing.

    Raises:
        NotFound: no such order, or not of an organisation of the actor's.
        Forbidden: the actor may not cancel for that organisation.
        IllegalMove: the order is settled.
    """
    order = one_of(orders_visible_to(actor), order_id)
    if order is None:
        raise NotFound("There is no such order.", hint="See GET /orders.")
    require(actor, "order.cancel", order.organisation_id)
    if order.state == OrderState.CANCELLED:
        return order
    if order.state == OrderState.SETTLED:
        check_move(rules.ORDER_MOVES, what=order.number, now=OrderState.SETTLED, to=OrderState.CANCELLED)
    _stop(order, actor=actor, now=now, why=why)
    order.refresh_from_db()
    return order


@transaction.atomic(durable=True)
def stop_order(*, order_id: UUID, why: str, now: datetime) -> None:
    """What `cancel_order` does, by rule: nobody asked. An order that has ended stays as it is."""
    order = locked_order(order_id)
    if order.state not in {OrderState.SETTLED, OrderState.CANCELLED}:
        _stop(order, actor=SYSTEM, now=now, why=why)


def _stop(order: Order, *, actor: Actor, now: datetime, why: str) -> None:
    if shelf_of(order.shelf).cancel(order_id=order.id, actor=actor, now=now, why=why):
        release_order(order_id=order.id, actor=actor, now=now, why=why)


@transaction.atomic
def release_order(*, order_id: UUID, actor: Actor, now: datetime, why: str = "") -> None:
    """Cancel an order whose work never started, and give everything held back; for a shelf to call.

    The shelf has freed the capacity. Repeating it changes nothing.

    Raises:
        IllegalMove: the order is active or settled.
    """
    order = locked_order(order_id)
    if order.state == OrderState.CANCELLED:
        return
    move_order(order, to=OrderState.CANCELLED, actor=actor, now=now, why=why)
    order.ended_at = now
    order.save(update_fields=["state", "ended_at"])
    give_back_spend(order, amount_micros=order.total_max_micros)
    release_holds(order, now=now)
    emit(
        name=ORDER_CANCELLED,
        subject_id=order.id,
        payload={"number": order.number},
        now=now,
        organisation_id=order.organisation_id,
    )


def locked_order(order_id: UUID) -> Order:
    """The order, its row locked: before nodes and accounts (an acceptance makes its order, so none waits for it)."""
    return Order.objects.select_for_update(no_key=True).get(id=order_id)


def move_order(order: Order, *, to: OrderState, actor: Actor, now: datetime, why: str = "") -> None:
    """The only place that sets `Order.state` after its birth; the caller holds the row lock and saves."""
    check_move(rules.ORDER_MOVES, what=order.number, now=OrderState(order.state), to=to)
    record_audit(
        actor=actor,
        action=f"order.{to.value}",
        subject_id=order.id,
        before=order.state,
        after=to,
        now=now,
        organisation_id=order.organisation_id,
        why=why,
    )
    order.state = to


def release_holds(order: Order, *, now: datetime) -> None:
    """Give back all that the order holds, vouchers and money; all accounts locked at once."""
    own = own_hold_accounts(order)
    ledger.lock_accounts([*own, *subsidies.accounts_of_order(order.id)])
    subsidies.release_redemptions(order_id=order.id, now=now)
    if order.balance_hold_id:
        ledger.release_hold(hold_id=order.balance_hold_id, now=now)


def own_hold_accounts(order: Order) -> list[UUID]:
    """The account behind the order's own hold, if it has one."""
    if order.balance_hold_id is None:
        return []
    return [ledger.account_id(kind="balance", owner_id=order.organisation_id, currency=order.currency)]


def _take(quote: Quote, *, now: datetime) -> str:
    """Accept the quote, whose row is locked from here on, and give its order's number, such as O-2026-000123.

    Numbers are from a sequence, so that acceptances need not wait for each other: a refused one leaves a gap, and
    the count runs on through the years. All but the quote's state is frozen: it may be read before the lock.
    """
    if now > quote.valid_until:
        raise _expired(quote)
    with connection.cursor() as cursor:
        cursor.execute(
            "update market_quote set state = %s where id = %s and state = %s "
            "returning nextval('market_order_number')",
            [QuoteState.ACCEPTED, quote.id, QuoteState.OPEN],
        )
        taken = cursor.fetchone()
    if taken is None:
        quote.refresh_from_db(fields=["state"])
        if quote.state == QuoteState.EXPIRED:
            raise _expired(quote)
        raise QuoteTaken(
            "This quote became an order already.",
            hint="See GET /orders, or ask for quotes again.",
            quote_id=quote.public_id,
        )
    quote.state = QuoteState.ACCEPTED
    return f"O-{year_in(hub_zone(), now)}-{taken[0]:06d}"


def _expired(quote: Quote) -> QuoteExpired:
    return QuoteExpired(
        "This quote is no longer valid.",
        hint="Ask for quotes again.",
        quote_id=quote.public_id,
        valid_until=quote.valid_until.isoformat(),
    )


@dataclass(frozen=True, slots=True)
class _Purse:
    """What an order will be held from: vouchers, and the buyer's own money when the hub bills."""

    drawing: subsidies.Drawing
    own: tuple[ledger.HoldRequest, ...]


def _purse_of(quote: Quote, order_id: UUID, *, now: datetime) -> _Purse:
    split = subsidies.Split.from_json(quote.split)
    drawing = subsidies.drawing_of(split, now=now)
    amount = split.pay_hold_micros if quote.terms["sold_by"] == SoldBy.HUB else 0
    if not amount:
        return _Purse(drawing, ())
    balance = ledger.open_account(
        kind="balance", owner_id=quote.organisation_id, currency=quote.currency, floor_micros=0
    )
    return _Purse(drawing, (ledger.HoldRequest(f"order:{order_id}:own", balance, amount, order_id),))


def _hold(purse: _Purse, quote: Quote, order_id: UUID, *, now: datetime) -> UUID | None:
    """Hold vouchers and the buyer's own money, all accounts locked at once, by id; the id of the latter's hold."""
    evidence = sha256_of({"quote_id": quote.public_id, "lines": quote.lines, "split": quote.split})
    own = subsidies.redeem(
        order_id=order_id, drawing=purse.drawing, also=purse.own, evidence=[evidence], now=now
    )
    return own[0] if own else None


def _write(
    quote: Quote,
    order_id: UUID,
    *,
    number: str,
    placed_by: UUID | None,
    balance_hold_id: UUID | None,
    now: datetime,
) -> Order:
    """The order and its lines as the quote froze them."""
    order = Order(
        id=order_id,
        number=number,
        quote=quote,
        organisation_id=quote.organisation_id,
        project_id=quote.project_id,
        offer_id=quote.offer_id,
        supplier_id=uuid_of(Organisation.prefix, quote.terms["supplier"]["id"]),
        shelf=quote.shelf,
        state=OrderState.PLACED,
        total_max_micros=quote.total_max_micros,
        currency=quote.currency,
        balance_hold_id=balance_hold_id,
        placed_at=now,
        placed_by=placed_by,
    )
    lines = [
        OrderLine(
            id=uuid_of(OrderLine.prefix, line.id),
            order=order,
            meter=line.meter,
            unit=line.unit,
            units=line.units,
            per=line.per,
            unit_price_micros=line.unit_price_micros,
            tax_rate_bp=line.tax_rate_bp,
            tax_included=line.tax_included,
            quantity_max=line.quantity_max,
            amount_max_micros=line.amount_max_micros,
            accepted_month=month_in(hub_zone(), now),
        )
        for line in rules.lines_of_json(quote.lines)
    ]
    insert(order, *lines)
    return order


def _audit_acceptance(actor: Actor, order: Order, *, now: datetime) -> None:
    """Both moves of an acceptance: the quote is accepted, the order is placed."""
    check_move(rules.QUOTE_MOVES, what="Quote", now=QuoteState.OPEN, to=QuoteState.ACCEPTED)
    for action, subject_id, before, after in (
        ("quote.accept", order.quote_id, QuoteState.OPEN, QuoteState.ACCEPTED),
        ("order.place", order.id, None, OrderState.PLACED),
    ):
        record_audit(
            actor=actor,
            action=action,
            subject_id=subject_id,
            before=before,
            after=after,
            now=now,
            organisation_id=order.organisation_id,
        )
