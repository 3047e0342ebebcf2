"""VS Code as one sits at it: bought on *New run*, opened from the run's page, a file written, a command run, the receipt."""

import hashlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.conftest import Town
from tests.journeys.test_first_run import STARTUP, figure_in
from tests.journeys.test_notebook import buys_a_session
from tests.journeys.visitor import Visitor, visitor

pytestmark = pytest.mark.editor
ARCHIVE = Path(__file__).parents[2] / ".code-server.tar.gz"


@pytest.fixture(scope="module")
def town_with_editor(town: Town) -> Town:
    """Its own pool has the environment that an operator adds by one command."""
    known = hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()
    words = ("admin", "environments", "add", "editor", "--archive", str(ARCHIVE), "--sha256", known)
    added = town.hub.mosu(*words)
    assert added.returncode == 0, added.stderr
    return town


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_an_editor_from_quote_to_receipt(browser: Browser, town_with_editor: Town, language: str) -> None:
    with visitor(browser, town_with_editor, name=f"{language[:2]}-editor", language=language) as one:
        one.signs_in(STARTUP)
        buys_a_session(one, app="vscode")
        editor = opens_it(one)
        runs_a_command(editor)
        changes_a_file(editor)
        editor.screenshot(path=one.town.pictures / f"{one.name}-editor.png")
        ends_it(one)
        reads_the_receipt(one)


def opens_it(one: Visitor) -> Page:
    """In a tab of its own, at an address of its own, once its log says that it listens."""
    expect(one.page.locator("pre.log")).to_contain_text("HTTP server listening", timeout=120_000)
    with one.page.expect_popup() as popup:
        one.page.click("button[name=app]")
    tab = popup.value
    tab.wait_for_url(re.compile(r"http://8889-[^/]+\.apps\.localhost:\d+/"))
    expect(tab.locator(".monaco-workbench")).to_be_visible(timeout=120_000)
    return tab


def runs_a_command(tab: Page) -> None:
    """In the session's own shell; what it writes is in the list of files."""
    commands(tab, "Terminal: Create New Terminal")
    tab.locator(".xterm-screen").click()
    expect(tab.locator(".xterm-helper-textarea")).to_be_focused()
    tab.keyboard.type("echo 'print(6 * 7)' > answer.py; python3 answer.py > said.txt\n")
    expect(tab.locator(".explorer-folders-view")).to_contain_text("said.txt")
    assert tab.locator(".explorer-folders-view .label-name").all_inner_texts() == ["answer.py", "said.txt"]


def changes_a_file(tab: Page) -> None:
    tab.locator(".explorer-folders-view .label-name >> text=answer.py").dblclick()
    text = tab.locator(".editor-container .monaco-editor .view-lines").first
    expect(text).to_contain_text("print(6")
    text.click()
    tab.keyboard.press("Control+a")
    tab.keyboard.type("print('changed')")
    tab.keyboard.press("Control+s")
    expect(tab.locator(".tab.active.dirty")).to_have_count(0)
    expect(tab.get_by_text("Build with Agent")).to_have_count(0)


def commands(tab: Page, name: str) -> None:
    tab.keyboard.press("F1")
    box = tab.locator(".quick-input-widget input").first
    expect(box).to_be_visible()
    box.fill(f">{name}")
    tab.locator(".quick-input-list .monaco-list-row").first.click()


def ends_it(one: Visitor) -> None:
    one.page.click('[data-opens="cancel"]')
    one.page.click("#cancel button.go")


def reads_the_receipt(one: Visitor) -> None:
    """The page has followed by itself: both files came back, the connection is listed, the bill is closed."""
    page = one.page
    receipt = page.locator("#now-bill a[href*='/receipts/']")
    expect(receipt).to_be_visible(timeout=120_000)
    for name in ("answer.py", "said.txt"):
        expect(page.locator("#now-outputs")).to_contain_text(name)
    expect(page.locator("#now-connections tbody")).to_contain_text("8889")
    receipt.click()
    total, _ = (figure_in(text) for text in page.locator(".receipt .sum dd").all_inner_texts())
    assert total > 0
