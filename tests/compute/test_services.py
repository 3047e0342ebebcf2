"""A run from quote to receipt, and all that can go wrong on the way."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from mosu.compute import services
from mosu.compute.models import Attempt, Run
from mosu.compute.queries import runs_visible_to
from mosu.compute.services import NotLeased, SoldOut
from mosu.compute.services.endings import fail_attempt
from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.models import Charge, OfferPrice, UsageRecord
from mosu.market.services import accept_quote
from mosu.platform.models import AuditRecord
from mosu.platform.policy import Unauthenticated
from mosu.wire.agent import LogChunk, Measures, Usage, UsageBatch
from tests.compute.world import (
    OPERATOR,
    accept,
    at,
    attempt_of,
    beat,
    buy,
    developer_of,
    held_micros,
    lease,
    live_cores,
    make_organisation,
    make_world,
    order_of,
    pool_of,
    quote,
    register,
    report,
    started,
    task_of,
    use,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db


def test_from_quote_to_receipt() -> None:
    world = make_world(cores=4)
    run, attempt = started(world, cores=2, wall="1h")
    assert (run.state, attempt.state, order_of(run).state) == ("running", "running", "active")
    assert held_micros(world.buyer.id) == 300_000
    assert use(world, attempt, 2 * 1800, since=NOW, now=at(1800)).accepted == 1
    ack = report(world, attempt, now=at(1801))
    order = order_of(run)
    assert ack.settled
    assert (order.state, order.total_micros) == ("settled", 150_000)
    assert held_micros(world.buyer.id) == 0
    assert live_cores() == 0
    run.refresh_from_db()
    assert (run.state, run.exit_code, run.ended_at) == ("succeeded", 0, at(1801))


def test_the_lease_names_all_that_the_engine_needs() -> None:
    world = make_world()
    run = buy(world, task_of(cores=2, more="envs: {A: '1'}\n"))
    found = lease(world, now=at(1))
    assert found is not None
    spec = found.spec
    assert (spec.run_id, spec.cores, spec.nodes, spec.wall_limit_s) == (run.public_id, 2, ("n1",), 60)
    assert (spec.environment, spec.envs, spec.run) == ("python", {"A": "1"}, "echo hello")


def test_an_acceptance_asks_exactly_this_much(django_assert_num_queries: Callable[[int], Any]) -> None:
    """The counter's nine where money is held, and the shelf's own: the pool, its agent's wake-up, its nodes
    locked, then read, what is taken of them."""
    world = make_world()
    found = quote(world, task_of(cores=1)).quotes[0]
    with django_assert_num_queries(16):
        accept_quote(actor=world.actor, quote_id=found.id, idempotency_key="k", now=NOW)


def test_secrets_are_sealed_until_they_are_leased(settings) -> None:
    settings.MOSU_ENCRYPTION_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    world = make_world()
    run = buy(world, task_of(more="secrets: {KEY: hunter2}\n"))
    with connection.cursor() as cursor:
        cursor.execute("select q.request::text || r.request::text from market_quote q, compute_run r")
        assert "hunter2" not in cursor.fetchone()[0]
    found = lease(world, now=at(1))
    assert found is not None
    assert found.spec.secrets == {"KEY": "hunter2"}
    assert "KEY" in run.request["task"]


def test_what_is_sold_out_names_the_next_start() -> None:
    world = make_world(cores=4)
    quotes = [quote(world, task_of(cores=3)).quotes[0] for _ in range(2)]
    accept(world, quotes[0].id)
    before = (live_cores(), held_micros(world.buyer.id), Run.objects.count())
    with pytest.raises(SoldOut) as caught:
        accept(world, quotes[1].id)
    assert "2026-03-02 02:03" in caught.value.hint
    assert (live_cores(), held_micros(world.buyer.id), Run.objects.count()) == before


def test_a_full_pool_quotes_a_later_start() -> None:
    world = make_world(cores=4)
    buy(world, cores=3)
    later = quote(world, task_of(cores=3)).quotes[0]
    assert later.starts_at == at(180)
    run = accept(world, later.id)
    first = lease(world, now=at(1))
    assert first is not None
    assert lease(world, now=at(2), running=[first.spec.attempt_id]) is None
    report(world, Attempt.objects.get(id=Attempt.key_of(first.spec.attempt_id)), now=at(60))
    second = lease(world, now=at(181))
    assert second is not None
    assert second.spec.run_id == run.public_id


@pytest.mark.parametrize("written", ["+2h", "2026-03-02T04:00:00Z"])
def test_a_run_does_not_start_before_its_buyer_wants_it(written: str) -> None:
    world = make_world(cores=4)
    late = f"run: ls\nmosu: {{wall_limit: 60s, not_before: {written}}}"
    asked = quote(world, late).quotes[0]
    assert asked.starts_at == at(7200)
    run = accept(world, asked.id)
    assert lease(world, now=at(1)) is None
    second = buy(world, cores=1)
    first = lease(world, now=at(2))
    assert first is not None
    assert first.spec.run_id == second.public_id
    assert lease(world, now=at(7199), running=[first.spec.attempt_id]) is None
    register(world, now=at(7200))
    due = lease(world, now=at(7200), running=[first.spec.attempt_id])
    assert due is not None
    assert due.spec.run_id == run.public_id


def test_a_start_is_promised_for_the_next_days_only() -> None:
    world = make_world()
    with pytest.raises(Invalid, match="too far ahead"):
        quote(world, "run: ls\nmosu: {not_before: +15d}")
    assert not quote(world, f"run: ls\nmosu: {{not_before: +2h, deadline: {at(3600).isoformat()}}}").quotes


def test_what_waits_begins_as_soon_as_there_is_room() -> None:
    world = make_world(cores=4)
    buy(world, cores=3)
    second = accept(world, quote(world, task_of(cores=3)).quotes[0].id)
    third = accept(world, quote(world, task_of(cores=3)).quotes[0].id)
    first = lease(world, now=at(1))
    assert first is not None
    report(world, Attempt.objects.get(id=Attempt.key_of(first.spec.attempt_id)), now=at(20))
    early = lease(world, now=at(21))
    assert early is not None
    assert early.spec.run_id == second.public_id
    held = attempt_of(second).allocations.get(live=True).period
    assert (held.lower, held.upper) == (at(21), at(21 + 60 + 120))
    assert lease(world, now=at(22), running=[early.spec.attempt_id]) is None
    assert attempt_of(third).allocations.get(live=True).period.lower == at(360)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (task_of(cores=5), "too_large"),
        ("resources: {accelerators: 'H100:1'}\nrun: x\n", "other_accelerator"),
        ("run: x\nmosu: {budget: 0.01}\n", "over_budget"),
        ("run: x\nresources: {max_hourly_cost: 0.01}\n", "over_hourly_cost"),
        ("run: x\nmosu: {environment: rust}\n", "no_environment"),
        ("run: x\nmosu: {suppliers: [nobody]}\n", "other_supplier"),
        ("run: x\nmosu: {domestic_only: true}\n", "not_domestic"),
        ("run: x\nmosu: {wall_limit: 30d}\n", "too_long"),
        ("run: x\nmosu: {deadline: '2026-03-02T02:10:00Z'}\n", "deadline"),
    ],
)
def test_a_refused_offer_says_why(text: str, code: str) -> None:
    world = make_world(cores=4)
    result = quote(world, text)
    assert result.quotes == []
    assert [reason.code for reason in result.refused[0].reasons] == [code]


def test_without_an_agent_or_a_sandbox_nothing_is_sold() -> None:
    world = make_world()
    kept = quote(world, task_of()).quotes[0]
    silent = quote(world, task_of(), now=at(31))
    assert [reason.code for reason in silent.refused[0].reasons] == ["not_live"]
    assert "no live agent" in silent.refused[0].reasons[0].message
    with pytest.raises(SoldOut):
        accept(world, kept.id, now=at(31))
    register(world, now=at(32), sandbox_ok=False, sandbox="user namespaces are denied")
    denied = quote(world, task_of(), now=at(32))
    assert "user namespaces are denied" in denied.refused[0].reasons[0].message
    assert Run.objects.count() == 0


def test_what_would_have_no_effect_is_refused() -> None:
    world = make_world()
    with pytest.raises(Invalid, match=r"mosu\.inputs: this hub has no datasets or models"):
        quote(world, "run: x\nmosu: {inputs: [alice/corpus]}\n")


def test_a_lost_answer_hands_out_the_same_attempt_again() -> None:
    world = make_world()
    buy(world)
    first, again = lease(world, now=at(1)), lease(world, now=at(2))
    assert first is not None
    assert again is not None
    assert first.spec == again.spec
    assert lease(world, now=at(3), running=[first.spec.attempt_id]) is None


def test_silent_then_adopted() -> None:
    world = make_world()
    run, attempt = started(world, wall="1h")
    services.expire_leases(now=at(29))
    assert attempt_of(run).state == "running"
    services.expire_leases(now=at(31))
    assert attempt_of(run).state == "unreachable"
    assert (live_cores(), held_micros(world.buyer.id)) == (1, 150_000)
    assert lease(world, now=at(40), running=[attempt.public_id]) is None
    beat(world, attempt, "running", now=at(41))
    assert attempt_of(run).state == "running"


def test_a_late_report_of_an_unreachable_attempt_counts() -> None:
    world = make_world()
    run, attempt = started(world)
    services.expire_leases(now=at(40))
    assert report(world, attempt, now=at(70)).settled
    run.refresh_from_db()
    assert (run.state, order_of(run).outcome, live_cores()) == ("succeeded", "succeeded", 0)


def test_silent_past_its_time_is_credited_and_its_cores_leave_sale() -> None:
    world = make_world(cores=4)
    run, attempt = started(world, cores=3)
    use(world, attempt, 3 * 20, since=NOW, now=at(20))
    services.expire_leases(now=at(100))
    services.expire_leases(now=at(181))
    run.refresh_from_db()
    assert (attempt_of(run).state, run.state) == ("lost", "failed")
    assert (order_of(run).outcome, order_of(run).total_micros) == ("platform_failure", 0)
    assert (held_micros(world.buyer.id), live_cores()) == (0, 3)
    register(world, now=at(190))
    refused = quote(world, task_of(cores=2), now=at(190)).refused[0]
    assert [reason.code for reason in refused.reasons] == ["full"]
    report(world, attempt, now=at(200))
    assert (live_cores(), Run.objects.get(id=run.id).state) == (0, "failed")
    assert attempt_of(run).late_report["phase"] == "succeeded"


def test_the_next_holder_of_what_overstays_is_credited() -> None:
    world = make_world(cores=4)
    started(world, cores=3)
    later = quote(world, task_of(cores=3), now=at(10)).quotes[0]
    register(world, now=at(20))
    next_run = accept(world, later.id, now=at(20))
    services.expire_leases(now=at(100))
    services.expire_leases(now=at(181))
    assert lease(world, now=at(200), running=[]) is None
    assert attempt_of(next_run).state == "waiting"
    assert lease(world, now=at(250)) is None
    next_run.refresh_from_db()
    assert (next_run.state, order_of(next_run).outcome) == ("failed", "platform_failure")
    assert held_micros(world.buyer.id) == 0


def test_nobody_came_for_it() -> None:
    world = make_world()
    run = buy(world)
    services.expire_leases(now=at(181))
    run.refresh_from_db()
    assert (run.state, order_of(run).outcome, live_cores()) == ("failed", "platform_failure", 0)
    assert held_micros(world.buyer.id) == 0


def test_a_fence_ends_what_is_unreachable() -> None:
    world = make_world()
    run, attempt = started(world)
    services.expire_leases(now=at(40))
    with pytest.raises(Invalid):
        services.fence_attempt(actor=OPERATOR, attempt_id=attempt.id, why=" ", now=at(41))
    assert attempt_of(run).state == "unreachable"
    services.fence_attempt(actor=OPERATOR, attempt_id=attempt.id, why="rack is off", now=at(41))
    assert (attempt_of(run).state, live_cores()) == ("lost", 0)
    assert order_of(run).total_micros == 0
    answer = beat(world, attempt, "running", now=at(50))
    assert [command.action for command in answer.commands] == ["cancel"]


def test_lost_before_it_started_starts_anew_and_only_then() -> None:
    world = make_world()
    run = buy(world)
    lease(world, now=at(1))
    first = attempt_of(run)
    report(world, first, "lost", now=at(2), started_at=None)
    second = attempt_of(run)
    assert (second.epoch, second.state, live_cores()) == (2, "waiting", 1)
    lease(world, now=at(3))
    beat(world, second, "running", now=at(4))
    report(world, second, "lost", now=at(5), started_at=None)
    run.refresh_from_db()
    assert (run.state, run.attempts.count(), live_cores()) == ("failed", 2, 0)
    assert order_of(run).outcome == "platform_failure"


def test_reports_count_once() -> None:
    world = make_world()
    run, attempt = started(world)
    first = report(world, attempt, now=at(10))
    again = report(world, attempt, "failed", now=at(20))
    assert first == again
    assert Run.objects.get(id=run.id).state == "succeeded"


def test_what_was_never_leased_cannot_be_reported() -> None:
    world = make_world()
    run = buy(world)
    with pytest.raises(NotLeased):
        report(world, attempt_of(run), now=at(1))
    assert attempt_of(run).state == "waiting"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a\\b", "", "a\x00b"])
def test_bad_output_paths_change_nothing(path: str) -> None:
    world = make_world()
    run, attempt = started(world)
    output = {"path": path, "sha256": "0" * 64, "size_bytes": 1}
    with pytest.raises(Invalid):
        report(world, attempt, now=at(10), outputs=(output,))
    assert (attempt_of(run).state, live_cores()) == ("running", 1)


def test_outputs_whose_bytes_were_not_sent_are_refused() -> None:
    world = make_world()
    run, attempt = started(world)
    output = {"path": "w.bin", "sha256": "0" * 64, "size_bytes": 1}
    with pytest.raises(Invalid):
        report(world, attempt, now=at(10), outputs=(output,))
    assert attempt_of(run).state == "running"


def test_usage_above_what_the_hub_saw_is_quarantined() -> None:
    world = make_world()
    _, attempt = started(world, wall="1h")
    assert use(world, attempt, 10, since=NOW, now=at(10), sequence=0).accepted == 1
    assert use(world, attempt, 10, since=NOW, now=at(10), sequence=0).repeated == 1
    assert use(world, attempt, 3000, since=NOW, now=at(20), sequence=1).quarantined == 1
    report(world, attempt, now=at(20))
    counted = sum(UsageRecord.objects.values_list("quantity_accepted", flat=True))
    assert counted <= 26
    assert use(world, attempt, 5, since=NOW, now=at(30), sequence=2).quarantined == 1


def test_a_bill_follows_the_engines_final_books() -> None:
    """Its queue had shown eleven seconds, its books end with four; taken back once, however often it is said."""
    world = make_world()
    run, attempt = started(world)
    use(world, attempt, 11, since=NOW, now=at(11), sequence=0)
    for _ in range(2):
        use(world, attempt, -7, since=at(4), now=at(11), sequence=1)
    report(world, attempt, now=at(12))
    assert list(Charge.objects.values_list("quantity", flat=True)) == [4]
    assert order_of(run).total_micros == Charge.objects.get().amount_micros


def test_usage_of_a_meter_that_was_not_sold_is_not_billed() -> None:
    world = make_world()
    run, attempt = started(world)
    record = Usage(
        attempt_id=attempt.public_id, meter="card_second", sequence=0, quantity=1, start=NOW, end=at(1)
    )
    services.take_usage(actor=world.agent, batch=UsageBatch(records=(record,)), now=at(1))
    report(world, attempt, now=at(2), reason="a\x00b")
    assert UsageRecord.objects.count() == 0
    assert (order_of(run).total_micros, Run.objects.get(id=run.id).reason) == (0, "a?b")


def test_logs_are_taken_once_and_without_control_sequences() -> None:
    world = make_world()
    run, attempt = started(world)

    def send(offset: int, text: str) -> int:
        chunk = LogChunk(offset=offset, text=text)
        return services.append_log(
            actor=world.agent, attempt_id=attempt.id, chunk=chunk, now=at(1)
        ).next_offset

    assert send(0, "one\n") == 4
    assert send(0, "one\n") == 4
    assert send(2, "e\ntwo\n") == 8
    assert send(20, "gap") == 8
    assert send(8, "\x1b[31mred\x9b字\n") == 8 + len("\x1b[31mred\x9b字\n".encode())
    whole = services.read_log(actor=world.actor, run_id=run.id, offset=0, now=at(2))
    assert whole.data.decode() == "one\ntwo\n?[31mred??字\n"
    part = services.read_log(actor=world.actor, run_id=run.id, offset=5, now=at(2))
    assert part.data == whole.data[5:]
    assert not whole.is_complete
    report(world, attempt, now=at(3), log_bytes=whole.next_offset)
    assert services.read_log(actor=world.actor, run_id=run.id, offset=0, now=at(4)).is_complete


def test_cancelled_before_it_was_handed_out() -> None:
    world = make_world()
    run = buy(world)
    services.cancel_run(actor=world.actor, run_id=run.id, now=at(1))
    run.refresh_from_db()
    assert (run.state, order_of(run).state, live_cores()) == ("cancelled", "cancelled", 0)
    assert held_micros(world.buyer.id) == 0
    assert lease(world, now=at(2)) is None


def test_cancelled_while_it_runs() -> None:
    world = make_world()
    run, attempt = started(world)
    services.cancel_run(actor=world.actor, run_id=run.id, now=at(1))
    assert attempt_of(run).state == "running"
    answer = beat(world, attempt, "running", now=at(2))
    assert [(one.action, one.attempt_id) for one in answer.commands] == [("cancel", attempt.public_id)]
    report(world, attempt, "cancelled", now=at(3))
    assert (order_of(run).state, order_of(run).outcome) == ("settled", "cancelled")
    assert [one.action for one in beat(world, attempt, "cancelled", now=at(4)).commands] == ["forget"]


def test_another_pools_agent_sees_nothing() -> None:
    world = make_world()
    run, attempt = started(world)
    other = make_organisation("rival", capabilities=["supplier"])
    pool, token = services.create_pool(
        actor=OPERATOR, organisation_id=other.id, name="x", region="y", now=NOW
    )
    mine, world.agent = world.agent, services.actor_of_agent(f"Bearer {token}", now=NOW)
    assert lease(world, now=at(1)) is None
    assert beat(world, attempt, "succeeded", now=at(1)).commands == ()
    for refused in (
        lambda: report(world, attempt, now=at(1)),
        lambda: use(world, attempt, 1, since=NOW, now=at(1)),
        lambda: services.append_log(
            actor=world.agent, attempt_id=attempt.id, chunk=LogChunk(offset=0, text="x"), now=at(1)
        ),
        lambda: services.output_of(actor=world.agent, attempt_id=attempt.id, sha256="0" * 64),
    ):
        with pytest.raises(NotFound):
            refused()
    assert attempt_of(run).state == "running"
    assert mine.id != pool.id


def test_another_organisation_sees_nothing() -> None:
    world = make_world()
    run, _ = started(world)
    stranger = developer_of(make_organisation("stranger"))
    assert not runs_visible_to(stranger).exists()
    for refused in (
        lambda: services.read_log(actor=stranger, run_id=run.id, offset=0, now=at(1)),
        lambda: services.cancel_run(actor=stranger, run_id=run.id, now=at(1)),
        lambda: services.output_named(actor=stranger, run_id=run.id, path="x"),
    ):
        with pytest.raises(NotFound):
            refused()
    assert attempt_of(run).state == "running"


def test_a_rotated_token_no_longer_works() -> None:
    world = make_world()
    services.rotate_token(actor=OPERATOR, pool_id=world.pool_id, now=at(1))
    with pytest.raises(Unauthenticated):
        services.actor_of_agent(f"Bearer {world.token}", now=at(2))
    assert services.ensure_local_pool(now=at(3)) == (world.pool_id, None)


def test_the_trial_pools_price_is_the_published_one() -> None:
    make_world()
    assert OfferPrice.objects.get().unit_price_micros == 150_000


def test_nodes_that_the_agent_no_longer_lists_leave_sale() -> None:
    world = make_world()
    register(world, nodes=())
    refused = quote(world, task_of()).refused[0]
    assert [reason.code for reason in refused.reasons] == ["no_nodes"]
    register(world)
    assert quote(world, task_of()).quotes


def test_a_state_written_past_the_audit_is_refused_by_the_database() -> None:
    world = make_world()
    run = buy(world)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("update compute_run set state = 'running', started_at = now() where id = %s", [run.id])
        cursor.execute("set constraints all immediate")


def test_of_a_log_that_is_over_only_the_rest_is_taken() -> None:
    world = make_world()
    run, attempt = started(world)

    def sent(text: str, *, now: datetime) -> int:
        offset = Attempt.objects.get(id=attempt.id).log_next
        chunk = LogChunk(offset=offset, text=text)
        ack = services.append_log(actor=world.agent, attempt_id=attempt.id, chunk=chunk, now=now)
        return ack.next_offset

    assert sent("one\n", now=at(1)) == 4
    report(world, attempt, now=at(3), log_bytes=8)
    assert sent("two\n", now=at(4)) == 8
    assert sent("and what never was\n", now=at(5)) == 8 + 19  # its agent is not asked for it again
    whole = services.read_log(actor=world.actor, run_id=run.id, offset=0, now=at(6))
    assert (whole.data, whole.is_complete) == (b"one\ntwo\n", True)


def test_of_an_attempt_that_was_lost_the_log_is_taken_for_a_day() -> None:
    world = make_world()
    run, attempt = started(world)
    fail_attempt(attempt_id=attempt.id, why="lost", keeps_capacity=False, now=at(3))
    for now, text in ((at(60), "one\n"), (at(3) + timedelta(days=2), "two\n")):
        chunk = LogChunk(offset=Attempt.objects.get(id=attempt.id).log_next, text=text)
        services.append_log(actor=world.agent, attempt_id=attempt.id, chunk=chunk, now=now)
    whole = services.read_log(actor=world.actor, run_id=run.id, offset=0, now=at(3) + timedelta(days=2))
    assert whole.data == b"one\n"


def test_the_log_is_append_only() -> None:
    world = make_world()
    _, attempt = started(world)
    services.append_log(
        actor=world.agent, attempt_id=attempt.id, chunk=LogChunk(offset=0, text="x"), now=at(1)
    )
    for statement in ("update compute_logpiece set data = ''", "delete from compute_logpiece"):
        with pytest.raises(Exception, match=r"append-only|permission denied"), transaction.atomic():
            connection.cursor().execute(statement)
    assert pool_of(world).last_seen_at is not None


@pytest.mark.parametrize("cpu_s", ["Infinity", "NaN", "1e999"])
def test_a_report_with_endless_figures_is_refused(cpu_s: str) -> None:
    """JSON has no such numbers and the database keeps none: it would answer 500 for ever."""
    measures = f'{{"cpu_s": {cpu_s}, "wall_s": 1, "memory_peak_bytes": 1, "memory_source": "sampled"}}'
    with pytest.raises(ValueError, match=r"cpu_s"):
        Measures.model_validate_json(measures)


def test_a_long_reason_is_cut() -> None:
    world = make_world()
    run, attempt = started(world)
    report(world, attempt, now=at(2), reason="x" * 1_000_000)
    assert Run.objects.get(id=run.id).reason.startswith("xxx")
    whys = AuditRecord.objects.filter(subject_id__in=[run.id, attempt.id]).values_list("why", flat=True)
    assert max(map(len, whys)) == 2000


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_list_of_open_runs_looks_through_no_others(state: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("set local enable_seqscan = off")
    assert "run_open" in runs_visible_to(OPERATOR).filter(state=state)[:51].explain()
