"""Weights of organisations in a pool, and quotas: who may have how much at one time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce

from mosu.compute.accelerators import accelerators_named
from mosu.compute.models import WHOLE, Allocation, Pool, PoolShare, Quota
from mosu.compute.moves import notify_pool
from mosu.compute.placement import Need
from mosu.compute.quotas import Held, Limit, earliest_within
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation, Project
from mosu.platform.policy import require
from mosu.platform.services import record_audit
from mosu.wire.shares import kind_of

WEIGHT_MAX: Final = 1000
UNITS_MAX: Final = 10**9
_PROJECT: Final = Coalesce("attempt__run__project_id", "block__project_id")


class QuotaReached(DomainError):
    """The organisation or the project holds as much as it may; the hint says what would do."""

    code = "quota_reached"


@transaction.atomic(durable=True)
def set_share(*, actor: Actor, pool_id: UUID, organisation_id: UUID, weight: int, now: datetime) -> PoolShare:
    """Let an organisation have `weight` times what one without a weight has, where several wait in the pool.

    Raises:
        Forbidden: the actor is not the hub's operator.
        Invalid: not 1 to 1000.
        NotFound: no such pool or organisation.
    """
    require(actor, "share.set")
    if not 1 <= weight <= WEIGHT_MAX:
        raise Invalid(
            f"weight: {weight} cannot be used.",
            hint=f"Choose 1 to {WEIGHT_MAX}.",
            field="weight",
            found=weight,
        )
    if not Pool.objects.select_for_update(no_key=True).filter(id=pool_id).exists():
        raise NotFound("There is no such pool.", hint="See GET /pools.")
    if not Organisation.objects.filter(id=organisation_id).exists():
        raise NotFound("There is no such organisation.", hint="See the list of organisations.")
    before = PoolShare.objects.filter(pool_id=pool_id, organisation_id=organisation_id).first()
    row, _ = PoolShare.objects.update_or_create(
        pool_id=pool_id, organisation_id=organisation_id, defaults={"weight": weight}
    )
    record_audit(
        actor=actor,
        action="share.set",
        subject_id=row.id,
        before=str(before.weight) if before else None,
        after=str(weight),
        now=now,
        organisation_id=organisation_id,
        facts={"pool_id": str(pool_id)},
    )
    notify_pool(pool_id)
    return row


@transaction.atomic(durable=True)
def set_quota(
    *,
    actor: Actor,
    organisation_id: UUID,
    accelerator: str,
    units_max: int | None,
    now: datetime,
    project_id: UUID | None = None,
    volumes: bool = False,
) -> None:
    """Let an organisation (for the operator to say) or a project (for its managers) hold so many at one time.

    Cards of `accelerator`, or without one cores of runs that have no cards, or GB of `volumes`. None: no quota any
    more. What is held already stays.

    Raises:
        Forbidden: the actor may not.
        Invalid: a negative number, or an accelerator and volumes at once.
        NotFound: the project is not the organisation's.
        UnknownAccelerator: nothing is called so, or several are.
    """
    require(actor, "quota.set" if project_id else "quota.grant", organisation_id)
    if units_max is not None and not 0 <= units_max <= UNITS_MAX:
        raise Invalid(f"units_max: {units_max} cannot be used.", hint="Choose 0 or more.", field="units_max")
    if project_id and not Project.objects.filter(id=project_id, organisation_id=organisation_id).exists():
        raise NotFound("There is no such project.", hint="See GET /me.")
    if volumes and accelerator:
        raise Invalid("A quota is of an accelerator or of volumes.", hint="Set two.", field="accelerator")
    card = accelerators_named(accelerator)[0] if accelerator else ""
    rows = Quota.objects.filter(organisation_id=organisation_id, accelerator=card, volumes=volumes)
    rows = rows.filter(project_id=project_id) if project_id else rows.filter(project=None)
    before = rows.select_for_update(no_key=True).first()
    if units_max is None:
        if before is None:
            return
        Quota.objects.filter(id=before.id).delete()
        row = before
    elif before is None:
        row = Quota.objects.create(
            organisation_id=organisation_id,
            project_id=project_id,
            accelerator=card,
            volumes=volumes,
            units_max=units_max,
        )
    else:
        row = before
        Quota.objects.filter(id=before.id).update(units_max=units_max)
    record_audit(
        actor=actor,
        action="quota.set",
        subject_id=row.id,
        before=str(before.units_max) if before else None,
        after="none" if units_max is None else str(units_max),
        now=now,
        organisation_id=organisation_id,
        facts={"accelerator": "volumes" if volumes else card, "project_id": str(project_id or "")},
    )


def limits_of(
    *,
    organisation_id: UUID,
    project_id: UUID,
    need: Need,
    now: datetime,
    without: UUID | None = None,
    lock: bool = False,
) -> Sequence[Limit]:
    """The quotas that a need of the project falls under, with what is held of them; one query where there are none.

    With `lock`, nobody else takes of them until the transaction ends: before the nodes. What the attempt `without`
    holds counts as free. Shares of cards count as the part of a card that they are.
    """
    card = kind_of(need.accelerator or "").accelerator
    quotas = Quota.objects.filter(organisation_id=organisation_id, accelerator=card, volumes=False)
    quotas = quotas.filter(Q(project=None) | Q(project_id=project_id)).order_by("id")
    found = list(quotas.select_for_update(no_key=True) if lock else quotas)
    if not found:
        return ()
    # What runs inside a block the block holds already.
    rows = Allocation.objects.filter(
        Q(block=None, attempt__run__organisation_id=organisation_id)
        | Q(attempt=None, block__organisation_id=organisation_id),
        live=True,
    ).order_by()
    rows = rows.exclude(attempt_id=without) if without else rows
    such = Q(devices__device__accelerator=card) | Q(devices__device__accelerator__startswith=f"{card}/")
    parts = Sum(F("devices__part__endswith") - F("devices__part__startswith"), filter=such, default=0)
    held: list[tuple[UUID, Held]] = []
    for of_project, period, cores, all_cards, such_parts in rows.annotate(
        all_cards=Count("devices"), such_parts=parts
    ).values_list(_PROJECT, "period", "cores", "all_cards", "such_parts"):
        units = Fraction(such_parts, WHOLE) if need.cards else (0 if all_cards else cores)
        end = period.upper if period.upper > now else None
        held.append((of_project, Held(period.lower, end, units)))
    return [
        Limit(
            quota.units_max,
            tuple(share for owner, share in held if quota.project_id in (None, owner)),
            of_project=quota.project_id is not None,
        )
        for quota in found
    ]


def keep_within(limits: Sequence[Limit], *, units: Fraction, start: datetime, duration: timedelta) -> None:
    """Pass if `units` may be held from `start` on.

    Raises:
        QuotaReached: not; the hint names the first start that would do.
    """
    first = earliest_within(limits, units=units, earliest=start, duration=duration)
    if first == start:
        return
    message = over_quota(limits, units=units)
    if first is None:
        raise QuotaReached(message, hint="Ask for less, or ask for a larger quota.")
    raise QuotaReached(message, hint=f"Ask for a start at {first:%Y-%m-%d %H:%M} UTC or later.")


def over_quota(limits: Sequence[Limit], *, units: Fraction) -> str:
    """What is to be said of it."""
    least = min(limits, key=lambda limit: limit.units_max)
    if least.of_project:
        return f"The project may hold {least.units_max} such units at one time; this takes {units}."
    return f"The organisation may hold {least.units_max} such units at one time; this takes {units}."
