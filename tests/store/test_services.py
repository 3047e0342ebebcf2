"""Bytes in and out: durable before they are acknowledged, nobody else's to see."""

import asyncio
import errno
import hashlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction
from tests.conftest import NOW, FreshDatabase
from tests.ledger.people import make_organisation

from mosu.kernel.refusals import Invalid, NotFound
from mosu.store import queries, services
from mosu.store.models import Blob, BlobGrant, Quota
from mosu.store.services import ManifestEntry

DATA = b"some bytes"


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with transaction.atomic():
            self.ours = make_organisation("Ours").id
            self.theirs = make_organisation("Theirs").id

    def put(
        self,
        data: bytes = DATA,
        *,
        owner: UUID | None = None,
        sha256: str | None = None,
        size_max: int = 1 << 20,
    ) -> Blob:
        return services.put_blob(
            chunks=[data[:3], data[3:]],
            sha256=sha256 or sha_of(data),
            size_bytes_max=size_max,
            now=NOW,
            organisation_id=owner or self.ours,
        )

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())

    def rows(self) -> list[Any]:
        return [
            Blob.objects.count(),
            BlobGrant.objects.count(),
            list(Quota.objects.values_list("used_bytes")),
        ]


@pytest.fixture
def world(fresh_db: FreshDatabase, settings: Any, tmp_path: Path) -> World:
    settings.DATA_DIR = tmp_path
    return World(tmp_path)


def test_bytes_come_back(world: World) -> None:
    blob = world.put()
    assert (blob.sha256, blob.size_bytes) == (sha_of(DATA), len(DATA))
    with services.open_blob(blob.sha256, organisation_id=world.ours) as file:
        assert file.read() == DATA
    place = world.folder / "blobs" / blob.sha256[:2] / blob.sha256[2:4] / blob.sha256
    assert place.read_bytes() == DATA
    assert world.files() == [blob.sha256]
    assert services.verify_blobs().ok


def test_the_same_bytes_again_count_once(world: World) -> None:
    world.put()
    before = world.rows()
    world.put()
    assert world.rows() == before
    assert queries.usage_of(world.ours).used_bytes == len(DATA)
    world.put(b"")
    assert queries.usage_of(world.ours).used_bytes == len(DATA)


def test_a_hash_alone_gives_nobody_anothers_bytes(world: World) -> None:
    blob = world.put()
    assert services.has_blobs([blob.sha256], organisation_id=world.theirs) == set()
    assert services.missing_of([blob.sha256] * 2, organisation_id=world.theirs) == [blob.sha256]
    assert services.missing_of([blob.sha256], organisation_id=world.ours) == []
    with pytest.raises(NotFound):
        services.open_blob(blob.sha256, organisation_id=world.theirs)
    with pytest.raises(NotFound):
        services.open_blob(sha_of(b"never sent"))
    stolen = ManifestEntry("a", blob.sha256, len(DATA))
    with pytest.raises(Invalid):
        services.put_manifest([stolen], organisation_id=world.theirs, now=NOW)
    world.put(owner=world.theirs)
    assert services.has_blobs([blob.sha256], organisation_id=world.theirs) == {blob.sha256}


def test_a_forged_manifest_opens_nothing(world: World) -> None:
    blob = world.put()
    forged = services.rules.manifest_bytes([ManifestEntry("a", blob.sha256, len(DATA))])
    world.put(forged, owner=world.theirs)
    with pytest.raises(Invalid):
        services.read_manifest(sha_of(forged), organisation_id=world.theirs)


def test_a_grant_shares_bytes(world: World) -> None:
    blob = world.put()
    for _ in range(2):
        services.grant_blobs(sha256s=[blob.sha256], organisation_id=world.theirs, now=NOW)
    assert queries.usage_of(world.theirs).used_bytes == len(DATA)
    with services.open_blob(blob.sha256, organisation_id=world.theirs) as file:
        assert file.read() == DATA
    with pytest.raises(NotFound):
        services.grant_blobs(sha256s=["0" * 64], organisation_id=world.theirs, now=NOW)


