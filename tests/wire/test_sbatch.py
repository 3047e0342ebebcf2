"""Scripts for sbatch as tasks, and every line of them that is refused."""

import subprocess
from pathlib import Path

import pytest

from mosu.wire.sbatch import is_sbatch, parse_sbatch
from mosu.wire.task import ResourceNeed, TaskRefused, dump_task, parse_task

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=train
#SBATCH -N 1 --ntasks-per-node=2   # two workers
#SBATCH -c4
#SBATCH --mem=6G
#SBATCH -t 1-02:30
#SBATCH --gres=gpu:H100:8
#SBATCH --output=%j.out -e %j.err
##SBATCH --array=1-10
#SBATCH --export=EPOCHS=3,LR=0.1

python train.py --workers "$SLURM_NTASKS"
#SBATCH --partition=too-late-to-count
"""


def test_a_script_becomes_a_task() -> None:
    assert is_sbatch(SCRIPT)
    task = parse_sbatch(SCRIPT)
    assert task.resources == ResourceNeed(
        accelerators=(("H100", 8),), cpus=8, cpus_at_least=True, memory_gb=6, memory_at_least=True
    )
    assert (task.name, task.num_nodes, task.wall_limit_s, task.workdir) == ("train", 1, 95_400, ".")
    assert task.run == SCRIPT
    envs = dict(task.envs)
    assert (envs["EPOCHS"], envs["LR"], envs["SLURM_CPUS_PER_TASK"], envs["SLURM_NTASKS"]) == (
        "3",
        "0.1",
        "4",
        "2",
    )


def test_it_is_a_task_file_too() -> None:
    task = parse_sbatch(SCRIPT)
    assert parse_task(dump_task(task)) == task


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("30:15", 1815), ("2:00:00", 7200), ("1-0", 86_400), ("1-12:00:30", 129_630)],
)
def test_times_are_slurms(text: str, seconds: int) -> None:
    assert parse_sbatch(f"#!/bin/sh\n#SBATCH --time={text}\ntrue\n").wall_limit_s == seconds


@pytest.mark.parametrize(("text", "gb"), [("512", 1), ("1500M", 2), ("16G", 16), ("1T", 1024), ("2048k", 1)])
def test_sizes_are_slurms(text: str, gb: int) -> None:
    assert parse_sbatch(f"#!/bin/sh\n#SBATCH --mem={text}\ntrue\n").resources.memory_gb == gb


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("#SBATCH --array=1-10", "once for each"),
        ("#SBATCH -p gpu", "the hub chooses"),
        ("#SBATCH --nodes=2", "num_nodes"),
        ("#SBATCH --gres=gpu:2", "such as gpu:H100:8"),
        ("#SBATCH --time=forever", "a time such as"),
        ("#SBATCH --time=0", "a time such as"),
        ("#SBATCH --mem=0", "a size such as"),
        ("#SBATCH --export=ALL", "does not see your shell"),
        ("#SBATCH --frobnicate", "not known to mosu"),
        ("#SBATCH --job-name='x", "quotation"),
        ("srun -n 4 python train.py", "starts one task"),
        ("time srun --nodes=2 hostname", "starts one task"),
        ("if srun --pty bash; then true; fi", "as it is"),
        ("srun -w n1 python train.py", "srun -w"),
        ("module load cuda", "mosu.environment"),
        ("source /etc/profile && ml cuda", "mosu.environment"),
        ("sbatch next.sbatch", "no other runs"),
    ],
)
def test_what_mosu_does_not_do_is_refused_by_its_line(line: str, said: str) -> None:
    with pytest.raises(TaskRefused) as refused:
        parse_sbatch(f"#!/bin/bash\n#SBATCH --time=10\n{line}\ntrue\n")
    [problem] = refused.value.problems
    assert problem["line"] == 3 and said in problem["message"] + problem["allowed"]


def test_srun_of_one_task_is_the_command_itself(tmp_path: Path) -> None:
    script = """#!/bin/bash
srun -n1 -N 1 --cpu-bind=none -u -c4 --mpi=pmix --ntasks=1 echo "a  b" -n 2
if srun --label false; then echo no; else echo "$?"; fi
for count in 1 2; do
  srun --ntasks "$count" echo "$count" || echo "refused $?"
done
echo "not srun -n 4"  # srun -n 9
srun echo "over
two lines"
"""
    with pytest.raises(TaskRefused):
        parse_sbatch(script)  # "$count" is no 1
    task = parse_sbatch(script.replace('--ntasks "$count"', '$OPTION "$count"'))
    file = tmp_path / "script"
    file.write_text(task.run)
    done = subprocess.run(
        ["bash", file], env={"PATH": "/usr/bin:/bin", "OPTION": "-n"}, capture_output=True, text=True
    )
    shown = ["a  b -n 2", "1", "1", "refused 2", "not srun -n 4", "over", "two lines"]
    assert done.stdout.splitlines() == shown
    assert done.stderr == "srun -n 2: mosu starts one task on one node\n"
    assert task.run.splitlines()[0] == "#!/bin/bash" and task.run.count("srun() {") == 1
    assert parse_task(dump_task(task)) == task


def test_srun_of_several_tasks_is_refused_where_the_script_asks_for_them() -> None:
    text = "#!/bin/bash\n#SBATCH --ntasks=4\n{line}\n"
    with pytest.raises(TaskRefused) as refused:
        parse_sbatch(text.format(line="srun python train.py"))
    [problem] = refused.value.problems
    assert problem["line"] == 3 and "--ntasks=1 --cpus-per-task=4" in problem["message"]
    assert parse_sbatch(text.format(line="srun -n 1 python train.py")).resources.cpus == 4


def test_all_lines_are_told_at_once() -> None:
    with pytest.raises(TaskRefused) as refused:
        parse_sbatch("#!/usr/bin/env python3\n#SBATCH -p a -A b\nsrun -n 2 x\n")
    assert [problem["line"] for problem in refused.value.problems] == [1, 2, 2, 3]
