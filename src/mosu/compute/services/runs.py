"""What people do to runs."""

from datetime import datetime
from uuid import UUID

from mosu.compute.models import Run
from mosu.compute.queries import run_visible_to
from mosu.market.services import cancel_order
from mosu.platform.actors import Actor
from mosu.platform.policy import require


def cancel_run(*, actor: Actor, run_id: UUID, now: datetime) -> Run:
    """The run: ended with everything given back if nothing had started, else its agent is told to stop it.

    Repeating it changes nothing.

    Raises:
        NotFound: no such run, or not of an organisation of the actor's.
        Forbidden: the actor may not cancel for that organisation.
        IllegalMove: the run has ended.
    """
    run = run_visible_to(actor, run_id)
    require(actor, "run.cancel", run.organisation_id)
    cancel_order(actor=actor, order_id=run.order_id, now=now)
    run.refresh_from_db()
    return run