def test_a_folder_comes_back(world: World) -> None:
    world.put()
    entries = [
        ManifestEntry("b/run.sh", sha_of(DATA), len(DATA), True),
        ManifestEntry("a", sha_of(DATA), len(DATA)),
    ]
    sha256 = services.put_manifest(entries, organisation_id=world.ours, now=NOW)
    assert services.put_manifest(entries[::-1], organisation_id=world.ours, now=NOW) == sha256
    assert services.read_manifest(sha256, organisation_id=world.ours) == tuple(entries[::-1])
    with pytest.raises(NotFound):
        services.read_manifest(sha256, organisation_id=world.theirs)
    with pytest.raises(Invalid):
        services.put_manifest([ManifestEntry("a", sha_of(DATA), 1)], organisation_id=world.ours, now=NOW)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"sha256": "0" * 64}, services.WrongHash),
        ({"sha256": "../../etc/passwd"}, Invalid),
        ({"size_max": len(DATA) - 1}, services.TooLarge),
    ],
)
def test_refused_bytes_leave_nothing(world: World, changes: dict[str, Any], refusal: type[Exception]) -> None:
    before = world.rows()
    with pytest.raises(refusal):
        world.put(**changes)
    assert (world.rows(), world.files()) == (before, [])


def test_a_quota_is_kept(world: World) -> None:
    services.set_quota(organisation_id=world.ours, bytes_max=len(DATA) + 4)
    world.put()
    before, files = world.rows(), world.files()
    with pytest.raises(services.QuotaExceeded):
        world.put(b"12345")
    assert (world.rows(), world.files()) == (before, files)
    with pytest.raises(Invalid):
        services.set_quota(organisation_id=world.ours, bytes_max=len(DATA) - 1)
    world.put(b"1234")


def test_an_upload_that_breaks_off_leaves_nothing(world: World) -> None:
    def breaks() -> Iterator[bytes]:
        yield DATA
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        services.put_blob(chunks=breaks(), sha256=sha_of(DATA), size_bytes_max=100, now=NOW)
    assert (world.rows()[0], world.files()) == (0, [])


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5, 6])
def test_a_failing_disk_acknowledges_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Every fsync on the way in its turn: of new folders, of the file, of the folder it lands in."""
    calls = 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    before = world.rows()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(services.NotStored):
            world.put()
    assert (world.rows(), world.files()) == (before, [])
    world.put()
    assert services.verify_blobs().ok


def test_what_was_stored_survives_a_failing_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put()

    def fsync(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(services.NotStored):
            world.put(owner=world.theirs)
    assert services.verify_blobs() == services.BlobVerification(1, len(DATA), ())
    assert services.has_blobs([sha_of(DATA)], organisation_id=world.theirs) == set()


def test_a_full_disk_acknowledges_nothing(world: World) -> None:
    before = world.rows()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(services.NotStored):
            world.put(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (world.rows(), world.files()) == (before, [])


def test_lost_and_rotten_bytes_are_found(world: World) -> None:
    rotten, lost = world.put(), world.put(b"lost")
    services.files.path_of(lost.sha256).unlink()
    place = services.files.path_of(rotten.sha256)
    place.write_bytes(b"other")
    found = services.verify_blobs()
    assert (found.ok, found.blobs, len(found.problems)) == (False, 2, 2)
    world.put()
    world.put(b"lost")
    assert services.verify_blobs().ok


def test_the_sweep_takes_only_what_is_dead(world: World) -> None:
    folder = world.folder / "blobs" / "tmp"
    with services.BlobWriter(size_bytes_max=100) as writer:
        writer.write(b"alive")
        (folder / "dead").write_bytes(b"x")
        (folder / "fresh").write_bytes(b"x")
        for path in folder.iterdir():
            if path.name != "fresh":
                os.utime(path, (time.time() - 3600,) * 2)
        assert services.sweep_temporary() == 1
        assert not (folder / "dead").exists()
        assert (folder / "fresh").exists()
        writer.finish(sha256=sha_of(b"alive"))
        writer.keep()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failed: list[Exception] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_same_bytes_from_many_at_once(world: World) -> None:
    data = os.urandom(300_000)
    owners = [world.ours, world.theirs]
    in_threads(8, lambda number: world.put(data, owner=owners[number % 2]) and None)
    assert world.rows() == [1, 2, [(len(data),), (len(data),)]]
    assert world.files() == [sha_of(data)]
    assert services.verify_blobs().ok


def test_a_quota_is_kept_under_a_race(world: World) -> None:
    services.set_quota(organisation_id=world.ours, bytes_max=30)
    refused = []

    def put(number: int) -> None:
        try:
            world.put(f"{number:010}".encode())
        except services.QuotaExceeded:
            refused.append(number)

    in_threads(8, put)
    assert (len(refused), queries.usage_of(world.ours).used_bytes) == (5, 30)
    assert Blob.objects.count() == len(world.files()) == 3


def test_a_stream_is_taken_the_same_way(world: World) -> None:
    data = os.urandom(3_000_000)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    def put(**changes: Any) -> Blob:
        given = {"sha256": sha_of(data), "size_bytes_max": len(data)} | changes
        return asyncio.run(
            services.put_blob_streamed(chunks=chunks(), now=NOW, organisation_id=world.ours, **given)
        )

    with pytest.raises(services.TooLarge):
        put(size_bytes_max=len(data) - 1)
    with pytest.raises(services.WrongHash):
        put(sha256="0" * 64)
    assert (world.rows()[0], world.files()) == (0, [])
    assert put().size_bytes == len(data)
    assert services.verify_blobs().ok


KILLED = """
import os, sys, django
django.setup()
from datetime import datetime, UTC
from uuid import UUID
from mosu.store import services
def chunks():
    yield b"some "
    print("writing", flush=True)
    sys.stdin.readline()
    yield b"bytes"
