"""The people beside the buyer, each walking what is theirs to do: supplier, operator and checker, auditor."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.journeys.conftest import SLOW_MS_MAX, Town
from tests.journeys.visitor import DESKTOP, PHONE, Visitor, visitor

pytestmark = pytest.mark.e2e

STARTUP = "dev@startup.demo.example"
OPERATOR, CHECKER, AUDITOR = (
    "operator@hub.demo.example",
    "checker@hub.demo.example",
    "auditor@hub.demo.example",
)
WAYS = [("zh-CN", PHONE, "dark"), ("en", DESKTOP, "light")]
both_ways = pytest.mark.parametrize(("language", "screen", "scheme"), WAYS, ids=str)


@both_ways
def test_a_supplier_adds_a_pool_and_keeps_a_machine_for_a_night(
    browser: Browser, town: Town, language: str, screen: tuple[int, int], scheme: str
) -> None:
    name = f"{language[:2]}-supplier"
    with visitor(browser, town, name=name, language=language, screen=screen, scheme=scheme) as one:
        page = one.page
        one.signs_in(f"sales@supplier{1 + WAYS.index((language, screen, scheme))}.demo.example")
        one.goes("/pools/")
        one.sees("pools")
        page.click("main a[href='/pools/new/']")
        one.sees("pool-new")
        page.fill("[name=name]", "hall-2")
        page.fill("[name=region]", "shanghai")
        page.click("main form button.go")
        token = page.locator(".secret").inner_text()
        one.sees("pool-token")
        page.click("main .more a.go")
        expect(page.locator(".notice.wait")).to_be_visible()
        one.sees("pool-unseen")
        address = page.url
        with agent_running(town, token):
            page.goto(f"{address}nodes/")
            machine = page.locator("main table a[href*='/nodes/node_']")
            shown_in_time(one, machine)
            one.sees("nodes")
            machine.click()
            begins = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(days=1)  # as a person types it
            page.fill("[name=starts_at]", f"{begins:%Y-%m-%dT%H:%M}")
            page.fill("[name=ends_at]", f"{begins - timedelta(hours=2):%Y-%m-%dT%H:%M}")
            page.fill("form:has([name=ends_at]) [name=why]", "new fans")
            page.click("form:has([name=ends_at]) button.go")
            expect(page.locator(".error, .notice.refused").first).to_be_visible()
            expect(page.locator("[name=why]").first).to_have_value("new fans")
            one.sees("blackout-refused")
            one.complaints.clear()  # the browser notes the refusal's status
            page.fill("[name=ends_at]", f"{begins + timedelta(hours=8):%Y-%m-%dT%H:%M}")
            page.click("form:has([name=ends_at]) button.go")
            expect(page.locator("form[action*='/blackouts/'] button")).to_be_visible()
            one.sees("node")
            page.goto(f"{address}blackouts/")
            expect(page.locator("main table")).to_contain_text("new fans")
            one.sees("blackouts")
            page.goto(address)
            one.sees("pool")


@contextmanager
def agent_running(town: Town, token: str) -> Iterator[None]:
    """A supplier's agent on this machine, started as the pool's page says."""
    folder = Path(tempfile.mkdtemp(prefix="mosu-agent-"))
    folder.chmod(0o755)  # the sandbox's user passes through it
    environment = next((town.hub.data_dir / "environments").glob("python-*"))
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    (folder / "agent.toml").write_text(
        f'hub_url = "{town.hub.url}"\ntoken_file = "{folder}/token"\nstate_dir = "{folder}/state"\n'
        f'node_name = "rack-1"\nenvironments = ["{environment}"]\n'
    )
    (folder / "agent.toml").chmod(0o600)
    (folder / "state").mkdir(mode=0o711)
    command = [sys.executable, "-m", "mosu.cli.main", "agent", "run", f"{folder}/agent.toml"]
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(command, env=dict(town.hub.env), stdout=log, stderr=log)
    try:
        yield
    except BaseException as failure:
        failure.add_note(f"the agent said:\n{(folder / 'agent.log').read_text(errors='replace')[-2500:]}")
        raise
    finally:
        agent.terminate()
        try:
            agent.wait(timeout=120)
        finally:
            agent.kill()
            agent.wait()
            shutil.rmtree(folder)


def shown_in_time(one: Visitor, what: Locator) -> None:
    """Load the page again until it shows `what`."""
    until = time.monotonic() + SLOW_MS_MAX / 1000
    while time.monotonic() < until:
        if what.count():
            return
        one.page.wait_for_timeout(500)
        one.page.reload()
    raise AssertionError(f"{one.page.url}: not shown in time")


@both_ways
def test_an_operator_issues_a_voucher_and_a_checker_releases_it(
    browser: Browser, town: Town, language: str, screen: tuple[int, int], scheme: str
) -> None:
    way = {"language": language, "screen": screen, "scheme": scheme}
    with visitor(browser, town, name=f"{language[:2]}-operator", **way) as one:  # type: ignore[arg-type]
        page = one.page
        one.signs_in(OPERATOR)
        one.goes("/desk/")
        one.sees("desk")
        one.goes("/desk/vouchers/new/")
        one.sees("voucher-new")
        programme = page.locator("[name=programme] option", has_text="compute-voucher-city")
        page.select_option("[name=programme]", programme.get_attribute("value"))
        page.fill("[name=organisation]", "星野智能(演示)")
        page.fill("[name=amount]", "20.00")
        page.click("main form button.go")
        expect(page.locator("main h1 .pub")).to_contain_text("20.00")
        address = page.url
        # One's own proposal has no button; who posts the form by hand is refused.
        expect(page.locator("form[action$='/release/']")).to_have_count(0)
        expect(page.locator(".notice.note").first).to_be_visible()
        one.sees("voucher-own")
        assert posted(one, f"{address}release/") in (403, 409)
        one.goes(address)
        expect(page.locator("main .headed .state")).to_have_text(one.words("待复核", "Waits for release"))
        one.complaints.clear()
    with visitor(browser, town, name=f"{language[:2]}-checker", **way) as one:  # type: ignore[arg-type]
        page = one.page
        one.signs_in(CHECKER)
        one.goes("/today/")
        one.sees("checker-today")
        one.goes(address)
        one.sees("voucher-to-release")
        page.click("form[action$='/release/'] button.go")
        expect(page.locator("form[action$='/release/']")).to_have_count(0)
        one.sees("voucher-released")
    with visitor(browser, town, name=f"{language[:2]}-holder", **way) as one:  # type: ignore[arg-type]
        one.signs_in(STARTUP)
        one.goes("/vouchers/")
        expect(one.page.locator("main table, main .list").first).to_contain_text("20.00")
        one.sees("vouchers")


def posted(one: Visitor, address: str) -> int:
    """The status of an empty form, sent by the visitor past the page."""
    cookies = {one_["name"]: one_["value"] for one_ in one.page.context.cookies()}
    token = next(value for name, value in cookies.items() if "csrf" in name)
    answer = one.page.request.post(address, form={"csrfmiddlewaretoken": token}, headers={"Referer": address})
    return answer.status


@pytest.fixture(scope="session")
def settled(browser: Browser, town: Town) -> str:
    """The number of an order that ran and was settled."""
    with visitor(browser, town, name="en-buyer") as one:
        page = one.page
        one.signs_in(STARTUP)
        one.goes("/quote/")
        page.fill("[name=run]", "echo sampled")
        page.fill("[name=wall_limit]", "1")
        page.click("form.ask button.wide")
        page.click("article.card a.go")
        page.click(".checkout form button.go")
        expect(page.locator("#now-bill a[href*='/receipts/']")).to_be_visible(timeout=SLOW_MS_MAX)
        one.goes("/orders/")
        return page.locator("main table a[href*='/orders/order_']").first.inner_text()


@both_ways
def test_an_auditor_draws_a_sample_and_a_finding_is_opened_answered_and_closed(
    browser: Browser, town: Town, settled: str, language: str, screen: tuple[int, int], scheme: str
) -> None:
    way = {"language": language, "screen": screen, "scheme": scheme}
    with visitor(browser, town, name=f"{language[:2]}-auditor", **way) as one:  # type: ignore[arg-type]
        page = one.page
        one.signs_in(AUDITOR)
        one.goes("/books/")
        one.sees("books")
        one.goes("/books/samples/")
        page.fill("[name=seed]", f"journey {language}")
        page.fill("[name=count]", "25")
        one.sees("samples")
        page.click("form.drawing button.go")
        expect(page.locator("h1 .mono")).to_have_text(f"journey {language}")
        one.sees("sample")
        page.click("main table a[href*='/books/orders/']")
        expect(page.locator(".notice.ok")).to_be_visible()
        expect(page.locator("ol.linked .state.refused")).to_have_count(0)
        one.sees("chain")
        page.click(".headed a[href*='/findings/new/']")
        one.sees("finding-new")
        page.fill("[name=title]", f"Receipt without a stamp ({language})")
        page.fill("[name=text]", "The file has no stamped copy.")
        page.click("main form button.go")
        expect(page.locator("main h1")).to_contain_text("Receipt without a stamp")
        finding = page.url
        one.sees("finding")
    with visitor(browser, town, name=f"{language[:2]}-answers", **way) as one:  # type: ignore[arg-type]
        one.signs_in(OPERATOR)
        one.goes(finding)
        one.sees("finding-to-answer")
        says(one, "answer", "The stamped copy is filed now.")
        expect(one.page.locator(".said").nth(1)).to_contain_text("filed now")
        expect(one.page.locator("[value=close]")).to_have_count(0)
        one.sees("finding-answered")
    with visitor(browser, town, name=f"{language[:2]}-closes", **way) as one:  # type: ignore[arg-type]
        one.signs_in(AUDITOR)
        one.goes(finding)
        says(one, "close", "Seen.")
        expect(one.page.locator("[value=reopen]")).to_have_count(1)
        one.sees("finding-closed")


def says(one: Visitor, step: str, text: str) -> None:
    form = one.page.locator(f"form:has([value={step}])")
    form.locator("[name=text]").fill(text)
    form.locator("button").click()
    one.page.wait_for_load_state()
    expect(one.page.locator(f"form:has([value={step}])")).to_have_count(0)
