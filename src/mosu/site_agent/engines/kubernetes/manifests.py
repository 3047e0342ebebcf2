"""What the engine asks Kubernetes for. Pure: from an attempt and the settings to objects."""

import base64
from dataclasses import asdict, dataclass
from typing import Any, Final

from mosu.site_agent.engines.kubernetes.options import KubernetesOptions
from mosu.wire.agent import AttemptSpec, VolumeSpec
from mosu.wire.ssh import SSH_USER

QUEUE: Final = "mosu"
"""The LocalQueue, service account, claim and network policy of each organisation's namespace."""
MANAGED: Final = "app.kubernetes.io/managed-by"
ATTEMPT: Final = "app.kubernetes.io/instance"
CARD_NOTE: Final = "mosu/card-resource"
"""Annotation of a Job: which of the resources that it asks for counts its cards."""
SELECTOR: Final = f"{MANAGED}=mosu"
VOLUME: Final = "mosu/volume"
"""Label of a claim: whose volume it is."""
WRITES: Final = "writes"
READS: Final = "reads"
STOP_GRACE_S_MAX: Final = 30
_SHM_SHARE: Final = 2
_MIB: Final = 1 << 20

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """An object and the collection that it is created in; its own address is that and its name."""

    collection: str
    manifest: Manifest

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.manifest['metadata']['name']}"


def name_of(attempt_id: str) -> str:
    """The Job of an attempt: ids have an underscore, which names may not."""
    return attempt_id.replace("_", "-")


def namespace_of(organisation_id: str, options: KubernetesOptions) -> str:
    return options.namespace_prefix + organisation_id.replace("_", "-")


def namespace_items(namespace: str, options: KubernetesOptions, *, kueue_version: str) -> list[Item]:
    """All that an organisation's namespace has before its first attempt, in the order of their making."""
    inside = f"/api/v1/namespaces/{namespace}"
    return [
        Item("/api/v1/namespaces", namespace_manifest(namespace)),
        Item(
            f"{inside}/serviceaccounts",
            _object("v1", "ServiceAccount", QUEUE, namespace, automountServiceAccountToken=False),
        ),
        Item(
            f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
            _object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                QUEUE,
                namespace,
                spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            ),
        ),
        Item("/api/v1/persistentvolumes", _volume(namespace, options)),
        Item(f"{inside}/persistentvolumeclaims", _claim(namespace)),
        Item(
            f"/apis/kueue.x-k8s.io/{kueue_version}/namespaces/{namespace}/localqueues",
            _object(
                f"kueue.x-k8s.io/{kueue_version}",
                "LocalQueue",
                QUEUE,
                namespace,
                spec={"clusterQueue": options.cluster_queue},
            ),
        ),
    ]


