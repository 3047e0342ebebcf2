"""Samples of orders for whoever audits: drawn by a seed, and on record."""

from datetime import UTC, datetime
from uuid import uuid5

from django.db import transaction

from mosu.kernel.digests import sha256_of
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period
from mosu.ledger.services import HUB_ID
from mosu.market.queries import (
    SAMPLE_DRAWN,
    SAMPLE_MAX,
    AuditSample,
    orders_sampled,
    sample_of,
    samples_drawn,
)
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.platform.services import record_audit

SEED_CHARACTERS_MAX = 60


@transaction.atomic(durable=True)
def draw_sample(*, actor: Actor, seed: str, span: Period, count: int, now: datetime) -> AuditSample:
    """`count` settled orders of a span at random, as `orders_sampled` draws them; which ones is put on record.

    The same seed, span and count answer the sample that was drawn first: nobody draws until it suits. A span that
    is not over ends now.

    Raises:
        Invalid: no seed, a count out of bounds, a span that has not begun or is empty.
    """
    require(actor, "sample.draw")
    if not 1 <= len(seed) <= SEED_CHARACTERS_MAX or not seed.isprintable():
        raise Invalid(
            "seed: cannot be used.",
            hint=f"Write 1 to {SEED_CHARACTERS_MAX} characters, such as a date or a throw of dice.",
            field="seed",
        )
    if not 1 <= count <= SAMPLE_MAX:
        raise Invalid(
            "count: out of bounds.", hint=f"Draw 1 to {SAMPLE_MAX} orders.", field="count", found=count
        )
    end = min(span.end, now)
    if span.start >= end:
        raise Invalid(
            "from: nothing lies between from and to.", hint="Choose days that have begun.", field="from"
        )
    span = Period(span.start.astimezone(UTC), end.astimezone(UTC))
    drawn = {
        "seed": seed,
        "from": span.start.isoformat(),
        "to": span.end.isoformat(),
        "count": count,
    }
    sample_id = uuid5(HUB_ID, sha256_of(drawn))
    if not samples_drawn(actor).filter(subject_id=sample_id).exists():
        orders = orders_sampled(actor, seed=seed, span=span, count=count)
        record_audit(
            actor=actor,
            action=SAMPLE_DRAWN,
            subject_id=sample_id,
            before=None,
            after="drawn",
            now=now,
            facts={**drawn, "orders": [order.public_id for order in orders]},
        )
    return sample_of(actor, sample_id)
