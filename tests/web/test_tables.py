"""Lists: order, filter, columns, pages and the file, all from the address."""

import csv
import io
import re
from pathlib import Path

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.csv import csv_text
from mosu.platform.actors import HubRole
from mosu.platform.models import Organisation
from mosu.web.components import CELLS_MAX, cells_of
from mosu.web.tables import csv_file
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


def head_of(client: Client) -> list[str]:
    return rows_of(client, "/orders/?format=csv")[0]


@pytest.mark.parametrize(
    "text", ["=1+1", "+a1", "-a1", "@sum(a1)", "\t=1", "\r=1", " =1", "\u3000=1", "＝1", "-1-1"]
)
def test_what_starts_like_a_formula_is_written_as_text(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_file("x", [[text]]).content.decode("utf-8-sig"), newline=""))
    assert row == [f"'{text}"]


@pytest.mark.parametrize("text", ["", "昇腾 910B", "a=b", "2026-01-01", "-12.50", "+1"])
def test_other_text_is_written_as_it_is(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_text([[text, 7]]).removeprefix("\ufeff"), newline=""))
    assert row == [text, "7"]


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