services.put_blob(chunks=chunks(), sha256=sys.argv[1], size_bytes_max=100, now=datetime.now(UTC),
                  organisation_id=UUID(sys.argv[2]))
"""


def test_a_killed_upload_is_not_there_and_is_swept(world: World) -> None:
    environment = os.environ | {"MOSU_DATA_DIR": str(world.folder), "MOSU_DB_POOL": "0"}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, sha_of(DATA), str(world.ours)],
        env=environment | {"DJANGO_SETTINGS_MODULE": "mosu.web.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin and child.stdout
    with child.stdin, child.stdout:
        assert child.stdout.readline() == b"writing\n"
        child.kill()
        child.wait()
    (left,) = (world.folder / "blobs" / "tmp").iterdir()
    os.utime(left, (time.time() - 3600,) * 2)
    assert services.missing_of([sha_of(DATA)], organisation_id=world.ours) == [sha_of(DATA)]
    assert services.sweep_temporary() == 1
    assert world.files() == []
    assert world.put().sha256 == sha_of(DATA)


def place_of(world: World, blob: Blob) -> Path:
    return world.folder / "blobs" / blob.sha256[:2] / blob.sha256[2:4] / blob.sha256


def test_what_a_disk_changed_is_never_served_as_a_whole(world: World) -> None:
    blob = world.put(b"0123456789" * 10)
    place = place_of(world, blob)
    place.chmod(0o600)
    place.write_bytes(b"0123456789" * 9 + b"012345678X")
    with services.open_blob(blob.sha256, organisation_id=world.ours) as file:
        served = b""
        with pytest.raises(services.Damaged):
            for chunk in services.checked_chunks(file, sha256=blob.sha256, chunk_bytes=30):
                served += chunk
    assert served == b"0123456789" * 9


def test_what_a_disk_cut_is_refused_and_can_be_sent_again(world: World) -> None:
    blob = world.put()
    place = place_of(world, blob)
    place.chmod(0o600)
    place.write_bytes(DATA[:-1])
    with pytest.raises(services.Damaged):
        services.open_blob(blob.sha256, organisation_id=world.ours)
    for lost in (lambda: None, place.unlink):
        lost()
        assert services.missing_of([blob.sha256], organisation_id=world.ours) == [blob.sha256]
        world.put()
        with services.open_blob(blob.sha256, organisation_id=world.ours) as file:
            assert b"".join(services.checked_chunks(file, sha256=blob.sha256, chunk_bytes=4)) == DATA
    assert Blob.objects.count() == 1
