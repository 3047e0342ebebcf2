"""The hub's moving paths: each prepares a hub and returns the request that will be cut off, and sent again."""

import io
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.test import Client

from mosu.compute import services as compute
from mosu.compute.models import Run
from mosu.kernel.refusals import DomainError
from mosu.ledger import services as ledger
from mosu.market import services as market
from mosu.market.models import Order, Quote
from mosu.market.shelves import register_shelf
from mosu.platform import services as platform
from mosu.platform.actors import Role
from mosu.platform.models import Event
from mosu.store import services as store
from mosu.store.documents import add_document
from mosu.subsidies import services as subsidies
from mosu.wire.agent import LogChunk, OutputFile
from mosu.wire.task import parse_task
from tests.compute.world import (
    World,
    at,
    attempt_of,
    beat,
    lease,
    make_world,
    report,
    sha256,
    task_of,
    use,
)
from tests.conftest import NOW
from tests.market.conftest import DeskShelf
from tests.market.conftest import World as MarketWorld
from tests.market.conftest import make_world as market_world
from tests.market.test_imports import HEADER as IMPORT_HEADER
from tests.market.test_imports import send
from tests.platform.factories import make_founder, make_member
from tests.subsidies.factories import checker, make_voucher, maker, programme_text, released

Request = Callable[[], Any]
Path = Callable[[], Request]

PDF = b"%PDF-1.7\n" + b"x" * 2000 + b"\n%%EOF\n"


def quoted(world: World, *, wall: str = "600s") -> Quote:
    """A quote of which a voucher pays a part."""
    found = compute.quote_run(
        actor=world.actor,
        organisation_id=world.buyer.id,
        project_id=world.project.id,
        task=parse_task(task_of(cores=2, wall=wall)),
        workdir=(),
        choice="auto",
        now=NOW,
    )
    [quote] = found.quotes
    assert {share["source"] for share in quote.split["shares"]} == {"voucher", "balance"}
    return quote


def with_voucher() -> tuple[World, Any]:
    world = make_world()
    version = released(rate="0.30", more='cap_per_organisation_year: "100"')
    return world, make_voucher(version, world.buyer.id, 100)


def ordered() -> tuple[World, Order]:
    world, _ = with_voucher()
    return world, accepted(world, quoted(world))


def accepted(world: World, quote: Quote, key: str = "k") -> Order:
    return market.accept_quote(actor=world.actor, quote_id=quote.id, idempotency_key=key, now=NOW)


def running() -> tuple[World, Any]:
    world, order = ordered()
    assert lease(world, now=at(1)) is not None
    attempt = attempt_of(Run.objects.get(order_id=order.id))
    beat(world, attempt, "running", now=at(2))
    return world, attempt


def signing_up() -> Request:
    Client().get("/account/signup/")  # loads all pages here, once
    return lambda: Client().post(
        "/account/signup/",
        {
            "email": "new@example.org",
            "password1": "correct horse battery 9",
            "organisation": "Newcomers",
            "kind": "team",
        },
    )


def giving_the_trial() -> Request:
    released(kind="trial", rate="1", more='grant: "10"\ncap_per_order: "10"')
    make_founder()
    event = Event.objects.get(name="platform.organisation_founded")
    return lambda: platform.deliver(event_id=event.id, now=NOW)


def accepting_a_quote() -> Request:
    world, _ = with_voucher()
    quote = quoted(world)
    return lambda: accepted(world, quote)


def cancelling_what_waits() -> Request:
    """Gives back redemptions and holds."""
    world, order = ordered()
    return lambda: market.cancel_order(actor=world.actor, order_id=order.id, now=at(5))


def cancelling_what_runs() -> Request:
    world, attempt = running()
    return lambda: compute.cancel_run(actor=world.actor, run_id=attempt.run_id, now=at(5))


def leasing() -> Request:
    world, _ = ordered()
    return lambda: lease(world, now=at(1))


def hearing_that_it_runs() -> Request:
    world, order = ordered()
    assert lease(world, now=at(1)) is not None
    attempt = attempt_of(Run.objects.get(order_id=order.id))
    return lambda: beat(world, attempt, "running", now=at(2))


