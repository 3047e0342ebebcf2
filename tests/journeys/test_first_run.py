"""From sign-up to a receipt that verifies, as a newcomer goes: in both languages, on a phone and on a desk."""

import re
import time
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import SLOW_MS_MAX, Town
from tests.journeys.visitor import DESKTOP, PHONE, Visitor, one_time_code, visitor

pytestmark = pytest.mark.e2e

COMMAND = """for i in 1 2 3 4 5 6; do
  echo step $i of 6
  until [ $i != 2 ] || [ -e go ]; do sleep 0.1; done
done; rm -f go; echo '<b>made</b>' > out.txt"""
"""Waits at the second step until `goes_on`: it is watched while it runs, however slow the watching is."""
PASSWORD = "wind-over-the-bund-1"
STARTUP = "dev@startup.demo.example"
WAYS = [
    ("zh-CN", PHONE, "dark"),
    ("zh-CN", DESKTOP, "light"),
    ("en", PHONE, "light"),
    ("en", DESKTOP, "dark"),
]


@pytest.mark.parametrize(("language", "screen", "scheme"), WAYS, ids=str)
def test_sign_up_to_receipt(
    browser: Browser, town: Town, language: str, screen: tuple[int, int], scheme: str
) -> None:
    name = f"{language[:2]}-{screen[0]}"
    with visitor(browser, town, name=name, language=language, screen=screen, scheme=scheme) as one:
        one.goes("/")
        one.sees("front")
        one.goes("/compute/")
        one.sees("shelf")
        one.goes("/account/login/")
        one.sees("sign-in")
        signs_up(one)
        orders_a_run(one)
        watches_it(one)
        checks_the_receipt(one)


def signs_up(one: Visitor) -> None:
    page = one.page
    one.goes("/account/signup/")
    one.sees("sign-up")
    page.fill("[name=email]", f"{one.name}@newcomer.example")
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=organisation]", f"Newcomer {one.name}")
    page.click("main form button")
    # The trial voucher comes by rule, with the sign-up itself.
    expect(page.locator(".purse .pub")).to_have_text("¥100.00")
    one.goes("/you/")
    one.sees("account")


def orders_a_run(one: Visitor) -> None:
    page = one.page
    one.goes("/quote/")
    one.sees("ask")
    page.fill("[name=run]", COMMAND)
    page.fill("[name=wall_limit]", "10")
    page.click("form.ask button")
    expect(page.locator("article.card svg.split")).to_be_visible()
    expect(page.locator("article.card .key")).to_contain_text("¥12.00")
    one.sees("quote")
    page.click("article.card a.go")
    page.click(".checkout button.go")


def watches_it(one: Visitor) -> None:
    """The log grows by itself while the run lives, and the receipt appears by itself when it has ended."""
    page = one.page
    log = page.locator("pre.log")
    expect(log).to_contain_text("step 2 of 6", timeout=SLOW_MS_MAX)
    expect(log).not_to_contain_text("step 3 of 6")
    expect(page.locator("#now-head .state")).to_have_class(re.compile("live"))
    one.sees("run")
    goes_on(one.town)
    receipt = page.locator("#now-bill a[href*='/receipts/']")
    expect(receipt).to_be_visible(timeout=SLOW_MS_MAX)
    expect(log).to_contain_text("step 6 of 6")
    assert log.inner_text().count("step 3 of 6") == 1
    with page.expect_download() as download:
        page.click("#now-outputs a >> text=out.txt")
    assert download.value.path().read_text() == "<b>made</b>\n"
    one.sees("ran")
    one.goes("/orders/")
    one.sees("orders")
    page.go_back()
    page.locator("#now-bill a[href*='/receipts/']").click()


def goes_on(town: Town) -> None:
    """The run that waits finds what it waits for beside it."""
    for folder in (town.hub.data_dir / "site_agent" / "attempts").glob("*/work"):
        with suppress(FileNotFoundError):  # of one that ended before, and is cleared away
            (folder / "go").touch()


def checks_the_receipt(one: Visitor) -> None:
    page = one.page
    expect(page.locator(".receipt .sum dd")).to_have_count(2)
    total, paid = (figure_in(text) for text in page.locator(".receipt .sum dd").all_inner_texts())
    voucher = figure_in(page.locator(".receipt div.pub dd").inner_text())
    assert total == voucher > 0
    assert paid == 0
    one.sees("receipt")
    page.click(".receipt a[href*='/verify/']")
    expect(page.locator(".notice.ok")).to_contain_text(one.words("真实", "Genuine"))
    one.sees("verified")


def figure_in(text: str) -> float:
    return float(re.sub(r"[^\d.]", "", text))


