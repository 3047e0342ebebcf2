"""What only Kubernetes gets wrong, on the cluster that is played."""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.kubernetes.bench import KubernetesBench, kubernetes_bench
from tests.kubernetes.cluster import CARD, NODES, kubeconfig_for
from tests.kubernetes.fake_controllers import JOBS, PODS
from tests.kubernetes.fake_server import TOKEN, Handler, Store
from tests.site_agent.contract import end_of, let_go, log_of, seen, started, submitted
from tests.site_agent.lab import WAITS, until

from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.kubernetes.access import access_of
from mosu.site_agent.engines.kubernetes.api import KubernetesApi, KubernetesAway
from mosu.site_agent.engines.kubernetes.engine import KubernetesEngine
from mosu.site_agent.engines.kubernetes.manifests import name_of
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase


@pytest.fixture
def bench() -> Iterator[KubernetesBench]:
    with kubernetes_bench() as found:
        yield found


def job_of(bench: KubernetesBench, ref: EngineRef) -> tuple[str, str, str]:
    with bench.cluster.store.changed:
        return next(key for key in bench.cluster.store.objects if key[0] == JOBS and key[2] == name_of(ref))


def pods_of(bench: KubernetesBench, ref: EngineRef) -> list[tuple[str, str, str]]:
    with bench.cluster.store.changed:
        return [
            key for key in bench.cluster.store.objects if key[0] == PODS and key[2].startswith(name_of(ref))
        ]


def test_nodes_have_their_cards(bench: KubernetesBench) -> None:
    first, second = bench.engine.nodes()
    assert (first.name, second.name) == NODES
    assert (first.cores, first.memory_bytes) == (7, 32 << 30)
    assert [(device.index, device.accelerator) for device in first.devices] == [(0, CARD), (1, CARD)]
    with bench.cluster.store.changed:
        node = bench.cluster.store.objects["/api/v1/nodes", "", "n2"]
        node["spec"]["unschedulable"] = True
    assert [node.name for node in bench.engine.nodes()] == ["n1"]
    with bench.cluster.away():
        assert [node.name for node in bench.engine.nodes()] == ["n1"]


def test_a_label_says_which_card_a_vendors_resource_is(bench: KubernetesBench) -> None:
    with bench.cluster.store.changed:
        node = bench.cluster.store.objects["/api/v1/nodes", "", "n1"]
        node["status"]["allocatable"] = {"cpu": "8", "memory": "1Gi", "nvidia.com/gpu": "4"}
        node["metadata"]["labels"]["mosu/accelerator"] = "nvidia-h20"
    assert [device.accelerator for device in bench.engine.nodes()[0].devices] == ["nvidia-h20"] * 4


def test_two_nodes_learn_of_each_other(bench: KubernetesBench) -> None:
    run = (
        'echo "$SKYPILOT_NODE_RANK of $SKYPILOT_NUM_NODES:" $SKYPILOT_NODE_IPS "$SKYPILOT_NUM_GPUS_PER_NODE"'
    )
    spec = bench.spec(run, nodes=NODES, cores=2, accelerator=CARD, devices=((0, 1), (0, 1)))
    ended = end_of(bench, submitted(bench, spec))
    assert ended.ok
    (first,) = [line for line in ended.log.splitlines() if line.startswith("0 of 2: 10.0.0.")]
    (second,) = [line for line in ended.log.splitlines() if line.startswith("(rank 1) 1 of 2: 10.0.0.")]
    assert first.partition(":")[2] == second.partition(":")[2] and first.endswith(" 2")
    assert len(set(first.split()[3:5])) == 2
    assert ended.seen.units == spec.units == {"core_second": 4, "card_second": 4}
    assert bench.cluster.controllers.started == [spec.attempt_id] * 2


