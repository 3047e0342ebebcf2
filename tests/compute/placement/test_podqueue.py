"""Pods that wait instead of being dropped: counted by hand, against a plain model, and by the command."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.cli import main as cli
from mosu.compute.placement.fleet import Machine, Shape
from mosu.compute.placement.podqueue import PodWaits, paced, queue_pods, scaled
from mosu.compute.placement.traces import Pod, machines_in, pods_in
from mosu.kernel.refusals import Invalid

OPENB = Path(__file__).parents[4] / "shared" / "data" / "openb"
CARDS = 4


def pod(at: float, lasts_s: float | None, cards: int = 1, milli: int = 1000, kinds: str = "") -> Pod:
    return Pod(f"at {at}", Shape(1000, 10, cards, milli, frozenset(kinds)), at, lasts_s)


def queued(*pods: Pod, nodes: int = 1, policy: str = "best-fit") -> PodWaits:
    machines = [Machine(f"n{number}", 64_000, 1000, CARDS, "A") for number in range(nodes)]
    return queue_pods(machines, pods, policy=policy)


def test_who_fits_nowhere_waits_until_there_is_room() -> None:
    found = queued(pod(0, 100, 3), pod(10, 50, 2), pod(20, 5, 1))
    assert (found.all.count, found.all.longest_s, found.waited["2-4"]) == (3, 90, 1)
    assert (found.by_size["1"].longest_s, found.too_large) == (0, 0)  # it passed


def test_shares_of_one_card_and_pods_without_cards_wait_by_themselves() -> None:
    found = queued(pod(0, 100, 4), pod(1, 10, 1, 500), pod(1, 10, 1, 500), pod(2, 5, 0))
    assert [(size, one.count) for size, one in found.by_size.items() if one.count] == [
        ("0", 1),
        ("<1", 2),
        ("2-4", 1),
    ]
    assert (found.by_size["<1"].mean_s, found.by_size["0"].mean_s) == (99, 0)


def test_equals_go_as_they_came() -> None:
    found = queued(pod(0, 10, 4), *(pod(1 + number, 10, 4) for number in range(3)))
    assert found.all.longest_s == 10 * 4 - 10 - 3 + 0
    assert found.all.mean_s == (0 + 9 + 18 + 27) / 4


def test_what_would_never_fit_is_counted_and_holds_nobody_up() -> None:
    found = queued(pod(0, 10, 5), pod(0, 10, 1, kinds="B"), pod(1, 10, 1))
    assert (found.too_large, found.all.count, found.all.longest_s) == (2, 1, 0)


def test_without_the_times_there_is_no_queue() -> None:
    with pytest.raises(Invalid, match="at 3"):
        queued(pod(0, 1), pod(3, None))


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(1, CARDS)), min_size=1, max_size=40
    )
)
def test_on_one_node_it_is_the_plain_line(rows: list[tuple[int, int, int]]) -> None:
    pods = [pod(at, lasts_s, cards) for at, lasts_s, cards in sorted(rows, key=lambda row: row[0])]
    for policy in ("best-fit", "mosu"):
        found = queued(*pods, policy=policy)
        waits = plain_waits(pods)
        assert found.all.count == len(pods)
        assert found.all.mean_s * len(pods) == pytest.approx(sum(waits))
        assert found.all.longest_s == max(waits)
        assert sum(found.waited.values()) == sum(wait > 0 for wait in waits)


def plain_waits(pods: Sequence[Pod]) -> list[float]:
    """In order of arrival: at each moment at which somebody comes or goes, whoever fits starts, first come first."""
    waits: list[float] = []
    line: list[Pod] = []
    ends: list[tuple[float, int]] = []
    left = list(pods)
    while left or ends:
        now = min([one.created_s for one in left[:1]] + [end for end, _ in ends])
        ends = [one for one in ends if one[0] > now]
        while left and left[0].created_s <= now:
            line.append(left.pop(0))
        for one in list(line):
            if sum(cards for _, cards in ends) + one.shape.cards <= CARDS:
                line.remove(one)
                waits.append(now - one.created_s)
                ends.append((now + (one.lasts_s or 0), one.shape.cards))
    return waits


def test_a_scale_keeps_some_of_each_kind() -> None:
    machines = [Machine(f"{kind}{number}", 1, 1, 8, kind) for kind in "AB" for number in range(10)]
    kept = scaled(machines, 0.11)
    assert [one.name for one in kept] == ["A0", "A1", "B0", "B1"]
    assert scaled(machines, 1.0) == machines


def test_the_command_tells_who_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes, pods, out = tmp_path / "nodes.csv", tmp_path / "pods.csv", tmp_path / "out.json"
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\nn1,8000,1000,2,A\nn2,8000,1000,2,A\n")
    pods.write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n"
        "p1,1000,10,2,1000,,0,100\np2,1000,10,1,500,,40,50\n"
    )
    call = ["simulate", "placement", "--nodes", str(nodes), "--pods", str(pods), "--queue"]
    assert (
        cli.run(
            [*call, "--scale", "0.5", "--pace", "2", "--policy", "mosu", "--add", "2xA", "--json", str(out)]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "1 / 2" in shown and "40 s" in shown and "0 / 2" in shown
    facts = json.loads(out.read_text())
    assert facts["policies"]["mosu"]["wait"]["longest_s"] == 80
    assert facts["policies"]["mosu"]["by_cards"]["<1"]["waited"] == 1
    assert facts["with_added"]["policies"]["mosu"]["wait"]["longest_s"] == 0
    pods.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np1,1000,10,2,1000\n")
    assert cli.run(call) == 3
    assert "--queue needs creation_time" in capsys.readouterr().err


def test_openb_with_a_queue() -> None:
    if not OPENB.exists():
        pytest.skip("shared data absent")
    machines = scaled(machines_in(OPENB / "openb_node_list_gpu_node.csv"), 0.01)
    pods = paced(pods_in(OPENB / "openb_pod_list_default.csv"), 3000)
    found = queue_pods(machines, pods, policy="best-fit")
    assert (found.all.count, found.too_large) == (len(pods), 0)
    assert found.by_size["5+"].mean_s > found.by_size["1"].mean_s > 0
