"""Volumes: room that is taken, paid by the time it is kept, renewed, and deleted."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from mosu.compute.models import Pool, Volume, VolumeTerm
from mosu.compute.moves import move_volume, record_made
from mosu.compute.queries import why_not_live
from mosu.compute.requests import VolumeRequest
from mosu.compute.services.capacity import SoldOut, range_of
from mosu.compute.services.snapshots import (
    DELETED,
    LATE,
    POOL_CLOSED,
    begin_snapshot,
    check_copies,
    end_copies,
    tell_failed,
)
from mosu.compute.services.volume_quotas import keep_within_gb
from mosu.compute.services.volume_quotes import (
    DAYS_MAX,
    VolumeNameTaken,
    check_name_free,
    no_room,
    quote_volume_time,
)
from mosu.compute.services.volume_uses import VolumeGone, in_use, is_needed, locked_volume
from mosu.compute.states import VOLUME_LIVES, CopyState, PoolState, VolumeState
from mosu.compute.volumes import GB_SECOND, GRACE, charged_from, deleted_at, volume_visible_to
from mosu.kernel.refusals import DomainError, Invalid
from mosu.kernel.time import Period
from mosu.market.models import Order, OrderState, Outcome, Quote
from mosu.market.services import (
    TooLittle,
    UsageIn,
    accept_quote,
    activate_order,
    lock_for_settlement,
    record_usage,
    release_order,
    settle_order,
    stop_order,
)
from mosu.platform.actors import SYSTEM, Actor, Role
from mosu.platform.each import on_each
from mosu.platform.policy import require
from mosu.platform.rows import insert
from mosu.platform.services import members_of, notify, record_audit

TOLD_DAYS: Final = (7, 1)
"""So many days before the end people are told of it."""
RENEWED_BEFORE: Final = timedelta(days=1)
_OPEN: Final = (OrderState.PLACED, OrderState.ACTIVE)


class VolumeKept(DomainError):
    """An order that keeps a volume is not cancelled: the volume is deleted, by name."""

    code = "volume_kept"


def reserve_volume(*, order_id: UUID, quote: Quote, now: datetime) -> None:
    """Write down the volume, or more time of it; its room is taken under the pool's lock.

    Raises:
        SoldOut: the room went to someone else, or the pool can sell nothing now.
        VolumeNameTaken: the project has a volume of this name by now.
        VolumeGone: what was to be renewed is being deleted, or was renewed meanwhile; or what a snapshot is of is.
        VolumeInUse: a run writes what a snapshot is to be of.
        QuotaReached: the project, or its organisation, would keep more than it may.
    """
    request = VolumeRequest(**quote.request)
    length = timedelta(days=request.days)
    if request.volume_id:
        volume = locked_volume(UUID(request.volume_id))
        start = volume.kept_until
        if volume.state not in VOLUME_LIVES or int(start.timestamp()) != request.start_s:
            raise VolumeGone("The volume was renewed or deleted meanwhile.", hint="Look at it again.")
        volume.kept_until, volume.told_days = start + length, None
        volume.save(update_fields=["kept_until", "told_days"])
        if volume.state == VolumeState.EXPIRED and volume.kept_until > now:
            move_volume(volume, to=VolumeState.KEPT, actor=SYSTEM, now=now, why="it was renewed")
    else:
        volume, start = _made_volume(quote, request, until=now + length, now=now), now
    VolumeTerm.objects.create(
        order_id=order_id, volume=volume, period=range_of(Period(start, start + length))
    )


def _made_volume(quote: Quote, request: VolumeRequest, *, until: datetime, now: datetime) -> Volume:
    keep_within_gb(
        organisation_id=quote.organisation_id,
        project_id=quote.project_id,
        size_gb=request.size_gb,
        lock=True,
    )
    pool = Pool.objects.select_for_update(no_key=True).get(id=request.pool_id)
    # After the pool, as heartbeats have it, which end copies.
    source = locked_volume(UUID(request.snapshot_of)) if request.snapshot_of else None
    dead = why_not_live(pool, now=now)
    if dead is not None:
        raise SoldOut(f"{pool.name} cannot take it: {dead}.", hint="Ask for quotes again.")
    full = no_room(pool, size_gb=request.size_gb)
    if full is not None:
        raise full
    check_name_free(quote.project_id, request.name)
    volume = Volume(
        organisation_id=quote.organisation_id,
        project_id=quote.project_id,
        pool=pool,
        name=request.name,
        size_gb=request.size_gb,
        snapshot_of=source,
        state=VolumeState.MAKING if source else VolumeState.KEPT,
        kept_until=until,
        created_at=now,
    )
    try:
        with transaction.atomic():
            insert(volume)
    except IntegrityError as error:
        raise VolumeNameTaken(
            f"The project has a volume {request.name!r}.", hint="Choose another name."
        ) from error
    record_made(volume, actor=SYSTEM, now=now)
    if source is not None:
        check_copies(pool, now=now)
        begin_snapshot(volume, source=source, now=now)
    return volume


@transaction.atomic(durable=True)
def delete_volume(*, actor: Actor, volume_id: UUID, now: datetime) -> Volume:
    """Have the volume deleted with all that is in it; what it was kept for is charged, the rest is given back.

    Repeating it changes nothing. Its room is free once its agent has deleted it.

    Raises:
        NotFound: there is no such volume, or the actor may not know.
        Forbidden: the actor may not for its organisation.
        VolumeInUse: a run sees it, or it is copied to a volume that stays.
    """
    require(actor, "order.cancel", volume_visible_to(actor, volume_id).organisation_id)
    volume = _locked_with_orders(volume_id)
    if volume.state not in VOLUME_LIVES:
        return volume
    _delete(volume, actor=actor, now=now, why="")
    return volume


@transaction.atomic(durable=True)
def set_renewal(*, actor: Actor, volume_id: UUID, days: int, now: datetime) -> Volume:
    """Have the volume renewed for so many days whenever its time ends and the budget covers it; 0: not.

    Raises:
        NotFound: there is no such volume, or the actor may not know.
        Forbidden: the actor may not buy for its organisation.
        Invalid: more days than a volume is kept at once.
    """
    require(actor, "order.place", volume_visible_to(actor, volume_id).organisation_id)
    if not 0 <= days <= DAYS_MAX:
        raise Invalid(f"days: {days} cannot be used.", hint=f"Choose 0 to {DAYS_MAX}.", field="days")
    volume = locked_volume(volume_id)
    if volume.renews_days != days and volume.state in VOLUME_LIVES:
        record_audit(
            actor=actor,
            action="volume.renewal",
            subject_id=volume.id,
            before=volume.state,
            after=volume.state,
            now=now,
            organisation_id=volume.organisation_id,
            facts={"days": [volume.renews_days, days]},
        )
        volume.renews_days = days
        volume.save(update_fields=["renews_days"])
    return volume


def confirm_deleted(*, pool_id: UUID, volume_ids: Collection[UUID], actor: Actor, now: datetime) -> None:
    """The pool's agent says that nothing of these is left; what it was not asked to delete stays as it is."""
    rows = Volume.objects.select_for_update(no_key=True).filter(
        id__in=volume_ids, pool_id=pool_id, state=VolumeState.DELETING
    )
    for volume in rows.order_by("id"):
        end_copies(volume, why=DELETED, now=now)
        move_volume(volume, to=VolumeState.DELETED, actor=actor, now=now)


