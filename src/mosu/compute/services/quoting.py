"""Asking where and when a task fits, and for how much: every offer answers with a plan or with its reasons."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from mosu.compute.goods import CARDS, CORES
from mosu.compute.models import Pool
from mosu.compute.placement import Need, NodeView, Placement, Unplaced, place
from mosu.compute.queries import (
    image_prefixes_of_pools,
    pools_by_id,
    pools_not_starting,
    pools_of_single_nodes,
    pools_with,
    pools_without_sessions,
    pools_without_sshd,
)
from mosu.compute.quotas import Limit, earliest_within
from mosu.compute.requests import PERIOD_GRACE_S, SHELF
from mosu.compute.services.block_quotes import quote_inside
from mosu.compute.services.capacity import nodes_of
from mosu.compute.services.fitting import (
    REPLICA_QUOTE_VALID,
    Asked,
    Reason,
    ReplicaOf,
    asked_of,
    attributes_judged,
    goods_mismatches,
    is_named,
    latest_start,
    need_at,
    unfit,
)
from mosu.compute.services.run_plans import run_plan, run_request
from mosu.compute.services.sharing import limits_of, over_quota
from mosu.kernel.ids import uuid_of
from mosu.market.catalogue import EXAMPLES, Narrowed, RefusedGroup, Request, Snapshot, narrow
from mosu.market.models import Quote
from mosu.market.queries import ShownOffer, catalogue_for, offers_for
from mosu.market.services import Plan, make_quotes
from mosu.market.shelves import Goods, Place
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.store.services import ManifestEntry
from mosu.subsidies.services import Choice
from mosu.wire.images import is_allowed
from mosu.wire.task import TaskFile, Vouchers

PLANS_MAX: Final = 10
REFUSED_MAX: Final = 30
"""Offers of which the answer says in words why they do not do."""


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
    replica: ReplicaOf | None = None,
) -> QuoteResult:
    """A quote for each offer on which the task fits, best first, and why each other one was refused.

    `workdir` lists files that the organisation has uploaded. Nothing is reserved: a quote's capacity is checked
    again when it is accepted. With `replica` only what starts at once is offered, and the run is the endpoint's.

    Raises:
        Forbidden: the actor may not ask quotes for this organisation.
        Invalid: a file of the working folder has a bad path or was not uploaded.
        UnknownAccelerator: nothing is called so.
        Invalid: the task asks for what no pool of this hub can do yet.
    """
    require(actor, "quote.ask", organisation_id)
    asked = asked_of(
        task, workdir, organisation_id=organisation_id, project_id=project_id, now=now, replica=replica
    )
    if task.block:
        return _inside(asked, actor=actor)
    snapshot = catalogue_for(organisation_id, now=now)
    narrowed = narrow(snapshot, _request_of(asked, snapshot))
    examples = [key for group in narrowed.refused for key in group.examples][:REFUSED_MAX]
    offers = _Offers(organisation_id, snapshot, now, also=examples)
    tried = _tried(asked, narrowed, offers)
    quotes = make_quotes(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        shelf=SHELF,
        plans=tried.plans,
        choice=choice,
        now=now,
        valid_for=REPLICA_QUOTE_VALID if replica else None,
    )
    return QuoteResult(
        quotes=quotes,
        refused=[*tried.refused[:REFUSED_MAX], *_explained(asked, examples, offers)],
        refused_groups=[*tried.groups(), *narrowed.refused],
        not_priced=len(narrowed),
    )


def choice_of(vouchers: Vouchers | list[str]) -> Choice:
    """The vouchers that were named, or how they are chosen.

    Raises:
        NotFound: what was named is no id of a voucher.
    """
    if vouchers in ("auto", "none"):
        return vouchers
    return [uuid_of("voucher", voucher) for voucher in vouchers]


def _inside(asked: Asked, *, actor: Actor) -> QuoteResult:
    """One quote that costs nothing, or why the block that the task names cannot take it."""
    found = quote_inside(asked, actor=actor, now=asked.now)
    if isinstance(found, Quote):
        return QuoteResult(quotes=[found], refused=[], refused_groups=[], not_priced=0)
    offer, reason = found
    refused = RefusedOffer(offer.id, offer.public_id, offer.title_zh, offer.title_en, (reason,))
    group = RefusedGroup(frozenset({reason.code}), 1, [offer.id])
    return QuoteResult(quotes=[], refused=[refused], refused_groups=[group], not_priced=0)


@dataclass(slots=True)
class _Tried:
    """What became of the offers that fit by what they are and cost."""

    plans: list[Plan] = field(default_factory=list)
    refused: list[RefusedOffer] = field(default_factory=list)
    full: set[Place] = field(default_factory=set)
    """Where the task finds no room: no other offer of the same cards does there."""
    limits: dict[str | None, Sequence[Limit]] = field(default_factory=dict)
    """By accelerator, the quotas that it falls under: read once, whatever number of offers is tried."""

    def limits_on(self, asked: Asked, need: Need) -> Sequence[Limit]:
        if need.accelerator not in self.limits:
            self.limits[need.accelerator] = limits_of(
                organisation_id=asked.organisation_id, project_id=asked.project_id, need=need, now=asked.now
            )
        return self.limits[need.accelerator]

    def groups(self) -> list[RefusedGroup]:
        by_codes: dict[frozenset[str], list[UUID]] = {}
        for one in self.refused:
            by_codes.setdefault(frozenset(reason.code for reason in one.reasons), []).append(one.offer_id)
        return [RefusedGroup(codes, len(ids), ids[:EXAMPLES]) for codes, ids in by_codes.items()]


class _Offers:
    """Offers with their pools as PostgreSQL has them now, each read once; `also` are read with the first."""

    def __init__(
        self, organisation_id: UUID, snapshot: Snapshot, now: datetime, *, also: Sequence[UUID]
    ) -> None:
        self._organisation_id = organisation_id
        self._snapshot = snapshot
        self._now = now
        self._also = also
        self._read: dict[UUID, ShownOffer | None] = {}
        self.pools: dict[UUID, Pool] = {}

    def named(self, ids: Sequence[UUID]) -> list[ShownOffer]:
        """Those of the offers that the organisation may buy, in this order."""
        new = [key for key in dict.fromkeys([*ids, *self._also]) if key not in self._read]
        if new:
            found = offers_for(self._organisation_id, new, snapshot=self._snapshot, now=self._now)
            self._read |= dict.fromkeys(new) | {one.offer.id: one for one in found}
            self.pools |= pools_by_id({one.offer.subject_id for one in found} - self.pools.keys())
        return [one for key in ids if (one := self._read[key]) is not None]


def _tried(asked: Asked, narrowed: Narrowed, offers: _Offers) -> _Tried:
    """Plans for the best offers that have room, as PostgreSQL has them now; `PLANS_MAX` if there are so many."""
    tried = _Tried()
    while len(tried.plans) < PLANS_MAX:
        ids = narrowed.take(PLANS_MAX - len(tried.plans), without=tried.full)
        if not ids:
            break
        shown = offers.named(ids)
        pools = {one.offer.subject_id for one in shown} & offers.pools.keys()
        nodes = nodes_of(pools, now=asked.now, reclaims=not asked.task.resources.use_spot)
        for offer in shown:
            pool_id = offer.offer.subject_id
            found = _plan(asked, offer, offers.pools.get(pool_id), nodes.get(pool_id, ()), tried)
            if isinstance(found, Plan):
                tried.plans.append(found)
            else:
                tried.refused.append(_refused(offer, found))
                tried.full.add(offer.place)
    return tried


def _explained(asked: Asked, ids: Sequence[UUID], offers: _Offers) -> list[RefusedOffer]:
    """Each offer with all that speaks against it, in words; but none that has come to fit meanwhile."""
    found = (
        (offer, unfit(asked, offer, offers.pools.get(offer.offer.subject_id))) for offer in offers.named(ids)
    )
    return [_refused(offer, reasons) for offer, reasons in found if reasons]


def _why_no_image(image: str, prefixes: Sequence[str]) -> Iterable[str]:
    if not prefixes:
        return ("no_images",)
    return () if is_allowed(image, prefixes) else ("other_images",)


def _request_of(asked: Asked, snapshot: Snapshot) -> Request:
    """The task as the catalogue can judge offers by it: codes of the same reasons that `unfit` puts into words."""
    task = asked.task
    named = pools_with(task.environment) if task.environment else None
    single = pools_of_single_nodes() if task.num_nodes > 1 else frozenset()
    unreached = pools_without_sessions() if task.kind != "batch" else frozenset()
    image = task.resources.image
    wants_ssh = "ssh" in task.apps
    without_sshd = pools_without_sshd(task.apps, task.environment, image=image) if wants_ssh else frozenset()
    bare = pools_not_starting(task.apps, task.environment) if task.apps and not image else frozenset()
    images = image_prefixes_of_pools() if image else {}

    def of_goods(goods: Goods, attributes: Mapping[str, Any]) -> Iterable[str]:
        return (reason.code for reason in goods_mismatches(asked, attributes))

    def units_of(goods: Goods, attributes: Mapping[str, Any]) -> int:
        return need_at(asked, attributes).units

    def of_supplier(supplier_id: UUID, name: str) -> Iterable[str]:
        return () if is_named(asked, supplier_id, name) else ("other_supplier",)

    def of_place(place: Place) -> Iterable[str]:
        if snapshot.standing(SHELF, place).why_not_live is not None:
            return ("not_live",)
        unnamed = named is not None and place[0] not in named
        return (
            *(["no_environment"] if unnamed else []),
            *(["no_app"] if place[0] in bare and not unnamed else []),
            *(["no_network"] if place[0] in single else []),
            *(["no_sessions"] if place[0] in unreached else []),
            *(["no_sshd"] if place[0] in without_sshd else []),
            *(_why_no_image(image, images.get(place[0], ())) if image else ()),
            *(["volume_elsewhere"] if asked.pool_id not in (None, place[0]) else []),
        )

    return Request(
        shelf=SHELF,
        organisation_id=asked.organisation_id,
        meter=CARDS if asked.accelerators else CORES,
        looks_at=attributes_judged(asked),
        units_of=units_of,
        wall_s=asked.wall_limit_s,
        budget_micros=task.budget_micros,
        hourly_micros=task.resources.max_hourly_cost_micros,
        of_goods=of_goods,
        of_supplier=of_supplier,
        of_place=of_place,
    )


def _plan(
    asked: Asked, offer: ShownOffer, pool: Pool | None, nodes: Sequence[NodeView], tried: _Tried
) -> Plan | list[Reason]:
    reasons = unfit(asked, offer, pool)
    if reasons or pool is None:
        return reasons
    need = need_at(asked, offer.offer.attributes)
    placed = _placed(asked, nodes, need, limits=tried.limits_on(asked, need))
    if isinstance(placed, Reason):
        return [placed]
    return run_plan(asked, offer.offer.id, pool, placed, run_request(asked, pool, need))


def _placed(
    asked: Asked, nodes: Sequence[NodeView], need: Need, *, limits: Sequence[Limit]
) -> Placement | Reason:
    """Where there is room from the first start on that quotas allow."""
    duration = timedelta(seconds=asked.wall_limit_s + PERIOD_GRACE_S)
    units, earliest = need.held, asked.earliest
    while True:
        allowed = earliest_within(limits, units=units, earliest=earliest, duration=duration)
        if allowed is None:
            return Reason(
                "over_quota", over_quota(limits, units=units), "Ask for less, or ask for a larger quota."
            )
        placed = place(
            nodes, need, earliest=allowed, latest=max(allowed, latest_start(asked)), duration=duration
        )
        if isinstance(placed, Unplaced):
            return Reason(placed.code, placed.message, placed.hint)
        if not limits or placed.period.start == allowed:
            return placed
        earliest = placed.period.start


def _refused(offer: ShownOffer, reasons: Sequence[Reason]) -> RefusedOffer:
    row = offer.offer
    return RefusedOffer(row.id, row.public_id, row.title_zh, row.title_en, tuple(reasons))
