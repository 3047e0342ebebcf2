"""A newcomer's first run, in a real Chromium, by a script that never stops to read: what the machine makes one wait."""

# ruff: noqa: PLC0415 - the browser's driver is installed where journeys run
import importlib.util
import math
import re
import secrets
import shutil
import time
from typing import TYPE_CHECKING, Final

from benchmarks.bars import Figure

if TYPE_CHECKING:
    from playwright.sync_api import Page

BAR_S: Final = 60.0
CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
)
WHAT: Final = "sign-up to the first run's receipt, in a browser"
LIMIT_MS: Final = 300_000


def missing() -> str:
    """What is not here that is needed; empty when all is."""
    wanted = {"Chromium": shutil.which(CHROMIUM), "playwright": importlib.util.find_spec("playwright")}
    return " and ".join(name for name, found in wanted.items() if not found)


def first_run(url: str) -> list[Figure]:
    """From the front page to the receipt, on a hub with goods on its shelf and a trial voucher for whoever signs up."""
    if lacking := missing():
        note = f"{lacking} is not installed; `make e2e` installs it"
        return [Figure(WHAT, math.nan, "s", BAR_S, note=note)]
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), timeout=LIMIT_MS)
        page = browser.new_context(locale="zh-CN", base_url=url).new_page()
        page.set_default_timeout(LIMIT_MS)
        steps = _walked(page)
        browser.close()
    note = "of that " + ", ".join(f"{name} {took:.1f} s" for name, took in steps.items())
    return [Figure(WHAT, sum(steps.values()), "s", BAR_S, note=note)]


def _walked(page: "Page") -> dict[str, float]:
    """Each step with its seconds, in order."""
    steps: dict[str, float] = {}
    began = time.perf_counter()

    def done(step: str) -> None:
        nonlocal began
        steps[step], began = time.perf_counter() - began, time.perf_counter()

    page.goto("/")
    page.goto("/account/signup/")
    page.fill("[name=email]", f"{secrets.token_hex(4)}@newcomer.example")
    page.fill("[name=password1]", secrets.token_urlsafe(16))
    page.fill("[name=organisation]", "Newcomer")
    page.click("main form button")
    page.locator(".purse .pub").wait_for()
    done("signing up")
    page.goto("/quote/")
    page.fill("[name=run]", "echo hello > out.txt; cat out.txt")
    page.fill("[name=wall_limit]", "1")
    page.click("form.ask button")
    page.click("article.card a.go")
    page.click(".checkout button.go")
    page.wait_for_url(re.compile("/orders/"))
    done("quote and order")
    page.locator("#now-bill a[href*='/receipts/']").click()
    page.locator(".receipt .sum dd").first.wait_for()
    done("run and receipt")
    return steps
