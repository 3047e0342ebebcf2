"""Every list that takes an actor shows a stranger nothing of what others have; a list that is added is tried as well."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from types import ModuleType
from typing import Any

import pytest

from mosu.compute import queries as compute_queries
from mosu.compute.services import set_blackout
from mosu.kernel.time import Period
from mosu.ledger import queries as ledger_queries
from mosu.ledger import search as ledger_search
from mosu.ledger.services import propose_deposit
from mosu.market import queries as market_queries
from mosu.market.services import preview_import
from mosu.platform import queries as platform_queries
from mosu.platform.actors import ALL_SCOPES, Actor, ActorKind, HubRole, Role
from mosu.platform.queries import actor_for_user
from mosu.platform.services import ask_admission, invite, open_finding, record_fact
from mosu.store import documents
from mosu.store.services import put_file
from mosu.subsidies import queries as subsidies_queries
from mosu.subsidies.models import Programme
from mosu.subsidies.services import apply_for_voucher
from tests.compute import world as compute
from tests.store.test_documents import PDF
from tests.web.conftest import Hub
from tests.web.test_chain import settled

MODULES = (
    platform_queries, documents, ledger_queries, ledger_search, subsidies_queries, market_queries, compute_queries,
)  # fmt: skip
EVERYONES = {"offers_visible_to", "programmes_visible_to"}
NOT_MADE_HERE = {"claims_visible_to", "endpoints_visible_to", "payouts_visible_to", "quotas_visible_to"}
"""Lists of which `busy` makes no row; their own tests try them."""
AUDITOR = Actor(kind=ActorKind.USER, hub_roles=frozenset({HubRole.AUDITOR}), scopes=ALL_SCOPES)


def lists_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Those that take an actor, and at most the time beside."""
    return {
        name: one
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if name.endswith("_visible_to")
        and one.__module__ == module.__name__
        and set(inspect.signature(one).parameters) <= {"actor", "now"}
    }


LISTS = {name: one for module in MODULES for name, one in lists_of(module).items()}


@pytest.fixture
def busy(hub: Hub, settings: Any, tmp_path: Any) -> Hub:
    """One of nearly everything that belongs to somebody."""
    settings.DATA_DIR = tmp_path
    now = hub.now
    order = settled(hub)
    owner = actor_for_user(hub.user(role=Role.OWNER))
    operator = actor_for_user(hub.user(hub=HubRole.OPERATOR))
    buyer = hub.world.buyer.id
    propose_deposit(
        actor=operator, organisation_id=buyer, amount_micros=1_000_000, bank_reference="r", now=now
    )
    ask_admission(actor=owner, organisation_id=buyer, capability="sponsor", note="A prize", now=now)
    invite(actor=owner, organisation_id=buyer, email="new@example.org", role=Role.VIEWER, now=now)
    record_fact(actor=owner, organisation_id=buyer, name="employees", value=12, source="payroll", now=now)
    apply_for_voucher(
        actor=owner,
        organisation_id=buyer,
        programme_id=Programme.objects.get().id,
        amount_micros=1_000_000,
        note="",
        now=now,
    )
    documents.add_document(actor=owner, organisation_id=buyer, name="a.pdf", file=BytesIO(PDF), now=now)
    open_finding(
        actor=actor_for_user(hub.user(hub=HubRole.AUDITOR)),
        subject=order.public_id,
        title="Why?",
        text="Why?",
        now=now,
    )
    node = compute_queries.nodes_visible_to(AUDITOR).get()
    far = Period(now + timedelta(days=9), now + timedelta(days=10))
    set_blackout(actor=operator, node_id=node.id, period=far, why="fans", now=now)
    supplier_id = node.pool.organisation_id
    kept = put_file(
        file=BytesIO(b"key,price\na,20\n"), size_bytes_max=99, now=now, organisation_id=supplier_id
    )
    preview_import(
        actor=operator,
        supplier_id=supplier_id,
        file_sha256=kept.sha256,
        sent_to=supplier_id,
        filename="a.csv",
        shelf="compute",
        now=now,
    )
    return hub


def keys(hub: Hub, name: str, actor: Actor) -> set[Any]:
    given = {"now": hub.now} if "now" in inspect.signature(LISTS[name]).parameters else {}
    return set(LISTS[name](actor, **given).order_by().values_list("pk", flat=True))


def test_a_stranger_sees_nothing_of_others(busy: Hub) -> None:
    there = {name: keys(busy, name, AUDITOR) for name in LISTS}
    assert len(LISTS) >= 20
    assert {name for name, rows in there.items() if not rows} == NOT_MADE_HERE
    elsewhere = compute.make_organisation("elsewhere", capabilities=["supplier"])
    stranger = actor_for_user(busy.user(role=Role.OWNER, at=elsewhere))
    nobody = Actor(kind=ActorKind.ANONYMOUS)
    for name in LISTS.keys() - EVERYONES:
        for actor in (stranger, nobody):
            assert keys(busy, name, actor) & there[name] == set(), f"{name} for {actor.kind}"
