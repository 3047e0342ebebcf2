"""What suppliers delivered of what was ordered, and what buyers are told when it was not."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db.models import DurationField, ExpressionWrapper, F, Q, Sum

from mosu.compute.models import Pool, Run
from mosu.kernel.languages import Language, said
from mosu.market.models import Outcome, Receipt
from mosu.platform.actors import Role
from mosu.platform.services import members_of, notify

COUNTED_FOR: Final = timedelta(days=90)


def count_deliveries(*, now: datetime) -> None:
    """Count anew what each pool delivered of what was ordered of it in the last 90 days, in seconds of runs.

    A run that its buyer or its program ended counts with the time that it took, delivered whole. One that the
    supplier or the hub lost counts with all that was promised it, its wall limit, and nothing of that was delivered.
    """
    ended = Run.objects.filter(ended_at__gt=now - COUNTED_FOR, ended_at__lte=now).order_by()
    lost = Q(order__outcome=Outcome.PLATFORM_FAILURE)
    took = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())
    counted = ended.values_list("pool_id").annotate(
        used=Sum(took, filter=~lost), promised_s=Sum("order__quote__wall_limit_s", filter=lost)
    )
    found = {pool_id: (_seconds(used), promised_s or 0) for pool_id, used, promised_s in counted}
    for pool_id in Pool.objects.order_by("id").values_list("id", flat=True):
        delivered_s, lost_s = found.get(pool_id, (0, 0))
        Pool.objects.filter(id=pool_id).update(
            delivered_s=delivered_s, ordered_s=delivered_s + lost_s, delivery_counted_at=now
        )


def _seconds(span: timedelta | None) -> int:
    return max(0, int(span / timedelta(seconds=1))) if span else 0


_CREDITED: Final[Mapping[Language, str]] = {
    "zh": "原因：{why}。本次用量全额免收；冻结的余额已解冻，券的额度已退回。小票 {number}。",
    "en": "Reason: {why}. What it used is credited in full: held money is free again, and vouchers have their amount "
    "back. Receipt {number}.",
}


def tell_buyer(run: Run, receipt: Receipt, *, why: str, now: datetime) -> None:
    """Tell the buyer's people, unasked and in both languages, that a run was lost and that nothing of it is charged."""
    name = run.name or receipt.content["order"]["number"]
    notify(
        user_ids=members_of(
            run.organisation_id, roles=[Role.OWNER, Role.ADMIN, Role.DEVELOPER, Role.FINANCE]
        ),
        kind="order.credited",
        title={"zh": f"作业 {name} 中断，不收费", "en": f"{name} was lost, and is not charged"},
        body={
            language: text.format(why=said(why, language), number=receipt.number)
            for language, text in _CREDITED.items()
        },
        now=now,
        link=f"/receipts/{receipt.public_id}/",
        subject_id=run.id,
        organisation_id=run.organisation_id,
        mail=True,
    )
