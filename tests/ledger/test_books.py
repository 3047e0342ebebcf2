"""Recomputation finds every change that got past the database; sealed days stay as they were."""

import threading
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connections, transaction
from tests.conftest import NOW, FreshDatabase
from tests.ledger.conftest import funded, open_account
from tests.ledger.people import make_actor

from mosu.kernel.refusals import NotFound
from mosu.ledger import rules, services, tasks
from mosu.ledger.models import DayHead, Posting
from mosu.ledger.rules import Move
from mosu.platform.actors import HubRole
from mosu.platform.models import Event, HubMembership, Notice


def post(source: UUID, destination: UUID, *, at: datetime = NOW, micros: int = 10) -> None:
    services.post_entry(
        key=str(uuid4()), kind="test", moves=[Move(source, destination, micros)], subject_id=source, now=at
    )


def busy() -> tuple[UUID, UUID]:
    a, b = funded(100), open_account()
    post(a, b)
    hold = services.place_hold(key="h", account_id=a, amount_micros=30, subject_id=a, now=NOW)
    services.capture_hold(key="c", hold_id=hold, destination_id=b, amount_micros=20, kind="test", now=NOW)
    return a, b


def test_an_honest_ledger_adds_up(fresh_db: FreshDatabase) -> None:
    busy()
    found = services.verify(now=NOW)
    assert found.problems == ()
    assert (found.ok, found.entries, found.postings, found.accounts, found.holds) == (True, 3, 6, 3, 1)


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        ("update ledger_posting set amount_micros = amount_micros * 2 where sequence = 2", "hash is another"),
        ("update ledger_posting set hash = repeat('1', 64) where sequence = 1", "names another hash before"),
        ("update ledger_journalentry set memo = 'x' where kind = 'test'", "digest is another"),
        ("update ledger_journalentry set posted_at = posted_at - interval '1 day'", "hash is another"),
        ("update ledger_account set balance_micros = balance_micros + 1", "not where its postings end"),
        ("update ledger_account set held_micros = held_micros + 1 where kind = 'bank'", "something else"),
        ("update ledger_hold set captured_micros = 19, released_micros = 1", "captured something else"),
        ("delete from ledger_posting where sequence = 1", "1 is missing"),
        ("update ledger_dayhead set sha256 = repeat('1', 64)", "its head is another"),
    ],
)
def test_tampering_below_the_triggers_is_found(fresh_db: FreshDatabase, tampering: str, problem: str) -> None:
    busy()
    services.seal_days(now=NOW + timedelta(days=1))
    assert services.verify(now=NOW).ok
    with psycopg.connect(fresh_db.owner_dsn, autocommit=True) as connection:
        for table in ("posting", "journalentry", "account", "hold", "dayhead"):
            connection.execute(f"alter table ledger_{table} disable trigger user")
        connection.execute(tampering)
    found = services.verify_and_alarm(now=NOW)
    assert any(problem in text for text in found.problems), found.problems
    assert Event.objects.filter(name="ledger.broken").count() == 1


def test_days_are_sealed_once_and_take_no_more_entries(fresh_db: FreshDatabase) -> None:
    a, b = busy()  # 2026-03-02 10:00 in Shanghai
    assert services.seal_days(now=NOW) == []
    later = NOW + timedelta(days=3)
    assert services.seal_days(now=later) == [date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)]
    assert services.seal_days(now=later) == []
    before = list(DayHead.objects.values_list("date", "sha256", "accounts").order_by("date"))
    with pytest.raises(services.DayClosed):
        post(a, b)
    with pytest.raises(services.DayClosed):
        post(a, b, at=datetime.fromisoformat("2026-03-04T15:59:59.999999Z"))
    post(a, b, at=datetime.fromisoformat("2026-03-04T16:00:00Z"))
    heads = [
        (
            account,
            *Posting.objects.filter(account=account).values_list("sequence", "hash").order_by("sequence")[n],
        )
        for account, n in (
            (a, 2),
            (b, 1),
            (Posting.objects.get(sequence=1, amount_micros=-100).account_id, 0),
        )
    ]
    assert before[-1][1:] == (rules.day_head_of(heads), 3)
    assert list(DayHead.objects.values_list("date", "sha256", "accounts").order_by("date")) == before
    assert services.verify(now=later).ok


def test_a_seal_leaves_out_what_came_after_its_day_in_whichever_order(fresh_db: FreshDatabase) -> None:
    """Around midnight an entry of the day before may take its place in the chain behind one of the next."""
    a, b = busy()
    quiet = funded(5)
    next_day = NOW + timedelta(days=1)
    post(a, b)
    post(a, b, at=next_day)
    post(a, b)
    post(a, b, at=next_day)
    services.seal_days(now=next_day)
    chains = {
        account: Posting.objects.filter(account=account).order_by("sequence") for account in (a, b, quiet)
    }
    ends = {a: 5, b: 4, quiet: 0}
    heads = [
        (account, *chains[account].values_list("sequence", "hash")[end]) for account, end in ends.items()
    ]
    heads += Posting.objects.filter(account__kind="bank").values_list("account_id", "sequence", "hash")
    assert DayHead.objects.values_list("sha256", "accounts").get() == (rules.day_head_of(heads), 5)
    assert services.verify(now=next_day).ok


