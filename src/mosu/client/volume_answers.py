"""What the hub answers of volumes, their snapshots and their quotas."""

from datetime import datetime
from decimal import Decimal

from mosu.client.models import Answer


class VolumeCopy(Answer):
    """How the last copy to a volume stands: the making of a snapshot, or the restoring of a volume."""

    source: str = ""
    restores: bool = False
    state: str
    bytes_done: int = 0
    bytes_total: int = 0
    took_s: float = 0
    reason: str = ""


class Volume(Answer):
    """Room for files in a pool, kept from run to run; or a snapshot of one, `NAME@LABEL`."""

    id: str
    name: str
    snapshot_of: str | None = None
    state: str
    organisation_id: str = ""
    project_id: str = ""
    pool: str = ""
    gb: int
    kept_until: datetime
    deleted_at: datetime
    """When it is deleted if nobody renews it."""
    renews_days: int = 0
    used_by: tuple[str, ...] = ()
    last_copy: VolumeCopy | None = None
    order_ids: tuple[str, ...] = ()
    held: Decimal = Decimal(0)
    currency: str = "CNY"


class Quota(Answer):
    """How much an organisation or a project may hold at one time: cards, cores, or GB of volumes."""

    organisation_id: str = ""
    project_id: str = ""
    accelerator: str = ""
    volumes: bool = False
    units_max: int | None = None
    """None: nothing limits it."""
    kept_gb: int | None = None
