"""The account's pages: what of the library is open, and what stands where it would say nothing."""

import pytest
from django.test import Client
from django.utils import translation

from mosu.web.places import region_named

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path", ["/account/login/code/confirm/", "/account/password/set/", "/account/3rdparty/"]
)
def test_what_nothing_leads_to_is_no_door(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_forms_address_opened_as_a_page_says_so(client: Client) -> None:
    answer = client.get("/quotes/quote_01h455vb4pex5vsknk084sn02q/accept/")
    assert answer.status_code == 405
    assert b"<h1>" in answer.content


@pytest.mark.parametrize(("language", "said"), [("en", "Shanghai"), ("zh-hans", "上海")])
def test_a_city_is_named_in_the_pages_language(language: str, said: str) -> None:
    with translation.override(language):
        assert region_named("上海") == region_named("shanghai") == said
        assert region_named("hall 2") == "hall 2"