def namespace_manifest(namespace: str) -> Manifest:
    """One in which only pods without any privilege are let in."""
    found = _object("v1", "Namespace", namespace)
    for mode in ("enforce", "warn", "audit"):
        found["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] = "restricted"
    return found


def attempt_items(spec: AttemptSpec, options: KubernetesOptions) -> list[Item]:
    """What one attempt has beside its Job, to be made before it."""
    namespace, name = namespace_of(spec.organisation_id, options), name_of(spec.attempt_id)
    items = []
    if spec.secrets:
        secret = _object("v1", "Secret", name, namespace, type="Opaque", immutable=True)
        secret["data"] = {
            key: base64.b64encode(value.encode()).decode() for key, value in spec.secrets.items()
        }
        items.append(Item(f"/api/v1/namespaces/{namespace}/secrets", secret))
    if len(spec.nodes) > 1:
        policies = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        items.append(Item(policies, _among_ranks(spec, name, namespace)))
    return items


def claim_name_of(volume_id: str) -> str:
    return volume_id.replace("_", "-")


def use_label_of(volume_id: str) -> str:
    """Label of Jobs and pods: they write or read this volume."""
    return f"volume.mosu/{volume_id}"


def claim_item(volume: VolumeSpec, namespace: str, options: KubernetesOptions) -> Item:
    """A volume of a buyer's, of the size that was bought, in its organisation's namespace."""
    claim = _object("v1", "PersistentVolumeClaim", claim_name_of(volume.volume_id), namespace)
    claim["metadata"]["labels"][VOLUME] = volume.volume_id
    claim["spec"] = {
        "accessModes": [options.volumes_access_mode],
        "volumeMode": "Filesystem",
        "storageClassName": options.volumes_storage_class,
        "resources": {"requests": {"storage": str(volume.size_bytes)}},
    }
    return Item(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)


def job_item(spec: AttemptSpec, options: KubernetesOptions) -> Item:
    """The attempt as an Indexed Job, one pod on each of its nodes, suspended until Kueue admits it whole."""
    namespace = namespace_of(spec.organisation_id, options)
    uses = {use_label_of(one.volume_id): WRITES if one.writes else READS for one in spec.volumes}
    labels = {MANAGED: "mosu", ATTEMPT: spec.attempt_id, **uses}
    job = _object("batch/v1", "Job", name_of(spec.attempt_id), namespace)
    job["metadata"]["labels"] |= {**labels, "kueue.x-k8s.io/queue-name": QUEUE}
    if spec.cards:
        job["metadata"]["annotations"] = {CARD_NOTE: options.resource_of(spec.accelerator)}
    job["spec"] = {
        "suspend": True,
        "completionMode": "Indexed",
        "parallelism": len(spec.nodes),
        "completions": len(spec.nodes),
        "backoffLimit": 0,
        "activeDeadlineSeconds": spec.wall_limit_s,
        "template": {"metadata": {"labels": labels}, "spec": _pod(spec, options)},
    }
    return Item(f"/apis/batch/v1/namespaces/{namespace}/jobs", job)


@dataclass(frozen=True, slots=True)
class Right:
    """To do this with any object of a kind, or with a part of it."""

    verb: str
    group: str
    resource: str
    subresource: str = ""


# A WebSocket begins with a GET; from 1.35 on the server asks for `create`, too.
FORWARDS: Final = (Right("get", "", "pods", "portforward"), Right("create", "", "pods", "portforward"))
EXTENDS: Final = (Right("patch", "batch", "jobs"),)
KEEPS: Final = (
    *(Right(verb, "", "persistentvolumeclaims") for verb in ("create", "get", "list", "delete")),
    Right("get", "", "namespaces"),
    Right("get", "storage.k8s.io", "storageclasses"),
)


def may(right: Right) -> Item:
    """The question whether the agent itself has this right."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    return Item(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {**review, "spec": {"resourceAttributes": asdict(right)}},
    )


def users(user_id: int) -> dict[str, str]:
    """Who there is in a session, as files of `/etc`: sshd, and whoever asks for a home, knows users by name alone."""
    return {
        "passwd": (
            f"{SSH_USER}:x:{user_id}:{user_id}::/work:/bin/bash\n"
            "root:x:0:0::/root:/bin/bash\n"
            "nobody:x:65534:65534::/:/usr/sbin/nologin\n"
        ),
        # No group is called tty: sshd would give terminals to it, which its user may not.
        "group": f"{SSH_USER}:x:{user_id}:\nroot:x:0:\nnogroup:x:65534:\n",
    }


def privileged_pod(namespace: str) -> Manifest:
    """What no namespace of ours may let in: asked for in a dry run, to see whether the cluster refuses it."""
    pod = _object("v1", "Pod", "mosu-probe", namespace)
    container = {"name": "probe", "image": "probe", "securityContext": {"privileged": True}}
    pod["spec"] = {"containers": [container], "restartPolicy": "Never", "hostPID": True}
    return pod


def _object(version: str, kind: str, name: str, namespace: str = "", **rest: Any) -> Manifest:
    metadata: Manifest = {"name": name, "labels": {MANAGED: "mosu"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _volume(namespace: str, options: KubernetesOptions) -> Manifest:
    """The shared volume once more, bound to this namespace's claim alone: claims do not cross namespaces."""
    return _object(
        "v1",
        "PersistentVolume",
        namespace,
        spec={
            **options.volume,
            "capacity": {"storage": "1Gi"},  # obligatory, and never looked at
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": QUEUE,
                "namespace": namespace,
            },
        },
    )


def _claim(namespace: str) -> Manifest:
    return _object(
        "v1",
        "PersistentVolumeClaim",
        QUEUE,
        namespace,
        spec={
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "volumeName": namespace,
        },
    )


def _among_ranks(spec: AttemptSpec, name: str, namespace: str) -> Manifest:
    """The pods of one attempt may speak with each other, and still with nobody else."""
    pods = {"matchLabels": {ATTEMPT: spec.attempt_id}}
    return _object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        namespace,
        spec={
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": pods}]}],
            "egress": [{"to": [{"podSelector": pods}]}],
        },
    )


