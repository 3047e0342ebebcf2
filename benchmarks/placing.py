"""Placement: openb's pods and philly's jobs through the simulators, and decisions that PostgreSQL keeps.

Where the shared data are not, a small trace is generated from a seed: its figures are held to no bar.
"""

# ruff: noqa: PLC0415 - Django is set up before these are called
import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from mosu.compute.placement.fleet import Machine, Shape
from mosu.compute.placement.podqueue import paced, queue_pods, scaled
from mosu.compute.placement.policies import POLICIES
from mosu.compute.placement.replay import Replayed, replay
from mosu.compute.placement.traces import Cluster, Job, Pod, clusters_in, jobs_in, machines_in, pods_in
from mosu.compute.placement.waits import jobs_between, waits_of

DATA: Final = Path(__file__).parents[2] / "shared" / "data"
PUBLISHED: Final = {
    "default": 95.23,
    "cpu100": 95.21,
    "gpushare40": 93.96,
    "gpuspec10": 94.66,
    "gpuspec25": 93.91,
    "multigpu20": 95.53,
}
"""FGD's own table (ATC 2023 artifact): % of cards allocated when all have been asked for, mean of 10 seeds."""
BOUND: Final = 96.9
"""Of the default list, by a linear programme that relaxes each node's processor and memory."""
FIRST_SEED: Final = 42
QUEUE_SCALE: Final = 0.1
QUEUE_PACE: Final = 200.0
"""At their own pace openb's pods never wait: at most 66 of its 6,212 cards are in use at once."""
WALL: Final = timedelta(hours=1)


def placed(*, seeds: int, lists: int) -> list[Figure]:
    """FGD's and our allocation on openb's six lists, and how many decisions a second."""
    if not (DATA / "openb").exists():
        return _placed_generated(seeds=seeds)
    machines = machines_in(DATA / "openb" / "openb_node_list_gpu_node.csv")
    figures, speeds = [], []
    for name, published in list(PUBLISHED.items())[:lists]:
        pods = pods_in(DATA / "openb" / f"openb_pod_list_{name}.csv")
        fgd, ours = (_replayed(machines, pods, policy=policy, seeds=seeds) for policy in ("fgd", "mosu"))
        off = abs(_mean(fgd) - published)
        told = f"{_mean(fgd):.2f}, published {published}"
        bound = f"; bound {BOUND}" if name == "default" else ""
        figures += [
            Figure(f"openb {name}: FGD off the published", off, "points", 0.3, note=told),
            Figure(f"openb {name}: mosu", _mean(ours), "%", published, "more", note=f"{seeds} seeds{bound}"),
        ]
        speeds.append(_speed(ours))
    return [
        *figures,
        Figure("placement decisions in memory", min(speeds), "/s", 3000, "more", note="slowest list"),
    ]


def _placed_generated(*, seeds: int) -> list[Figure]:
    dice = random.Random(FIRST_SEED)  # noqa: S311 - a trace, not a secret
    machines = [Machine(f"n{number:03d}", 64_000, 10**6, dice.choice((2, 4, 8)), "A") for number in range(40)]
    sizes = ((1, 1000), (1, 500), (1, 250), (2, 1000), (8, 1000))
    pods = [Pod(str(number), Shape(4000, 1, *dice.choice(sizes))) for number in range(300)]
    note = "generated trace"
    return [
        figure
        for policy in ("fgd", "mosu")
        if (found := _replayed(machines, pods, policy=policy, seeds=seeds))
        for figure in (
            Figure(f"{policy} allocated", _mean(found), "%", note=note),
            Figure(f"{policy} decisions in memory", _speed(found), "/s", note=note),
        )
    ]


