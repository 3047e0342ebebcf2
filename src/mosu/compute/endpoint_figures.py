"""How endpoints do: replicas, requests, errors and latency of the last hour, and by the minute for curves."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from mosu.compute import endpoints as rules
from mosu.compute.models import (
    LATENCY_MS,
    Endpoint,
    EndpointKey,
    EndpointMinute,
    EndpointRequest,
    Replica,
)
from mosu.compute.states import EndpointState

HOUR: Final = timedelta(hours=1)
MINUTES_MAX: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Figures:
    """An endpoint now, and what was asked there within the last hour."""

    well: int
    live: int
    """Replicas that are given requests, or will be once they are well."""
    wanted: int
    requests: int
    refused: int
    failed: int
    p95_ms: int | None
    """By which 95 of 100 answers had begun: the upper bound of a class; None where there was none."""


def figures_of(endpoints: Sequence[Endpoint], *, now: datetime) -> dict[UUID, Figures]:
    """Of each endpoint; two statements, however many there are."""
    ids = [one.id for one in endpoints]
    replicas: dict[UUID, list[Replica]] = defaultdict(list)
    for replica in Replica.objects.filter(endpoint_id__in=ids, over=False, drained_at=None).order_by("id"):
        replicas[replica.endpoint_id].append(replica)
    minutes: dict[UUID, list[EndpointMinute]] = defaultdict(list)
    rows = EndpointMinute.objects.filter(endpoint_id__in=ids, minute__gt=now - HOUR)
    for minute in rows.order_by("endpoint_id", "minute"):
        minutes[minute.endpoint_id].append(minute)
    return {one.id: _figures(one, replicas[one.id], minutes[one.id], now=now) for one in endpoints}


def _figures(
    endpoint: Endpoint, replicas: Sequence[Replica], minutes: Sequence[EndpointMinute], *, now: datetime
) -> Figures:
    wanted = rules.wanted(
        least=endpoint.replicas_min,
        most=endpoint.replicas_max,
        requests=endpoint.requests_per_replica,
        in_flight=endpoint.in_flight,
        asked_at=endpoint.asked_at,
        idle_s=endpoint.idle_s,
        now=now,
    )
    return Figures(
        well=sum(one.well_at is not None for one in replicas),
        live=len(replicas),
        wanted=max(wanted, len(replicas)) if endpoint.state == EndpointState.OPEN else 0,
        requests=sum(one.requests for one in minutes),
        refused=sum(one.refused for one in minutes),
        failed=sum(one.failed for one in minutes),
        p95_ms=latency_ms([one.latencies for one in minutes], 0.95),
    )


def latency_ms(counted: Sequence[Sequence[int]], part: float) -> int | None:
    """The class within which that part of all answers had begun, by its upper bound; the last class by its lower."""
    sums = [sum(one[place] for one in counted) for place in range(len(LATENCY_MS) + 1)]
    total, seen = sum(sums), 0
    for place, count in enumerate(sums):
        seen += count
        if count and seen >= part * total:
            return LATENCY_MS[min(place, len(LATENCY_MS) - 1)]
    return None


def minutes_of(endpoint: Endpoint, *, since: datetime) -> Sequence[EndpointMinute]:
    """In order of time; minutes without a request have none. The caller has shown that it may be seen."""
    rows = EndpointMinute.objects.filter(endpoint=endpoint, minute__gte=since).order_by("minute")
    return list(rows[:MINUTES_MAX])


def requests_of(endpoint: Endpoint) -> QuerySet[EndpointRequest]:
    """Newest first. The caller has shown that it may be seen."""
    rows = EndpointRequest.objects.filter(endpoint=endpoint).select_related("key", "user", "run")
    return rows.order_by("-at", "-id")


def keys_of(endpoint: Endpoint) -> QuerySet[EndpointKey]:
    """Those that hold and those that held, newest first. The caller has shown that it may be seen."""
    rows = EndpointKey.objects.filter(endpoint=endpoint).select_related("made_by")
    return rows.order_by("-made_at", "-id")


def replicas_of(endpoint: Endpoint) -> QuerySet[Replica]:
    """Newest first, those that are over too. The caller has shown that it may be seen."""
    rows = Replica.objects.filter(endpoint=endpoint).select_related("run__order", "run__pool")
    return rows.order_by("-ordinal")
