"""What the engine asks for: valid for three versions of Kubernetes, and without any privilege."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from tests.kubernetes.cluster import CARD, IMAGE
from tests.kubernetes.fake_server import Store
from tests.site_agent.lab import make_spec

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.kubernetes.manifests import (
    Item,
    attempt_items,
    claim_item,
    job_item,
    namespace_items,
    privileged_pod,
    users,
)
from mosu.site_agent.engines.kubernetes.options import KubernetesOptions, options_of
from mosu.site_agent.engines.kubernetes.quantities import cores_of, number_of
from mosu.site_agent.engines.kubernetes.reading import units_of
from mosu.wire.agent import AttemptSpec, VolumeSpec

VERSIONS = ("1.32", "1.34", "1.37")
MIG = "nvidia-a100-80gb-sxm/7"
SLICED = "nvidia-h20/4-shared"
SHARES = {
    "accelerators": {MIG: "nvidia.com/mig-1g.10gb", SLICED: "nvidia.com/gpu"},
    "alongside": {SLICED: {"nvidia.com/gpumem-percentage": 25}},
}


def options(**changes: Any) -> KubernetesOptions:
    found: Mapping[str, Any] = {
        "folder": "/shared",
        "volume": {"nfs": {"server": "nfs.example.org", "path": "/pool"}},
        "images": {"python": {"image": IMAGE}},
        "cluster_queue": "pool",
    }
    return options_of({**found, **changes})


def spec(**changes: Any) -> AttemptSpec:
    return make_spec("true", **{"nodes": ("n1",), **changes})


def mount(path: str, *, writes: bool = True) -> VolumeSpec:
    return VolumeSpec(volume_id=typeid("volume", uuid7()), path=path, size_bytes=10 << 30, writes=writes)


NAMED = "registry.example.org/team/train@sha256:" + "0a" * 32


def all_items(wanted: AttemptSpec) -> list[Item]:
    allowed = ["registry.example.org/team"]
    job = job_item(wanted, options(runtime_class="ascend", allowed_images=allowed, **SHARES))
    before = namespace_items(job.manifest["metadata"]["namespace"], options(), kueue_version="v1beta2")
    namespace = job.manifest["metadata"]["namespace"]
    claims = [
        claim_item(one, namespace, options(volumes_storage_class="fast", volumes_access_mode=mode))
        for one in wanted.volumes
        for mode in ("ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
    ]
    return [*before, *claims, *attempt_items(wanted, options()), job]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "wanted",
    [
        spec(),
        spec(secrets={"KEY": "s3cret"}, envs={"GIVEN": "模速"}),
        spec(environment=f"docker:{NAMED}"),
        spec(session=True),
        spec(nodes=("n1", "n2"), accelerator=CARD, devices=((0, 1), (0, 1))),
        spec(accelerator=MIG, devices=((1024,),)),
        spec(volumes=(mount("/data/a"), mount("/mnt", writes=False))),
    ],
    ids=["plain", "secrets", "image", "session", "two nodes with cards", "share", "volumes"],
)
def test_each_is_valid_in_three_versions(version: str, wanted: AttemptSpec) -> None:
    for item in all_items(wanted):
        if "kueue" not in item.collection:  # whose schema is not Kubernetes' own
            kubernetes_validate.validate(item.manifest, version, strict=True)


def test_the_validator_minds() -> None:
    broken = job_item(spec(), options()).manifest
    broken["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_the_job_starts_suspended_once_and_ends_in_time() -> None:
    job = job_item(spec(wall_limit_s=77), options()).manifest
    assert job["spec"]["suspend"] and job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] == 77
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "mosu"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_pods_have_no_privilege_and_no_token() -> None:
    store = Store()
    for item in all_items(spec(secrets={"KEY": "s3cret"})):
        if item.manifest["kind"] == "Namespace":
            store.create((item.collection, "", item.manifest["metadata"]["name"]), item.manifest)
            namespace = item.manifest["metadata"]["name"]
    pod = job_item(spec(), options()).manifest["spec"]["template"]["spec"]
    assert store.violations(namespace, pod) == ""
    assert store.violations(namespace, privileged_pod(namespace)["spec"])
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_sessions_alone_have_users_of_ours_which_they_cannot_change() -> None:
    def mounts(wanted: AttemptSpec) -> list[Any]:
        pod = job_item(wanted, options()).manifest["spec"]["template"]["spec"]
        found: list[Any] = pod["containers"][0]["volumeMounts"]
        return found

    session = spec(session=True)
    of_etc = {mount["mountPath"]: mount for mount in mounts(session) if mount["mountPath"].startswith("/etc")}
    assert set(of_etc) == {"/etc/passwd", "/etc/group"}
    for path, mount in of_etc.items():
        assert (
            mount["readOnly"] and mount["subPath"] == f"attempts/{session.attempt_id}/job/{Path(path).name}"
        )
    assert not any(mount["mountPath"].startswith("/etc") for mount in mounts(spec()))
    assert users(4711)["passwd"].splitlines()[0] == "runner:x:4711:4711::/work:/bin/bash"


def test_volumes_are_mounted_each_as_bought_and_given_to_the_containers_user_alone() -> None:
    writes, reads = mount("/data/a"), mount("/mnt", writes=False)
    found = job_item(spec(volumes=(writes, reads)), options(user_id=4711)).manifest
    pod = found["spec"]["template"]["spec"]
    names = [one.volume_id.replace("_", "-") for one in (writes, reads)]
    assert pod["containers"][0]["volumeMounts"][-2:] == [
        {"name": names[0], "mountPath": "/data/a", "subPath": "data", "readOnly": False},
        {"name": names[1], "mountPath": "/mnt", "subPath": "data", "readOnly": True},
    ]
    assert [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"][-2:]] == names
    assert (pod["securityContext"]["fsGroup"], pod["securityContext"]["runAsNonRoot"]) == (4711, True)
    for labels in (found["metadata"]["labels"], found["spec"]["template"]["metadata"]["labels"]):
        assert labels[f"volume.mosu/{writes.volume_id}"] == "writes"
        assert labels[f"volume.mosu/{reads.volume_id}"] == "reads"
    plain = job_item(spec(), options()).manifest["spec"]["template"]["spec"]
    assert "fsGroup" not in plain["securityContext"], "the shared volume's files stay whose they are"


def test_nothing_may_speak_with_a_namespace_but_ranks_of_one_attempt() -> None:
    policies = [item.manifest for item in all_items(spec()) if item.manifest["kind"] == "NetworkPolicy"]
    assert [policy["spec"] for policy in policies] == [
        {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ]
    two = spec(nodes=("n1", "n2"))
    among = next(item.manifest for item in attempt_items(two, options()))["spec"]
    assert among["podSelector"] == among["ingress"][0]["from"][0]["podSelector"]
    assert among["podSelector"]["matchLabels"] == {"app.kubernetes.io/instance": two.attempt_id}


def test_secrets_are_in_a_secret_alone() -> None:
    items = all_items(spec(secrets={"KEY": "s3cret"}))
    told = [item.manifest["kind"] for item in items if "czNjcmV0" in str(item) or "s3cret" in str(item)]
    assert told == ["Secret"]


def test_cards_are_asked_for_by_the_vendors_name() -> None:
    for accelerator, resource in (
        ("ascend-910b2", "huawei.com/Ascend910B2"),
        ("cambricon-mlu590", "cambricon.com/vmlu"),
        ("hygon-dcu-k100", "hygon.com/dcunum"),
        ("metax-c500", "metax-tech.com/gpu"),
        ("mthreads-s4000", "mthreads.com/vgpu"),
        ("nvidia-h20", "nvidia.com/gpu"),
    ):
        job = job_item(spec(accelerator=accelerator, devices=((0, 1, 2),)), options()).manifest
        container = job["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"][resource] == "3"
    own = options(accelerators={"nvidia-h20": "example.org/h20"})
    assert own.resource_of("nvidia-h20") == "example.org/h20"


def test_a_share_is_asked_for_by_the_plugins_name_and_metered_as_one() -> None:
    for kind, wanted in (
        (MIG, {"nvidia.com/mig-1g.10gb": "1"}),
        (SLICED, {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "25"}),
    ):
        job = job_item(spec(accelerator=kind, devices=((1024,),)), options(**SHARES)).manifest
        amounts = job["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert {key: one for key, one in amounts["limits"].items() if "/" in key} == wanted
        assert amounts["requests"] == amounts["limits"]
        assert units_of(job)["card_second"] == 1
    assert options().resource_of(MIG) == "", "a whole card's resource is never asked for a share"


def test_a_variable_is_taken_as_it_is() -> None:
    job = job_item(spec(envs={"A": "$(HOME)", "HOME": "/elsewhere", "POD_IP": "1.2.3.4"}), options()).manifest
    listed = job["spec"]["template"]["spec"]["containers"][0]["env"]
    found = {item["name"]: item.get("value") for item in listed}
    assert len(found) == len(listed)
    assert (found["A"], found["HOME"]) == ("$$(HOME)", "/work")


@pytest.mark.parametrize(
    "changes",
    [
        {"images": {"python": {"image": "python:latest"}}},
        {"allowed_images": ["registry.example.org/*"]},
        {"images": {}},
        {"volume": {}},
        {"user_id": 0},
        {"namespace_prefix": "kube"},
        {"cluster_que": "pool"},
    ],
)
def test_settings_are_checked_whole(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="kubernetes"):
        options(folder=str(tmp_path), **changes)


def test_amounts_are_read_as_kubernetes_writes_them() -> None:
    for text, number in (
        ("8", 8), ("7910m", 7), ("1Gi", 1 << 30), ("128974848", 128974848), ("129e6", 129_000_000),
        ("129M", 129_000_000), ("2Ki", 2048), ("1k", 1000), ("", 0), ("x", 0),
    ):  # fmt: skip
        assert int(number_of(text)) == number, text
    assert cores_of("7910m") == 7


def test_an_image_that_a_task_names_is_run_where_it_is_allowed_by_digest_and_no_other() -> None:
    job = job_item(
        spec(environment=f"docker:{NAMED}"), options(allowed_images=["registry.example.org/team"])
    ).manifest
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == NAMED and container["command"] == ["/bin/bash", "/run/mosu/job/entry.sh"]
    allowed = options(allowed_images=["registry.example.org/team"])
    assert allowed.image_of("python") == IMAGE and allowed.image_of(f"docker:{NAMED}") == NAMED
    for other in (
        NAMED.replace("/team/", "/teams/"),
        NAMED.replace("registry.", "other."),
        NAMED.partition("@")[0],
        f"{NAMED} ",
    ):
        assert allowed.image_of(f"docker:{other}") == ""
    assert options().image_of(f"docker:{NAMED}") == "" and allowed.image_of(NAMED) == ""
