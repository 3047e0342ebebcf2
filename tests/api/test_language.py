"""A refusal is said in the language that the caller asks for; what programs read stays the same."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("asked", "title", "tag"),
    [
        ("", "This needs a sign-in.", "en"),
        ("zh-CN,zh;q=0.9", "请先登录。", "zh-Hans"),
        ("en-GB", "This needs a sign-in.", "en"),
    ],
)
def test_a_refusal_in_the_language_asked_for(asked: str, title: str, tag: str) -> None:
    answer = Client().get("/api/v1/me", headers={"Accept-Language": asked})
    body = answer.json()
    assert (answer.status_code, body["type"], body["title"]) == (401, "urn:mosu:unauthenticated", title)
    assert (answer["Content-Language"], answer["Vary"]) == (tag, "Accept-Language")


def test_what_is_wrong_with_a_field() -> None:
    body = {"email": "ada@startup.example", "name": "x"}
    answer = (
        Client().post("/api/v1/tokens", body, "application/json", headers={"Accept-Language": "zh"}).json()
    )
    assert answer["title"] == "password：缺少此项。"
    assert answer["errors"][0]["message"] == "缺少此项"
    assert answer["errors"][0]["code"] == "missing"