def test_one_node_that_fails_ends_all(bench: KubernetesBench) -> None:
    run = "[ $SKYPILOT_NODE_RANK = 1 ] && exit 9; sleep 300"
    ended = end_of(bench, submitted(bench, bench.spec(run, nodes=NODES, grace_s=0)))
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 9)


def test_what_kueue_has_no_room_for_waits_and_can_be_cancelled(bench: KubernetesBench) -> None:
    bench.cluster.controllers.cores = 0
    ref = submitted(bench, bench.spec("echo ran"))
    until(lambda: "Kueue" in seen(bench, ref).reason)
    assert seen(bench, ref).phase == AttemptPhase.PREPARING
    bench.engine.cancel(ref)
    assert end_of(bench, ref).seen.phase == AttemptPhase.CANCELLED
    bench.cluster.controllers.cores = 64
    assert end_of(bench, submitted(bench, bench.spec())).ok
    assert ref not in bench.cluster.controllers.started


def test_what_kueue_takes_back_is_lost_and_does_not_start_again(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    with bench.cluster.store.changed:
        job = bench.cluster.store.objects[job_of(bench, ref)]
        job["spec"]["suspend"] = True
        job["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name")
        bench.cluster.store.update(job_of(bench, ref), job)
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and "Kueue" in ended.seen.reason
    assert ended.seen.started_at is not None
    until(lambda: not pods_of(bench, ref))
    assert bench.cluster.controllers.started == [ref]


def test_who_hears_of_its_pods_before_its_job_takes_nothing_back(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come by two watches: the Job's may be slower, and still say that Kueue has not admitted it."""
    engine = cast(KubernetesEngine, bench.engine)
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    late = engine._jobs.get(job_of(bench, ref)[1], name_of(ref))
    assert late is not None
    late = {**late, "spec": {**late["spec"], "suspend": True}}
    with monkeypatch.context() as slower:
        slower.setattr(engine._jobs, "get", lambda namespace, name: late)
        assert seen(bench, ref).phase == AttemptPhase.RUNNING
    let_go(bench, ref)
    assert end_of(bench, ref).ok


def test_a_job_that_somebody_deletes_is_lost(bench: KubernetesBench) -> None:
    spec = bench.spec(f"echo begun; {WAITS}", grace_s=0)
    ref = started(bench, spec, says="begun")
    bench.cluster.store.delete(job_of(bench, ref), "Foreground")
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and "deleted its Job" in ended.seen.reason
    bench.engine.submit(spec)
    bench.restarted().submit(spec)
    assert bench.cluster.controllers.started == [ref]


def test_a_second_pod_of_an_attempt_does_not_work(bench: KubernetesBench) -> None:
    """Kubernetes may start one twice; the claim on the volume lets one work."""
    spec = bench.spec(f"echo once >> count; echo begun; {WAITS}; cat count")
    ref = started(bench, spec, says="begun")
    with bench.cluster.store.changed:
        (key,) = pods_of(bench, ref)
        twin = json.loads(json.dumps(bench.cluster.store.objects[key]))
        twin["metadata"] |= {"name": f"{name_of(ref)}-0-twin"}
        twin["metadata"]["labels"]["job-name"] = "another"  # its end is none of the Job's
        twin["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ][0]["matchExpressions"][0]["values"] = ["n2"]
        twin["status"] = {"phase": "Pending"}
        bench.cluster.store.create((PODS, key[1], twin["metadata"]["name"]), twin)
    until(lambda: len(bench.cluster.controllers.started) == 2)
    twin_key = (PODS, key[1], f"{name_of(ref)}-0-twin")
    until(lambda: bench.cluster.store.objects[twin_key]["status"]["phase"] == "Failed")
    state = bench.cluster.store.objects[twin_key]["status"]["containerStatuses"][0]["state"]
    assert state["terminated"]["exitCode"] == 213
    let_go(bench, ref)
    ended = end_of(bench, ref)
    assert ended.ok and ended.log == "begun\nonce\n"


def test_a_node_that_goes_is_no_fault_of_the_task(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    (key,) = pods_of(bench, ref)
    with bench.cluster.store.changed:  # in one: who sees its end sees what it ended of
        bench.cluster.controllers.container_of(key[2]).kill()
        gone = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "node lost",
        }
        bench.cluster.store.objects[key]["status"]["conditions"] = [gone]
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and "node lost" in ended.seen.reason


def test_the_kernels_kill_for_memory_is_said(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    (key,) = pods_of(bench, ref)
    container = bench.cluster.controllers.container_of(key[2])
    container.why = "OOMKilled"
    container.kill()
    ended = end_of(bench, ref)
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 137)
    assert ended.seen.reason.startswith("memory:")


def test_a_history_that_the_server_forgot_is_listed_again(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}; exit 4"), says="begun")
    for _ in range(3):
        bench.cluster.store.compact()
    let_go(bench, ref)
    assert end_of(bench, ref).seen.exit_code == 4


def test_looking_at_what_runs_asks_the_server_nothing(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}"), says="begun")
    with bench.cluster.away():
        for _ in range(100):
            assert seen(bench, ref).phase == AttemptPhase.RUNNING
    let_go(bench, ref)
    assert end_of(bench, ref).ok


def test_who_hears_nothing_of_its_pods_has_the_log_whole(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch of pods may be broken while the Job ends: how it ended is asked for, and so is what it printed."""
    engine = cast(KubernetesEngine, bench.engine)
    monkeypatch.setattr(engine._pods, "_follow", engine._pods._listed.set)
    ended = end_of(bench, submitted(bench, bench.spec("echo ran; exit 3")))
    assert (ended.seen.exit_code, ended.log) == (3, "ran\n")


def test_a_server_that_is_away_at_submission_takes_it_later(bench: KubernetesBench) -> None:
    spec = bench.spec('cat "$MOSU_SECRETS/KEY"', secrets={"KEY": "s3cret\n"})
    bench.engine.workdir(spec.attempt_id)
    with bench.cluster.away(), pytest.raises(OSError, match="does not answer"):
        bench.engine.submit(spec)
    assert end_of(bench, bench.engine.submit(spec)).log == "s3cret\n"
    assert bench.cluster.controllers.started == [spec.attempt_id]


def test_an_image_of_the_tasks_own_runs_where_it_is_allowed(bench: KubernetesBench) -> None:
    named = "docker:registry.example.org/team/train@sha256:" + "0a" * 32
    refused = bench.spec("echo ran", environment=named)
    with pytest.raises(Invalid, match="not run here"):
        submitted(bench, refused)
    assert seen(bench, EngineRef(refused.attempt_id)).phase == AttemptPhase.LOST
    bench.engine = bench.restarted(allowed_images=["registry.example.org/team/"])
    assert end_of(bench, submitted(bench, bench.spec("echo ran", environment=named))).log == "ran\n"
    jobs = bench.cluster.store.listed(JOBS)
    [container] = jobs[-1]["spec"]["template"]["spec"]["containers"]
    assert f"docker:{container['image']}" == named


def test_nothing_is_left_in_the_cluster(bench: KubernetesBench) -> None:
    ref = submitted(bench, bench.spec("echo ran", secrets={"KEY": "s3cret"}, nodes=NODES))
    assert end_of(bench, ref).ok
    bench.engine.clean(ref)
    bench.engine.forget(ref)

    def left() -> list[tuple[str, str, str]]:
        return [key for key in bench.cluster.store.objects.copy() if name_of(ref) in key[2]]

    until(lambda: not left())


def test_organisations_have_namespaces_of_their_own(bench: KubernetesBench) -> None:
    for _ in range(2):
        assert end_of(bench, submitted(bench, bench.spec())).ok
    namespaces = {key[1] for key in bench.cluster.store.created if key[0] == JOBS}
    assert len(namespaces) == 2
    for namespace in namespaces:
        labels = bench.cluster.store.objects["/api/v1/namespaces", "", namespace]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert (
            "/apis/networking.k8s.io/v1/networkpolicies",
            namespace,
            "mosu",
        ) in bench.cluster.store.objects


def test_a_cluster_that_does_not_contain_is_refused(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.engine.isolation().ok
    monkeypatch.setattr(Store, "violations", lambda *_: "")
    report = bench.engine.isolation()
    assert not report.ok and "privileged" in report.why_not and "PodSecurity" in report.mend
    assert not bench.restarted(cluster_queue="none").isolation().ok
    with bench.cluster.away():
        assert not bench.engine.isolation().ok


def test_the_log_is_capped_and_long_ones_come_whole(bench: KubernetesBench) -> None:
    ref = submitted(bench, bench.spec("seq 1 200000"))
    ended = end_of(bench, ref)
    lines = ended.log.splitlines()
    assert lines[:3] == ["1", "2", "3"]
    assert lines[-1] == "[mosu: the log reached 1048576 bytes; the rest is not kept]"
    assert [int(line) for line in lines[: len(lines) - 3]] == list(range(1, len(lines) - 2))
    assert log_of(bench, ref) == ended.log


def test_a_crash_over_the_log_doubles_nothing(bench: KubernetesBench) -> None:
    ref = started(bench, bench.spec(f"echo begun; {WAITS}; echo end"), says="begun")
    with (bench.cluster.volume / "attempts" / ref / "log").open("ab") as log:
        log.write(b"written, and then the agent died\n")
    bench.engine = bench.restarted()
    let_go(bench, ref)
    assert end_of(bench, ref).log == "begun\nend\n"


def test_a_token_that_is_refused_starts_nothing(bench: KubernetesBench, tmp_path: Path) -> None:
    config = bench.cluster.kubeconfig.read_text().replace(TOKEN, "wrong")
    (tmp_path / "kubeconfig").write_text(config)
    engine = bench.restarted(kubeconfig=str(tmp_path / "kubeconfig"))
    report = engine.isolation()
    assert not report.ok and "Unauthorized" in report.why_not
    assert engine.nodes() == ()
    assert "Unauthorized" in engine.unreached and not engine.extends


@pytest.mark.parametrize(
    "wrong",
    [
        kubeconfig_for("https://127.0.0.1:1", **{"insecure-skip-tls-verify": True}),
        kubeconfig_for("http://cluster.example.org"),
        "contexts: 3",
        "{",
    ],
)
def test_a_kubeconfig_that_is_unsafe_or_broken_is_refused(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(wrong)
    with pytest.raises(Invalid, match="kubeconfig"):
        access_of(tmp_path / "kubeconfig")


def test_a_token_file_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    config = kubeconfig_for("http://127.0.0.1:1").replace(f"token: {TOKEN}", "tokenFile: token")
    (tmp_path / "kubeconfig").write_text(config)
    access = access_of(tmp_path / "kubeconfig")
    assert access.headers() == {"Authorization": "Bearer first"}
    (tmp_path / "token").write_text("second\n")
    assert access.headers() == {"Authorization": "Bearer second"}


def test_a_server_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    authority, certificate = tmp_path / "ca.pem", tmp_path / "server.pem"
    _self_signed(certificate)
    _self_signed(authority)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"store": Store()}))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        for trusted, believed in ((certificate, True), (authority, False)):
            address = f"https://127.0.0.1:{server.server_port}"
            config = kubeconfig_for(address, **{"certificate-authority": trusted.name})
            (tmp_path / "kubeconfig").write_text(config)
            api = KubernetesApi(access_of(tmp_path / "kubeconfig"))
            if believed:
                assert api.get("/api/v1/nodes") is not None
            else:
                with pytest.raises(KubernetesAway, match="certificate"):
                    api.get("/api/v1/nodes")
    finally:
        server.shutdown()
        server.server_close()


def _self_signed(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
