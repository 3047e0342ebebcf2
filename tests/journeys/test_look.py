"""The page of components: every state of each, without a serious complaint, in both languages, light and dark."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import Town
from tests.journeys.visitor import DESKTOP, PHONE, visitor

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=str)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_components(
    browser: Browser, town: Town, language: str, screen: tuple[int, int], scheme: str
) -> None:
    name = f"{language[:2]}-{screen[0]}-{scheme}"
    with visitor(browser, town, name=name, language=language, screen=screen, scheme=scheme) as one:
        one.goes("/look/")
        one.sees("look")


def test_colours_are_chosen_and_remembered_without_javascript(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="en-light", scheme="dark", scripts=False) as one:
        one.goes("/look/")
        body = one.page.locator("body")
        dark = body.evaluate("(body) => getComputedStyle(body).backgroundColor")
        one.page.click("button.to-day")
        expect(body).not_to_have_css("background-color", dark)
        one.goes("/")
        expect(body).not_to_have_css("background-color", dark)
        one.page.click("button.to-night")
        expect(body).to_have_css("background-color", dark)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_dialog_opens_and_closes(browser: Browser, town: Town, scripts: bool) -> None:
    with visitor(browser, town, name=f"en-dialog-{scripts}", scripts=scripts) as one:
        page = one.page
        one.goes("/look/")
        expect(page.locator("#sample-dialog")).not_to_be_visible()
        page.click("[data-opens=sample-dialog]")
        expect(page.locator("#sample-dialog")).to_be_visible()
        if scripts:  # axe needs them itself
            one.sees("dialog")
        page.click("#sample-dialog .close")
        expect(page.locator("#sample-dialog")).not_to_be_visible()


def test_the_drawer_opens_on_a_phone_without_javascript(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="zh-drawer", language="zh-CN", screen=PHONE, scripts=False) as one:
        one.goes("/")
        one.page.click("details.drawer summary")
        expect(one.page.locator("details.drawer .coming").first).to_be_visible()


def test_a_table_sorts_in_place(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="en-table") as one:
        one.goes("/look/")
        head = one.page.locator("#table-sample th").last
        head.locator("a").click()
        expect(head).to_have_attribute("aria-sort", "ascending")
        expect(one.page).to_have_url(re.compile("sort=total"))