def lined_up() -> list[Figure]:
    """Openb's default list with a queue instead of drop-on-fail, on a tenth of its nodes, 200 times as fast."""
    if (DATA / "openb").exists():
        machines = scaled(machines_in(DATA / "openb" / "openb_node_list_gpu_node.csv"), QUEUE_SCALE)
        pods = paced(pods_in(DATA / "openb" / "openb_pod_list_default.csv"), QUEUE_PACE)
        note = ""
    else:
        dice = random.Random(FIRST_SEED)  # noqa: S311 - a trace, not a secret
        machines = [Machine(f"n{number}", 64_000, 10**6, 8, "A") for number in range(4)]
        pods = [
            Pod(str(number), Shape(4000, 1, dice.choice((1, 2, 8))), 10.0 * number, dice.expovariate(1 / 100))
            for number in range(300)
        ]
        note = "generated trace; "
    figures = []
    for policy in POLICIES:
        found = queue_pods(machines, pods, policy=policy)
        sizes = ", ".join(f"{size} {one.mean_s:,.0f}" for size, one in found.by_size.items() if one.count)
        waited = f"{sum(found.waited.values())} of {found.all.count} waited"
        by_cards = f"{note}{waited}; p99 {found.all.p99_s:,.0f}; by cards {sizes}"
        figures.append(
            Figure(f"openb with a queue: mean wait, {policy}", found.all.mean_s, "s", note=by_cards)
        )
    return figures


def _replayed(machines: Sequence[Machine], pods: Sequence[Pod], *, policy: str, seeds: int) -> list[Replayed]:
    return [replay(machines, pods, policy=policy, seed=FIRST_SEED + number) for number in range(seeds)]


def _mean(found: Sequence[Replayed]) -> float:
    return statistics.fmean(one.allocated_percent for one in found)


def _speed(found: Sequence[Replayed]) -> float:
    return sum(one.decisions for one in found) / sum(one.seconds for one in found)


def queued(*, jobs_max: int | None) -> list[Figure]:
    """Waits of philly's jobs on 0.35 of its nodes; of the first `jobs_max` where it is named."""
    folder = DATA / "philly"
    if folder.exists():
        clusters = clusters_in(folder / "vc_nodes.csv", scale=0.35)
        jobs = jobs_between(jobs_in(folder / "philly.csv"), clusters, since="2017-10-01", until="2017-12-01")
    else:
        dice = random.Random(FIRST_SEED)  # noqa: S311 - a trace, not a secret
        clusters = [Cluster("c", 2, 8)]
        jobs = [
            Job(600.0 * number, dice.expovariate(1 / 6000), dice.choice((1, 1, 8)), "c")
            for number in range(300)
        ]
    whole = folder.exists() and jobs_max is None
    jobs = jobs[:jobs_max]
    found = {name: waits_of(clusters, jobs, discipline=name) for name in ("fifo", "backfill", "mosu")}
    fifo, backfill, ours = (found[name].all for name in ("fifo", "backfill", "mosu"))
    told = f"{ours.count} jobs; FIFO {fifo.mean_s:,.0f}, backfill {backfill.mean_s:,.0f}"
    note = told if whole else f"{told}; not the whole trace"
    return [
        Figure("philly: FIFO off the reference", abs(fifo.mean_s - 26_204), "s", 20 if whole else None),
        Figure(
            "philly: backfill off the reference", abs(backfill.mean_s - 9_538), "s", 20 if whole else None
        ),
        Figure("philly: mean wait, mosu", ours.mean_s, "s", 8000 if whole else None, note=note),
        Figure("philly: p99 wait, mosu", ours.p99_s, "s", fifo.p99_s if whole else None, note="bar: FIFO's"),
    ]


def kept(buyer: Buyer, *, decisions: int) -> list[Figure]:
    """Decisions a second, each of them found under the lock of a pool's 16 nodes, written down and committed.

    Runs that were bought are placed anew, as a lease does it; quoting and money are not in it.
    """
    from django.db import connections, transaction

    from mosu.compute.models import Attempt
    from mosu.compute.placement import Placement
    from mosu.compute.requests import RunRequest
    from mosu.compute.services.capacity import allocate, find_place, release

    pool_id = _make_pool()
    orders = _bought(buyer, pool_id, count=12)
    attempts = list(Attempt.objects.filter(run__order_id__in=orders).select_related("run").order_by("id"))
    needs = [RunRequest.of_json(attempt.run.request).need for attempt in attempts]
    began = time.perf_counter()
    for number in range(decisions):
        attempt, need = attempts[number % len(attempts)], needs[number % len(attempts)]
        now = datetime.now(UTC)
        with transaction.atomic():
            release(attempt.id, now=now)
            found = find_place(pool_id=pool_id, need=need, earliest=now, latest=now, duration=WALL, now=now)
            assert isinstance(found, Placement), found  # noqa: S101 - the pool has room for all of them
            allocate(attempt=attempt, need=need, placement=found)
    speed = decisions / (time.perf_counter() - began)
    connections.close_all()
    return [
        Figure(
            "placement decisions persisted", speed, "/s", 100, "more", note="16 nodes of 8 cards, one client"
        )
    ]