def _pod(spec: AttemptSpec, options: KubernetesOptions) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": QUEUE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": min(spec.grace_s, STOP_GRACE_S_MAX),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": options.user_id,
            "runAsGroup": options.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
            **(_owner(options) if spec.volumes else {}),
        },
        "affinity": _affinity(spec),
        "containers": [_container(spec, options)],
        "volumes": _volumes(spec),
    }
    if options.runtime_class:
        pod["runtimeClassName"] = options.runtime_class
    return pod


def _owner(options: KubernetesOptions) -> Manifest:
    """A new file system is root's: it is given to the containers' group, once."""
    return {"fsGroup": options.user_id, "fsGroupChangePolicy": "OnRootMismatch"}


def _affinity(spec: AttemptSpec) -> Manifest:
    """On the nodes that the hub sold, one pod on each."""
    names = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(spec.nodes)}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [names]}]
            }
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": {ATTEMPT: spec.attempt_id}},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        },
    }


def _container(spec: AttemptSpec, options: KubernetesOptions) -> Manifest:
    amounts = {
        "cpu": str(spec.cores),
        "memory": str(spec.memory_bytes),
        "ephemeral-storage": str(spec.disk_bytes),
    }
    if spec.cards:
        amounts[options.resource_of(spec.accelerator)] = str(spec.cards)
        amounts |= {name: str(one) for name, one in options.alongside.get(spec.accelerator, {}).items()}
    attempt = f"attempts/{spec.attempt_id}"
    mounts = [
        {"name": "shared", "mountPath": "/work", "subPath": f"{attempt}/work"},
        {"name": "shared", "mountPath": "/run/mosu/ranks", "subPath": f"{attempt}/ranks"},
        {"name": "shared", "mountPath": "/run/mosu/job", "subPath": f"{attempt}/job", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (the container's own)
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        {"name": "secrets", "mountPath": "/run/secrets"},
    ]
    if spec.session:
        mounts += [
            {
                "name": "shared",
                "mountPath": f"/etc/{name}",
                "subPath": f"{attempt}/job/{name}",
                "readOnly": True,
            }
            for name in users(options.user_id)
        ]
    mounts += [
        {
            "name": claim_name_of(one.volume_id),
            "mountPath": one.path,
            "subPath": "data",  # beside what a file system has of its own, such as lost+found
            "readOnly": not one.writes,
        }
        for one in spec.volumes
    ]
    if spec.secrets:
        mounts.append({"name": "secrets-given", "mountPath": "/run/mosu/secrets-given", "readOnly": True})
    return {
        "name": "task",
        "image": options.image_of(spec.environment),
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/bash", "/run/mosu/job/entry.sh"],
        "workingDir": "/work",
        "env": _variables(spec),
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }


def _variables(spec: AttemptSpec) -> list[Manifest]:
    """The task's own may not replace those that make it work, and `$(NAME)` in them stays what it is."""
    plain = {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(spec.cores),
        "PYTHONUNBUFFERED": "1",
        **spec.envs,
        "HOME": "/work",
        "TMPDIR": "/tmp",  # noqa: S108 (the container's own)
        "MOSU_SECRETS": "/run/secrets",
        "SKYPILOT_NUM_NODES": str(len(spec.nodes)),
        "SKYPILOT_NUM_GPUS_PER_NODE": str(spec.cards),
    }
    fields = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    return [
        {"name": name, "value": value.replace("$(", "$$(")}
        for name, value in plain.items()
        if name not in fields
    ] + [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}} for name, field in fields.items()]


def _volumes(spec: AttemptSpec) -> list[Manifest]:
    shm = max(64 * _MIB, spec.memory_bytes // _SHM_SHARE)
    volumes: list[Manifest] = [
        {"name": "shared", "persistentVolumeClaim": {"claimName": QUEUE}},
        {"name": "tmp", "emptyDir": {"sizeLimit": str(spec.disk_bytes)}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(shm)}},
        {"name": "secrets", "emptyDir": {"medium": "Memory", "sizeLimit": str(_MIB)}},
    ]
    for one in spec.volumes:
        name = claim_name_of(one.volume_id)
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": name}})
    if spec.secrets:
        # Root's, for a user who is not: seen by this container alone, which lays 0600 copies of its own.
        given = {"secretName": name_of(spec.attempt_id), "defaultMode": 0o444}
        volumes.append({"name": "secrets-given", "secret": given})
    return volumes
