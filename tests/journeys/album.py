"""The pictures of docs/images, taken again:  python -m tests.journeys.album --out docs/images [--hub-dir DIR]

Each is what is seen without scrolling, small enough to keep in git. Look at them before you commit them.
"""

import argparse
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests.journeys.conftest import FLAGS, Town
from tests.journeys.pictures import town_of
from tests.journeys.visitor import DESKTOP, PHONE, Visitor, visitor

BUYER, OPERATOR, AUDITOR = "dev@startup.demo.example", "operator@hub.demo.example", "auditor@hub.demo.example"
COMMAND = """\
for i in 1 2 3 4; do
  echo epoch $i of 4
  python3 -c 'print("sum", sum(range(80_000_000)))'
  sleep 1
done; echo weights > model.txt"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--hub-dir", type=Path, help="keep the hub's folder here")
    asked = parser.parse_args()
    with town_of(hub_dir=asked.hub_dir) as town, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        take(browser, town, asked.out)
        browser.close()


def take(browser: Browser, town: Town, out: Path) -> None:
    """The album's pictures, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    desk = {"language": "en", "screen": DESKTOP}
    phone = {"language": "zh-CN", "screen": PHONE}
    with visitor(browser, town, name="en", **desk) as one:  # type: ignore[arg-type]
        keeps(one, out, "landing", "/")
        keeps(one, out, "compare", first_offers(one))
        one.signs_in(BUYER)
        buys(one, out)
        keeps(one, out, "today", "/today/")
    with visitor(browser, town, name="en-night", scheme="dark", **desk) as one:  # type: ignore[arg-type]
        keeps(one, out, "shelf", "/compute/")
    with visitor(browser, town, name="zh-phone", **phone) as one:  # type: ignore[arg-type]
        keeps(one, out, "shelf-phone", "/compute/")
    with visitor(browser, town, name="en-desk", **desk) as one:  # type: ignore[arg-type]
        one.signs_in(OPERATOR)
        keeps(one, out, "desk", "/desk/")
        one.goes("/pools/?sort=-seen")
        one.page.click("main table a >> text=local")
        keeps(one, out, "pool")
    with visitor(browser, town, name="en-books", **desk) as one:  # type: ignore[arg-type]
        one.signs_in(AUDITOR)
        one.goes("/books/samples/")
        one.page.click("form.drawing button.go")
        one.page.click("main table a[href*='/books/orders/']")
        keeps(one, out, "books")


def first_offers(one: Visitor) -> str:
    """The address at which the shelf's first three offers stand side by side."""
    one.goes("/compute/")
    ids = one.page.locator("[name=offers]").evaluate_all("(all) => all.map((box) => box.value)")
    return "/compare/?" + "&".join(f"offers={each}" for each in ids[:3])


def buys(one: Visitor, out: Path) -> None:
    """An order from its quote to its receipt."""
    page = one.page
    one.goes("/quote/")
    page.fill("[name=run]", COMMAND)
    page.fill("[name=wall_limit]", "3")
    page.click("form.ask button.wide")
    expect(page.locator("article.card svg.split").first).to_be_visible()
    keeps(one, out, "quote")
    page.click("article.card a.go")
    expect(page.locator(".checkout form button.go")).to_be_visible()
    keeps(one, out, "checkout")
    page.click(".checkout form button.go")
    receipt = page.locator("#now-bill a[href*='/receipts/']")
    expect(receipt).to_be_visible(timeout=120_000)
    page.reload()
    keeps(one, out, "run")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    keeps(one, out, "run-phone")
    receipt.click()
    keeps(one, out, "receipt-phone")
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    keeps(one, out, "receipt")
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(media="print")
    keeps(one, out, "receipt-print")
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})


def keeps(one: Visitor, out: Path, name: str, path: str = "") -> None:
    """Keep what is seen now, or at `path`."""
    if path:
        one.goes(path)
    one.page.evaluate("scrollTo(0, 0)")
    one.page.screenshot(path=out / f"{name}.png")
    assert (out / f"{name}.png").stat().st_size < 200_000, f"{name}: larger than 200 kB"


if __name__ == "__main__":
    main()
