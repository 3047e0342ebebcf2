"""Which runs see a volume now: one that writes, or any number that read."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from mosu.compute.models import Run, Volume, VolumeUse
from mosu.compute.requests import VolumeSeen
from mosu.compute.states import VOLUME_LIVES, VolumeState
from mosu.compute.volumes import deleted_at
from mosu.kernel.refusals import DomainError


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
    """
    if volume.state not in VOLUME_LIVES or deleted_at(volume) <= now:
        raise VolumeGone(f"The volume {volume.name} is being deleted.", hint="Make another.")
    if volume.state == VolumeState.EXPIRED and writes:
        raise VolumeGone(
            f"The time that is paid for the volume {volume.name} is over.",
            hint=f"Renew it, or read it: {volume.name}:ro.",
        )


def in_use(volume: Volume) -> VolumeInUse:
    """The refusal that names who has it."""
    runs = VolumeUse.objects.filter(volume=volume, live=True).select_related("run").order_by("id")
    names = ", ".join(use.run.public_id for use in runs[:3])
    return VolumeInUse(
        f"The volume {volume.name} is in use by {names}."
        if names
        else f"The volume {volume.name} is in use.",
        hint="One run writes to a volume, or several read it (NAME:ro). Wait for the run to end, or cancel it.",
    )


def in_others_way(volume: Volume, *, writes: bool) -> bool:
    """Whether a run that sees the volume now does not go together with one that reads, or `writes`, it."""
    live = VolumeUse.objects.filter(volume=volume, live=True)
    return (live if writes else live.filter(writers=1)).exists()


def locked_volume(volume_id: UUID) -> Volume:
    """The row, locked, with its pool."""
    return (
        Volume.objects.select_for_update(of=("self",), no_key=True).select_related("pool").get(id=volume_id)
    )
