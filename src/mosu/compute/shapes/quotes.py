"""Asking for quotes: the task, its folder, what came of it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from mosu.compute.services import QuoteResult, RefusedOffer
from mosu.compute.shapes.parts import VoucherChoice
from mosu.kernel.languages import Language, said
from mosu.market.shapes import QuoteOut, Sha256, Word
from mosu.platform.schemas import Bilingual, In, Out
from mosu.store.services import ManifestEntry


class FileIn(In):
    path: Annotated[str, StringConstraints(max_length=1024)]
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    executable: bool = False

    def entry(self) -> ManifestEntry:
        return ManifestEntry(
            path=self.path, sha256=self.sha256, size_bytes=self.size_bytes, executable=self.executable
        )


class QuoteIn(In):
    """`task` is the text of the task file; `vouchers`, where given, wins over its `mosu.vouchers`."""

    task: Annotated[str, StringConstraints(max_length=200_000)]
    workdir: Annotated[list[FileIn], Field(max_length=10_000)] = []
    project_id: Word | None = None
    vouchers: VoucherChoice | None = None


class ReasonOut(Out):
    code: str
    message: str
    hint: str


class RefusedOut(Out):
    offer_id: str
    title: Bilingual
    reasons: list[ReasonOut]

    @classmethod
    def of(cls, refused: RefusedOffer, *, language: Language) -> "RefusedOut":
        return cls(
            offer_id=refused.public_id,
            title=Bilingual(zh=refused.title_zh, en=refused.title_en),
            reasons=[
                ReasonOut(
                    code=reason.code,
                    message=said(reason.message, language),
                    hint=said(reason.hint, language),
                )
                for reason in refused.reasons
            ],
        )


class RefusedGroupOut(Out):
    """How many offers were refused for the same reasons: `codes` are those of `refused[].reasons`."""

    codes: list[str]
    count: int


class QuotesOut(Out):
    """Quotes, best first, and why other offers were refused: examples in words, all of them by reason.

    `not_priced` more fit, but no better than those that have a quote.
    """

    quotes: list[QuoteOut]
    refused: list[RefusedOut]
    refused_groups: list[RefusedGroupOut]
    not_priced: int

    @classmethod
    def of(cls, result: QuoteResult, *, language: Language, now: datetime) -> "QuotesOut":
        return cls(
            quotes=[QuoteOut.of(quote, now=now) for quote in result.quotes],
            refused=[RefusedOut.of(refused, language=language) for refused in result.refused],
            refused_groups=[
                RefusedGroupOut(codes=sorted(group.codes), count=group.count)
                for group in result.refused_groups
            ],
            not_priced=result.not_priced,
        )
