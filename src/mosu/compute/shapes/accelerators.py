"""Card types: what is known of each, and from where."""

from typing import Any

from mosu.compute.accelerators import Accelerator, catalogue
from mosu.platform.schemas import Out


class FigureOut(Out):
    value: float
    source: str
    confidence: str


class ComputeOut(FigureOut):
    precision: str
    sparse: bool
    vector: bool


class AcceleratorOut(Out):
    """A card type; a figure that is not known is null or missing."""

    id: str
    name: str
    name_zh: str
    vendor: str
    aliases: list[str]
    memory_gb: FigureOut | None
    bandwidth_gb_s: FigureOut | None
    interconnect: dict[str, Any] | None
    compute: list[ComputeOut]
    software: list[str]
    designed_in: list[str]
    made_in: list[str]

    @classmethod
    def of(cls, one: Accelerator) -> "AcceleratorOut":
        return cls(
            id=one.id,
            name=one.name,
            name_zh=one.zh or one.name,
            vendor=one.vendor,
            aliases=list(one.aliases),
            memory_gb=_figure(one.memory_gb.value, one.memory_gb.source) if one.memory_gb else None,
            bandwidth_gb_s=(
                _figure(one.bandwidth_gb_s.value, one.bandwidth_gb_s.source) if one.bandwidth_gb_s else None
            ),
            interconnect=one.interconnect.model_dump() if one.interconnect else None,
            compute=[
                ComputeOut(
                    **_figure(figure.tflops, figure.source).model_dump(),
                    precision=figure.precision,
                    sparse=figure.sparse,
                    vector=figure.vector,
                )
                for figure in one.compute
            ],
            software=list(one.software),
            designed_in=list(one.design.value) if one.design else [],
            made_in=list(one.make.value) if one.make else [],
        )


def _figure(value: float, source: str) -> FigureOut:
    known = catalogue().sources[source]
    return FigureOut(value=value, source=known.title, confidence=known.confidence)
