"""The SDK against a hub that drops, stumbles and lies."""

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.client.fake_hub import TOKEN, FakeHub

from mosu.client import (
    BrokenAnswer,
    Client,
    ClientError,
    DamagedOutput,
    LogText,
    ProblemError,
    StateSeen,
    Unreachable,
)
from mosu.client.logs import parse_events
from mosu.client.models import Output, Run
from mosu.client.transport import ATTEMPTS_MAX, Transport
from mosu.wire.manifest import files_of
from mosu.wire.paths import UnsafePath


@pytest.fixture
def client(hub: FakeHub) -> Iterator[Client]:
    with Client(hub.url, TOKEN, transport=Transport(hub.url, TOKEN, sleep=lambda _: None)) as client:
        yield client


def test_answers_are_typed_and_keep_unknown_keys(client: Client) -> None:
    me = client.me()
    assert me.organisation is not None
    assert me.organisation.name == "Startup Ltd"
    (offer,) = client.offers(shelf="compute", live=True).items
    assert offer.prices[0].unit_price == Decimal("0.36")
    dumped = offer.model_dump(mode="json")
    assert dumped["key_of_a_newer_hub"] == [1]
    assert dumped["query"] == {"shelf": "compute", "live": "true"}
    assert dumped["prices"][0]["unit_price"] == "0.36"
    assert client.offer("offer_1").title.in_language("zh") == "本地核时"
    quote = client.quote("quote_1")
    assert (quote.pay_now, quote.voucher_now, quote.refund_later) == (
        Decimal("6.40"),
        Decimal("6.40"),
        Decimal("1.28"),
    )
    assert client.runs().next == "cursor"
    assert client.run("run_1").is_over
    assert client.order("order_1").receipt_id == "receipt_1"
    assert client.receipt("receipt_1").total == Decimal("0.90")
    assert client.balance().available == Decimal("93.60")
    assert client.vouchers().items[0].remaining == Decimal("93.60")
    assert client.statement().items[0].model_dump() == {"memo": "trial"}
    assert client.cancel_run("run_1").state == "cancelled"
    assert client.cancel_order("order_1").state == "cancelled"
    assert client.orders().items[0].number == client.receipts().items[0].order_id.replace("order_", "O-")


def test_a_refusal_carries_the_problem(client: Client) -> None:
    with pytest.raises(ProblemError) as refused:
        client.run("run_/../2")
    problem = refused.value
    assert (problem.status, problem.code, problem.detail) == (404, "not_found", "Check the id.")
    assert problem.title == "There is no /runs/run_/../2."


def test_a_wrong_token_is_refused(hub: FakeHub) -> None:
    with Client(hub.url, "mosu_other") as client, pytest.raises(ProblemError) as refused:
        client.me()
    assert refused.value.status == 401


@pytest.mark.parametrize("faults", [["drop"], [503], [500, "drop", 502], ["drop"] * (ATTEMPTS_MAX - 1)])
def test_accept_is_sent_again_with_the_same_key(
    client: Client, hub: FakeHub, faults: list[str | int]
) -> None:
    hub.faults["POST /orders"] = list(faults)
    assert client.accept("quote_1").id == "order_1"
    assert len(hub.orders) == 1
    assert len(set(hub.keys)) == 1
    assert hub.calls.count(("POST", "/orders")) == len(faults) + 1


def test_two_accepts_have_two_keys(client: Client, hub: FakeHub) -> None:
    client.accept("quote_1")
    client.accept("quote_1")
    client.accept("quote_1", idempotency_key="mine")
    assert len(set(hub.keys)) == 3
    assert hub.keys[2] == "mine"


def test_accept_gives_up_after_a_while(client: Client, hub: FakeHub) -> None:
    hub.faults["POST /orders"] = ["drop"] * 99
    with pytest.raises(Unreachable):
        client.accept("quote_1")
    assert hub.calls.count(("POST", "/orders")) == ATTEMPTS_MAX
    hub.faults["POST /orders"] = [503] * 99
    with pytest.raises(ProblemError):
        client.accept("quote_1")


def test_what_is_not_safe_to_repeat_is_sent_once(client: Client, hub: FakeHub) -> None:
    hub.faults["POST /quotes"] = ["drop"]
    with pytest.raises(Unreachable):
        client.make_quotes("run: ls")
    assert hub.calls == [("POST", "/quotes")]


def test_a_refusal_is_not_repeated(client: Client, hub: FakeHub) -> None:
    hub.faults["POST /orders"] = [409]
    with pytest.raises(ProblemError):
        client.accept("quote_1")
    assert hub.calls == [("POST", "/orders")]


