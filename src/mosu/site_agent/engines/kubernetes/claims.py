"""Volumes of buyers on Kubernetes: a PersistentVolumeClaim for each, in its organisation's namespace.

What is there and who uses it the server alone knows, so an agent that comes back knows as much as the one before it.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

from mosu.site_agent.engines.kubernetes.api import KubernetesApi, KubernetesAway, Object, Refused
from mosu.site_agent.engines.kubernetes.manifests import (
    ATTEMPT,
    KEEPS,
    MANAGED,
    SELECTOR,
    VOLUME,
    WRITES,
    Item,
    Right,
    claim_item,
    use_label_of,
)
from mosu.site_agent.engines.kubernetes.options import KubernetesOptions
from mosu.site_agent.files import read_json_if_whole, write_durably
from mosu.wire.agent import AttemptSpec, VolumeSpec

_CLAIMS: Final = "/api/v1/persistentvolumeclaims"
_CLUSTER: Final = "/api/v1/namespaces/kube-system"
"""There in every cluster, made with it: its uid is the cluster's."""
_CLASSES: Final = "/apis/storage.k8s.io/v1/storageclasses"
_NO_RIGHT: Final = (
    "No volumes are sold: the agent may not keep claims. Give it what volumes need "
    "(docs/reference/engines-kubernetes.md), and start it again."
)


