"""The compute shelf's JSON: ids as TypeIDs, times in UTC, money as decimal strings."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from mosu.compute.accelerators import Accelerator, catalogue
from mosu.compute.models import Attempt, Blackout, HealthCheck, Node, Pool, Run
from mosu.compute.queries import Used, costs_of, curve_of, shares_of, why_not_live
from mosu.compute.queue import InLine, in_line
from mosu.compute.services import QuoteResult, RefusedOffer
from mosu.compute.states import AttemptState, BlackoutKind, NodeState, PoolState, RunState
from mosu.compute.supply import drift_of_node
from mosu.kernel.ids import typeid
from mosu.kernel.languages import Language, said
from mosu.kernel.money import decimal_of
from mosu.market.shapes import OfferBrief, QuoteOut
from mosu.platform.schemas import Bilingual, In, Out
from mosu.store.services import ManifestEntry

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]


Why = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\x00]*$")]


class FileIn(In):
    path: Annotated[str, StringConstraints(max_length=1024)]
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    executable: bool = False

    def entry(self) -> ManifestEntry:
        return ManifestEntry(
            path=self.path, sha256=self.sha256, size_bytes=self.size_bytes, executable=self.executable
        )


class QuoteIn(In):
    """`task` is the text of the task file; `vouchers`, where given, wins over its `mosu.vouchers`."""

    task: Annotated[str, StringConstraints(max_length=200_000)]
    workdir: Annotated[list[FileIn], Field(max_length=10_000)] = []
    project_id: Word | None = None
    vouchers: Literal["auto", "none"] | Annotated[list[Word], Field(max_length=20)] | None = None


class ReasonOut(Out):
    code: str
    message: str
    hint: str


class RefusedOut(Out):
    offer_id: str
    title: Bilingual
    reasons: list[ReasonOut]

    @classmethod
    def of(cls, refused: RefusedOffer, *, language: Language) -> "RefusedOut":
        return cls(
            offer_id=refused.public_id,
            title=Bilingual(zh=refused.title_zh, en=refused.title_en),
            reasons=[
                ReasonOut(
                    code=reason.code,
                    message=said(reason.message, language),
                    hint=said(reason.hint, language),
                )
                for reason in refused.reasons
            ],
        )


class RefusedGroupOut(Out):
    """How many offers were refused for the same reasons: `codes` are those of `refused[].reasons`."""

    codes: list[str]
    count: int


class QuotesOut(Out):
    """Quotes, best first, and why other offers were refused: examples in words, all of them by reason.

    `not_priced` more fit, but no better than those that have a quote.
    """

    quotes: list[QuoteOut]
    refused: list[RefusedOut]
    refused_groups: list[RefusedGroupOut]
    not_priced: int

    @classmethod
    def of(cls, result: QuoteResult, *, language: Language, now: datetime) -> "QuotesOut":
        return cls(
            quotes=[QuoteOut.of(quote, now=now) for quote in result.quotes],
            refused=[RefusedOut.of(refused, language=language) for refused in result.refused],
            refused_groups=[
                RefusedGroupOut(codes=sorted(group.codes), count=group.count)
                for group in result.refused_groups
            ],
            not_priced=result.not_priced,
        )


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
    attempts: list[AttemptOut]
    measures: dict[str, Any] | None
    outputs: list[FileOut]
    cost_so_far: str
    currency: str
    why_waiting: str | None
    queue: QueueOut | None

    @classmethod
    def all_of(cls, runs: Sequence[Run], *, language: Language, now: datetime) -> list["RunOut"]:
        """The runs, what they wait for and why they ended said in `language`."""
        costs, lines = costs_of(runs), in_line(runs, now=now)
        return [
            cls._of(run, cost=costs[run.id], line=lines.get(run.id), language=language, now=now)
            for run in runs
        ]

    @classmethod
    def _of(cls, run: Run, *, cost: int, line: InLine | None, language: Language, now: datetime) -> "RunOut":
        attempts = sorted(run.attempts.all(), key=lambda attempt: attempt.epoch)
        waits = _why_waiting(run, attempts, now=now)
        return cls(
            id=run.public_id,
            name=run.name,
            state=run.state,
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
            wall_limit_s=run.request["wall_limit_s"],
            attempts=[AttemptOut.of(attempt) for attempt in attempts],
            measures=run.measures,
            outputs=[FileOut(**output) for output in run.outputs],
            cost_so_far=decimal_of(cost, currency=run.order.currency),
            currency=run.order.currency,
            why_waiting=said(waits, language) if waits else None,
            queue=QueueOut.of(line) if line else None,
        )


class MeterSampleOut(Out):
    """`seconds` since the attempt started; `cores` in use since the sample before."""

    seconds: float
    cores: float
    memory_bytes: int


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
            points=[
                MeterSampleOut(seconds=point.seconds, cores=point.cores, memory_bytes=point.memory_bytes)
                for point in curve_of(run)
            ],
        )


class DeviceOut(Out):
    index: int
    accelerator: str
    present: bool


class HealthOut(Out):
    """One health test: what it measured, each in the unit that its name ends with, and how the hub judged it."""

    at: datetime
    took_s: float
    fit: bool
    why: str
    measures: dict[str, float]

    @classmethod
    def of(cls, check: HealthCheck) -> "HealthOut":
        return cls(at=check.at, took_s=check.took_s, fit=check.fit, why=check.why, measures=check.measures)


class NodeOut(Out):
    id: str
    name: str
    state: str
    fitness: str
    unfit_why: str
    checked_at: datetime | None
    check_asked_at: datetime | None
    drift: list[str]
    cores: int
    memory_bytes: int
    disk_bytes: int
    devices: list[DeviceOut]

    @classmethod
    def of(cls, node: Node) -> "NodeOut":
        devices = sorted(node.devices.all(), key=lambda device: device.index)
        return cls(
            id=node.public_id,
            name=node.name,
            state=node.state,
            fitness=node.fitness,
            unfit_why=node.unfit_why,
            checked_at=node.checked_at,
            check_asked_at=node.check_asked_at,
            drift=drift_of_node(node),
            cores=node.cores,
            memory_bytes=node.memory_bytes,
            disk_bytes=node.disk_bytes,
            devices=[
                DeviceOut(index=one.index, accelerator=one.accelerator, present=one.present)
                for one in devices
            ],
        )


class BlackoutIn(In):
    """From when to when nothing of the node is sold, and why."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime
    why: Why
    kind: BlackoutKind = BlackoutKind.MAINTENANCE