def test_no_hub_at_all() -> None:
    transport = Transport("http://127.0.0.1:1", TOKEN, sleep=lambda _: None)
    with (
        Client("", TOKEN, transport=transport) as client,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        client.me()


def test_an_answer_of_another_shape_is_said_so(client: Client, hub: FakeHub) -> None:
    with pytest.raises(BrokenAnswer, match="state"):
        hub.order = lambda: {"id": "order_1"}  # type: ignore[method-assign]
        client.order("order_1")


@pytest.mark.parametrize("url", ["ftp://x", "hub.example.org", "http://[::"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ClientError):
        Client(url, TOKEN)


def text_of(events: list[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, LogText))


def test_the_log_is_followed_to_its_end(client: Client, hub: FakeHub) -> None:
    events = list(client.follow_log("run_1"))
    assert events[0] == StateSeen("running")
    assert events[-1] == StateSeen("succeeded")
    assert text_of(list(events)) == hub.log.decode()


def test_a_lost_line_is_taken_up_where_it_was(client: Client, hub: FakeHub) -> None:
    hub.log_cuts = [5, 9, 9, 12]
    events = list(client.follow_log("run_1"))
    assert text_of(list(events)) == hub.log.decode()
    assert hub.calls.count(("GET", "/runs/run_1/log")) == 5
    assert text_of(list(client.follow_log("run_1", offset=7))) == hub.log[7:].decode()


def test_bytes_that_are_no_text_do_not_shift_the_rest(client: Client, hub: FakeHub) -> None:
    hub.log = b"a\xff\xffb\n" + b"line\n" * 5
    hub.log_cuts = [5, 12]
    assert text_of(list(client.follow_log("run_1"))) == hub.log.decode(errors="replace")
    hub.log = "步骤\n".encode() * 9
    assert client.log("run_1") == hub.log.decode()


def test_a_hub_that_stays_away_is_given_up(client: Client, hub: FakeHub) -> None:
    hub.faults["GET /runs/run_1/log"] = [503] * 99
    with pytest.raises(Unreachable, match="broke off"):
        list(client.follow_log("run_1"))
    hub.faults["GET /runs/run_1/log"] = [404]
    with pytest.raises(ProblemError):
        list(client.follow_log("run_1"))


def test_the_whole_log_is_put_together(client: Client, hub: FakeHub) -> None:
    hub.log = b"0123456789" * 3 + b"end"
    assert client.log("run_1") == hub.log.decode()
    assert client.log("run_1", offset=25) == "56789end"


def test_events_are_read_as_the_standard_says() -> None:
    lines = ["data: a", "data:b", "", ": comment", "event: end", "", "id: 3", "", "data: unfinished"]
    assert list(parse_events(lines)) == [("message", "a\nb", ""), ("end", "", "")]


def test_only_missing_files_go_up(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    (tmp_path / "c").write_bytes(b"x" * 3_000_000)
    (tmp_path / "empty").write_bytes(b"")
    files = files_of(tmp_path)
    hub.faults[f"PUT /blobs/{hashlib.sha256(b'same').hexdigest()}"] = ["drop"]
    assert client.upload_workdir(files) == 3
    assert {file.entry.sha256 for file in files} == set(hub.blobs)
    assert client.upload_workdir(files) == 0


def test_a_file_that_changed_meanwhile_is_refused(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    files = files_of(tmp_path)
    (tmp_path / "a").write_bytes(b"after!")
    with pytest.raises(ProblemError, match="sha256"):
        client.upload_workdir(files)
    assert not hub.blobs


def test_outputs_come_back_whole(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    hub.outputs["数据/a b#?.txt"] = b"x" * 2_000_000
    for output in client.run("run_1").outputs:
        path = client.download_output("run_1", output, tmp_path / "into")
        assert path.read_bytes() == hub.outputs[output.path]
    assert sorted(p.name for p in (tmp_path / "into").rglob("*") if p.is_file()) == ["a b#?.txt", "loss.csv"]


def test_damaged_outputs_leave_no_file(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    hub.lie_about = {"out/loss.csv"}
    (output,) = client.run("run_1").outputs
    with pytest.raises(DamagedOutput):
        client.download_output("run_1", output, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "a\\b"])
def test_outputs_stay_in_their_folder(client: Client, tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath):
        client.download_output("run_1", Output(path=path, sha256="0" * 64, size_bytes=0), tmp_path / "into")
    assert not (tmp_path / "evil").exists()


def test_outputs_do_not_follow_links_out(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "into" / "out").symlink_to(tmp_path / "outside")
    (output,) = client.run("run_1").outputs
    with pytest.raises(DamagedOutput, match="outside"):
        client.download_output("run_1", output, tmp_path / "into")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_null_counts_as_left_out() -> None:
    run = Run.model_validate(
        {"id": "run_1", "state": "queued", "name": None, "outputs": None, "exit_code": None}
    )
    assert (run.name, run.outputs, run.exit_code) == ("", (), None)
    with pytest.raises(ValueError, match="state"):
        Run.model_validate({"id": "run_1", "state": None})
