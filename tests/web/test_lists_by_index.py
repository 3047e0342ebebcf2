"""The hub's people see lists over all organisations: each way to sort or narrow one is read through an index."""

from typing import Any

import pytest
from django.db import connection, models

from mosu.compute.models import Allocation, Attempt
from mosu.ledger.models import JournalEntry, Posting
from mosu.market.models import Offer, Order
from mosu.market.queries import orders_numbered
from mosu.platform.models import AuditRecord
from mosu.web.tables import Plan
from mosu.web.views.ledger import plan_of_entries
from mosu.web.views.offers import MY_OFFERS
from mosu.web.views.orders import ORDERS
from mosu.web.views.sales import SALES
from mosu.web.views.trail import AUDIT

NARROWED = [
    (AuditRecord, "actor_label"),
    (AuditRecord, "action"),
    (AuditRecord, "subject_id"),
    (AuditRecord, "organisation_id"),
    (AuditRecord, "at"),
    (Allocation, "released_at"),
    (Attempt, "pool"),
    (Order, "state"),
    (Order, "placed_at"),
    (Order, "settled_at"),
    (JournalEntry, "kind"),
    (Posting, "amount_micros"),
    (JournalEntry, "subject_id"),
    (JournalEntry, "posted_at"),
]


@pytest.mark.django_db
def test_every_sort_of_a_list_over_all_organisations_has_its_index() -> None:
    lists: list[tuple[Plan, type[models.Model]]] = [
        (ORDERS, Order),
        (SALES, Order),
        (AUDIT, AuditRecord),
        (MY_OFFERS, Offer),
        (plan_of_entries(), JournalEntry),
    ]
    without = [
        (plan.name, column.name)
        for plan, model in lists
        for column in plan.columns
        if column.sort and not _is_indexed(model, column.sort, plan.key)
    ]
    assert without == []


@pytest.mark.parametrize(("model", "column"), NARROWED)
def test_what_such_a_list_is_narrowed_by_begins_an_index(model: Any, column: str) -> None:
    assert any(index[0] == column for index in _indexes(model))


@pytest.mark.django_db
def test_orders_and_entries_are_found_by_number_and_amount_through_indexes() -> None:
    """As PostgreSQL would go where reading all rows costs more."""
    found = {
        "number": orders_numbered(Order.objects.order_by(), "012345"),
        "amount": Posting.objects.filter(amount_micros__in=[12_500_000, -12_500_000]).order_by(),
    }
    with connection.cursor() as cursor:
        cursor.execute("set local enable_seqscan = off")
    plans = {name: rows.explain() for name, rows in found.items()}
    assert "order_by_end_of_number" in plans["number"]
    assert "_like" in plans["number"]
    assert "ledger_post_amount" in plans["amount"]


def _is_indexed(model: type[models.Model], sort: str, key: str) -> bool:
    """Whether one index has the rows in this order; where no two are alike, the column alone does."""
    found = _indexes(model)
    return (sort,) in found or any(index[:2] == (sort, key) for index in found)


def _indexes(model: type[models.Model]) -> set[tuple[str, ...]]:
    """The columns of each index over all rows; of a unique column, that column."""
    found = {
        tuple(name.lstrip("-") for name in index.fields)
        for index in model._meta.indexes
        if index.fields and not index.condition
    }
    return found | {
        (field.name,)
        for field in model._meta.concrete_fields
        if field.unique or (field.db_index and not field.is_relation)
    }