def volumes_to_delete(pool_id: UUID, *, count_max: int) -> list[str]:
    """What the pool's agent is asked to delete: any of them, so that many that it cannot delete hold up none of the
    others for long."""
    rows = Volume.objects.filter(pool_id=pool_id, state=VolumeState.DELETING).order_by("?")
    return [volume.public_id for volume in rows.only("id")[:count_max]]


def turn_volumes(*, now: datetime) -> None:
    """Begin the terms whose time has come, charge those whose time is over, give back what snapshots that could not be
    made were to cost; each volume on its own.

    Repeating it changes nothing.
    """
    unmade = Volume.objects.filter(state=VolumeState.MAKING).exclude(copies_to__state=CopyState.COPYING)
    on_each(partial(_give_up, now=now), list(unmade.order_by("id").values_list("id", flat=True)))
    begun = VolumeTerm.objects.filter(period__startswith__lte=now).exclude(volume__state=VolumeState.MAKING)
    due = begun.filter(
        Q(order__state=OrderState.PLACED) | Q(order__state__in=_OPEN, period__endswith__lte=now)
    )
    ids = due.order_by("volume_id").values_list("volume_id", flat=True).distinct()
    on_each(partial(_turn_terms, now=now), list(ids))


def end_volumes(*, now: datetime) -> None:
    """Renew what is to be renewed, tell people of ends that are near, end what nobody pays for; each on its own.

    Repeating it changes nothing.
    """
    near = Q(kept_until__lte=now + timedelta(days=TOLD_DAYS[0])) | Q(pool__state=PoolState.CLOSED)
    found = Volume.objects.filter(near, state__in=VOLUME_LIVES)
    on_each(partial(_end, now=now), list(found.order_by("id").values_list("id", flat=True)))


