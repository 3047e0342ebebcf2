"""The chain of an order: an honest one holds, and one in which any figure was changed does not."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from mosu.compute.services import quote_run
from mosu.market.models import Order
from mosu.platform.actors import ALL_SCOPES, Actor, ActorKind, HubRole
from mosu.web.audit.chain import chain_of
from mosu.web.audit.checks import Chain
from mosu.web.audit.evidence import Evidence, evidence_of
from mosu.wire.task import parse_task
from tests.compute import world as compute
from tests.subsidies.factories import make_voucher, released
from tests.web.conftest import Hub

AUDITOR = Actor(kind=ActorKind.USER, hub_roles=frozenset({HubRole.AUDITOR}), scopes=ALL_SCOPES)
CLAUSE = 'eligibility:\n  - {id: company, when: organisation.kind == "company", reason: {zh: 限企业, en: companies only}}'


def settled(hub: Hub, *, voucher: bool = True, seconds: int = 600) -> Order:
    """An order of ten minutes, of which a voucher pays three tenths and the buyer the rest."""
    began = hub.now
    if voucher:
        version = released(now=began, more=CLAUSE)
        make_voucher(version, hub.world.buyer.id, now=began)
    asked = quote_run(
        actor=hub.world.actor,
        organisation_id=hub.world.buyer.id,
        project_id=hub.world.project.id,
        task=parse_task(compute.task_of(cores=8, wall="30m")),
        workdir=(),
        choice="auto",
        now=began,
    )
    run = compute.accept(hub.world, asked.quotes[0].id, now=began)
    compute.lease(hub.world, now=began)
    attempt = compute.attempt_of(run)
    compute.beat(hub.world, attempt, "running", now=began)
    until = began + timedelta(seconds=seconds)
    compute.use(hub.world, attempt, 8 * seconds, since=began, now=until)
    compute.report(hub.world, attempt, now=until)
    return order_of(run.order_id)


def order_of(key: Any) -> Order:
    return Order.objects.select_related("quote", "receipt", "organisation", "offer__supplier").get(id=key)


def gathered(order: Order) -> Evidence:
    return evidence_of(AUDITOR, order)


def told(chain: Chain) -> list[tuple[str, str, str]]:
    return [(check.code, check.found, check.expected) for check in chain.failed]


def test_an_honest_order_holds_from_posting_to_policy(hub: Hub) -> None:
    chain = chain_of(gathered(settled(hub)))
    assert told(chain) == []
    assert [link.code for link in chain.links] == [
        "journal",
        "charge",
        "usage",
        "observed",
        "quote",
        "vouchers",
        "programme",
        "facts",
        "receipt",
        "moves",
    ]
    assert all(link.verdict == "holds" for link in chain.links)
    # What cannot be known is said: the day is not over, kinds have no history.
    assert {check.code for check in chain.checks if check.holds is None} == {
        "entry.sealed",
        "facts.kind",
        "facts.persons",
    }


def test_a_sealed_day_is_told(hub: Hub) -> None:
    evidence = gathered(settled(hub))
    sealed = replace(evidence, sealed_until=hub.now + timedelta(days=2))
    assert [check.holds for check in chain_of(sealed).checks if check.code == "entry.sealed"] == [True]


def test_an_order_without_public_money_and_one_under_way_hold_and_say_what_is_not_there(hub: Hub) -> None:
    own = chain_of(gathered(settled(hub, voucher=False)))
    assert told(own) == []
    assert {link.code for link in own.links if link.note} == {"vouchers", "programme", "facts"}
    under_way = chain_of(gathered(order_of(hub.run().order_id)))
    assert told(under_way) == []
    assert {"charge", "receipt"} <= {link.code for link in under_way.links if link.note}


def test_the_checks_ask_the_database_nothing(hub: Hub) -> None:
    evidence = gathered(settled(hub))
    with CaptureQueriesContext(connection) as asked:
        chain_of(evidence)
    assert len(asked) == 0


# What is not a figure of the chain, and why a change of it is not looked for.
FREE: dict[str, set[str]] = {
    "Order": {
        "placed_by",
        "project_id",
        "ended_at",
        "settled_at",
        "balance_hold_id",
    },
    "Quote": {
        "project_id",
        "request",
        "facts",
        "fx",
        "holds_until",
        "starts_at",
        "wall_limit_s",
        "state",
        "valid_until",
    },
    "OrderLine": {"order_id"},
    "Charge": {"order_line_id", "at"},
    "UsageRecord": {"id", "start", "end", "received_at"},
    "Receipt": {"id", "order_id", "organisation_id", "issued_at"},
    "JournalEntry": {"id"},
    "Hold": {"account_id", "placed_at", "closed_at", "key", "state", "subject_id"},
    "Redemption": {
        "order_id",
        "position",
        "cap_id",
        "cap_hold_id",
        "charge_micros",
        "held_at",
        "settled_at",
        "claim_by",
        "id",
    },
    "Voucher": {
        "valid_from",
        "by_rule",
        "owes_pool",
        "state",
        "version_id",
        "checker_id",
        "maker_id",
        "expires_at",
        "released_at",
        "issued_at",
        "id",
    },
    "ProgrammeVersion": {
        "programme_id",
        "title_zh",
        "title_en",
        "maker_id",
        "checker_id",
        "id",
        "proposed_at",
        "released_at",
    },
    "AuditRecord": {
        "id",
        "xid",
        "at",
        "actor_kind",
        "actor_id",
        "actor_label",
        "action",
        "organisation_id",
        "subject_id",
        "why",
        "facts",
    },
}


def rows_of(evidence: Evidence) -> Iterator[Any]:
    yield evidence.order
    yield evidence.quote
    yield from evidence.lines
    yield from evidence.charges.values()
    yield from evidence.usage
    yield evidence.receipt
    yield from evidence.entries
    yield from evidence.grants
    yield from evidence.postings
    yield from evidence.holds
    for redemption in evidence.redemptions:
        yield redemption
        yield redemption.voucher
        yield redemption.voucher.version
    yield from evidence.moves


def changed(value: Any) -> Any:
    """The same kind of value, another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return ("1" if value[:1] != "1" else "2") + value[1:] if value else "x"
    if isinstance(value, dict):
        key = next(iter(value))
        return {**value, key: changed(value[key])}
    if isinstance(value, list):
        return [changed(value[0]), *value[1:]] if value else ["x"]
    if hasattr(value, "hex") and hasattr(value, "int"):
        return type(value)(int=value.int ^ 1)
    if value is None:
        return 1
    return value + timedelta(days=400)


def test_whichever_figure_is_changed_it_is_found(hub: Hub) -> None:
    """Every column of every row behind an order, but for those in `FREE`, one after the other."""
    honest = gathered(settled(hub))
    assert chain_of(honest).holds
    missed, tried = [], 0
    count = len(list(rows_of(honest)))
    for place in range(count):
        row = list(rows_of(honest))[place]
        for field in row._meta.concrete_fields:
            name = field.attname
            if name in FREE.get(type(row).__name__, set()):
                continue
            evidence = copy.deepcopy(honest)
            victim = list(rows_of(evidence))[place]
            victim.__dict__[name] = changed(
                getattr(victim, name)
            )  # past the descriptors, which would fetch anew
            tried += 1
            if chain_of(evidence).holds:
                missed.append(f"{type(row).__name__}.{name}")
    assert tried > 100
    assert not missed, sorted(set(missed))
