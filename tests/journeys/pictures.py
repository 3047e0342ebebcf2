"""Pictures of pages, to be looked at:  python -m tests.journeys.pictures /look/ /orders/ --as dev@startup.demo.example

Starts a hub with the small world of the demo (or takes `--hub URL`) and takes each page in both languages, on a phone
and on a desk, in light and dark. `--hub-dir DIR` keeps the hub's folder, so that the next start is quick; `--wide` tells
which pages are wider than the screen, and axe's serious complaints are printed beside.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.hub import Hub, running_hub
from tests.journeys.conftest import FLAGS, LOAD_WORLD, Town
from tests.journeys.visitor import DESKTOP, PHONE, serious_complaints, visitor, wider_than_the_screen

WAYS = [
    ("-".join((language, name, light)), language, screen, light)
    for language, (name, screen), light in product(
        ("zh-CN", "en"), (("desk", DESKTOP), ("phone", PHONE)), ("light", "dark")
    )
]


def main() -> int:
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    ways = [way for way in WAYS if not asked.only or re.search(asked.only, way[0])]
    found = 0
    with _town(asked) as town, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name, language, screen, light in ways:
            with visitor(browser, town, name=name, language=language, screen=screen, scheme=light) as one:
                if asked.who:
                    one.signs_in(asked.who, password=asked.password)
                for path in asked.paths:
                    one.goes(path)
                    file = (
                        asked.out
                        / f"{re.sub(r'[^a-z0-9]+', '-', path.lower()).strip('-') or 'home'}-{name}.png"
                    )
                    one.page.screenshot(path=file, full_page=not asked.fold)
                    said = [*serious_complaints(one.page), *wider_than_the_screen(one.page)]
                    found += len(said)
                    print(file, *said, sep="\n    ")  # noqa: T201
                one.complaints.clear()
        browser.close()
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    parser.add_argument(
        "--as", dest="who", default="", metavar="EMAIL", help="sign in as one of the demo's people"
    )
    parser.add_argument("--password", default="", help="with --hub: theirs")
    parser.add_argument("--hub", default="", metavar="URL", help="a hub that runs already")
    parser.add_argument("--hub-dir", type=Path, help="keep the hub's folder here")
    parser.add_argument("--only", default="", metavar="REGEX", help="such as zh-CN-phone, or dark")
    parser.add_argument("--fold", action="store_true", help="what is seen without scrolling")
    return parser.parse_args()


@contextmanager
def _town(asked: argparse.Namespace) -> Iterator[Town]:
    if asked.hub:
        pictures = Path(tempfile.gettempdir())
        yield Town(Hub(asked.hub, pictures, None, {}), {}, pictures)  # type: ignore[arg-type]
        return
    with town_of(hub_dir=asked.hub_dir) as town:
        yield town


@contextmanager
def town_of(*, hub_dir: Path | None) -> Iterator[Town]:
    """A hub with the small world of the demo; in `hub_dir` it stays for the next time."""
    if hub_dir:
        hub_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    with running_hub(data_dir=hub_dir) as hub:
        kept = (hub_dir or hub.data_dir.parent) / "passwords.json"
        if not kept.exists():
            done = subprocess.run(
                [sys.executable, "-c", LOAD_WORLD],
                env=dict(hub.env),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            kept.write_text(done.stdout)
        yield Town(hub, json.loads(kept.read_text()), Path(tempfile.gettempdir()))


if __name__ == "__main__":
    sys.exit(main())