def _make_pool() -> UUID:
    from mosu.compute.placement import GIB
    from mosu.compute.services import actor_of_agent, create_pool, register_agent, take_health
    from mosu.kernel.money import micros_of
    from mosu.market.services import OfferSpec, PriceSpec, create_offer
    from mosu.platform.actors import SYSTEM
    from mosu.platform.services import bootstrap
    from mosu.wire.agent import (
        DeviceInfo,
        EnvironmentInfo,
        HealthMeasure,
        HealthReport,
        NodeInfo,
        Registration,
    )

    now = datetime.now(UTC)
    supplier = bootstrap(
        email="cards@bench.example", organisation_name="Cards", capabilities=["supplier"], now=now
    ).organisation_id
    pool, token = create_pool(actor=SYSTEM, organisation_id=supplier, name="cards", region="here", now=now)
    create_offer(
        actor=SYSTEM,
        spec=OfferSpec(
            supplier_id=supplier,
            shelf="compute",
            subject_id=pool.id,
            title_zh="cards",
            title_en="cards",
            max_units=128,
            wall_s_max=86_400,
            prices=[PriceSpec(meter="card_second", unit="card_hour", unit_price_micros=micros_of("1.00"))],
            attributes={"accelerator": "nvidia-h100-sxm", "region": "here", "mode": "on_demand"},
        ),
        now=now,
    )
    nodes = tuple(
        NodeInfo(
            name=f"n{number:02d}",
            cores=96,
            memory_bytes=1024 * GIB,
            disk_bytes=1024 * GIB,
            devices=tuple(DeviceInfo(index=index, accelerator="nvidia-h100-sxm") for index in range(8)),
        )
        for number in range(16)
    )
    registration = Registration(
        agent_version="bench",
        engine="none",
        clock_at=now,
        nodes=nodes,
        environments=(EnvironmentInfo(name="bench", python="3"),),
        sandbox="bench",
        sandbox_ok=True,
    )
    agent = actor_of_agent(f"Bearer {token}", now=now)
    register_agent(actor=agent, registration=registration, now=now)
    for node in nodes:
        found = {"cores": node.cores, "memory_bytes": node.memory_bytes, "write_bytes_per_s": 5e8, "cards": 8}
        measures = tuple(HealthMeasure(name=name, value=value) for name, value in found.items())
        take_health(actor=agent, report=HealthReport(node=node.name, measures=measures, took_s=1), now=now)
    return pool.id


def _bought(buyer: Buyer, pool_id: UUID, *, count: int) -> list[UUID]:
    """Orders of one to eight cards, one of them of two nodes."""
    from mosu.compute.services import quote_run
    from mosu.market.services import accept_quote
    from mosu.platform.models import Project
    from mosu.platform.requests import actor_of_authorization
    from mosu.wire.task import parse_task

    actor = actor_of_authorization(f"Bearer {buyer.token}", now=datetime.now(UTC))
    project = Project.objects.filter(organisation_id=buyer.organisation_id).order_by("id")[0]
    orders = []
    for number in range(count):
        cards, nodes = (
            ((1, 1), (2, 1), (4, 1), (8, 2))[number % 4] if number < 4 else ((1, 2, 4)[number % 3], 1)
        )
        task = f"num_nodes: {nodes}\nresources: {{accelerators: 'H100:{cards}', cpus: 4}}\nrun: x\n"
        now = datetime.now(UTC)
        result = quote_run(
            actor=actor,
            organisation_id=buyer.organisation_id,
            project_id=project.id,
            task=parse_task(task),
            workdir=[],
            choice="none",
            now=now,
        )
        quote = next(one for one in result.quotes if one.offer.subject_id == pool_id)
        orders.append(
            accept_quote(actor=actor, quote_id=quote.id, idempotency_key=f"placing-{number}", now=now).id
        )
    return orders
