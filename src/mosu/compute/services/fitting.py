"""What a task asks of an offer, and what speaks against one; whether there is room is `placement`'s to say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from mosu.compute.accelerators import accelerators_named
from mosu.compute.goods import CARDS, CORES
from mosu.compute.models import Pool, Volume
from mosu.compute.placement import HORIZON, Need
from mosu.compute.queries import why_not_live
from mosu.compute.requests import WALL_LIMIT_S, VolumeSeen, need_of
from mosu.compute.sealing import sealed
from mosu.compute.services.shares_sold import NoSuchShare, shares_sold, shares_there
from mosu.compute.services.volume_uses import check_usable, in_others_way, in_use
from mosu.compute.session_apps import environments_for, environments_with_sshd, packages_of, start_in
from mosu.compute.states import VOLUME_LIVES
from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.catalogue import catalogue_at
from mosu.market.queries import ShownOffer
from mosu.platform.models import Organisation
from mosu.store.services import ManifestEntry, put_manifest
from mosu.wire.images import is_allowed
from mosu.wire.shares import Kind, kind_of, shares_in
from mosu.wire.task import TaskFile, dump_task

REPLICA_STARTS_WITHIN: Final = timedelta(seconds=60)
"""What is free later is of no use to who is asked now."""
REPLICA_QUOTE_VALID: Final = timedelta(seconds=30)
"""Nobody thinks about them: they are accepted at once, or never, and stand on nobody's Today."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer does not do, and what would."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class ReplicaOf:
    """For which endpoint a run is asked, by which version of its task, and how many replicas it had before."""

    endpoint_id: UUID
    version: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The task with what follows from it."""

    task: TaskFile
    organisation_id: UUID
    project_id: UUID
    accelerators: Mapping[str, int]
    """Those that will do, by kind, and how many of each on a node; empty where none is asked for."""
    sold_cut: Mapping[Kind, Sequence[str]]
    """Where a share is asked for: the shares that there are of such cards, and who sells them."""
    wall_limit_s: int
    manifest: str
    workdir_bytes: int
    """Of all its files together."""
    earliest: datetime
    """When the run may start: now, or what the task says."""
    volumes: Sequence[VolumeSeen]
    pool_id: UUID | None
    """The pool that keeps these; None where there are none."""
    sealed_secrets: str
    shown_task: str
    """The task file as kept for people: the names of its secrets stay, their values do not."""
    now: datetime
    replica: ReplicaOf | None = None
    """Who asks for a replica asks for one that starts now."""


def asked_of(
    task: TaskFile,
    workdir: Sequence[ManifestEntry],
    *,
    organisation_id: UUID,
    project_id: UUID,
    now: datetime,
    replica: ReplicaOf | None = None,
) -> Asked:
    """The task with what follows from it; its folder is kept as a manifest.

    Raises:
        Invalid: it asks for what no pool can do, starts too late, or its folder is not whole.
        NotFound: its project has no volume of such a name.
        VolumeGone: a volume's time is over.
        VolumeInUse: another run sees a volume, and both do not go together.
        UnknownAccelerator: nothing is called so.
        NoSuchShare: a share is asked for that no card is cut into.
    """
    if task.inputs:
        raise Invalid(
            "mosu.inputs: this hub has no datasets or models yet.",
            hint="Put the files into workdir.",
            field="mosu.inputs",
        )
    volumes, pool_id = _volumes_of(task, project_id, now=now)
    return Asked(
        task=task,
        organisation_id=organisation_id,
        project_id=project_id,
        accelerators=_cards_by_id(task),
        sold_cut=_sold_cut(task, organisation_id=organisation_id, now=now),
        wall_limit_s=task.wall_limit_s or WALL_LIMIT_S,
        manifest=put_manifest(workdir, organisation_id=organisation_id, now=now) if workdir else "",
        workdir_bytes=sum(entry.size_bytes for entry in workdir),
        earliest=_earliest(task, now=now),
        volumes=volumes,
        pool_id=pool_id,
        sealed_secrets=sealed(dict(task.secrets)),
        shown_task=dump_task(replace(task, secrets=tuple((key, "(secret)") for key, _ in task.secrets))),
        now=now,
        replica=replica,
    )


def _volumes_of(
    task: TaskFile, project_id: UUID, *, now: datetime
) -> tuple[Sequence[VolumeSeen], UUID | None]:
    """The volumes that the task names, and the pool that keeps all of them."""
    if not task.volumes:
        return (), None
    if task.num_nodes > 1:
        raise Invalid("A volume is seen on one node alone.", hint="Set num_nodes: 1.", field="volumes")
    rows = Volume.objects.filter(project_id=project_id, state__in=VOLUME_LIVES).select_related("pool")
    known = {row.name: row for row in rows.filter(name__in=[one.name for one in task.volumes])}
    for one in task.volumes:
        if one.name not in known:
            raise NotFound(
                f"The project has no volume {one.name!r}.", hint="See your volumes: mosu volumes list."
            )
        check_usable(known[one.name], writes=one.writes, now=now)
        if in_others_way(known[one.name], writes=one.writes):
            raise in_use(known[one.name])
    pools = {row.pool.name: row.pool_id for row in known.values()}
    if len(pools) > 1:
        raise Invalid(
            f"The volumes are in different pools: {', '.join(sorted(pools))}.",
            hint="Name volumes of one pool.",
            field="volumes",
        )
    seen = tuple(
        VolumeSeen(id=str(known[one.name].id), name=one.name, path=one.path, writes=one.writes)
        for one in task.volumes
    )
    return seen, next(iter(pools.values()))


def _cards_by_id(task: TaskFile) -> Mapping[str, int]:
    """Where two names mean the same card, what the first says. Of a share its kinds, with isolation or without."""
    cards: dict[str, int] = {}
    for name, count in task.resources.accelerators:
        for accelerator in accelerators_named(name):
            if isinstance(count, int):
                cards.setdefault(accelerator, count)
            elif shares := shares_in(count):
                cards.setdefault(str(Kind(accelerator, shares)), 1)
                cards.setdefault(str(Kind(accelerator, shares, shared=True)), 1)
    return cards


def _sold_cut(task: TaskFile, *, organisation_id: UUID, now: datetime) -> Mapping[Kind, Sequence[str]]:
    """Where a share is asked for: the shares there are of those cards, and who sells them.

    Raises:
        NoSuchShare: no card is cut into shares of that size.
    """
    asked = [(name, count) for name, count in task.resources.accelerators if isinstance(count, Decimal)]
    if not asked:
        return {}
    ids = {accelerator for name, _ in asked for accelerator in accelerators_named(name)}
    sold = shares_sold(catalogue_at(now), ids, organisation_id=organisation_id)
    for name, count in asked:
        if shares_in(count) is None:
            raise NoSuchShare(
                f"resources.accelerators: {name}:{count:f} is no equal share of a card.",
                hint=shares_there(sold, accelerators_named(name)),
                field="resources.accelerators",
                found=f"{name}:{count:f}",
            )
    return sold


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


def latest_start(asked: Asked) -> datetime:
    if asked.replica is not None:
        return asked.now + REPLICA_STARTS_WITHIN
    if asked.task.deadline is None:
        return asked.earliest + HORIZON
    return asked.task.deadline - timedelta(seconds=asked.wall_limit_s)


def need_at(asked: Asked, attributes: Mapping[str, Any]) -> Need:
    """What the task takes of an offer with such attributes."""
    accelerator: str | None = attributes.get("accelerator") if asked.accelerators else None
    cards = asked.accelerators.get(accelerator or "", 0)
    return need_of(asked.task, accelerator=accelerator, cards=cards)


def unfit(asked: Asked, offer: ShownOffer, pool: Pool | None) -> list[Reason]:
    """All that speaks against the offer, whatever room there is."""
    units = need_at(asked, offer.offer.attributes).units
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
    return [*reasons, *pool_mismatches(asked, pool)]


def _mismatches(asked: Asked, offer: ShownOffer) -> Iterable[Reason]:
    row = offer.offer
    yield from goods_mismatches(asked, row.attributes)
    if not is_named(asked, row.supplier_id, row.supplier.name):
        yield Reason("other_supplier", f"is {row.supplier.name}'s", "Widen mosu.suppliers.")


def attributes_judged(asked: Asked) -> Sequence[str]:
    """The names of all that `goods_mismatches` and `need_at` look at: goods alike in these are judged once."""
    return ("accelerator", "mode", "domestic", *(name for name, _ in asked.task.resources.labels))


def goods_mismatches(asked: Asked, attributes: Mapping[str, Any]) -> Iterable[Reason]:
    """What speaks against goods with such attributes."""
    task = asked.task
    accelerator = attributes.get("accelerator")
    if asked.accelerators and accelerator not in asked.accelerators:
        yield _other_cards(asked, kind_of(accelerator or ""))
    if not asked.accelerators and accelerator:
        yield Reason("sells_cards", f"sells {accelerator} by the card", "Ask for accelerators to use it.")
    is_spot = attributes.get("mode") == "spot"
    if is_spot and not task.resources.use_spot:
        yield Reason("interruptible", "is interruptible", "Set resources.use_spot to use it.")
    if attributes.get("mode") == "reserved":
        yield Reason("by_the_block", "is sold by the block", "Reserve a block of it first.")
    if task.resources.use_spot and not is_spot:
        yield Reason("not_interruptible", "is not interruptible", "Leave out resources.use_spot.")
    if task.domestic_only and attributes.get("domestic") is not True:
        yield Reason("not_domestic", "is not known to be domestic", "Leave out mosu.domestic_only.")
    for name, value in task.resources.labels:
        if str(attributes.get(name)) != value:
            yield Reason("other_label", f"does not have {name}={value}", "Leave out that label.")
    if asked.task.deadline is not None and latest_start(asked) < asked.earliest:
        yield Reason(
            "deadline", "cannot end before the deadline", "Set a later deadline or a shorter wall limit."
        )


def _other_cards(asked: Asked, sold: Kind) -> Reason:
    """Goods that are none of the cards asked for: others, whole ones instead of shares, or shares of another size."""
    counts = {
        accelerator: count
        for name, count in asked.task.resources.accelerators
        for accelerator in accelerators_named(name)
    }
    if sold.accelerator not in counts:
        names = " or ".join(name for name, _ in asked.task.resources.accelerators)
        return Reason(
            "other_accelerator",
            f"sells {sold.accelerator or 'cores'}, not {names}",
            "Ask for that, or choose another offer.",
        )
    if sold.shares == 1:
        return Reason(
            "sells_whole_cards",
            f"sells whole {sold.accelerator}, no shares of it",
            shares_there(asked.sold_cut, [sold.accelerator]),
        )
    return Reason(
        "sells_shares",
        f"sells 1/{sold.shares} of {sold.accelerator}, not {counts[sold.accelerator]}",
        f"Ask for {sold.asked} of it.",
    )


def is_named(asked: Asked, supplier_id: UUID, name: str) -> bool:
    """Whether the task leaves the choice of supplier, or names this one."""
    named = asked.task.suppliers
    return not named or name in named or typeid(Organisation.prefix, supplier_id) in named


def _beyond_limits(asked: Asked, offer: ShownOffer, units: int) -> Iterable[Reason]:
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


def _too_dear(asked: Asked, offer: ShownOffer, meter: str, units: int) -> Iterable[Reason]:
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


def _image_mismatches(image: str, pool: Pool) -> Iterable[Reason]:
    if not pool.images:
        yield Reason(
            "no_images",
            "runs no images of containers",
            "Choose another offer, or a prebuilt environment with mosu.environment.",
        )
    elif not is_allowed(image, pool.images):
        yield Reason(
            "other_images",
            f"does not run images of {image.partition('@')[0]}",
            f"It runs those of: {', '.join(pool.images)}.",
        )


def pool_mismatches(asked: Asked, pool: Pool) -> Iterable[Reason]:
    """What speaks against a pool, as its agent described it, or because it does not keep the task's volumes."""
    task = asked.task
    if asked.pool_id is not None and pool.id != asked.pool_id:
        volumes = ", ".join(one.name for one in asked.volumes)
        yield Reason(
            "volume_elsewhere",
            f"does not keep the volume {volumes}",
            "A run goes where its volumes are: leave them out to run here.",
        )
    names = [environment["name"] for environment in pool.environments]
    if task.resources.image:
        yield from _image_mismatches(task.resources.image, pool)
    elif task.environment and task.environment not in names:
        yield Reason(
            "no_environment",
            f"has no environment {task.environment!r}",
            f"It has: {', '.join(names) or 'none'}.",
        )
    elif not start_in(task.apps, task.environment, pool.environments):
        needed = " and ".join(packages_of(task.apps))
        fit = environments_for(task.apps, pool.environments)
        yield Reason(
            "no_app",
            f"has no {needed} in its environment {task.environment!r}"
            if task.environment
            else f"has no environment with {needed}",
            f"Choose its environment {fit[0]!r}."
            if fit
            else "Choose another offer, or ask its supplier for it.",
        )
    if task.num_nodes > 1 and not pool.spans_nodes:
        yield Reason(
            "no_network",
            "has no network between its nodes",
            "Ask for one node, or choose an offer whose nodes reach each other.",
        )
    if task.kind != "batch" and not pool.reaches:
        yield Reason(
            "no_sessions",
            "has no way to the ports of a session or service",
            "Choose another offer, or leave out mosu.kind.",
        )
    if "ssh" in task.apps and not pool.has_sshd:
        yield from _sshd_mismatches(task, pool)


def _sshd_mismatches(task: TaskFile, pool: Pool) -> Iterable[Reason]:
    """Of a pool that has OpenSSH's server in some environments at most; of an image that a task names nobody knows."""
    fit = [] if task.resources.image else environments_with_sshd(task.apps, pool.environments)
    if not fit:
        yield Reason(
            "no_sshd",
            "has no OpenSSH server on its machines",
            "Choose another offer, or leave ssh out of mosu.apps.",
        )
    elif task.environment and task.environment not in fit:
        yield Reason(
            "no_sshd",
            f"has no OpenSSH server in its environment {task.environment!r}",
            f"Choose its environment {fit[0]!r}.",
        )
