"""The simulators on clusters small enough to count by hand; their files, good and bad; the command without Django."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mosu.cli import main as cli
from mosu.compute.placement.fleet import Machine, Shape
from mosu.compute.placement.queueing import Learnt, wait_in
from mosu.compute.placement.replay import replay
from mosu.compute.placement.traces import (
    Cluster,
    Job,
    Pod,
    TraceRefused,
    clusters_in,
    machines_in,
    pods_in,
)
from mosu.compute.placement.waits import waits_of
from mosu.compute.placement.whatif import added, with_added
from mosu.kernel.refusals import Invalid

OPENB = Path(__file__).parents[4] / "shared" / "data" / "openb"
NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,1000,2,A\nn2,8000,1000,2,B\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n"
    "p1,1000,10,1,500,A|B,0,10\np2,1000,10,0,0,,,\np3,1000,10,2,1000,B,5,7\n"
)


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    (tmp_path / "nodes.csv").write_text(NODES)
    return tmp_path / "nodes.csv"


@pytest.fixture
def pods(tmp_path: Path) -> Path:
    (tmp_path / "pods.csv").write_text(PODS)
    return tmp_path / "pods.csv"


def test_files_are_read_as_they_say(nodes: Path, pods: Path) -> None:
    assert machines_in(nodes)[1] == Machine("n2", 8000, 1000, 2, "B")
    first, second, third = pods_in(pods)
    assert first == Pod("p1", Shape(1000, 10, 1, 500, frozenset({"A", "B"})), 0.0, 10.0)
    assert (second.shape.cards, second.lasts_s) == (0, None)
    assert (third.shape.card_milli, third.lasts_s) == (2000, 2.0)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (PODS.replace("p3,1000", "p3,many"), 4, "cpu_milli"),
        (PODS.replace("2,1000,B", "2,500,B"), 4, "gpu_milli"),
        (PODS.replace("1,500", "1,1500"), 2, "gpu_milli"),
        (PODS.replace("5,7", "5,4"), 4, "deletion_time"),
        (PODS.replace("p3,1000", "p3,-1"), 4, "cpu_milli"),
        (PODS.replace("0,10\n", "0,nan\n"), 2, "deletion_time"),
    ],
)
def test_a_bad_cell_is_refused_by_file_line_and_column(pods: Path, text: str, line: int, column: str) -> None:
    pods.write_text(text)
    with pytest.raises(TraceRefused) as refused:
        pods_in(pods)
    assert refused.value.message.startswith(f"{pods}, line {line}, column {column}: ")
    assert refused.value.hint.startswith("Allowed: ")


def test_a_bad_file_is_refused_whole(nodes: Path, tmp_path: Path) -> None:
    for text, found in (
        ("sn,gpu\n", "no column cpu_milli, memory_mib, model"),
        (NODES.splitlines()[0] + "\n", "no line below"),
        (NODES.replace("n2", "n1"), "line 3, column sn"),
    ):
        nodes.write_text(text)
        with pytest.raises(TraceRefused, match=found):
            machines_in(nodes)
    with pytest.raises(TraceRefused, match="cannot be read"):
        machines_in(tmp_path / "none.csv")
    nodes.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceRefused, match="not a CSV file in UTF-8"):
        machines_in(nodes)


def test_a_replay_counts_what_is_dropped_and_stops_at_all_cards() -> None:
    machines = [Machine("n1", 8000, 10, 2, "A")]
    whole = Pod("w", Shape(1000, 1, 1))
    found = replay(machines, [whole, whole], policy="mosu", seed=42)
    assert (found.allocated_percent, found.refused, found.decisions) == (100.0, 0, 2)
    too_much = replay(machines, [Pod("x", Shape(9000, 1, 2)), whole], policy="fgd", seed=1)
    assert too_much.refused >= 1
    assert too_much.refused_cards >= 2
    assert replay(machines, [whole] * 3, policy="best-fit", seed=7) != found


def test_the_same_seed_is_the_same_replay(nodes: Path, pods: Path) -> None:
    first, second = (replay(machines_in(nodes), pods_in(pods), policy="mosu", seed=5) for _ in range(2))
    assert (first.allocated_percent, first.decisions) == (second.allocated_percent, second.decisions)


def test_more_cards_come_as_nodes_like_those_there_are() -> None:
    machines = [Machine("n1", 8000, 10, 2, "A"), Machine("n2", 9000, 20, 4, "B")]
    grown = with_added(machines, added(["5xA", "8xC"]))
    assert [(one.kind, one.cards, one.cpu_milli) for one in grown[2:]] == [
        ("A", 2, 8000),
        ("A", 2, 8000),
        ("A", 1, 8000),
        ("C", 8, 9000),
    ]
    assert len({one.name for one in grown}) == len(grown)
    with pytest.raises(Invalid, match="--add"):
        added(["many"])


def jobs(*rows: tuple[float, float, int]) -> list[Job]:
    return [Job(submitted, lasts, cards, "c") for submitted, lasts, cards in rows]


def waits(discipline: str, *rows: tuple[float, float, int], nodes: int = 1) -> list[float]:
    found = wait_in(
        Cluster("c", nodes, 8), jobs(*rows), discipline=discipline, policy="best-fit", tell=lambda _: None
    )
    return [one.wait_s for one in found.waits]


def test_fifo_lets_nobody_pass_and_backfill_does() -> None:
    rows = ((0, 100, 4), (1, 10, 8), (2, 10, 4))
    assert waits("fifo", *rows) == [0, 99, 108]
    assert waits("backfill", *rows) == [0, 0, 99]


def test_large_jobs_take_whole_nodes_and_the_rest_of_another() -> None:
    rows = ((0, 100, 5), (1, 10, 12))
    assert waits("backfill", *rows, nodes=2) == [0, 99]
    assert waits("backfill", *rows, nodes=3) == [0, 0]


def test_ours_starts_first_what_will_be_over_soon_by_what_it_learnt() -> None:
    short = [(20 * number, 10, 4) for number in range(3)]
    long = [(100 + 1100 * number, 1000, 8) for number in range(3)]
    rows = (*short, *long, (5000, 500, 8), (5001, 1000, 8), (5002, 10, 4))
    assert waits("backfill", *rows)[-2:] == [499, 1498]
    assert waits("mosu", *rows)[-2:] == [498, 509]


def test_what_is_not_known_of_a_size_is_learnt_of_all() -> None:
    learnt = Learnt()
    assert learnt.expected_s(1) == Learnt.UNKNOWN_S
    learnt.ended(Job(0, 540, 8, "c"))
    assert learnt.expected_s(1) == pytest.approx(600)


def test_a_job_larger_than_its_cluster_is_counted_and_holds_nobody_up() -> None:
    found = waits_of([Cluster("c", 1, 8)], jobs((0, 10, 9), (1, 10, 1)), discipline="fifo")
    assert (found.too_large, found.all.count, found.all.longest_s) == (1, 1, 0)


def test_the_command_needs_no_hub(nodes: Path, pods: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    code = (
        "import sys; from mosu.cli.main import run; "
        f"code = run(['simulate', 'placement', '--nodes', {str(nodes)!r}, '--pods', {str(pods)!r}, "
        f"'--seeds', '2', '--add', '2xA', '--json', {str(file)!r}]); "
        "sys.exit(code or ('django' in sys.modules and 9) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "mosu *" in ran.stdout
    facts = json.loads(file.read_text())
    assert set(facts["policies"]) == {"best-fit", "fgd", "mosu", "spread"}
    for one in facts["policies"].values():
        assert len(one["allocated_percent_at_100"]["per_seed"]) == 2
        assert 0 <= one["allocated_percent_at_100"]["mean"] <= 100
        assert one["decisions_per_second"] > 0
    assert facts["with_added"]["cards"] == 2


def test_the_queue_command_tells_who_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "jobs.csv").write_text(
        "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-01 00:00:00,100,8,800,c\n2017-10-01 00:00:01,5,1,5,c\n"
    )
    (tmp_path / "nodes.csv").write_text("cluster,nodes,gpus_per_node\nc,2,8\n")
    call = ["simulate", "queue", "--jobs", str(tmp_path / "jobs.csv"), "--nodes", str(tmp_path / "nodes.csv")]
    assert cli.run([*call, "--scale", "0.5", "--policy", "fifo", "--json", str(tmp_path / "out.json")]) == 0
    assert "fifo" in capsys.readouterr().out
    wait = json.loads((tmp_path / "out.json").read_text())["policies"]["fifo"]["wait"]
    assert (wait["mean_s"], wait["p99_s"], wait["jobs"]) == (49.5, 99.0, 2)
    assert cli.run([*call, "--policy", "luck"]) == 3
    assert "Known: fifo, backfill, mosu" in capsys.readouterr().err
    assert cli.run([*call, "--since", "2020-01-01"]) == 3
    capsys.readouterr()
    assert cli.run([*call, "--json", str(tmp_path / "no" / "out.json")]) == 3
    nowhere = capsys.readouterr()
    assert "There is no folder" in nowhere.err and nowhere.out == ""  # before anything is reckoned
    absent = str(tmp_path / "absent.csv")
    figures = ["simulate", "placement", "--nodes", absent, "--pods", absent, "--json", "/nope/x.json"]
    assert cli.run(figures) == 3 and "There is no folder /nope." in capsys.readouterr().err


def test_a_scale_is_rounded_up(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("cluster,nodes,gpus_per_node\na,20,8\nb,8,8\n")
    assert [one.nodes for one in clusters_in(tmp_path / "nodes.csv", scale=0.35)] == [7, 3]


@pytest.mark.parametrize(
    ("policy", "least", "most"), [("best-fit", 92.3, 93.6), ("fgd", 94.5, 95.6), ("mosu", 95.0, 96.9)]
)
def test_openb_comes_out_as_published(policy: str, least: float, most: float) -> None:
    if not OPENB.exists():
        pytest.skip("shared data absent")
    found = replay(
        machines_in(OPENB / "openb_node_list_gpu_node.csv"),
        pods_in(OPENB / "openb_pod_list_default.csv"),
        policy=policy,
        seed=42,
    )
    assert least <= found.allocated_percent <= most
