"""What compute sells, as the catalogue searches it: an offer's attributes read with the accelerators' figures."""

from collections.abc import Mapping
from typing import Any, Final

from mosu.compute.accelerators import Accelerator, card_named, catalogue, memory_of, share_told
from mosu.market.shelves import Facet, FacetValue, Goods
from mosu.wire.shares import Kind, kind_of

CORES: Final = "core_second"
CARDS: Final = "card_second"

FACETS: Final = (
    Facet("accelerator", "加速卡", "Accelerator"),
    Facet("vendor", "厂商", "Vendor"),
    Facet("country", "设计国家", "Designed in"),
    Facet("memory_gb", "单卡显存", "Memory of a card", is_number=True),
    Facet("count", "每节点卡数", "Cards per node", is_number=True),
    Facet("share", "整卡或切分", "Whole card or share"),
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
    """Attributes: `accelerator` (an id or a share's kind, or none for cores), `memory_gb` of it, `count` per node.

    A share is found where its card is, is worth its part of it, and is stock of its own. What the offer does not say
    of its card the accelerator's own figures do; what neither says is unknown.
    """
    key = str(attributes.get("accelerator") or "")
    if not key:
        words = ("处理器 核 CPU cores", *_domestic(attributes))
        return Goods(key="", meter=CORES, facets={"accelerator": _CORES}, words=words)
    card, kind = card_named(key), kind_of(key)
    code = kind.accelerator
    memory = _number(attributes.get("memory_gb"), "GB")
    values = {
        "accelerator": FacetValue(
            code, (card.zh or card.name) if card else code, card.name if card else code
        ),
        "vendor": FacetValue(card.vendor, card.vendor, card.vendor) if card else None,
        "country": _country(card),
        "memory_gb": memory or _number(memory_of(key), "GB"),
        "count": _number(attributes.get("count"), ""),
        "share": _share(kind),
    }
    compute = card.compared_by if card else None
    return Goods(
        key=key,
        meter=CARDS,
        facets={name: value for name, value in values.items() if value is not None},
        words=(*_words(code, card), *_domestic(attributes)),
        worth=compute.tflops / 1000 / kind.shares if compute else None,
        told=share_told(key, memory_gb=memory.number if memory else None),
    )


def _share(kind: Kind) -> FacetValue:
    """Which part of a card; one that others reach into is told apart from one that is its own."""
    if kind.shares == 1:
        return FacetValue("1", "整卡", "Whole card", 1.0)
    part = f"1/{kind.shares}"
    if kind.shared:
        return FacetValue(
            f"{part}-shared", f"{part} 卡（显存不隔离）", f"{part}, without isolation", 1 / kind.shares
        )
    return FacetValue(part, f"{part} 卡", part, 1 / kind.shares)


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


def _number(value: object, unit: str) -> FacetValue | None:
    """A number that is one; an offer's attributes are what its supplier wrote."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**6:
        return None
    text = f"{value:g}"
    shown = f"{text} {unit}".strip()
    return FacetValue(text, shown, shown, float(value))
