"""Goods sold by the block: on what terms, and what of a block is charged when it ends early. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period

MODE: Final = "reserved"
"""What `Offer.attributes` says of goods that are sold by the block."""
RULES_MAX: Final = 10
HOURS_MAX: Final = 8760
DAYS_MAX: Final = 366
WHOLE: Final = 100


@dataclass(frozen=True, slots=True)
class CancellationRule:
    """Who cancels at least `before_start_hours` before the start gets `back_percent` of the block back."""

    before_start_hours: int
    back_percent: int


@dataclass(frozen=True, slots=True)
class BlockTerms:
    """How goods are sold by the block; the longest block is the offer's `wall_s_max`."""

    shortest_hours: int
    ahead_days: int
    """How far ahead a block may start."""
    cancellation: tuple[CancellationRule, ...] = ()
    """The earliest first; who is later than the last of them gets nothing back."""
    back_percent_after_start: int = 0
    """What is given back of the time that is left when a block is cancelled while it runs."""

    def to_json(self) -> dict[str, Any]:
        return {
            "shortest_hours": self.shortest_hours,
            "ahead_days": self.ahead_days,
            "cancellation": [
                {"before_start_hours": rule.before_start_hours, "back_percent": rule.back_percent}
                for rule in self.cancellation
            ],
            "back_percent_after_start": self.back_percent_after_start,
        }

    @classmethod
    def of_json(cls, frozen: Mapping[str, Any]) -> "BlockTerms":
        return cls(
            shortest_hours=frozen["shortest_hours"],
            ahead_days=frozen["ahead_days"],
            cancellation=tuple(CancellationRule(**rule) for rule in frozen["cancellation"]),
            back_percent_after_start=frozen["back_percent_after_start"],
        )

    def back_percent_at(self, moment: datetime, *, start: datetime) -> int:
        """What of the time that is left is given back if the block is cancelled at that moment."""
        if moment >= start:
            return self.back_percent_after_start
        notice = start - moment
        percents = (
            rule.back_percent
            for rule in self.cancellation
            if notice >= timedelta(hours=rule.before_start_hours)
        )
        return max(percents, default=self.back_percent_after_start)


def check_block_terms(terms: BlockTerms) -> None:
    """Pass if terms can be published: who cancels later never gets more back.

    Raises:
        Invalid: a figure out of its range, or rules out of order.
    """
    if not 1 <= terms.shortest_hours <= HOURS_MAX or not 1 <= terms.ahead_days <= DAYS_MAX:
        raise Invalid(
            "The limits of blocks are out of range.",
            hint=f"1 to {HOURS_MAX} hours, 1 to {DAYS_MAX} days ahead.",
            field="block",
        )
    hours = [rule.before_start_hours for rule in terms.cancellation]
    percents = [*(rule.back_percent for rule in terms.cancellation), terms.back_percent_after_start]
    in_range = all(0 <= one <= HOURS_MAX for one in hours) and all(0 <= one <= WHOLE for one in percents)
    falls = percents == sorted(percents, reverse=True)
    if len(hours) > RULES_MAX or not in_range or not falls or hours != sorted(set(hours), reverse=True):
        raise Invalid(
            "The cancellation rules are out of order.",
            hint=f"At most {RULES_MAX}, the earliest first, each giving back no more than the one before it.",
            field="cancellation",
        )


@dataclass(frozen=True, slots=True)
class EndedEarly:
    """Unit-seconds of a block: those that were had until it was cancelled, and those kept of the rest by the rule."""

    used: int
    kept: int
    given_back: int
    back_percent: int


def ended_early(terms: BlockTerms, *, units: int, period: Period, at: datetime, lost: int = 0) -> EndedEarly:
    """What a block comes to that is cancelled `at`; of what was had, `lost` unit-seconds were not delivered.

    Whole seconds, and percents of them in the supplier's favour: what is kept is rounded up.
    """
    second = timedelta(seconds=1)
    whole_s = period.duration // second
    gone_s = min(max(0, -((period.start - at) // second)), whole_s)
    rest = units * (whole_s - gone_s)
    percent = terms.back_percent_at(at, start=period.start)
    back = rest * percent // WHOLE
    return EndedEarly(
        used=max(0, units * gone_s - lost), kept=rest - back, given_back=back, back_percent=percent
    )


def rules_in_words(terms: BlockTerms) -> Sequence[Mapping[str, str]]:
    """The cancellation rules as labels and receipts say them, in both languages."""
    said = [
        {
            "zh": f"开始前 {rule.before_start_hours} 小时以上取消：退 {rule.back_percent}%",
            "en": f"{rule.before_start_hours} h or more before the start: {rule.back_percent}% back",
        }
        for rule in terms.cancellation
    ]
    later = terms.back_percent_after_start
    last = {"zh": f"更晚取消：剩余时间退 {later}%", "en": f"later: {later}% of what is left back"}
    none = {"zh": "更晚取消：不退", "en": "later: nothing back"}
    return [*said, last if later else none]
