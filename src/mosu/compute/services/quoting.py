"""Asking where and when a task fits, and for how much: every offer answers with a plan or with its reasons."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from mosu.compute.accelerators import accelerators_named
from mosu.compute.goods import CARDS, CORES
from mosu.compute.models import Pool
from mosu.compute.placement import HORIZON, Need, NodeView, Placement, Unplaced, place
from mosu.compute.queries import pools_by_id, pools_with, why_not_live
from mosu.compute.quotas import earliest_within
from mosu.compute.requests import PERIOD_GRACE_S, WALL_LIMIT_S, RunRequest, need_of
from mosu.compute.sealing import sealed
from mosu.compute.services.capacity import nodes_of
from mosu.compute.services.sharing import limits_of, over_quota
from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import Invalid
from mosu.market.catalogue import EXAMPLES, Narrowed, RefusedGroup, Request, Snapshot, catalogue_at, narrow
from mosu.market.models import Quote
from mosu.market.queries import ShownOffer, offers_for
from mosu.market.services import Plan, PlanLine, make_quotes
from mosu.market.shelves import Goods, Place
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.store.services import ManifestEntry, put_manifest
from mosu.subsidies.services import Choice
from mosu.wire.task import TaskFile, dump_task

SHELF: Final = "compute"
PLANS_MAX: Final = 10
REFUSED_MAX: Final = 30
"""Offers of which the answer says in words why they do not do."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer does not do, and what would."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class RefusedOffer:
    """An offer that was looked at, with all that speaks against it."""

    offer_id: UUID
    public_id: str
    title_zh: str
    title_en: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class QuoteResult:
    """Quotes, best first, and why other offers were refused."""

    quotes: Sequence[Quote]
    refused: Sequence[RefusedOffer]
    """All of them where they are few, else examples of each group."""
    refused_groups: Sequence[RefusedGroup]
    """All that were refused, by what speaks against them."""
    not_priced: int
    """How many more fit, but no better than those that were priced."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The task with what follows from it."""

    task: TaskFile
    organisation_id: UUID
    project_id: UUID
    accelerators: Mapping[str, int]
    """Those that will do, by id, and how many of each on a node; empty where none is asked for."""
    wall_limit_s: int
    manifest: str
    earliest: datetime
    """When the run may start: now, or what the task says."""
    sealed_secrets: str
    shown_task: str
    """The task file as kept for people: the names of its secrets stay, their values do not."""
    now: datetime


@transaction.atomic(durable=True)
def quote_run(
    *,
    actor: Actor,
    organisation_id: UUID,
    project_id: UUID,
    task: TaskFile,
    workdir: Sequence[ManifestEntry],
    choice: Choice,
    now: datetime,
) -> QuoteResult:
    """A quote for each offer on which the task fits, best first, and why each other one was refused.

    `workdir` lists files that the organisation has uploaded. Nothing is reserved: a quote's capacity is checked
    again when it is accepted.

    Raises:
        Forbidden: the actor may not ask quotes for this organisation.
        Invalid: a file of the working folder has a bad path or was not uploaded.
        UnknownAccelerator: nothing is called so.
        Invalid: the task asks for what no pool of this hub can do yet.
    """
    require(actor, "quote.ask", organisation_id)
    asked = _asked(task, workdir, organisation_id=organisation_id, project_id=project_id, now=now)
    snapshot = catalogue_at(now)
    narrowed = narrow(snapshot, _request_of(asked, snapshot, organisation_id=organisation_id))
    tried = _tried(asked, narrowed, snapshot, organisation_id=organisation_id)
    quotes = make_quotes(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        shelf=SHELF,
        plans=tried.plans,
        choice=choice,
        now=now,
    )
    examples = [key for group in narrowed.refused for key in group.examples][:REFUSED_MAX]
    return QuoteResult(
        quotes=quotes,
        refused=[
            *tried.refused[:REFUSED_MAX],
            *_explained(asked, examples, snapshot, organisation_id=organisation_id),
        ],
        refused_groups=[*tried.groups(), *narrowed.refused],
        not_priced=len(narrowed),
    )


@dataclass(slots=True)
class _Tried:
    """What became of the offers that fit by what they are and cost."""

    plans: list[Plan] = field(default_factory=list)
    refused: list[RefusedOffer] = field(default_factory=list)
    full: set[Place] = field(default_factory=set)
    """Where the task finds no room: no other offer of the same cards does there."""

    def groups(self) -> list[RefusedGroup]:
        by_codes: dict[frozenset[str], list[UUID]] = {}
        for one in self.refused:
            by_codes.setdefault(frozenset(reason.code for reason in one.reasons), []).append(one.offer_id)
        return [RefusedGroup(codes, len(ids), ids[:EXAMPLES]) for codes, ids in by_codes.items()]


