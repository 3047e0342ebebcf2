"""How many GB of volumes an organisation and its projects may keep, in all pools together."""

from uuid import UUID

from django.db.models import Q, Sum

from mosu.compute.models import Quota, Volume
from mosu.compute.services.sharing import QuotaReached
from mosu.compute.states import VOLUME_LIVES


def kept_gb(*, organisation_id: UUID, project_id: UUID | None) -> int:
    """What the project keeps, or all of the organisation; snapshots count, what is being deleted does not."""
    rows = Volume.objects.filter(organisation_id=organisation_id, state__in=VOLUME_LIVES)
    rows = rows.filter(project_id=project_id) if project_id else rows
    kept: int = rows.aggregate(sum=Sum("size_gb", default=0))["sum"]
    return kept


def keep_within_gb(*, organisation_id: UUID, project_id: UUID, size_gb: int, lock: bool = False) -> None:
    """Pass if so many GB more may be kept. With `lock`, nobody else takes of it until the transaction ends.

    Raises:
        QuotaReached: not.
    """
    rows = Quota.objects.filter(Q(project=None) | Q(project_id=project_id), volumes=True)
    rows = rows.filter(organisation_id=organisation_id).select_related("project").order_by("id")
    for quota in list(rows.select_for_update(of=("self",), no_key=True) if lock else rows):
        kept = kept_gb(organisation_id=organisation_id, project_id=quota.project_id)
        if kept + size_gb <= quota.units_max:
            continue
        if quota.project is not None:
            raise QuotaReached(
                f"The project {quota.project.name} may keep {quota.units_max} GB of volumes; it keeps {kept}, and this "
                f"takes {size_gb} more.",
                hint="Delete some, or ask the organisation's owners and administrators to raise its quota.",
            )
        raise QuotaReached(
            f"The organisation may keep {quota.units_max} GB of volumes; it keeps {kept}, and this takes {size_gb} "
            "more.",
            hint="Delete some, or ask the hub's operator to raise its quota.",
        )
