"""Moves, net and digests, without a database."""

from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.ledger.rules import Move, day_head_of, digest_of, net_by_account

ACCOUNTS = [UUID(int=number) for number in range(4)]
MOVES = st.lists(
    st.tuples(st.sampled_from(list(permutations(ACCOUNTS, 2))), st.integers(1, 10**15)).map(
        lambda drawn: Move(*drawn[0], drawn[1])
    ),
    max_size=8,
)


@given(MOVES)
def test_any_moves_balance(moves: list[Move]) -> None:
    net = net_by_account(moves)
    assert sum(net.values()) == 0
    assert 0 not in net.values()
    assert list(net) == sorted(net)
    for account in ACCOUNTS:
        gained = sum(move.amount_micros for move in moves if move.destination == account)
        lost = sum(move.amount_micros for move in moves if move.source == account)
        assert net.get(account, 0) == gained - lost


@given(MOVES)
def test_moves_and_their_way_back_come_to_nothing(moves: list[Move]) -> None:
    assert net_by_account([*moves, *(move.back for move in moves)]) == {}


FACTS = {
    "key": "k",
    "kind": "test",
    "moves": (Move(ACCOUNTS[0], ACCOUNTS[1], 5),),
    "subject_id": ACCOUNTS[0],
    "memo": "m",
    "hold_id": None,
    "reverses_id": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"key": "l"},
        {"kind": "other"},
        {"moves": (Move(ACCOUNTS[1], ACCOUNTS[0], 5),)},
        {"moves": (Move(ACCOUNTS[0], ACCOUNTS[1], 6),)},
        {"moves": FACTS["moves"] * 2},  # type: ignore[operator]
        {"subject_id": ACCOUNTS[1]},
        {"memo": ""},
        {"hold_id": ACCOUNTS[2]},
        {"reverses_id": ACCOUNTS[2]},
    ],
)
def test_a_digest_covers_everything(change: dict[str, object]) -> None:
    assert digest_of(**(FACTS | change)) != digest_of(**FACTS)  # type: ignore[arg-type]


def test_a_memo_cannot_pass_for_a_move() -> None:
    one, two = Move(ACCOUNTS[0], ACCOUNTS[1], 5), Move(ACCOUNTS[2], ACCOUNTS[3], 7)
    forged = f"{two.source}>{two.destination}:7\nm"
    assert digest_of(key="k", kind="t", moves=[one], subject_id=ACCOUNTS[0], memo=forged) != digest_of(
        key="k", kind="t", moves=[one, two], subject_id=ACCOUNTS[0], memo="m"
    )


def test_a_day_head_is_the_same_in_any_order() -> None:
    heads = [(ACCOUNTS[1], 2, "b" * 64), (ACCOUNTS[0], 1, "a" * 64)]
    assert day_head_of(heads) == day_head_of(reversed(heads))
    assert day_head_of(heads) != day_head_of(heads[:1])
