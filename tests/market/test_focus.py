"""A month's costs in FOCUS: what the specification's linter takes, and the sum is what the bill says."""

import csv
import io
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest
from focus_data_toolkit import lint_focus_1_4_structure
from tests.market.conftest import YUAN, World, make_organisation, person
from tests.market.test_bills import bought
from tests.market.test_closing import APRIL, MARCH, checker, close, issue, operator, propose
from tests.market.test_services import accept, record, settle, used
from tests.market.vouchers import give_voucher

from mosu.kernel.refusals import Invalid
from mosu.market.focus import columns_of, costs_of, csv_of, parquet_file, version_of
from mosu.market.models import Bill, Outcome, SoldBy
from mosu.platform.actors import Actor, Role

__all__ = ["checker", "operator"]
"""Fixtures."""

MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart",
    "BillingPeriodEnd", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodStart", "ChargePeriodEnd",
    "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit",
    "ServiceCategory", "ServiceName",
}  # fmt: skip


@pytest.fixture
def month(world: World) -> World:
    """Receipts of each sort: with a voucher, billed by the supplier, credited since the supplier failed."""
    give_voucher(world)
    bought(world, key="k1")
    bought(world, key="k2")
    own = accept(world, world.quote(offer=world.offer(sold_by=SoldBy.SUPPLIER)), key="own")
    record(used(own, 600))
    settle(own)
    failed = accept(world, world.quote(), key="failed")
    record(used(failed, 600))
    settle(failed, outcome=Outcome.PLATFORM_FAILURE)
    return world


def exported(
    world: World, version: Any, *, actor: Actor | None = None, at: date = MARCH
) -> list[dict[str, str]]:
    rows = costs_of(actor or world.actor, world.buyer.id, month=at, version=version)
    return list(csv.DictReader(io.StringIO("".join(csv_of(rows, version)))))


def test_the_linter_takes_version_1_4(month: World) -> None:
    report = lint_focus_1_4_structure("Cost and Usage", exported(month, "1.4"))
    assert report.ok, [str(one) for one in report.violations][:5]


def test_the_linter_would_have_said_so(month: World) -> None:
    rows = exported(month, "1.4")
    rows[0]["ChargeCategory"] = "Gift"
    assert not lint_focus_1_4_structure("Cost and Usage", rows).ok


def test_version_1_2_has_its_mandatory_columns(month: World) -> None:
    assert set(columns_of("1.2")) >= MANDATORY | {"ProviderName", "PublisherName"}
    for row in exported(month, "1.2"):
        assert all(row[name] for name in MANDATORY - {"ChargeClass", "PricingQuantity", "PricingUnit"})
        assert row["ChargeCategory"] == "Credit" or row["PricingQuantity"]
        assert (
            row["BillingPeriodStart"]
            <= row["ChargePeriodStart"]
            <= row["ChargePeriodEnd"]
            <= row["BillingPeriodEnd"]
        )


@pytest.mark.parametrize("version", ["1.2", "1.4"])
def test_the_sum_of_billed_cost_is_what_the_bill_says(month: World, operator: Actor, version: str) -> None:
    close(operator)
    rows, bill = exported(month, version), Bill.objects.get()
    assert sum(Decimal(row["BilledCost"]) for row in rows) * YUAN == bill.due_micros > 0
    given = [Decimal(row["BilledCost"]) for row in rows if row["ChargeCategory"] == "Credit"]
    assert len(given) == 3
    assert -sum(given) * YUAN == bill.vouchers_micros
    assert {row["InvoiceId"] for row in rows} == {bill.number}
    assert {row["InvoiceIssuerName"] for row in rows} == {"mosu", month.supplier.name}


def test_a_credit_note_is_a_correction_in_the_month_of_its_issue(
    month: World, operator: Actor, checker: Actor
) -> None:
    close(operator)
    receipt = bought_first(month)
    issue(checker, propose(operator, receipt.id, 2 * YUAN))
    (row,) = exported(month, "1.4", at=date(2026, 4, 1))
    assert (row["ChargeCategory"], row["ChargeClass"], Decimal(row["BilledCost"])) == (
        "Credit",
        "Correction",
        -2,
    )
    assert lint_focus_1_4_structure("Cost and Usage", [row]).ok
    close(operator, date(2026, 4, 1), now=APRIL.replace(month=5))
    assert Decimal(row["BilledCost"]) * YUAN == Bill.objects.get(month=date(2026, 4, 1)).due_micros


def bought_first(world: World) -> Any:
    return world.buyer.receipts.order_by("number").first()  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["1.2", "1.4"])
def test_parquet_holds_what_csv_holds_in_types(month: World, version: Any) -> None:
    rows = costs_of(month.actor, month.buyer.id, month=MARCH, version=version)
    table = pq.read_table(io.BytesIO(b"".join(parquet_file(rows, version))))
    assert table.schema.names == list(columns_of(version))
    assert {str(table.schema.field(name).type) for name in ("BilledCost", "PricingQuantity")} == {
        "decimal128(38, 15)"
    }
    found, written = table.to_pylist(), exported(month, version)
    assert len(found) == len(written) > 0
    for typed, text in zip(found, written, strict=True):
        for name, value in typed.items():
            if isinstance(value, Decimal):
                assert value == Decimal(text[name])
            elif isinstance(value, datetime):
                assert value == datetime.fromisoformat(text[name])
            else:
                assert (value or "") == text[name]


def test_the_linter_takes_what_parquet_holds(month: World) -> None:
    rows = costs_of(month.actor, month.buyer.id, month=MARCH, version="1.4")
    table = pq.read_table(io.BytesIO(b"".join(parquet_file(rows, "1.4"))))
    report = lint_focus_1_4_structure("Cost and Usage", [_as_text(row) for row in table.to_pylist()])
    assert report.ok, [str(one) for one in report.violations][:5]


def _as_text(row: dict[str, Any]) -> dict[str, str]:
    """As the linter reads rows, whatever file they come from."""
    return {
        name: ""
        if value is None
        else value.strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(value, datetime)
        else str(value)
        for name, value in row.items()
    }


def test_nobody_exports_what_is_anothers(month: World) -> None:
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    assert exported(month, "1.2", actor=stranger) == []


@pytest.mark.parametrize("text", ["", "1.0", "1.3", "2"])
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        version_of(text)
