"""Which engines are here: Slurm, Kubernetes, Ray, else this machine alone."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from mosu.site_agent.detection.cards import accelerator_of, cards_here
from mosu.site_agent.detection.tools import said_by
from mosu.wire.agent import DeviceInfo, NodeInfo

RAY_ADDRESS: Final = "http://127.0.0.1:8265"
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_UNITS: Final = {
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
}


@dataclass(slots=True)
class Found:
    """An engine that is here, what told so, and its nodes; `unnamed`: cards whose accelerator nobody knows."""

    engine: str
    told_by: str
    nodes: list[NodeInfo] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    """What the engine's table of settings needs to know of it."""

    def add(
        self,
        name: str,
        *,
        cores: int,
        memory_bytes: int,
        cards: Iterable[tuple[int, str]] = (),
        disk_bytes: int = 0,
    ) -> None:
        """A node with its cards by index and product."""
        devices = []
        for index, product in cards:
            accelerator = accelerator_of(product)
            if accelerator is None:
                self.unnamed.append(f"{name}: {product}")
            else:
                devices.append(DeviceInfo(index=index, accelerator=accelerator))
        self.nodes.append(
            NodeInfo(
                name=name,
                cores=cores,
                memory_bytes=memory_bytes,
                disk_bytes=disk_bytes,
                devices=tuple(devices),
            )
        )


def engines_here() -> list[Found]:
    """Every engine that answers, a cluster's scheduler before this machine alone."""
    return [found for look in LOOKS.values() if (found := look()) is not None]


def slurm_here() -> Found | None:
    """By `sinfo`: nodes that are not down, their cards as Slurm counts them (GRES `gpu:TYPE:N`)."""
    said = said_by("sinfo", "--noheader", "--Node", "--format=%N|%c|%m|%G|%t")
    if said is None:
        return None
    found = Found("slurm", "sinfo")
    rows = {line.split("|")[0]: line.split("|") for line in said.splitlines() if line.count("|") == 4}
    for name, cores, memory_mib, gres, state in rows.values():  # a node of two partitions is listed twice
        if state.rstrip("*~#!%$@^-+") in {"down", "drain", "drng", "fail", "unk", "inval"} or "*" in state:
            found.faults.append(f"{name}: {state}")
            continue
        cards = enumerate(product for _, product, count in _gres(gres) for _ in range(count))
        found.add(name, cores=int(cores), memory_bytes=int(memory_mib.rstrip("+")) << 20, cards=cards)
        _know(found, {product: f"{kind}:{product}" for kind, product, _ in _gres(gres)})
    return found


def _know(found: Found, resources: Mapping[str, str]) -> None:
    """Note by which of the engine's resources an accelerator is asked for; `resources`: by product."""
    for product, resource in resources.items():
        accelerator = accelerator_of(product)
        if accelerator is not None:
            found.options.setdefault("accelerators", {})[accelerator] = resource


def _gres(text: str) -> Iterator[tuple[str, str, int]]:
    """`gpu:a100:8(S:0-1),npu:910B2:8` as kinds and products with their counts."""
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        words = part.split(":")
        if words[0] in {"gpu", "npu", "dcu", "mlu"} and words[-1].isdigit():
            yield words[0], (words[1] if len(words) == 3 else words[0]), int(words[-1])


_CARDS_OF_KUBERNETES: Final[Mapping[str, tuple[str, ...]]] = {
    "nvidia.com/gpu": ("nvidia.com/gpu.product",),
    "amd.com/gpu": ("amd.com/gpu.product-name",),
    "huawei.com/Ascend910": ("node.kubernetes.io/npu.chip.name",),
    "huawei.com/Ascend310P": ("node.kubernetes.io/npu.chip.name",),
    "hygon.com/dcu": ("hygon.com/dcu.product",),
    "cambricon.com/mlu": ("cambricon.com/mlu.product",),
    "metax-tech.com/gpu": ("metax-tech.com/gpu.product",),
    "iluvatar.com/gpu": ("iluvatar.com/gpu.product",),
}
"""By the resource that a vendor's device plugin offers: the labels that name its product."""


