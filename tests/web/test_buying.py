"""From the question to the bill: what pages promise is what the services do."""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from mosu.compute.models import MeterSample, Pool, Run
from mosu.ledger.queries import postings_about
from mosu.market.models import Order, Quote, Receipt
from mosu.platform.actors import Role
from tests.compute import world as compute
from tests.compute.sessions import EDITOR, JUPYTER
from tests.subsidies.factories import make_voucher, released
from tests.web.conftest import Hub, page, queries

ASK = {"run": "echo hello", "name": "first", "cpus": 2, "memory": 2, "wall_limit": 60, "accelerators": ""}
FILE = "name: filed\nresources: {cpus: 2}\nrun: echo hello\nmosu: {wall_limit: 30m}\n"


def quote_of(response: Any) -> Quote:
    found = re.findall(r'href="/quotes/(quote_\w+)/"', page(response))
    assert found, page(response)
    return Quote.objects.get(id=Quote.key_of(found[0]))


def with_voucher(hub: Hub) -> None:
    """A voucher of the buyer's that pays half of each order."""
    make_voucher(released(rate="0.5"), hub.world.buyer.id, now=hub.now)


# The question


@pytest.mark.parametrize(
    ("what", "field", "value"),
    [("shorter", "wall_limit", "30"), ("longer", "wall_limit", "120"), ("more", "cpus", "4")],
)
def test_what_if_changes_one_thing_and_says_what_it_changes(
    owner: Client, what: str, field: str, value: str
) -> None:
    first = quote_of(owner.post("/quote/", ASK))
    response = owner.post("/quote/", ASK | {"what": what, "was_pay": str(first.total_max_micros)})
    text = page(response)
    assert re.search(rf'name="{field}" value="{value}"', text)
    assert "Against what you asked before:" in text
    assert quote_of(response).total_max_micros != first.total_max_micros


def test_a_plan_says_what_is_copied_and_that_it_is_not_charged(hub: Hub, owner: Client) -> None:
    with_outputs = {"by": "file", "task": "name: t\nrun: x\nmosu: {outputs: [model]}\n"}
    for path in ("/quote/", f"/quotes/{quote_of(owner.post('/quote/', with_outputs)).public_id}/"):
        shown = owner.post(path, with_outputs) if path == "/quote/" else owner.get(path)
        for said in ("Copied in", "nothing", "size not known yet · not yet measured there", "not charged"):
            assert said in page(shown), (path, said)
    Pool.objects.filter(id=hub.world.pool_id).update(copied_out_bytes=3_000_000, copied_out_ms=1000)
    text = page(owner.post("/quote/", with_outputs, headers={"Accept-Language": "zh-hans"}))
    assert "传出" in text and "最近每秒 2.9\xa0MB" in text and "传输不收费" in text


def test_the_form_starts_with_what_the_address_names(owner: Client) -> None:
    text = page(owner.get("/quote/?cpus=16&memory=64&wall_limit=5"))
    for field, value in (("cpus", "16"), ("memory", "64"), ("wall_limit", "5")):
        assert re.search(rf'name="{field}" value="{value}"', text), field
    for nonsense in ("0", "-1", "2%00", "1e3", "999999", "<b>", "\u0662"):
        assert re.search(r'name="cpus" value="1"', page(owner.get(f"/quote/?cpus={nonsense}"))), nonsense
    assert 'placeholder="as in the file"' in page(owner.get("/quote/?by=file&cpus=16"))


def test_a_later_start_is_asked_for(hub: Hub, owner: Client) -> None:
    quote = quote_of(owner.post("/quote/", ASK | {"what": "later"}))
    assert timedelta(minutes=119) < quote.starts_at - quote.created_at <= timedelta(hours=2)
    at = timezone.localtime(hub.now + timedelta(days=1)).replace(second=0, microsecond=0)
    chosen = owner.post("/quote/", ASK | {"start": "at", "start_at": f"{at:%Y-%m-%dT%H:%M}"})
    assert quote_of(chosen).starts_at - quote.created_at > timedelta(hours=12)
    assert "Say when." in page(owner.post("/quote/", ASK | {"start": "at"}))


