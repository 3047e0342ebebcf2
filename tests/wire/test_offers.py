"""Offers files: traps of encodings and cells, one by one; what is refused, and where."""

import io
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.kernel.csv import csv_lines
from mosu.wire.offers import OfferRow, OffersRefused, own, read_offers, reading

V8 = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\n"


def rows(data: str | bytes, name: str = "o.csv") -> list[OfferRow]:
    return list(read_offers(io.BytesIO(data if isinstance(data, bytes) else data.encode()), source=name))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings(encoding: str) -> None:
    found = rows("key,title_zh,price\r\na,昇腾整机,12.5\r\n".encode(encoding))
    assert [(row.title_zh, row.price_micros) for row in found] == [("昇腾整机", 12_500_000)]


@pytest.mark.parametrize(
    ("cell", "micros"),
    [("12.5", 12_500_000), ('"1,234.50"', 1_234_500_000), ("１２．５", 12_500_000), ("1e-05", 10)],
)
def test_numbers(cell: str, micros: int) -> None:
    assert rows(f"key,price\na,{cell}\n")[0].price_micros == micros


def test_quoted_newlines_blank_lines_and_lines_of_problems() -> None:
    text = 'key,title_en,price\n"a","two\nlines",1\n\nb,B,dear\n'
    with pytest.raises(OffersRefused) as refused:
        rows(text)
    assert (refused.value.facts["line"], refused.value.facts["field"]) == (5, "price")
    assert rows(text.replace("dear", "2"))[0].title_en == "two lines"


def test_formulas_are_text_and_go_out_inert() -> None:
    found = rows('key,title_en,price\na,"=HYPERLINK(""x"")",1\n')[0]
    assert found.title_en == '=HYPERLINK("x")'
    line = "".join(csv_lines([["key", "title_en", "price"], ["a", found.title_en, Decimal("-1")]]))
    assert "'=HYPERLINK" in line
    assert line.endswith(",-1\r\n")
    assert rows(line.replace(",-1", ",1"))[0].title_en == found.title_en


@pytest.mark.parametrize(
    "text",
    [
        "key,price\na\n",
        "key,prise\na,1\n",
        "key,price,colour\na,1,red\n",
        'key,price\n"a,1\n',
        "key,price,price\na,1,1\n",
    ],
)
def test_what_is_no_file_of_offers(text: str) -> None:
    with pytest.raises(OffersRefused):
        rows(text)


def test_v8_spot_and_empty_cells() -> None:
    info = "\"{'Gpus': [{'MemoryInfo': {'SizeInMiB': 81920}}]}\""
    found = rows(
        V8 + f"m,H100,8,128,1600,23.6,eu,{info},10.0\nn,H100,1,8,64,,eu,,1.2\nz,H100,1,8,64,3,eu,,0.00\n"
    )
    assert [(row.mode, row.price_micros) for row in found] == [
        ("on_demand", 2_950_000), ("spot", 1_250_000), ("spot", 1_200_000), ("on_demand", 3_000_000),
    ]  # fmt: skip
    assert found[0].card_memory == Decimal(81920)


def test_yaml_says_the_same() -> None:
    text = "defaults: {region: [a, b]}\noffers:\n  - {key: k, price: '2', title: {zh: 甲, en: A}}\n"
    assert [(row.key, row.region, row.title_zh) for row in rows(text, "o.yaml")] == [
        ("k@a", "a", "甲"),
        ("k@b", "b", "甲"),
    ]
    with pytest.raises(OffersRefused):
        rows(text.replace("price", "prize"), "o.yaml")


@settings(deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(max_size=200).map(lambda text: b"key,price\n" + text.encode("utf-8", "ignore"))
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for name in ("o.csv", "o.yaml"):
        try:
            found = rows(data, name)
        except OffersRefused:
            continue
        assert all(row.key and row.price_micros >= 0 for row in found)


def test_rows_that_are_alike_keep_what_is_their_own() -> None:
    text = "key,title_en,price,accelerator,region,min_units,max_units\n"
    text += "a,A,1,H100,r,1,8\nb,,2,H100,r,1,8\nc,C,3,H100,r,2,8\nd,D,4,H100,s;t,1,8\ne,E,5,H100,s;t,1,8\n"
    found = [
        (row.line, row.key, row.title_en, row.price_micros // 1_000_000, row.region, row.min_units)
        for row in rows(text)
    ]
    assert found == [
        (2, "a", "A", 1, "r", 1),
        (3, "b", "H100", 2, "r", 1),
        (4, "c", "C", 3, "r", 2),
        (5, "d@s", "D", 4, "s", 1),
        (5, "d@t", "D", 4, "t", 1),
        (6, "e@s", "E", 5, "s", 1),
        (6, "e@t", "E", 5, "t", 1),
    ]


def test_a_row_like_one_that_was_refused_is_refused_too() -> None:
    with pytest.raises(OffersRefused) as refused:
        rows("key,price,min_units\na,1,many\nb,1,many\nc,dear,1\nd,1,1\ne,dear,1\n")
    assert [(one["line"], one["field"]) for one in refused.value.problems] == [
        (2, "min_units"),
        (3, "min_units"),
        (4, "price"),
        (6, "price"),
    ]


def test_a_wide_record_is_refused_before_its_columns_are_compared() -> None:
    """Looking for the one name that comes twice among a million takes days."""
    lines = [f'"c{line}\n",' + ",".join(f"c{line}x{number}" for number in range(2_000)) for line in range(20)]
    begin = time.process_time()
    for text in (f"key,price,{','.join(lines)},price\n", f"key,price\na,1{',' * 60_000}\n"):
        with pytest.raises(OffersRefused, match="too wide"):
            rows(text)
    assert time.process_time() - begin < 2


def test_regions_do_not_multiply_a_file_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "OFFERS_MAX", 1_000)
    regions = ";".join(f"r{number}" for number in range(150))
    lines = "\n".join(f"k{number},1,{regions}" for number in range(1_000))
    read = 0
    with pytest.raises(OffersRefused, match="too many offers"):
        for _ in read_offers(io.BytesIO(f"key,price,region\n{lines}\n".encode()), source="o.csv"):
            read += 1
    assert read == 1_000


def test_what_is_remembered_of_rows_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_LIKE", known := {})
    blanks = " " * 50_000
    assert [row.cores for row in rows(f"key,price,cores\na,1,{blanks}8\nb,1,4\n")] == [8, 4]
    assert [cells for cells in known if any(blanks in cell for cell in cells)] == []
    assert len(known) == 1


@pytest.mark.parametrize("cell", ["9e99", "1e15", "9.9E40"])
def test_a_price_beyond_all_money_is_refused(cell: str) -> None:
    with pytest.raises(OffersRefused, match="does not fit"):
        rows(f"key,price\na,{cell}\n")
