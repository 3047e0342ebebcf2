"""Static files are named by their content, small on the wire, and kept; pages are squeezed, what was done is not."""

import gzip
import re

import pytest
from django.templatetags.static import static
from django.test import Client

from mosu.web.static_files import StaticFile, files, hashed_name
from tests.web.conftest import Hub

SHEET = "mosu/tokens.css"


def test_a_page_names_files_by_their_content_and_they_are_kept_for_ever(hub: Hub) -> None:
    page = hub.client().get("/look/").content.decode()
    named = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(named) > 3
    for address in named:
        answer = Client().get(address)
        assert answer.status_code == 200, address
        assert answer["Cache-Control"] == "public, max-age=31536000, immutable"


def test_a_style_sheet_names_its_fonts_by_their_content() -> None:
    sheet = Client().get(static(SHEET)).content.decode()
    fonts = re.findall(r'url\("(/static/[^"]+\.woff2)"\)', sheet)
    assert len(fonts) == 4
    assert Client().get(fonts[0])["Content-Type"] == "font/woff2"


def test_another_font_makes_another_name_of_the_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    before = StaticFile(SHEET, files()[SHEET].path).hashed_name
    monkeypatch.setattr("mosu.web.static_files.hashed_name", lambda name: f"other-{name}")
    assert StaticFile(SHEET, files()[SHEET].path).hashed_name != before


def test_what_gains_by_it_is_squeezed_for_who_takes_it() -> None:
    plain = Client().get(static(SHEET))
    squeezed = Client().get(static(SHEET), headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in plain
    assert squeezed["Content-Encoding"] == "gzip"
    assert gzip.decompress(squeezed.content) == plain.content
    assert squeezed["Vary"] == "Accept-Encoding"
    font = static("mosu/fonts/ibm-plex-mono-latin-400-normal.woff2")
    assert "Content-Encoding" not in Client().get(font, headers={"Accept-Encoding": "gzip"})


def test_what_a_browser_has_is_not_sent_again() -> None:
    first = Client().get(static(SHEET))
    again = Client().get(static(SHEET), headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = Client().head(static(SHEET))
    assert (head.content, head["Content-Length"]) == (b"", str(len(first.content)))


@pytest.mark.parametrize(
    "address", ["/static/mosu/none.css", "/static/../settings.py", "/static/mosu/tokens.000000000000.css"]
)
def test_another_name_is_not_found(hub: Hub, address: str) -> None:
    assert hub.client().get(address).status_code == 404


def test_the_plain_name_and_the_top_are_there_for_an_hour() -> None:
    for address in (f"/static/{SHEET}", "/robots.txt"):
        assert Client().get(address)["Cache-Control"] == "public, max-age=3600"


def test_a_name_that_no_file_has_breaks_the_page_that_asks() -> None:
    with pytest.raises(KeyError):
        hashed_name("mosu/none.css")


def test_pages_are_squeezed_but_not_what_was_done(hub: Hub) -> None:
    client = Client(headers={"Accept-Encoding": "gzip"})
    assert client.get("/look/")["Content-Encoding"] == "gzip"
    done = client.post("/account/login/", {"login": "nobody@example.org", "password": "x"})
    assert done.status_code == 200
    assert "Content-Encoding" not in done
