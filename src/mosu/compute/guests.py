"""Who is let into a session: reads."""

from uuid import UUID

from django.db.models import QuerySet

from mosu.compute.models import Guest, Run
from mosu.compute.queries import run_visible_to
from mosu.platform.actors import Actor, Role


def is_let_in(actor: Actor, run: Run) -> bool:
    """Whether a person who may run things in the organisation may be joined to this run of it.

    A session is its orderer's, and theirs with whom it is shared; a service is there for the whole organisation.
    """
    if run.request.get("kind") != "session" or (actor.id is not None and run.order.placed_by == actor.id):
        return True
    return Guest.objects.filter(run=run, member__user=actor.id).exists()


def may_share(actor: Actor, run: Run) -> bool:
    """Whether they say who is let in: whoever ordered it, owners and admins, so that none is left without anybody."""
    ordered = actor.id is not None and run.order.placed_by == actor.id
    return ordered or actor.roles.get(run.organisation_id) in (Role.OWNER, Role.ADMIN)


def guests_of(actor: Actor, run_id: UUID) -> QuerySet[Guest]:
    """With whom the run is shared, in the order in which they were let in.

    Raises:
        NotFound: there is no such run, or the actor may not know.
    """
    run = run_visible_to(actor, run_id)
    return Guest.objects.filter(run=run).select_related("member__user").order_by("let_in_at", "id")
