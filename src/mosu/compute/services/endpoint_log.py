"""What was asked at endpoints: written down in batches, forgotten in pieces."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from mosu.compute.models import LATENCY_MS, Endpoint, EndpointRequest, Replica
from mosu.compute.states import EndpointState

REQUESTS_KEPT: Final = timedelta(days=7)
MINUTES_KEPT: Final = timedelta(days=90)
_PIECE_ROWS: Final = 5_000
_PIECES_MAX: Final = 200
"""Of one turn: what is more waits for the next."""


@dataclass(slots=True)
class Minute:
    """What is to be added to an endpoint's minute."""

    requests: int = 0
    refused: int = 0
    failed: int = 0
    in_flight_max: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_MS) + 1))

    def add(self, other: "Minute") -> None:
        """What came of the same minute."""
        self.requests += other.requests
        self.refused += other.refused
        self.failed += other.failed
        self.in_flight_max = max(self.in_flight_max, other.in_flight_max)
        self.latencies = [mine + more for mine, more in zip(self.latencies, other.latencies, strict=True)]


@dataclass(frozen=True, slots=True)
class InFlight:
    """The most at once since the relay last said so, and when somebody last asked."""

    most: int
    asked_at: datetime | None


@transaction.atomic(durable=True)
def note_requests(
    *, requests: Collection[EndpointRequest], minutes: Mapping[tuple[UUID, datetime], Minute]
) -> None:
    """Write them down, and add to the minutes; all or none."""
    EndpointRequest.objects.bulk_create(requests, batch_size=_PIECE_ROWS)
    with connection.cursor() as cursor:
        cursor.executemany(
            _ADD_MINUTE,
            [
                (key, at, one.requests, one.refused, one.failed, one.in_flight_max, one.latencies)
                for (key, at), one in sorted(minutes.items())
            ],
        )


@transaction.atomic(durable=True)
def note_in_flight(*, endpoints: Mapping[UUID, InFlight], replicas: Mapping[UUID, int]) -> frozenset[UUID]:
    """Write down how many requests are under way; which rows were written: one that somebody holds, and who may wait
    for it, is passed over, and is for the next time.
    """
    with connection.cursor() as cursor:
        told = sorted(endpoints.items())
        cursor.execute(
            _IN_FLIGHT,
            [
                [key for key, _ in told],
                [one.most for _, one in told],
                [one.asked_at for _, one in told],
                EndpointState.OPEN.value,
            ],
        )
        written = [row[0] for row in cursor.fetchall()]
        cursor.execute(_AT_REPLICAS, [list(replicas), list(replicas.values())])
        return frozenset({*written, *(row[0] for row in cursor.fetchall())})


@transaction.atomic(durable=True)
def forget_in_flight() -> None:
    """Nothing is under way: only for the start of the one relay."""
    Endpoint.objects.filter(state=EndpointState.OPEN, in_flight__gt=0).update(in_flight=0)
    Replica.objects.filter(over=False, in_flight__gt=0).update(in_flight=0)


def forget_requests(*, now: datetime) -> int:
    """Delete what is older than it is kept, in pieces of a transaction each; how many rows there were."""
    deleted = 0
    for table, column, kept in (
        ("compute_endpointrequest", "at", REQUESTS_KEPT),
        ("compute_endpointminute", "minute", MINUTES_KEPT),
    ):
        for _ in range(_PIECES_MAX):
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                cursor.execute(_FORGET.format(table=table, column=column), [now - kept, _PIECE_ROWS])
                deleted += (count := cursor.rowcount)
            if count < _PIECE_ROWS:
                break
    return deleted


_ADD_MINUTE: Final = """
insert into compute_endpointminute as m
  (endpoint_id, minute, requests, refused, failed, in_flight_max, latencies) values (%s, %s, %s, %s, %s, %s, %s)
on conflict (endpoint_id, minute) do update
   set requests = m.requests + excluded.requests, refused = m.refused + excluded.refused,
       failed = m.failed + excluded.failed, in_flight_max = greatest(m.in_flight_max, excluded.in_flight_max),
       latencies = (
         select array_agg(was + more order by place)
           from unnest(m.latencies, excluded.latencies) with ordinality as both_of(was, more, place))
"""
_IN_FLIGHT: Final = """
with told as (
  select * from unnest(%s::uuid[], %s::int[], %s::timestamptz[]) as told(id, in_flight, at)),
held as (
  select e.id from compute_endpoint e where e.id in (select id from told) and e.state = %s
   order by e.id for no key update skip locked)
update compute_endpoint e set in_flight = told.in_flight, asked_at = greatest(e.asked_at, told.at)
  from told, held where e.id = told.id and e.id = held.id returning e.id
"""
_AT_REPLICAS: Final = """
with told as (select * from unnest(%s::uuid[], %s::int[]) as told(id, in_flight)),
held as (
  select r.id from compute_replica r where r.id in (select id from told)
   order by r.id for no key update skip locked)
update compute_replica r set in_flight = told.in_flight
  from told, held where r.id = told.id and r.id = held.id returning r.id
"""
_FORGET: Final = (
    "delete from {table} where id in (select id from {table} where {column} < %s order by {column} limit %s)"
)