def test_vouchers_are_the_best_none_or_those_ticked(hub: Hub, owner: Client) -> None:
    with_voucher(hub)
    best = quote_of(owner.post("/quote/", ASK))
    assert {share["source"] for share in best.split["shares"]} == {"voucher", "balance"}
    none = quote_of(owner.post("/quote/", ASK | {"what": "none"}))
    assert {share["source"] for share in none.split["shares"]} == {"balance"}
    offered = re.search(r'name="voucher" value="(voucher_\w+)"', page(owner.get("/quote/")))
    assert offered
    named = quote_of(owner.post("/quote/", ASK | {"vouchers": "named", "voucher": [offered[1]]}))
    assert named.split["shares"] == best.split["shares"]
    count = Quote.objects.count()
    assert "Tick at least one voucher." in page(owner.post("/quote/", ASK | {"vouchers": "named"}))
    assert Quote.objects.count() == count


@pytest.mark.parametrize("app", ["jupyter", "ssh", "vscode"])
def test_a_session_is_asked_for_without_a_command(hub: Hub, owner: Client, app: str) -> None:
    start = page(owner.get("/quote/?by=session"))
    assert 'name="app" value="jupyter"' in start and 'name="run"' not in start
    assert re.search(r'name="wall_limit" value="60"', start)
    compute.register(hub.world, now=hub.now, reaches=True, has_sshd=True, environments=(JUPYTER, EDITOR))
    asked = {**ASK, "by": "session", "app": app}
    quote = quote_of(owner.post("/quote/", asked))
    assert (quote.request["kind"], quote.request["apps"], quote.request["run"]) == ("session", [app], "")
    assert quote.wall_limit_s == 3600


def test_a_session_is_of_an_app_that_there_is(owner: Client) -> None:
    for wrong in ("", "emacs"):
        assert "error" in page(owner.post("/quote/", {**ASK, "by": "session", "app": wrong}))
    assert not Quote.objects.exists()


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_task_file_is_quoted_pasted_or_uploaded(owner: Client, uploaded: bool) -> None:
    sent: dict[str, Any] = {"by": "file", "task": FILE}
    if uploaded:
        sent = {"by": "file", "file": SimpleUploadedFile("task.yaml", FILE.encode())}
    response = owner.post("/quote/", sent)
    quote = quote_of(response)
    assert (quote.facts["name"], quote.facts["cores"], quote.wall_limit_s) == ("filed", 2, 1800)
    assert "echo hello" in page(response)
    other = quote_of(owner.post("/quote/", {"by": "file", "task": FILE, "cpus": "3"}))
    assert (other.facts["cores"], other.wall_limit_s) == (3, 1800)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("run: ls\nresources: {cpu: 2}\nmosu: {wall_limit: soon}", ["line 2", "line 3", "cpus", "2 lines"]),
        ("", ["Paste a task file"]),
        ("run: [", ["1 line of the task file", "line 2"]),
        ("run: ls\nworkdir: .", ["A page sends no folder"]),
        ("run: ls\nsecrets: {KEY: (secret)}", ["Secrets are not kept"]),
    ],
)
def test_what_is_wrong_with_a_task_file_is_said_by_line(owner: Client, task: str, said: list[str]) -> None:
    text = page(owner.post("/quote/", {"by": "file", "task": task}))
    assert all(one in text for one in said), said
    assert not Quote.objects.exists()


def test_a_run_is_asked_for_again_with_the_same_task(hub: Hub, owner: Client) -> None:
    receipt = hub.settled()
    order = page(owner.get(f"/orders/{receipt.order.public_id}/"))
    like = receipt.order.quote.public_id
    assert f"/quote/?like={like}" in order
    assert "echo hello" in page(owner.get(f"/quote/?like={like}"))
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("other")))
    assert stranger.get(f"/quote/?like={like}").status_code == 404


# The checkout


def test_the_checkout_says_what_will_be_held_and_that_is_held(hub: Hub, owner: Client) -> None:
    with_voucher(hub)
    quote = quote_of(owner.post("/quote/", ASK))
    held = {share["source"]: share["limit_micros"] for share in quote.split["shares"]}
    text = page(owner.get(f"/quotes/{quote.public_id}/"))
    for amount in held.values():
        assert f"¥{amount / 1_000_000:,.2f}" in text
    assert "You cancel before it starts" in text
    assert compute.held_micros(hub.world.buyer.id) == 0
    response = owner.post(f"/quotes/{quote.public_id}/accept/")
    assert response.status_code == 302
    assert compute.held_micros(hub.world.buyer.id) == held["balance"]
    assert "This quote was ordered already." in page(owner.get(f"/quotes/{quote.public_id}/"))