@transaction.atomic(durable=True)
def _turn_terms(volume_id: UUID, *, now: datetime) -> None:
    volume = _locked_with_orders(volume_id)
    if volume.state == VolumeState.MAKING:
        return
    for term in volume.terms.filter(order__state__in=_OPEN, period__startswith__lte=now).order_by("period"):
        activate_order(order_id=term.order_id, now=now)
        if term.period.upper <= now:
            _charge(volume, term, until=term.period.upper, outcome=Outcome.SUCCEEDED, now=now)


@transaction.atomic(durable=True)
def _give_up(volume_id: UUID, *, now: datetime) -> None:
    """A snapshot that its agent could not make."""
    volume = _locked_with_orders(volume_id)
    if volume.state == VolumeState.MAKING:
        copy = volume.copies_to.latest("created_at")
        _delete(volume, actor=SYSTEM, now=now, why=f"it could not be made: {copy.reason}")
        tell_failed(copy, now=now)


def _end(volume_id: UUID, *, now: datetime) -> None:
    volume = Volume.objects.get(id=volume_id)
    if volume.renews_days and volume.kept_until - now <= RENEWED_BEFORE:
        _renew(volume, now=now)
    for order_id in _come_to_end(volume_id, now=now):
        stop_order(order_id=order_id, why=f"its volume {volume.name} is deleted", now=now)


