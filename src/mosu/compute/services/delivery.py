"""What suppliers delivered of what was ordered, and what buyers are told when it was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import DurationField, ExpressionWrapper, F, Q, Sum, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce

from mosu.compute.blocks import lost_s
from mosu.compute.models import Block, Pool, Run
from mosu.compute.states import BlockState
from mosu.kernel.languages import Language, said
from mosu.market.models import Outcome, Receipt
from mosu.platform.actors import Role
from mosu.platform.services import members_of, notify

COUNTED_FOR: Final = timedelta(days=90)


def count_deliveries(*, now: datetime) -> None:
    """Count anew what each pool delivered of what was ordered of it in the last 90 days, in seconds of runs and blocks.

    A run that its buyer or its program ended counts with the time that it took, delivered whole. One that the
    supplier or the hub lost counts with all that was promised it, its wall limit, and nothing of that was delivered.
    A block counts with its time so far, less the part of it that was not delivered, and the runs inside not again.
    """
    ended = Run.objects.filter(ended_at__gt=now - COUNTED_FOR, ended_at__lte=now).order_by()
    ended = ended.alias(block=Coalesce(KT("request__block"), Value("", output_field=TextField()))).filter(
        block=""
    )
    lost = Q(order__outcome=Outcome.PLATFORM_FAILURE)
    took = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())
    counted = ended.values_list("pool_id").annotate(
        used=Sum(took, filter=~lost), promised_s=Sum("order__quote__wall_limit_s", filter=lost)
    )
    delivered, lost_of = Counter[UUID](), Counter[UUID]()
    for pool_id, used, promised_s in counted:
        delivered[pool_id] += _seconds(used)
        lost_of[pool_id] += promised_s or 0
    _add_blocks(delivered, lost_of, now=now)
    for pool_id in Pool.objects.order_by("id").values_list("id", flat=True):
        Pool.objects.filter(id=pool_id).update(
            delivered_s=delivered[pool_id],
            ordered_s=delivered[pool_id] + lost_of[pool_id],
            delivery_counted_at=now,
        )


def _add_blocks(delivered: Counter[UUID], lost_of: Counter[UUID], *, now: datetime) -> None:
    """The time of each block in the last 90 days; what some of its nodes lost counts by their part of it."""
    begun = Block.objects.exclude(state=BlockState.HELD).filter(
        period__startswith__lt=now, period__endswith__gt=now - COUNTED_FOR
    )
    for block in begun.order_by("id").prefetch_related("losses").iterator(chunk_size=500):
        start, end = (
            max(block.period.lower, now - COUNTED_FOR),
            min(block.ended_at or now, block.period.upper),
        )
        whole_s = _seconds(end - start)
        missing_s = min(whole_s, lost_s(block, since=start, now=end) // block.units)
        delivered[block.pool_id] += whole_s - missing_s
        lost_of[block.pool_id] += missing_s


def _seconds(span: timedelta | None) -> int:
    return max(0, int(span / timedelta(seconds=1))) if span else 0


_CREDITED: Final[Mapping[Language, str]] = {
    "zh": "原因：{why}。本次用量全额免收；冻结的余额已解冻，券的额度已退回。小票 {number}。",
    "en": "Reason: {why}. What it used is credited in full: held money is free again, and vouchers have their amount "
    "back. Receipt {number}.",
}


def tell_buyer(run: Run, receipts: Sequence[Receipt], *, why: str, now: datetime) -> None:
    """Tell the buyer's people, unasked and in both languages, that a run was lost and that nothing of it is charged."""
    name = run.name or receipts[0].content["order"]["number"]
    notify(
        user_ids=members_of(
            run.organisation_id, roles=[Role.OWNER, Role.ADMIN, Role.DEVELOPER, Role.FINANCE]
        ),
        kind="order.credited",
        title={"zh": f"作业 {name} 中断，不收费", "en": f"{name} was lost, and is not charged"},
        body={
            language: text.format(
                why=said(why, language), number=", ".join(receipt.number for receipt in receipts)
            )
            for language, text in _CREDITED.items()
        },
        now=now,
        link=f"/receipts/{receipts[0].public_id}/",
        subject_id=run.id,
        organisation_id=run.organisation_id,
        mail=True,
    )
