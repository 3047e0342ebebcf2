"""Every page that anyone may open, in a real browser: nobody lists them, the doors do (`tests/journeys/street.py`).

What is tried of a page: it is opened once in each language, in one light and on one screen the first time, in the other
light on the other screen the second, by turns, so that among the pages every language meets every light and every screen.
Axe looks at it each time, its width is measured on both screens each time. A page that several people open is tried so
for the first of them, and once, by turns, for each of the others.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

from tests.hub import Hub, free_port, running_hub
from tests.journeys.conftest import EXPECT_MS_MAX
from tests.journeys.street import Person, Street
from tests.journeys.visitor import (
    DESKTOP,
    PHONE,
    serious_complaints,
    telling_what_was_seen,
    wider_than_the_screen,
)

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PEOPLE = ("nobody", "resident owner", "developer", "supplier owner", "operator", "checker", "auditor")
LANGUAGES = ("zh-CN", "en")
SCREENS = (PHONE, DESKTOP)
LIGHTS = ("light", "dark")
NOT_OPENED = {
    "/account/2fa/authenticate/": "between password and code alone: test_first_run walks it",
    "/account/2fa/recovery-codes/download/": "a file",
    "/bills/{month}/pdf/": "a file",
    "/books/samples/{sample_id}/checks.csv": "a file",
    "/costs/{month}/focus/{version}/": "a file",
    "/documents/{document_id}/": "a file",
    "/endpoints/{endpoint_id}/open": "leads on to the endpoint's own address",
    "/my-offers/imports/{import_id}/now/": "a part of the file's page, fetched by it",
    "/orders/{order_id}/now/": "a part of the order's page, fetched by it",
    "/receipts/{receipt_id}/pdf/": "a file",
    "/search/": "leads on to the shelf",
    "/statements/{statement_id}/pdf/": "a file",
}
"""Paths that no one of these opens as a whole page, and why."""

ENGLISH = re.compile(r"(?<![\w./@-])[A-Za-z][A-Za-z'\u2019-]*(?:,? [A-Za-z][A-Za-z'\u2019-]*){2,}(?![\w/@])")
NAMES = re.compile(
    "NVIDIA GeForce RTX|list of domestic Chinese AI chip companies"  # a product, the title of a source
    "|Made up for a benchmark|The usage and the log do not agree|On my way"  # what the made-up people wrote
)
TEXTS = """() => {
    const skip = "code, pre, kbd, samp, script, style, textarea, .mono, .receipt .code, [lang]:not(html):not([lang^=zh])"
    const found = []
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode())
        if (!walker.currentNode.parentElement.closest(skip)) found.push(walker.currentNode.data)
    for (const node of document.querySelectorAll("[placeholder], [title], [aria-label], [alt]"))
        if (!node.closest(skip))
            for (const name of ["placeholder", "title", "aria-label", "alt"]) found.push(node.getAttribute(name) || "")
    return found
}"""


@dataclass
class Walk:
    """One person's way along the street in one language; `wrong` is what anybody should hear of."""

    page: Page
    language: str
    wrong: list[str] = field(default_factory=list)

    def goes(self, address: str, *, screen: tuple[int, int], light: str) -> None:
        self._looks(screen, light)
        answer = self.page.goto(address)
        assert answer is not None
        self._check_answer(address, answer)
        self._notes(address, screen, serious_complaints(self.page))
        self._notes(address, screen, wider_than_the_screen(self.page))
        self._check_words(address)

    def fits(self, address: str, *, screen: tuple[int, int], light: str) -> None:
        """The page that is open, on another screen."""
        self._looks(screen, light)
        self._notes(address, screen, wider_than_the_screen(self.page))

    def hears(self, what: str) -> None:
        """What the console complains of, refusals of the content policy too."""
        self.wrong.append(f"{self.page.url} ({self.language}): {what}")

    def _looks(self, screen: tuple[int, int], light: str) -> None:
        self.page.set_viewport_size({"width": screen[0], "height": screen[1]})
        self.page.emulate_media(color_scheme=light, reduced_motion="reduce")  # type: ignore[arg-type]

    def _notes(self, address: str, screen: tuple[int, int], found: list[str]) -> None:
        self.wrong.extend(f"{address} ({self.language}, {screen[0]} px): {one}" for one in found)

    def _check_answer(self, address: str, answer: Response) -> None:
        if answer.status != 200 or not self.page.url.endswith(address):
            self.hears(f"{address} answers {answer.status} at {self.page.url}")
        policy = answer.headers.get("content-security-policy", "")
        if "script-src 'self';" not in f"{policy};" or "unsafe" in policy or "default-src" not in policy:
            self.hears(f"the content policy is not strict: {policy!r}")
        if (lang := self.page.get_attribute("html", "lang")) != {"zh-CN": "zh-Hans", "en": "en"}[
            self.language
        ]:
            self.hears(f"says that its language is {lang!r}")

    def _check_words(self, address: str) -> None:
        if self.language == "zh-CN" and address != "/look/":  # which shows the arguments of components
            texts: list[str] = self.page.evaluate(TEXTS)
            left = {found for text in texts for found in ENGLISH.findall(text) if not NAMES.match(found)}
            if left:
                self.wrong.append(f"{address}: English on a Chinese page: {sorted(left)}")


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with running_hub(env={"MOSU_SSH_PORT": str(free_port())}) as started:
        yield started