class BlackoutOut(Out):
    id: str
    kind: str
    pool_id: str
    node_id: str
    node: str
    starts_at: datetime
    ends_at: datetime
    why: str
    state: str

    @classmethod
    def of(cls, blackout: Blackout) -> "BlackoutOut":
        return cls(
            id=blackout.public_id,
            kind=blackout.kind,
            pool_id=typeid(Pool.prefix, blackout.node.pool_id),
            node_id=typeid(Node.prefix, blackout.node_id),
            node=blackout.node.name,
            starts_at=blackout.period.lower,
            ends_at=blackout.period.upper,
            why=blackout.why,
            state=blackout.state,
        )


class DayUsedOut(Out):
    """How much of a pool was promised on a day of the hub's zone, beside what its nodes have now."""

    day: date
    core_hours: float
    core_hours_max: float
    card_hours: float
    card_hours_max: float

    @classmethod
    def of(cls, used: Used) -> "DayUsedOut":
        return cls(
            day=used.day,
            core_hours=round(used.promised, 4),
            core_hours_max=round(used.capacity, 4),
            card_hours=round(used.cards_promised, 4),
            card_hours_max=round(used.cards_capacity, 4),
        )


class PoolIn(In):
    name: Word
    region: Word
    organisation_id: Word | None = None


