"""What compute sells, as the catalogue searches it: an offer's attributes read with the accelerators' figures."""

from collections.abc import Mapping
from typing import Any, Final

from mosu.compute.accelerators import Accelerator, catalogue
from mosu.market.shelves import Facet, FacetValue, Goods

CORES: Final = "core_second"
CARDS: Final = "card_second"

FACETS: Final = (
    Facet("accelerator", "加速卡", "Accelerator"),
    Facet("vendor", "厂商", "Vendor"),
    Facet("country", "设计国家", "Designed in"),
    Facet("memory_gb", "单卡显存", "Memory of a card", is_number=True),
    Facet("count", "每节点卡数", "Cards per node", is_number=True),
)

_COUNTRIES: Final = {
    "CN": ("中国", "China"),
    "TW": ("中国台湾", "Taiwan, China"),
    "US": ("美国", "United States"),
    "KR": ("韩国", "South Korea"),
    "JP": ("日本", "Japan"),
    "GB": ("英国", "United Kingdom"),
    "CA": ("加拿大", "Canada"),
    "IL": ("以色列", "Israel"),
}
_CORES: Final = FacetValue("cores", "处理器核", "Processor cores")


def goods_of(attributes: Mapping[str, Any]) -> Goods:
    """Attributes: `accelerator` (an id, or none for cores), `memory_gb` of a card, `count` of cards per node.

    What the offer does not say of its card the accelerator's own figures do; what neither says is unknown.
    """
    key = str(attributes.get("accelerator") or "")
    if not key:
        words = ("处理器 核 CPU cores", *_domestic(attributes))
        return Goods(key="", meter=CORES, facets={"accelerator": _CORES}, words=words)
    card = catalogue().accelerators.get(key)
    values = {
        "accelerator": FacetValue(key, (card.zh or card.name) if card else key, card.name if card else key),
        "vendor": FacetValue(card.vendor, card.vendor, card.vendor) if card else None,
        "country": _country(card),
        "memory_gb": _number(attributes.get("memory_gb") or _memory_of(card), "GB"),
        "count": _number(attributes.get("count"), ""),
    }
    compute = card.compared_by if card else None
    return Goods(
        key=key,
        meter=CARDS,
        facets={name: value for name, value in values.items() if value is not None},
        words=(*_words(key, card), *_domestic(attributes)),
        worth=compute.tflops / 1000 if compute else None,
    )


def _words(key: str, card: Accelerator | None) -> tuple[str, ...]:
    if card is None:
        return (key,)
    families = catalogue().families.get(key, ())
    countries = [" ".join(_COUNTRIES.get(code, (code,))) for code in card.design.value] if card.design else []
    return (card.name, card.zh, card.vendor, *card.aliases, *families, *countries)


def _domestic(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    return ("国产 domestic",) if attributes.get("domestic") is True else ()


def _country(card: Accelerator | None) -> FacetValue | None:
    if card is None or card.design is None:
        return None
    code = card.design.value[0]
    return FacetValue(code, *_COUNTRIES.get(code, (code, code)))


def country_name(code: str) -> Mapping[str, str]:
    """A country (ISO 3166) in both languages."""
    zh, en = _COUNTRIES.get(code, (code, code))
    return {"zh": zh, "en": en}


def _memory_of(card: Accelerator | None) -> float | None:
    return card.memory_gb.value if card and card.memory_gb else None


def _number(value: object, unit: str) -> FacetValue | None:
    """A number that is one; an offer's attributes are what its supplier wrote."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**6:
        return None
    text = f"{value:g}"
    shown = f"{text} {unit}".strip()
    return FacetValue(text, shown, shown, float(value))
