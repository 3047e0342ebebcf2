"""How fast files come to a pool and back, as its agent measured them."""

from django.db import transaction

from mosu.compute.copying import Pace
from mosu.compute.services.identity import locked_pool, pool_of
from mosu.platform.actors import Actor
from mosu.wire.agent import Report


@transaction.atomic(durable=True)
def note_copying(*, actor: Actor, report: Report) -> None:
    """Take what a report says of its copies into the pool's measure; by itself, since who ends runs locks attempts
    first and pools never. A report that is sent again counts again: it is a mean."""
    if report.copied_in is None and report.copied_out is None:
        return
    pool = locked_pool(pool_of(actor))
    if report.copied_in is not None:
        more = Pace(report.copied_in.size_bytes, report.copied_in.took_ms)
        pool.copied_in_bytes, pool.copied_in_ms = pool.copied_in.then(more)
    if report.copied_out is not None:
        more = Pace(report.copied_out.size_bytes, report.copied_out.took_ms)
        pool.copied_out_bytes, pool.copied_out_ms = pool.copied_out.then(more)
    pool.save(update_fields=["copied_in_bytes", "copied_in_ms", "copied_out_bytes", "copied_out_ms"])
