"""Runs: how they stand, their attempts, where they wait, what they used."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from mosu.compute.ends import ends_at, limit_s_of
from mosu.compute.idle_runs import Idleness, idleness_of
from mosu.compute.models import Attempt, Run
from mosu.compute.queries import bought_while_running, curve_of, shares_of, whole_costs_of, why_not_live
from mosu.compute.queue import InLine, in_line
from mosu.compute.reach import connect_url
from mosu.compute.shapes.parts import VoucherChoice
from mosu.compute.states import AttemptState, RunState, is_ended
from mosu.kernel.ids import typeid
from mosu.kernel.languages import Language, said
from mosu.kernel.money import decimal_of
from mosu.market.models import Order
from mosu.market.shapes import OfferBrief
from mosu.platform.schemas import In, Out
from mosu.wire.images import image_of


class AttemptOut(Out):
    id: str
    state: str
    epoch: int
    node: str | None
    nodes: list[str]
    """In the order of the ranks, `node` first."""
    started_at: datetime | None
    ended_at: datetime | None
    reason: str

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptOut":
        nodes = [share.node.name for share in shares_of(attempt)]
        return cls(
            id=attempt.public_id,
            state=attempt.state,
            epoch=attempt.epoch,
            node=nodes[0] if nodes else None,
            nodes=nodes,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            reason=attempt.reason,
        )


class FileOut(Out):
    path: str
    sha256: str
    size_bytes: int


class QueueOut(Out):
    """Where a run that waits stands in its pool: `place` of `waiting` by whose turn it is.

    It starts at `promised_start` at the latest. Of `estimates` earlier ones of the last 30 days, half were off by at
    most `estimate_error_s` (null where nothing had to wait).
    """

    place: int
    waiting: int
    expected_start: datetime
    promised_start: datetime
    estimates: int
    estimate_error_s: int | None

    @classmethod
    def of(cls, line: InLine) -> "QueueOut":
        return cls(
            place=line.place,
            waiting=line.waiting,
            expected_start=line.expected_at,
            promised_start=line.promised_at,
            estimates=line.estimates.count,
            estimate_error_s=line.estimates.median_error_s,
        )


class RunOut(Out):
    """A run as it stands now. `cost_so_far` is final once the run has ended."""

    id: str
    name: str
    state: str
    kind: str
    port: int | None
    """Of a service."""
    """`batch`, or `session`: people are joined to its ports."""
    order_id: str
    offer: OfferBrief
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: str
    environment: str
    nodes: int
    cores: int
    """Of each node, as the cards."""
    accelerator: str | None
    cards: int
    wall_limit_s: int
    """With what was bought while it ran."""
    extension_order_ids: list[str]
    """The orders of that, as they follow each other; `order_id` is the first."""
    attempts: list[AttemptOut]
    measures: dict[str, Any] | None
    outputs: list[FileOut]
    cost_so_far: str
    currency: str
    why_waiting: str | None
    queue: QueueOut | None
    connect_url: str | None
    """Where the relay joins people to a session's ports (`?port=N`, a WebSocket); null where it cannot now."""
    ends_at: datetime | None
    """When its wall limit ends it; null where it does not run."""
    stop_asked_at: datetime | None
    """When it was told to stop; null where it was not, or has ended."""
    idle_since: datetime | None
    """Since when it does nothing: a batch's accelerators, or a session that nobody uses; null while it does."""
    idle_stop_s: int | None
    """After how long without use it is stopped, as its task or its owner says."""
    idle_stops_at: datetime | None
    """When it is stopped if that goes on, by its own time or the organisation's; null: never, or it is in use."""

    @classmethod
    def all_of(cls, runs: Sequence[Run], *, language: Language, now: datetime) -> list["RunOut"]:
        """The runs, what they wait for and why they ended said in `language`."""
        costs, lines, idle = whole_costs_of(runs), in_line(runs, now=now), idleness_of(runs)
        further = bought_while_running(runs)
        return [
            cls._of(
                run,
                cost=costs[run.id],
                further=further.get(run.id, ()),
                line=lines.get(run.id),
                idleness=idle.get(run.id),
                language=language,
                now=now,
            )
            for run in runs
        ]

    @classmethod
    def _of(
        cls,
        run: Run,
        *,
        cost: int,
        further: Sequence[Order],
        line: InLine | None,
        idleness: Idleness | None,
        language: Language,
        now: datetime,
    ) -> "RunOut":
        attempts = sorted(run.attempts.all(), key=lambda attempt: attempt.epoch)
        last = attempts[-1] if attempts else None
        waits = _why_waiting(run, attempts, now=now)
        return cls(
            id=run.public_id,
            name=run.name,
            state=run.state,
            kind=run.request.get("kind", "batch"),
            port=run.request.get("port") or None,
            order_id=typeid("order", run.order_id),
            offer=OfferBrief.of(run.order.quote),
            created_at=run.created_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
            exit_code=run.exit_code,
            reason=said(run.reason, language),
            environment=run.request["environment"],
            nodes=run.request.get("nodes", 1),
            cores=run.request["cores"],
            accelerator=run.request["accelerator"],
            cards=run.request["cards"],
            wall_limit_s=limit_s_of(run, last),
            extension_order_ids=[order.public_id for order in further],
            attempts=[AttemptOut.of(attempt) for attempt in attempts],
            measures=run.measures,
            outputs=[FileOut(**output) for output in run.outputs],
            cost_so_far=decimal_of(cost, currency=run.order.currency),
            currency=run.order.currency,
            why_waiting=said(waits, language) if waits else None,
            queue=QueueOut.of(line) if line else None,
            connect_url=connect_url(run, last, now=now),
            ends_at=ends_at(run, last),
            stop_asked_at=None if is_ended(run.state) else run.cancel_asked_at,
            idle_since=idleness.since if idleness else None,
            idle_stop_s=run.idle_stop_s,
            idle_stops_at=idleness.stops_at if idleness else None,
        )