class Claims:
    """Those of one pool. `may` asks whether the agent has these rights.

    In another cluster all volumes would seem to be gone, and runs would find new ones that are empty. So the file
    `memory` keeps which it is. Size, and what becomes of the bytes, is the storage class's to hold: nothing here looks
    into a volume.
    """

    def __init__(
        self,
        api: KubernetesApi,
        options: KubernetesOptions,
        *,
        room_gb: int,
        may: Callable[[Sequence[Right]], bool],
        memory: Path,
    ) -> None:
        self._api, self._options, self._room_gb, self._may = api, options, room_gb, may
        self._memory, self._is_home = memory, False
        self._suits = False
        self._guard = threading.Lock()
        self._works = False
        self._gone: set[str] = set()

    @property
    def room_gb(self) -> int:
        return 0 if self.unkept else self._room_gb

    @property
    def unkept(self) -> str:
        """Asked until it is well, and then no more: a class that goes afterwards is told by the runs that need it."""
        if self._suits:
            return ""
        try:
            if not self._may(KEEPS):
                return _NO_RIGHT
            self._check_cluster()
            why = self._why_unfit()
        except KubernetesAway as away:
            return f"No volumes are sold: Kubernetes does not answer: {away}"
        except Refused as refusal:
            return f"No volumes are sold: the server refuses the agent: {refusal.said}"
        except OSError as error:
            return f"No volumes are sold: the shared folder cannot be used: {error.strerror}"
        self._suits = not why
        return f"No volumes are sold: {why}" if why else ""

    def items(self, spec: AttemptSpec, namespace: str) -> list[Item]:
        return [claim_item(volume, namespace, self._options) for volume in spec.volumes]

    def lay(self, spec: AttemptSpec, namespace: str) -> None:
        """Have a claim for each of the attempt's volumes; those that are there stay as they are.

        Raises:
            KubernetesAway: laying them again is safe.
            Refused: the server makes none, what has the name is not this volume, or it is another cluster.
            OSError: the shared folder fails; laying them again is safe.
        """
        self._check_cluster()
        for volume, item in zip(spec.volumes, self.items(spec, namespace), strict=True):
            found = self._api.get(item.path)
            if found is None:
                if why := self._why_unfit():
                    raise Refused(404, why)
                if self._api.create(item.collection, item.manifest):
                    continue
                found = self._api.get(item.path) or {"metadata": {}}
            if why := _why_unusable(found, volume):
                raise Refused(409, why)

    def are_used(self, spec: AttemptSpec, namespace: str) -> bool:
        """Whether another attempt has one of the volumes: the hub lets one write at a time, and this holds also for an
        attempt that the hub thinks lost.

        Raises:
            KubernetesAway, Refused: who has them is not known.
        """
        return any(
            self._conflicts(item, use_label_of(volume.volume_id), volume, spec)
            for volume in spec.volumes
            for kind in (
                f"/apis/batch/v1/namespaces/{namespace}/jobs",
                f"/api/v1/namespaces/{namespace}/pods",
            )
            for item in self._listed(kind, f"{SELECTOR},{use_label_of(volume.volume_id)}")
        )

    def unbound(self, paths: Collection[str]) -> str:
        """The first of these claims that has no volume yet, and what it says instead; empty where all have.

        Raises:
            KubernetesAway, Refused: it could not be asked.
        """
        for path in paths:
            name, claim = path.rpartition("/")[2], self._api.get(path)
            if claim is None:
                return f"The claim {name} is gone."
            phase = claim.get("status", {}).get("phase", "Pending")
            if phase != "Bound":
                return f"The claim {name} stays {phase}."
        return ""

    def delete(self, volume_ids: Collection[str]) -> tuple[str, ...]:
        """Set about deleting these; those whose claims are gone. While a pod uses one the server keeps it, and so it
        does what its storage does not give up: they are asked for again."""
        with self._guard:
            told = tuple(volume_id for volume_id in volume_ids if volume_id in self._gone)
            left = [volume_id for volume_id in volume_ids if volume_id not in self._gone]
            self._gone.clear()  # what has been told is looked at anew if it is named again
            if left and not self._works:
                self._works = True
                # A server that says nothing takes its time; heartbeats must go on meanwhile.
                threading.Thread(target=self._delete, args=(left,), name="delete", daemon=True).start()
        return told

    def _delete(self, volume_ids: Sequence[str]) -> None:
        gone: set[str] = set()
        try:
            self._check_cluster()
            found = self._listed(_CLAIMS, f"{SELECTOR},{VOLUME} in ({','.join(volume_ids)})")
            for claim in found:
                if self._is_ours(claim) and "deletionTimestamp" not in claim["metadata"]:
                    self._delete_one(claim["metadata"])
            gone = set(volume_ids) - {claim["metadata"]["labels"][VOLUME] for claim in found}
        except (KubernetesAway, Refused, OSError):
            pass  # what could not be asked is taken to be there still
        finally:
            with self._guard:
                self._gone |= gone
                self._works = False

    def _check_cluster(self) -> None:
        """
        Raises:
            KubernetesAway: it could not be asked.
            Refused: volumes were kept in another one.
            OSError: the shared folder, which knows, fails.
        """
        if self._is_home:
            return
        found = self._api.get(_CLUSTER)
        if found is None:
            raise KubernetesAway(f"there is no {_CLUSTER}")
        cluster = str(found["metadata"]["uid"])
        kept = read_json_if_whole(self._memory) or {"cluster": cluster}
        if kept["cluster"] != cluster:
            raise Refused(409, "This is not the cluster in which volumes were kept.")
        write_durably(self._memory, kept)
        self._is_home = True

    def _delete_one(self, metadata: Object) -> None:
        path = f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims/{metadata['name']}"
        try:
            self._api.delete(path, uid=str(metadata["uid"]))
        except Refused:
            return  # the others are not held up by one

    def _is_ours(self, claim: Object) -> bool:
        """Not of another agent's organisations, if it has our labels; what is elsewhere is not said to be gone."""
        return str(claim["metadata"]["namespace"]).startswith(self._options.namespace_prefix)

    def _listed(self, path: str, selector: str) -> Sequence[Any]:
        found = self._api.get(path, labelSelector=selector)
        if found is None:
            raise KubernetesAway(f"there is no {path}")
        return list(found["items"])

    def _conflicts(self, item: Object, label: str, volume: VolumeSpec, spec: AttemptSpec) -> bool:
        metadata = item["metadata"]
        if metadata["labels"].get(ATTEMPT) == spec.attempt_id or _has_ended(item):
            return False
        shared = self._options.volumes_access_mode == "ReadWriteMany"
        return volume.writes or metadata["labels"][label] == WRITES or not shared

    def _why_unfit(self) -> str:
        """Why the storage class is no place for volumes; empty where it is one."""
        name = self._options.volumes_storage_class
        found = self._api.get(f"{_CLASSES}/{name}")
        if found is None:
            return f"There is no StorageClass {name!r}."
        if found.get("reclaimPolicy", "Delete") != "Delete":
            return f"What is deleted of StorageClass {name!r} stays on its disks: its reclaimPolicy is not Delete."
        return ""


def _why_unusable(claim: Object, volume: VolumeSpec) -> str:
    """Of a claim that has a volume's name."""
    metadata = claim["metadata"]
    labels = metadata.get("labels", {})
    if labels.get(MANAGED) != "mosu" or labels.get(VOLUME) != volume.volume_id:
        return "A claim that is not mosu's has the name of the volume."
    if "deletionTimestamp" in metadata:
        return "The volume is being deleted."
    if claim.get("status", {}).get("phase") == "Lost":
        return "What the volume held is lost: its storage is gone."
    return ""


def _has_ended(item: Object) -> bool:
    """Of a Job or a pod: nothing of it runs or will."""
    status = item.get("status", {})
    if status.get("phase") in {"Succeeded", "Failed"}:
        return True
    return any(
        one["type"] in {"Complete", "Failed"} and one["status"] == "True"
        for one in status.get("conditions") or ()
    )
