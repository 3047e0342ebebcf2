"""Parquet as another implementation reads it."""

from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel import parquet
from mosu.kernel.parquet import Column, parquet_of

COLUMNS = (Column("Name"), Column("Cost", "decimal"), Column("At", "time"), Column("Note"))
ROW = st.fixed_dictionaries(
    {
        "Name": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        "Cost": st.none() | st.decimals(-(10**15), 10**15, places=6),
        "At": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        "Note": st.none(),
    }
)


def read(rows: list[dict[str, Any]]) -> Any:
    return pq.ParquetFile(BytesIO(b"".join(parquet_of(COLUMNS, rows))))


@given(st.lists(ROW, max_size=40))
def test_what_is_written_is_read(rows: list[dict[str, Any]]) -> None:
    assert read(rows).read().to_pylist() == rows


def test_row_groups_are_whole_and_their_sum_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 100)
    rows = [
        {"Name": f"第 {n} 行", "Cost": Decimal(n) / 100, "At": datetime(2026, 3, 1, tzinfo=UTC), "Note": None}
        for n in range(250)
    ]
    file = read(rows)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [100, 100, 50]
    assert file.read().to_pylist() == rows
    assert str(file.schema_arrow.field("Cost").type) == "decimal128(38, 15)"
    assert str(file.schema_arrow.field("At").type) == "timestamp[us, tz=UTC]"


def test_an_empty_file_has_its_columns() -> None:
    assert read([]).schema_arrow.names == [column.name for column in COLUMNS]


def test_one_row_group_at_a_time_is_kept() -> None:
    taken = 0

    def rows() -> Any:
        nonlocal taken
        for _ in range(3 * parquet.ROWS_PER_GROUP):
            taken += 1
            yield {"Name": "x"}

    pieces = parquet_of(COLUMNS, rows())
    next(pieces), next(pieces)
    assert taken == parquet.ROWS_PER_GROUP
