"""Snapshots of volumes: asked for, made by the pool's agent, put back; and how the copies stand."""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.compute.models import Pool, Volume, VolumeCopy, VolumeUse
from mosu.compute.moves import move_copy, move_volume, record_made
from mosu.compute.placement import GIB
from mosu.compute.queries import why_not_live
from mosu.compute.requests import VolumeRequest
from mosu.compute.services.capacity import SoldOut
from mosu.compute.services.volume_quotas import keep_within_gb
from mosu.compute.services.volume_quotes import (
    check_days,
    check_name_free,
    is_name,
    no_room,
    quoted_volume,
)
from mosu.compute.services.volume_uses import check_usable, in_use, locked_volumes
from mosu.compute.states import VOLUME_LIVES, CopyState, VolumeState
from mosu.compute.volumes import volume_visible_to
from mosu.kernel.refusals import Invalid
from mosu.market.models import Quote
from mosu.platform.actors import SYSTEM, Actor, ActorKind
from mosu.platform.policy import require
from mosu.platform.services import notify
from mosu.subsidies.services import Choice
from mosu.wire.agent import CopyFault, CopySpec, CopyStatus

POOL_CLOSED: Final = "pool_closed"
DELETED: Final = "deleted"
LATE: Final = "late"
"""Why a copy ends, beside what its agent says."""


@transaction.atomic(durable=True)
def quote_snapshot(
    *, actor: Actor, volume_id: UUID, label: str, days: int, choice: Choice, now: datetime
) -> Quote:
    """A quote for a snapshot of the volume, kept for so many days, of the offer that the volume was bought of.

    It takes room for the whole volume until its agent has measured what it takes; that, rounded up to a GB, is charged
    from when it is whole.

    Raises:
        NotFound: there is no such volume, or the actor may not know.
        Forbidden: the actor may not ask quotes for its organisation.
        Invalid: it is a snapshot itself, or the label or the days cannot be used.
        VolumeGone, VolumeInUse: it is being deleted, a run writes it, or it is being restored.
        VolumeNameTaken: there is a snapshot of this label.
        SoldOut: its pool has no room for it, or can sell nothing now.
        QuotaReached: the project would keep more than it may.
        NotForSale: the offer left the shelf.
    """
    volume = volume_visible_to(actor, volume_id)
    require(actor, "quote.ask", volume.organisation_id)
    if volume.snapshot_of_id is not None:
        raise Invalid(
            f"{volume.name} is a snapshot itself.", hint="Make one of its volume.", field="volume_id"
        )
    if not is_name(label):
        raise Invalid(
            f"{label[:60]!r} cannot name a snapshot.",
            hint="Use 1 to 63 small letters, digits and -, a letter or digit first and last.",
            field="label",
            found=label[:60],
        )
    check_days(days)
    name = f"{volume.name}@{label}"
    check_readable(volume, now=now)
    check_name_free(volume.project_id, name)
    check_copies(volume.pool, now=now)
    full = no_room(volume.pool, size_gb=volume.size_gb)
    if full is not None:
        raise full
    keep_within_gb(
        organisation_id=volume.organisation_id, project_id=volume.project_id, size_gb=volume.size_gb
    )
    last = volume.terms.select_related("order").latest("period")
    request = VolumeRequest(
        pool_id=str(volume.pool_id),
        name=name,
        size_gb=volume.size_gb,
        days=days,
        snapshot_of=str(volume.id),
    )
    return quoted_volume(
        request,
        offer_id=last.order.offer_id,
        actor=actor,
        organisation_id=volume.organisation_id,
        project_id=volume.project_id,
        choice=choice,
        starts_at=now,
        now=now,
    )


def check_readable(volume: Volume, *, now: datetime) -> None:
    """
    Raises:
        VolumeGone: it is being deleted, or is due to be.
        VolumeInUse: a run writes it, or a copy does.
    """
    check_usable(volume, writes=False, now=now)
    if VolumeUse.objects.filter(volume=volume, live=True, writers=1).exists():
        raise in_use(volume)


def begin_snapshot(snapshot: Volume, *, source: Volume, now: datetime) -> None:
    """Have the pool's agent make it; the caller holds the source's lock.

    Raises:
        VolumeInUse: a run writes the source, or it is being restored.
        VolumeGone: the source is being deleted.
    """
    check_usable(source, writes=False, now=now)
    _begin(source=source, target=snapshot, restores=False, actor=SYSTEM, now=now)