class MeterSampleOut(Out):
    """`seconds` since the attempt started; `cores` in use since the sample before.

    `accelerator_util`, the mean over its cards, is from 0 to 1; null where its engine cannot say, as is their memory.
    """

    seconds: float
    cores: float
    memory_bytes: int
    accelerator_util: float | None
    accelerator_memory_bytes: int | None


class SamplesOut(Out):
    run_id: str
    cores_max: int
    memory_bytes_max: int
    points: list[MeterSampleOut]

    @classmethod
    def of(cls, run: Run) -> "SamplesOut":
        return cls(
            run_id=run.public_id,
            cores_max=run.request["cores"],
            memory_bytes_max=run.request["memory_bytes"],
            points=[MeterSampleOut(**asdict(point)) for point in curve_of(run)],
        )


class ExtensionIn(In):
    """How much more time a run is to have. `vouchers` as for a task: `auto`, `none`, or their ids."""

    seconds: Annotated[int, Field(ge=1)]
    vouchers: VoucherChoice = "auto"


class RunIdleStopIn(In):
    """After how many seconds without use; null: by the organisation's rule alone."""

    stop_after_s: Annotated[int, Field(ge=1)] | None = None


class FenceIn(In):
    """How the operator knows that the attempt runs no more."""

    why: Annotated[str, StringConstraints(min_length=1, max_length=400, pattern=r"^[^\x00]*$")]


def _why_waiting(run: Run, attempts: Sequence[Attempt], *, now: datetime) -> str | None:
    """What a run that has not started waits for."""
    if run.state != RunState.QUEUED or not attempts:
        return None
    last = attempts[-1]
    if last.state == AttemptState.UNREACHABLE:
        return "the supplier's agent has not been heard of"
    if last.state == AttemptState.LEASED:
        if image_of(run.request.get("environment", "")):
            return "the agent is preparing it, and fetches its image first where it does not have it"
        return "the agent is preparing it"
    starts = [place.period.lower for place in last.allocations.all() if place.live]
    if starts and starts[0] > now:
        return f"it starts at {starts[0]:%Y-%m-%d %H:%M} UTC"
    return why_not_live(run.pool, now=now) or "the supplier's agent takes it next"