def test_a_seal_reads_no_postings_but_those_since_the_end_of_its_day(fresh_db: FreshDatabase) -> None:
    """While it works nobody posts: what it costs must not grow with the books."""
    a, b = busy()
    for _ in range(60):
        post(a, b, micros=1)
    with psycopg.connect(fresh_db.app_dsn) as sealer:
        sealer.execute("set local enable_seqscan = off")  # the planner reads a small table whole
        sealer.execute("select ledger_seal_day('2026-03-02', '2026-03-02T16:00:00Z', '2026-03-03T00:00Z')")
        read = sealer.execute(
            "select seq_tup_read + idx_tup_fetch from pg_stat_xact_all_tables where relname = 'ledger_posting'"
        ).fetchone()
    assert read is not None
    assert read[0] < 10, "of 126"  # a few by the planner, who looks where an index ends
    assert services.verify(now=NOW).ok


def test_a_day_that_is_not_over_cannot_be_sealed(fresh_db: FreshDatabase) -> None:
    busy()
    with (
        psycopg.connect(fresh_db.app_dsn) as connection,
        pytest.raises(psycopg.errors.InvalidParameterValue),
    ):
        connection.execute(
            "select ledger_seal_day('2026-03-02', '2026-03-02T16:00:00Z', '2026-03-02T15:00Z')"
        )


def test_the_seal_waits_for_entries_under_way(fresh_db: FreshDatabase) -> None:
    a, b = busy()
    with psycopg.connect(fresh_db.app_dsn) as writer, psycopg.connect(fresh_db.app_dsn) as sealer:
        writer.execute(
            "select * from ledger_post(%s, 'late', 'test', %s, %s, %s, %s::bigint[], %s, '')",
            [uuid4(), a, [a], [b], [1], NOW],
        )
        with pytest.raises(psycopg.errors.LockNotAvailable):  # after two seconds
            sealer.execute(
                "select ledger_seal_day('2026-03-02', '2026-03-02T16:00:00Z', '2026-03-03T00:00Z')"
            )
    assert not DayHead.objects.exists()


def test_an_entry_under_way_does_not_slip_behind_the_seal(fresh_db: FreshDatabase) -> None:
    """The seal was taken while the entry waited: it is refused, not posted into the sealed day."""
    a, b = busy()
    seen: list[Exception | None] = []

    def late() -> None:
        try:
            post(a, b)
            seen.append(None)
        except services.DayClosed as refusal:
            seen.append(refusal)
        finally:
            connections.close_all()

    with psycopg.connect(fresh_db.app_dsn) as sealer:
        sealer.execute("select ledger_seal_day('2026-03-02', '2026-03-02T16:00:00Z', '2026-03-03T00:00Z')")
        thread = threading.Thread(target=late)
        thread.start()
        thread.join(timeout=0.3)
        assert seen == []
    thread.join(timeout=120)
    assert isinstance(seen[0], services.DayClosed)
    assert services.verify(now=NOW).ok


def test_the_nightly_tasks_seal_and_recompute(
    fresh_db: FreshDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction.atomic():
        operator = make_actor("operator", HubRole.OPERATOR)
        HubMembership.objects.create(user_id=operator.id, role=HubRole.OPERATOR, created_at=NOW)
    busy()
    tasks.seal_days(timestamp=0)
    tasks.verify_ledger(timestamp=0)
    assert DayHead.objects.filter(date="2026-03-02").exists()
    assert not Event.objects.filter(name="ledger.broken").exists()
    with psycopg.connect(fresh_db.owner_dsn, autocommit=True) as connection:
        connection.execute("alter table ledger_account disable trigger user")
        connection.execute("update ledger_account set balance_micros = balance_micros + 1")
    tasks.verify_ledger(timestamp=0)
    assert Event.objects.filter(name="ledger.broken").count() == 1
    assert "does not add up" in caplog.text
    assert Notice.objects.get(kind="ledger.broken").user_id == operator.id


def test_one_account_is_recomputed_on_demand(fresh_db: FreshDatabase) -> None:
    """The last postings only: what lies before is taken at its word; a stranger learns nothing."""
    a, b = busy()
    for minute in range(1, 4):
        post(a, b, at=NOW + timedelta(minutes=minute))
    auditor = make_actor("auditor", HubRole.AUDITOR)
    count = Posting.objects.filter(account_id=a).count()
    assert services.verify_account(actor=auditor, account_id=a).postings == count
    with pytest.raises(NotFound):
        services.verify_account(actor=make_actor("stranger"), account_id=a)
    with psycopg.connect(fresh_db.owner_dsn, autocommit=True) as connection:
        connection.execute("alter table ledger_posting disable trigger user")
        connection.execute(
            "update ledger_posting set amount_micros = amount_micros * 2 where account_id = %s and sequence = 2",
            [a],
        )
    assert not services.verify_account(actor=auditor, account_id=a).ok
    assert services.verify_account(actor=auditor, account_id=a, last=1).ok
    assert services.verify_account(actor=auditor, account_id=b).ok