def taking_usage() -> Request:
    world, attempt = running()
    return lambda: use(world, attempt, 40, since=at(2), now=at(32))


def taking_a_log() -> Request:
    world, attempt = running()
    return lambda: compute.append_log(
        actor=world.agent, attempt_id=attempt.id, chunk=LogChunk(offset=0, text="hello\n"), now=at(3)
    )


def settling() -> Request:
    """The final report: the run ends, vouchers and money are captured, the receipt is written."""
    world, attempt = running()
    use(world, attempt, 40, since=at(2), now=at(32))
    return lambda: report(world, attempt, now=at(33), started_at=at(2))


def settling_with_outputs() -> Request:
    world, attempt = running()
    data = b"weights"
    store.put_blob(
        chunks=[data], sha256=sha256(data), size_bytes_max=100, now=at(3), organisation_id=world.buyer.id
    )
    output = OutputFile(path="w.bin", sha256=sha256(data), size_bytes=len(data))
    return lambda: report(world, attempt, now=at(33), started_at=at(2), outputs=(output,))


def _silent() -> None:
    """One attempt runs, another was leased and never started."""
    world, _ = running()
    accepted(world, quoted(world), key="second")
    assert lease(world, now=at(3)) is not None


def expiring_leases() -> Request:
    _silent()
    return lambda: compute.expire_leases(now=at(300))


def ending_what_is_silent_past_its_time() -> Request:
    """Settled for nothing, and credited."""
    _silent()
    compute.expire_leases(now=at(300))
    return lambda: compute.expire_leases(now=at(100_000))


def confirming_a_deposit() -> Request:
    _, organisation = make_founder()
    second = checker()
    deposit = ledger.propose_deposit(
        actor=maker(),
        organisation_id=organisation.id,
        amount_micros=5_000_000,
        bank_reference="B1",
        now=NOW,
    )
    return lambda: ledger.confirm_deposit(actor=second, deposit_id=deposit.id, now=NOW)


def refunding_a_deposit() -> Request:
    _, organisation = make_founder()
    first, second = maker(), checker()
    deposit = ledger.propose_deposit(
        actor=first, organisation_id=organisation.id, amount_micros=5_000_000, bank_reference="B1", now=NOW
    )
    ledger.confirm_deposit(actor=second, deposit_id=deposit.id, now=NOW)
    ledger.propose_refund(actor=first, deposit_id=deposit.id, why="sent twice", now=NOW)
    return lambda: ledger.confirm_refund(actor=second, deposit_id=deposit.id, now=NOW)


def releasing_a_programme() -> Request:
    second = checker()
    version = subsidies.propose_programme(actor=maker(), text=programme_text(), now=NOW)
    return lambda: subsidies.release_programme(actor=second, version_id=version.id, now=NOW)


def releasing_a_voucher() -> Request:
    _, organisation = make_founder()
    second = checker()
    version = released()
    voucher = subsidies.issue_voucher(
        actor=maker(),
        organisation_id=organisation.id,
        programme_id=version.programme_id,
        amount_micros=7_000_000,
        now=NOW,
    )
    return lambda: subsidies.release_voucher(actor=second, voucher_id=voucher.id, now=NOW)


def expiring_vouchers() -> Request:
    world, _ = with_voucher()
    accepted(world, quoted(world))
    make_voucher(released(), world.buyer.id, 20)
    return lambda: subsidies.expire_vouchers(now=NOW + timedelta(days=40))


def _claimed() -> tuple[Any, Any]:
    world = make_world()
    version = released(mode="reimbursement", rate="0.20", more="claim_days: 10")
    make_voucher(version, world.buyer.id, 100)
    found = compute.quote_run(
        actor=world.actor,
        organisation_id=world.buyer.id,
        project_id=world.project.id,
        task=parse_task(task_of(cores=4, wall="24h")),
        workdir=(),
        choice="auto",
        now=NOW,
    )
    order = accepted(world, found.quotes[0])
    assert lease(world, now=at(1)) is not None
    attempt = attempt_of(Run.objects.get(order_id=order.id))
    beat(world, attempt, "running", now=at(2))
    use(world, attempt, 40_000, since=at(2), now=at(10_002))
    report(world, attempt, now=at(10_003), started_at=at(2))
    return make_member(world.buyer, Role.OWNER), order


