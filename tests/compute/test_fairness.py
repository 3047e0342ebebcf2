"""Whose turn it is: Kueue's worked example, borrowing, priorities, and a plain model beside it."""

from collections import Counter
from fractions import Fraction
from itertools import islice
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.compute.fairness import Party, Path, Waiting, turns, value_of

GPU = {"gpu": 1}
C1, C2, A, B, C = (UUID(int=number) for number in range(1, 6))


def backlog(*paths: Path, each: int = 300) -> list[Waiting]:
    return [
        Waiting(UUID(int=1000 + number * len(paths) + place), path, GPU)
        for number in range(each)
        for place, path in enumerate(paths)
    ]


def started(waiting: list[Waiting], count: int, **fields: object) -> Counter[Path]:
    known = {"used": {}, "total": {"gpu": 300}, "parties": {}} | fields
    return Counter(one.path for one in islice(turns(waiting, **known), count))  # type: ignore[arg-type]


def test_the_worked_example_of_kep_1714() -> None:
    """Story 3: 300 to share, both cohorts alike; inside C1 the third is worth three of the others."""
    waiting = backlog((C1, A), (C1, B), (C1, C), (C2, A))
    found = started(waiting, 300, parties={(C1, C): Party(weight=3)})
    assert found == {(C1, A): 30, (C1, B): 30, (C1, C): 90, (C2, A): 150}


def test_what_others_do_not_need_is_borrowed() -> None:
    waiting = [*backlog((C1, A)), *backlog((C2, A), each=10)]
    assert started(waiting, 300) == {(C1, A): 290, (C2, A): 10}


def test_who_borrowed_waits_until_the_others_have_as_much() -> None:
    waiting = backlog((C1, A), (C2, A))
    found = started(waiting, 50, used={(C1, A): {"gpu": 100}})
    assert found == {(C2, A): 50}


def test_a_guarantee_is_not_borrowed() -> None:
    waiting = backlog((C1, A), (C2, A))
    found = started(waiting, 100, parties={(C1,): Party(guaranteed={"gpu": 60})})
    assert found == {(C1, A): 80, (C2, A): 20}


def test_the_value_is_the_largest_part_over_the_weight() -> None:
    used, total = {"gpu": 10, "cores": 10}, {"gpu": 100, "cores": 1000}
    assert value_of(used, Party(), total=total) == Fraction(1, 10)
    assert value_of(used, Party(weight=2), total=total) == Fraction(1, 20)
    assert value_of(used, Party(guaranteed={"gpu": 10}), total=total) == Fraction(1, 100)
    assert value_of({"tpu": 5}, Party(), total=total) == 0


def test_priority_counts_inside_a_project_alone() -> None:
    old, urgent = Waiting(UUID(int=10), (C1, A), GPU), Waiting(UUID(int=11), (C1, A), GPU, priority=9)
    other = Waiting(UUID(int=12), (C2, A), GPU)
    order = list(turns([old, urgent, other], used={(C1, A): GPU}, total={"gpu": 9}, parties={}))
    assert order == [other, urgent, old]


_paths = st.sampled_from([(C1, A), (C1, B), (C2, A)])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(_paths, st.integers(1, 8), st.integers(-2, 2)), max_size=30),
    st.dictionaries(_paths, st.integers(0, 40)),
    st.integers(1, 5),
)
def test_as_a_plain_model_says(
    asked: list[tuple[Path, int, int]], used: dict[Path, int], weight: int
) -> None:
    """The model looks at everything anew for each turn."""
    waiting = [
        Waiting(UUID(int=100 + number), path, {"gpu": units}, priority)
        for number, (path, units, priority) in enumerate(asked)
    ]
    parties = {(C1,): Party(weight=weight)}
    order = list(
        turns(
            waiting,
            used={path: {"gpu": units} for path, units in used.items()},
            total={"gpu": 64},
            parties=parties,
        )
    )
    left, has = list(waiting), Counter(used)
    for one in order:
        by_org = {org: sum(units for path, units in has.items() if path[0] == org) for org in (C1, C2)}
        by_org[C1] = Fraction(by_org[C1], weight)  # type: ignore[assignment]
        least = min(by_org[other.path[0]] for other in left)
        assert by_org[one.path[0]] == least
        siblings = [other for other in left if other.path[0] == one.path[0]]
        assert has[one.path] == min(has[other.path] for other in siblings)
        same = [other for other in left if other.path == one.path]
        assert one == min(same, key=lambda other: (-other.priority, other.key))
        left.remove(one)
        has[one.path] += one.need["gpu"]
    assert not left