def _tried(asked: _Asked, narrowed: Narrowed, snapshot: Snapshot, *, organisation_id: UUID) -> _Tried:
    """Plans for the best offers that have room, as PostgreSQL has them now; `PLANS_MAX` if there are so many."""
    tried = _Tried()
    while len(tried.plans) < PLANS_MAX:
        ids = narrowed.take(PLANS_MAX - len(tried.plans), without=tried.full)
        if not ids:
            break
        offers = offers_for(organisation_id, ids, snapshot=snapshot, now=asked.now)
        pools = pools_by_id({offer.offer.subject_id for offer in offers})
        nodes = nodes_of(pools, now=asked.now, reclaims=not asked.task.resources.use_spot)
        for offer in offers:
            pool_id = offer.offer.subject_id
            found = _plan(asked, offer, pools.get(pool_id), nodes.get(pool_id, ()))
            if isinstance(found, Plan):
                tried.plans.append(found)
            else:
                tried.refused.append(_refused(offer, found))
                tried.full.add(offer.place)
    return tried


def _explained(
    asked: _Asked, ids: Sequence[UUID], snapshot: Snapshot, *, organisation_id: UUID
) -> list[RefusedOffer]:
    """Each offer with all that speaks against it, in words; but none that has come to fit meanwhile."""
    offers = offers_for(organisation_id, ids, snapshot=snapshot, now=asked.now)
    pools = pools_by_id({offer.offer.subject_id for offer in offers})
    found = ((offer, _unfit(asked, offer, pools.get(offer.offer.subject_id))) for offer in offers)
    return [_refused(offer, reasons) for offer, reasons in found if reasons]


def _request_of(asked: _Asked, snapshot: Snapshot, *, organisation_id: UUID) -> Request:
    """The task as the catalogue can judge offers by it: codes of the same reasons that `_unfit` puts into words."""
    task = asked.task
    named = pools_with(task.environment) if task.environment else None

    def of_goods(goods: Goods, attributes: Mapping[str, Any]) -> Iterable[str]:
        return (reason.code for reason in _goods_mismatches(asked, attributes))

    def of_supplier(supplier_id: UUID, name: str) -> Iterable[str]:
        return () if _is_named(asked, supplier_id, name) else ("other_supplier",)

    def of_place(place: Place) -> Iterable[str]:
        if snapshot.standing(SHELF, place).why_not_live is not None:
            return ("not_live",)
        return ("no_environment",) if named is not None and place[0] not in named else ()

    return Request(
        shelf=SHELF,
        organisation_id=organisation_id,
        meter=CARDS if asked.accelerators else CORES,
        units_of=lambda goods, attributes: _need(asked, attributes).units,
        wall_s=asked.wall_limit_s,
        budget_micros=task.budget_micros,
        hourly_micros=task.resources.max_hourly_cost_micros,
        of_goods=of_goods,
        of_supplier=of_supplier,
        of_place=of_place,
    )


def _asked(
    task: TaskFile,
    workdir: Sequence[ManifestEntry],
    *,
    organisation_id: UUID,
    project_id: UUID,
    now: datetime,
) -> _Asked:
    if task.inputs:
        raise Invalid(
            "mosu.inputs: this hub has no datasets or models yet.",
            hint="Put the files into workdir.",
            field="mosu.inputs",
        )
    return _Asked(
        task=task,
        organisation_id=organisation_id,
        project_id=project_id,
        accelerators=_cards_by_id(task),
        wall_limit_s=task.wall_limit_s or WALL_LIMIT_S,
        manifest=put_manifest(workdir, organisation_id=organisation_id, now=now) if workdir else "",
        earliest=_earliest(task, now=now),
        sealed_secrets=sealed(dict(task.secrets)),
        shown_task=dump_task(replace(task, secrets=tuple((key, "(secret)") for key, _ in task.secrets))),
        now=now,
    )


def _cards_by_id(task: TaskFile) -> Mapping[str, int]:
    """Where two names mean the same card, what the first says."""
    cards: dict[str, int] = {}
    for name, count in task.resources.accelerators:
        for accelerator in accelerators_named(name):
            cards.setdefault(accelerator, count)
    return cards


def _earliest(task: TaskFile, *, now: datetime) -> datetime:
    """When the run may start.

    Raises:
        Invalid: later than any start is promised.
    """
    wished = task.not_before or now
    earliest = max(now, now + wished if isinstance(wished, timedelta) else wished)
    if earliest > now + HORIZON:
        raise Invalid(
            f"mosu.not_before: {earliest:%Y-%m-%d %H:%M} UTC is too far ahead.",
            hint=f"A start is promised at most {HORIZON.days} days ahead.",
            field="mosu.not_before",
        )
    return earliest


