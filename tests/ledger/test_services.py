"""Entries and holds, as the application's role."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from tests.conftest import NOW
from tests.ledger.conftest import funded, open_account

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import Invalid, NotFound
from mosu.ledger import queries, rules, services
from mosu.ledger.models import Account, Hold, JournalEntry, Posting
from mosu.ledger.rules import Move
from mosu.platform.models import AuditRecord

pytestmark = pytest.mark.django_db


def post(*moves: Move, key: str | None = None, memo: str = "") -> object:
    return services.post_entry(
        key=key or str(uuid4()), kind="test", moves=moves, subject_id=uuid4(), now=NOW, memo=memo
    )


def figures() -> list[object]:
    """Everything that a refused action must leave as it was."""
    return [
        *Account.objects.order_by("id").values_list("id", "balance_micros", "held_micros", "sequence"),
        *Hold.objects.order_by("id").values_list("id", "captured_micros", "released_micros", "state"),
        JournalEntry.objects.count(),
        Posting.objects.count(),
    ]


def test_an_entry_moves_money_and_chains_its_postings() -> None:
    a, b = funded(100), open_account()
    entry_id = post(Move(a, b, 30), Move(a, b, 5))
    assert (queries.balance_of(a).balance_micros, queries.balance_of(b).balance_micros) == (65, 35)
    entry = JournalEntry.objects.get(id=entry_id)
    assert entry.postings.count() == 2
    posting = Posting.objects.get(entry=entry, account_id=a)
    first = Posting.objects.get(account_id=a, sequence=1)
    assert (posting.sequence, posting.amount_micros, posting.balance_after_micros) == (2, -35, 65)
    assert posting.previous_hash == first.hash
    assert first.previous_hash == rules.GENESIS
    assert Account.objects.get(id=a).head_hash == posting.hash


@pytest.mark.parametrize("memo", ["", "备注, two\nlines | and a bar"])
def test_python_recomputes_digest_and_hash(memo: str) -> None:
    a, b, subject = funded(100), open_account(), uuid4()
    moves = [Move(a, b, 30), Move(b, a, 7)]
    at = NOW + timedelta(microseconds=123_457)
    entry = JournalEntry.objects.get(
        id=services.post_entry(key="键 k", kind="test", moves=moves, subject_id=subject, now=at, memo=memo)
    )
    assert entry.digest == rules.digest_of(
        key="键 k", kind="test", moves=moves, subject_id=subject, memo=memo
    )
    for posting in entry.postings.all():
        assert posting.hash == rules.hash_of_posting(
            previous_hash=posting.previous_hash,
            account_id=posting.account_id,
            sequence=posting.sequence,
            entry_id=entry.id,
            entry_digest=entry.digest,
            posted_at=at,
            amount_micros=posting.amount_micros,
            balance_after_micros=posting.balance_after_micros,
        )


def test_a_repeated_key_returns_the_first_entry() -> None:
    a, b, subject = funded(100), open_account(), uuid4()

    def once(amount: int) -> object:
        return services.post_entry(
            key="k", kind="test", moves=[Move(a, b, amount)], subject_id=subject, now=NOW
        )

    first = once(60)
    before = figures()
    assert once(60) == first
    with pytest.raises(services.KeyReused):
        once(61)
    assert figures() == before


def test_overdrawing_is_refused_and_says_what_is_available() -> None:
    a, b = funded(100), open_account()
    services.place_hold(key="h", account_id=a, amount_micros=40, subject_id=uuid4(), now=NOW)
    before = figures()
    with pytest.raises(services.InsufficientFunds) as refused:
        post(Move(a, b, 61))
    assert refused.value.facts["available_micros"] == 60
    assert figures() == before
    post(Move(a, b, 60))


def test_only_the_net_counts_against_the_floor() -> None:
    a, b = funded(10), funded(0)
    bank = open_account("bank")
    post(Move(a, b, 50), Move(bank, a, 45))
    assert queries.balance_of(a).balance_micros == 5


def test_refused_moves() -> None:
    a, b, foreign = funded(100), open_account(), open_account(currency="EUR")
    before = figures()
    with pytest.raises(Invalid):
        post(Move(a, foreign, 1))
    with pytest.raises(NotFound):
        post(Move(a, uuid4(), 1))
    with pytest.raises(NotFound):
        post(Move(a, b, 2), Move(uuid4(), b, 1))
    with pytest.raises(Invalid):
        post()
    with pytest.raises(ValueError, match="positive"):
        Move(a, b, 0)
    with pytest.raises(ValueError, match="two accounts"):
        Move(a, a, 1)
    assert figures() == before


def test_a_hold_is_captured_in_parts_and_the_rest_released() -> None:
    a, b = funded(100), open_account()
    hold = services.place_hold(key="h", account_id=a, amount_micros=80, subject_id=uuid4(), now=NOW)
    assert queries.balance_of(a) == queries.Balance(100, 80, 20)

    def capture(key: str, amount: int) -> object:
        return services.capture_hold(
            key=key, hold_id=hold, destination_id=b, amount_micros=amount, kind="test", now=NOW
        )

    first = capture("c1", 30)
    assert capture("c1", 30) == first
    with pytest.raises(services.KeyReused):
        capture("c1", 31)
    capture("c2", 20)
    before = figures()
    with pytest.raises(services.HoldExceeded):
        capture("c3", 31)
    assert figures() == before
    services.release_hold(hold_id=hold, now=NOW)
    services.release_hold(hold_id=hold, now=NOW)
    assert queries.balance_of(a) == queries.Balance(50, 0, 50)
    assert queries.balance_of(b).balance_micros == 50
    row = Hold.objects.get(id=hold)
    assert (row.captured_micros, row.released_micros, row.state) == (50, 30, "closed")
    assert capture("c1", 30) == first
    with pytest.raises(services.HoldExceeded):
        capture("c4", 1)


def test_a_hold_captured_whole_is_closed() -> None:
    a, b = funded(100), open_account()
    hold = services.place_hold(key="h", account_id=a, amount_micros=100, subject_id=uuid4(), now=NOW)
    services.capture_hold(key="c", hold_id=hold, destination_id=b, amount_micros=100, kind="test", now=NOW)
    assert Hold.objects.get(id=hold).state == "closed"
    assert queries.balance_of(a) == queries.Balance(0, 0, 0)


def test_a_hold_repeated_is_one_hold() -> None:
    a, subject = funded(100), uuid4()

    def place(amount: int) -> object:
        return services.place_hold(key="h", account_id=a, amount_micros=amount, subject_id=subject, now=NOW)

    first = place(80)
    assert place(80) == first
    before = figures()
    with pytest.raises(services.KeyReused):
        place(10)
    with pytest.raises(services.InsufficientFunds):
        services.place_hold(key="h2", account_id=a, amount_micros=21, subject_id=subject, now=NOW)
    with pytest.raises(NotFound):
        services.place_hold(key="h3", account_id=uuid4(), amount_micros=1, subject_id=subject, now=NOW)
    with pytest.raises(NotFound):
        services.release_hold(hold_id=uuid4(), now=NOW)
    with pytest.raises(Invalid):
        place(0)
    assert figures() == before


def test_holds_are_placed_together_or_not_at_all() -> None:
    a, b, bank, subject = funded(100), funded(50), open_account("bank"), uuid4()

    def place(*wanted: tuple[str, UUID, int]) -> list[UUID]:
        holds = [services.HoldRequest(key, account, amount, subject) for key, account, amount in wanted]
        return services.place_holds(holds=holds, now=NOW)

    assert place() == []
    first = place(("h1", a, 60), ("h2", b, 50), ("h3", a, 30), ("h4", bank, 7))
    placed = Hold.objects.in_bulk(first)
    assert [(placed[one].account_id, placed[one].amount_micros) for one in first] == [
        (a, 60),
        (b, 50),
        (a, 30),
        (bank, 7),
    ]
    assert queries.balance_of(a) == queries.Balance(100, 90, 10)
    before = figures()
    assert place(("h3", a, 30), ("h1", a, 60)) == [first[2], first[0]]
    with pytest.raises(services.InsufficientFunds) as refused:  # each alone would fit, both do not
        place(("h5", bank, 1), ("h6", a, 6), ("h7", a, 5), ("h8", b, 1))
    assert (refused.value.facts["account_id"], refused.value.facts["available_micros"]) == (
        typeid(Account.prefix, a),
        10,
    )
    for wanted, refusal in (
        ([("h5", a, 1), ("h1", a, 61)], services.KeyReused),
        ([("h5", a, 1), ("h5", a, 1)], services.KeyReused),
        ([("h5", a, 1), ("h6", uuid4(), 1)], NotFound),
        ([("h5", a, 1), ("h6", b, 0)], Invalid),
    ):
        with pytest.raises(refusal):
            place(*wanted)
    assert figures() == before
    assert place(("h1", a, 60), ("h9", a, 10))[0] == first[0]  # a repeated one counts once
    assert queries.balance_of(a) == queries.Balance(100, 100, 0)


def test_each_change_of_a_hold_is_on_record() -> None:
    a, b = funded(100), open_account()
    whole, part = services.place_holds(
        holds=[services.HoldRequest(key, a, 50, uuid4()) for key in ("whole", "part")], now=NOW
    )
    for hold, amount in ((whole, 50), (part, 20)):
        services.capture_hold(
            key=str(hold), hold_id=hold, destination_id=b, amount_micros=amount, kind="test", now=NOW
        )
    for _ in range(2):
        services.release_hold(hold_id=part, now=NOW + timedelta(hours=1))
    found = sorted(
        AuditRecord.objects.filter(subject_id__in=[whole, part]),
        key=lambda one: (one.subject_id == part, one.before is not None),
    )
    assert [(one.subject_id, one.before, one.after, one.why) for one in found] == [
        (whole, None, "open", ""),
        (whole, "open", "closed", "captured whole"),
        (part, None, "open", ""),
        (part, "open", "closed", "what was left of it was released"),
    ]
    last = found[3]
    assert (last.action, last.at, last.actor_kind) == ("hold.closed", NOW + timedelta(hours=1), "system")
    assert last.organisation_id == Account.objects.get(id=a).owner_id
    assert (last.facts["captured_micros"], last.facts["released_micros"]) == (20, 30)


def test_an_entry_is_reversed_once() -> None:
    a, b = funded(100), open_account()
    entry = post(Move(a, b, 30), Move(b, a, 10))
    assert isinstance(entry, type(a))
    back = services.reverse_entry(key="r", entry_id=entry, now=NOW, memo="refund")
    assert services.reverse_entry(key="r", entry_id=entry, now=NOW, memo="refund") == back
    assert (queries.balance_of(a).balance_micros, queries.balance_of(b).balance_micros) == (100, 0)
    before = figures()
    with pytest.raises(services.AlreadyReversed):
        services.reverse_entry(key="r2", entry_id=entry, now=NOW, memo="again")
    with pytest.raises(NotFound):
        services.reverse_entry(key="r3", entry_id=back, now=NOW, memo="of a reversal")
    assert figures() == before


def test_an_account_is_opened_once_and_found() -> None:
    owner = uuid4()
    first = services.open_account(kind="balance", owner_id=owner, currency="CNY", floor_micros=0)
    assert services.open_account(kind="balance", owner_id=owner, currency="CNY", floor_micros=0) == first
    assert services.account_id(kind="balance", owner_id=owner, currency="CNY") == first
    with pytest.raises(NotFound):
        services.account_id(kind="balance", owner_id=owner, currency="EUR")
    with pytest.raises(NotFound):
        services.lock_accounts([first, uuid4()])
    services.lock_accounts([first, first])
