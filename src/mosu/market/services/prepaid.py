"""Quotes of what an earlier order paid for already: they cost nothing."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import NotFound
from mosu.market import rules
from mosu.market.models import Order, OrderLine, Quote, QuoteState
from mosu.market.services.quotes import frozen_quote
from mosu.market.shelves import Plan
from mosu.platform.actors import Actor
from mosu.platform.models import Project
from mosu.platform.policy import require
from mosu.platform.rows import insert
from mosu.platform.services import record_audit
from mosu.subsidies.services import Split


@transaction.atomic
def quote_prepaid(*, actor: Actor, order_id: UUID, project_id: UUID, plan: Plan, now: datetime) -> Quote:
    """An open quote of a plan that the order paid for: its terms and tax, at a price of nothing; for a shelf to call.

    The shelf has shown that the plan lies within what was bought. The offer's limits and its leaving the shelf do not
    matter any more: it is sold.

    Raises:
        Forbidden: the actor may not ask quotes for the order's organisation.
        NotFound: the project is not the organisation's.
    """
    order = Order.objects.select_related("quote", "offer__supplier").get(id=order_id)
    require(actor, "quote.ask", order.organisation_id)
    if not Project.objects.filter(id=project_id, organisation_id=order.organisation_id).exists():
        raise NotFound("There is no such project.", hint="See GET /me.")
    bought = {line.meter: line for line in rules.lines_of_json(order.quote.lines)}
    lines = [
        rules.QuotedLine(
            id=typeid(OrderLine.prefix, uuid7()),
            meter=line.meter,
            unit=bought[line.meter].unit,
            per=bought[line.meter].per,
            unit_price_micros=0,
            tax_rate_bp=bought[line.meter].tax_rate_bp,
            tax_included=bought[line.meter].tax_included,
            units=line.units,
            quantity_max=line.quantity_max,
            amount_max_micros=0,
        )
        for line in plan.lines
    ]
    terms = {name: value for name, value in order.quote.terms.items() if name != "block"}
    quote = frozen_quote(
        plan,
        offer=order.offer,
        terms={**terms, "paid_by": {"id": order.public_id, "number": order.number}},
        lines=lines,
        split=Split(charge_micros=0, shares=(), currency=order.currency),
        now=now,
    )
    quote.organisation_id, quote.project_id = order.organisation_id, project_id
    insert(quote)
    record_audit(
        actor=actor,
        action="quote.make",
        subject_id=quote.id,
        before=None,
        after=QuoteState.OPEN,
        now=now,
        organisation_id=quote.organisation_id,
    )
    return quote
