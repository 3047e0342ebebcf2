"""A worker that is killed in the middle of an import leaves nothing half done, and the next one does it whole."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import connections
from procrastinate import JobContext
from procrastinate.contrib.django.models import ProcrastinateJob
from tests.conftest import NOW
from tests.market.conftest import DeskShelf, World, make_world, rows_now

from mosu.market import services, tasks
from mosu.market.models import Gone, Offer, OfferImport
from mosu.store.services import put_file

LATER = NOW + timedelta(hours=1)
HEADER = "key,title_zh,title_en,accelerator,region,price,currency,max_units\n"
FIRST = HEADER + "a,甲,A,h100,shanghai,20,,8\nb,乙,B,h200,beijing,30,,8\n"
SECOND = HEADER + "a,甲,A,h100,shanghai,22,,8\nd,丁,D,l40s,here,9,,8\n"

# It stops where its transaction has written the most, says so, and waits to be killed.
KILLED = """
import sys
import django
django.setup()
from datetime import datetime
from uuid import UUID
from tests.market.conftest import DeskShelf
from mosu.market import services
from mosu.market.services.imports.progress import Progress
from mosu.market.shelves import register_shelf
register_shelf(DeskShelf())
def tell(self, share, *, rows_read=0):
    if share >= float(sys.argv[3]):
        print("stopped", flush=True)
        sys.stdin.readline()
Progress.tell = tell
services.carry_on_import(import_id=UUID(sys.argv[1]), now=datetime.fromisoformat(sys.argv[2]))
"""


@pytest.fixture
def world(fresh_db: Any, shelf: DeskShelf, settings: Any, tmp_path: Path) -> World:
    settings.DATA_DIR = tmp_path
    return make_world(shelf)


def send(world: World, text: str) -> OfferImport:
    kept = put_file(
        file=io.BytesIO(text.encode()), size_bytes_max=1 << 20, now=NOW, organisation_id=world.supplier.id
    )
    return services.preview_import(
        actor=world.seller,
        supplier_id=world.supplier.id,
        file_sha256=kept.sha256,
        sent_to=world.supplier.id,
        filename="list.csv",
        shelf="desk",
        gone=Gone.WITHDRAW,
        now=NOW,
    )


def carry_on(made: OfferImport, *, hours: int = 0) -> OfferImport:
    return services.carry_on_import(import_id=made.id, now=NOW + timedelta(hours=hours))


def killed_at(made: OfferImport, share: float, folder: Path) -> None:
    environment = os.environ | {
        "MOSU_DATA_DIR": str(folder),
        "MOSU_DB_POOL": "0",
        "DJANGO_SETTINGS_MODULE": "mosu.web.settings",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(made.id), LATER.isoformat(), str(share)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin and child.stdout
    with child.stdin, child.stdout:
        assert child.stdout.readline() == b"stopped\n"
        child.kill()
        child.wait()


def test_killed_while_it_reads(world: World, tmp_path: Path) -> None:
    made, before = send(world, FIRST), rows_now()
    killed_at(made, 0.7, tmp_path)
    assert rows_now() == before
    assert (carry_on(made).state, made.rows.count()) == ("previewed", 2)


def test_killed_while_it_applies_and_while_it_is_undone(world: World, tmp_path: Path) -> None:
    first = carry_on(send(world, FIRST))
    services.apply_import(actor=world.seller, import_id=first.id, now=NOW)
    carry_on(first)
    second = carry_on(send(world, SECOND), hours=1)
    services.apply_import(actor=world.seller, import_id=second.id, now=LATER)
    before = rows_now()
    killed_at(second, 0.6, tmp_path)  # its new offers are made, their prices are not
    assert rows_now() == before
    assert carry_on(second, hours=2).state == "applied"
    listed = Offer.objects.filter(state="listed", source="list").order_by("external_key")
    assert [one.external_key for one in listed] == ["a", "d"]
    services.undo_import(actor=world.seller, import_id=second.id, why="the wrong file", now=LATER)
    before = rows_now()
    killed_at(second, 0.8, tmp_path)  # prices and terms are back, the shelf is not
    assert rows_now() == before
    assert carry_on(second, hours=3).state == "undone"
    assert [one.external_key for one in listed.all()] == ["a", "b"]


def test_the_worker_is_told_with_the_import_and_gives_up_in_the_end(world: World, tmp_path: Path) -> None:
    made = send(world, FIRST)
    job = ProcrastinateJob.objects.get(task_name="market.carry_on_import")
    assert (job.args, job.lock) == ({"import_id": str(made.id)}, "market.imports")
    begun = cast(JobContext, SimpleNamespace(job=SimpleNamespace(attempts=0)))
    tasks.carry_on_import.func(begun, import_id=str(made.id))
    made.refresh_from_db()
    assert made.state == "previewed"
    other = send(world, SECOND)
    often = cast(JobContext, SimpleNamespace(job=SimpleNamespace(attempts=4)))
    tasks.carry_on_import.func(often, import_id=str(other.id))
    other.refresh_from_db()
    assert (other.state, other.refusal["code"]) == ("refused", "gave_up")


def test_how_far_it_is_can_be_seen_from_outside(world: World, tmp_path: Path) -> None:
    made = send(world, FIRST)
    with services.imports.progress.Progress(made.id) as progress:
        progress.tell(0.42, rows_read=7)
    made.refresh_from_db()
    assert (made.percent, made.rows_read, made.state) == (42, 7, "reading")


def test_two_workers_at_once_do_it_once(world: World) -> None:
    """A job that the queue gives out twice, as after a worker that was thought dead."""
    made = send(world, FIRST)

    def twice() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: _in_thread(made), range(2)))
        made.refresh_from_db()

    twice()
    assert (made.state, made.rows.count()) == ("previewed", 2)
    services.apply_import(actor=world.seller, import_id=made.id, now=NOW)
    twice()
    assert made.state == "applied"
    offers = Offer.objects.filter(source="list")
    assert sorted(offers.values_list("external_key", flat=True)) == ["a", "b"]
    assert [one.prices.count() for one in offers] == [1, 1]
    services.undo_import(actor=world.seller, import_id=made.id, why="the wrong file", now=NOW)
    twice()
    assert made.state == "undone"
    assert not Offer.objects.filter(source="list", state="listed").exists()


def _in_thread(made: OfferImport) -> None:
    try:
        carry_on(made)
    finally:
        connections.close_all()
