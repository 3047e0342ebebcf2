"""Widths, columns, the split bar and the till receipt."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.fake_hub import QUOTE, RECEIPT

from mosu.cli.copying import copying_of
from mosu.cli.receipt import leader, render
from mosu.cli.split import OWN, REFUND, VOUCHER, bar_of, lines_of
from mosu.cli.text import clean, language, table, width_of, wrapped
from mosu.client.models import Copying, Quote, Receipt, ReceiptLine, Share, Text


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("算力", 4), ("e\u0301", 1), ("，", 2), ("", 0)])
def test_widths(text: str, width: int) -> None:
    assert width_of(text) == width


@given(st.text(), st.integers(2, 30))
def test_wrapping_keeps_all_letters_within_the_width(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_control_sequences_are_stripped() -> None:
    assert clean("a\x1b[2Jb\r\x07\u202ec\n\td\x9b31m\x1b") == "abc\n\td31m"


def test_columns_line_up_under_chinese() -> None:
    assert table(["A", "B"], [["算力", "1.00"], ["x", "12.00"]], right=frozenset({1})).splitlines() == [
        "A         B",
        "算力   1.00",
        "x     12.00",
    ]


@pytest.mark.parametrize(
    ("chosen", "lang", "expected"),
    [
        ("zh", "en_US", "zh"),
        (None, "zh_CN.UTF-8", "zh"),
        (None, "C", "en"),
        (None, "", "en"),
        ("en", "zh_CN", "en"),
    ],
)
def test_the_language(monkeypatch: pytest.MonkeyPatch, chosen: str | None, lang: str, expected: str) -> None:
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", lang)
    assert language(chosen) == expected


@pytest.mark.parametrize(
    ("facts", "en", "zh"),
    [
        (
            {"in_bytes": 12_300_000, "in_s": 2, "in_bytes_per_s": 8_000_000},
            "copied in 12.3 MB (about 2 s) · copied out size not known yet (not yet measured there) · copying is not charged",
            "传入 12.3 MB（约 2 秒） · 传出 大小未知（该处尚未测得速度） · 传输不收费",
        ),
        (
            {"in_bytes": 1_000_000, "out_bytes_per_s": 9_500_000},
            "copied in 1.0 MB (not yet measured there) · copied out size not known yet (9.5 MB/s last)"
            " · copying is not charged",
            "传入 1.0 MB（该处尚未测得速度） · 传出 大小未知（最近每秒 9.5 MB） · 传输不收费",
        ),
        (
            {"in_s": 0, "out_bytes": 0, "out_s": 0},
            "",
            "",
        ),
        (
            {"in_bytes": 1_000_000, "in_s": 1, "out_bytes": 0},
            "copied in 1.0 MB (about 1 s) · copied out nothing · copying is not charged",
            "传入 1.0 MB（约 1 秒） · 传出 无 · 传输不收费",
        ),
    ],
)
def test_what_is_copied_is_told_on_one_line(facts: dict[str, int], en: str, zh: str) -> None:
    found = Copying(**facts)
    assert (copying_of(found, "en"), copying_of(found, "zh")) == (en, zh)


AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=2)


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_bar_shows_each_part_and_never_more_than_the_whole(
    voucher: Decimal, own: Decimal, back: Decimal
) -> None:
    refund = min(back, own)
    bar = bar_of(voucher=voucher, own=own, refund=refund)
    if voucher + own == 0:
        assert bar == ""
        return
    assert len(bar) == 32
    assert bar == VOUCHER * bar.count(VOUCHER) + OWN * bar.count(OWN) + REFUND * bar.count(REFUND)
    assert (VOUCHER in bar, OWN in bar, REFUND in bar) == (voucher > 0, own > refund, refund > 0)
    assert abs(bar.count(VOUCHER) - 32 * voucher / (voucher + own)) <= 3


def test_a_refund_later_is_not_summed_as_paid() -> None:
    lines = lines_of(Quote.model_validate(QUOTE), "en")
    assert lines[0] == VOUCHER * 16 + OWN * 13 + REFUND * 3
    assert lines[1] == "▓ Compute voucher 6.40 · █ Pay now 6.40 · ░ Refund later 1.28"
    assert lines[2] == "at most 12.80 CNY"


EXPECTED = """\
                模速空间
                RECEIPT
----------------------------------------
No. R-2026-000001
Issued 2026-12-01 10:05:00 +0000
Buyer Startup Ltd
----------------------------------------
Core-hours
  2.5 core-hour x 0.36 ............ 0.90
----------------------------------------
TOTAL CNY ......................... 0.90
  tax in it 6% .................... 0.05
