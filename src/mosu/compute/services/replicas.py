"""A replica's place at its endpoint, taken in the transaction that orders its run: both are there, or neither."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued

from mosu.compute.endpoints import most_live
from mosu.compute.models import Endpoint, Replica, Run
from mosu.compute.requests import RunRequest
from mosu.compute.states import EndpointState, RunState
from mosu.kernel.refusals import DomainError
from mosu.platform.rows import insert

KEEP_ENDPOINT: Final = "compute.keep_endpoint"
"""The task's name: who wakes the keeper is below it."""


class Overtaken(DomainError):
    """The endpoint changed since the quote: another replica was ordered, its task changed, or it ended."""

    code = "replica_overtaken"


def take_place(run: Run, request: RunRequest, *, now: datetime) -> None:
    """Write down that the run is the endpoint's next replica. Locks the endpoint, before any node.

    Whoever orders, and however often: each ordinal is ordered once, and never more than `most_live` go on.

    Raises:
        Overtaken: it is not the next any more.
    """
    endpoint = Endpoint.objects.select_for_update(no_key=True).get(id=request.endpoint)
    if (
        endpoint.state != EndpointState.OPEN
        or endpoint.version != request.version
        or next_ordinal(endpoint) != request.replica
        or paid_now(endpoint) >= most_live(endpoint.replicas_max)
    ):
        raise Overtaken("The endpoint has changed since this quote.", hint="It orders again by itself.")
    if endpoint.reason or endpoint.retry_at:
        endpoint.reason, endpoint.retry_at = "", None
        endpoint.save(update_fields=["reason", "retry_at"])
    insert(
        Replica(endpoint=endpoint, run=run, ordinal=request.replica, version=request.version, added_at=now)
    )


def paid_now(endpoint: Endpoint) -> int:
    """How many of its runs have not ended: one that was told to stop is paid until its supplier says that it did."""
    live = (RunState.QUEUED, RunState.RUNNING)
    return Replica.objects.filter(endpoint=endpoint, run__state__in=live).count()


def next_ordinal(endpoint: Endpoint) -> int:
    """How many replicas it had until now."""
    last = Replica.objects.filter(endpoint=endpoint).order_by("-ordinal").values_list("ordinal", flat=True)
    return next((ordinal + 1 for ordinal in last[:1]), 0)


def wake_keeper(endpoint_id: UUID) -> None:
    """Have the keeper look at the endpoint at once, after the commit, rather than at its next round."""
    try:
        with transaction.atomic():  # a job that waits already is a refusal of the database's
            app.configure_task(KEEP_ENDPOINT, queueing_lock=f"{KEEP_ENDPOINT}:{endpoint_id}").defer(
                endpoint_id=str(endpoint_id)
            )
    except AlreadyEnqueued:
        pass
