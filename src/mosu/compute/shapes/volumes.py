"""Volumes: asking for one, what it holds, who uses it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from mosu.compute.models import Volume, VolumeCopy
from mosu.compute.shapes.parts import VoucherChoice
from mosu.compute.volumes import deleted_at
from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.market.shapes import Key, Word
from mosu.platform.models import Organisation, Project
from mosu.platform.schemas import In, Out

Days = Annotated[int, Field(ge=1, le=366)]


class VolumeQuoteIn(In):
    """Room for `gb` GB (GiB), kept for `days` days: of the cheapest offer, or of the one that is named.

    `supplier` and `pool` are names or ids. `vouchers` as for a task: `auto`, `none`, or their ids.
    """

    name: Word
    gb: Annotated[int, Field(ge=1, le=1_000_000_000)]
    days: Days = 30
    offer_id: Key | None = None
    supplier: Word = ""
    pool: Word = ""
    project_id: Word | None = None
    vouchers: VoucherChoice = "auto"


class VolumeTimeIn(In):
    days: Days = 30
    vouchers: VoucherChoice = "auto"


class SnapshotQuoteIn(In):
    """A snapshot `NAME@label` of the volume, kept for `days` days."""

    label: Word
    days: Days = 30
    vouchers: VoucherChoice = "auto"


class RestoreIn(In):
    snapshot_id: Key


class CopyOut(Out):
    """How the last copy to a volume stands: of a snapshot its making, else its last restoring."""

    id: str
    source_id: str
    source: str
    restores: bool
    state: Literal["copying", "whole", "failed"]
    bytes_done: int
    bytes_total: int
    """0 until the agent has looked; of one that is whole, what it takes."""
    took_s: float
    reason: str
    """Why it failed: `full`, `too_large`, `changed`, `closed`, `in_use`, `disk`, `pool_closed`, `late` or `deleted`."""
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, copy: VolumeCopy) -> "CopyOut":
        return cls(
            id=copy.public_id,
            source_id=copy.source.public_id,
            source=copy.source.name,
            restores=copy.restores,
            state=copy.state,
            bytes_done=copy.bytes_done,
            bytes_total=copy.bytes_total,
            took_s=copy.took_s,
            reason=copy.reason,
            created_at=copy.created_at,
            ended_at=copy.ended_at,
        )


class VolumeIn(In):
    """For how long it is renewed by itself whenever its time ends; 0: it is not."""

    renews_days: Annotated[int, Field(ge=0, le=366)]


class VolumeOut(Out):
    """A volume: name it in a task's `volumes` to have it in a run."""

    id: str
    name: str
    snapshot_of: str | None
    """The volume whose snapshot it is; it is only read then."""
    state: Literal["making", "kept", "expired", "deleting", "deleted"]
    organisation_id: str
    project_id: str
    pool_id: str
    pool: str
    gb: int
    """Of a snapshot, once it is whole, what it takes; before, what it may take at most."""
    kept_until: datetime
    deleted_at: datetime
    """When it is deleted if nobody renews it; of one that is deleted, when that was asked for."""
    renews_days: int
    used_by: list[str]
    """The runs that see it now."""
    last_copy: CopyOut | None
    order_ids: list[str]
    held: str
    """What its orders that are open may cost at most."""
    currency: str

    @classmethod
    def of(cls, volume: Volume) -> "VolumeOut":
        orders = [term.order for term in volume.terms.all()]
        currency = orders[-1].currency
        held = sum(
            order.total_max_micros for order in orders if order.total_micros is None and not order.ended_at
        )
        return cls(
            id=volume.public_id,
            name=volume.name,
            snapshot_of=volume.snapshot_of.public_id if volume.snapshot_of else None,
            state=volume.state,
            organisation_id=typeid(Organisation.prefix, volume.organisation_id),
            project_id=typeid(Project.prefix, volume.project_id),
            pool_id=volume.pool.public_id,
            pool=volume.pool.name,
            gb=volume.size_gb,
            kept_until=volume.kept_until,
            deleted_at=volume.ended_at or deleted_at(volume),
            renews_days=volume.renews_days,
            used_by=[use.run.public_id for use in volume.uses.all() if use.run],
            last_copy=next((CopyOut.of(copy) for copy in volume.copies_to.all()), None),
            order_ids=[order.public_id for order in orders],
            held=decimal_of(held, currency=currency),
            currency=currency,
        )