- Compute voucher ................. 0.45
VOUCHERS .......................... 0.45
PAID .............................. 0.45
----------------------------------------
refund expected (not in paid) ..... 1.28
held, given back ................. 11.90
sha256 abababababababababababababababababababababababababababababababab
http://127.0.0.1/verify/1
"""


def a_receipt() -> Receipt:
    split = [*RECEIPT["split"], QUOTE["split"][2]]  # type: ignore[misc,index]
    return Receipt.model_validate(RECEIPT | {"split": split})


def test_the_receipt_as_printed() -> None:
    assert render(a_receipt(), zone=UTC) == EXPECTED


def test_the_receipt_in_chinese() -> None:
    lines = render(a_receipt(), lang="zh", zone=UTC).splitlines()
    assert "合计 CNY .......................... 0.90" in lines
    assert "- 算力券 .......................... 0.45" in lines
    assert "CPU 核时" in lines
    assert {width_of(line) for line in lines if " .." in line} == {40}


def test_the_address_to_check_at_is_one_token() -> None:
    url = "https://hub.example.org/verify/R-2026-000001/0123456789abcdef/"
    assert url in render(a_receipt().model_copy(update={"verify_url": url}), width=24, zone=UTC).splitlines()


@pytest.mark.parametrize(
    ("metered", "quantity", "en", "zh"),
    [
        (30, "0.008333", "30 core-seconds used, rounded to 0.00", "用量 30 核秒，舍入后为 0.00"),
        (1, "0.000278", "1 core-second used, rounded to 0.00", "用量 1 核秒，舍入后为 0.00"),
        (0, "0", "less than one core-second used", "用量不足 1 核秒"),
        (3600, "1", None, None),
    ],
)
def test_a_price_that_rounds_to_nothing_says_what_was_used(
    metered: int, quantity: str, en: str | None, zh: str | None
) -> None:
    """3,600 core-seconds at nothing are no rounding: they were credited."""
    line = {"text": {"zh": "核时", "en": "Core-hours"}, "unit": "core_hour", "unit_price": "0.36"}
    line |= {"quantity": quantity, "amount": "0.00", "meter": "core_second", "metered": metered}
    receipt = Receipt.model_validate(RECEIPT | {"lines": [line]})
    shown_en = render(receipt, width=60, zone=UTC).splitlines()
    shown_zh = render(receipt, width=60, lang="zh", zone=UTC).splitlines()
    if en is None:
        assert "used" not in "".join(shown_en) and "用量" not in "".join(shown_zh)
    else:
        assert en in shown_en and zh in shown_zh


def test_what_was_not_charged_is_said() -> None:
    receipt = Receipt.model_validate(RECEIPT | {"credited": "1.00", "why": "The node was lost."})
    lines = render(receipt, zone=UTC).splitlines()
    assert "not charged: not your fault ....... 1.00" in lines
    assert "The node was lost." in lines


def test_how_long_a_service_was_up_is_said_as_its_suppliers_word() -> None:
    receipt = Receipt.model_validate(RECEIPT | {"claimed": {"uptime_s": 47, "restarts": 2}})
    said = "up 47 s, started again 2 times (measured where it ran)"
    assert said in render(receipt, width=60, zone=UTC).splitlines()
    assert (
        "在线 47 秒，重新启动 2 次（由运行处自测）"
        in render(receipt, width=60, lang="zh", zone=UTC).splitlines()
    )


WORDS = st.text(st.sampled_from("算力 abc券,.x\x1b\n"), max_size=60)
LINES = st.builds(
    ReceiptLine,
    text=st.builds(Text, zh=WORDS, en=WORDS),
    amount=AMOUNTS,
    quantity=st.none() | AMOUNTS,
    unit=st.text("时h", max_size=30),
    unit_price=st.none() | AMOUNTS,
)
SHARES = st.builds(
    Share,
    source=st.sampled_from(["voucher", "balance", "refund"]),
    amount=AMOUNTS,
    label=st.builds(Text, zh=WORDS, en=WORDS),
)
RECEIPTS = st.builds(
    Receipt,
    id=st.just("receipt_1"),
    number=WORDS,
    currency=st.just("CNY"),
    total=AMOUNTS,
    paid=AMOUNTS,
    voucher_share=AMOUNTS,
    released=st.none() | AMOUNTS,
    lines=st.lists(LINES, max_size=4).map(tuple),
    split=st.lists(SHARES, max_size=4).map(tuple),
    seller=WORDS,
    buyer=WORDS,
    sha256=st.just("f" * 64),
    issued_at=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
)


@given(RECEIPTS, st.integers(24, 60), st.sampled_from(["zh", "en"]))
def test_no_line_is_wider_than_the_paper(receipt: Receipt, width: int, lang: str) -> None:
    text = render(receipt, width=width, lang="zh" if lang == "zh" else "en", zone=UTC)
    *slip, proof = text.splitlines()
    assert max(width_of(line) for line in slip) <= width
    assert proof.endswith("f" * 64)
    assert f"{receipt.total:f}" in text
    assert "\x1b" not in text


def test_a_long_name_takes_lines_of_its_own() -> None:
    assert leader("one two three", Decimal("1.00"), 16) == ["one two", "three ..... 1.00"]