class PoolOut(Out):
    id: str
    organisation_id: str
    name: str
    region: str
    state: str
    engine: str
    agent_version: str
    sandbox: str
    sandbox_ok: bool
    clock_skew_s: float
    agent_host: str
    ordered_s: int
    delivered_s: int
    environments: list[dict[str, Any]]
    last_seen_at: datetime | None
    live: bool
    why_not_live: str | None

    @classmethod
    def of(cls, pool: Pool, *, now: datetime) -> "PoolOut":
        why = why_not_live(pool, now=now)
        return cls(
            id=pool.public_id,
            organisation_id=typeid("org", pool.organisation_id),
            name=pool.name,
            region=pool.region,
            state=pool.state,
            engine=pool.engine,
            agent_version=pool.agent_version,
            sandbox=pool.sandbox,
            sandbox_ok=pool.sandbox_ok,
            clock_skew_s=pool.clock_skew_s,
            agent_host=pool.agent_host,
            ordered_s=pool.ordered_s,
            delivered_s=pool.delivered_s,
            environments=pool.environments,
            last_seen_at=pool.last_seen_at,
            live=why is None,
            why_not_live=why,
        )


class MadePoolOut(Out):
    """A pool with its agent's token: shown now, never again."""

    pool: PoolOut
    token: str


class PoolTokenOut(Out):
    """An agent's token: shown now, never again."""

    token: str


class PoolStateIn(In):
    """Where a pool is moved to, and why."""

    state: PoolState
    why: Why = ""


class NodeStateIn(In):
    """Where a node is moved to, and why."""

    state: NodeState
    why: Why = ""


class FenceIn(In):
    """How the operator knows that the attempt runs no more."""

    why: Annotated[str, StringConstraints(min_length=1, max_length=400, pattern=r"^[^\x00]*$")]


class FigureOut(Out):
    value: float
    source: str
    confidence: str


class ComputeOut(FigureOut):
    precision: str
    sparse: bool
    vector: bool


class AcceleratorOut(Out):
    """A card type; a figure that is not known is null or missing."""

    id: str
    name: str
    name_zh: str
    vendor: str
    aliases: list[str]
    memory_gb: FigureOut | None
    bandwidth_gb_s: FigureOut | None
    interconnect: dict[str, Any] | None
    compute: list[ComputeOut]
    software: list[str]
    designed_in: list[str]
    made_in: list[str]

    @classmethod
    def of(cls, one: Accelerator) -> "AcceleratorOut":
        return cls(
            id=one.id,
            name=one.name,
            name_zh=one.zh or one.name,
            vendor=one.vendor,
            aliases=list(one.aliases),
            memory_gb=_figure(one.memory_gb.value, one.memory_gb.source) if one.memory_gb else None,
            bandwidth_gb_s=(
                _figure(one.bandwidth_gb_s.value, one.bandwidth_gb_s.source) if one.bandwidth_gb_s else None
            ),
            interconnect=one.interconnect.model_dump() if one.interconnect else None,
            compute=[
                ComputeOut(
                    **_figure(figure.tflops, figure.source).model_dump(),
                    precision=figure.precision,
                    sparse=figure.sparse,
                    vector=figure.vector,
                )
                for figure in one.compute
            ],
            software=list(one.software),
            designed_in=list(one.design.value) if one.design else [],
            made_in=list(one.make.value) if one.make else [],
        )


def _figure(value: float, source: str) -> FigureOut:
    known = catalogue().sources[source]
    return FigureOut(value=value, source=known.title, confidence=known.confidence)


def _why_waiting(run: Run, attempts: Sequence[Attempt], *, now: datetime) -> str | None:
    """What a run that has not started waits for."""
    if run.state != RunState.QUEUED or not attempts:
        return None
    last = attempts[-1]
    if last.state == AttemptState.UNREACHABLE:
        return "the supplier's agent has not been heard of"
    if last.state == AttemptState.LEASED:
        return "the agent is preparing it"
    starts = [place.period.lower for place in last.allocations.all() if place.live]
    if starts and starts[0] > now:
        return f"it starts at {starts[0]:%Y-%m-%d %H:%M} UTC"
    return why_not_live(run.pool, now=now) or "the supplier's agent takes it next"
