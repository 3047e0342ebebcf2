"""One person at one browser: looks at each page with axe, keeps a picture of it, and hears of every complaint."""

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page

from tests.hub import Hub
from tests.journeys.conftest import EXPECT_MS_MAX, Town

DESKTOP, PHONE = (1280, 860), (390, 844)
LOOK_MS_MAX, LOOK_CHARACTERS_MAX = 5_000, 3_000
_AXE = Axe()
_TAGS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    "resultTypes": ["violations"],
}


@dataclass
class Visitor:
    page: Page
    town: Town
    name: str
    complaints: list[str] = field(default_factory=list)

    def goes(self, path: str) -> None:
        response = self.page.goto(path)
        assert response is not None
        assert response.status < 500, f"{path}: {response.status}"

    def sees(self, what: str) -> None:
        """The page that is open has no serious violation and no line wider than the screen; a picture is kept."""
        self.page.wait_for_load_state()  # what was waited for may stand in the half of a page that came first
        self.page.screenshot(path=self.town.pictures / f"{self.name}-{what}.png", full_page=True)
        serious = serious_complaints(self.page)
        assert serious == [], f"{what}: {serious}"
        wide = wider_than_the_screen(self.page)
        assert wide == [], f"{what}: {wide}"

    def hears(self, complaint: str) -> None:
        """Keep what the browser's console complains of, and on which page."""
        self.complaints.append(f"{self.page.url}: {complaint}")

    def signs_in(self, email: str, *, password: str = "") -> None:
        self.goes("/account/login/")
        self.page.fill("[name=login]", email)
        self.page.fill("[name=password]", password or self.town.passwords[email])
        self.page.click("main form button")
        self.page.wait_for_url(lambda url: "/account/login/" not in url)

    def words(self, zh: str, en: str) -> str:
        """What the page says, in this visitor's language."""
        return zh if self.name.startswith("zh") else en


@contextmanager
def visitor(
    browser: Browser,
    town: Town,
    *,
    name: str,
    language: str = "en",
    screen: tuple[int, int] = DESKTOP,
    scheme: str = "light",
    scripts: bool = True,
) -> Iterator[Visitor]:
    context = browser.new_context(
        locale=language,
        viewport={"width": screen[0], "height": screen[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        base_url=town.hub.url,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(EXPECT_MS_MAX)
    one = Visitor(context.new_page(), town, name)
    one.page.on("pageerror", lambda error: one.hears(str(error)))
    one.page.on("console", lambda said: one.hears(said.text) if said.type == "error" else None)
    try:
        with telling_what_was_seen(one.page, one.complaints, town.hub):
            yield one
    finally:
        context.close()
    assert one.complaints == [], one.complaints


@contextmanager
def telling_what_was_seen(page: Page, heard: Sequence[str], hub: Hub) -> Iterator[None]:
    """What fails within also tells what the browser showed and said at that moment, and what the hub noted last."""
    try:
        yield
    except BaseException as failure:
        failure.add_note("\n".join((*_seen_on(page), f"console: {list(heard)}", hub.last_words())))
        raise


def _seen_on(page: Page) -> Iterator[str]:
    """The address, title and text of every tab, newest last; a tab that answers no more keeps nobody waiting."""
    for tab in page.context.pages:
        yield f"page: {tab.url}"
        for what in ("title", "body"):
            with suppress(Error):
                text = tab.locator(what).first.inner_text(timeout=LOOK_MS_MAX)
                yield f"{what}: {text[:LOOK_CHARACTERS_MAX]}"


def serious_complaints(page: Page) -> list[str]:
    """What axe calls serious or critical on the page that is open."""
    found = _AXE.run(page, options=_TAGS).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {[node['html'][:160] for node in one['nodes']]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def wider_than_the_screen(page: Page) -> list[str]:
    """What sticks out to the right, if the page can be scrolled sideways."""
    over: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over <= 0:
        return []
    out: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((node) => node.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .slice(0, 3).map((node) => node.outerHTML.slice(0, 100))"""
    )
    return [f"{over}px too wide: {out}"]


def one_time_code(secret: str) -> str:
    """The present code of an authenticator app (RFC 6238: SHA-1, 30 s, 6 digits)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"
