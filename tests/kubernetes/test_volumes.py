"""Volumes of buyers on the fake cluster: a claim for each, kept from run to run, deleted whole, nobody else's touched."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from tests.kubernetes.bench import VOLUMES_GB, KubernetesBench, kubernetes_bench
from tests.kubernetes.cluster import CLASS, HOME, NODES
from tests.kubernetes.fake_controllers import JOBS, PODS
from tests.kubernetes.fake_server import CLAIMS, Object, Store
from tests.site_agent.contract import end_of, let_go, seen, started, submitted
from tests.site_agent.fake_hub import TOKEN as HUB_TOKEN
from tests.site_agent.fake_hub import FakeHub
from tests.site_agent.here import working_agent
from tests.site_agent.lab import WAITS, Ended, until

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import Invalid
from mosu.site_agent import agent
from mosu.site_agent.config import AgentConfig
from mosu.site_agent.engines.choice import engine_of
from mosu.site_agent.engines.kubernetes import claims
from mosu.site_agent.engines.kubernetes import engine as kubernetes_engine
from mosu.site_agent.engines.kubernetes.claims import Claims
from mosu.site_agent.engines.kubernetes.engine import KubernetesEngine
from mosu.site_agent.engines.kubernetes.manifests import claim_name_of, name_of
from mosu.site_agent.engines.protocol import EngineRef
from mosu.site_agent.joining import published_by
from mosu.wire.agent import AttemptPhase, HeartbeatAnswer, VolumeSpec

ORGANISATION = typeid("org", uuid7())
NAMESPACE = f"mosu-{name_of(ORGANISATION)}"


@pytest.fixture
def bench() -> Iterator[KubernetesBench]:
    with kubernetes_bench() as found:
        found.engine = found.restarted(volumes_storage_class=CLASS)
        yield found


def mount(volume_id: str = "", *, path: str = "/data", writes: bool = True) -> VolumeSpec:
    name = volume_id or typeid("volume", uuid7())
    return VolumeSpec(volume_id=name, path=path, size_bytes=10 << 30, writes=writes)


def run(bench: KubernetesBench, script: str, *mounts: VolumeSpec, **changes: Any) -> Ended:
    return end_of(bench, ref_of(bench, script, *mounts, **changes))


def ref_of(bench: KubernetesBench, script: str, *mounts: VolumeSpec, **changes: Any) -> EngineRef:
    return submitted(
        bench, bench.spec(script, **{"volumes": mounts, "organisation_id": ORGANISATION} | changes)
    )


def begun(bench: KubernetesBench, script: str, *mounts: VolumeSpec) -> EngineRef:
    spec = bench.spec(f"echo begun; {script}", volumes=mounts, organisation_id=ORGANISATION)
    return started(bench, spec, says="begun")


def volumes_of(bench: KubernetesBench) -> Claims:
    volumes = cast(KubernetesEngine, bench.engine).volumes
    assert volumes is not None
    return volumes


def claim_of(bench: KubernetesBench, volume_id: str, *, namespace: str = NAMESPACE) -> Object | None:
    with bench.cluster.store.changed:
        return bench.cluster.store.objects.get((CLAIMS, namespace, claim_name_of(volume_id)))


def deleted(bench: KubernetesBench, *volume_ids: str) -> None:
    """As heartbeats have it: named until it is told to be gone."""
    left = set(volume_ids)

    def all_told() -> bool:
        left.difference_update(volumes_of(bench).delete(sorted(left)))
        return not left

    until(all_told, what="deleted")


def looked(bench: KubernetesBench, *volume_ids: str) -> tuple[str, ...]:
    """What is told of these once the server has been asked after them."""
    volumes = volumes_of(bench)
    volumes.delete(volume_ids)
    until(lambda: not volumes._works, what="asked")
    told = volumes.delete(volume_ids)
    until(lambda: not volumes._works, what="asked again for what is left")
    return told


def test_what_is_written_is_there_for_the_next_run_and_the_next_agent(bench: KubernetesBench) -> None:
    kept = mount()
    assert run(bench, "mkdir -p /data/a && echo kept > /data/a/b", kept).ok
    bench.engine = bench.restarted(volumes_storage_class=CLASS)
    ended = run(bench, "cat /mnt/x/a/b; ls -A /mnt/x /work", mount(kept.volume_id, path="/mnt/x"))
    assert (ended.ok, ended.log) == (True, "kept\n/mnt/x:\na\n\n/work:\n")
    claim = claim_of(bench, kept.volume_id)
    assert claim is not None and claim["metadata"]["labels"]["mosu/volume"] == kept.volume_id
    assert claim["spec"]["resources"]["requests"]["storage"] == str(10 << 30)
    assert (claim["spec"]["accessModes"], claim["spec"]["storageClassName"]) == (["ReadWriteMany"], CLASS)
    made = [key for key in bench.cluster.store.created if key[0] == CLAIMS and key[2] != "mosu"]
    assert made == [(CLAIMS, NAMESPACE, claim_name_of(kept.volume_id))]
    # An attempt that is forgotten leaves its volume.
    for job in bench.cluster.store.listed(JOBS):
        ref = EngineRef(job["metadata"]["labels"]["app.kubernetes.io/instance"])
        bench.engine.clean(ref)
        bench.engine.forget(ref)
    assert run(bench, "cat /data/a/b", kept).log == "kept\n"


def test_read_only_it_cannot_be_written(bench: KubernetesBench) -> None:
    kept = mount()
    assert run(bench, "echo kept > /data/b", kept).ok
    script = "cat /data/b; echo more > /data/b; rm -f /data/b; touch /data/c; ls /data"
    assert run(bench, script, mount(kept.volume_id, writes=False)).log.splitlines()[-1] == "b"


def test_several_have_their_own_places_and_no_device_is_made(bench: KubernetesBench) -> None:
    first, second = mount(path="/data/a"), mount(path="/data/b", writes=False)
    script = "touch /data/a/x /data/b/y /data/z; mknod /data/a/dev b 8 0; cp /bin/true /data/a/t; chmod 6755 /data/a/t; ls /data/a"
    assert run(bench, script, first, second).log.splitlines()[-2:] == ["t", "x"]
    [container] = bench.cluster.store.listed(PODS)[0]["spec"]["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_another_organisation_has_no_way_to_it(bench: KubernetesBench) -> None:
    """Also with its id, which only a hub that lies would send: claims do not cross namespaces."""
    kept = mount()
    assert run(bench, "echo secret > /data/f", kept).ok
    other = typeid("org", uuid7())
    assert run(bench, "ls -A /data", kept, organisation_id=other).log == ""
    assert run(bench, "cat /data/f", kept).log == "secret\n"


def test_one_writes_or_several_read(bench: KubernetesBench) -> None:
    kept = mount()
    reads = mount(kept.volume_id, writes=False)
    writer = begun(bench, f"echo kept > /data/f; {WAITS}", kept)
    for other in (kept, reads):
        ended = run(bench, "echo ran", other)
        assert (ended.seen.phase, ended.log) == (AttemptPhase.FAILED, "")
        assert "still used by another attempt" in ended.seen.reason and ended.seen.started_at is None
    let_go(bench, writer)
    assert end_of(bench, writer).ok
    reader = begun(bench, WAITS, reads)
    assert run(bench, "cat /data/f", reads, nodes=(NODES[1],)).log == "kept\n"
    assert run(bench, "echo ran", kept).seen.phase == AttemptPhase.FAILED
    let_go(bench, reader)
    assert end_of(bench, reader).ok
    assert run(bench, "cat /data/f", kept).log == "kept\n"


def test_what_waits_for_kueue_has_it_already(bench: KubernetesBench) -> None:
    kept = mount()
    bench.cluster.controllers.cores = 0
    ref = ref_of(bench, "echo ran", kept)
    assert run(bench, "echo ran", kept).seen.phase == AttemptPhase.FAILED
    bench.engine.submit(bench.spec("echo ran", attempt_id=ref, volumes=(kept,), organisation_id=ORGANISATION))
    bench.cluster.controllers.cores = 64
    assert end_of(bench, ref).log == "ran\n"


def test_where_one_node_has_it_at_a_time_one_run_does(bench: KubernetesBench) -> None:
    bench.engine = bench.restarted(volumes_storage_class=CLASS, volumes_access_mode="ReadWriteOncePod")
    reads = mount(writes=False)
    reader = begun(bench, WAITS, reads)
    assert run(bench, "echo ran", reads).seen.phase == AttemptPhase.FAILED
    let_go(bench, reader)
    assert end_of(bench, reader).ok
    assert run(bench, "echo ran", reads).ok
    claim = claim_of(bench, reads.volume_id)
    assert claim is not None and claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_a_crash_after_its_job_was_made_is_no_use_by_another(bench: KubernetesBench) -> None:
    kept = mount()
    spec = bench.spec(f"echo begun; {WAITS}", volumes=(kept,), organisation_id=ORGANISATION)
    ref = started(bench, spec, says="begun")
    (bench.cluster.volume / "attempts" / ref / "made").unlink()
    bench.engine = bench.restarted(volumes_storage_class=CLASS)
    bench.engine.submit(spec)
    let_go(bench, ref)
    assert end_of(bench, ref).ok
    assert bench.cluster.controllers.started == [ref]


def test_it_is_deleted_whole_and_told_only_then(bench: KubernetesBench) -> None:
    kept, unknown = mount(), typeid("volume", uuid7())
    writer = begun(bench, f"echo kept > /data/f; {WAITS}", kept)
    assert looked(bench, kept.volume_id, unknown) == (unknown,)
    assert looked(bench, kept.volume_id) == ()
    assert bench.cluster.controllers.claimed(NAMESPACE, claim_name_of(kept.volume_id)).is_dir()
    ended = run(bench, "echo ran", mount(kept.volume_id, writes=False))
    assert ended.log == ""
    let_go(bench, writer)
    assert end_of(bench, writer).ok
    bench.engine = bench.restarted(volumes_storage_class=CLASS)
    deleted(bench, kept.volume_id)
    assert claim_of(bench, kept.volume_id) is None
    assert not bench.cluster.controllers.claimed(NAMESPACE, claim_name_of(kept.volume_id)).exists()


def test_one_that_is_being_deleted_is_no_place_for_a_run(bench: KubernetesBench) -> None:
    kept = mount()
    reader = begun(bench, WAITS, mount(kept.volume_id, writes=False))
    assert looked(bench, kept.volume_id) == ()
    ended = run(bench, "echo ran", mount(kept.volume_id, writes=False))
    assert (ended.seen.phase, ended.seen.reason) == (
        AttemptPhase.LOST,
        "Refused by the cluster: The volume is being deleted.",
    )
    let_go(bench, reader)
    assert end_of(bench, reader).ok
    deleted(bench, kept.volume_id)


def test_a_foreign_claim_of_its_name_is_neither_mounted_nor_deleted(bench: KubernetesBench) -> None:
    assert run(bench, "true").ok
    wanted, other = mount(), typeid("volume", uuid7())
    for labels in ({}, {"app.kubernetes.io/managed-by": "mosu", "mosu/volume": other}):
        key = (CLAIMS, NAMESPACE, claim_name_of(wanted.volume_id))
        with bench.cluster.store.changed:
            bench.cluster.store.objects.pop(key, None)
            foreign = {"metadata": {"name": key[2], "namespace": NAMESPACE, "labels": labels}, "spec": {}}
            bench.cluster.store.create(key, foreign)
        ended = run(bench, "echo ran", wanted)
        assert (ended.seen.phase, ended.log) == (AttemptPhase.LOST, "")
        assert "not mosu's has the name" in ended.seen.reason
        assert looked(bench, wanted.volume_id) == (wanted.volume_id,)
        found = claim_of(bench, wanted.volume_id)
        assert found is not None and "deletionTimestamp" not in found["metadata"]


def test_what_has_its_labels_elsewhere_is_neither_deleted_nor_told_to_be_gone(bench: KubernetesBench) -> None:
    kept = mount()
    assert run(bench, "true", kept).ok
    bench.engine = bench.restarted(volumes_storage_class=CLASS, namespace_prefix="other-")
    assert looked(bench, kept.volume_id) == ()
    found = claim_of(bench, kept.volume_id)
    assert found is not None and "deletionTimestamp" not in found["metadata"]


def test_another_object_that_came_to_its_name_is_not_deleted(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = mount()
    assert run(bench, "true", kept).ok
    listed = Store.listed

    def stale(self: Store, *given: Any) -> list[Object]:
        found = listed(self, *given)
        return [{**one, "metadata": {**one["metadata"], "uid": "another"}} for one in found]

    with monkeypatch.context() as older:
        older.setattr(Store, "listed", stale)
        assert looked(bench, kept.volume_id) == ()
    found = claim_of(bench, kept.volume_id)
    assert found is not None and "deletionTimestamp" not in found["metadata"]


@pytest.mark.parametrize("name", ["volume_../../secrets", "volume_x),(", "volume_" + "a" * 25 + ",", "mosu"])
def test_what_is_no_id_comes_to_no_claim(name: str) -> None:
    with pytest.raises(ValueError, match="volume_id"):
        mount(name)
    with pytest.raises(ValueError, match="volumes_to_delete"):
        HeartbeatAnswer(volumes_to_delete=(name,))


def test_what_the_server_refuses_ends_it_with_one_reason(bench: KubernetesBench) -> None:
    kept = mount()
    bench.cluster.store.claims_refused = "exceeded quota: storage, requested: 10Gi, limited: 5Gi"
    ended = run(bench, "echo ran", kept)
    assert (ended.seen.phase, ended.seen.started_at, ended.log) == (AttemptPhase.LOST, None, "")
    assert ended.seen.reason.startswith("Refused by the cluster: ") and "exceeded quota" in ended.seen.reason
    assert not bench.cluster.store.listed(JOBS)
    bench.cluster.store.claims_refused = ""
    with bench.cluster.store.changed:
        gone = bench.cluster.store.objects.pop(("/apis/storage.k8s.io/v1/storageclasses", "", CLASS))
    ended = run(bench, "echo ran", kept)
    assert ended.seen.reason == f"Refused by the cluster: There is no StorageClass '{CLASS}'."
    assert claim_of(bench, kept.volume_id) is None
    gone["metadata"] = {"name": CLASS}
    bench.cluster.store.create(("/apis/storage.k8s.io/v1/storageclasses", "", CLASS), gone)
    assert run(bench, "echo ran", kept).ok


def test_a_volume_whose_storage_is_gone_is_said_to_be_lost(bench: KubernetesBench) -> None:
    kept = mount()
    assert run(bench, "true", kept).ok
    claim = claim_of(bench, kept.volume_id)
    assert claim is not None
    with bench.cluster.store.changed:  # in one: a class binds what names it
        claim["status"]["phase"] = "Lost"
        claim["spec"]["storageClassName"] = ""
    assert "its storage is gone" in run(bench, "echo ran", kept).seen.reason


def test_a_claim_that_stays_pending_ends_it_and_says_so(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.cluster.controllers.provides = False
    kept = mount()
    ref = ref_of(bench, "echo ran", kept)
    until(lambda: "unbound immediate" in seen(bench, ref).reason, what="waits")
    assert seen(bench, ref).phase == AttemptPhase.PREPARING
    monkeypatch.setattr(kubernetes_engine, "CLAIM_PATIENCE_S", 0.0)
    ended = end_of(bench, ref)
    assert (ended.seen.phase, ended.seen.started_at) == (AttemptPhase.LOST, None)
    assert ended.seen.reason.startswith(f"The claim {claim_name_of(kept.volume_id)} stays Pending. 0/2 nodes")
    until(lambda: not bench.cluster.store.listed(PODS), what="its pods are gone")
    bench.cluster.controllers.provides = True
    assert run(bench, "echo ran", kept).ok
    assert ref not in bench.cluster.controllers.started


def test_who_gave_up_on_storage_and_died_says_so_later(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.cluster.controllers.provides = False
    ref = ref_of(bench, "echo ran", mount())
    noted = bench.cluster.volume / "attempts" / ref / "unprovided.json"
    until(lambda: "unbound immediate" in seen(bench, ref).reason, what="waits")
    with monkeypatch.context() as dying:
        dying.setattr(kubernetes_engine, "CLAIM_PATIENCE_S", 0.0)
        dying.setattr(KubernetesEngine, "_delete_job", lambda *_: None)
        until(lambda: seen(bench, ref) and noted.exists(), what="given up")
    bench.engine = bench.restarted(volumes_storage_class=CLASS)
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and "stays Pending" in ended.seen.reason


def test_a_server_that_is_away_gives_nothing_up_and_holds_nobody_up(bench: KubernetesBench) -> None:
    kept = mount()
    assert run(bench, "true", kept).ok
    spec = bench.spec("echo ran", volumes=(kept,), organisation_id=ORGANISATION)
    bench.engine.workdir(spec.attempt_id)
    with bench.cluster.away():
        with pytest.raises(OSError, match="does not answer"):
            bench.engine.submit(spec)
        assert looked(bench, kept.volume_id, typeid("volume", uuid7())) == ()
    assert end_of(bench, bench.engine.submit(spec)).log == "ran\n"
    deleted(bench, kept.volume_id)


def test_in_another_cluster_nothing_is_kept_made_or_told_to_be_gone(bench: KubernetesBench) -> None:
    """As where a kubeconfig's context was changed: there all volumes seem to be gone."""
    kept = mount()
    assert run(bench, "echo kept > /data/f", kept).ok
    store = bench.cluster.store
    with store.changed:
        home = store.objects.pop(HOME)
        store.create(HOME, {"metadata": {"name": HOME[2]}})
        claim = store.objects.pop((CLAIMS, NAMESPACE, claim_name_of(kept.volume_id)))
    bench.engine = bench.restarted(volumes_storage_class=CLASS)
    assert "not the cluster" in volumes_of(bench).unkept and volumes_of(bench).room_gb == 0
    assert looked(bench, kept.volume_id) == ()
    ended = run(bench, "echo ran", kept)
    assert (ended.seen.phase, ended.log) == (AttemptPhase.LOST, "")
    assert ended.seen.reason.endswith("This is not the cluster in which volumes were kept.")
    assert claim_of(bench, kept.volume_id) is None
    with store.changed:
        store.objects[HOME] = home
        store.objects[CLAIMS, NAMESPACE, claim_name_of(kept.volume_id)] = claim
    assert volumes_of(bench).room_gb == VOLUMES_GB
    assert run(bench, "cat /data/f", kept).log == "kept\n"
    deleted(bench, kept.volume_id)