def test_a_second_factor_is_asked_for_once_enabled(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="en-totp") as one:
        page = one.page
        one.signs_in("pi@institute.demo.example")
        one.goes("/account/2fa/")
        one.sees("factors")
        one.goes("/account/2fa/totp/activate/")
        one.sees("password-again")
        page.fill("[name=password]", town.passwords["pi@institute.demo.example"])
        page.click("main form button")
        expect(page.locator("img.qr")).to_be_visible()
        one.sees("factor-on")
        secret = page.input_value("#authenticator_secret")
        page.fill("[name=code]", one_time_code(secret))
        page.click("main form button")
        page.wait_for_url(lambda url: "/totp/activate/" not in url)
        one.goes("/account/2fa/recovery-codes/")
        one.sees("recovery-codes")
        page.click("header .account summary")
        page.click("header .account form[action*=logout] button")
        expect(page.locator("header")).to_contain_text("Sign in")
        one.signs_in("pi@institute.demo.example")
        expect(page.locator("[name=code]")).to_be_visible()
        one.sees("factor-asked")
        page.fill("[name=code]", "000000")
        page.click("main form button")
        expect(page.locator(".error, .notice.refused")).to_be_visible()
        page.fill("[name=code]", next_code(secret))
        page.click("main form button")
        expect(page.locator(".purse")).to_be_visible()


def next_code(secret: str) -> str:
    """A code that was not used yet: the one of the next half minute, unless it is another one already."""
    used, until = one_time_code(secret), time.monotonic() + 31
    while one_time_code(secret) == used and time.monotonic() < until:
        time.sleep(0.5)
    return one_time_code(secret)


def test_all_of_it_works_without_javascript(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="en-plain", scripts=False) as one:
        page = one.page
        one.signs_in(STARTUP)
        one.goes("/quote/")
        page.fill("[name=run]", "echo plain")
        page.fill("[name=wall_limit]", "1")
        page.click("form.ask button")
        page.click("article.card a.go")
        page.click(".checkout button.go")
        page.wait_for_load_state()
        until = time.monotonic() + SLOW_MS_MAX / 1000
        while page.locator("#now-bill a[href*='/receipts/']").count() == 0 and time.monotonic() < until:
            page.wait_for_timeout(500)
            page.reload()
        expect(page.locator("pre.log")).to_contain_text("plain")
        page.click("#now-bill a[href*='/receipts/']")
        expect(page.locator(".receipt")).to_contain_text("Paid")


def test_a_run_is_cancelled(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="zh-cancel", language="zh-CN") as one:
        page = one.page
        one.signs_in(STARTUP)
        one.goes("/quote/")
        page.fill("[name=run]", "echo started; sleep 500")
        page.fill("[name=wall_limit]", "10")
        page.click("form.ask button")
        page.click("article.card a.go")
        page.click(".checkout button.go")
        expect(page.locator("pre.log")).to_contain_text("started", timeout=SLOW_MS_MAX)
        page.click("text=取消作业")
        page.click("#cancel button.go")
        expect(page.locator("#now-head .state")).to_have_text("已取消", timeout=SLOW_MS_MAX)
        one.sees("cancelled")


def test_everything_is_reached_by_keyboard(browser: Browser, town: Town) -> None:
    with visitor(browser, town, name="en-keys") as one:
        page = one.page
        one.goes("/account/login/")
        page.keyboard.press("Tab")
        expect(page.locator("a.skip")).to_be_focused()
        page.keyboard.press("Enter")
        tab_to(one, "[name=login]")
        page.keyboard.type(STARTUP)
        tab_to(one, "[name=password]")
        page.keyboard.type(town.passwords[STARTUP])
        page.keyboard.press("Enter")
        expect(page.locator(".purse")).to_be_visible()
        tab_to(one, "nav a[href='/quote/']:visible")
        page.keyboard.press("Enter")
        tab_to(one, "form.ask button")
        page.keyboard.press("Enter")
        tab_to(one, "article.card a.go")
        page.keyboard.press("Enter")
        tab_to(one, ".checkout button.go")


def tab_to(one: Visitor, selector: str) -> None:
    expect(one.page.locator(selector).first).to_be_visible()
    for _ in range(60):
        if one.page.locator(selector).first.evaluate("(node) => node === document.activeElement"):
            return
        one.page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by the tabulator key")


def test_refusals_and_empty_lists_are_pages_too(browser: Browser, town: Town) -> None:
    for language in ("zh-CN", "en"):
        with visitor(browser, town, name=f"{language[:2]}-empty", language=language) as one:
            for path in (
                "/no/such/page/",
                "/verify/R-1/x/",
                "/account/password/reset/",
                "/invitations/nonsense",
            ):
                one.goes(path)
                one.sees(re.sub(r"\W+", "-", path).strip("-"))
            one.complaints.clear()  # the browser notes each 404
            one.signs_in("maker@team.demo.example")
            one.goes("/orders/")
            expect(one.page.locator(".empty a.go")).to_be_visible()
            one.sees("no-orders")
            for path in ("/account/password/change/", "/account/email/", "/account/logout/"):
                one.goes(path)
                one.sees(re.sub(r"\W+", "-", path).strip("-"))