@pytest.fixture(scope="session")
def street(hub: Hub) -> Street:
    done = subprocess.run(
        [sys.executable, "-m", "tests.journeys.street"],
        cwd=ROOT,
        env={**hub.env, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr[-5000:]}\n{hub.last_words()}"
    told = json.loads(done.stdout)
    return Street(**{**told, "people": [Person(**person) for person in told["people"]]})


def test_every_page_is_opened_by_somebody(street: Street) -> None:
    assert sorted(person.name for person in street.people) == sorted(PEOPLE)
    assert len(street.opened) > 80
    assert {path: how for path, how in street.others.items() if path not in NOT_OPENED} == {}
    assert [path for path in NOT_OPENED if path not in street.others] == []


@pytest.mark.parametrize("name", PEOPLE)
def test_every_page_that_they_open(browser: Browser, hub: Hub, street: Street, name: str) -> None:
    (person,) = (person for person in street.people if person.name == name)
    own = {path: by[name] for path, by in sorted(street.opened.items()) if name in by}
    turns: Counter[tuple[int, int, int]] = Counter()
    wrong: list[str] = []
    for number, language in enumerate(LANGUAGES):
        with walking(browser, hub, street, person, language) as walk:
            for place, (path, address) in enumerate(own.items()):
                first = next(one for one in PEOPLE if one in street.opened[path]) == name
                if not first and place % 2 != number:
                    continue
                size, light = (place // 2 + number) % 2, (place // 4 + number) % 2
                walk.goes(address, screen=SCREENS[size], light=LIGHTS[light])
                walk.fits(address, screen=SCREENS[1 - size], light=LIGHTS[light])
                turns[number, size, light] += 1
            wrong += walk.wrong
    assert len(turns) == 8, turns
    assert wrong == [], "\n".join(wrong)


@contextmanager
def walking(browser: Browser, hub: Hub, street: Street, person: Person, language: str) -> Iterator[Walk]:
    context: BrowserContext = browser.new_context(locale=language, base_url=hub.url, reduced_motion="reduce")
    context.set_default_timeout(EXPECT_MS_MAX)
    if person.cookie:
        context.add_cookies([{"name": street.cookie_name, "value": person.cookie, "url": hub.url}])
    walk = Walk(context.new_page(), language)
    walk.page.on("pageerror", lambda error: walk.hears(str(error)))
    walk.page.on("console", lambda said: walk.hears(said.text) if said.type == "error" else None)
    try:
        with telling_what_was_seen(walk.page, walk.wrong, hub):
            yield walk
    finally:
        context.close()
