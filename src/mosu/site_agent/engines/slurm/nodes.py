"""What of a cluster may be sold: its nodes as Slurm shows them."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from mosu.site_agent.engines.cards import devices_of
from mosu.wire.agent import DeviceInfo, NodeInfo

_UP: Final = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING", "PLANNED"})
_KEPT: Final = frozenset(
    {
        *(
            "DOWN",
            "DRAIN",
            "FAIL",
            "FAILING",
            "MAINTENANCE",
            "MAINT",
            "NOT_RESPONDING",
            "INVAL",
            "INVALID_REG",
        ),
        *(
            "POWERED_DOWN",
            "POWERING_DOWN",
            "POWERING_UP",
            "POWER_DOWN",
            "POWER_UP",
            "REBOOT",
            "REBOOT_REQUESTED",
        ),
        *("REBOOT_ISSUED", "RESERVED", "UNKNOWN", "FUTURE"),
    }
)
_GRES: Final = re.compile(
    r"([A-Za-z0-9_]+)(?::([A-Za-z0-9_.-]*[A-Za-z_.-][A-Za-z0-9_.-]*))?(?::([0-9]+))?(?:\(.*\))?"
)
_MIB: Final = 1 << 20


def nodes_from(
    shown: Sequence[Mapping[str, str]], *, accelerators: Mapping[str, str], disk_bytes: int
) -> tuple[NodeInfo, ...]:
    """The nodes that take jobs. Of `accelerators`, ids to GRES, each node has what its `Gres` counts.

    The working folders lie on one file system, so each node has an equal part of its `disk_bytes`.
    """
    up = [node for node in shown if _takes_jobs(node.get("State", ""))]
    return tuple(
        NodeInfo(
            name=node["NodeName"],
            cores=int(node.get("CPUEfctv") or node["CPUTot"]),
            memory_bytes=max(0, int(node["RealMemory"]) - int(node.get("MemSpecLimit", 0))) * _MIB,
            disk_bytes=disk_bytes // len(up),
            devices=_devices_of(node.get("Gres", ""), accelerators),
        )
        for node in up
    )


def _takes_jobs(state: str) -> bool:
    """A state such as `MIXED+PLANNED` or `IDLE*` (which does not respond)."""
    words = set(state.rstrip("*~#!%$@^-").split("+"))
    return not state.endswith("*") and bool(words & _UP) and not words & _KEPT


def _devices_of(gres: str, accelerators: Mapping[str, str]) -> tuple[DeviceInfo, ...]:
    """Cards in the order of the settings, numbered through: Slurm chooses which of them a job gets."""
    counts = _counts_of(gres)
    return devices_of({kind: counts.get(wanted, 0) for kind, wanted in accelerators.items()})


def _counts_of(gres: str) -> dict[str, int]:
    """`gpu:ascend910b:8(S:0-1),seat:4` as counts by `gpu:ascend910b`, by `gpu` and by `seat`."""
    counts: dict[str, int] = {}
    for part in re.split(r",(?![^(]*\))", gres):
        match = _GRES.fullmatch(part)
        if match is None:
            continue
        name, kind, count = match[1], match[2], int(match[3] or 1)
        for key in {name, f"{name}:{kind}" if kind else name}:
            counts[key] = counts.get(key, 0) + count
    return counts
