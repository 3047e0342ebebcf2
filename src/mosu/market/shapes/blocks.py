"""On what terms goods are sold by the block."""

from typing import Annotated

from pydantic import Field

from mosu.market.blocks import DAYS_MAX, HOURS_MAX, RULES_MAX, WHOLE, BlockTerms
from mosu.platform.schemas import In, Out


class CancellationRuleIn(In):
    """Who cancels at least so long before the start gets so much of the block back."""

    before_start_hours: Annotated[int, Field(ge=0, le=HOURS_MAX)]
    back_percent: Annotated[int, Field(ge=0, le=WHOLE)]


class BlockTermsIn(In):
    """On what terms goods are sold by the block; the longest is the offer's `wall_s_max`.

    Cancellation rules come the earliest first; who is later than the last of them gets `back_percent_after_start` of
    the time that is left.
    """

    shortest_hours: Annotated[int, Field(ge=1, le=HOURS_MAX)] = 1
    ahead_days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = 90
    cancellation: Annotated[list[CancellationRuleIn], Field(max_length=RULES_MAX)] = []
    back_percent_after_start: Annotated[int, Field(ge=0, le=WHOLE)] = 0

    def terms(self) -> BlockTerms:
        return BlockTerms.of_json(self.model_dump())


class CancellationRuleOut(Out):
    before_start_hours: int
    back_percent: int


class BlockTermsOut(Out):
    """On what terms goods are sold by the block, as published, and as frozen on a quote."""

    shortest_hours: int
    ahead_days: int
    cancellation: list[CancellationRuleOut]
    back_percent_after_start: int

    @classmethod
    def of(cls, terms: BlockTerms) -> "BlockTermsOut":
        return cls(**terms.to_json())