def _plan(
    asked: _Asked, offer: ShownOffer, pool: Pool | None, nodes: Sequence[NodeView]
) -> Plan | list[Reason]:
    reasons = _unfit(asked, offer, pool)
    if reasons or pool is None:
        return reasons
    need = _need(asked, offer.offer.attributes)
    placed = _placed(asked, nodes, need)
    if isinstance(placed, Reason):
        return [placed]
    return _plan_at(asked, offer, placed, _request(asked, pool, need))


def _placed(asked: _Asked, nodes: Sequence[NodeView], need: Need) -> Placement | Reason:
    """Where there is room from the first start on that quotas allow."""
    duration = timedelta(seconds=asked.wall_limit_s + PERIOD_GRACE_S)
    limits = limits_of(
        organisation_id=asked.organisation_id, project_id=asked.project_id, need=need, now=asked.now
    )
    units, earliest = need.units, asked.earliest
    while True:
        allowed = earliest_within(limits, units=units, earliest=earliest, duration=duration)
        if allowed is None:
            return Reason(
                "over_quota", over_quota(limits, units=units), "Ask for less, or ask for a larger quota."
            )
        placed = place(
            nodes, need, earliest=allowed, latest=max(allowed, _latest_start(asked)), duration=duration
        )
        if isinstance(placed, Unplaced):
            return Reason(placed.code, placed.message, placed.hint)
        if not limits or placed.period.start == allowed:
            return placed
        earliest = placed.period.start


def _unfit(asked: _Asked, offer: ShownOffer, pool: Pool | None) -> list[Reason]:
    """All that speaks against the offer, whatever room there is."""
    units = _need(asked, offer.offer.attributes).units
    meter = CARDS if asked.accelerators else CORES
    reasons = list(_mismatches(asked, offer)) or [
        *_beyond_limits(asked, offer, units),
        *_too_dear(asked, offer, meter, units),
    ]
    dead = why_not_live(pool, now=asked.now)
    if dead is not None or pool is None:
        return [*reasons, Reason("not_live", dead or "no live agent", "Choose an offer that is live.")]
    if offer.unrated is not None:
        reasons.append(Reason("no_rate", offer.unrated, "Choose an offer listed in the hub's currency."))
    return [*reasons, *_environment_missing(asked.task, pool)]


def _need(asked: _Asked, attributes: Mapping[str, Any]) -> Need:
    """What the task takes of an offer with such attributes."""
    accelerator: str | None = attributes.get("accelerator") if asked.accelerators else None
    cards = asked.accelerators.get(accelerator or "", 0)
    return need_of(asked.task, accelerator=accelerator, cards=cards)


def _plan_at(asked: _Asked, offer: ShownOffer, placed: Placement, request: RunRequest) -> Plan:
    quantity_max = request.units * asked.wall_limit_s
    return Plan(
        offer_id=offer.offer.id,
        lines=(PlanLine(meter=request.meter, units=request.units, quantity_max=quantity_max),),
        starts_at=placed.period.start,
        wall_limit_s=asked.wall_limit_s,
        request=request.to_json(),
        facts={
            "grace_s": PERIOD_GRACE_S,
            "name": request.name,
            "cores": request.cores,
            "cards": request.cards,
            "nodes": request.nodes,
        },
    )


def _request(asked: _Asked, pool: Pool, need: Need) -> RunRequest:
    task = asked.task
    return RunRequest(
        pool_id=str(pool.id),
        name=task.name,
        run=task.run,
        setup=task.setup,
        envs=dict(task.envs),
        sealed_secrets=asked.sealed_secrets,
        outputs=task.outputs,
        environment=task.environment or _default_environment(pool),
        workdir_manifest=asked.manifest,
        cores=need.cores,
        memory_bytes=need.memory_bytes,
        disk_bytes=need.disk_bytes,
        accelerator=need.accelerator,
        cards=need.cards,
        nodes=need.nodes,
        wall_limit_s=asked.wall_limit_s,
        priority=asked.task.resources.priority or 0,
        interruptible=asked.task.resources.use_spot,
        recovers=asked.task.resources.job_recovery,
        not_before_s=int(asked.earliest.timestamp()) if asked.earliest > asked.now else 0,
        task=asked.shown_task,
    )


def _default_environment(pool: Pool) -> str:
    return pool.environments[0]["name"] if pool.environments else ""


