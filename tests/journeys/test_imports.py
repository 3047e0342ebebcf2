"""A supplier brings a file of offers in, watches the hub read it, applies it and takes it back; with scripts and without."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import SLOW_MS_MAX, Town
from tests.journeys.visitor import DESKTOP, PHONE, Visitor, visitor

pytestmark = pytest.mark.e2e

HEADER = "key,title_zh,title_en,accelerator,region,price\n"
FORM_BYTES_MAX = 4 << 20
"""What every other form may send."""
WAYS = [
    ("zh-CN", PHONE, True),
    ("en", DESKTOP, True),
    ("zh-CN", DESKTOP, False),
    ("en", PHONE, False),
]


def large_file(folder: Path) -> Path:
    """More than any other form may send, with few rows: the columns that nobody reads are long."""
    path = folder / "large.csv"
    rows = (
        f"k{number},整机 {number},{'M' * 190} {number},A100-80GB,r{number % 9},2{number % 9}.50"
        for number in range(20_000)
    )
    path.write_text(HEADER + "\n".join(rows) + "\nheld,整机,M,A100-80GB,r,0.01\n", encoding="utf-8")
    assert path.stat().st_size > FORM_BYTES_MAX
    return path


def sends(one: Visitor, path: Path, *, source: str) -> None:
    one.goes("/my-offers/imports/")
    one.page.set_input_files("[name=file]", path)
    one.page.fill("[name=source]", source)
    one.page.click("main form button.go")
    one.page.wait_for_url(lambda url: not url.endswith("/my-offers/imports/"))


@pytest.mark.parametrize(("language", "screen", "scripts"), WAYS, ids=str)
def test_a_file_is_watched_applied_and_taken_back(
    browser: Browser, town: Town, tmp_path: Path, language: str, screen: tuple[int, int], scripts: bool
) -> None:
    name = f"{language[:2]}-import-{'live' if scripts else 'plain'}"
    with visitor(browser, town, name=name, language=language, screen=screen, scripts=scripts) as one:
        page = one.page
        one.signs_in("sales@supplier1.demo.example")
        wrong = tmp_path / "wrong.csv"
        wrong.write_text(HEADER + "a,整机,M,A100-80GB,r,much\n", encoding="utf-8")
        sends(one, wrong, source=name)
        expect(page.locator("table.list")).to_contain_text("much", timeout=SLOW_MS_MAX)
        if scripts:
            one.sees("refused")
        sends(one, large_file(tmp_path), source=name)
        if page.locator("[data-now] progress").count():  # it may be read already
            page.screenshot(path=town.pictures / f"{name}-reading.png", full_page=True)
        # Nobody reloads: the page does it by itself.
        apply_it = page.locator("button[name=do][value=apply]")
        expect(apply_it).to_be_visible(timeout=SLOW_MS_MAX)
        if scripts:
            one.sees("previewed")
        apply_it.click()
        undo = page.locator("button[name=do][value=undo]")
        expect(undo).to_be_attached(timeout=SLOW_MS_MAX)
        page.click("main .decide summary")
        if scripts:
            one.sees("applied")
        page.fill("[name=why]", one.words("文件错了", "the wrong file"))
        undo.click()
        expect(page.locator("h1 + p .state")).to_have_text(one.words("已撤销", "Undone"), timeout=SLOW_MS_MAX)
        if scripts:
            one.sees("undone")