def _renew(volume: Volume, *, now: datetime) -> None:
    """Buy its next term, as often as it is asked; what speaks against it people are told of with its end."""
    buyer = replace(SYSTEM, roles={volume.organisation_id: Role.DEVELOPER})
    days = max(volume.renews_days, (now - volume.kept_until) // timedelta(days=1) + 1)
    try:
        quote = _renewal(volume, buyer=buyer, days=days, now=now)
        key = f"volume:{volume.id}:{volume.kept_until.isoformat()}"
        accept_quote(actor=buyer, quote_id=quote.id, idempotency_key=key, now=now)
    except DomainError:
        return  # no budget, no money, or the offer is gone


def _renewal(volume: Volume, *, buyer: Actor, days: int, now: datetime) -> Quote:
    """For twice the days, and twice again, where they come to less than can be charged."""
    while True:
        try:
            return quote_volume_time(
                actor=buyer, volume_id=volume.id, days=days, choice="auto", now=now, until_at_least=now
            )
        except TooLittle:
            days *= 2  # what nobody keeps for so long is refused as that


@transaction.atomic(durable=True)
def _come_to_end(volume_id: UUID, *, now: datetime) -> list[UUID]:
    """Do what is due; the orders of runs that are to be stopped, for else they would keep it for nothing."""
    volume = _locked_with_orders(volume_id)
    in_use_by = list(volume.uses.filter(live=True, run__isnull=False).values_list("run__order_id", flat=True))
    if volume.state in VOLUME_LIVES and volume.pool.state == PoolState.CLOSED:
        if not in_use_by:  # nobody comes to it any more, so nobody pays for it
            end_copies(volume, why=POOL_CLOSED, now=now)
            _delete(volume, actor=SYSTEM, now=now, why="its pool was closed")
            _tell(volume, _CLOSED, now=now)
        return in_use_by
    if volume.state == VolumeState.MAKING:
        if volume.kept_until <= now:
            end_copies(volume, why=LATE, now=now)  # the next turn gives its money back
        return []
    if volume.state == VolumeState.KEPT and volume.kept_until <= now:
        move_volume(volume, to=VolumeState.EXPIRED, actor=SYSTEM, now=now, why="its paid time is over")
        _tell(volume, _EXPIRED, now=now)
    elif volume.state == VolumeState.KEPT:
        left = volume.kept_until - now
        marks = TOLD_DAYS[-1:] if volume.renews_days else TOLD_DAYS
        due = [days for days in marks if left <= timedelta(days=days)]
        if due and (volume.told_days is None or min(due) < volume.told_days):
            volume.told_days = min(due)
            volume.save(update_fields=["told_days"])
            _tell(volume, _ENDS, now=now)
    elif volume.state != VolumeState.EXPIRED:
        return []  # deleted meanwhile
    elif deleted_at(volume) <= now:
        if not is_needed(volume):
            _delete(volume, actor=SYSTEM, now=now, why="nobody renewed it")
            _tell(volume, _DELETED, now=now)
        return in_use_by
    elif deleted_at(volume) - now <= timedelta(days=1) and volume.told_days != 0:
        volume.told_days = 0
        volume.save(update_fields=["told_days"])
        _tell(volume, _EXPIRED, now=now)
    return []


def _delete(volume: Volume, *, actor: Actor, now: datetime, why: str) -> None:
    """The caller holds the locks of its orders and its own. A copy into it that is still made is broken off, for its
    agent may never end it: that lets go of the other volume before it says that nothing is left."""
    is_made = volume.state != VolumeState.MAKING
    if is_needed(volume):
        raise in_use(volume)
    terms = list(volume.terms.filter(order__state__in=_OPEN).order_by("period"))
    if len(terms) > 1:
        lock_for_settlement([term.order_id for term in terms])
    for term in terms:
        if term.period.lower >= now or not is_made:
            release_order(order_id=term.order_id, actor=actor, now=now, why="its volume was deleted")
        else:
            until = min(now, term.period.upper)
            _charge(volume, term, until=until, outcome=Outcome.CANCELLED, now=now)
    move_volume(volume, to=VolumeState.DELETING, actor=actor, now=now, why=why)


def _charge(volume: Volume, term: VolumeTerm, *, until: datetime, outcome: Outcome, now: datetime) -> None:
    """One record of usage by the hub's own clock, and the receipt: size x time that it was kept."""
    start = charged_from(volume, term, now=now)
    kept_s = -((start - until) // timedelta(seconds=1))  # rounded up
    quantity = volume.size_gb * kept_s
    record = UsageIn(
        order_id=term.order_id,
        meter=GB_SECOND,
        sequence=0,
        quantity=quantity,
        start=start,
        end=until,
        quantity_allowed=quantity,
    )
    record_usage(records=[record], now=now)
    settle_order(order_id=term.order_id, ended_at=until, outcome=outcome, now=now)


def _locked_with_orders(volume_id: UUID) -> Volume:
    """The volume under lock, its open orders before it."""
    terms = VolumeTerm.objects.filter(volume_id=volume_id).values("order_id")
    list(
        Order.objects.select_for_update(no_key=True)
        .filter(id__in=terms, state__in=_OPEN)
        .order_by("id")
        .values_list("id")
    )
    return locked_volume(volume_id)


_ENDS: Final = {
    "title": {
        "zh": "存储卷 {name} 的付费期将于 {until} 结束",
        "en": "The time paid for the volume {name} ends on {until}",
    },
    "body": {
        "zh": "到期后转为只读，{grace} 天后删除。续期：mosu volumes renew {name}。",
        "en": "It can only be read from then on, and is deleted {grace} days later. "
        "Renew it: mosu volumes renew {name}.",
    },
}
_EXPIRED: Final = {
    "title": {
        "zh": "存储卷 {name} 已到期，将于 {deleted} 删除",
        "en": "The volume {name} is deleted on {deleted}",
    },
    "body": {
        "zh": "付费期已过，现为只读。请在删除前续期或取出文件：mosu volumes renew {name}。",
        "en": "Its paid time is over, and it can only be read. Before that renew it, or take your files: "
        "mosu volumes renew {name}.",
    },
}
_CLOSED: Final = {
    "title": {"zh": "存储卷 {name} 所在的资源池已关闭", "en": "The pool of the volume {name} was closed"},
    "body": {
        "zh": "供应商关闭了该资源池，卷中文件已无法使用。只收取到现在为止的费用，其余已退回。",
        "en": "Its supplier closed the pool, and nobody comes to the files any more. What it was kept for until now is "
        "charged, the rest was given back.",
    },
}
_DELETED: Final = {
    "title": {"zh": "存储卷 {name} 已删除", "en": "The volume {name} was deleted"},
    "body": {
        "zh": "付费期已过 {grace} 天，未续期，卷中文件已删除。",
        "en": "Its paid time has been over for {grace} days and nobody renewed it: what was in it is gone.",
    },
}


def _tell(volume: Volume, words: dict[str, dict[str, str]], *, now: datetime) -> None:
    """Whoever bought it, and who looks after the organisation's money."""
    buyers = volume.terms.exclude(order__placed_by=None).values_list("order__placed_by", flat=True)
    facts = {
        "name": volume.name,
        "until": f"{volume.kept_until:%Y-%m-%d %H:%M} UTC",
        "deleted": f"{deleted_at(volume):%Y-%m-%d %H:%M} UTC",
        "grace": GRACE.days,
    }
    notify(
        user_ids={
            *members_of(volume.organisation_id, roles=(Role.OWNER, Role.ADMIN, Role.FINANCE)),
            *(user_id for user_id in buyers if user_id is not None),
        },
        kind="volume.ends",
        title={language: text.format(**facts) for language, text in words["title"].items()},
        body={language: text.format(**facts) for language, text in words["body"].items()},
        now=now,
        link="/volumes/",
        subject_id=volume.id,
        organisation_id=volume.organisation_id,
        mail=True,
    )