def test_pressing_the_button_twice_orders_once(owner: Client) -> None:
    quote = quote_of(owner.post("/quote/", ASK))
    first, second = (owner.post(f"/quotes/{quote.public_id}/accept/") for _ in range(2))
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    assert Order.objects.count() == 1


@pytest.mark.parametrize(("language", "said"), [("en", "not"), ("zh-hans", "可用余额只有")])
def test_an_order_without_money_is_refused_on_the_checkout(hub: Hub, language: str, said: str) -> None:
    client = hub.client(hub.user(), language=language)
    assert client.post("/you/found/", {"organisation": "Poor Ltd", "kind": "company"}).status_code == 302
    quote = quote_of(client.post("/quote/", ASK))
    text = page(client.get(f"/quotes/{quote.public_id}/"))
    assert 'class="short' in text
    response = client.post(f"/quotes/{quote.public_id}/accept/")
    assert response.status_code == 409
    assert said in page(response)
    assert not Order.objects.exists()


def test_an_expired_quote_leads_back_to_the_question(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosu.market.rules.QUOTE_VALID", timedelta(seconds=-1))
    quote = quote_of(owner.post("/quote/", ASK))
    text = page(owner.get(f"/quotes/{quote.public_id}/"))
    assert "This quote has expired" in text
    assert "/accept/" not in text
    assert f"/quote/?like={quote.public_id}" in text


def test_who_may_not_buy_may_look(hub: Hub, owner: Client, as_seen_by: Callable[[str], Client]) -> None:
    quote = quote_of(owner.post("/quote/", ASK))
    viewer = as_seen_by("viewer")
    assert "You may look at this quote, not order it." in page(viewer.get(f"/quotes/{quote.public_id}/"))
    assert viewer.post(f"/quotes/{quote.public_id}/accept/").status_code == 403
    assert not Order.objects.exists()


# The run


def test_a_run_shows_its_moments_curves_and_what_cancelling_loses(hub: Hub, owner: Client) -> None:
    run, attempt = compute.started(hub.world, now=hub.now)
    attempt.refresh_from_db()
    for second, cpu_s in ((2, 1.0), (4, 3.0)):
        MeterSample.objects.create(
            attempt=attempt,
            at=(attempt.started_at or hub.now) + timedelta(seconds=second),
            cpu_s=cpu_s,
            memory_bytes=second << 28,
        )
    order = hub.order_of(run)
    text = page(owner.get(f"/orders/{order.public_id}/"))
    for said in (
        "Ordered",
        "Given to the supplier",
        "Stopped at the latest",
        "CPU",
        "GiB",
        "What was used is paid",
    ):
        assert said in text, said
    one = queries(owner, f"/orders/{order.public_id}/")
    for second in range(5, 25):
        MeterSample.objects.create(
            attempt=attempt, at=hub.now + timedelta(seconds=second), cpu_s=second, memory_bytes=1
        )
    assert queries(owner, f"/orders/{order.public_id}/") == one <= 12


def test_cancelling_before_the_start_costs_nothing(hub: Hub, owner: Client) -> None:
    order = hub.order_of(hub.run())
    path = f"/orders/{order.public_id}/"
    assert "Nothing was used" in page(owner.get(path))
    text = page(owner.post(f"{path}cancel/", follow=True))
    assert "Nothing was charged; all that was held came back." in text
    assert compute.held_micros(hub.world.buyer.id) == 0


# The receipt


def settled_with_voucher(hub: Hub) -> Receipt:
    """An order that used 50 of its seconds at two cores, half of it paid by a voucher."""
    with_voucher(hub)
    owner = hub.client(hub.user(role=Role.OWNER))
    quote = quote_of(owner.post("/quote/", ASK))
    assert owner.post(f"/quotes/{quote.public_id}/accept/").status_code == 302
    order = Order.objects.get(quote=quote)
    run = Run.objects.get(order=order)
    found = compute.lease(hub.world, now=hub.now)
    assert found is not None
    attempt = compute.attempt_of(run)
    compute.beat(hub.world, attempt, "running", now=hub.now)
    later = hub.now + timedelta(seconds=600)
    compute.register(hub.world, cores=64, now=later)
    compute.beat(hub.world, attempt, "running", now=later)
    compute.use(hub.world, attempt, 1000, since=hub.now, now=later)
    compute.report(hub.world, attempt, now=later, started_at=hub.now)
    return Receipt.objects.get(order=order)


def test_every_line_of_a_receipt_opens_its_evidence(hub: Hub, owner: Client) -> None:
    receipt = settled_with_voucher(hub)
    text = page(owner.get(f"/receipts/{receipt.public_id}/"))
    for anchor in re.findall(r'href="#([\w-]+)"', text):
        assert f'id="{anchor}"' in text, anchor
    assert {"line-1", "share-1", "ledger", "content"} <= set(re.findall(r'href="#([\w-]+)"', text))
    assert "unchanged since" in text
    assert "does not have its sha256" not in text
    assert "÷ 3,600 ×" in text
    assert "version 1" in text
    assert "Voucher charged" in text
    assert "Order charged" in text
    assert "Fee taken" not in text  # between the supplier and the hub


def test_the_receipts_bytes_have_its_sha256(hub: Hub, owner: Client) -> None:
    receipt = hub.settled()
    content = owner.get(f"/receipts/{receipt.public_id}/?format=json").content
    assert hashlib.sha256(content).hexdigest() == receipt.sha256


def test_a_buyer_sees_the_postings_of_its_own_purses_alone(hub: Hub) -> None:
    receipt = settled_with_voucher(hub)
    own = postings_about(hub.world.actor, receipt.order_id)
    assert {posting.account.kind for posting in own} == {"balance"}
    assert not postings_about(compute.developer_of(compute.make_organisation("x")), receipt.order_id)
    everything = postings_about(compute.OPERATOR, receipt.order_id)
    assert {posting.account.kind for posting in everything} >= {"balance", "voucher", "payable"}


def test_a_receipt_asks_as_often_for_many_records(hub: Hub, owner: Client) -> None:
    assert queries(owner, f"/receipts/{settled_with_voucher(hub).public_id}/") <= 10


# Orders and bills


def test_orders_are_filtered_by_month_and_number(hub: Hub, owner: Client) -> None:
    order = hub.order_of(hub.run())
    month = f"{timezone.localtime(hub.now):%Y-%m}"
    assert order.number in page(owner.get(f"/orders/?month={month}"))
    earlier = f"{timezone.localtime(hub.now).replace(day=1) - timedelta(days=1):%Y-%m}"
    assert order.number not in page(owner.get(f"/orders/?month={earlier}"))
    year, digits = order.number.split("-")[1:]
    for text in (order.number, f"o-{year}", digits, digits[-2:], f"{year}-{digits}"):
        assert order.number in page(owner.get(f"/orders/?number={text}")), text
    for text in ("O-1999", "%", "_" * len(order.number), f"{digits}9", "-20"):
        assert order.number not in page(owner.get("/orders/", {"number": text})), text
    assert order.number in page(owner.get("/orders/?state=placed&format=csv"))


def test_a_bill_is_the_sum_of_its_receipts(hub: Hub, owner: Client) -> None:
    receipt = settled_with_voucher(hub)
    month = f"{timezone.localtime(receipt.issued_at):%Y-%m}"
    assert f"/bills/{month}/" in page(owner.get("/bills/"))
    text = page(owner.get(f"/bills/{month}/"))
    for said in (receipt.number, receipt.content["total"], receipt.content["voucher_share"]):
        assert said in text
    rows = owner.get(f"/bills/{month}/?format=csv").content.decode("utf-8-sig").splitlines()
    assert len(rows) == 2
    assert receipt.content["total"] in rows[1]
    assert month in owner.get("/bills/?format=csv").content.decode("utf-8-sig")
    assert owner.get("/bills/nonsense/").status_code == 422
    one = queries(owner, f"/bills/{month}/")
    hub.settled()
    assert queries(owner, f"/bills/{month}/") == one <= 12
    assert queries(owner, "/bills/") <= 12


def test_the_hubs_people_name_the_organisation(hub: Hub, as_seen_by: Callable[[str], Client]) -> None:
    receipt = hub.settled()
    path = f"/bills/{timezone.localtime(receipt.issued_at):%Y-%m}/"
    named = f"?organisation={hub.world.buyer.public_id}"
    assert receipt.number in page(as_seen_by("auditor").get(path + named))
    assert receipt.number not in page(as_seen_by("stranger").get(path + named))
