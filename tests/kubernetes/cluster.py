"""The fake cluster put together: two nodes, Kueue with one ClusterQueue, a shared volume, a kubeconfig."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.kubernetes.fake_controllers import Controllers
from tests.kubernetes.fake_server import TOKEN, Store, serving

from mosu.sandbox.starter import find_bwrap

IMAGE = "registry.example.org/python@sha256:" + "0" * 64
NODES = ("n1", "n2")
CARD = "ascend-910b2"
CLASS = "fast"
HOME = ("/api/v1/namespaces", "", "kube-system")
"""Whose uid says which cluster it is."""


@dataclass
class FakeCluster:
    store: Store
    controllers: Controllers
    volume: Path
    kubeconfig: Path

    def options(self, **changes: Any) -> Mapping[str, Any]:
        found = {
            "folder": str(self.volume),
            "volume": {"nfs": {"server": "nfs.example.org", "path": "/pool"}},
            "images": {"python": {"image": IMAGE}},
            "cluster_queue": "pool",
            "kubeconfig": str(self.kubeconfig),
        }
        return {**found, **changes}

    @contextmanager
    def away(self) -> Iterator[None]:
        """The server does not answer; what runs, runs on."""
        self.store.away = True
        self.store.break_watches()
        try:
            yield
        finally:
            self.store.away = False


@contextmanager
def fake_cluster(folder: Path) -> Iterator[FakeCluster]:
    store, volume, scratch = Store(), folder / "volume", folder / "kubelet"
    for made in (volume, scratch):
        made.mkdir(mode=0o755)
        made.chmod(0o755)
    for name in NODES:
        store.create(("/api/v1/nodes", "", name), _node(name))
    queue = {"kind": "ClusterQueue", "metadata": {"name": "pool"}}
    store.create(("/apis/kueue.x-k8s.io/v1beta2/clusterqueues", "", "pool"), queue)
    store.create(HOME, {"kind": "Namespace", "metadata": {"name": HOME[2]}})
    provides = {"kind": "StorageClass", "metadata": {"name": CLASS}, "reclaimPolicy": "Delete"}
    store.create(("/apis/storage.k8s.io/v1/storageclasses", "", CLASS), provides)
    bwrap = find_bwrap(folder / "tools")
    with (
        serving(store) as address,
        Controllers(store, volume=volume, scratch=scratch, bwrap=bwrap) as controllers,
    ):
        store.dial = controllers.dial
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(kubeconfig_for(address))
        yield FakeCluster(store, controllers, volume, kubeconfig)


def kubeconfig_for(address: str, **cluster: str) -> str:
    return yaml.safe_dump(
        {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "agent"}}],
            "clusters": [{"name": "test", "cluster": {"server": address, **cluster}}],
            "users": [{"name": "agent", "user": {"token": TOKEN}}],
        }
    )


def _node(name: str) -> dict[str, Any]:
    amounts = {"cpu": "7910m", "memory": "32Gi", "ephemeral-storage": "100Gi", "huawei.com/Ascend910B2": "2"}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]},
    }
