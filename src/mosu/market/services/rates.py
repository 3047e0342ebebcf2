"""Entering what foreign currencies are worth: by the hub's operator, with the day and the source."""

from datetime import date, datetime
from decimal import Decimal
from typing import Final

from django.db import transaction

from mosu.kernel.money import MINOR_DIGITS
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import day_in
from mosu.market.hub import hub_currency, hub_zone
from mosu.market.models import ExchangeRate
from mosu.market.rates import rates_of
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.platform.services import record_audit

_STEP_MAX: Final = Decimal("0.2")


@transaction.atomic
def record_rate(
    *,
    actor: Actor,
    currency: str,
    rate: Decimal,
    dated: date,
    source: str,
    now: datetime,
    why: str = "",
) -> ExchangeRate:
    """A rate for all quotes from now on, until a later one; quotes already made keep theirs.

    One that is more than a fifth off the last needs `why`: a slip of the decimal point would move public money.

    Raises:
        Forbidden: the actor is not the hub's operator.
        Invalid: an unknown currency or the hub's own, a rate that is not positive, a day to come, no source, or a leap
            without a reason.
    """
    require(actor, "rate.record")
    if currency not in MINOR_DIGITS or currency == hub_currency():
        known = ", ".join(sorted(MINOR_DIGITS.keys() - {hub_currency()}))
        raise Invalid(
            f"currency: {currency[:10]!r} has no rate here.",
            hint=f"Choose one of {known}.",
            field="currency",
            found=currency[:10],
            allowed=known,
        )
    if not Decimal(0) < rate < Decimal(10) ** 9:
        raise Invalid(f"rate: {rate} is none.", hint="Write a number above 0.", field="rate")
    if dated > day_in(hub_zone(), now):
        raise Invalid(
            f"dated: {dated} is yet to come.", hint="Enter a rate on its day or later.", field="dated"
        )
    if not source.strip():
        raise Invalid("source: who published this rate?", hint="Name the source.", field="source")
    last = rates_of(now=now).get(currency)
    if last is not None and abs(rate - last.rate) > last.rate * _STEP_MAX and not why.strip():
        raise Invalid(
            f"rate: {rate} is more than a fifth off the last, {last.rate.normalize():f}.",
            hint="If it is right, say why.",
            field="why",
            found=str(rate),
        )
    row = ExchangeRate.objects.create(
        currency=currency, rate=rate, dated=dated, source=source.strip(), recorded_at=now
    )
    record_audit(
        actor=actor,
        action="rate.record",
        subject_id=row.id,
        before=None,
        after=None,
        now=now,
        why=why,
        facts={"currency": currency, "rate": str(rate), "dated": dated.isoformat(), "source": row.source},
    )
    return row
