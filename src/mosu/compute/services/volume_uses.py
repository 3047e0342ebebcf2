"""Which runs see a volume now: one that writes, or any number that read."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from mosu.compute.models import Run, Volume, VolumeUse
from mosu.compute.requests import VolumeSeen
from mosu.compute.states import VOLUME_LIVES, VolumeState
from mosu.compute.volumes import deleted_at
from mosu.kernel.refusals import DomainError, Invalid


class VolumeGone(DomainError):
    """The volume is being deleted, or its paid time is over."""

    code = "volume_gone"


class VolumeInUse(DomainError):
    """A run sees the volume now, and it must be the only one."""

    code = "volume_in_use"


def use_volumes(run: Run, volumes: Collection[VolumeSeen], *, now: datetime) -> None:
    """Note that the run sees these volumes until it ends: alone where it writes, with others where it reads.

    Raises:
        VolumeInUse: another run sees one of them, and both do not go together.
        VolumeGone: one is being deleted, or its paid time is over and the run would write.
    """
    rows = Volume.objects.select_for_update(no_key=True).filter(id__in=[one.id for one in volumes])
    found = {str(row.id): row for row in rows.order_by("id")}
    for one in sorted(volumes, key=lambda seen: seen.id):
        check_usable(found[one.id], writes=one.writes, now=now)
        try:
            with transaction.atomic():
                VolumeUse.objects.create(volume=found[one.id], run=run, writers=int(one.writes))
        except IntegrityError as error:
            raise in_use(found[one.id]) from error


def check_usable(volume: Volume, *, writes: bool, now: datetime) -> None:
    """
    Raises:
        VolumeGone: it is being deleted or is due to be, or its paid time is over and it would be written.
        VolumeInUse: it is a snapshot that is not whole yet.
        Invalid: it is a snapshot, and would be written.
    """
    if volume.state not in VOLUME_LIVES or deleted_at(volume) <= now:
        raise VolumeGone(f"The volume {volume.name} is being deleted.", hint="Make another.")
    if volume.state == VolumeState.MAKING:
        raise in_use(volume)
    if writes and volume.snapshot_of_id is not None:
        raise Invalid(
            f"{volume.name} is a snapshot: it is only read.",
            hint="Restore it to a volume, and write that.",
            field="volumes",
        )
    if volume.state == VolumeState.EXPIRED and writes:
        raise VolumeGone(
            f"The time that is paid for the volume {volume.name} is over.",
            hint=f"Renew it, or read it: {volume.name}:ro.",
        )


def in_use(volume: Volume) -> VolumeInUse:
    """The refusal that names who has it."""
    live = VolumeUse.objects.filter(volume=volume, live=True).order_by("id")
    runs = live.filter(run__isnull=False).select_related("run")
    names = ", ".join(use.run.public_id for use in runs[:3] if use.run)
    copying = live.filter(copy__isnull=False).select_related("copy__target").first()
    if copying is not None and copying.copy is not None and not names:
        target = copying.copy.target
        return VolumeInUse(
            f"The volume {target.name} is being restored."
            if copying.copy.restores
            else f"The snapshot {target.name} is being made.",
            hint="Wait until that has ended: mosu volumes list.",
        )
    return VolumeInUse(
        f"The volume {volume.name} is in use by {names}."
        if names
        else f"The volume {volume.name} is in use.",
        hint="One run writes to a volume, or several read it (NAME:ro). Wait for the run to end, or cancel it.",
    )


def is_needed(volume: Volume) -> bool:
    """Whether a run sees it now, or somebody wants what is copied from it. Who deletes it wants no copy into it."""
    live = VolumeUse.objects.filter(volume=volume, live=True)
    wanted = Q(copy__source=volume, copy__target__state__in=VOLUME_LIVES)
    return live.filter(Q(run__isnull=False) | wanted).exists()


def in_others_way(volume: Volume, *, writes: bool) -> bool:
    """Whether a run that sees the volume now does not go together with one that reads, or `writes`, it."""
    live = VolumeUse.objects.filter(volume=volume, live=True)
    return (live if writes else live.filter(writers=1)).exists()


def locked_volumes(volume_ids: Collection[UUID]) -> Mapping[UUID, Volume]:
    """The rows, locked, with their pools."""
    rows = Volume.objects.select_for_update(of=("self",), no_key=True).select_related("pool")
    return {row.id: row for row in rows.filter(id__in=volume_ids).order_by("id")}


def locked_volume(volume_id: UUID) -> Volume:
    """The row, locked, with its pool."""
    return (
        Volume.objects.select_for_update(of=("self",), no_key=True).select_related("pool").get(id=volume_id)
    )
