"""The words of units and counts."""

from mosu.kernel.languages import counted, said
from mosu.kernel.time import typed
from mosu.kernel.units import many_units, one_count, one_unit, short_count


def test_a_unit_has_one_word_in_each_language() -> None:
    assert one_unit("gb_month") == {"zh": "GB·月", "en": "GB-month"}
    assert many_units("core_hour") == {"zh": "核时", "en": "core-hours"}
    assert one_count("gb_second") == {"zh": "GB·秒", "en": "GB-second"}
    assert short_count("card_second") == {"zh": "卡秒", "en": "card-s"}


def test_one_that_is_not_known_names_itself() -> None:
    for word in (one_unit, many_units, one_count, short_count):
        assert word("token") == {"zh": "token", "en": "token"}


def test_one_is_not_many() -> None:
    assert (counted(0, "file"), counted(1, "file"), counted(2, "file")) == ("0 files", "1 file", "2 files")
    sent = [f"Working folder: {counted(count, 'file')}, 0.1 MB; 0 sent." for count in (1, 2)]
    assert [said(text, "zh")[:12] for text in sent] == ["工作目录：1 个文件，0", "工作目录：2 个文件，0"]


def test_a_duration_as_it_is_typed() -> None:
    assert [typed(each) for each in (0, 45, 1800, 7200, 5400, 86_461)] == [
        "0s", "45s", "30m", "2h", "1h30m", "24h1m1s",
    ]  # fmt: skip