def test_a_shared_folder_that_fails_ends_no_agent_and_gives_nothing_up(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        failing.setattr(claims, "write_durably", fails)
        assert "shared folder cannot be used" in volumes_of(bench).unkept and volumes_of(bench).room_gb == 0
        assert looked(bench, typeid("volume", uuid7())) == ()
    assert volumes_of(bench).room_gb == VOLUMES_GB


def test_heartbeats_wait_for_no_deletion(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes, go_on, asked = volumes_of(bench), threading.Event(), list[int]()

    def listed(*_: object) -> list[Object]:
        asked.append(1)
        assert go_on.wait(60)
        return []

    monkeypatch.setattr(volumes, "_listed", listed)
    one = typeid("volume", uuid7())
    for _ in range(5):
        assert volumes.delete([one]) == ()
    go_on.set()
    until(lambda: volumes.delete([one]) == (one,), what="told")
    assert len(asked) <= 2, "never two at once"


def test_none_are_sold_without_the_rights_or_a_class_that_suits(bench: KubernetesBench) -> None:
    assert (volumes_of(bench).unkept, volumes_of(bench).room_gb) == ("", VOLUMES_GB)
    with bench.cluster.away():
        assert volumes_of(bench).room_gb == VOLUMES_GB  # what was well is not asked again
        away = bench.restarted(volumes_storage_class=CLASS).volumes
        assert away is not None and "does not answer" in away.unkept and away.room_gb == 0
    assert away.room_gb == VOLUMES_GB
    missing = bench.restarted(volumes_storage_class="none").volumes
    assert missing is not None and "There is no StorageClass 'none'." in missing.unkept
    key = ("/apis/storage.k8s.io/v1/storageclasses", "", "kept")
    bench.cluster.store.create(key, {"metadata": {"name": "kept"}, "reclaimPolicy": "Retain"})
    retains = bench.restarted(volumes_storage_class="kept").volumes
    assert retains is not None and "reclaimPolicy" in retains.unkept and retains.room_gb == 0
    bench.cluster.store.claim_verbs = {"create"}
    barred = bench.restarted(volumes_storage_class=CLASS).volumes
    assert barred is not None and "may not keep claims" in barred.unkept and barred.room_gb == 0
    assert bench.restarted().volumes is None


def test_an_agent_tells_its_room_and_what_is_deleted(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the storage class is made after the agent has begun."""
    monkeypatch.setattr(agent, "_REPROBE_EVERY_S", 0.1)
    later = "later"
    options = dict(bench.cluster.options(volumes_storage_class=later))
    with closing(FakeHub()) as hub:
        config = AgentConfig(
            hub.url, HUB_TOKEN, bench.cluster.volume, (), engine="kubernetes", volumes_gb=9, options=options
        )
        with working_agent(config, hub) as one:
            until(lambda: hub.heartbeats, what="it beats")
            assert [told.volumes_gb for told in hub.registrations] == [0]
            key = ("/apis/storage.k8s.io/v1/storageclasses", "", later)
            bench.cluster.store.create(key, {"metadata": {"name": later}})
            until(lambda: hub.registrations[-1].volumes_gb == 9, what="it tells of its room")
            assert not hub.registrations[-1].copies_volumes
            kept = mount()
            spec = bench.spec("echo ran > /data/f; cat /data/f", volumes=(kept,))
            attempt = hub.lease(spec)
            until(lambda: hub.reports[attempt], what="reported")
            assert (hub.reports[attempt][0].phase, hub.text(attempt)) == ("succeeded", "ran\n")
            namespace = f"mosu-{name_of(spec.organisation_id)}"
            assert claim_of(bench, kept.volume_id, namespace=namespace)
            hub.volumes_to_delete = (kept.volume_id,)
            until(
                lambda: any(beat.volumes_deleted == (kept.volume_id,) for beat in hub.heartbeats),
                what="told to be deleted",
            )
            assert claim_of(bench, kept.volume_id, namespace=namespace) is None
        cast(KubernetesEngine, one._engine).close()


def test_without_them_they_are_refused_by_name_and_several_nodes_always(bench: KubernetesBench) -> None:
    with pytest.raises(Invalid, match="one node"):
        ref_of(bench, "true", mount(), nodes=NODES)
    bench.engine = bench.restarted()
    with pytest.raises(Invalid, match="keeps no volumes"):
        ref_of(bench, "true", mount())


def test_settings_say_how_much_may_be_sold(bench: KubernetesBench) -> None:
    def config(room_gb: int, **options: Any) -> AgentConfig:
        facts = dict(bench.cluster.options(**options))
        folder = bench.cluster.volume
        return AgentConfig("", "", folder, (), engine="kubernetes", volumes_gb=room_gb, options=facts)

    def engine(room_gb: int, **options: Any) -> KubernetesEngine:
        return cast(KubernetesEngine, engine_of(config(room_gb, **options), bench.cluster.volume, []))

    def published(room_gb: int, **options: Any) -> str:
        """As `mosu agent check` and `mosu agent init` say it."""
        return published_by(config(room_gb, **options)).volumes

    assert engine(0).volumes is None
    with pytest.raises(Invalid, match="volumes_gb"):
        engine(0, volumes_storage_class=CLASS)
    made = engine(7, volumes_storage_class=CLASS).volumes
    assert made is not None and made.room_gb == 7
    assert published(7, volumes_storage_class=CLASS) == "7 GB of volumes are sold."
    assert "There is no StorageClass 'none'" in published(7, volumes_storage_class="none")
    assert published(7) == ""
    for wrong in ({"volumes_storage_class": "../x"}, {"volumes_access_mode": "ReadOnlyMany"}):
        with pytest.raises(Invalid, match="kubernetes"):
            engine(7, **wrong)
