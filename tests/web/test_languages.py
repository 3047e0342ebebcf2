"""Both languages are whole: every message of pages has its Chinese, and no page of one shows the other's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils import translation

from mosu.compute.services import Reason
from mosu.kernel.refusals import NotFound
from mosu.ledger.services import InsufficientFunds
from mosu.web.words import said_of, said_of_reason
from tests.web.conftest import Hub

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "src" / "mosu" / "web" / "templates"


def test_every_message_is_translated_and_compiled() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "messages.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(TEMPLATES.rglob("*.html")), ids=lambda file: file.name)
def test_templates_have_no_words_of_their_own(file: Path) -> None:
    """What is left of a template without its tags and marks is no text, but for names that need no translation."""
    text = re.sub(
        r"\{%\s*blocktranslate.*?endblocktranslate\s*%\}", "", file.read_text(encoding="utf-8"), flags=re.S
    )
    text = re.sub(r"\{% block width %\}.*?\{% endblock %\}", "", text)
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<!doctype html>|<[^<>]*>", " ", text, flags=re.S)
    words = re.findall(r"[A-Za-z\u4e00-\u9fff]{2,}", text)
    assert set(words) <= {
        "mosu",
        "模速",
        "API",
        "CSV",
        "FOCUS",
        "PDF",
        "Parquet",
        "sha",
        "English",
        "中文",
    }, words


def test_a_refusal_is_said_in_chinese_or_marked_as_english() -> None:
    """The domain speaks English; what pages have no words for is shown as it is, marked, so that it is read aloud so."""
    with translation.override("zh-hans"):
        known = said_of(InsufficientFunds("Only 3.20 is available.", hint="Deposit money, or buy less."))
        assert (known.message, known.hint) == ("可用余额只有 3.20。", "请充值，或减少用量。")
        assert known.lang == ""
        by_call = said_of(NotFound("There is no such order.", hint="See GET /orders."))
        assert by_call.message == "没有这份订单。"
        assert "GET" not in by_call.hint
        unknown = said_of_reason(Reason("brand_new", "is something new", "Ask."))
        assert (unknown.message, unknown.lang) == ("is something new", "en")
    with translation.override("en"):
        assert said_of(NotFound("There is no such order.", hint="x")).message == "There is no such order."


@pytest.mark.parametrize(
    ("language", "heading", "tag"), [("en", "Sign in", "en"), ("zh-hans", "登录", "zh-Hans")]
)
def test_the_browser_chooses_the_language_until_the_person_does(
    hub: Hub, language: str, heading: str, tag: str
) -> None:
    client = hub.client(language=language)
    text = client.get("/account/login/").content.decode()
    assert f"<h1>{heading}</h1>" in text
    assert f'<html lang="{tag}">' in text
    client.post("/language/", {"language": "en", "next": "/"})
    assert "<h1>Sign in</h1>" in client.get("/account/login/").content.decode()