def kubernetes_here() -> Found | None:
    """By kubectl with the kubeconfig that it uses, or by the API server's address inside a pod."""
    said = said_by("kubectl", "get", "nodes", "--output=json", "--request-timeout=5s")
    told_by = "kubectl"
    if said is None:
        said, told_by = _nodes_in_cluster(), "the service account of this pod"
    data = _json(said)
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        return None
    found = Found("kubernetes", told_by)
    for item in data["items"]:
        name, labels = item["metadata"]["name"], item["metadata"].get("labels", {})
        there = item["status"].get("allocatable", {})
        ready = {one["type"]: one["status"] for one in item["status"].get("conditions", ())}.get("Ready")
        if ready != "True" or item.get("spec", {}).get("unschedulable"):
            found.faults.append(f"{name}: {'unschedulable' if ready == 'True' else 'not ready'}")
            continue
        products = [
            next((labels[label] for label in names if label in labels), resource)
            for resource, names in _CARDS_OF_KUBERNETES.items()
            for _ in range(int(there.get(resource, 0)))
        ]
        found.add(
            name,
            cores=int(_quantity(there.get("cpu", "0"))),
            memory_bytes=int(_quantity(there.get("memory", "0"))),
            disk_bytes=int(_quantity(there.get("ephemeral-storage", "0"))),
            cards=enumerate(products),
        )
        named = {
            resource: labels.get(label) for resource, names in _CARDS_OF_KUBERNETES.items() for label in names
        }
        _know(
            found, {product: resource for resource, product in named.items() if product and resource in there}
        )
    return found


def _nodes_in_cluster() -> str | None:
    host, token = os.environ.get("KUBERNETES_SERVICE_HOST"), _SERVICE_ACCOUNT / "token"
    if not host or not token.is_file():
        return None
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    address = f"[{host}]" if ":" in host else host
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    return _fetched(
        f"https://{address}:{port}/api/v1/nodes", headers=headers, verify=str(_SERVICE_ACCOUNT / "ca.crt")
    )


def _quantity(text: str) -> float:
    """A quantity of Kubernetes: `7910m`, `65536Ki`, `3`."""
    if text.endswith("m"):
        return int(text[:-1]) / 1000
    number = re.match(r"[\d.]+", text)
    return float(number[0]) * _UNITS.get(text[number.end() :], 1) if number else 0.0


def ray_here(address: str = "") -> Found | None:
    """By the head's dashboard: where RAY_API_SERVER_ADDRESS says, else on this machine."""
    url = (address or os.environ.get("RAY_API_SERVER_ADDRESS", RAY_ADDRESS)).rstrip("/")
    version = _json(_fetched(f"{url}/api/version"))
    if not isinstance(version, dict) or "ray_version" not in version:
        return None
    found = Found("ray", url, options={} if url == RAY_ADDRESS else {"address": url})
    listed = _json(_fetched(f"{url}/api/v0/nodes?detail=1"))
    try:
        rows = listed["data"]["result"]["result"]
    except (KeyError, TypeError):
        return found
    for row in rows:
        there: dict[str, Any] = row.get("resources_total") or {}
        name = row.get("node_name") or row["node_id"]
        if row.get("state") != "ALIVE":
            found.faults.append(f"{name}: {str(row.get('state')).lower()}")
            continue
        kinds = [key.partition(":")[2] for key in there if key.startswith("accelerator_type:")]
        product = kinds[0] if len(kinds) == 1 else "GPU"
        resource = "NPU" if there.get("NPU") else "GPU"
        count = int(there.get(resource, 0))
        _know(found, {product: resource if len(rows) == 1 else f"{resource}:{product}"} if count else {})
        found.add(
            name,
            cores=int(there.get("CPU", 0)),
            memory_bytes=int(there.get("memory", 0)),
            cards=((index, product) for index in range(count)),
        )
    return found


def machine_here() -> Found:
    """This machine: all its cores and memory, and the cards that a vendor's tool lists."""
    cards = cards_here()
    found = Found("local", cards[0].tool if cards else "this machine")
    found.add(
        re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename)[:63] or "local",
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cards=((card.index, card.product) for card in cards if not card.fault),
    )
    found.faults += [f"{card.product} {card.index}: {card.fault}" for card in cards if card.fault]
    return found


def _fetched(url: str, *, headers: Mapping[str, str] | None = None, verify: str | bool = True) -> str | None:
    try:
        answer = httpx.get(url, headers=dict(headers or {}), verify=verify, timeout=5.0, trust_env=False)
    except (httpx.HTTPError, OSError):
        return None
    return answer.text if answer.is_success else None


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


LOOKS: Final[Mapping[str, Callable[[], Found | None]]] = {
    "slurm": slurm_here,
    "kubernetes": kubernetes_here,
    "ray": ray_here,
    "local": machine_here,
}
"""By engine: how it is looked for."""
