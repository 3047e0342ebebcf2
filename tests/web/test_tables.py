"""Lists: order, filter, columns, pages and the file, all from the address."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from mosu.platform.actors import HubRole
from mosu.platform.models import Organisation
from mosu.web.components import CELLS_MAX, Curve, Point, cells_of
from tests.web.conftest import Hub

ROOT = Path(__file__).parents[2]


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def numbers(text: str) -> list[str]:
    return re.findall(r"O-\d{4}-\d{6}", text)


def rows_of(client: Client, path: str) -> list[list[str]]:
    response = client.get(path)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))


def test_a_list_is_sorted_filtered_and_shown_by_its_address(hub: Hub, owner: Client) -> None:
    for _ in range(3):
        hub.run()
    newest = numbers(page(owner, "/orders/"))
    assert len(newest) == 3
    assert numbers(page(owner, "/orders/?sort=number")) == sorted(newest)
    assert numbers(page(owner, "/orders/?sort=-number")) == sorted(newest, reverse=True)
    assert "Nothing fits this filter." in page(owner, "/orders/?state=settled")
    few = page(owner, "/orders/?columns=number&columns=total")
    assert "<th" in few
    assert len(re.findall(r"<th ", few)) == 2


@pytest.mark.parametrize(
    "query", ["sort=nonesuch", "sort=-", "columns=nonesuch", "state=%00", "state=nonesuch", "sort=total"]
)
def test_what_the_address_says_wrongly_counts_as_not_said(hub: Hub, owner: Client, query: str) -> None:
    hub.run()
    assert len(numbers(page(owner, f"/orders/?{query}"))) == 1


def test_the_file_is_what_is_seen(hub: Hub, owner: Client) -> None:
    for _ in range(2):
        hub.run()
    shown = numbers(page(owner, "/orders/?sort=number"))
    head, *rows = rows_of(owner, "/orders/?sort=number&columns=number,most&format=csv")
    assert head == ["Number", "At most"]
    assert [row[0] for row in rows] == shown
    assert all(re.fullmatch(r"\d+\.\d\d", row[1]) for row in rows)
    assert rows_of(owner, "/orders/?state=settled&format=csv") == [head_of(owner)]


def test_a_long_file_is_made_while_it_is_sent(
    hub: Hub, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, in order, and in the language of the page: the threads that make its later pieces know none."""
    for _ in range(5):
        hub.run()
    path, zh = "/orders/?sort=number&columns=number,state&format=csv", {"Accept-Language": "zh-hans"}
    whole = owner.get(path, headers=zh)
    monkeypatch.setattr("mosu.web.tables.CSV_BATCH", 2)
    sent = owner.get(path, headers=zh)
    assert (whole.streaming, sent.streaming) == (False, True)
    parts = []
    for part in sent.streaming_content:
        parts.append(part)
        translation.activate("en")
    assert len(parts) == 3
    assert b"".join(parts) == whole.content
    assert "已下单" in whole.content.decode() or "订单" in whole.content.decode()
    assert sent["Content-Disposition"] == whole["Content-Disposition"]


def test_a_file_costs_as_much_for_the_last_rows_as_for_the_first(
    hub: Hub, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        hub.run()
    monkeypatch.setattr("mosu.web.tables.CSV_BATCH", 2)
    costs = []
    content = iter(owner.get("/orders/?format=csv").streaming_content)
    next(content)
    for _piece in range(2):
        with CaptureQueriesContext(connection) as asked:
            next(content)
        costs.append(len(asked))
    assert costs[0] == costs[1] <= 4


def head_of(client: Client) -> list[str]:
    return rows_of(client, "/orders/?format=csv")[0]


def curve(*values: float, limit: float | None = None) -> Curve:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Curve(
        "Memory", "GiB", [Point(at + timedelta(n), value) for n, value in enumerate(values)], limit=limit
    )


@pytest.mark.parametrize(
    ("values", "limit", "top", "line"),
    [
        ((1, 3), None, 3, None),
        ((), None, 1, None),
        ((1, 30), 64, 64, 0),
        ((1, 3), 64, 5, None),
        ((0.03,), 2, 0.05, None),
        ((0,), 64, 64, 0),
        ((80,), 64, 80, 24),
    ],
)
def test_a_curve_is_scaled_to_what_it_shows(
    values: tuple[float, ...], limit: float | None, top: float, line: float | None
) -> None:
    drawn = curve(*values, limit=limit)
    assert drawn.top == pytest.approx(top)
    assert drawn.limit_y == (None if line is None else pytest.approx(line))


def test_files_are_written_in_one_place() -> None:
    sources = (ROOT / "src" / "mosu").rglob("*.py")
    writing = {
        file.name
        for file in sources
        if re.search(r"csv\.(Dict)?[wW]riter\(", file.read_text(encoding="utf-8"))
    }
    assert writing == {"csv.py", "train.py"}  # the latter is the demo's job, in the sandbox


def test_a_name_that_is_a_formula_is_text_in_a_file(hub: Hub) -> None:
    Organisation.objects.filter(id=hub.world.buyer.id).update(name="=cmd()")
    hub.settled()
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    text = operator.get("/desk/organisations/?format=csv").content.decode("utf-8-sig")
    assert "'=cmd()" in text
    assert not re.search(r'(^|,|")=cmd', text, re.MULTILINE)


@given(*(st.integers(0, 20_000) for _ in range(3)))
def test_stock_cells_show_each_kind_and_no_more_than_fit(free: int, reserved: int, taken: int) -> None:
    cells = cells_of(free, reserved, taken)
    total = free + reserved + taken
    assert len(cells) == min(total, CELLS_MAX)
    assert [kind in cells for kind in ("free", "reserved", "taken")] == [
        count > 0 for count in (free, reserved, taken)
    ]