@transaction.atomic(durable=True)
def restore_volume(*, actor: Actor, volume_id: UUID, snapshot_id: UUID, now: datetime) -> VolumeCopy:
    """Have a volume hold what the snapshot holds; what it holds now is lost once that is whole, and until then stays.

    Both are of one project and one pool. While it is done, room for the snapshot is taken once more.

    Raises:
        NotFound: there is no such volume or snapshot, or the actor may not know.
        Forbidden: the actor may not buy for its organisation.
        Invalid: no snapshot, another project's or pool's, or the volume is smaller.
        VolumeInUse: a run sees the volume, a copy is made, or the snapshot is not whole yet.
        VolumeGone: its time is over, or one of them is being deleted.
        SoldOut: the pool has no room for both at once, or its agent is away.
    """
    asked = volume_visible_to(actor, volume_id)
    require(actor, "order.place", asked.organisation_id)
    volume_visible_to(actor, snapshot_id)
    # Before the volumes, as heartbeats have them, which end copies.
    pool = Pool.objects.select_for_update(no_key=True).get(id=asked.pool_id)
    found = locked_volumes({volume_id, snapshot_id})
    volume, snapshot = found[volume_id], found[snapshot_id]
    if volume.snapshot_of_id is not None or snapshot.snapshot_of_id is None:
        raise Invalid(
            f"{snapshot.name} cannot be put into {volume.name}.",
            hint="Name a volume, and then a snapshot.",
            field="snapshot_id",
        )
    if (volume.project_id, volume.pool_id) != (snapshot.project_id, snapshot.pool_id):
        raise Invalid(
            f"{snapshot.name} is of another project or pool than {volume.name}.",
            hint="Restore it to a volume of the same.",
            field="snapshot_id",
        )
    if snapshot.size_gb > volume.size_gb:
        raise Invalid(
            f"{snapshot.name} takes {snapshot.size_gb} GB, and {volume.name} has {volume.size_gb}.",
            hint="Restore it to a volume that is large enough.",
            field="snapshot_id",
        )
    check_usable(volume, writes=True, now=now)
    check_usable(snapshot, writes=False, now=now)
    check_copies(pool, now=now)
    full = no_room(pool, size_gb=snapshot.size_gb)
    if full is not None:
        raise full
    return _begin(source=snapshot, target=volume, restores=True, actor=actor, now=now)


def copies_wanted(pool_id: UUID, *, count_max: int) -> list[CopySpec]:
    """What the pool's agent is to copy, the oldest first; not what nobody wants any more."""
    rows = VolumeCopy.objects.filter(
        state=CopyState.COPYING,
        source__pool_id=pool_id,
        source__pool__copies_volumes=True,
        target__state__in=VOLUME_LIVES,
    ).select_related("source", "target")
    return [
        CopySpec(
            copy_id=copy.public_id,
            source=copy.source.public_id,
            target=copy.target.public_id,
            bytes_max=copy.target.size_gb * GIB,
            restores=copy.restores,
        )
        for copy in rows.order_by("created_at", "id")[:count_max]
    ]


def note_copies(*, pool_id: UUID, said: Collection[CopyStatus], actor: Actor, now: datetime) -> None:
    """Take the agent's word for how its pool's copies stand; what has ended stays ended."""
    by_id = {VolumeCopy.key_of(status.copy_id): status for status in said}
    rows = VolumeCopy.objects.filter(source__pool_id=pool_id, state=CopyState.COPYING)
    ended = [copy_id for copy_id, status in by_id.items() if status.phase != "copying"]
    volumes = locked_volumes(
        {
            volume_id
            for pair in rows.filter(id__in=ended).values_list("source_id", "target_id")
            for volume_id in pair
        }
    )
    rows = rows.filter(id__in=by_id).select_related("source").order_by("id")
    for copy in rows.select_for_update(of=("self",), no_key=True):
        status = by_id[copy.id]
        copy.bytes_done, copy.bytes_total, copy.took_s = status.bytes_done, status.bytes_total, status.took_s
        if status.phase == "copying":
            copy.save(update_fields=["bytes_done", "bytes_total"])
        elif volumes[copy.target_id].state in VOLUME_LIVES:  # else it ends once it is deleted
            _end(copy, volumes[copy.target_id], status, actor=actor, now=now)


def end_copies(volume: Volume, *, why: str, now: datetime) -> None:
    """Nobody makes what is copied from or to it any more; the caller holds its lock."""
    for copy in VolumeCopy.objects.select_for_update(no_key=True).filter(
        id__in=VolumeUse.objects.filter(volume=volume, live=True, copy__isnull=False).values("copy_id")
    ):
        move_copy(copy, to=CopyState.FAILED, actor=SYSTEM, now=now, why=why)


def check_copies(pool: Pool, *, now: datetime) -> None:
    """
    Raises:
        SoldOut: its agent is away, or makes no snapshots.
    """
    dead = why_not_live(pool, now=now)
    if dead is not None:
        raise SoldOut(f"The pool can do nothing now: {dead}.", hint="Ask again later.")
    if not pool.copies_volumes:
        raise SoldOut(
            f"The agent of {pool.name} makes no snapshots.",
            hint="Copy the files with a run that sees both volumes, or ask its supplier: Kubernetes makes none.",
        )


