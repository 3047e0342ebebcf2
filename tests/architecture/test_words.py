"""Whatever mosu says, it can say in Chinese: refusals, reasons, the command line. `python tools/words.py` lists what lacks."""

import importlib
import pkgutil
import re

import pytest
from tools import words

from mosu.kernel import chinese
from mosu.kernel.languages import catalogue, is_known, language_asked, language_of_environment, said


def test_every_sentence_of_the_code_has_its_chinese() -> None:
    missing = [f"{one.place}: {one.text!r}" for one in words.unsaid()]
    assert missing == [], "write them into src/mosu/kernel/chinese/"


def test_both_languages_have_the_same_figures() -> None:
    assert words.uneven() == []


def test_the_collector_sees_what_is_raised() -> None:
    """It reads hundreds; a collector gone blind would find everything said."""
    found = {one.text for one in words.sentences()}
    assert len(found) > 700
    for text in (
        "Only {} is available.",  # a refusal of a service
        "sells up to {} s, not {} s",  # a reason
        "the pool is {}",  # an answer of a function
        "has a NUL or half a character.",  # a problem of a file
        "Do not wait for the run.",  # an option's help
        "REMAINING",  # a heading
        "a map of labels",  # what is allowed
        "{} answers.",  # the doctor
    ):
        assert text in found, text


def test_no_sentence_has_two_chinese_ones() -> None:
    seen: dict[str, str] = {}
    for module in pkgutil.iter_modules(chinese.__path__):
        for english, told in importlib.import_module(f"mosu.kernel.chinese.{module.name}").SENTENCES.items():
            assert seen.setdefault(english, told) == told, english


NAMES_ALONE = {"{file}: token_file: {why}", "python", "postgresql", "PostgreSQL {version}", "false"}


def test_chinese_is_chinese() -> None:
    for english, told in catalogue().items():
        if english not in NAMES_ALONE and re.search("[A-Za-z]", re.sub(r"\{[^}]*\}", "", english)):
            assert re.search("[\u4e00-\u9fff]", told), english
        assert not re.search("[,;!?] ", re.sub(r"Ctrl-C|\{[^}]*\}", "", told)), f"ASCII punctuation: {told}"


@pytest.mark.parametrize(
    ("english", "told"),
    [
        ("Only 3.20 is available.", "可用余额只有 3.20。"),
        ("You may not do this (programme.release).", "您没有权限（programme.release）。"),
        ("Who may: auditor, checker, operator.", "有权限的：审计人员、复核人、运营人员。"),
        ("run_1 is succeeded and cannot become cancelled.", "run_1 现为“成功”，不能变为“已取消”。"),
        (
            "Needs 2 x H100, 8 cores and 16 GiB of memory on one node; the largest free is 4 such cards and 3 cores"
            "; it fits next at 2026-01-01 10:00 UTC.",
            "需要单节点 H100 2 张、8 核、16 GiB 内存；目前最大的空闲为这种卡 4 张和 3 核；最早 2026-01-01 10:00 UTC 可以容纳。",
        ),
        (
            "a.yaml, line 6, column 3: mosu.walllimit: unknown key; did you mean 'wall_limit'? (and 2 more)",
            "a.yaml 第 6 行第 3 列：mosu.walllimit：没有这一项；是否应为 'wall_limit'？（另有 2 处）",
        ),
        ("This cannot be said: nobody wrote it.", "This cannot be said: nobody wrote it."),
        ("Account of it: 3", "Account of it: 3"),
    ],
)
def test_a_sentence_keeps_its_figures(english: str, told: str) -> None:
    assert said(english, "zh") == told
    assert said(english, "en") == english
    assert is_known(english) == (told != english)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.5", "en"),
        ("de, zh;q=0.1", "zh"),
        ("en;q=0.2, zh-Hans;q=0.9", "zh"),
        ("*", "en"),
        ("zh;q=0", "en"),
        ("zh;q=much", "en"),
        ("zh, en", "zh"),
        ("en, zh", "en"),
    ],
)
def test_the_language_that_a_header_asks_for(header: str, language: str) -> None:
    assert language_asked(header) == language


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOSU_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert language_of_environment() == "en"
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert language_of_environment() == "zh"
    monkeypatch.setenv("MOSU_LANG", "en")
    assert language_of_environment() == "en"
