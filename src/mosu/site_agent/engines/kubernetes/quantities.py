"""Kubernetes' notation of amounts: `500m`, `16Gi`, `2e3`."""

from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

_FACTORS: Final = MappingProxyType(
    {"m": Decimal("0.001"), "k": Decimal(1000)}
    | {suffix: Decimal(1000) ** power for power, suffix in enumerate("MGTPE", start=2)}
    | {f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)}
)


def number_of(text: str) -> Decimal:
    """The amount; 0 for what is none."""
    for length in (2, 1):
        factor = _FACTORS.get(text[-length:])
        if factor is not None:
            return _decimal(text[:-length]) * factor
    return _decimal(text)


def cores_of(text: str) -> int:
    """Whole cores: a part of one is not sold."""
    return int(number_of(text))


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)
