"""A hundred thousand offers as hubs have them: suppliers with pools, real accelerators, prices to match; by COPY."""

# ruff: noqa: PLC0415, S311 - Django is set up before these are called; made-up figures need no secrecy
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.seeded.rows import Ids, Table

SUPPLIERS: Final = 200
POOLS: Final = 200
CARD_NODES: Final = 4
_GIB: Final = 1 << 30

_REGIONS: Final = (
    ("shanghai-xuhui", "上海徐汇", "Shanghai Xuhui"),
    ("shanghai-pudong", "上海浦东", "Shanghai Pudong"),
    ("beijing", "北京", "Beijing"),
    ("shenzhen", "深圳", "Shenzhen"),
    ("hangzhou", "杭州", "Hangzhou"),
    ("guizhou-guian", "贵州贵安", "Guizhou Gui'an"),
    ("inner-mongolia", "内蒙古和林格尔", "Inner Mongolia Horinger"),
    ("gansu-qingyang", "甘肃庆阳", "Gansu Qingyang"),
    ("ningxia-zhongwei", "宁夏中卫", "Ningxia Zhongwei"),
    ("chengdu", "成都", "Chengdu"),
    ("wuhan", "武汉", "Wuhan"),
    ("guangzhou", "广州", "Guangzhou"),
)
_PLACES: Final = (
    "云汉",
    "星河",
    "东数",
    "临港",
    "智算",
    "天穹",
    "长江",
    "华东",
    "海纳",
    "青云",
    "百川",
    "万象",
)
_ENDS: Final = ("科技", "算力", "数据", "智能", "云计算", "信息", "网络", "集群", "超算", "未来")
_MODES: Final = (
    ("on_demand", "按需", "on demand"),
    ("reserved", "包月", "reserved"),
    ("spot", "竞价", "spot"),
)
_USES: Final = ("训练", "推理", "微调", "多机多卡", "低时延推理", "大模型预训练", "")


@dataclass(frozen=True, slots=True)
class Filled:
    """What was put in."""

    offers: int
    pools: Sequence[UUID]
    seconds: float


def fill(owner_dsn: str, *, offers: int, now: datetime, seed: int = 20261122) -> Filled:
    """`offers` listed offers of `SUPPLIERS` suppliers with `POOLS` live pools, all by COPY with every trigger on."""
    from mosu.compute.models import Device, Node, Pool
    from mosu.market.models import Offer, OfferPrice
    from mosu.platform.models import AuditRecord, Organisation

    chance = random.Random(seed)
    ids = Ids(chance)
    began = datetime.now(UTC)
    suppliers = _suppliers(chance, ids, now)
    pools = _pools(chance, ids, [key for key, _ in suppliers], now)
    with psycopg.connect(owner_dsn) as connection:
        _copy(connection, Organisation, _ORGANISATION, (row for _, row in suppliers))
        _copy(
            connection,
            AuditRecord,
            _AUDIT,
            (_audit(ids, key, "active", now) for key, _ in suppliers),
        )
        _copy(connection, AuditRecord, _AUDIT, (_audit(ids, pool.id, "open", now) for pool in pools))
        _copy(connection, Pool, _POOL, (pool.row for pool in pools))
        nodes = [(pool, node) for pool in pools for node in pool.nodes]
        _copy(connection, AuditRecord, _AUDIT, (_audit(ids, row[0], "up", now) for _, row in nodes))
        _copy(connection, Node, _NODE, (row for _, row in nodes))
        _copy(connection, Device, _DEVICE, (row for pool in pools for row in pool.devices))
        made = list(_offers(chance, ids, pools, offers, now))
        _copy(
            connection,
            AuditRecord,
            _AUDIT,
            (_audit(ids, row[0], "listed", now) for row, _ in made),
        )
        _copy(connection, Offer, _OFFER, (row for row, _ in made))
        _copy(connection, OfferPrice, _PRICE, (row for _, row in made))
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("analyze")
    return Filled(offers, [pool.id for pool in pools], (datetime.now(UTC) - began).total_seconds())


def keep_alive(owner_dsn: str) -> None:
    """As if every pool's agent had just been heard."""
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("update compute_pool set last_seen_at = now() where engine = 'bench'")


@dataclass(frozen=True, slots=True)
class _Pool:
    id: UUID
    supplier_id: UUID
    accelerator: str | None
    region: tuple[str, str, str]
    row: tuple[Any, ...]
    nodes: Sequence[tuple[Any, ...]]
    devices: Sequence[tuple[Any, ...]]


def _suppliers(chance: random.Random, ids: Ids, now: datetime) -> list[tuple[UUID, tuple[Any, ...]]]:
    found = []
    for number in range(SUPPLIERS):
        key = ids.at(now)
        name = f"{chance.choice(_PLACES)}{chance.choice(_ENDS)}有限公司 {number}"
        found.append((key, (key, name, "company", ["supplier"], "active", now)))
    return found


