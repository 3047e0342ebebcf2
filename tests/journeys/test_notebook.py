"""A notebook as one sits at it: bought on *New run*, opened from the run's page, a cell run, shut down, the receipt."""

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.conftest import SLOW_MS_MAX, Town
from tests.journeys.test_first_run import STARTUP, figure_in
from tests.journeys.visitor import Visitor, visitor

pytestmark = pytest.mark.e2e

CELL = "import numpy; int(numpy.arange(4).sum() * 7)"


@pytest.fixture(scope="module")
def town_with_jupyter(town: Town) -> Town:
    """Its own pool has the environment that an operator adds by one command."""
    added = town.hub.mosu("admin", "environments", "add", "jupyter", timeout=900)
    assert added.returncode == 0, added.stderr
    return town


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_a_notebook_from_quote_to_receipt(browser: Browser, town_with_jupyter: Town, language: str) -> None:
    with visitor(browser, town_with_jupyter, name=f"{language[:2]}-notebook", language=language) as one:
        one.signs_in(STARTUP)
        buys_a_session(one)
        notebook = opens_it(one)
        runs_a_cell(notebook)
        shuts_it_down(notebook)
        reads_the_receipt(one)


def buys_a_session(one: Visitor, *, app: str = "jupyter") -> None:
    """The pool tells of a new environment when its agent has begun anew, so the first answer may be a refusal."""
    page = one.page
    one.goes("/quote/?by=session")
    page.check(f"[name=app][value={app}]")
    page.fill("[name=wall_limit]", "10")
    ask, plan, refused = (
        page.locator("#ask-button"),
        page.locator("article.plan").first,
        page.locator(".refusals"),
    )
    until = time.monotonic() + SLOW_MS_MAX / 1000
    while time.monotonic() < until:
        with page.expect_response(lambda answer: answer.request.method == "POST"):
            ask.click()
        expect(plan.or_(refused).first).to_be_visible()
        if plan.is_visible():
            break
        page.wait_for_timeout(500)
    plan.locator("a.go").click()
    page.click(".checkout button.go")


def opens_it(one: Visitor) -> Page:
    """JupyterLab in a tab of its own, at an address of its own, once its log says that it listens."""
    page = one.page
    expect(page.locator("pre.log")).to_contain_text("/lab?token=", timeout=SLOW_MS_MAX)
    one.sees("session")
    with page.expect_popup() as popup:
        page.click("button[name=app]")
    tab = popup.value
    tab.set_default_timeout(SLOW_MS_MAX)
    tab.wait_for_url(re.compile(r"http://8888-[^/]+\.apps\.localhost:\d+/lab\b"))
    return tab


def runs_a_cell(tab: Page) -> None:
    tab.click(".jp-LauncherCard[data-category=Notebook]")
    idle = tab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first
    expect(idle).to_be_attached(
        timeout=SLOW_MS_MAX
    )  # until then what is typed may go to the notebook, not the cell
    cell = tab.locator(".jp-Notebook .cm-content").first
    cell.click()
    expect(cell).to_be_focused()
    tab.keyboard.type(CELL)
    expect(cell).to_have_text(CELL)
    runs = tab.locator(".jp-Notebook .jp-InputArea-prompt").first.filter(has_text=re.compile(r"\[[*\d]+\]"))
    until = time.monotonic() + SLOW_MS_MAX / 1000
    while time.monotonic() < until and not runs.is_visible():
        # Once JupyterLab took the key and showed the cell as never run, why was not found; one whose answer is lost shows [*].
        tab.keyboard.press("Control+Enter")
        tab.wait_for_timeout(2000)
    expect(tab.locator(".jp-OutputArea-output").first).to_have_text("42", timeout=SLOW_MS_MAX)
    tab.keyboard.press("Control+s")
    tab.click(".jp-Dialog button.jp-mod-accept")  # under the name that it has
    expect(tab.locator(".jp-DirListing-content")).to_contain_text("Untitled.ipynb")


def shuts_it_down(tab: Page) -> None:
    tab.click(".lm-MenuBar-item >> text=File")
    tab.click('.lm-Menu-item >> text="Shut Down"')
    tab.click(".jp-Dialog button.jp-mod-accept")


def reads_the_receipt(one: Visitor) -> None:
    """The page has followed by itself: the notebook came back, the connection is listed, the bill is closed."""
    page = one.page
    receipt = page.locator("#now-bill a[href*='/receipts/']")
    expect(receipt).to_be_visible(timeout=SLOW_MS_MAX)
    expect(page.locator("#now-outputs")).to_contain_text("Untitled.ipynb")
    expect(page.locator("#now-connections tbody")).to_contain_text("8888")
    one.sees("session-ended")
    receipt.click()
    expect(page.locator(".receipt .sum dd")).to_have_count(2)
    total, _ = (figure_in(text) for text in page.locator(".receipt .sum dd").all_inner_texts())
    assert total > 0
    one.sees("notebook-receipt")