def submitting_a_claim() -> Request:
    owner, order = _claimed()
    return lambda: subsidies.submit_claim(
        actor=owner, order_id=order.id, evidence=["ab" * 32], now=at(10_600)
    )


def paying_a_claim() -> Request:
    owner, order = _claimed()
    claim = subsidies.submit_claim(actor=owner, order_id=order.id, evidence=["ab" * 32], now=at(10_600))
    subsidies.approve_claim(actor=maker(), claim_id=claim.id, now=at(10_601))
    second = checker()
    return lambda: subsidies.disburse_claim(actor=second, claim_id=claim.id, now=at(10_602))


def lapsing_refunds() -> Request:
    _claimed()
    return lambda: subsidies.lapse_refunds(now=NOW + timedelta(days=20))


def _sent() -> tuple[MarketWorld, UUID]:
    """A file of offers that the hub has not read yet."""
    shop = market_world(DeskShelf())
    register_shelf(shop.shelf)
    rows = "".join(f"k{n},标题,Title,,shanghai,{n}.5,CNY,8\n" for n in range(1, 4))
    return shop, send(shop, IMPORT_HEADER + rows).id


def reading_an_import() -> Request:
    _, import_id = _sent()
    return lambda: market.carry_on_import(import_id=import_id, now=NOW)


def applying_an_import() -> Request:
    """What was asked for, and what the worker makes of it."""
    shop, import_id = _sent()
    market.carry_on_import(import_id=import_id, now=NOW)

    def apply() -> None:
        with suppress(DomainError):
            market.apply_import(actor=shop.seller, import_id=import_id, now=NOW)
        market.carry_on_import(import_id=import_id, now=NOW)

    return apply


def undoing_an_import() -> Request:
    shop, import_id = _sent()
    market.carry_on_import(import_id=import_id, now=NOW)
    market.apply_import(actor=shop.seller, import_id=import_id, now=NOW)
    market.carry_on_import(import_id=import_id, now=NOW)

    def undo() -> None:
        with suppress(DomainError):
            market.undo_import(actor=shop.seller, import_id=import_id, why="the wrong file", now=at(5))
        market.carry_on_import(import_id=import_id, now=at(5))

    return undo


def bringing_a_blob() -> Request:
    _, organisation = make_founder()
    data = b"x" * 5000
    return lambda: store.put_blob(
        chunks=[data],
        sha256=sha256(data),
        size_bytes_max=10_000,
        now=NOW,
        organisation_id=organisation.id,
    )


def bringing_a_document() -> Request:
    owner, organisation = make_founder()
    return lambda: add_document(
        actor=owner, organisation_id=organisation.id, name="a.pdf", file=io.BytesIO(PDF), now=NOW
    )


def sealing_days() -> Request:
    ordered()
    return lambda: ledger.seal_days(now=NOW + timedelta(days=3))


def tasks_of_the_night() -> Request:
    ordered()

    def all_of_them() -> None:
        later = NOW + timedelta(days=40)
        ledger.verify_and_alarm(now=later)
        for order_id in market.recompute_charges(now=later):
            market.recompute_charge(order_id)
        market.expire_quotes(now=later)
        market.forget_changes(now=later)
        platform.purge_keys(now=later)
        store.sweep_temporary()

    return all_of_them


PATHS: list[Path] = [
    signing_up,
    giving_the_trial,
    accepting_a_quote,
    cancelling_what_waits,
    cancelling_what_runs,
    leasing,
    hearing_that_it_runs,
    taking_usage,
    taking_a_log,
    settling,
    settling_with_outputs,
    expiring_leases,
    ending_what_is_silent_past_its_time,
    confirming_a_deposit,
    refunding_a_deposit,
    releasing_a_programme,
    releasing_a_voucher,
    expiring_vouchers,
    submitting_a_claim,
    paying_a_claim,
    lapsing_refunds,
    reading_an_import,
    applying_an_import,
    undoing_an_import,
    bringing_a_blob,
    bringing_a_document,
    sealing_days,
    tasks_of_the_night,
]