def _latest_start(asked: _Asked) -> datetime:
    if asked.task.deadline is None:
        return asked.earliest + HORIZON
    return asked.task.deadline - timedelta(seconds=asked.wall_limit_s)


def _mismatches(asked: _Asked, offer: ShownOffer) -> Iterable[Reason]:
    row = offer.offer
    yield from _goods_mismatches(asked, row.attributes)
    if not _is_named(asked, row.supplier_id, row.supplier.name):
        yield Reason("other_supplier", f"is {row.supplier.name}'s", "Widen mosu.suppliers.")


def _goods_mismatches(asked: _Asked, attributes: Mapping[str, Any]) -> Iterable[Reason]:
    task = asked.task
    accelerator = attributes.get("accelerator")
    if asked.accelerators and accelerator not in asked.accelerators:
        yield Reason(
            "other_accelerator",
            f"sells {accelerator or 'cores'}, not {' or '.join(name for name, _ in task.resources.accelerators)}",
            "Ask for that, or choose another offer.",
        )
    if not asked.accelerators and accelerator:
        yield Reason("sells_cards", f"sells {accelerator} by the card", "Ask for accelerators to use it.")
    is_spot = attributes.get("mode") == "spot"
    if is_spot and not task.resources.use_spot:
        yield Reason("interruptible", "is interruptible", "Set resources.use_spot to use it.")
    if task.resources.use_spot and not is_spot:
        yield Reason("not_interruptible", "is not interruptible", "Leave out resources.use_spot.")
    if task.domestic_only and attributes.get("domestic") is not True:
        yield Reason("not_domestic", "is not known to be domestic", "Leave out mosu.domestic_only.")
    for name, value in task.resources.labels:
        if str(attributes.get(name)) != value:
            yield Reason("other_label", f"does not have {name}={value}", "Leave out that label.")
    if asked.task.deadline is not None and _latest_start(asked) < asked.earliest:
        yield Reason(
            "deadline", "cannot end before the deadline", "Set a later deadline or a shorter wall limit."
        )


def _is_named(asked: _Asked, supplier_id: UUID, name: str) -> bool:
    """Whether the task leaves the choice of supplier, or names this one."""
    named = asked.task.suppliers
    return not named or name in named or typeid(Organisation.prefix, supplier_id) in named


def _beyond_limits(asked: _Asked, offer: ShownOffer, units: int) -> Iterable[Reason]:
    row = offer.offer
    if not row.min_units <= units <= row.max_units:
        yield Reason(
            "outside_limits",
            f"sells {row.min_units} to {row.max_units} units at once, not {units}",
            "Ask for a number within the limits.",
        )
    if asked.wall_limit_s > row.wall_s_max:
        yield Reason(
            "too_long",
            f"sells up to {row.wall_s_max} s, not {asked.wall_limit_s} s",
            "Set a shorter mosu.wall_limit.",
        )


def _too_dear(asked: _Asked, offer: ShownOffer, meter: str, units: int) -> Iterable[Reason]:
    """Compared exactly; what is charged is rounded once, later."""
    price = next((price for price in offer.prices if price.meter == meter), None)
    if price is None:
        yield Reason("no_price", f"has no price for {meter}", "Choose another offer.")
        return
    row = offer.offer
    gross = 1 + (Decimal(0) if row.tax_included else Decimal(row.tax_rate_bp) / 10_000)
    per_second = Decimal(units * price.unit_price_micros) / price.per * gross
    budget, hourly = asked.task.budget_micros, asked.task.resources.max_hourly_cost_micros
    if budget is not None and per_second * asked.wall_limit_s > budget:
        yield Reason(
            "over_budget",
            f"may cost {_money(per_second * asked.wall_limit_s)}, the budget is {_money(Decimal(budget))}",
            "Raise mosu.budget or shorten mosu.wall_limit.",
        )
    if hourly is not None and per_second * 3600 > hourly:
        yield Reason(
            "over_hourly_cost",
            f"costs {_money(per_second * 3600)} an hour, at most {_money(Decimal(hourly))} is allowed",
            "Raise resources.max_hourly_cost.",
        )


def _money(micros: Decimal) -> str:
    return decimal_of(int(micros))


def _environment_missing(task: TaskFile, pool: Pool) -> Iterable[Reason]:
    names = [environment["name"] for environment in pool.environments]
    if task.environment and task.environment not in names:
        yield Reason(
            "no_environment",
            f"has no environment {task.environment!r}",
            f"It has: {', '.join(names) or 'none'}.",
        )


def _refused(offer: ShownOffer, reasons: Sequence[Reason]) -> RefusedOffer:
    row = offer.offer
    return RefusedOffer(row.id, row.public_id, row.title_zh, row.title_en, tuple(reasons))