def _pools(chance: random.Random, ids: Ids, suppliers: Sequence[UUID], now: datetime) -> list[_Pool]:
    from mosu.compute.accelerators import catalogue

    cards = sorted(catalogue().accelerators)
    found = []
    for number in range(POOLS):
        key, region = ids.at(now), chance.choice(_REGIONS)
        accelerator = None if number % 8 == 0 else cards[number % len(cards)]
        nodes, devices = [], []
        for node in range(CARD_NODES):
            node_id = ids.at(now)
            shape = (128, 1024 * _GIB)
            nodes.append((node_id, key, f"n{node}", "up", *shape, 4096 * _GIB, now, *shape, "fit"))
            if accelerator:
                devices += [(ids.at(now), node_id, index, accelerator, True) for index in range(8)]
        row = (key, suppliers[number % len(suppliers)], f"pool-{number}", region[0], "open", now,
               f"bench-{number}", now, "bench", "bench", "bench", True,
               Jsonb([{"name": "bench", "python": "3", "packages": []}]), 0.0, now, now)  # fmt: skip
        found.append(_Pool(key, row[1], accelerator, region, row, nodes, devices))
    return found


def _offers(
    chance: random.Random, ids: Ids, pools: Sequence[_Pool], count: int, now: datetime
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    from mosu.compute.accelerators import catalogue

    for number in range(count):
        pool = chance.choice(pools)
        card = catalogue().accelerators[pool.accelerator] if pool.accelerator else None
        mode, mode_zh, mode_en = chance.choices(_MODES, weights=(6, 3, 1))[0]
        per_node = chance.choice((1, 2, 4, 8, 8)) if card else None
        tflops = card.compared_by.tflops if card and card.compared_by else 150.0
        price = max(50_000, round(tflops * chance.lognormvariate(0, 0.45) * 34_000)) if card else 300_000
        code, region_zh, region_en = pool.region
        use = chance.choice(_USES)
        what_zh, what_en = ((card.zh or card.name), card.name) if card else ("处理器核", "CPU cores")
        attributes: dict[str, Any] = {
            "accelerator": pool.accelerator,
            "region": code,
            "mode": mode,
            "kind": "card_hours" if card else "core_hours",
            "domestic": bool(card and card.design and card.design.value == ("CN",)),
        }
        if per_node:
            attributes["count"] = per_node
        key, at = ids.at(now), now - timedelta(seconds=chance.randrange(90 * 86_400))
        offer = (key, pool.supplier_id, "compute", pool.id,
                 f"{what_zh} {per_node or ''}卡 {region_zh} {mode_zh} {use} {number % 997} 组",
                 f"{what_en} x{per_node or 1} {region_en} {mode_en} group {number % 997}",
                 Jsonb(attributes), 600, chance.random() < 0.8, 1, per_node or 128, 86_400 * chance.choice((1, 7, 30)),
                 "hub", 0, "", "listed", at)  # fmt: skip
        meter, unit = ("card_second", "card_hour") if card else ("core_second", "core_hour")
        yield offer, (ids.at(now), key, meter, unit, 3600, price, at)


_ORGANISATION: Final = ("id", "name", "kind", "capabilities", "state", "created_at")
_POOL: Final = (
    "id", "organisation_id", "name", "region", "state", "created_at", "token_sha256", "token_made_at", "engine",
    "agent_version", "sandbox", "sandbox_ok", "environments", "clock_skew_s", "registered_at", "last_seen_at",
)  # fmt: skip
_NODE: Final = (
    "id", "pool_id", "name", "state", "cores", "memory_bytes", "disk_bytes", "created_at",
    "cores_published", "memory_bytes_published", "fitness",
)  # fmt: skip
_DEVICE: Final = ("id", "node_id", "index", "accelerator", "present")
_OFFER: Final = (
    "id", "supplier_id", "shelf", "subject_id", "title_zh", "title_en", "attributes", "tax_rate_bp", "tax_included",
    "min_units", "max_units", "wall_s_max", "sold_by", "fee_bp", "source", "state", "created_at",
)  # fmt: skip
_PRICE: Final = ("id", "offer_id", "meter", "unit", "per", "unit_price_micros", "valid_from")
_AUDIT: Final = (
    "id", "at", "actor_kind", "actor_label", "action", "subject_id", "after", "why", "facts",
)  # fmt: skip


def _audit(ids: Ids, subject_id: UUID, after: str, now: datetime) -> tuple[Any, ...]:
    return ids.at(now), now, "system", "mosu", "bench.fill", subject_id, after, "", Jsonb({})


def _copy(
    connection: psycopg.Connection[Any], model: type[Any], columns: Sequence[str], rows: Iterable[Any]
) -> None:
    table = Table(connection, model, columns)
    for row in rows:
        table.add(*row)
    table.flush()
