"""A list of vouchers is read whole: every problem by its line."""

from uuid import uuid4

import pytest

from mosu.subsidies.rules import BatchRefused, matched, parse_grants

HEAD = "organisation,amount\n"


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(BatchRefused) as refused:
        parse_grants(text, source="list.csv")
    return [(one.line, one.field) for one in refused.value.problems]


def test_lines_are_read_as_spreadsheets_write_them() -> None:
    text = '\ufefforganisation,amount\r\n"ACME, Inc.",5000.00\r\n\r\n\'=Equals Ltd,7\r\n'
    grants = parse_grants(text, source="list.csv")
    assert [(one.line, one.organisation, one.amount_micros) for one in grants] == [
        (2, "ACME, Inc.", 5_000_000_000),
        (4, "=Equals Ltd", 7_000_000),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(1, "(head)")]),
        ("name,sum\nA,1\n", [(1, "(head)")]),
        (HEAD, [(1, "(file)")]),
        (HEAD + "A\nB,1,2\nC,5\n", [(2, "(line)"), (3, "(line)")]),
        (HEAD + ",5\nA,five\nB,1e9\n", [(2, "organisation"), (3, "amount"), (4, "amount")]),
        (HEAD + "A,1\n" * 1001, [(1002, "(file)")]),
        (HEAD + "A" * 201 + ",1\n", [(2, "organisation")]),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(text: str, found: list[tuple[int, str]]) -> None:
    assert problems(text) == found


def test_each_organisation_is_known_and_stands_once() -> None:
    grants = parse_grants(HEAD + "ACME,1\nNobody,2\nacme,3\norg_x,4\n", source="list.csv")
    acme = uuid4()
    with pytest.raises(BatchRefused) as refused:
        matched(grants, {"acme": acme, "org_x": acme}, source="list.csv")
    assert [(one.line, one.field) for one in refused.value.problems] == [
        (3, "organisation"),
        (4, "organisation"),
        (5, "organisation"),
    ]
    assert matched(grants[:1], {"acme": acme}, source="list.csv") == [(grants[0], acme)]