def _begin(*, source: Volume, target: Volume, restores: bool, actor: Actor, now: datetime) -> VolumeCopy:
    asked_by = actor.id if actor.kind is ActorKind.USER else None
    try:
        with transaction.atomic():
            copy = VolumeCopy.objects.create(
                source=source, target=target, restores=restores, asked_by=asked_by, created_at=now
            )
    except IntegrityError as error:
        raise in_use(target) from error
    record_made(copy, actor=actor, now=now)
    for volume, writers in ((source, 0), (target, 1)):
        try:
            with transaction.atomic():
                VolumeUse.objects.create(volume=volume, copy=copy, writers=writers)
        except IntegrityError as error:
            raise in_use(volume) from error
    return copy


def _end(copy: VolumeCopy, target: Volume, status: CopyStatus, *, actor: Actor, now: datetime) -> None:
    is_late = target.state == VolumeState.MAKING and target.kept_until <= now
    if status.phase == "failed" or is_late:
        fault = LATE if is_late else (status.fault or CopyFault.DISK).value
        move_copy(copy, to=CopyState.FAILED, actor=actor, now=now, why=fault)
        if copy.restores:  # of a snapshot people are told when its money is given back
            tell_failed(copy, now=now)
        return
    move_copy(copy, to=CopyState.WHOLE, actor=actor, now=now)
    if not copy.restores:
        least = target.terms.select_related("order__offer").latest("period").order.offer.min_units
        taken = max(least, -(-status.bytes_done // GIB))
        target.size_gb, target.whole_at = max(1, min(target.size_gb, taken)), now
        move_volume(target, to=VolumeState.KEPT, actor=actor, now=now)
    _tell(copy, target, _RESTORED if copy.restores else _WHOLE, now=now)


def tell_failed(copy: VolumeCopy, *, now: datetime) -> None:
    """Tell whoever asked for it why there is none."""
    _tell(copy, copy.target, _NOT_RESTORED if copy.restores else _NOT_MADE, now=now)


FAULTS: Final = {
    "full": {"zh": "资源池的磁盘已满", "en": "the pool's disk is full"},
    "too_large": {
        "zh": "卷中文件超过其容量，请先删除一些",
        "en": "the volume holds more than its size: delete files in it",
    },
    "changed": {"zh": "复制时文件有变动，请重试", "en": "something changed while it was copied: try again"},
    "closed": {
        "zh": "有些文件夹过深，或对其所有者关闭",
        "en": "parts of it are too deep, or closed to their own user",
    },
    "in_use": {"zh": "仍有执行在使用它，请稍后重试", "en": "another attempt still uses it: try again later"},
    "disk": {"zh": "资源池的磁盘出错", "en": "the pool's disk fails"},
    POOL_CLOSED: {"zh": "资源池已关闭", "en": "the pool was closed"},
    DELETED: {"zh": "已删除", "en": "it was deleted"},
    LATE: {"zh": "在付费期内未完成", "en": "it was not whole before its paid time was over"},
}
"""Why a copy failed, for people."""
_WHOLE: Final = {
    "title": {"zh": "快照 {name} 已完成", "en": "The snapshot {name} is whole"},
    "body": {
        "zh": "占用 {gb} GB，用时 {took} 秒。从现在起按此计费。",
        "en": "It takes {gb} GB and was made in {took} s. So much is charged from now on.",
    },
}
_RESTORED: Final = {
    "title": {"zh": "存储卷 {name} 已恢复", "en": "The volume {name} is restored"},
    "body": {
        "zh": "内容为快照 {source}，用时 {took} 秒。",
        "en": "It holds what the snapshot {source} holds. That took {took} s.",
    },
}
_NOT_MADE: Final = {
    "title": {"zh": "快照 {name} 未能完成", "en": "The snapshot {name} was not made"},
    "body": {
        "zh": "原因：{why}。不收费，冻结的款项已退回。",
        "en": "Why: {why}. Nothing is charged, and what was held was given back.",
    },
}
_NOT_RESTORED: Final = {
    "title": {"zh": "存储卷 {name} 未能恢复", "en": "The volume {name} was not restored"},
    "body": {"zh": "原因：{why}。卷中文件保持原样。", "en": "Why: {why}. It holds what it held."},
}


def _tell(copy: VolumeCopy, target: Volume, words: dict[str, dict[str, str]], *, now: datetime) -> None:
    """Whoever asked for it: who put the volume back, or who ordered the snapshot."""
    asked_by = copy.asked_by
    if not copy.restores:
        asked_by = target.terms.select_related("order").earliest("period").order.placed_by
    if asked_by is None:
        return
    facts = {
        "name": target.name,
        "source": copy.source.name,
        "gb": target.size_gb,
        "took": f"{copy.took_s:.1f}",
    }
    why = FAULTS.get(copy.reason, {"zh": "", "en": ""})
    notify(
        user_ids={asked_by},
        kind="volume.copied",
        title={language: text.format(**facts) for language, text in words["title"].items()},
        body={language: text.format(**facts, why=why[language]) for language, text in words["body"].items()},
        now=now,
        link=f"/volumes/{target.public_id}/",
        subject_id=target.id,
        organisation_id=target.organisation_id,
    )
